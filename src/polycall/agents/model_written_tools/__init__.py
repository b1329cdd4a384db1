"""Tools that models write: read and checked here, run in the sandbox alone, kept in versions.

written_tools.py  the tools that make tools, and the check of types
reading.py   code as a schema, without running it
store.py     versions, in use and revoked
"""

from polycall.agents.model_written_tools.store import ToolStore, ToolVersion
from polycall.agents.model_written_tools.written_tools import WrittenTools

__all__ = ["ToolStore", "ToolVersion", "WrittenTools"]
