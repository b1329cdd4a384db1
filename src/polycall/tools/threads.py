"""Plain functions off the event loop.

Each runs in a thread of its own that dies with the process: a thread cannot be killed, and one
that hangs must neither take a place in a pool nor keep the program from ending.  How many may
hang is bounded.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from polycall.errors import ToolError

ResultT = TypeVar("ResultT")

THREADS_MAX = 256

_running = threading.Semaphore(THREADS_MAX)


def _after_fork() -> None:
    # The threads that held places are in the parent.
    global _running  # noqa: PLW0603
    _running = threading.Semaphore(THREADS_MAX)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


async def run_in_thread(function: Callable[[], ResultT]) -> ResultT:
    """The function's result; when the caller is cancelled, the thread is left to itself."""
    slots = _running
    if not slots.acquire(blocking=False):
        raise ToolError(
            f"{THREADS_MAX} tool calls run in threads already and none has ended; try again later"
        )
    loop = asyncio.get_running_loop()
    future: asyncio.Future[ResultT] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def work() -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = context.run(function)
        except StopIteration:
            # A future cannot hold it.
            error = RuntimeError("StopIteration")
        except BaseException as raised:  # noqa: BLE001 - handed to the code that awaits
            error = raised
        finally:
            slots.release()
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, name=f"polycall-{_name(function)}", daemon=True).start()
    return await future


def _name(function: Callable[[], Any]) -> str:
    return getattr(function, "__name__", "tool")


_held: ContextVar[frozenset[int]] = ContextVar("polycall_slots", default=frozenset())


class Slots:
    """The places of one tool, under whatever names it goes."""

    def __init__(self) -> None:
        self._places: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}

    @asynccontextmanager
    async def taken(self, name: str, bound: int | None) -> AsyncGenerator[None]:
        """Hold a place; `ToolError` where the call would wait for one that it is made by."""
        if bound is None:
            yield
            return
        if id(self) in _held.get():
            raise ToolError(
                f"{name!r} runs {bound} at a time, and this call is made by one of them, which it "
                "would wait for; nothing was run"
            )
        loop = asyncio.get_running_loop()
        if loop not in self._places:
            for other in [each for each in self._places if each.is_closed()]:
                del self._places[other]
            self._places[loop] = asyncio.Semaphore(bound)
        async with self._places[loop]:
            before = _held.get()
            _held.set(before | {id(self)})
            try:
                yield
            finally:
                _held.set(before)

    def __reduce__(self) -> tuple[type[Slots], tuple[()]]:
        # A tool that is pickled has its places where it is read again.
        return Slots, ()
