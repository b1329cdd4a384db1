"""Values that expire: fetched once for all who wait, ahead of their end, and again when refused."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

from polycall.errors import PolycallError
from polycall.transport.base import HTTPRequest, HTTPResponse

T = TypeVar("T")

EARLY_S = 300.0  # before its end a value is renewed, while requests still use it
_MARGIN_S = 10.0  # a value that ends sooner is not sent any more
_REJECTED_S = 10.0  # one that is refused so soon after another is not the fault of its age
_FAILURE_S = 2.0  # a failure is the answer for all who ask within this time


class Expiring(Struct, Generic[T], frozen=True):
    """A value and the second since 1970 at which it ends, by this machine's clock."""

    value: T
    expires_at: float


class Source(Protocol[T]):
    """Fetches values.  It may block, and raises `PolycallError` where there is none."""

    def fetch(self) -> Expiring[T]:
        """A new value."""
        ...


class Renewal(Generic[T]):
    """The current value of a source, for any number of tasks and event loops.

    At most one fetch is under way, in a thread of its own.
    """

    def __init__(self, source: Source[T], *, clock: Callable[[], float] = time.time) -> None:
        self._source = source
        self._clock = clock
        self._lock = threading.Lock()
        self._held: Expiring[T] | None = None
        self._fetching: Future[Expiring[T]] | None = None
        self._failure: PolycallError | None = None
        self._failed_at = 0.0
        self._rejected_at = float("-inf")

    @property
    def held(self) -> T | None:
        """The value in hand, whether it is still good or not."""
        held = self._held
        return None if held is None else held.value

    async def current(self) -> T:
        """The value to use now; raises what its source raises where there is none."""
        held, now = self._held, self._clock()
        if held is not None and now < held.expires_at - EARLY_S:
            return held.value
        usable = held is not None and now < held.expires_at - _MARGIN_S
        if usable and held is not None:
            self._fetch(now)
            return held.value
        fetching = self._fetch(now)
        if fetching is None:
            assert self._failure is not None
            raise _again(self._failure)
        # A caller that stops waiting does not stop the fetch, which is for others too.
        try:
            return (await asyncio.shield(asyncio.wrap_future(fetching))).value
        except PolycallError as error:
            raise _again(error) from None

    def reject(self, value: T) -> bool:
        """Forget a value that was refused; true where another may be had."""
        with self._lock:
            if self._held is None or self._held.value != value:
                return True  # it is being renewed, or was
            now = self._clock()
            if now - self._rejected_at < _REJECTED_S:
                return False
            self._held, self._rejected_at = None, now
        return True

    def _fetch(self, now: float) -> Future[Expiring[T]] | None:
        """The fetch that is under way, or a new one; `None` right after a failure."""
        with self._lock:
            if self._fetching is not None:
                return self._fetching
            if self._failure is not None and now - self._failed_at < _FAILURE_S:
                return None
            fetching = self._fetching = Future[Expiring[T]]()
        threading.Thread(
            target=self._run, args=(fetching,), name="polycall-credential", daemon=True
        ).start()
        return fetching

    def _run(self, fetching: Future[Expiring[T]]) -> None:
        try:
            fetched = self._source.fetch()
        except PolycallError as error:
            with self._lock:
                self._fetching, self._failure, self._failed_at = None, error, self._clock()
            fetching.set_exception(error)
        except BaseException as error:  # noqa: BLE001 - the waiting callers must hear of it
            with self._lock:
                self._fetching = None
            fetching.set_exception(error)
        else:
            with self._lock:
                self._fetching, self._failure, self._held = None, None, fetched
            fetching.set_result(fetched)


def _again(error: PolycallError) -> PolycallError:
    """The error once more: one object must not be raised, and get its notes, in many tasks."""
    new = type(error).__new__(type(error))
    new.__dict__.update({k: v for k, v in error.__dict__.items() if k != "__notes__"})
    new.args = error.args
    return new


class TokenCredential:
    """Sends a bearer token; a refused one is fetched anew, once for all who were refused."""

    def __init__(
        self, provider: str, source: Source[str], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._provider = provider
        self._tokens = Renewal(source, clock=clock)

    async def headers(self, request: HTTPRequest) -> dict[str, str]:
        """`authorization`, with a token that lives."""
        del request
        return {"authorization": f"Bearer {await self._tokens.current()}"}

    def refused(self, sent: HTTPRequest, http: HTTPResponse) -> bool:
        """A 401 is the token's; a 403 is about what its owner may do."""
        if http.status != 401:
            return False
        return self._tokens.reject(sent.headers.get("authorization", "").removeprefix("Bearer "))
