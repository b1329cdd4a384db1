"""The common part of the store: the rows that it keeps, and the protocol of an engine.

An operation is a generator that yields queries and is sent their rows.  It is written once and
runs in any engine, on a thread or a loop, each time within one transaction.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from msgspec import Struct

from polycall.errors import RequestError, StoreError

T = TypeVar("T")
StateRow: TypeAlias = tuple[str, str, float, bytes]  # owner, id, when it was written, value
StatePlace: TypeAlias = tuple[float, str, str]  # when it was written, owner, id


class Query(NamedTuple):
    """One statement, its places marked `?`.  `is_many`: it inserts a row for each of `values`."""

    sql: str
    values: Sequence[Any] = ()
    is_many: bool = False


_INSERT = re.compile(r"(INSERT INTO (\w+) \(([^)]*)\) VALUES )(\([^)]*\))(.*)", re.DOTALL)


class Insert(NamedTuple):
    """The pieces of a statement that inserts one row."""

    head: str
    table: str
    names: str
    marks: str
    tail: str


def insert_of(sql: str) -> Insert:
    """The pieces of the statement of a query for many rows; `ValueError` for any other."""
    found = _INSERT.fullmatch(sql)
    if found is None:
        raise ValueError(
            "a query for many rows inserts a row of marks, and names its columns; yield one query "
            f"for each row instead of: {sql}"
        )
    return Insert(*found.groups())


Rows: TypeAlias = list[tuple[Any, ...]]
Operation: TypeAlias = Generator[Query, Rows, T]


class Reader(Protocol):
    """Reads the database of an engine, without its loop; opened with the first operation.

    Every failure of the database is a `StoreError`.
    """

    @property
    def address(self) -> tuple[str, str]:
        """The kind of database and where it is: all that makes the same reader elsewhere."""
        ...

    def run(self, operation: Operation[T]) -> T:
        """Run an operation that changes nothing."""
        ...

    def interrupt(self) -> None:
        """End the operation that runs now, from another thread."""
        ...


class Engine(Protocol):
    """One kind of database.  Every failure of the database is a `StoreError`."""

    async def read(self, operation: Operation[T]) -> T:
        """Run an operation that changes nothing."""
        ...

    async def read_aside(self, operation: Operation[T]) -> T:
        """Run a long operation that changes nothing, so that no other waits for it."""
        ...

    def reader(self) -> Reader | None:
        """The reader of the database for another process.

        `None` where only this one can read it.
        """
        ...

    async def write(self, operation: Operation[T]) -> T:
        """Run an operation; what it changed is committed when this returns."""
        ...

    def run_now(self, operation: Operation[T]) -> T:
        """Run an operation while nothing else is going on yet: before the engine serves."""
        ...

    async def close(self) -> None:
        """Finish what is waiting, and let go of the database."""
        ...


class LedgerRow(Struct, frozen=True, array_like=True):
    """One request, as it is written down.  Tokens are `None` where the provider said nothing."""

    id: str
    created: float
    key: str
    client: str
    asked: str
    provider: str
    model: str
    streamed: int
    status: int
    outcome: str  # ok, cached, error, cancelled, truncated
    attempts: int
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    is_estimate: int  # the tokens were counted here, since the provider did not get to say
    cost_usd: str | None
    duration_ms: float
    first_ms: float | None
    key_id: str = ""
    worker: str = ""  # the process that served it
    calls: int | None = None  # tool calls in the answer
    warnings: int = 0
    error: str = ""  # what went wrong, in words; empty where the answer came to its end
    team_id: str = ""
    details: str = ""  # JSON: attempts, warnings, calls; empty where the columns say all


class KeyRow(Struct, frozen=True):
    """A client's key as it is kept: everything but the key itself.  Times are UTC seconds."""

    id: str
    name: str
    models: tuple[str, ...] = ()  # patterns; empty for all
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    budget_usd: Decimal | None = None
    budget_per: str = "month"  # or day, week, total
    created: float = 0.0
    expires: float | None = None
    revoked: float | None = None
    mcp: tuple[str, ...] | None = None  # patterns of MCP tools; `None` for all
    mcp_default: tuple[str, ...] = ()  # servers whose tools its model requests have
    team_id: str = ""
    owner: str = ""  # a person to ask


class TeamRow(Struct, frozen=True):
    """A team: limits above those of its keys.  Its keys work no more once it has `ended`."""

    id: str
    name: str
    models: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    budget_usd: Decimal | None = None
    budget_per: str = "month"
    created: float = 0.0
    ended: float | None = None


class AdminRow(Struct, frozen=True):
    """An administrator.  `prefix` is what may be shown of the key; empty where there is none."""

    id: str
    name: str
    role: str  # reader, operator or owner
    digest: bytes | None = None
    prefix: str = ""
    created: float = 0.0
    revoked: float | None = None


class Actor(NamedTuple):
    """An actor for the audit log.  `via` is `command`, `key`, `session` or `link`."""

    name: str
    role: str = ""
    via: str = "command"
    address: str = ""


class AuditRow(NamedTuple):
    """One administrative act.  `chain` is a digest of this row and of the one before."""

    number: int
    at: float
    actor: str
    role: str
    via: str
    address: str
    action: str
    target: str
    detail: str
    chain: str


class KeySecret(Struct, frozen=True):
    """The part of a key by which it is recognised.  `prefix` may be shown."""

    digest: bytes
    key_id: str
    prefix: str
    created: float
    expires: float | None = None


class KeyRecord(NamedTuple):
    """A key with its secrets, the newest first, and the team above it."""

    row: KeyRow
    secrets: list[KeySecret]
    team: TeamRow | None = None


class LeaseRequest(NamedTuple):
    """A request for a lease on the counter `name` in a span of time.

    `name` is the kind and the key's id: `usd:`, `tokens:` or `requests:`.  At least `least` of what
    `limit` leaves, or nothing.  The lease is `holder`'s (the worker's id, a dot, a number) until
    `until`, should it fall silent.
    """

    name: str
    span: str
    starts: float
    ends: float
    holder: str
    least: int
    limit: int
    until: float


class Grant(NamedTuple):
    """An answer to a request for a lease: what was granted (0 for nothing), and what was left.

    `left` is what nobody has taken; `leased` is held by workers and may come back.
    """

    amount: int
    left: int
    leased: int


class Settlement(NamedTuple):
    """A holder's use of its lease: `spent` of it, and `returned` (below 0: overdrawn)."""

    name: str
    span: str
    spent: int
    returned: int


class SlowQueryError(RequestError):
    """A question about the ledger that took too long."""

    def __init__(self) -> None:
        super().__init__("the question takes too long; ask about less time")


class CountersForgotError(StoreError):
    """The counters lost what was in them, and begin again with what the ledger has: no lease is
    worth anything, and what was not reported yet has been counted."""


class Counters(Protocol):
    """The rest of limits, for all workers together.  A failure is a `StoreError`."""

    async def take(self, wish: LeaseRequest) -> Grant:
        """Lease some of what is left: once, however many ask at the same moment."""
        ...

    async def settle(
        self, holder: str, settlements: Sequence[Settlement], until: float
    ) -> list[Settlement]:
        """Tell what became of leases; gives those that had been given up as lost."""
        ...

    async def reconcile(self) -> int:
        """Replace the leases of silent workers by what the ledger says; gives how many."""
        ...
