"""Servers at addresses that mean harm, behind the gateway: what once held it up, and its beside."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.gateway.harness import KEY, Gateway
from tests.gateway.mcp_support import mcp_client, text_of
from tests.mcp import evil_turns, evil_ways
from tests.mcp.evil_http import Evil, Way

WORDS = {
    "body-id-other": "the answer has another id than its request",
    "body-notification": "the answer has another id than its request",
    "ends-overflow": "did not finish within 2 s",
    "schema-in-doubling": "there is no tool",
    "schema-out-doubling": "there is no tool",
    "schema-out-regex": "does not fit its output schema",
    "schema-out-deeper": "cannot be checked: the schema leads",
    "requires-state": "more than 10 rounds",
    "task-id-long": "the id of a task has 1,000,000 characters",
    "delete-never": "fine",
}


def table(name: str, evil: Evil, way: str) -> str:
    deadline_s = 2 if way == "ends-overflow" else 300
    address = f'url = "{evil.url(way)}"'
    return f"[mcp.{name}]\n{address}\nconnect_s = 60\ndeadline_s = {deadline_s}\n"


async def test_each_way_ends_in_words_and_the_others_are_served(tmp_path: Path) -> None:
    kinds = (evil_ways.bodies, evil_ways.streams, evil_turns.rounds)
    kinds += (evil_turns.sessions, evil_turns.lists)
    ways = [way for kind in kinds for way in kind() if way.name in WORDS]
    names = {way.name: f"e{number}e" for number, way in enumerate(ways)}
    async with asyncio.timeout(280), Evil(Way("honest", {}), *ways) as evil:
        tables = [table(name, evil, way) for way, name in names.items()]
        key = f'[[keys]]\nkey = "{KEY}"\nname = "first"\n'
        config = "".join([*tables, table("honest", evil, "honest"), key])
        gateway = await asyncio.to_thread(Gateway(tmp_path, config).start)

        async def said(way: str, name: str) -> tuple[str, str]:
            async with mcp_client(gateway, f"/mcp/{name},honest") as client:
                found = text_of(await client.call_tool(f"{name}_act", {}))
                assert text_of(await client.call_tool("honest_act", {})) == "fine"
            return way, found

        try:
            found = dict([await said(way, name) for way, name in names.items()])
        finally:
            status = await asyncio.to_thread(gateway.stop)
    assert {way: WORDS[way] in text for way, text in found.items()} == dict.fromkeys(WORDS, True)
    assert status == 0
    assert evil.trapped == []
