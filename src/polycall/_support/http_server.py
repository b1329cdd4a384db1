"""The HTTP/1.1 that all our servers speak: uvicorn's protocol with every byte and second bounded.

Gateway, simulation and MCP server take requests through `BoundedProtocol` and are run by
`server_config`.  What is bounded counts until a message is complete, trailers included, whatever
its method: an application that does not read a body leaves none of these bounds out.  Framing is
llhttp's, in its strict mode; what llhttp lets through and RFC 9110 and 9112 do not is refused here
(docs/http.md has the table).
"""

from __future__ import annotations

import asyncio
import json
import re
from http import HTTPStatus
from typing import Any

import httptools
import uvicorn
from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

_REFUSAL = (
    b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b"
)
_NOT_HTTP = "this is not HTTP/1.1; look at the request line, the headers and how the body is framed"
_LONG_HEAD = "the headers are too large; send fewer, or raise server.headers_bytes_max"
_LONG_FRAMING = "the body's chunks or trailers hold too little of a body; send it in larger chunks"
_SLOW_BODY = "the request's body did not come in time"
_LARGE_BODY = "the body is larger than {} bytes; send less"
_MANY_AHEAD = "too many requests were sent ahead of their answers; wait for some"

# What asks for another protocol.  Where there is none, a server may go on as if nobody had asked;
# Java's own client asks for HTTP/2 with every first request, and sends its body along.
_UPGRADES = (b"http2-settings", b"connection")  # without these, `upgrade` asks for nothing
# A second one of these says something else than the first; a server and a proxy before it may
# each believe another.
_SINGLE = frozenset(
    {b"host", b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key", b"content-encoding"}
)
_HOST = re.compile(rb"(?:[\w.~%!$&'()*+,;=-]*|\[[0-9A-Za-z:.]+\])(?::\d*)?", re.ASCII)
_VERSIONS = ("1.1", "1.0")

_AHEAD_MAX = 64  # requests that were sent before the answers to others
_CHUNK_BYTES = 16  # of framing that a chunk may have without being counted as waste
_LINGER_S = 2.0
_LINGER_BYTES_MAX = 16 * 1024 * 1024

_IDLE, _HEAD, _BODY = range(3)


class Bounds(Struct, frozen=True):
    """What one connection may take, in bytes and seconds.

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


class RefusedRequest(Exception):  # noqa: N818 - the client's error, not ours
    """A request that is answered before any application sees it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class _Corked:
    """A transport that sends a response's head together with what follows it.

    uvicorn writes them one after the other, which costs a system call and a packet more.
    `close` lets the client read its answer where bytes of its request are still under way: closing
    at once would have the system reset the connection, and the answer with it (RFC 9112, 9.6).
    """

    __slots__ = ("_held", "_is_closing", "_linger_s", "_loop", "_protocol", "_transport")

    def __init__(
        self, transport: asyncio.Transport, protocol: BoundedProtocol, *, linger_s: float
    ) -> None:
        self._transport = transport
        self._protocol: BoundedProtocol | None = protocol
        self._loop = protocol.loop
        self._linger_s = linger_s
        self._held = b""
        self._is_closing = False

    def write(self, data: bytes) -> None:
        if self._held:
            data, self._held = self._held + data, b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):
            self._held = data
            # Nothing may follow (an answer to HEAD).
            self._loop.call_soon(self._flush)
            return
        if not self._is_closing:
            self._transport.write(data)

    def is_closing(self) -> bool:
        return self._is_closing or self._transport.is_closing()

    def close(self) -> None:
        if self._is_closing:
            return
        self._flush()
        self._is_closing = True
        transport, protocol = self._transport, self._protocol
        if protocol is not None and protocol.is_receiving and not transport.is_closing():
            transport.write_eof()
            transport.resume_reading()
            self._loop.call_later(min(_LINGER_S, self._linger_s), transport.abort)
            return
        transport.close()
        if transport.get_write_buffer_size():
            # Who takes nothing does not keep the connection for as long as it likes.
            self._loop.call_later(self._linger_s, transport.abort)

    def forget(self) -> None:
        """The connection is over; knowing each other, both ends would wait for the collector."""
        self._protocol = None

    def _flush(self) -> None:
        if self._held:
            data, self._held = self._held, b""
            if not self._is_closing:
                self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedProtocol(HttpToolsProtocol):
    """One connection.  A server makes a class of its own with its `bounds`."""

    bounds = Bounds()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._phase = _IDLE
        self._waste = 0  # bytes of this phase that are no content
        self._head_bytes = 0
        self._body_bytes = 0
        self._chunks = 0
        self._has_ended = False  # a message ended within this read
        self._may_keep = False  # the request allows another one after it
        self._is_over = False  # nothing more is read
        self._is_draining = False
        self._discarded = 0
        self._is_upgrade = False
        self._refusal: tuple[int, str] | None = None
        self._running: RequestResponseCycle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timed = _IDLE  # the phase that the timer is for

    # What a server may have in its own way

    def refusal_body(self, status: int, message: str) -> bytes:
        """The JSON of an answer that no application gave; `url` and `headers` are what came."""
        return json.dumps({"error": {"message": message, "code": status}}).encode()

    def body_seconds(self) -> float:
        """How long the body of the request at hand may take."""
        return self.bounds.body_s

    def choose_application(self) -> None:
        """Set `app`, where not every request is for the same one."""

    def hand_over(self, head: bytes, rest: bytes) -> bool:
        """Give the connection to another protocol, where the request asks for one that is spoken.

        `url` and `headers` are the request's, `head` is the whole of it, `rest` what came behind.
        """
        return False

    # For the loop

    @property
    def is_receiving(self) -> bool:
        """Whether the client may still be sending what nobody will read."""
        return self._is_over or self._phase != _IDLE

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.plain_transport = transport
        corked = self._corked = _Corked(transport, self, linger_s=self.bounds.linger_s)
        super().connection_made(corked)  # pyright: ignore[reportArgumentType]
        most = self.bounds.connections_max
        if len(self.connections) > most + most // 4 + 64:
            # More than can be told so.
            self._is_over = True
            transport.abort()
            return
        self._arm(_HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        # uvicorn only knows of the latest request; those before it have lost their client too.
        for cycle in (self._running, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)
        # What knows this connection is let go of, so that nothing of it waits for the collector,
        # or for uvicorn's timer, which a reset leaves running.
        self._unset_keepalive_if_required()
        self.cycle = self._running = None  # pyright: ignore[reportAttributeAccessIssue]
        self._corked.forget()

    def data_received(self, data: bytes) -> None:
        if self._is_over or self.transport.is_closing():
            self._discarded += len(data)
            if self._discarded > _LINGER_BYTES_MAX:
                self.transport.abort()
            return
        self._unset_keepalive_if_required()
        if self._phase == _IDLE:
            self._phase = _HEAD
        before, chunks = self._body_bytes, self._chunks
        self._has_ended = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            if self._may_leave() and self.hand_over(self._head(self.headers), rest):
                self._leave()
            else:
                self._go_on_without(rest)
            return
        except httptools.HttpParserError:
            self._refuse(*(self._refusal or (400, _NOT_HTTP)))
            return
        if self._has_ended:
            self._waste = 0
        else:
            content = 3 * (self._body_bytes - before) + _CHUNK_BYTES * (self._chunks - chunks)
            self._waste = max(0, self._waste + len(data) - content)
            if self._waste > self.bounds.head_bytes_max:
                is_head = self._phase == _HEAD
                self._refuse(431 if is_head else 400, _LONG_HEAD if is_head else _LONG_FRAMING)
                return
        if self._timer is not None or self._phase != _IDLE:
            self._keep_time()

    # The parser's callbacks

    def on_message_begin(self) -> None:
        self._phase = _HEAD
        self._head_bytes = self._body_bytes = self._chunks = self._waste = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase == _HEAD:  # a trailer is no header, whatever it is called
            self._head_bytes += len(name) + len(value) + 4
            super().on_header(name, value)

    def on_chunk_header(self) -> None:
        self._chunks += 1

    def on_headers_complete(self) -> None:
        try:
            self._check_head()
        except RefusedRequest as refused:
            # Not the error itself: with its traceback it knows this connection.
            self._refusal = refused.status, refused.message
            raise
        if self.parser.should_upgrade():
            self._is_upgrade = True
            return
        self._phase = _BODY
        self._waste = -self._head_bytes - len(self.url)  # they are counted with this read
        self.choose_application()
        super().on_headers_complete()
        # An answer that begins before its request is complete is the last one of its connection.
        self._may_keep = self.cycle.keep_alive
        self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        most = self.bounds.body_bytes_max
        if most and self._body_bytes > most:
            self._refusal = 413, _LARGE_BODY.format(most)
            raise RefusedRequest(*self._refusal)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._is_upgrade:
            return
        cycle = self.cycle
        if self._may_keep and not self._is_draining and not cycle.response_started:
            cycle.keep_alive = True
        self._phase = _IDLE
        self._has_ended = True
        self._body_bytes = self._chunks = 0
        super().on_message_complete()

    # Answers

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.pipeline:
            self.flow.pause_reading()  # what is there is enough for now

    def shutdown(self) -> None:
        self._is_draining = True
        super().shutdown()

    # Within

    def _check_head(self) -> None:
        """Raise `RefusedRequest` for a head that is well-formed, and still no request for us."""
        version = self.parser.get_http_version()
        if version not in _VERSIONS:
            raise RefusedRequest(505, f"HTTP/{version} is not spoken here; use HTTP/1.1")
        if self._head_bytes + len(self.url) > self.bounds.head_bytes_max:
            raise RefusedRequest(431, _LONG_HEAD)
        if len(self.pipeline) >= _AHEAD_MAX:
            raise RefusedRequest(429, _MANY_AHEAD)
        self._check_target()
        seen: set[bytes] = set()
        for name, value in self.headers:
            if name in _SINGLE:
                if name in seen:
                    raise RefusedRequest(400, f"the header {name.decode()!r} is there twice")
                seen.add(name)
                if name == b"host" and _HOST.fullmatch(value) is None:
                    raise RefusedRequest(400, "the header 'host' is not a host; write NAME:PORT")
            elif name == b"transfer-encoding" and (
                version == "1.0" or value.strip().lower() != b"chunked"
            ):
                raise RefusedRequest(400, f"{_NOT_HTTP}; only 'chunked' is a known encoding")
            elif name == b"expect" and version == "1.1" and value.lower() != b"100-continue":
                shown = value[:60].decode("latin-1")
                raise RefusedRequest(417, f"{shown!r} cannot be expected here; only 100-continue")
        if version == "1.1" and b"host" not in seen:
            raise RefusedRequest(400, "the header 'host' is missing, which HTTP/1.1 asks for")
        if version == "1.0":
            self.expect_100_continue = False

    def _check_target(self) -> None:
        method, target = self.parser.get_method(), self.url
        if method == b"CONNECT":
            raise RefusedRequest(400, "this is not a proxy; CONNECT is refused")
        is_known = target.startswith((b"/", b"http://", b"https://"))
        if not (is_known or (target == b"*" and method == b"OPTIONS")) or b"#" in target:
            shown = target[:60].decode("latin-1")
            raise RefusedRequest(400, f"the target {shown!r} is not a path")

    def _may_leave(self) -> bool:
        """Whether the request asks for a WebSocket, and nothing else is going on."""
        running = self._running
        is_busy = bool(self.pipeline) or (running is not None and not running.response_complete)
        names = dict(self.headers)
        has_body = b"content-length" in names or b"transfer-encoding" in names
        is_get = self.parser.get_method() == b"GET" and self.parser.get_http_version() == "1.1"
        wants = names.get(b"upgrade", b"").strip().lower() == b"websocket"
        is_full = len(self.connections) > self.bounds.connections_max
        return is_get and wants and not (is_busy or has_body or is_full or self._is_draining)

    def _leave(self) -> None:
        """The connection is another protocol's; this one hears nothing of it any more."""
        self._stop_timer()
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        self._is_over = True

    def _head(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """The request's head as it came, with these headers."""
        method, version = self.parser.get_method(), self.parser.get_http_version()
        lines = b"".join(b"%b: %b\r\n" % pair for pair in headers)
        return b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version.encode(), lines)

    def _go_on_without(self, rest: bytes) -> None:
        """Read the request again without its wish for another protocol."""
        kept = [pair for pair in self.headers if pair[0] not in _UPGRADES]
        if any(name == b"connection" and b"close" in value.lower() for name, value in self.headers):
            kept.append((b"connection", b"close"))
        head = self._head(kept)
        self.parser = httptools.HttpRequestParser(self)
        self._is_upgrade = False
        self.data_received(head + rest)

    def _refuse(self, status: int, message: str) -> None:
        """Answer, as far as nothing else is being said on this connection, and hang up.

        Answers to earlier requests are finished first: what is wrong came after them.
        """
        self._is_over = True
        self._stop_timer()
        broken = self.cycle if self._phase == _BODY else None
        if broken is not None:
            broken.disconnected = True
            broken.message_event.set()
            kept = [entry for entry in self.pipeline if entry[0] is not broken]
            self.pipeline.clear()
            self.pipeline.extend(kept)
        running = self._running
        if running is not None and not running.response_complete and running is not broken:
            last = self.pipeline[0][0] if self.pipeline else running
            last.keep_alive = False
            self.flow.pause_reading()
            return
        if broken is None or not broken.response_started:
            body = self.refusal_body(status, message)
            phrase = HTTPStatus(status).phrase.encode()
            self.transport.write(_REFUSAL % (status, phrase, len(body), body))
        self.transport.close()

    # Time

    def _keep_time(self) -> None:
        """Have the timer count for the phase that the connection is in."""
        phase = self._phase
        if phase == _IDLE:
            self._stop_timer()
        elif self._timer is None or self._timed != phase or self._has_ended:
            self._arm(phase)

    def _arm(self, phase: int) -> None:
        self._stop_timer()
        bounds = self.bounds
        # The application may have a word of its own about a slow body: it comes first.
        seconds = bounds.head_s if phase == _HEAD else self.body_seconds() + 1.0
        self._timed = phase
        self._timer = self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        self._timer = None
        running = self._running
        if self._timed == _BODY:
            self._refuse(408, _SLOW_BODY)
        elif running is not None and not running.response_complete:
            # An answer that is under way is not cut for what comes after it.
            self._arm(self._timed)
        elif not self.transport.is_closing():
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def server_config(app: Any, protocol: type[BoundedProtocol], **options: Any) -> uvicorn.Config:
    """How uvicorn serves `app` by `protocol`; `options` are its own."""
    settings: dict[str, Any] = {
        "ws": "none",
        "lifespan": "off",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "date_header": False,
        "proxy_headers": False,
        "timeout_keep_alive": 75,
    }
    return uvicorn.Config(app, http=protocol, **{**settings, **options})
