"""The synchronous face of asynchronous code: one event loop on one thread, owned by a client.

A pool of connections belongs to the loop that opened it, so the loop has to outlive the single
call; and a thread of its own lets the facade work where a loop is already running (notebooks).
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from typing import Any, Generic, Protocol, Self, TypeVar

from polycall.ir import Event, Response
from polycall.ir import Warning as IRWarning

T = TypeVar("T")
EventT = TypeVar("EventT")
EventT_co = TypeVar("EventT_co", covariant=True)


class Portal:
    """Runs coroutines on its own loop and waits for them.  `close` ends the thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="polycall-portal", daemon=True
        )
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result.  Ctrl-C cancels it."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, events: AsyncIterator[T]) -> Iterator[T]:
        """The iterator's values, one wait each.  Leaving early closes it."""
        try:
            while True:
                try:
                    yield self.run(_next(events))
                except StopAsyncIteration:
                    return
        finally:
            self.run(_closed(events))

    def close(self) -> None:
        """Cancel what still runs, stop the loop, end the thread."""
        with contextlib.suppress(asyncio.CancelledError):
            self.run(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class TextStream(Protocol[EventT_co]):
    """An asynchronous stream of events that can also give its text alone."""

    def __aiter__(self) -> AsyncIterator[EventT_co]: ...

    async def __anext__(self) -> EventT_co: ...

    def text(self) -> AsyncGenerator[str]: ...


class BlockingStream(Generic[EventT]):
    """A stream for code without an event loop.

    Iterate over it, over `text()`, or use it as a context manager.  Leaving the `with`, `close`,
    or dropping the last reference cancels what is under way.
    """

    def __init__(self, portal: Portal, stream: TextStream[EventT]) -> None:
        self._portal = portal
        self._source = stream
        self._events = portal.iterate(stream)

    def __iter__(self) -> Iterator[EventT]:
        return self

    def __next__(self) -> EventT:
        return next(self._events)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def text(self) -> Iterator[str]:
        """The visible text alone, as it comes."""
        return self._portal.iterate(self._source.text())

    def close(self) -> None:
        """Stop what is under way."""
        self._portal.run(_closed(self._source))


class AnswerStream(TextStream[Event], Protocol):
    """A stream of one answer's events, as a client gives it."""

    warnings: list[IRWarning]

    @property
    def response(self) -> Response: ...


class SyncStream(BlockingStream[Event]):
    """A client's stream for code without an event loop."""

    def __init__(self, portal: Portal, stream: AnswerStream) -> None:
        super().__init__(portal, stream)
        self._stream = stream

    @property
    def response(self) -> Response:
        """The whole answer; `TruncatedError` before its end."""
        return self._stream.response

    @property
    def warnings(self) -> list[IRWarning]:
        """What is not sent as it was written; known with the first event."""
        return self._stream.warnings


def warn_where_blocking(what: str, instead: str) -> None:
    """Warn where this thread runs an event loop, which stands still until the call returns.

    A notebook's cell runs inside its kernel's loop, which has nothing else to do meanwhile.
    """
    if asyncio._get_running_loop() is None or "ipykernel" in sys.modules:  # pyright: ignore[reportPrivateUsage]
        return
    warnings.warn(
        f"{what} was called inside an event loop, which stands still until it returns; "
        f"write `{instead}` there",
        RuntimeWarning,
        stacklevel=3,
    )


async def _closed(events: Any) -> None:
    close = getattr(events, "aclose", None)
    if close is not None:
        await close()


async def _next(events: AsyncIterator[T]) -> T:
    return await anext(events)


async def _cancel_others() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
