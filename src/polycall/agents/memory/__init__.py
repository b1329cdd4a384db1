"""Memory: what an agent keeps between runs.

memory.py     the four tools, and what stands in the prompt
entry.py      what is remembered, and what a store can do
process.py    in this process, or in a JSON file;  sqlite.py, postgres.py in a database
"""

from polycall.agents.memory.entry import Entry, MemoryFullError, MemoryStore
from polycall.agents.memory.memory import Injection, Memory
from polycall.agents.memory.postgres import PostgresStore
from polycall.agents.memory.process import JSONFileStore, ProcessStore
from polycall.agents.memory.sqlite import SQLiteStore

__all__ = [
    "Entry",
    "Injection",
    "JSONFileStore",
    "Memory",
    "MemoryFullError",
    "MemoryStore",
    "PostgresStore",
    "ProcessStore",
    "SQLiteStore",
]
