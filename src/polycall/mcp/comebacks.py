"""Streams that end and are opened again, at the pace of a server that may have it so for ever."""

from __future__ import annotations

import asyncio
import time
from weakref import WeakKeyDictionary

import httpx2

_AT_ONCE, _A_SECOND = 10.0, 1.0
_RESUMED_MAX = 300  # of a request's: the protocol's library goes one call deeper with each


class _Stream:
    """One that is opened again and again, in a task of its own."""

    def __init__(self, *, is_of_request: bool) -> None:
        self._left, self._at = _AT_ONCE, time.monotonic()
        self.is_of_request = is_of_request  # else it is the server's own, for the connection's life
        self.times_resumed = 0

    def pause_s(self) -> float:
        """How long to wait before it is opened once more."""
        now = time.monotonic()
        self._left = min(self._left + (now - self._at) * _A_SECOND, _AT_ONCE) - 1.0
        self._at = now
        return max(-self._left / _A_SECOND, 0.0)


class Comebacks:
    """Those of one connection; the library opens streams by GET, as soon as a server says."""

    def __init__(self) -> None:
        self._streams: WeakKeyDictionary[asyncio.Task[object], _Stream] = WeakKeyDictionary()

    async def wait(self, request: httpx2.Request) -> None:
        """Wait before a stream that is opened too soon; raise for one that ended too often."""
        task = asyncio.current_task()
        is_stream = "text/event-stream" in request.headers.get("accept", "")
        if request.method != "GET" or not is_stream or task is None:
            return
        is_resumed = "last-event-id" in request.headers
        if (stream := self._streams.get(task)) is None:
            # A request's stream was begun by a POST: its first GET resumes it.
            stream = self._streams[task] = _Stream(is_of_request=is_resumed)
        if is_resumed and stream.is_of_request:
            stream.times_resumed += 1
            if stream.times_resumed > _RESUMED_MAX:
                raise httpx2.ReadError(f"its stream ended more than {_RESUMED_MAX} times")
        await asyncio.sleep(stream.pause_s())
