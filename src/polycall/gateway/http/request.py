"""One HTTP request in the gateway, and the monitor that looks after all of them.

A request costs no timer and no task of its own.  One timer for the process looks at every request
twice a second: it notices clients that left, silences that need a heartbeat, deadlines, and
clients too slow to take what is sent.  A request that ends before costs nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from urllib.parse import parse_qsl, urlencode

from polycall.errors import MalformedRequestError, OverloadedError, UpstreamTimeoutError
from polycall.ir import JSON

if TYPE_CHECKING:
    from polycall.gateway.observability.traces import Trace

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

TICK_S = 0.4


class ClientGone(Exception):  # noqa: N818 - not an error: the client's right
    """The client closed its connection; there is nobody to answer."""


class DirectExchange(Protocol):
    """The functions that our own server gives besides ASGI's: the same without messages."""

    headers: dict[bytes, bytes]  # of the request, the last of each name
    task: asyncio.Task[None] | None  # in which it is answered

    def take_body(self) -> bytes | None:
        """The whole body where it has come."""
        ...

    def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The status and headers, which wait for what is written next, or for `flush`."""
        ...

    def flush(self) -> None:
        """Send what waits."""
        ...

    def write(self, data: bytes, *, more: bool) -> Awaitable[None] | None:
        """A piece of the body; what is left to await, where the client is slow."""
        ...


class Listener(Protocol):
    """Hears what is sent."""

    def add(self, data: bytes) -> None:
        """A piece of the body."""
        ...


class ResponseTap(Listener, Protocol):
    """Hears the headers too."""

    headers: list[tuple[bytes, bytes]]


class Framer(Protocol):
    """Frames a stream of server-sent events in another way."""

    def takes(self, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether the answer with these headers is such a stream; changes its content type."""
        ...

    def feed(self, data: bytes) -> bytes:
        """The frames that are complete with this piece."""
        ...


class Reshape(Protocol):
    """Says a whole answer in another way."""

    def reshaped(self, fields: JSON) -> JSON:
        """The fields of an answer that was made here."""
        ...

    def whole(self, data: bytes) -> bytes:
        """An answer as it came."""
        ...


_LISTS = frozenset({b"anthropic-beta", b"openai-beta"})


class GatewayRequest:
    """A request: what it is, how far its answer has come, and when to give up.

    `abort` cancels the task with a reason; the task's owner calls `reason_or_raise` on
    cancellation, to tell its own cancellations from others.
    """

    __slots__ = (
        "_exchange",
        "_raw_send",
        "_reason",
        "aborted",
        "address",
        "beat",
        "beat_at",
        "body_by",
        "body_is_unread",
        "content",
        "ends_at",
        "framer",
        "headers",
        "heard_at",
        "id",
        "is_answered",
        "is_session",
        "is_taken_over",
        "method",
        "notes",
        "path",
        "query",
        "receive",
        "recorder",
        "reshape",
        "secrets",
        "sending_since",
        "started",
        "started_at",
        "status",
        "task",
        "trace",
        "watcher",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        self.id = request_id
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        extensions = scope.get("extensions")
        exchange: DirectExchange | None = None
        if extensions is not None:
            exchange = extensions.get("polycall.exchange")
        self._exchange = exchange
        lines: list[tuple[bytes, bytes]] = scope["headers"]
        headers = dict(lines) if exchange is None else exchange.headers
        self.headers = headers if len(headers) == len(lines) else _joined(lines, headers)
        self.receive = receive
        client = scope.get("client")
        self.address: str = client[0] if client else ""
        self._raw_send = send
        self.task = asyncio.current_task() if exchange is None else exchange.task
        self.started_at = self.heard_at = time.monotonic()
        self.ends_at = float("inf")
        self.body_is_unread = self.method == "POST"
        self.body_by = 0.0  # while the body is awaited: by when
        self.sending_since = 0.0
        self.started = False  # the status has been sent
        self.is_answered = False  # all has been sent
        self.is_taken_over = False  # another request of this id does the work, and has the row
        self.status = 0
        self.is_session = False  # a client's WebSocket
        self.recorder: ResponseTap | None = None
        self.content: Listener | None = None  # where an owner switched on that content is kept
        self.framer: Framer | None = None  # frames a stream as another protocol has it
        self.reshape: Reshape | None = None  # the same for a whole answer
        self.trace: Trace | None = None
        self.beat: Callable[[], Awaitable[None]] | None = None  # sends a heartbeat
        self.beat_at = 0.0
        self.watcher: asyncio.Task[None] | None = None
        self.secrets: list[bytes] = []  # of the providers that were asked: none may be sent
        self.notes: list[tuple[bytes, bytes]] = []  # headers of the answer, whatever it is
        self.aborted = False
        self._reason: Exception | None = None

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send one ASGI message; a client that takes none of it for long is given up."""
        self.sending_since = time.monotonic()
        await self._raw_send(message)
        self.sending_since = 0.0

    def take_body(self) -> bytes | None:
        """The whole body where it has come; `None` where it is to be received."""
        return None if self._exchange is None else self._exchange.take_body()

    async def send_start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The status and headers."""
        self._note_start(status, headers)
        if self._exchange is None:
            await self.send({"type": "http.response.start", "status": status, "headers": headers})
        else:
            self._exchange.start(status, headers)
            # Nothing may follow for a while.
            asyncio.get_running_loop().call_soon(self._exchange.flush)

    async def send_whole(
        self, status: int, headers: list[tuple[bytes, bytes]], data: bytes
    ) -> None:
        """An answer at once."""
        if self._exchange is None:
            await self.send_start(status, headers)
        else:
            self._note_start(status, headers)
            self._exchange.start(status, headers)
        await self.send_framed(self.framed(data), more=False)

    def _note_start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.started = True
        self.status = status
        if self.framer is not None and not self.framer.takes(headers):
            self.framer = None
        if self.recorder is not None:
            self.recorder.headers = headers

    async def send_body(self, data: bytes, *, more: bool = False) -> None:
        """A piece of the body, or the last one."""
        await self.send_framed(self.framed(data), more=more)

    async def send_framed(self, data: bytes, *, more: bool) -> None:
        """The same of what `framed` gave."""
        rest = self._write(data, more=more)
        if rest is not None:
            await rest
        self.is_answered = not more

    def push_body(self, data: bytes) -> Awaitable[None] | None:
        """Send a piece of the body within this call; what is left to await where that is not
        possible, because the client is slow."""
        return self._write(self.framed(data), more=True)

    def framed(self, data: bytes) -> bytes:
        """A piece of the body, as the client's protocol frames it.

        A long piece may be framed in a thread.
        """
        data = self.clean(data)
        if self.content is not None:
            self.content.add(data)
        return data if self.framer is None else self.framer.feed(data)

    def _write(self, data: bytes, *, more: bool) -> Awaitable[None] | None:
        if self.framer is not None and more and not data:
            return None
        if self.recorder is not None:
            self.recorder.add(data)
        if self._exchange is None:
            return self.send({"type": "http.response.body", "body": data, "more_body": more})
        rest = self._exchange.write(data, more=more)
        if rest is None:
            return None
        self.sending_since = time.monotonic()
        return self._push_rest(rest)

    async def _push_rest(self, rest: Awaitable[None]) -> None:
        await rest
        self.sending_since = 0.0

    def clean(self, data: bytes) -> bytes:
        """The data without providers' keys: what was escaped in an answer is not any more."""
        for secret in self.secrets:
            if data.find(secret) >= 0:
                data = data.replace(secret, b"[redacted]")
        return data

    def abort(self, reason: Exception) -> None:
        """Cancel what is being done for this request, because of `reason`."""
        if self.aborted or self.task is None:
            return
        self.aborted = True
        self._reason = reason
        self.task.cancel()

    def reason_or_raise(self, cancelled: asyncio.CancelledError) -> Exception:
        """Why this request was aborted; the cancellation itself where it came from outside."""
        reason, self._reason = self._reason, None
        if reason is None or self.task is None:
            raise cancelled
        self.task.uncancel()
        self.aborted = False
        return reason


class RequestLimits:
    """The bounds that the monitor keeps, in seconds."""

    __slots__ = ("heartbeat_s", "read_s", "send_s")

    def __init__(self, *, heartbeat_s: float, read_s: float, send_s: float) -> None:
        self.heartbeat_s = heartbeat_s
        self.read_s = read_s
        self.send_s = send_s


class RequestMonitor:
    """Looks after all requests.  `close` stops the timer and the watchers."""

    def __init__(self, limits: RequestLimits) -> None:
        self.limits = limits
        self._gateway_requests: set[GatewayRequest] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._beats: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._gateway_requests)

    def answering(self) -> int:
        """The number of requests that need an action, not only a look."""
        return sum(
            gateway_request.method == "POST" or gateway_request.is_session
            for gateway_request in self._gateway_requests
        )

    def add(self, gateway_request: GatewayRequest) -> None:
        """Look after a request until `remove`."""
        self._gateway_requests.add(gateway_request)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def remove(self, gateway_request: GatewayRequest) -> None:
        """The request is over."""
        self._gateway_requests.discard(gateway_request)
        if gateway_request.watcher is not None:
            gateway_request.watcher.cancel()
            # The cancelled task knows the request: knowing each other, both would stay, with the
            # request's body, until the garbage collector comes.
            gateway_request.watcher = None

    def end_all(self) -> None:
        """End every request in its protocol's words: the process cannot wait any longer."""
        for gateway_request in list(self._gateway_requests):
            gateway_request.abort(
                OverloadedError(
                    "the gateway is restarting; send the request again",
                    retry_after_s=1.0,
                    should_retry=False,
                )
            )

    def close(self) -> None:
        """Stop looking."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        now = time.monotonic()
        for gateway_request in list(self._gateway_requests):
            self._look_at(gateway_request, now)
        if self._gateway_requests:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _look_at(self, gateway_request: GatewayRequest, now: float) -> None:
        limits = self.limits
        if gateway_request.body_by:
            # Nobody else may receive while the body is being read.
            if now > gateway_request.body_by:
                gateway_request.abort(
                    UpstreamTimeoutError(
                        "the request's body did not come in time", status=408, should_retry=False
                    )
                )
            return
        # Who watches receives, and would take the body from its later reader.
        if gateway_request.watcher is None and not gateway_request.body_is_unread:
            gateway_request.watcher = asyncio.get_running_loop().create_task(
                _watch(gateway_request)
            )
        if gateway_request.sending_since and now - gateway_request.sending_since > limits.send_s:
            gateway_request.abort(ClientGone("the client does not take its answer"))
        elif now > gateway_request.ends_at:
            gateway_request.abort(UpstreamTimeoutError("no complete answer within the deadline"))
        elif now - gateway_request.heard_at > limits.read_s and not gateway_request.sending_since:
            gateway_request.abort(UpstreamTimeoutError("the provider was silent past the deadline"))
        elif gateway_request.beat is not None and not gateway_request.sending_since:
            self._beat(gateway_request, now)

    def _beat(self, gateway_request: GatewayRequest, now: float) -> None:
        # Before the interval is over rather than after it: the tick is coarse.
        if gateway_request.beat is None:
            return
        if (
            now - max(gateway_request.heard_at, gateway_request.beat_at)
            >= self.limits.heartbeat_s - TICK_S
        ):
            gateway_request.beat_at = now
            task = asyncio.ensure_future(gateway_request.beat())
            self._beats.add(task)
            task.add_done_callback(self._beats.discard)


def _joined(lines: list[tuple[bytes, bytes]], headers: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Each header by its name; a list of previews on several lines is one list (RFC 9110, 5.3)."""
    lists = {
        name: b", ".join(value for key, value in lines if key == name)
        for name in _LISTS & headers.keys()
    }
    return {**headers, **lists}


def patience_s(gateway_request: GatewayRequest, most_s: float) -> float:
    """The seconds that the client says it waits (Google's SDKs do), within the allowed."""
    said = gateway_request.headers.get(b"x-server-timeout")
    if said is None:
        return most_s
    try:
        seconds = float(said)
    except ValueError:
        return most_s
    return seconds if 0 < seconds < most_s else most_s


async def _watch(gateway_request: GatewayRequest) -> None:
    while True:
        message = await gateway_request.receive()
        if message["type"] == "http.disconnect":
            # After the last byte this only says that there is nothing more to come.
            if not gateway_request.is_answered:
                gateway_request.abort(ClientGone("the client left"))
            return


def header_flag(gateway_request: GatewayRequest, name: bytes) -> bool:
    """A header that is `true` or `false`; another word was meant as something."""
    value = gateway_request.headers.get(name)
    if value is None:
        return False
    word = value.strip().lower()
    if word not in (b"true", b"false"):
        text = value[:60].decode("latin-1")
        raise MalformedRequestError(f"expected true or false, got {text!r}", path=name.decode())
    return word == b"true"


def passed_query(gateway_request: GatewayRequest) -> str:
    """The query for a provider: all but the client's own key."""
    asked = parse_qsl(gateway_request.query.decode("latin-1"), keep_blank_values=True)
    return urlencode([(name, value) for name, value in asked if name != "key"])
