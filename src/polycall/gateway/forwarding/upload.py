"""A client's body as it comes: bounded in bytes and time, and never held."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable

from polycall.config import Server
from polycall.errors import InvalidRequestError, RequestTooLargeError
from polycall.gateway.http.request import ClientGone, GatewayRequest


class Upload:
    """The pieces of one body; `length` is `None` where the client does not say it."""

    def __init__(self, gateway_request: GatewayRequest, server: Server) -> None:
        """Raises `RequestTooLargeError` where the client says that it is too long."""
        encoding = gateway_request.headers.get(b"content-encoding", b"identity")
        if encoding.strip().lower() not in (b"", b"identity"):
            raise InvalidRequestError("a file is passed on as it comes; send it plain", status=415)
        declared = gateway_request.headers.get(b"content-length", b"")
        self.length = int(declared) if declared.isdigit() else None
        self._most = server.upload_bytes_max
        self._piece_s = server.body_s
        self._gateway_request = gateway_request
        self._ends_at = gateway_request.started_at + server.upload_s
        self._size = 0
        self._is_over = self.length == 0
        if self.length is not None and self.length > self._most:
            raise self._too_large()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        gateway_request = self._gateway_request
        while not self._is_over:
            now = time.monotonic()
            gateway_request.heard_at = now
            gateway_request.body_by = min(now + self._piece_s, self._ends_at)
            message = await gateway_request.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece: bytes = message.get("body", b"")
            self._size += len(piece)
            if self._size > self._most:
                raise self._too_large()
            if not message.get("more_body", False):
                self._is_over = True
                gateway_request.body_by = 0.0
                gateway_request.body_is_unread = False
            if piece:
                return piece
        raise StopAsyncIteration

    def _too_large(self) -> RequestTooLargeError:
        return RequestTooLargeError(
            f"the file is larger than {self._most} bytes; send less, or raise "
            "server.upload_bytes_max",
            status=413,
        )


class ChangedUpload:
    """An upload whose pieces go through a function; `first` are those that went already."""

    def __init__(
        self, first: bytes, upload: Upload, change: Callable[[bytes], bytes], length: int | None
    ) -> None:
        self.length = length
        self._first = first
        self._upload = upload
        self._change = change

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        while True:
            piece = self._change(await anext(self._upload))
            if piece:
                return piece
