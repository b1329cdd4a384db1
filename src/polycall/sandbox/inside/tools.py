"""Tools as the program sees them: coroutine functions, and the error they raise."""

from __future__ import annotations

import asyncio
import builtins
import collections
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from . import plain
from .channel import Channel, Frame

Tool = Callable[..., Coroutine[Any, Any, Any]]


class ToolError(Exception):
    """A tool failed, or refused.  `type` is the name of the error on the tool's side."""

    type = "ToolError"


ToolError.__module__ = "builtins"

# Errors with a constructor or a layout of their own cannot be rebuilt from a list of arguments.
_NOT_REBUILT = frozenset(
    (
        "UnicodeDecodeError",
        "UnicodeEncodeError",
        "UnicodeTranslateError",
        "BaseExceptionGroup",
        "ExceptionGroup",
        # A coroutine that raises it has returned.
        "StopIteration",
    )
)


def rebuilt(error: Mapping[str, Any]) -> ToolError:
    """A tool's error as an exception: a `ToolError`, and also the built-in error of its name."""
    name = str(error["name"])
    base: object = getattr(builtins, name, None)
    result: ToolError
    if isinstance(base, type) and issubclass(base, Exception) and name not in _NOT_REBUILT:
        bases: tuple[type, ...] = (ToolError, base)
        try:
            result = type(name, bases, {"__module__": "builtins"})(*error["args"])
        except Exception:  # noqa: BLE001 - some check what they are made of
            result = ToolError(str(error["message"]))
    else:
        result = ToolError(str(error["message"]))
    result.type = name
    return result


class Tools:
    """Sends calls to the host and hands results to those who wait for them.

    Keeps the limits of the run itself, so that a program that goes too far hears it as an error;
    the host counts again and kills those that do not keep them.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._queue: collections.deque[asyncio.Future[None]] = collections.deque()
        self._running = 0
        self._last_id = 0
        self._calls_left = 0
        self._concurrent_max = 1
        self._argument_bytes = 0

    def start(self, limits: Mapping[str, int]) -> None:
        """Begins a run."""
        self._waiting.clear()
        self._queue.clear()
        self._running = 0
        self._last_id = 0
        self._calls_left = limits["calls"]
        self._concurrent_max = limits["concurrent_calls"]
        self._argument_bytes = limits["argument_bytes"]

    def stub(self, name: str, documentation: str) -> Tool:
        """The function that stands for a tool."""

        async def tool(*args: Any, **kwargs: Any) -> Any:
            return await self._call(name, args, kwargs)

        tool.__name__ = tool.__qualname__ = name
        tool.__doc__ = documentation
        tool.__module__ = "tools"
        return tool

    async def _call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(f"tool {name!r} can only be awaited in the main thread")
        try:
            size_max = self._argument_bytes
            plain_args = plain.arguments(list(args), size_bytes=size_max)
            plain_kwargs = plain.arguments(kwargs, size_bytes=size_max)
        except plain.TooLargeError:
            limit = self._argument_bytes
            raise ToolError(f"{name}: arguments of more than {limit} bytes") from None
        except plain.NotPlainError as error:
            raise TypeError(f"{name}: {error}") from None
        if self._calls_left <= 0:
            raise ToolError(f"{name}: the limit on calls of a run is reached")
        self._calls_left -= 1
        await self._slot()
        try:
            return await self._exchange(name, plain_args, plain_kwargs)
        finally:
            self._release()

    async def _exchange(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        self._last_id += 1
        call_id = self._last_id
        future = asyncio.get_running_loop().create_future()
        self._waiting[call_id] = future
        self._channel.put(
            {"type": "call", "id": call_id, "name": name, "args": args, "kwargs": kwargs}
        )
        try:
            return await future
        except asyncio.CancelledError:
            if self._waiting.pop(call_id, None) is not None:
                self._channel.put({"type": "cancel", "id": call_id})
            raise

    async def _slot(self) -> None:
        if self._running < self._concurrent_max:
            self._running += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release()
            raise

    def _release(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._running -= 1

    def deliver(self, turn: Frame) -> None:
        """Hands the results of a turn to those who wait for them."""
        for result in turn["results"]:
            future = self._waiting.pop(result["id"], None)
            if future is None or future.done():
                continue
            if "error" in result:
                future.set_exception(rebuilt(result["error"]))
            else:
                future.set_result(result["value"])
