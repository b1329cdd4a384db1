"""Retrieval: files as passages that can be searched, with their sources.

knowledge.py   the whole, its chunks of text, and its tool
readers.py     files as text
index.py       chunks in SQLite, by words and by vectors
"""

from polycall.agents.knowledge.knowledge import Embed, Knowledge, Passage
from polycall.agents.knowledge.readers import READERS, Section, UnreadableError

__all__ = ["READERS", "Embed", "Knowledge", "Passage", "Section", "UnreadableError"]
