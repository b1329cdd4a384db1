"""Voices at the addresses of the simulated vendors."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from openai import AsyncOpenAI

from polycall.sim import Simulation


async def test_a_voice_says_yes_at_its_vendors_address() -> None:
    with Simulation() as simulation:
        client = AsyncOpenAI(api_key="any", base_url=simulation.base_url("openai"))
        async with client, client.realtime.connect(model="gpt-realtime-2.1") as connection:
            await connection.session.update(session={"type": "realtime"})
            await connection.response.create()
            async with asyncio.timeout(10):
                async for event in connection:
                    if event.type == "response.done":
                        break
            assert event.type == "response.done"
            assert event.response.status == "completed"
        answer = await asyncio.to_thread(_health, simulation.url)
        assert answer == 404  # the server goes on, and other paths are HTTP


def _health(url: str) -> int:
    import http.client
    from urllib.parse import urlsplit

    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request("GET", "/openai/v1/nothing", headers={"upgrade": "websocket"})
        return connection.getresponse().status
    finally:
        connection.close()


async def test_what_is_no_voice_is_no_websocket() -> None:
    with Simulation() as simulation:
        url = f"ws{simulation.base_url('openai').removeprefix('http')}/responses"
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await session.ws_connect(url)


async def test_an_open_session_ends_with_the_simulation() -> None:
    simulation = Simulation()
    simulation.start()
    url = f"ws{simulation.base_url('google').removeprefix('http')}"
    url += "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        stopping = asyncio.create_task(asyncio.to_thread(simulation.stop))
        async with asyncio.timeout(8):
            await socket.receive()
        await stopping
