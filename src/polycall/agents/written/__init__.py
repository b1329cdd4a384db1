"""Tools that models write: read and checked here, run in the sandbox alone, kept in versions.

written.py   the tools that make tools
reading.py   code as a schema, without running it; types.py its types
store.py     versions, in use and revoked
"""

from polycall.agents.written.store import ToolStore, ToolVersion
from polycall.agents.written.written import WrittenTools

__all__ = ["ToolStore", "ToolVersion", "WrittenTools"]
