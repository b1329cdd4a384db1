"""What the store's parts share: the rows it keeps, and the protocol of an engine.

An operation is a generator that yields queries and is sent their rows.  It is written once and
runs in any engine, on a thread or a loop, each time within one transaction.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from msgspec import Struct

T = TypeVar("T")


class Query(NamedTuple):
    """One statement, its places marked `?`.  `is_many` runs it for each of `values`."""

    sql: str
    values: Sequence[Any] = ()
    is_many: bool = False


Rows: TypeAlias = "list[tuple[Any, ...]]"
Operation: TypeAlias = Generator[Query, Rows, T]


class Engine(Protocol):
    """One kind of database.  Every failure of the database is a `StoreError`."""

    async def read(self, operation: Operation[T]) -> T:
        """Run an operation that changes nothing."""
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
    outcome: str  # ok, error, cancelled, truncated
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
