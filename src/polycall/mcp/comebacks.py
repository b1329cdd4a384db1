"""Streams that end and are opened again, at the pace of a server that may have it so for ever."""

from __future__ import annotations

import asyncio
import time
from weakref import WeakKeyDictionary

import httpx2

_AT_ONCE, _A_SECOND = 10.0, 1.0


class _Stream:
    """One that is opened again and again, in a task of its own."""

    def __init__(self) -> None:
        self._left, self._at = _AT_ONCE, time.monotonic()

    def pause_s(self) -> float:
        """The seconds to wait before it is opened once more."""
        now = time.monotonic()
        self._left = min(self._left + (now - self._at) * _A_SECOND, _AT_ONCE) - 1.0
        self._at = now
        return max(-self._left / _A_SECOND, 0.0)


class Comebacks:
    """Those of one connection, which are opened by GET as soon as a server says."""

    def __init__(self) -> None:
        self._streams: WeakKeyDictionary[asyncio.Task[object], _Stream] = WeakKeyDictionary()

    async def wait(self, request: httpx2.Request) -> None:
        """Wait before a stream that is opened too soon."""
        task = asyncio.current_task()
        is_stream = "text/event-stream" in request.headers.get("accept", "")
        if request.method == "GET" and is_stream and task is not None:
            await asyncio.sleep(self._streams.setdefault(task, _Stream()).pause_s())
