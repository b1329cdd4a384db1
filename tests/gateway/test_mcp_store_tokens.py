"""Tokens of MCP servers in the store: renewed by one of all processes, hidden in all texts."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import pytest
from mcp.shared.auth import OAuthToken

from polycall.config import McpServer, parse_config
from polycall.errors import ConfigError, ToolServerError
from polycall.gateway.mcp.calls import clean
from polycall.gateway.mcp.hub import Hub, Member
from polycall.gateway.mcp.known_secrets import KnownSecrets
from polycall.gateway.mcp.pins import StoreTokens
from polycall.gateway.observability import logs
from polycall.gateway.observability.logs import hide
from polycall.gateway.store import Store, open_store
from polycall.mcp import HttpServer, connect
from polycall.mcp.kept_tokens import KeptTokens
from tests.mcp.evil_oauth import Party, Person, oauth_of
from tests.servers import free_port


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncGenerator[list[Store]]:
    """Of three processes."""
    found = [open_store("sqlite:x.db", tmp_path, spool=f"spool{n}") for n in range(3)]
    yield found
    for each in found:
        await each.close()


async def test_one_of_all_processes_renews(stores: list[Store]) -> None:
    inside: list[int] = []

    async def renew(number: int) -> None:
        async with StoreTokens(stores[number % 3], "s").alone():
            inside.append(number)
            assert inside == [number]
            await asyncio.sleep(0.02)
            inside.remove(number)

    async with asyncio.timeout(60):
        await asyncio.gather(*map(renew, range(9)))


async def test_a_killed_process_holds_up_nobody_for_long(
    stores: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polycall.gateway.mcp.pins._TURN_S", 0.2)
    killed = StoreTokens(stores[0], "s").alone()
    await killed.__aenter__()
    async with asyncio.timeout(60), StoreTokens(stores[1], "s").alone():
        await killed.__aexit__(None, None, None)  # it was only slow: the other's turn stays
        third = asyncio.ensure_future(StoreTokens(stores[2], "t").alone().__aenter__())
        await third  # of another server


async def test_who_is_cancelled_leaves_his_turn(stores: list[Store]) -> None:
    is_in = asyncio.Event()

    async def hold() -> None:
        async with StoreTokens(stores[0], "s").alone():
            is_in.set()
            await asyncio.sleep(60)

    holding = asyncio.ensure_future(hold())
    await is_in.wait()
    holding.cancel()
    await asyncio.wait({holding})
    async with asyncio.timeout(20), StoreTokens(stores[1], "s").alone():
        pass


GUARDED = McpServer(url="https://h", headers={"A": "Bearer of-the-operator"})


def test_tokens_are_known_as_long_as_they_can_be_in_use() -> None:
    """In the forms that a secret has; of thousands of renewals the last few."""
    secrets = KnownSecrets(GUARDED, lambda _: None)
    shared = secrets  # as those hold it who clean texts
    for number in range(2_000):
        secrets.learn([f"access/{number:05d}", f"refresh/{number:05d}"])
        secrets.learn([f"access/{number:05d}"])
    text = "of-the-operator access/01999 access%2F01998 refresh/01995 access/00000"
    assert clean(text, shared) == "[redacted] [redacted] [redacted] [redacted] access/00000"
    assert len(secrets) < 100


def test_who_cleans_a_text_while_tokens_come_has_all_that_were_known() -> None:
    """In a thread, for one."""
    secrets = KnownSecrets(GUARDED, lambda _: None)
    secrets.learn(["access-00000", "refresh-00000"])
    before = list(secrets)
    reading = iter(secrets)
    seen = [next(reading)]
    for number in range(1, 50):
        secrets.learn([f"{'longer' * number}-{number:05d}"])
    assert [*seen, *reading] == before


def test_tokens_of_a_sign_in_stand_in_no_line_of_the_log() -> None:
    """In each form, whoever logs them; of each server the latest, and all that lasts."""
    hub = cast("Hub", None)
    members = [Member(name, GUARDED, hub) for name in ("one-signed-in", "another-signed-in")]
    hide(["key-of-the-gateway"])
    line = "of-the-operator key-of-the-gateway"
    for number in range(300):
        for member in members:
            member.secrets.learn([f"{member.name}/{number:05d}"])
    known = len(known_in_log())
    for number in range(300, 600):
        members[0].secrets.learn([f"{members[0].name}/{number:05d}"])
    for token in ("one-signed-in/00599", "one-signed-in%2F00598", "another-signed-in/00299"):
        line += f" {token}"
    assert log_line(line) == " ".join(["[redacted]"] * 5)
    assert len(known_in_log()) == known
    assert log_line("one-signed-in/00299") == "one-signed-in/00299"  # long over


async def test_tokens_of_a_look_at_definitions_stand_in_no_line_of_the_log(
    stores: list[Store], tmp_path: Path
) -> None:
    """Nothing is served of the server then, and it signs in all the same."""
    hub = Hub(stores[0], tmp_path, cast("Any", None))
    settings = parse_config(
        f'[mcp.looked]\nurl = "http://127.0.0.1:{free_port()}"\n[mcp.looked.oauth]\n'
    ).mcp["looked"]
    kept = KeptTokens(
        url=settings.url,
        tokens=OAuthToken(access_token="access-of-a-look", refresh_token="renewal-of-a-look"),
    )
    await StoreTokens(stores[0], "looked").save("tokens", kept.model_dump_json())
    with pytest.raises(ToolServerError):
        await hub.definitions("looked", settings)
    await hub.close()
    assert log_line("access-of-a-look renewal-of-a-look") == "[redacted] [redacted]"


def log_line(words: str) -> str:
    record = logging.LogRecord("polycall", logging.INFO, "", 0, words, None, None)
    line = logs._formatter.format(record)  # pyright: ignore[reportPrivateUsage]
    return json.loads(line)["message"]


def known_in_log() -> tuple[str, ...]:
    return logs._formatter.secrets  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('grant = "client_credentials"', "needs client_id and client_secret"),
        ('grant = "client_credentials"\nclient_id = "me"', "needs client_id and client_secret"),
        ('issuer = "login.example"', "'login.example' is not an http or https address"),
        ('client_metadata_url = "http://x.example/c"', "is an https address with a path"),
        ('client_metadata_url = "https://x.example"', "is an https address with a path"),
        ('scopes = ["read list"]', "'read list' cannot be a scope"),
        ('scopes = ["a\\"b"]', "cannot be a scope"),
    ],
)
def test_mistakes_in_the_options_of_a_sign_in_are_told_at_the_start(line: str, words: str) -> None:
    text = f'[mcp.s]\nurl = "https://h/mcp"\n[mcp.s.oauth]\n{line}\n'
    with pytest.raises(ConfigError, match=re.escape(words)):
        parse_config(text, environment={})


async def test_what_gives_headers_for_a_server_gives_none_to_its_sign_in() -> None:
    """A function is asked for each request of the server's, and no authorization server's."""
    async with Party().open() as party:

        async def headers() -> dict[str, str]:
            return {"x-secret": "of-the-server"}

        oauth = oauth_of(Person(party.url))
        server = HttpServer("s", url=party.mcp, headers=headers, oauth=oauth, connect_s=20)
        with pytest.raises(ToolServerError):  # it speaks no MCP
            async with connect(server):
                pass
        assert party.of("/token")
        assert {each.path for each in party.asked if "x-secret" in each.headers} == {"/mcp"}
