"""Ids of a client's requests that have no answer yet: another request under one is refused.

The protocol's library gives the answers of both to the request that came last, and the one before
it would wait for ever.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from functools import partial
from hashlib import blake2b
from typing import Any

import mcp_types as types
import msgspec
from mcp.server.transport_security import DEFAULT_MAX_REQUEST_BODY_SIZE
from mcp.shared.dispatcher import coerce_request_id
from mcp.shared.message import SessionMessage

from polycall._support import jsontext
from polycall.mcp.watched_streams import Message, WatchedReading, WatchedWriting

Received = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Received]]
Send = Callable[[Received], Awaitable[None]]
Application = Callable[[Any, Receive, Send], Awaitable[None]]

_SESSION = b"mcp-session-id"
_OPEN_MAX = 20_000  # of clients that have left, mostly


class _Envelope(msgspec.Struct):
    """The fields that tell a request from other messages."""

    id: int | str
    method: str


class _Sent(msgspec.Struct):
    """The fields of a message, whatever they hold."""

    id: msgspec.Raw = msgspec.Raw()
    method: msgspec.Raw = msgspec.Raw()


class RequestIds:
    """Those of all sessions over HTTP, in as few bytes each however long a client makes them.

    A request whose client left before its answer was sent is at work still, and stays open until
    its session is deleted: the answer may come at any time.
    """

    def __init__(self, body_bytes_max: int = DEFAULT_MAX_REQUEST_BODY_SIZE) -> None:
        self._body_bytes_max = body_bytes_max  # a longer one is refused by the library
        self._open: OrderedDict[tuple[bytes, bytes], None] = OrderedDict()

    def guarded(
        self, app: Application
    ) -> Callable[[Any, Receive, Send], Coroutine[Any, Any, None]]:
        """The application without requests under ids that are open."""

        async def served(scope: Any, receive: Receive, send: Send) -> None:
            session = _session(scope)
            if session and scope["method"] == "DELETE":
                await app(scope, receive, self._ending(session, send))
            elif scope["type"] == "http" and scope["method"] == "POST":
                received = await _received(receive, self._body_bytes_max)
                if mistake := _mistake(received):
                    await _refuse(_error(None, mistake), send)
                    return
                request_id = _request_id(received)
                again = _again(received, receive)
                if request_id is None or not session:
                    await app(scope, again, send)
                else:
                    await self._serve(session, request_id, partial(app, scope, again), send)
            else:
                await app(scope, receive, send)

        return served

    async def _serve(
        self,
        session: bytes,
        request_id: types.RequestId,
        app: Callable[[Send], Awaitable[None]],
        send: Send,
    ) -> None:
        key = (session, _digest(repr(coerce_request_id(request_id)).encode()))
        if key in self._open:
            await _refuse(refusal(request_id), send)
            return
        self._open[key] = None
        while len(self._open) > _OPEN_MAX:
            self._open.popitem(last=False)
        is_gone = False

        async def sent(message: Received) -> None:
            nonlocal is_gone
            try:
                await send(message)
            except BaseException:
                is_gone = True
                raise
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self._open.pop(key, None)

        try:
            await app(sent)
        except Exception:
            if not is_gone:  # the application's own failure: nothing is at work
                self._open.pop(key, None)
            raise

    def _ending(self, session: bytes, send: Send) -> Send:
        """Say what the application answers; nothing of a session that it ended is open."""

        async def sent(message: Received) -> None:
            if message["type"] == "http.response.start" and message["status"] < 300:
                for key in [each for each in self._open if each[0] == session]:
                    del self._open[key]
            await send(message)

        return sent


class _OfStreams:
    """Those of the one client that two streams lead to."""

    def __init__(self, writing: Any) -> None:
        self._writing = writing
        self._open: set[types.RequestId] = set()

    async def note(self, message: Message) -> bool:
        inner = message.message if isinstance(message, SessionMessage) else None
        if isinstance(inner, types.JSONRPCNotification) and inner.method.endswith("/cancelled"):
            self._end((inner.params or {}).get("requestId"))  # it gets no answer
        if not isinstance(inner, types.JSONRPCRequest):
            return True
        key = coerce_request_id(inner.id)
        if key in self._open:
            await self._writing.send(SessionMessage(refusal(inner.id)))
            return False
        self._open.add(key)
        return True

    def sent(self, message: SessionMessage) -> None:
        if isinstance(message.message, types.JSONRPCResponse | types.JSONRPCError):
            self._end(message.message.id)

    def close(self) -> None:
        """Nothing waits here."""

    def _end(self, request_id: Any) -> None:
        if isinstance(request_id, int | str):
            self._open.discard(coerce_request_id(request_id))


def guarded_streams(reading: Any, writing: Any) -> tuple[WatchedReading, WatchedWriting]:
    """The streams of one client without requests under ids that are open."""
    watch = _OfStreams(writing)
    return WatchedReading(reading, watch), WatchedWriting(writing, watch)


def refusal(request_id: types.RequestId) -> types.JSONRPCError:
    """The answer to a request under an open id."""
    return _error(
        request_id, "a request with this id has no answer yet; nothing was run; use an id once"
    )


def _error(request_id: types.RequestId | None, message: str) -> types.JSONRPCError:
    error = types.ErrorData(code=types.INVALID_REQUEST, message=message)
    return types.JSONRPCError(jsonrpc="2.0", id=request_id, error=error)


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=16).digest()


def _session(scope: Any) -> bytes:
    """A digest of its name; nothing for what has no session."""
    if scope["type"] != "http":
        return b""
    return next((_digest(value) for key, value in scope["headers"] if key == _SESSION), b"")


async def _received(receive: Receive, size_max: int) -> deque[Received]:
    """The body, as far as it is no longer than the library takes."""
    received: deque[Received] = deque()
    size = 0
    while size <= size_max:
        message = await receive()
        received.append(message)
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            break
    return received


def _again(received: deque[Received], receive: Receive) -> Receive:
    async def again() -> Received:
        return received.popleft() if received else await receive()

    return again


def _request_id(received: deque[Received]) -> types.RequestId | None:
    """The id of a request; `None` for what is none, which the library answers."""
    try:
        return msgspec.json.decode(_body(received), type=_Envelope).id
    except (msgspec.DecodeError, RecursionError):
        return None


def _mistake(received: deque[Received]) -> str:
    """The mistake that the library would take for a notification, or refuse in unclear words."""
    body = _body(received)
    if body.lstrip()[:1] == b"[":
        return (
            "a batch of messages is not taken, in no revision; nothing was run; send each message "
            "in a request of its own"
        )
    try:
        sent = msgspec.json.decode(body, type=_Sent)
    except (msgspec.DecodeError, RecursionError):
        return ""  # the library says what is wrong
    try:
        if bytes(sent.id) and bytes(sent.method):
            msgspec.json.decode(sent.id, type=int | str)
    except msgspec.DecodeError:
        return "the id of a request is a text or a whole number; nothing was run"
    return ""


def _body(received: deque[Received]) -> bytes:
    """The body; nothing of one that is too long, which the library refuses."""
    if received[-1].get("more_body", False):
        return b""
    return b"".join(each.get("body", b"") for each in received)


async def _refuse(error: types.JSONRPCError, send: Send) -> None:
    body = jsontext.encode_bytes({"id": None, **error.model_dump(exclude_none=True)})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body})
