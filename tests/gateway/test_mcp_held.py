"""What a server or a document tries beyond its tools: where requests go, what a person sees, what
leaves with an error.  Nothing here starts a process."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator
from typing import Any, cast

import httpcore2
import httpx2
import mcp_types as types
import msgspec
import pytest

from polycall.agents.tree.load import Operation
from polycall.config import McpServer
from polycall.config.mcp import OAuthSettings
from polycall.errors import ToolDefinitionError, ToolServerError
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.mcp import hub as hub_module
from polycall.gateway.mcp.calls import CallScope, Pace, clean
from polycall.gateway.mcp.hub import Hub, Member
from polycall.gateway.mcp.openapi_source import OpenAPISource
from polycall.gateway.mcp.pins import StorePins
from polycall.gateway.observability.logs import JSONFormatter, redact, redact_known
from polycall.ir import JSON
from polycall.mcp import HttpServer, Notice, OAuth
from polycall.mcp.asking import Elicitation, ElicitationAnswer
from polycall.mcp.connection import Connection
from polycall.mcp.guard import GuardedBackend, guarded
from polycall.mcp.pins import MemoryPins
from polycall.tool_server import OpenAPITools
from polycall.tools import ToolContext

ADDRESS = "https://api.example.com/v1"


def document(path: str, *, place: str = "query", method: str = "post") -> dict[str, Any]:
    parameter: dict[str, Any] = {"name": "id", "in": place, "schema": {"type": "string"}}
    operation = {"operationId": "orders/put", "summary": "Put.", "parameters": [parameter]}
    return {
        "openapi": "3.1.0",
        "info": {"title": "shop", "version": "1"},
        "paths": {path: {method: operation}},
    }


@pytest.mark.parametrize(
    "path",
    [
        "/../admin",
        "/orders/../../admin",
        "/%2e%2e/admin",
        "/%252e%252e/admin",
        "/..;/admin",
        "/\\evil.example/x",
        "/orders/%5c..",
        "/x\r\nHost: evil.example",
        "/x HTTP/1.1",
        "@evil.example/x",
        ".evil.example/x",
    ],
)
def test_a_path_of_a_document_stays_below_the_operators_address(path: str) -> None:
    with pytest.raises(ToolDefinitionError, match="the path"):
        OpenAPITools(document(path), ADDRESS)


@pytest.mark.parametrize("path", ["/orders/{id}.json", "/?Action=List", "/v1.2/x", "/주문", "/.x"])
def test_a_path_that_stays_there_is_taken(path: str) -> None:
    assert OpenAPITools(document(path), ADDRESS).operations


def test_all_that_makes_an_operations_request_is_pinned() -> None:
    api = OpenAPITools(document("/orders"), ADDRESS)
    ((name, made),) = api.operations.items()
    operation = msgspec.structs.replace(made.operation, has_body=True)
    others: dict[str, Any] = {"has_body": False, "places": {}, "slashes": frozenset({"id"})}

    def request(operation: Operation) -> JSON:
        api.operations[name] = made._replace(operation=operation)
        return api.request(name)

    for field in Operation.__struct_fields__:
        changed = msgspec.structs.replace(operation, **{field: others.get(field, "/other")})
        assert request(changed) != request(operation), field


@pytest.mark.parametrize(
    "changed",
    [
        document("/refunds"),
        document("/orders", method="put"),
        document("/orders", place="header"),
        document("/orders?all=1"),
    ],
)
async def test_an_operation_that_does_something_else_is_held_though_it_says_the_same(
    changed: dict[str, Any],
) -> None:
    pins = cast("StorePins", MemoryPins())
    settings = McpServer(openapi="x", address=ADDRESS)
    first = OpenAPISource("shop", settings, OpenAPITools(document("/orders"), ADDRESS), pins)
    await first.refresh()
    assert list(first.toolset.tools) == ["orders_put"]
    then = OpenAPISource("shop", settings, OpenAPITools(changed, ADDRESS), pins)
    await then.refresh()
    assert list(then.toolset.tools) == []
    (notice,) = then.notices
    assert (notice.kind, notice.withheld) == ("changed", True)
    assert "request" in notice.parts


class Dialled(httpcore2.AsyncNetworkBackend):
    """Keeps what was dialled."""

    def __init__(self) -> None:
        self.addresses: list[str] = []

    async def connect_tcp(self, host: str, *_: Any, **__: Any) -> Any:
        self.addresses.append(host)
        return object()


def names(monkeypatch: pytest.MonkeyPatch, table: dict[str, list[str]]) -> None:
    """What names lead to; each time the next address, and the last for ever."""

    async def getaddrinfo(self: Any, host: str, port: int, **_: Any) -> list[Any]:
        del self
        found = table.get(host)
        if found is None:
            raise socket.gaierror("unknown")
        address = found.pop(0) if len(found) > 1 else found[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize(
    "inner",
    ["169.254.169.254", "10.0.0.7", "127.0.0.1", "::1", "::ffff:10.0.0.7", "fd00:ec2::254"],
)
async def test_a_public_servers_sign_in_leads_to_no_machine_inside(
    monkeypatch: pytest.MonkeyPatch, inner: str
) -> None:
    names(monkeypatch, {"mcp.example.com": ["93.184.216.34"], "login.example": [inner]})
    dialled = Dialled()
    backend = GuardedBackend(dialled, "mcp.example.com")
    with pytest.raises(httpcore2.ConnectError, match="not of the open internet"):
        await backend.connect_tcp("login.example", 443)
    assert dialled.addresses == []
    await backend.connect_tcp("mcp.example.com", 443)
    assert dialled.addresses == ["93.184.216.34"]


async def test_what_was_looked_at_is_what_is_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads inwards the second time it is asked."""
    turning = ["93.184.216.35", "169.254.169.254"]
    names(monkeypatch, {"mcp.example.com": ["93.184.216.34"], "login.example": turning})
    dialled = Dialled()
    await GuardedBackend(dialled, "mcp.example.com").connect_tcp("login.example", 443)
    assert dialled.addresses == ["93.184.216.35"]


async def test_a_server_inside_may_lead_inside_and_never_to_the_machines_own_metadata(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names(
        monkeypatch,
        {"mcp.internal": ["10.0.0.5"], "login.internal": ["10.0.0.6"], "x": ["169.254.169.254"]},
    )
    dialled = Dialled()
    backend = GuardedBackend(dialled, "mcp.internal")
    await backend.connect_tcp("login.internal", 443)
    with pytest.raises(httpcore2.ConnectError, match="not of the open internet"):
        await backend.connect_tcp("x", 80)
    assert dialled.addresses == ["10.0.0.6"]


@pytest.mark.parametrize(
    ("own", "then"),
    [
        ("93.184.216.34", "127.0.0.1"),
        ("93.184.216.34", "169.254.169.254"),
        ("10.0.0.5", "169.254.169.254"),
        ("10.0.0.5", "93.184.216.34"),  # whose metadata would lead inside
    ],
)
async def test_on_which_side_a_server_is_stays_whatever_its_name_answers_later(
    monkeypatch: pytest.MonkeyPatch, own: str, then: str
) -> None:
    monkeypatch.setattr("polycall.mcp.guard._inside", {})
    answers = {"mcp.turning.example": [own], "in.example": ["10.0.0.6"]}
    names(monkeypatch, answers)
    dialled = Dialled()
    await GuardedBackend(dialled, "mcp.turning.example").connect_tcp("mcp.turning.example", 443)
    answers["mcp.turning.example"] = [then]
    again = GuardedBackend(dialled, "mcp.turning.example")
    with pytest.raises(httpcore2.ConnectError, match="not followed before a restart"):
        await again.connect_tcp("mcp.turning.example", 8443)
    if own != "10.0.0.5":
        with pytest.raises(httpcore2.ConnectError, match="not of the open internet"):
            await again.connect_tcp("in.example", 80)
    assert dialled.addresses == [own]


async def test_a_proxy_of_the_environment_is_no_way_around_the_guard(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("polycall.mcp.guard._inside", {})
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:3128")
    names(monkeypatch, {"mcp.example.com": ["93.184.216.34"], "in.example": ["10.0.0.6"]})
    async with httpx2.AsyncClient(transport=guarded("https://MCP.example.com/mcp")) as http:
        for scheme in ("http", "https"):
            with pytest.raises(httpx2.ConnectError, match="not of the open internet"):
                await http.get(f"{scheme}://in.example/")
    assert "not by the proxy of" in caplog.text


async def test_metadata_of_a_server_that_point_inwards_are_not_asked() -> None:
    """The guard stands in the library's own client: the whole way, on loopback."""
    head = (
        b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer resource_metadata="'
        b'http://169.254.169.254/latest/meta-data"\r\nContent-Length: 0\r\n\r\n'
    )

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        remote = HttpServer(
            "r", url=f"http://127.0.0.1:{port}/mcp", oauth=OAuth(), connect_s=5.0, handshake=True
        )
        with pytest.raises(ToolServerError, match="which is not of the open internet"):
            await Connection(remote, lambda: asyncio.sleep(0)).open()


def basic(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


LINE = "MIIEveryQIBADANBgkqh"
SIGN_IN = OAuthSettings(client_id="me", client_secret="tok/very")
PHRASE = McpServer(command=["x"], env={"TOKEN": 'a pass "phrase" of 5'})
QUOTED = "tok%2Fvery%2Bsecret%200001"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (PHRASE, 'got a pass "phrase" of 5.'),
        (
            McpServer(command=["x"], env={"TOKEN": 'a pass "phrase" of 5'}),
            r'{"t": "a pass \"phrase\" of 5"}',
        ),
        (
            McpServer(command=["x"], env={"TOKEN": "tok/very+secret 0001"}),
            f"GET /?key={QUOTED} failed",
        ),
        (McpServer(url="https://h/mcp", headers={"A": "Bearer tok/very+1"}), "bad key tok/very+1"),
        (McpServer(url=f"https://h/mcp?key={QUOTED}"), "bad key tok/very+secret 0001"),
        (McpServer(url=f"https://h/mcp?key={QUOTED}"), f"GET /mcp?key={QUOTED} failed"),
        (McpServer(url="https://me:tok%2Fvery@h/mcp"), "password tok/very"),
        (McpServer(openapi="https://h/d?sig=0123456789", address=ADDRESS), "sig 0123456789"),
        (McpServer(url="https://me:tok%2Fvery@h/mcp"), f"Basic {basic('me:tok/very')}"),
        (McpServer(url="https://h", headers={"A": f"Basic {basic('me:tok/very')}"}), "at tok/very"),
        (McpServer(url="https://h", oauth=SIGN_IN), f"Basic {basic('me:tok/very')}"),
        (McpServer(url="https://h/mcp?token=abc+very%2fghi"), "GET /mcp?token=abc+very%2fghi"),
        (McpServer(url="https://h/mcp?token=abc+very%2fghi"), "GET /mcp?token=abc%20very%2Fghi"),
        (McpServer(url="https://h/services/T01very23abcdefgh/mcp"), "to T01very23abcdefgh"),
        (McpServer(command=["x"], env={"DB_PASS": "pä-veryword"}), r'{"p": "p\u00e4-veryword"}'),
        (McpServer(command=["x"], env={"K": f"-----BEGIN KEY-----\n{LINE}\n--"}), f"bad {LINE}"),
        (McpServer(command=["x"], env={"DB": "pg://me:very-word@h/d"}), "password very-word"),
        (McpServer(command=["x"], env={"githubPat": "tok-very"}), "tok-\U000e0061very"),
        (McpServer(command=["x"], env={"SETTING": "a1b2c3d4e5f6very"}), "a1b2c3d4e5f6very"),
    ],
)
def test_a_secret_is_known_in_the_forms_that_it_has_in_texts(
    settings: McpServer, text: str
) -> None:
    secrets = Member("s", settings, cast("Hub", None)).secrets
    shown = clean(text, secrets)
    assert "[redacted]" in shown
    assert not any(each in shown for each in ("phrase", "very", "0123456789", basic("me:")[:4]))


def test_logs_lose_the_secrets_of_servers() -> None:
    settings = [
        McpServer(url="https://h", headers={"X-Key": "tok/seen-in-logs"}),
        McpServer(command=["x"], env={"DB_PASS": "pä-seen-in-logs"}),
        McpServer(openapi="https://h/d?sig=seen%2fin+logs", address=ADDRESS),
    ]
    texts = ["tok%2Fseen-in-logs", "password pä-seen-in-logs", "GET /d?sig=seen%2fin+logs"]
    notices = [Notice("s", text, "unusable", reason=f"it says {text}") for text in texts]
    assert all("seen" in redact_known(str(notice)) for notice in notices)
    for each in settings:
        Member("s", each, cast("Hub", None))
    assert [redact_known(str(notice)).count("[redacted]") for notice in notices] == [2, 2, 2]
    assert not any("seen" in redact_known(str(notice)) for notice in notices)


def test_notices_lose_the_secrets_of_servers_before_they_are_cut() -> None:
    class Source:
        notices = (Notice("s", "x" * 195 + "tok-seen-late", "unusable", reason="tok-seen-late"),)

    member = Member(
        "s", McpServer(command=["x"], env={"TOKEN": "tok-seen-late"}), cast("Hub", None)
    )
    member.source = cast("Any", Source())
    assert member.notices == [
        Notice("s", "x" * 195 + "[redacted]", "unusable", reason="[redacted]")
    ]
    assert "tok" not in str(member.notices[0])


def test_a_secret_that_begins_as_another_one_is_hidden_whole() -> None:
    formatter = JSONFormatter()
    pairs = [(f"first-half-{n}", f"first-half-{n}-second-half") for n in range(40)]
    formatter.hide(each for pair in pairs for each in pair)
    assert redact("; ".join(long for _, long in pairs), formatter.secrets) == "; ".join(
        ["[redacted]"] * 40
    )


@pytest.mark.parametrize(
    "settings",
    [
        McpServer(command=["x"], env={"MODE": "production", "GIT_AUTHOR_NAME": "somebody"}),
        McpServer(
            command=["x"], env={"PATH": "/opt/python3.14/bin/somebody", "TOKENIZER": "gigantic"}
        ),
        McpServer(url="https://production.example/somebody?mode=production&x=gigantic"),
    ],
)
def test_an_ordinary_word_of_the_configuration_is_no_secret(settings: McpServer) -> None:
    text = "somebody's production is gigantic: /opt/python3.14/bin/somebody"
    assert clean(text, Member("s", settings, cast("Hub", None)).secrets) == text


async def test_a_programs_last_words_lose_its_secret(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In what clients are told of a server that cannot be opened, and in the log."""

    async def open_source(self: Hub, member: Member) -> Any:
        del self
        raise ToolServerError(f"MCP server {member.name!r} ended (it said: bad key tok-secret-01)")

    monkeypatch.setattr(Hub, "open_source", open_source)
    hub = Hub(cast("Any", None), cast("Any", None), cast("Any", None))
    hub.configure({"s": McpServer(command=["x"], env={"TOKEN": "tok-secret-01"})})
    assert await hub.ready(["s"]) == []
    assert hub.members["s"].error.endswith("bad key [redacted])")
    assert "[redacted]" in caplog.text
    assert "tok-secret-01" not in caplog.text


@pytest.mark.parametrize(
    ("asked", "times"),
    [
        (Elicitation("s", "Name?", schema={"type": "object"}), 50),
        (Elicitation("s", "Name?", schema={"type": "object", "title": "x" * 40_000}), 0),
        (Elicitation("s", "Look", url="https://example.com/" + "x" * 40_000), 0),
        (Elicitation("s", "Look", url="file:///etc/passwd"), 0),
        (Elicitation("s", "Look", url="https://good.example\n.evil.example/"), 0),
        (Elicitation("s", "Look", url="https://bank.example@evil.example/"), 0),
        (Elicitation("s", "Look", url="https://good.example\\@evil.example/"), 0),
        (Elicitation("s", "Look", url="https://good.example\u202e/"), 0),
        (Elicitation("s", "Look", url="https:///path"), 0),
        (Elicitation("s", "Look", url="https://good.example/a@b?c=d%20e"), 50),
    ],
)
async def test_a_person_is_asked_so_much_and_no_more(asked: Elicitation, times: int) -> None:
    put: list[Elicitation] = []
    elicit = hub_module._elicit  # pyright: ignore[reportPrivateUsage]

    async def ask(question: Elicitation) -> ElicitationAnswer:
        put.append(question)
        return ElicitationAnswer("accept", {})

    context = ToolContext(deps=CallScope(Owner("1", "k"), "r", ask=ask))
    answers = [await elicit([], asked, context) for _ in range(60)]
    assert len(put) == times
    assert [each.action for each in answers[times:]] == ["decline"] * (60 - times)


async def test_lists_of_tools_are_bounded_in_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many pages, each of which could be taken."""
    server = HttpServer("big", url="http://127.0.0.1:9/mcp")
    connection = Connection(server, lambda: asyncio.sleep(0))
    tool = types.Tool(name="x", description="y" * 1_000_000, input_schema={"type": "object"})

    class Client:
        pages = 0

        async def list_tools(self, cursor: str | None = None) -> types.ListToolsResult:
            del cursor
            self.pages += 1
            return types.ListToolsResult(tools=[tool] * 8, next_cursor=f"more {self.pages}")

    client = Client()
    monkeypatch.setattr(connection, "_client", client)
    with pytest.raises(ToolServerError, match="list_bytes_max"):
        await connection.list_tools()
    assert client.pages < 12


@pytest.mark.parametrize("kind", ["text/event-stream; charset=utf-16", "Text/Event-Stream"])
async def test_a_stream_is_weighed_as_it_is_read_however_its_type_is_spelt(kind: str) -> None:
    """Of UTF-16 one would be weighed and the other read; of an unknown type notes count as JSON."""
    connection = Connection(HttpServer("r", url="http://127.0.0.1:1/mcp"), never)
    request = httpx2.Request("POST", "http://127.0.0.1:1/mcp")

    async def answered(body: bytes) -> str:
        class Body(httpx2.AsyncByteStream):
            async def __aiter__(self) -> AsyncIterator[bytes]:
                yield body

        response = httpx2.Response(
            200, headers={"content-type": kind}, stream=Body(), request=request
        )
        await connection._see(response)  # pyright: ignore[reportPrivateUsage]
        return "".join([piece async for piece in response.aiter_text()])

    heavy = 'data: {"x":[' + "[]," * 200_000 + "1]}\n\n"
    with pytest.raises(httpx2.ReadError, match="too heavy"):
        await answered(b': "\n' + heavy.encode())
    assert "data:" not in await answered(heavy.encode("utf-16-le"))


async def never() -> None:
    """No list changes here."""


async def test_a_question_cannot_steer_a_persons_terminal() -> None:
    put: list[Elicitation] = []

    async def ask(question: Elicitation) -> ElicitationAnswer:
        put.append(question)
        return ElicitationAnswer("decline")

    context = ToolContext(deps=CallScope(Owner("1", "k"), "r", ask=ask))
    elicit = hub_module._elicit  # pyright: ignore[reportPrivateUsage]
    await elicit(
        [], Elicitation("s", "Name?\x1b[2J\u202e\nNow", schema={"type": "object"}), context
    )
    assert put[0].message == "s: Name?\\u001b[2J\\u202e\nNow"


def test_a_flood_of_progress_is_passed_on_at_a_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("polycall.gateway.mcp.calls.time.monotonic", lambda: now)
    pace = Pace()
    assert sum(pace.takes() for _ in range(5_000)) == 200
    now += 2.0
    assert sum(pace.takes() for _ in range(5_000)) == 40
    now += 3_600.0
    assert sum(pace.takes() for _ in range(5_000)) == 200
