"""The store: what must outlive the process.  SQLite by default, Postgres for several machines.

`Store` is what the gateway talks to; an `Engine` runs its operations in one kind of database.
"""

from polycall.gateway.store.base import (
    Actor,
    AdminRow,
    AuditRow,
    Counters,
    CountersForgotError,
    Grant,
    KeyRecord,
    KeyRow,
    KeySecret,
    LeaseRequest,
    LedgerRow,
    Settlement,
    TeamRow,
)
from polycall.gateway.store.counter_operations import TEAM_ID_HEAD
from polycall.gateway.store.store import Store, open_store

__all__ = [
    "TEAM_ID_HEAD",
    "Actor",
    "AdminRow",
    "AuditRow",
    "Counters",
    "CountersForgotError",
    "Grant",
    "KeyRecord",
    "KeyRow",
    "KeySecret",
    "LeaseRequest",
    "LedgerRow",
    "Settlement",
    "Store",
    "TeamRow",
    "open_store",
]
