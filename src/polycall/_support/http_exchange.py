"""One request on a connection, and its answer.

An application takes it as ASGI does, by `receive` and `send`; what sits on the same loop may use
`take_body`, `start` and `write` themselves, which cost no message and no coroutine.  The head of an
answer waits for what follows it, and both are one write.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, MutableMapping
from http import HTTPStatus
from typing import Any, Protocol

from msgspec import Struct

from polycall._support.memo import Memo

logger = logging.getLogger("polycall.http")

Headers = list[tuple[bytes, bytes]]

_BUFFER_BYTES_MAX = 64 * 1024  # of a body that the application has not taken
_JOINED_BYTES_MAX = 64 * 1024  # what is longer is not copied for one write less
_NOT_IN_NAMES = re.compile(rb'[\x00-\x1f\x7f()<>@,;:\[\]={} \t\\"]')
_NOT_IN_VALUES = bytes([*range(9), *range(10, 32), 127])
_FRAMING = frozenset({b"content-length", b"connection", b"transfer-encoding"})
_LAST_CHUNK = b"0\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_FAILED = b"Internal Server Error"
_FAILED_HEADERS = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"%d" % len(_FAILED)),
    (b"connection", b"close"),
]


class Bounds(Struct, frozen=True):
    """The limits of one connection, in bytes and seconds.

    `head_bytes_max` also bounds what of a body is no content: extensions of chunks and trailers.
    `body_bytes_max` is 0 where the application bounds what it reads.  A client that takes none of
    the last of its answer is left after `linger_s`.
    """

    head_bytes_max: int = 64 * 1024
    head_s: float = 15.0
    body_bytes_max: int = 0
    body_s: float = 60.0
    linger_s: float = 5.0
    connections_max: int = 4096


class Connection(Protocol):
    """The connection, as far as an exchange uses it."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    tasks: set[asyncio.Task[None]]  # in which applications run

    @property
    def is_closing(self) -> bool: ...
    def close(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def drained(self) -> Awaitable[None] | None: ...
    def on_answered(self) -> None: ...


class HttpExchange:
    """A request whose head is complete."""

    __slots__ = (
        "_answer_left",
        "_body_bytes",
        "_connection",
        "_has_news",
        "_held",
        "_is_chunked",
        "_is_head",
        "_pieces",
        "_waiter",
        "expects_continue",
        "headers",
        "is_answered",
        "is_gone",
        "is_started",
        "is_whole",
        "keeps_alive",
        "task",
    )

    def __init__(
        self,
        connection: Connection,
        headers: dict[bytes, bytes],
        *,
        is_head: bool,
        expects_continue: bool,
    ) -> None:
        self.headers = headers  # of the request, the last of each name
        self.task: asyncio.Task[None] | None = None  # in which the application runs
        self.expects_continue = expects_continue
        # An answer that begins before its request is complete is the last one of its connection.
        self.keeps_alive = False
        self.is_whole = False  # the request has come to its end
        self.is_gone = False  # nobody reads the answer any more
        self.is_started = False
        self.is_answered = False
        self._connection = connection
        self._pieces: list[bytes] = []
        self._body_bytes = 0
        self._has_news = False
        self._waiter: asyncio.Future[None] | None = None
        self._held = b""  # the answer's head, until something follows
        self._is_head = is_head
        self._is_chunked = False
        self._answer_left = 0  # bytes of a body that was announced with its length

    # For the connection

    def feed(self, piece: bytes) -> None:
        """A piece of the request's body."""
        if self.is_answered:
            return
        self._pieces.append(piece)
        self._body_bytes += len(piece)
        if self._body_bytes > _BUFFER_BYTES_MAX:
            self._connection.pause_reading()
        self._has_news = True
        if self._waiter is not None:
            self._wake()

    def complete(self) -> None:
        """The request has come to its end."""
        if not self.is_answered:
            self.is_whole = self._has_news = True
            if self._waiter is not None:
                self._wake()

    def lose(self) -> None:
        """The client is gone, or will hear nothing."""
        if not self.is_answered:
            self.is_gone = True
            self._wake()

    async def run(self, app: Any, scope: MutableMapping[str, Any]) -> None:
        """Have the application answer.  `scope` knows this object; nothing here may know it."""
        try:
            await app(scope, self.receive, self.send)
        except BaseException as error:
            logger.exception("the application failed")
            self._fail()
            if not isinstance(error, Exception):
                raise
        else:
            if not (self.is_answered or self.is_gone):
                logger.error("the application ended without a whole answer")
                self._fail()
        finally:
            if self.task is not None:
                self._connection.tasks.discard(self.task)
                self.task = None

    def _fail(self) -> None:
        if self.is_started:
            self._connection.close()
        else:
            self.start(500, _FAILED_HEADERS)
            self.write(_FAILED, more=False)

    # As ASGI has it

    async def receive(self) -> MutableMapping[str, Any]:
        """The next message of the request."""
        if self.expects_continue and not self._connection.is_closing:
            self.expects_continue = False
            self._connection.transport.write(_CONTINUE)
        if not (self.is_gone or self.is_answered):
            self._connection.resume_reading()
            if not self._has_news:
                self._waiter = self._connection.loop.create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
            self._has_news = False
        if self.is_gone or self.is_answered:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": self._taken(), "more_body": not self.is_whole}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """The next message of the answer."""
        kind = message["type"]
        if kind == "http.response.start":
            self.start(message["status"], [*message.get("headers", ())])
            # Nothing may follow for a while.
            self._connection.loop.call_soon(self.flush)
        elif kind == "http.response.body":
            more = message.get("more_body", False)
            rest = self.write(message.get("body", b""), more=more)
            if rest is not None:
                await rest
        else:
            raise RuntimeError(f"an HTTP answer has no message {kind!r}")

    # Without messages

    def take_body(self) -> bytes | None:
        """The whole body where it has come; `None` where some of it is to be received."""
        if not self.is_whole or self.is_gone or not self._has_news:
            return None
        self._has_news = False
        if self._body_bytes > _BUFFER_BYTES_MAX:
            self._connection.resume_reading()
        return self._taken()

    def start(self, status: int, headers: Headers) -> None:
        """The status and headers; they go with what is written next, or by `flush`."""
        if self.is_gone:
            return
        if self.is_started:
            raise RuntimeError("the answer has begun already")
        lines = [_status_lines[status]]
        self._is_chunked = not self._is_head and status not in (204, 304)
        for name, value in headers:
            start, framing = _line_starts[name]
            if not framing or self._is_said(framing, value):
                lines.append(start + value)
        if not self.keeps_alive:
            lines.append(b"connection: close")
        if self._is_chunked:
            lines.append(b"transfer-encoding: chunked")
        lines.append(b"\r\n")
        held = b"\r\n".join(lines)
        # Each line has an end of two control characters, and nothing else has any.
        if len(held.translate(None, _NOT_IN_VALUES)) != len(held) - 2 * len(lines):
            _refuse_values(headers)
        self.is_started = True
        self.expects_continue = False
        self._held = held

    def _is_said(self, framing: bytes, value: bytes) -> bool:
        """Whether a header of the application's that frames the answer is sent as it is."""
        if framing == b"content-length":
            self._answer_left = int(value)
            self._is_chunked = False
            return True
        if framing == b"connection" and b"close" in value.lower():
            self.keeps_alive = False
            return False  # said once, at the end
        return framing == b"connection"

    def write(self, data: bytes, *, more: bool) -> Awaitable[None] | None:
        """A piece of the body; what is to be awaited where the client is slow."""
        if self.is_gone:
            return None
        if not self.is_started or self.is_answered:
            raise RuntimeError("a body comes after the status, and ends once")
        if self._is_head:
            data = b""
        elif self._is_chunked:
            size = len(data)
            if size > _JOINED_BYTES_MAX:
                self._write_pieces(b"%x\r\n" % size, data, b"\r\n")
                data = b""
            else:
                data = b"%x\r\n%b\r\n" % (size, data) if size else b""
            if not more:
                data += _LAST_CHUNK
        else:
            self._answer_left -= len(data)
            if self._answer_left < 0 or (self._answer_left and not more):
                raise RuntimeError("the body has another length than its header says")
        connection = self._connection
        if self._held:
            if len(data) <= _JOINED_BYTES_MAX:
                data, self._held = self._held + data, b""
            else:
                self.flush()
        if data and not connection.is_closing:
            connection.transport.write(data)
        if more:
            return connection.drained()
        self.is_answered = self._has_news = True
        if self._waiter is not None:
            self._wake()
        if not self.keeps_alive:
            connection.close()
        connection.on_answered()
        return None

    def _write_pieces(self, *pieces: bytes) -> None:
        self.flush()
        if not self._connection.is_closing:
            self._connection.transport.writelines(pieces)

    def flush(self) -> None:
        """Send the head where nothing has followed it yet."""
        if self._held:
            data, self._held = self._held, b""
            if not (self.is_gone or self._connection.is_closing):
                self._connection.transport.write(data)

    # Within

    def _taken(self) -> bytes:
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._body_bytes = 0
        return data

    def _wake(self) -> None:
        self._has_news = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}".encode()


def _line_start(name: bytes) -> tuple[bytes, bytes]:
    """The beginning of the header's line, and its name if it says how the answer is framed."""
    if _NOT_IN_NAMES.search(name):
        raise RuntimeError(f"{name!r} is not the name of a header")
    lower = name.lower()
    return lower + b": ", lower if lower in _FRAMING else b""


_status_lines, _line_starts = Memo(_status_line), Memo(_line_start)


def _refuse_values(headers: Headers) -> None:
    """Raise for a value that would end its line."""
    name = next(name for name, value in headers if value.translate(None, _NOT_IN_VALUES) != value)
    raise RuntimeError(f"the value of the header {name!r} has control characters")
