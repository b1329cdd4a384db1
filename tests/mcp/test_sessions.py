"""Sessions of servers that were started anew, or that have forgotten them: renewed, once."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from polycall.mcp import HttpServer, connect
from tests import origins
from tests.origins import Handler

from .support import call, said

ANSWERS = {
    "a JSON-RPC error": '{"jsonrpc":"2.0","id":ID,"error":{"code":-32600,"message":"Unknown"}}',
    "another error": '{"jsonrpc":"2.0","id":ID,"error":{"code":-32001,"message":"who are you?"}}',
    "an error without an id": '{"jsonrpc":"2.0","id":"x","error":{"code":-32600,"message":"no"}}',
    "text": "Session not found",
    "nothing": "",
    "a page": "<html><body>404</body></html>",
    "json of its own": '{"detail":"unknown session"}',
}


# What servers say with the status 400 that others say with 404.
REFUSALS = {
    "with the call's id": '{"jsonrpc":"2.0","id":ID,"error":{"code":-32000,'
    '"message":"Bad Request: No valid session ID provided"}}',
    "without an id": '{"jsonrpc":"2.0","id":null,"error":{"code":-32000,'
    '"message":"Bad Request: Mcp-Session-Id is unknown"}}',
    "text": "Invalid session",
}


class Server:
    """A server with sessions, which it forgets when it is asked to."""

    def __init__(self, answer: str, status: int = 404) -> None:
        self.answer = answer
        self.status = status
        self.sessions: set[str] = set()
        self.begun = 0
        self.ran: list[str] = []
        self.forgets_at_once = False
        self.lock = threading.Lock()

    def post(self, body: dict[str, Any], session: str | None) -> tuple[int, str, dict[str, str]]:
        with self.lock:
            method, number = body["method"], body.get("id")
            if method == "initialize":
                self.begun += 1
                name = f"s{self.begun}"
                self.sessions.add(name)
                result: Any = {
                    "protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "old", "version": "1"},
                }
                return 200, _result(number, result), {"mcp-session-id": name}
            if session is None:
                return 404, "", {}
            if session not in self.sessions:
                return self.status, self.answer.replace('"id":ID', f'"id":{json.dumps(number)}'), {}
            if number is None:
                return 202, "", {}
            if method == "tools/list":
                tool = {"name": "act", "inputSchema": {"type": "object"}}
                result = {"tools": [tool]}
                if self.forgets_at_once:
                    self.sessions.clear()
            elif method == "tools/call":
                self.ran.append(session)
                result = {"content": [{"type": "text", "text": f"acted in {session}"}]}
            else:
                result = {}
            return 200, _result(number, result), {}


def _result(number: Any, result: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": number, "result": result})


@contextmanager
def serving(server: Server) -> Iterator[str]:
    class Post(Handler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.read())
            status, text, headers = server.post(body, self.headers.get("mcp-session-id"))
            kind = "application/json" if text.startswith("{") else "text/plain"
            self.answer(text.encode(), status, kind, **headers)

        def do_GET(self) -> None:
            self.answer(status=405)

        do_DELETE = do_GET  # noqa: N815

    with origins.serving(Post) as url:
        yield f"{url}/mcp"


@pytest.mark.parametrize("answer", sorted(ANSWERS))
async def test_l2_a_session_that_is_not_found_is_begun_anew_and_the_call_repeated_once(
    answer: str,
) -> None:
    server = Server(ANSWERS[answer])
    with serving(server) as url:
        async with connect(HttpServer("old", url=url)) as tools:
            assert await said(tools, "old_act") == "acted in s1"
            for number in (2, 3):
                server.sessions.clear()
                assert await said(tools, "old_act") == f"acted in s{number}"
            assert server.ran == ["s1", "s2", "s3"]


@pytest.mark.parametrize("answer", sorted(REFUSALS))
async def test_l2_a_session_refused_with_400_is_begun_anew_as_well(answer: str) -> None:
    server = Server(REFUSALS[answer], status=400)
    with serving(server) as url:
        async with connect(HttpServer("old", url=url)) as tools:
            server.sessions.clear()
            assert await said(tools, "old_act") == "acted in s2"
            assert server.ran == ["s2"]


async def test_l2_another_refusal_with_400_is_an_error_and_no_second_try() -> None:
    words = '{"jsonrpc":"2.0","id":ID,"error":{"code":-32602,"message":"no such shelf"}}'
    server = Server(words, status=400)
    with serving(server) as url:
        async with connect(HttpServer("old", url=url)) as tools:
            server.sessions.clear()
            result = await call(tools, "old_act")
            assert result.is_error
            assert "no such shelf" in result.text
            assert (server.ran, server.begun) == ([], 1)


async def test_l2_a_session_lost_before_the_list_is_read_again() -> None:
    server = Server(ANSWERS["nothing"])
    with serving(server) as url:
        async with connect(HttpServer("old", url=url)) as tools:
            for _ in range(2):
                server.sessions.clear()
                result = await call(tools, "old_act")
                assert not result.is_error
            assert sorted(tools.tools) == ["old_act"]
            assert server.ran == ["s2", "s3"]


async def test_l2_calls_side_by_side_are_each_run_once_in_the_new_session() -> None:
    server = Server(ANSWERS["a JSON-RPC error"])
    with serving(server) as url:
        async with connect(HttpServer("old", url=url)) as tools:
            server.sessions.clear()
            texts = await asyncio.gather(*(said(tools, "old_act") for _ in range(5)))
            assert len(server.ran) == 5
            assert all(text.startswith("acted in s") for text in texts), texts


async def test_l2_a_server_that_forgets_at_once_is_not_asked_for_ever() -> None:
    server = Server(ANSWERS["text"])
    with serving(server) as url:
        async with connect(HttpServer("old", url=url)) as tools:
            server.sessions.clear()
            server.forgets_at_once = True
            result = await call(tools, "old_act")
            assert result.is_error
            assert "knows the session no more" in result.text
            assert (server.ran, server.begun) == ([], 2)
