"""A request under an id that is open is refused at once, and the one before it gets its answer."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import mcp_types as types
import pytest
from mcp.shared.message import SessionMessage

from polycall import Toolset, tool
from polycall.mcp import mcp_server, serve_http
from polycall.mcp.request_ids import RequestIds

SESSION = b"mcp-session-id"
Ask = Callable[[dict[str, Any]], Coroutine[Any, Any, dict[str, Any]]]

HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "t", "version": "1"},
}


class Served:
    """One tool that answers when it is told to."""

    def __init__(self) -> None:
        self.goes_on = asyncio.Event()
        self.begun = 0

        @tool
        async def act(what: str) -> str:
            """Act."""
            self.begun += 1
            await self.goes_on.wait()
            return what

        self.server = mcp_server(Toolset([act]))

    async def is_begun(self, times: int) -> None:
        async with asyncio.timeout(20):
            while self.begun < times:
                await asyncio.sleep(0.01)


def request(number: Any, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def acting(number: Any, what: str) -> dict[str, Any]:
    return request(number, "tools/call", name="act", arguments={"what": what})


def of_events(text: str) -> dict[str, Any]:
    """The last message of a stream of events."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return json.loads(lines[-1]) if lines else json.loads(text)


@asynccontextmanager
async def over_http(served: Served) -> AsyncGenerator[Ask]:
    addresses: asyncio.Queue[str] = asyncio.Queue()
    serving = asyncio.create_task(serve_http(served.server, announce=addresses.put_nowait))
    url = await addresses.get()
    head = {"accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(headers=head, timeout=30) as http:
        opened = await http.post(url, json=request(0, "initialize", **HELLO))
        http.headers["mcp-session-id"] = opened.headers["mcp-session-id"]

        async def ask(message: dict[str, Any]) -> dict[str, Any]:
            answer = await http.post(url, json=message)
            return {} if answer.status_code == 202 else of_events(answer.text)

        await ask({"jsonrpc": "2.0", "method": "notifications/initialized"})
        try:
            yield ask
        finally:
            serving.cancel()
            await asyncio.wait({serving})


@asynccontextmanager
async def over_streams(served: Served) -> AsyncGenerator[Ask]:
    """As over standard input and output: an answer is its request's by its id, and in order."""
    to_server, reading = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    writing, from_server = anyio.create_memory_object_stream[SessionMessage](0)
    options = served.server.create_initialization_options()
    serving = asyncio.create_task(served.server.run(reading, writing, options))
    waiting: list[tuple[dict[str, Any], asyncio.Future[dict[str, Any]]]] = []

    async def hear() -> None:
        async for message in from_server:
            said = message.message.model_dump(by_alias=True, exclude_unset=True)
            same = [each for each in waiting if each[0]["id"] == said.get("id")]
            if not same:
                continue
            # A refusal is of the latest.
            found = same[-1] if "error" in said else same[0]
            waiting.remove(found)
            found[1].set_result(said)

    hearing = asyncio.create_task(hear())

    async def ask(message: dict[str, Any]) -> dict[str, Any]:
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        if "id" in message:
            waiting.append((message, answer))
        else:
            answer.set_result({})
        parsed = types.jsonrpc_message_adapter.validate_python(message, by_name=False)
        await to_server.send(SessionMessage(parsed))
        return await answer

    await ask(request(0, "initialize", **HELLO))
    await ask({"jsonrpc": "2.0", "method": "notifications/initialized"})
    try:
        yield ask
    finally:
        hearing.cancel()
        serving.cancel()
        await asyncio.wait({hearing, serving})
        for stream in (to_server, reading, writing, from_server):
            stream.close()


WAYS = {"http": over_http, "streams": over_streams}
REFUSED = {
    "code": -32600,
    "message": "a request with this id has no answer yet; nothing was run; use an id once",
}


@pytest.mark.parametrize(("first", "second"), [(7, 7), ("a", "a"), (7, "7"), ("7", 7)])
@pytest.mark.parametrize("way", WAYS)
async def test_a_request_under_an_open_id_is_refused_at_once(
    way: str, first: Any, second: Any
) -> None:
    served = Served()
    async with asyncio.timeout(30), WAYS[way](served) as ask:
        one = asyncio.create_task(ask(acting(first, "one")))
        await served.is_begun(1)
        for message in (acting(second, "two"), request(second, "tools/list"), acting(second, "3")):
            assert await ask(message) == {"jsonrpc": "2.0", "id": second, "error": REFUSED}
        other = asyncio.create_task(ask(acting(8, "other")))  # an id of its own
        await served.is_begun(2)
        served.goes_on.set()
        for each, number, what in ((one, first, "one"), (other, 8, "other")):
            answer = await each
            assert (answer["id"], answer["result"]["content"][0]["text"]) == (number, what)
        again = await ask(acting(second, "again"))  # it has its answer, and is open no more
        assert again["result"]["content"][0]["text"] == "again"
    assert served.begun == 3


@pytest.mark.parametrize("way", WAYS)
async def test_an_id_is_free_after_its_request_was_cancelled(way: str) -> None:
    served = Served()
    async with asyncio.timeout(30), WAYS[way](served) as ask:
        one = asyncio.create_task(ask(acting(7, "one")))
        await served.is_begun(1)
        cancel = {"method": "notifications/cancelled", "params": {"requestId": 7}}
        await ask({"jsonrpc": "2.0", **cancel})
        if way == "http":
            await one
        served.goes_on.set()
        answer = await ask(acting(7, "again"))
        assert answer["result"]["content"][0]["text"] == "again"
        one.cancel()


async def test_an_id_stays_open_when_its_client_leaves() -> None:
    """Else its answer would be the next one's."""
    served = Served()
    async with asyncio.timeout(30), over_http(served) as ask:
        one = asyncio.create_task(ask(acting(7, "one")))
        await served.is_begun(1)
        one.cancel()
        await asyncio.wait({one})
        await asyncio.sleep(0.2)  # until the server knows
        assert (await ask(acting(7, "two")))["error"] == REFUSED
        served.goes_on.set()
        assert (await ask(acting(7, "three")))["error"] == REFUSED
        assert (await ask(acting(8, "four")))["result"]["content"][0]["text"] == "four"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"{}", b'{"id":1}', b'{"id":1.5,"result":{}}', b'{"method":"x"}', b'{"a":' * 10**5],
)
async def test_what_is_no_request_is_passed_on_as_it_came(body: bytes) -> None:
    pieces = [body[:1], body[1:]]
    came: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del scope, send
        while True:
            message = await receive()
            came.append(message["body"])
            if not message["more_body"]:
                return

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    scope = {"type": "http", "method": "POST", "headers": [(b"mcp-session-id", b"s")]}
    await RequestIds().guarded(app)(scope, receive, send)
    assert b"".join(came) == body


async def post(app: Any, session: bytes, body: bytes, method: str = "POST") -> list[Any]:
    """Ask once; give the statuses that were answered."""
    statuses: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        if "status" in message:
            statuses.append(message["status"])

    await app({"type": "http", "method": method, "headers": [(SESSION, session)]}, receive, send)
    return statuses


async def leave(app: Any, session: bytes, body: bytes) -> None:
    """Ask, and hang up before there is an answer."""
    task = asyncio.create_task(post(app, session, body))
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})


async def slow(scope: Any, receive: Any, send: Any) -> None:
    if scope["method"] == "DELETE":
        status = 200 if scope["headers"] != [(SESSION, b"theirs")] else 404
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    await asyncio.sleep(60)


@pytest.mark.parametrize("is_session", [True, False])
async def test_what_is_kept_of_clients_that_left_is_short(*, is_session: bool) -> None:
    """Whatever they sent: an id as long as a body, or a session's name."""
    app, session, request_id = RequestIds().guarded(slow), "", ""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(20):
            long = f"{number}" + "x" * 1_000_000
            session, request_id = (long, "a") if is_session else ("s", long)
            await leave(app, session.encode(), json.dumps(request(request_id, "ping")).encode())
        assert tracemalloc.get_traced_memory()[0] - before < 2_000_000
    finally:
        tracemalloc.stop()
    assert await post(app, session.encode(), json.dumps(request(request_id, "x")).encode()) == [400]


@pytest.mark.parametrize("number", [7, "7", "x" * 10_000])
async def test_an_id_is_free_when_the_application_fails(number: Any) -> None:
    begun = 0

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        nonlocal begun
        begun += 1
        raise RuntimeError("a mistake")

    app = RequestIds().guarded(failing)
    for times in (1, 2):
        with pytest.raises(RuntimeError, match="a mistake"):
            await post(app, b"s", json.dumps(request(number, "ping")).encode())
        assert begun == times


async def test_an_id_stays_open_when_its_client_takes_no_answer() -> None:
    async def answering(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        raise ConnectionError("it has left")

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    app, body = RequestIds().guarded(answering), json.dumps(request(7, "ping")).encode()
    scope = {"type": "http", "method": "POST", "headers": [(SESSION, b"s")]}
    with pytest.raises(ConnectionError):
        await app(scope, receive, send)
    assert await post(app, b"s", body) == [400]


async def test_the_ids_of_a_deleted_session_are_forgotten() -> None:
    ids = RequestIds()
    app = ids.guarded(slow)
    for session in (b"mine", b"theirs"):
        for number in (7, "a"):
            await leave(app, session, json.dumps(request(number, "ping")).encode())
    for session, status in ((b"mine", 200), (b"theirs", 404)):
        assert await post(app, session, b"", "DELETE") == [status]
    assert await post(app, b"theirs", json.dumps(request(7, "ping")).encode()) == [400]
    assert len(ids._open) == 2  # pyright: ignore[reportPrivateUsage]  # of the other session


@pytest.mark.parametrize("size", [5_000_000, 9_000_000])
async def test_long_bodies_are_guarded_where_the_library_takes_them(size: int) -> None:
    app = RequestIds(10_000_000).guarded(slow)
    body = json.dumps(request(7, "ping", said="x" * size)).encode()
    await leave(app, b"s", body)
    assert await post(app, b"s", body) == [400]


BATCH = '[{"jsonrpc":"2.0","id":1,"method":"ping"}]'


@pytest.mark.parametrize("session", [{}, {b"mcp-session-id": b"s"}])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (BATCH, "a batch of messages is not taken"),
        (f" \n{BATCH}", "a batch of messages is not taken"),
        ("[]", "a batch of messages is not taken"),
        ('{"jsonrpc":"2.0","id":null,"method":"ping"}', "the id of a request is a text"),
        ('{"jsonrpc":"2.0","id":1.5,"method":"ping"}', "the id of a request is a text"),
        ('{"jsonrpc":"2.0","method":"ping","id":true}', "the id of a request is a text"),
        ('{"jsonrpc":"2.0","method":"ping","id":[1]}', "the id of a request is a text"),
        ('{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}', ""),
        ('{"jsonrpc":"2.0","method":"notifications/x"}', ""),
        ('{"jsonrpc":"2.0","id":"","method":"ping"}', ""),
        ('{"jsonrpc":"2.0","id":36893488147419103232,"method":"ping"}', ""),
        ("{", ""),
    ],
)
async def test_what_would_be_left_without_an_answer_is_refused(
    session: dict[bytes, bytes], body: str, words: str
) -> None:
    """The library takes a request with such an id for a notification, and nobody hears of it."""
    served: list[bytes] = []
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        served.append((await receive())["body"])

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body.encode()}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "headers": list(session.items())}
    await RequestIds().guarded(app)(scope, receive, send)
    if not words:
        assert (served, sent) == ([body.encode()], [])
        return
    assert served == []
    assert sent[0]["status"] == 400
    told = json.loads(sent[1]["body"])
    assert told["id"] is None
    assert told["error"]["code"] == -32600
    assert told["error"]["message"].startswith(words)
