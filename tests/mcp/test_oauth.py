"""Signing in to servers: code with PKCE, refresh, revocation, a token for another resource."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest

from polycall.errors import StoreError, ToolServerError
from polycall.mcp import HttpServer, OAuth, TokenFile, authorize_here, connect
from tests.mcp.support import said, until_it_answers
from tests.servers import free_port

STOCK = Path(__file__).with_name("oauth_stock.py")


class Guarded:
    """The server, and a person who goes to each page that is shown."""

    def __init__(self, folder: Path, ttl_s: int) -> None:
        self.mood = folder / "mood"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self.pages: list[str] = []
        environment = {**os.environ, "MOOD": str(self.mood), "TTL": str(ttl_s)}
        self.process = subprocess.Popen(
            [sys.executable, str(STOCK), str(self.port)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    async def say_yes(self, page: str) -> str:
        self.pages.append(page)
        return await asyncio.to_thread(_landed, page)

    def oauth(self, tokens: TokenFile, **options: Any) -> OAuth:
        return OAuth(tokens=tokens, authorize=self.say_yes, **options)


class _Still(urllib.request.HTTPRedirectHandler):
    def redirect_request(  # type: ignore[override]
        self, *_: Any
    ) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None


def _landed(page: str) -> str:
    """Where the page leads, without going there."""
    try:
        urllib.request.build_opener(_Still()).open(page, timeout=10).close()
    except HTTPError as error:
        with error:
            return error.headers["location"]
    raise AssertionError("the page led nowhere")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    made = Guarded(tmp_path_factory.mktemp("oauth"), 3600)
    asyncio.run(until_it_answers(made.url))
    yield made
    made.process.kill()
    made.process.wait()


async def test_signs_in_once_and_keeps_the_tokens(guarded: Guarded, tmp_path: Path) -> None:
    guarded.mood.write_text("")
    guarded.pages.clear()
    tokens = TokenFile(tmp_path / "tokens.json")
    server = HttpServer("guarded", url=guarded.url, oauth=guarded.oauth(tokens))
    async with connect(server) as tools:
        assert await said(tools, "guarded_refreshed") == "0"
    assert len(guarded.pages) == 1
    assert "code_challenge_method=S256" in guarded.pages[0]
    assert "resource=" in guarded.pages[0]
    assert stat.S_IMODE((tmp_path / "tokens.json").stat().st_mode) == 0o600
    async with connect(server) as tools:
        assert list(tools.tools) == ["guarded_refreshed", "guarded_token"]
    assert len(guarded.pages) == 1


async def test_without_a_person_it_is_an_error_that_says_so(guarded: Guarded) -> None:
    guarded.mood.write_text("")
    server = HttpServer("guarded", url=guarded.url, oauth=OAuth())
    with pytest.raises(ToolServerError, match="wants a person to sign in"):
        async with connect(server):
            pass


async def test_revoked_tokens_lead_to_the_page_again(guarded: Guarded, tmp_path: Path) -> None:
    guarded.mood.write_text("")
    guarded.pages.clear()
    tokens = TokenFile(tmp_path / "tokens.json")
    server = HttpServer("guarded", url=guarded.url, oauth=guarded.oauth(tokens))
    async with connect(server):
        pass
    guarded.mood.write_text("revoked")
    with pytest.raises(ToolServerError):
        async with connect(server):
            pass
    guarded.mood.write_text("")
    async with connect(server) as tools:
        assert list(tools.tools) == ["guarded_refreshed", "guarded_token"]


async def test_a_sign_in_that_fails_in_a_session_fails_its_call_alone(
    guarded: Guarded, tmp_path: Path
) -> None:
    """In words, and as often as it is needed; the connection lasts until somebody signed in."""
    guarded.mood.write_text("")
    tokens = TokenFile(tmp_path / "tokens.json")
    async with connect(HttpServer("guarded", url=guarded.url, oauth=guarded.oauth(tokens))):
        pass
    server = HttpServer("guarded", url=guarded.url, oauth=OAuth(tokens=tokens))
    async with connect(server) as tools:
        before = await said(tools, "guarded_refreshed")
        guarded.mood.write_text("revoked")
        for _ in range(2):
            text = await said(tools, "guarded_refreshed")
            assert text.startswith("MCP server 'guarded' refused 'refreshed': 127.0.0.1:")
            assert "wants a person to sign in" in text
        guarded.mood.write_text("")
        assert await said(tools, "guarded_refreshed") == before


async def test_a_token_for_another_resource_is_refused(guarded: Guarded, tmp_path: Path) -> None:
    guarded.mood.write_text("wrong")
    tokens = TokenFile(tmp_path / "tokens.json")
    server = HttpServer("guarded", url=guarded.url, oauth=guarded.oauth(tokens))
    with pytest.raises(ToolServerError):
        async with connect(server):
            pass
    guarded.mood.write_text("")


async def test_a_server_that_wants_more_scopes_leads_to_the_page_again(
    guarded: Guarded, tmp_path: Path
) -> None:
    """403 with insufficient_scope, in the middle of a session: a person says yes once more."""
    guarded.mood.write_text("")
    guarded.pages.clear()
    tokens = TokenFile(tmp_path / "tokens.json")
    server = HttpServer("guarded", url=guarded.url, oauth=guarded.oauth(tokens))
    async with connect(server) as tools:
        before = await said(tools, "guarded_refreshed")
        guarded.mood.write_text("more")
        assert await said(tools, "guarded_refreshed") == before
        assert len(guarded.pages) == 2
        assert await said(tools, "guarded_refreshed") == before
    assert len(guarded.pages) == 2
    guarded.mood.write_text("")


async def test_tokens_that_expire_are_refreshed(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, 1)
    try:
        await until_it_answers(guarded.url)
        tokens = TokenFile(tmp_path / "tokens.json")
        server = HttpServer("guarded", url=guarded.url, oauth=guarded.oauth(tokens))
        async with connect(server) as tools:
            await asyncio.sleep(1.2)
            assert int(await said(tools, "guarded_refreshed")) >= 1
        assert len(guarded.pages) == 1
    finally:
        guarded.process.kill()
        guarded.process.wait()


OTHERS = ["/other", "/callback", "/callback?code=c&state=x", "/callback?error=x&state=sx", "/%E9?é"]


async def test_a_browser_comes_back_here() -> None:
    """Whatever other pages in the browser, or other programs, have it ask meanwhile."""
    redirect = f"http://127.0.0.1:{free_port()}/callback"
    pages: list[str] = []
    authorize = authorize_here(pages.append, redirect)
    waiting = asyncio.ensure_future(authorize("https://example.com/page?client_id=c&state=s"))

    def ask(line: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", urlsplit(redirect).port), 5) as link:
            link.sendall(line)
            return link.makefile("rb").readline()

    def come_back() -> list[bytes]:
        lines = [f"GET {each} HTTP/1.1\r\n\r\n".encode() for each in OTHERS]
        return [ask(line) for line in [*lines, b"\r\n", b"x" * 40_000 + b"\r\n"]]

    while not pages:
        await asyncio.sleep(0.01)
    answers = await asyncio.to_thread(come_back)
    assert {each.split()[1] for each in answers if each} == {b"404"}
    for state in ("%C3%A9", "%ED%A0%80", "%F0%9F%98%80", "s%00", "%FF"):
        line = f"GET /callback?code=c&state={state} HTTP/1.1\r\n\r\n".encode()
        assert await asyncio.to_thread(ask, line) == b"HTTP/1.1 404 Not Found\r\n"
    found = await asyncio.to_thread(ask, b"GET /callback?code=c&state=s HTTP/1.1\r\n\r\n")
    assert found.split()[1] == b"200"
    assert await waiting == "/callback?code=c&state=s"


async def test_two_sign_ins_at_one_port() -> None:
    redirect = f"http://127.0.0.1:{free_port()}/callback"
    shown = asyncio.Event()
    page = "https://example.com/page?state=s"
    first = asyncio.ensure_future(authorize_here(lambda _: shown.set(), redirect)(page))
    await shown.wait()
    with pytest.raises(ToolServerError, match="maybe another sign-in waits there"):
        await authorize_here(lambda _: None, redirect)(page)
    first.cancel()
    await asyncio.wait({first})


async def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "tokens.json").write_text("{")
    with pytest.raises(StoreError):
        await TokenFile(tmp_path / "tokens.json").load("tokens")
