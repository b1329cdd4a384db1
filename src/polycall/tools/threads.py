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
from collections.abc import Callable
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
