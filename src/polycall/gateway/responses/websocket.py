"""One connection for many answers: `GET /v1/responses`, upgraded.

The client sends `response.create`, and reads the events of the answer as text frames.  Answers are
made one after the other, or one in each lane where frames name one (`stream_id`).  An answer that
is not stored can be continued on the same connection alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

from polycall._support import jsontext
from polycall.dialects.openai_responses.response import skeleton
from polycall.errors import MalformedRequestError, OverloadedError, PolycallError, RequestError
from polycall.gateway.accounts.keys import Keys
from polycall.gateway.generation.endpoints import Endpoint
from polycall.gateway.generation.generations import Generations, check_allowed
from polycall.gateway.http.replies import internal_error, render_error
from polycall.gateway.http.request import ClientGone, GatewayRequest, RequestMonitor
from polycall.gateway.http.socket_entry import FRAME_BYTES_MAX, SocketClosed
from polycall.gateway.http.values import ValueCounter
from polycall.gateway.passthrough.slow_reading import read_slowly
from polycall.gateway.processes.memory_guard import MemoryGuard
from polycall.gateway.responses.inner import InnerRequest, passed_headers
from polycall.gateway.services import GatewayServices
from polycall.gateway.state.conversations import KEPT_BYTES_MAX
from polycall.ir import JSON
from polycall.providers.dialects import DIALECTS

if TYPE_CHECKING:
    from polycall.gateway.http.client_socket import ClientSocket
    from polycall.translation.sse import Frame

logger = logging.getLogger("polycall.gateway")

LANES_MAX = 16
AHEAD_MAX = 64  # frames that wait for earlier ones of their lane
AHEAD_BYTES_MAX = 8 * 2**20  # of several
TURNS_MAX = 32  # answers of a connection that are not stored, and may be continued
Event: TypeAlias = dict[str, msgspec.Raw]
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_NULL = msgspec.Raw(b"null")
_STREAM_ID = re.compile(r"[\x20-\x7e]{1,128}")
_ENDS = ("response.completed", "response.incomplete", "response.failed")
_DIALECT = "openai-responses"


class _Turn(NamedTuple):
    """All that was said up to an answer that is kept on this connection alone."""

    items: list[Any]
    size: int  # bytes, about


class ResponsesSockets:
    """Serves every such connection.  One for the process."""

    def __init__(
        self,
        services: Callable[[], tuple[GatewayServices, Generations]],
        keys: Keys,
        monitor: RequestMonitor,
        memory: MemoryGuard,
        new_id: Callable[[], str],
    ) -> None:
        """`services` gives those of the present configuration, for each answer anew."""
        self._services = services
        self._keys = keys
        self._monitor = monitor
        self._memory = memory
        self._new_id = new_id
        self._open: set[_Connection] = set()

    async def serve(self, socket: ClientSocket) -> None:
        """Serve one until it ends."""
        connection = _Connection(
            socket,
            services=self._services,
            keys=self._keys,
            monitor=self._monitor,
            memory=self._memory,
            new_id=self._new_id,
        )
        self._open.add(connection)
        try:
            await connection.run()
        finally:
            self._open.discard(connection)

    def drain(self) -> None:
        """Have each end once the answers that are under way are whole."""
        for connection in self._open:
            connection.end(_RESTART)


class _Connection:
    """One connection."""

    def __init__(
        self,
        socket: ClientSocket,
        *,
        services: Callable[[], tuple[GatewayServices, Generations]],
        keys: Keys,
        monitor: RequestMonitor,
        memory: MemoryGuard,
        new_id: Callable[[], str],
    ) -> None:
        self._socket = socket
        self._headers: dict[bytes, bytes] = dict(socket.scope["headers"])
        self._query: bytes = socket.scope["query_string"]
        client = socket.scope.get("client")
        self._address: str = client[0] if client else ""
        self._services = services
        self._keys = keys
        self._monitor = monitor
        self._memory = memory
        self._new_id = new_id
        self._lanes: dict[str, asyncio.Queue[tuple[Event, int]]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._running: dict[InnerRequest, _Answer] = {}
        self._turns: OrderedDict[str, _Turn] = OrderedDict()
        self._ahead_bytes = 0  # of events that were taken, and are not answered yet
        self._receiving: asyncio.Task[tuple[bytes, bool]] | None = None
        self._ending: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._writing = asyncio.Lock()
        self._is_closed = False

    def end(self, code: int) -> None:
        """Take nothing new; close with this code once the answers under way are whole."""
        if not self._ending.done():
            self._ending.set_result(code)

    async def run(self) -> None:
        """Serve the connection until it ends."""
        server = self._services()[0].server
        try:
            self._keys.owner(self._headers, self._query, self._address)
        except PolycallError as error:
            await self._refuse(error)
            return
        loop = asyncio.get_running_loop()
        expiring = loop.call_later(server.websocket_s, self.end, _EXPIRY)
        try:
            await self._socket.accept(
                self._new_id(),
                heartbeat_s=server.heartbeat_s,
                frame_bytes_max=min(server.body_bytes_max, FRAME_BYTES_MAX),
            )
            await self._read(self._ending, self._take)
            await self._read(asyncio.ensure_future(self._finish()), self._turn_away)
            await self._close(self._ending.result())
        except (SocketClosed, ClientGone):
            pass  # the client's right
        finally:
            expiring.cancel()
            await self._end()

    # Frames

    async def _read(
        self, until: asyncio.Future[Any], take: Callable[[bytes | None], Awaitable[None]]
    ) -> None:
        """Take frames until something else is done; `SocketClosed` where the client left before."""
        while not until.done():
            if self._receiving is None:
                self._receiving = asyncio.ensure_future(self._socket.receive())
            await asyncio.wait({self._receiving, until}, return_when=asyncio.FIRST_COMPLETED)
            if self._receiving.done():
                (frame, is_text), self._receiving = self._receiving.result(), None
                await take(frame if is_text else None)
                del frame  # not kept until the next one comes

    async def _take(self, text: bytes | None) -> None:
        stream_id: Any = None
        try:
            if text is None:
                raise MalformedRequestError("send events as text frames of JSON")
            size = await self._check_size(text)
            event = _event(text)
            stream_id = _value(event.pop("stream_id", _NULL))
            if stream_id is not None and not (
                isinstance(stream_id, str) and _STREAM_ID.fullmatch(stream_id)
            ):
                stream_id = None
                raise MalformedRequestError("expected printable ASCII text", path="stream_id")
            self._lane(stream_id or "").put_nowait((event, size))
            self._ahead_bytes += size
        except asyncio.QueueFull:
            words = f"at most {AHEAD_MAX} events wait for an answer; wait for some"
            await self._error(MalformedRequestError(words), stream_id)
        except PolycallError as error:
            await self._error(error, stream_id)

    async def _check_size(self, data: bytes) -> int:
        """Its bytes; raises where with those that wait they are more than one body may have."""
        self._memory.check()
        most = min(self._services()[0].server.body_bytes_max, FRAME_BYTES_MAX)
        if self._ahead_bytes:  # others are there, or are answered: all of them are in memory
            most = min(most, AHEAD_BYTES_MAX)
        if self._ahead_bytes + len(data) > most:
            raise MalformedRequestError(
                f"at most {most} bytes of events wait for an answer; wait for some"
            )
        await ValueCounter().add(data)
        return len(data)

    async def _turn_away(self, _: bytes | None) -> None:
        await self._error(OverloadedError("this connection ends; open another one"), None)

    def _lane(self, stream_id: str) -> asyncio.Queue[tuple[Event, int]]:
        queue = self._lanes.get(stream_id)
        if queue is None:
            if len(self._lanes) >= LANES_MAX:
                raise MalformedRequestError(
                    f"a connection has at most {LANES_MAX} lanes", path="stream_id"
                )
            queue = self._lanes[stream_id] = asyncio.Queue(AHEAD_MAX)
            task = asyncio.get_running_loop().create_task(self._serve(stream_id, queue))
            self._tasks[stream_id] = task
        return queue

    async def _serve(self, stream_id: str, queue: asyncio.Queue[tuple[Event, int]]) -> None:
        """Make the answers of one lane, one after the other."""
        while True:
            event, size = await queue.get()
            try:
                if not self._is_closed:
                    await self._answer(event, size, stream_id)
            except ClientGone:
                pass  # the connection's end comes
            except PolycallError as error:
                with contextlib.suppress(ClientGone):
                    await self._error(error, stream_id)
            except Exception:
                # A mistake of ours: the client hears of it, and the connection continues.
                logger.exception("an answer over WebSocket failed")
                with contextlib.suppress(ClientGone):
                    await self._error(internal_error("this connection"), stream_id)
            finally:
                self._ahead_bytes -= size
                queue.task_done()

    # Answers

    async def _answer(self, event: Event, size: int, stream_id: str) -> None:
        services, generations = self._services()
        is_warmup = _value(event.pop("generate", _NULL)) is False
        event.pop("background", None)  # what is said of the transport means nothing here
        previous = _value(event.get("previous_response_id", _NULL))
        history = self._turns.get(previous) if isinstance(previous, str) else None
        is_local = _value(event.get("store", _NULL)) is False
        given = _listed(_value(event.get("input", _NULL))) if history or is_local else []
        if history is not None:
            given = [*history.items, *given]
            event["input"] = msgspec.Raw(jsontext.encode_bytes(given))
            del event["previous_response_id"]
            size += history.size
        if is_warmup:
            said: JSON = {name: _value(raw) for name, raw in event.items()}
            await self._warm_up(said, stream_id, size, services)
            return
        answer = _Answer(self._frame, stream_id, keeps_end=is_local)
        inner = InnerRequest(
            self._new_id(),
            headers=passed_headers(self._headers),
            body=msgspec.json.encode({**event, "stream": True}),
            address=self._address,
            take=answer.take,
        )
        event.clear()  # the body says it all
        self._running[inner] = answer

        async def serve(request: GatewayRequest) -> None:
            await generations.serve(request, Endpoint(DIALECTS[_DIALECT]))

        try:
            found = await inner.run(serve, self._monitor, within_s=services.server.total_s)
        finally:
            del self._running[inner]
        if not found.is_stream:
            await self._frame(_failure(found.status, found.body, found.headers), stream_id)
            if isinstance(previous, str):
                self._turns.pop(previous, None)  # so that what failed is not continued
            return
        if is_local and answer.end is not None:
            items = [*given, *answer.end["output"]]
            bytes_max = services.server.body_bytes_max
            self._remember(answer.end["id"], _Turn(items, size + answer.end_size), bytes_max)

    async def _warm_up(
        self, event: JSON, stream_id: str, size: int, services: GatewayServices
    ) -> None:
        """Keep what was sent, without asking the model: the next turn continues with it."""
        model: Any = event.get("model")
        if not isinstance(model, str) or not model:
            raise MalformedRequestError("expected the name of a model", path="model")
        owner = self._keys.owner(self._headers, self._query, self._address)  # it may be over
        check_allowed(owner, model)
        name = f"resp_{self._new_id().removeprefix('req_')}"
        first = skeleton(name, model, int(time.time()), {"store": event.get("store") is not False})
        whole: JSON = {**first, "status": "completed", "completed_at": first["created_at"]}
        whole["usage"] = _NO_USAGE
        is_local = event.get("store") is False or not services.server.keep_answers
        if is_local or size > KEPT_BYTES_MAX:
            turn = _Turn(_listed(event.get("input")), size)
            self._remember(name, turn, services.server.body_bytes_max)
        else:
            await services.items.keep(owner.id, event, whole)
        for number, (kind, response) in enumerate(
            (("response.created", first), ("response.completed", whole))
        ):
            frame = {"type": kind, "response": response, "sequence_number": number}
            await self._frame(jsontext.encode(frame), stream_id)

    def _remember(self, name: str, turn: _Turn, bytes_max: int) -> None:
        if turn.size > bytes_max:
            return  # going on with it would be refused anyway
        self._turns[name] = turn
        size = sum(each.size for each in self._turns.values())
        while len(self._turns) > TURNS_MAX or size > bytes_max:
            _, dropped = self._turns.popitem(last=False)
            size -= dropped.size

    # Sending

    async def _frame(self, text: str, stream_id: str | None) -> None:
        if self._is_closed:
            raise ClientGone("the connection is closed")
        if stream_id:
            text = f'{text[:-1]},"stream_id":{json.dumps(stream_id)}}}'
        async with self._writing:
            try:
                await self._socket.send(text)
            except SocketClosed:
                self._is_closed = True
                raise ClientGone("the client left") from None

    async def _error(self, error: PolycallError, stream_id: str | None) -> None:
        status, body = render_error(DIALECTS[_DIALECT], error)
        await self._frame(_failure(status, body, {}), stream_id)

    async def _refuse(self, error: PolycallError) -> None:
        """Answer the upgrade by HTTP."""
        status, body = render_error(DIALECTS[_DIALECT], error)
        headers = [(b"content-type", b"application/json")]
        start = {"type": "http.response.start", "status": status, "headers": headers}
        await self._socket.asgi_send(start)
        await self._socket.asgi_send({"type": "http.response.body", "body": body})

    # The end

    async def _finish(self) -> None:
        for queue in self._lanes.values():
            await queue.join()

    async def _close(self, code: int) -> None:
        if code == _EXPIRY:
            seconds = self._services()[0].server.websocket_s
            words = f"this connection has lived for {seconds:g} seconds; open another one"
            error = {"type": "invalid_request_error", "code": _EXPIRED, "message": words}
            await self._frame(_failure(400, jsontext.encode_bytes({"error": error}), {}), None)
        self._is_closed = True
        await self._stop_receiving()
        await self._socket.close(code, "")

    async def _stop_receiving(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.wait({self._receiving})

    async def _end(self) -> None:
        """Nobody reads any more: what is under way is given up, as for any client that left."""
        self._is_closed = True
        await self._stop_receiving()
        for inner, answer in self._running.items():
            # An answer whose last event was sent is whole, whatever its provider still says.
            if inner.gateway_request is not None and not answer.is_over:
                inner.gateway_request.abort(ClientGone("the client left"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GIVE_UP_S):
                await self._finish()  # each writes its row
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values())


_GIVE_UP_S = 5.0
_EXPIRY, _RESTART = 1000, 1012  # codes with which a connection is closed
_EXPIRED = "websocket_connection_limit_reached"
_NO_USAGE: JSON = {
    "input_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 0,
}


class _Answer:
    """Passes the events of one answer on, and keeps its last one where that is needed."""

    def __init__(
        self,
        frame: Callable[[str, str | None], Awaitable[None]],
        stream_id: str,
        *,
        keeps_end: bool,
    ) -> None:
        self.end: JSON | None = None
        self.end_size = 0
        self.is_over = False  # the last event has been sent
        self._frame = frame
        self._stream_id = stream_id
        self._keeps_end = keeps_end

    async def take(self, frame: Frame) -> None:
        """One event."""
        if frame.data == "[DONE]":
            return
        is_end = frame.event in _ENDS
        if is_end and self._keeps_end:
            self.end = jsontext.decode(frame.data)["response"]
            self.end_size = len(frame.data)
        await self._frame(frame.data, self._stream_id)
        self.is_over = self.is_over or is_end


def _event(text: bytes) -> Event:
    """A client's event; raises for what is none that is served.

    Its values are parts of the frame: none has a copy before it is sent.
    """
    try:
        event = _decoder.decode(text)
    except msgspec.ValidationError:
        raise MalformedRequestError("the frame must hold a JSON object") from None
    except (ValueError, RecursionError):
        try:
            event = read_slowly(text)
        except (MalformedRequestError, RecursionError):
            raise MalformedRequestError("the frame is not JSON") from None
    kind: Any = _value(event.pop("type", _NULL))
    if kind != "response.create":
        shown = f"{kind}"[:60]
        raise RequestError(
            f"{shown!r} is not served here; send 'response.create', and input for an answer that "
            "is under way with the next one",
            path="type",
        )
    return event


def _value(raw: msgspec.Raw) -> Any:
    try:
        return jsontext.decode(memoryview(raw))
    except ValueError:
        raise MalformedRequestError("the frame is not JSON") from None


def _listed(given: Any) -> list[Any]:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return given if isinstance(given, list) else []  # pyright: ignore[reportUnknownVariableType]


def _failure(status: int, body: bytes, headers: dict[bytes, bytes]) -> str:
    """An error as an event of the connection."""
    try:
        error: JSON = dict(jsontext.decode(body)["error"])
    except (ValueError, KeyError, TypeError):
        error = {"type": "server_error", "code": None, "message": "the answer failed"}
    if error.get("param") == "previous_response_id" or (
        status == 400 and "previous_response_id" in str(error.get("message"))
    ):
        error["code"] = "previous_response_not_found"
        error["param"] = "previous_response_id"
    said = {
        name.decode(): value.decode("latin-1")
        for name, value in headers.items()
        if name in (b"retry-after", b"retry-after-ms", b"x-should-retry", b"polycall-request-id")
    }
    if said:
        error["headers"] = said
    return jsontext.encode({"type": "error", "status": status, "error": error})
