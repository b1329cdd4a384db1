"""Two replicas on one store, whose servers of one name say other things."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import MCPError

from polycall.cli.mcp import look_at
from tests.gateway.harness import KEY, Gateway
from tests.gateway.mcp_support import mcp_client
from tests.gateway.test_mcp_turning import SERVER, turned


@pytest.mark.slow
async def test_two_replicas_offer_what_is_pinned_and_follow_a_new_pin(
    tmp_path: Path, postgres_server: Any
) -> None:
    """Both meet the server first, at once, and each is shown other prompts."""
    store = postgres_server.database()
    words: list[dict[str, str]] = [{}, {"description": "Other."}]
    gateways: list[Gateway] = []
    for number, each in enumerate(words):
        place = tmp_path / str(number)
        place.mkdir()
        turned(place, **each)
        command = f'command = ["{sys.executable}", "{SERVER}", "{place}"]'
        text = (
            f'[server]\nmcp_processes = true\n[store]\nurl = "{store}"\n[mcp.turning]\n{command}\n'
        )
        key = f'[[keys]]\nkey = "{KEY}"\nname = "first"\n'
        gateways.append(await asyncio.to_thread(Gateway(place, text + key).start))

    async def offers(gateway: Gateway) -> bool:
        """Whether its server's prompt is offered, and can be used."""
        async with mcp_client(gateway, "/mcp/turning") as client:
            prompts = (await client.list_prompts()).prompts
            try:
                await client.get_prompt("review", {"code": "x"})
                is_given = True
            except MCPError as error:
                assert "its definition is not the pinned one" in error.message
                is_given = False
        assert len(prompts) == is_given
        return is_given

    try:
        found = list(await asyncio.gather(*map(offers, gateways)))
        assert sorted(found) == [False, True]
        for of in (found.index(False), found.index(True)):
            await asyncio.to_thread(look_at, gateways[of].path, [], pin=True)
            async with asyncio.timeout(60):
                while [await offers(each) for each in gateways] != [of == 0, of == 1]:
                    await asyncio.sleep(0.2)
    finally:
        for gateway in gateways:
            assert await asyncio.to_thread(gateway.stop) == 0
