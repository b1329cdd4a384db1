"""Signing in to servers: code with PKCE, refresh, revocation, a token for another resource."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

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
        assert list(tools.tools) == ["guarded_refreshed"]
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
        assert list(tools.tools) == ["guarded_refreshed"]


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
        guarded.mood.write_text("more")
        assert await said(tools, "guarded_refreshed") == "0"
        assert len(guarded.pages) == 2
        assert await said(tools, "guarded_refreshed") == "0"
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


async def test_a_browser_comes_back_here() -> None:
    redirect = f"http://127.0.0.1:{free_port()}/callback"
    pages: list[str] = []
    authorize = authorize_here(pages.append, redirect)
    waiting = asyncio.ensure_future(authorize("https://example.com/page"))

    def come_back() -> None:
        with pytest.raises(HTTPError):
            urllib.request.urlopen(f"{redirect.rpartition('/')[0]}/other", timeout=5)
        urllib.request.urlopen(f"{redirect}?code=c&state=s", timeout=5).close()

    while not pages:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(come_back)
    assert await waiting == "/callback?code=c&state=s"


async def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "tokens.json").write_text("{")
    with pytest.raises(StoreError):
        await TokenFile(tmp_path / "tokens.json").load("tokens")
