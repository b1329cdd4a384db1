"""The HTTP/1.1 that all our servers speak, with every byte and second bounded.

Gateway, simulation and MCP server take requests through `BoundedProtocol`; uvicorn listens, counts
connections and ends them (`server_config`).  What is bounded counts until a message is complete,
trailers included, whatever its method: an application that does not read a body leaves none of
these bounds out.  Framing is llhttp's, in its strict mode; what llhttp lets through and RFC 9110
and 9112 do not is refused by `http_head` (docs/http.md has the table).
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.server import ServerState

from polycall._support.http_exchange import Bounds, HttpExchange
from polycall._support.http_head import (
    NOT_HTTP,
    Headers,
    RefusedRequest,
    address_of,
    check_head,
    check_line,
    head_bytes,
    split_target,
    wants_socket,
    without_upgrade,
    written_head,
)

_REFUSAL = (
    b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b"
)
_LONG_HEAD = "the headers are too large; send fewer, or raise server.headers_bytes_max"
_LONG_FRAMING = "the body's chunks or trailers hold too little of a body; send it in larger chunks"
_SLOW_BODY = "the request's body did not come in time"
_LARGE_BODY = "the body is larger than {} bytes; send less"
_MANY_AHEAD = "too many requests were sent ahead of their answers; wait for some"

_AHEAD_MAX = 64  # requests that were sent before the answers to others
_CHUNK_BYTES = 16  # of framing that a chunk may have without being counted as waste
_LINGER_S = 2.0
_LINGER_BYTES_MAX = 16 * 1024 * 1024
_NEVER = float("inf")

_IDLE, _HEAD, _BODY = range(3)


class BoundedProtocol(asyncio.Protocol):
    """One connection.  A server makes a class of its own with its `bounds`.

    Of the requests on it one is being answered, `_running`; others may wait their turn in `_ahead`.
    """

    bounds = Bounds()
    transport: asyncio.Transport
    url: bytes
    headers: Headers

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.config = config
        self.server_state = server_state
        self.loop = _loop or asyncio.get_running_loop()
        self.connections: set[Any] = server_state.connections
        self.tasks: set[asyncio.Task[None]] = server_state.tasks
        self._loaded: Any = getattr(config, "loaded_app")  # noqa: B009 - it has no type
        self.app: Any = self._loaded
        self.parser: Any = self._new_parser()
        self.url, self.headers = b"", []
        self._running: HttpExchange | None = None
        self._incoming: HttpExchange | None = None  # the latest whose head is complete
        self._ahead: deque[tuple[HttpExchange, Coroutine[Any, Any, None]]] = deque()
        self._ends: tuple[Any, Any] = (None, None)  # the addresses of both sides
        self._phase, self._place = _IDLE, 0
        self._text = b""  # what came of a head; its line is behind `_place`
        self._waste = self._read_bytes = 0  # what of this phase is no content; of this read
        self._body_bytes = self._chunks = 0
        self._has_begun = self._has_ended = False  # a head, or a message, came to its end just now
        self._may_keep = False  # the request allows another one after it
        self._is_over = False  # nothing more is read
        self._is_closed = False  # nothing more is written
        self._is_draining = False
        self._is_paused = False
        self._is_stalled = False
        self._discarded = 0
        self._is_upgrade = False
        self._refusal: tuple[int, str] | None = None
        self._room: asyncio.Future[None] | None = None  # while the client takes no more
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = _NEVER
        self._due_at = _NEVER
        self._timed = _IDLE  # the phase that is due then

    def refusal_body(self, status: int, message: str) -> bytes:
        """The JSON of an answer that no application gave; `url` and `headers` are what came."""
        return json.dumps({"error": {"message": message, "code": status}}).encode()

    def body_seconds(self) -> float:
        """The seconds that the body of the present request may take."""
        return self.bounds.body_s

    def choose_application(self) -> None:
        """Set `app`, where not every request is for the same one."""
        most = self.config.limit_concurrency
        if most is not None:
            is_full = len(self.connections) >= most or len(self.tasks) >= most
            self.app = service_unavailable if is_full else self._loaded

    def hand_over(self, head: bytes, rest: bytes) -> bool:
        """Give the connection to another protocol, where the request asks for one that is spoken.

        `url` and `headers` are the request's, `head` is the whole of it, `rest` what came behind.
        """
        return False

    # For the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert not isinstance(transport, asyncio.DatagramTransport)
        self.transport = transport  # pyright: ignore[reportAttributeAccessIssue] - uvloop's own
        self._ends = (
            address_of(transport.get_extra_info("sockname")),
            address_of(transport.get_extra_info("peername")),
        )
        self.connections.add(self)
        most = self.bounds.connections_max
        if len(self.connections) > most + most // 4 + 64:
            # More than this form can report.
            self._is_over = True
            self.transport.abort()
            return
        self._set_due(_HEAD, self.bounds.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        self._is_over = self._is_closed = True
        self._due_at = _NEVER
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._running is not None:
            self._running.lose()
        while self._ahead:
            self._ahead.pop()[1].close()
        self.resume_writing()
        # What knows this connection is let go of: none of it waits for the garbage collector.
        self._running = self._incoming = self.parser = None

    def eof_received(self) -> None:
        return None

    def pause_writing(self) -> None:
        if self._room is None:
            self._room = self.loop.create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)
        if self._is_stalled and not self.is_closing:
            self._is_stalled = False
            self._due_at = _NEVER
            self._go_on()

    def data_received(self, data: bytes) -> None:
        if self._is_over or self._is_closed or self.transport.is_closing():
            self._discarded += len(data)
            if self._discarded > _LINGER_BYTES_MAX:
                self.transport.abort()
            return
        if self._phase == _HEAD:
            self._text += data
        else:
            self._text, self._place = data, 0
        self._phase = self._phase or _HEAD
        before, chunks = self._body_bytes, self._chunks
        self._read_bytes = len(data)
        self._has_begun = self._has_ended = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self._refuse(*(self._refusal or (400, NOT_HTTP)))
            return
        if self._phase != _HEAD:
            self._text = b""
        if self._has_ended:
            self._waste = 0
        else:
            if self._has_begun:
                self._waste = -head_bytes(self.url, self.headers)  # it is counted with this read
            content = 3 * (self._body_bytes - before) + _CHUNK_BYTES * (self._chunks - chunks)
            self._waste = max(0, self._waste + len(data) - content)
            if self._waste > self.bounds.head_bytes_max:
                is_head = self._phase == _HEAD
                self._refuse(431 if is_head else 400, _LONG_HEAD if is_head else _LONG_FRAMING)
                return
        self._keep_time()

    # For uvicorn

    def shutdown(self) -> None:
        """Take no request after the one that is under way."""
        self._is_draining = True
        latest = self._incoming
        if latest is None or latest.is_answered:
            self.close()
        else:
            latest.keeps_alive = False

    # The parser's callbacks

    def on_message_begin(self) -> None:
        self._phase = _HEAD
        self._body_bytes = self._chunks = self._waste = 0
        self.url, self.headers = b"", []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase == _HEAD:  # a trailer is no header, whatever it is called
            self.headers.append((name.lower(), value))

    def on_chunk_header(self) -> None:
        self._chunks += 1

    def on_headers_complete(self) -> None:
        parser, version = self.parser, self.parser.get_http_version()
        method: bytes = parser.get_method()
        try:
            self._check_bounds()
            names, expects = check_head(method, self.url, version, self.headers)
            self._place = check_line(self._text, self._place, method, self.url)
        except RefusedRequest as refused:
            # Not the error itself: with its traceback it knows this connection.
            self._refusal = refused.status, refused.message
            raise
        if parser.should_upgrade():
            self._is_upgrade = True
            return
        self._phase = _BODY
        self._has_begun = True
        self._may_keep = version != "1.0" and parser.should_keep_alive()
        self.choose_application()
        exchange = self._incoming = HttpExchange(
            self, names, is_head=method == b"HEAD", expects_continue=expects
        )
        work = exchange.run(self.app, self._scope(method, version, exchange))
        if self._running is None:
            self._run(exchange, work)
        else:
            self.pause_reading()
            self._ahead.append((exchange, work))

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        most = self.bounds.body_bytes_max
        if most and self._body_bytes > most:
            self._refusal = 413, _LARGE_BODY.format(most)
            raise RefusedRequest(*self._refusal)
        if self._incoming is not None:
            self._incoming.feed(body)

    def on_message_complete(self) -> None:
        exchange = self._incoming
        if self._is_upgrade or exchange is None:
            return
        if self._may_keep and not self._is_draining and not exchange.is_started:
            exchange.keeps_alive = True
        self._phase = _IDLE
        self._has_ended = True
        self._body_bytes = self._chunks = 0
        exchange.complete()

    # For an exchange

    @property
    def is_closing(self) -> bool:
        """Whether nothing more is written."""
        return self._is_closed or self.transport.is_closing()

    def pause_reading(self) -> None:
        """Have the client wait with what it sends."""
        if not self._is_paused and not self.transport.is_closing():
            self._is_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Take what the client sends."""
        if self._is_paused:
            self._is_paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def drained(self) -> asyncio.Future[None] | None:
        """The future to wait for until the client takes more; `None` where it does now."""
        return self._room

    def on_answered(self) -> None:
        """An answer is complete: the next request has its turn."""
        self._running = None
        self.server_state.total_requests += 1
        if self._is_closed or self.transport.is_closing():
            return
        if self._room is not None:
            # The client takes no more of the answers that it has: it gets none before it does.
            self.pause_reading()
            self._is_stalled = True
            self._set_due(_IDLE, self.config.timeout_keep_alive)
            return
        self._go_on()

    def _go_on(self) -> None:
        self.resume_reading()
        if self._ahead:
            self._run(*self._ahead.popleft())
            if self._ahead:
                self.pause_reading()  # what is there is enough for now
        elif self._phase == _IDLE:
            self._set_due(_IDLE, self.config.timeout_keep_alive)

    def close(self) -> None:
        """End the connection, so that the client can read its answer.

        Bytes of its request may still be under way: closing at once would have the system reset the
        connection, and the answer with it (RFC 9112, 9.6).
        """
        if self._is_closed:
            return
        if self._running is not None:
            self._running.flush()
        self._is_closed = True
        transport, linger_s = self.transport, self.bounds.linger_s
        if (self._is_over or self._phase != _IDLE) and not transport.is_closing():
            transport.write_eof()
            transport.resume_reading()
            self.loop.call_later(min(_LINGER_S, linger_s), transport.abort)
            return
        transport.close()
        if transport.get_write_buffer_size():
            # Who takes nothing does not keep the connection for as long as it likes.
            self.loop.call_later(linger_s, transport.abort)

    def _new_parser(self) -> Any:
        parser: Any = httptools.HttpRequestParser(self)
        # What comes after `connection: close` is not read, and is no fault of the request before.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def _check_bounds(self) -> None:
        most = self.bounds.head_bytes_max
        may_be_long = self._waste + self._read_bytes > most
        if may_be_long and head_bytes(self.url, self.headers) > most:
            raise RefusedRequest(431, _LONG_HEAD)
        if len(self._ahead) >= _AHEAD_MAX:
            raise RefusedRequest(429, _MANY_AHEAD)

    def _scope(self, method: bytes, version: str, exchange: HttpExchange) -> dict[str, Any]:
        path, raw, query = split_target(self.url)
        server, client = self._ends
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "method": method.decode("ascii"),
            "scheme": "http",
            "path": path,
            "raw_path": raw,
            "query_string": query,
            "root_path": "",
            "headers": self.headers,
            "server": server,
            "client": client,
            "extensions": {"polycall.exchange": exchange, "polycall.close": self.close},
        }

    def _run(self, exchange: HttpExchange, work: Coroutine[Any, Any, None]) -> None:
        self._running = exchange
        exchange.task = self.loop.create_task(work)
        self.tasks.add(exchange.task)

    def _upgrade(self, rest: bytes) -> None:
        """Another protocol is asked for: have it speak from now on, or continue without it."""
        method, version = self.parser.get_method(), self.parser.get_http_version()
        is_alone = self._running is None and not self._is_draining
        is_full = len(self.connections) > self.bounds.connections_max
        if is_alone and not is_full and wants_socket(method, version, self.headers):
            head = written_head(method, self.url, version, self.headers)
            if self.hand_over(head, rest):
                # The connection is another's; this one hears nothing of it any more.
                self._due_at = _NEVER
                self.connections.discard(self)
                self._is_over = True
                return
        head = written_head(method, self.url, version, without_upgrade(self.headers))
        self.parser = self._new_parser()
        self._is_upgrade = False
        self.data_received(head + rest)

    def _refuse(self, status: int, message: str) -> None:
        """Answer, as far as nothing else is being said on this connection, and hang up.

        Answers to earlier requests are finished first: what is wrong came after them.
        """
        self._is_over = True
        self._due_at = _NEVER
        broken = self._incoming if self._phase == _BODY else None
        if broken is not None:
            broken.lose()
            if self._ahead and self._ahead[-1][0] is broken:
                self._ahead.pop()[1].close()
        running = self._running
        if running is not None and running is not broken:
            last = self._ahead[-1][0] if self._ahead else running
            last.keeps_alive = False
            self.pause_reading()
            return
        if (broken is None or not broken.is_started) and not self.is_closing:
            body = self.refusal_body(status, message)
            phrase = HTTPStatus(status).phrase.encode()
            self.transport.write(_REFUSAL % (status, phrase, len(body), body))
        self.close()

    # Time

    def _keep_time(self) -> None:
        """Have the clock run for the phase that the connection is in."""
        phase = self._phase
        if phase == _IDLE:
            # Somebody answers, or the answer has set what is due after it.
            if self._timed != _IDLE or self._running is not None:
                self._due_at = _NEVER
        elif self._timed != phase or self._has_ended or self._due_at == _NEVER:
            # The application may have a word of its own about a slow body: it comes first.
            self._set_due(
                phase, self.bounds.head_s if phase == _HEAD else self.body_seconds() + 1.0
            )

    def _set_due(self, phase: int, seconds: float) -> None:
        """Something must have happened by then.  The timer is only touched to ring earlier."""
        self._timed = phase
        due_at = self._due_at = self.loop.time() + seconds
        if due_at < self._rings_at or self._timer is None:
            if self._timer is not None:
                self._timer.cancel()
            self._rings_at = due_at
            self._timer = self.loop.call_at(due_at, self._ring)

    def _ring(self) -> None:
        self._timer, self._rings_at = None, _NEVER
        due_at = self._due_at
        if due_at == _NEVER:
            return
        left_s = due_at - self.loop.time()
        if left_s > 0.001:
            self._set_due(self._timed, left_s)
            return
        self._due_at = _NEVER
        if self._timed == _BODY:
            self._refuse(408, _SLOW_BODY)
        elif self._timed == _HEAD and self._running is not None:
            # An answer that is under way is not cut for what comes after it.
            self._set_due(_HEAD, self.bounds.head_s)
        else:
            self.close()


def server_config(app: Any, protocol: type[BoundedProtocol], **options: Any) -> uvicorn.Config:
    """The settings by which uvicorn serves `app` over `protocol`; `options` are uvicorn's own."""
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
