"""The store: what must outlive the process.  SQLite by default, Postgres for several machines.

`Store` is what the gateway talks to; an `Engine` runs its operations in one kind of database.
"""

from polycall.gateway.store.base import (
    Counters,
    CountersForgotError,
    Grant,
    KeyRecord,
    KeyRow,
    KeySecret,
    LeaseRequest,
    LedgerRow,
    Settlement,
)
from polycall.gateway.store.store import Store, open_store

__all__ = [
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
    "open_store",
]
