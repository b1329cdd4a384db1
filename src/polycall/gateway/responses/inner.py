"""A request that no connection brought: it goes the way of every other, key, limits and ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from polycall.gateway.http.request import GatewayRequest, RequestMonitor
from polycall.translation.sse import Frame, SSEDecoder

PATH = "/v1/responses"

TakeFrame: TypeAlias = Callable[[Frame], Awaitable[None]]


class Collected:
    """An answer as it was sent: frames of a stream go to `take`, else the body is collected."""

    def __init__(self, take: TakeFrame | None = None) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.is_stream = False
        self._take = take
        self._decoder = SSEDecoder()
        self._pieces: list[bytes] = []

    @property
    def body(self) -> bytes:
        """The body, where it was no stream."""
        return b"".join(self._pieces)

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take one ASGI message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = dict(message["headers"])
            self.is_stream = b"event-stream" in self.headers.get(b"content-type", b"")
            return
        data: bytes = message["body"]
        if not self.is_stream or self._take is None:
            self._pieces.append(data)
            return
        for frame in self._decoder.feed(data):
            await self._take(frame)


class InnerRequest:
    """One such request.  `leave` is what a client does that hangs up."""

    def __init__(
        self,
        request_id: str,
        *,
        headers: dict[bytes, bytes],
        body: bytes = b"",
        address: str = "",
        take: TakeFrame | None = None,
    ) -> None:
        self.id = request_id
        self.collected = Collected(take)
        self.gateway_request: GatewayRequest | None = None
        self._body = body
        self._address = address
        self._headers = headers
        self._is_read = False
        self._left = asyncio.Event()

    def leave(self) -> None:
        """Give the answer up."""
        self._left.set()

    async def run(
        self,
        serve: Callable[[GatewayRequest], Awaitable[None]],
        monitor: RequestMonitor,
        *,
        within_s: float,
    ) -> Collected:
        """Serve it in this task, for `within_s` seconds at most."""
        scope = {
            "method": "POST",
            "path": PATH,
            "query_string": b"",
            "headers": list(self._headers.items()),
            "client": (self._address, 0),
        }
        request = GatewayRequest(scope, self._receive, self.collected.send, self.id)
        request.ends_at = time.monotonic() + within_s
        self.gateway_request = request
        monitor.add(request)
        try:
            await serve(request)
        finally:
            monitor.remove(request)
        return self.collected

    async def _receive(self) -> MutableMapping[str, Any]:
        if not self._is_read:
            self._is_read = True
            body, self._body = self._body, b""
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}


_HOP = frozenset(
    {
        *(b"connection", b"upgrade", b"content-length", b"content-encoding", b"content-type"),
        *(b"transfer-encoding", b"host", b"expect", b"te", b"trailer", b"accept-encoding"),
    }
)


def passed_headers(headers: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """The headers for a request that another one led to: key, options, trace."""
    return {
        name: value
        for name, value in headers.items()
        if name not in _HOP and not name.startswith(b"sec-websocket")
    }
