"""Sessions: conversations that are kept between runs, as long as they like.

sessions.py    `Sessions` and `Session`
turn.py        one run of a session
store.py       SQLite and Postgres
sealed.py      encryption at rest
portable.py    export, import, branches
lock.py        one run at a time
"""

from polycall.agents.compaction import Compaction, summary_by
from polycall.agents.sessions.sessions import Session, Sessions
from polycall.agents.sessions.store import SessionConflictError

__all__ = ["Compaction", "Session", "SessionConflictError", "Sessions", "summary_by"]
