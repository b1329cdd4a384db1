"""Sessions: conversations that are kept between runs, as long as they like.

sessions.py    `Sessions` and `Session`, export, import, branches, one run at a time
turn.py        one run of a session
store.py       SQLite and Postgres, encryption at rest
"""

from polycall.agents.compaction import Compaction, summary_by
from polycall.agents.sessions.sessions import Session, Sessions
from polycall.agents.sessions.store import SessionConflictError

__all__ = ["Compaction", "Session", "SessionConflictError", "Sessions", "summary_by"]
