"""Reading a request's body: bounded in size, time and expansion."""

from __future__ import annotations

import asyncio
import zlib
from io import BytesIO

from polycall.config import Server
from polycall.errors import InvalidRequestError, RequestTooLargeError
from polycall.gateway.http.request import ClientGone, GatewayRequest
from polycall.gateway.http.values import ValueCounter
from polycall.gateway.processes.heavy_work import LONG_BYTES
from polycall.gateway.processes.memory_guard import MemoryGuard

_ENCODINGS = {
    b"gzip": 16 + zlib.MAX_WBITS,
    b"x-gzip": 16 + zlib.MAX_WBITS,
    b"deflate": zlib.MAX_WBITS,
}
_LONG = str(LONG_BYTES).encode()  # a length with as many digits may be one
_SLICE_BYTES = 1024 * 1024  # that are expanded before others have their turn


def usual_body(gateway_request: GatewayRequest, server: Server) -> bytes | None:
    """A short, plain body that has come with its headers; `None` for what `read_body` reads."""
    headers = gateway_request.headers
    if len(headers.get(b"content-length", _LONG)) >= len(_LONG) or b"content-encoding" in headers:
        return None
    body = gateway_request.take_body()
    if body is not None:
        gateway_request.body_is_unread = False
        if len(body) > server.body_bytes_max:
            raise _too_large(server.body_bytes_max, server)
    return body


async def read_body(
    gateway_request: GatewayRequest, server: Server, memory: MemoryGuard, bytes_max: int = 0
) -> bytes:
    """The whole body, which is JSON; of `bytes_max` bytes at most where that is given.

    Raises `RequestTooLargeError` before reading more than is allowed, and for more values than are
    read; `ClientGone` where the client leaves, `OverloadedError` while there is no memory.  The
    request monitor gives up on a client that stops sending.
    """
    limit = min(server.body_bytes_max, bytes_max) if bytes_max else server.body_bytes_max
    # The usual body has arrived with its headers; only a longer one is worth a deadline.
    body = gateway_request.take_body()
    if body is None:
        declared = gateway_request.headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > limit:
            raise _too_large(limit, server)
        body = b"" if declared == b"0" else await _read(gateway_request, server, memory, limit)
    gateway_request.body_is_unread = False
    if len(body) > limit:
        raise _too_large(limit, server)
    encoding = gateway_request.headers.get(b"content-encoding")
    if encoding is not None:
        body = await _expand(body, encoding.strip().lower(), limit, server)
    if len(body) > LONG_BYTES:
        await ValueCounter().add(body)
    return body


async def _read(
    gateway_request: GatewayRequest, server: Server, memory: MemoryGuard, limit: int
) -> bytes:
    gateway_request.body_by = gateway_request.started_at + server.body_s
    whole = BytesIO()  # gives what was written without a second copy of it
    size = 0
    while True:
        message = await gateway_request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        if not size and not more:
            break
        size += len(piece)
        if size > limit:
            raise _too_large(limit, server)
        memory.check()
        if size == len(piece) and not more:
            break  # the usual body, and those that were read elsewhere
        whole.write(piece)
        if not more:
            piece = whole.getvalue()
            break
    gateway_request.body_by = 0.0
    return piece


async def _expand(body: bytes, encoding: bytes, limit: int, server: Server) -> bytes:
    if encoding in (b"", b"identity"):
        return body
    bits = _ENCODINGS.get(encoding)
    if bits is None:
        raise InvalidRequestError(
            f"the body's content-encoding {encoding!r} is not taken; send it plain or as gzip",
            status=415,
        )
    decoder = zlib.decompressobj(bits)
    whole = BytesIO()
    size = 0
    while body:
        try:
            piece = decoder.decompress(body, _SLICE_BYTES)
        except zlib.error:
            raise InvalidRequestError("the body is not what its content-encoding says") from None
        size += len(piece)
        if size > limit:
            raise _too_large(limit, server)
        whole.write(piece)
        body = decoder.unconsumed_tail
        if body:
            await asyncio.sleep(0)
    if not decoder.eof:
        raise InvalidRequestError("the compressed body is cut short")
    return whole.getvalue()


def _too_large(limit: int, server: Server) -> RequestTooLargeError:
    hint = "" if limit < server.body_bytes_max else ", or raise server.body_bytes_max"
    return RequestTooLargeError(
        f"the body is larger than {limit} bytes; send less{hint}", status=413
    )
