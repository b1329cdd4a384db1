"""A16: what one connection of many answers holds of the gateway's memory."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.edge.test_doors import MODELS, UP, serving

SERVER = "[server]\nbody_bytes_max = 1000000\n"


class Client:
    """The client's end of a WebSocket, without one."""

    is_open = True

    def __init__(self) -> None:
        self.scope = {"headers": [], "query_string": b"", "client": ("127.0.0.1", 1)}
        self.frames: asyncio.Queue[str] = asyncio.Queue()
        self.sent: list[Any] = []
        self.arrived = asyncio.Event()

    async def accept(self, *_: Any, **__: Any) -> None:
        return

    async def receive(self) -> tuple[bytes, bool]:
        return (await self.frames.get()).encode(), True

    async def send(self, frame: str) -> None:
        self.sent.append(json.loads(frame))
        self.arrived.set()

    async def close(self, *_: Any) -> None:
        return

    async def said(self, count: int) -> list[Any]:
        async with asyncio.timeout(10):
            while len(self.sent) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return self.sent


def event(**fields: Any) -> str:
    return json.dumps({"type": "response.create", "model": "up/m", **fields})


async def connected(served: Any, client: Any) -> asyncio.Task[None]:
    return asyncio.create_task(served._sockets.serve(client))


@pytest.mark.parametrize("text", ["x" * 600_000, "😀" * 150_000])
@pytest.mark.parametrize("lanes", [1, 3])
async def test_a16_events_that_wait_are_bounded_in_bytes(
    tmp_path: Path, text: str, lanes: int
) -> None:
    async with serving(tmp_path, SERVER + UP + MODELS) as served:
        hold = asyncio.Event()

        async def serve(*_: Any) -> None:
            await hold.wait()

        served._generations.serve = serve  # type: ignore[method-assign]
        client = Client()
        task = await connected(served, client)
        for number in range(3):
            lane = {} if lanes == 1 else {"stream_id": str(number)}
            body = json.loads(event(input=text, **lane))
            await client.frames.put(json.dumps(body, ensure_ascii=False))
        said = await client.said(2)
        assert all("bytes of events wait" in each["error"]["message"] for each in said)
        task.cancel()
        hold.set()
        await asyncio.wait([task])


async def test_a16_turns_that_are_not_stored_are_bounded_in_bytes(tmp_path: Path) -> None:
    async with serving(tmp_path, SERVER + UP + MODELS) as served:
        client = Client()
        task = await connected(served, client)
        for number in range(6):
            text = str(number) * 400_000
            await client.frames.put(event(input=text, store=False, generate=False))
            await client.said(2 * (number + 1))
        names = [each["response"]["id"] for each in client.sent[1::2]]
        connection = next(iter(served._sockets._open))
        assert list(connection._turns) == names[-2:]
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize("value", ["[],", "{},", '"ab",'])
async def test_a20_an_event_has_no_more_values_than_a_body(tmp_path: Path, value: str) -> None:
    async with serving(tmp_path, UP + MODELS) as served:
        client = Client()
        task = await connected(served, client)
        many = (value * (4_000_000 // len(value))).rstrip(",")
        await client.frames.put(f'{{"type":"response.create","input":[{many}]}}')
        said = await client.said(1)
        assert "lists and objects" in said[0]["error"]["message"]
        task.cancel()
        await asyncio.wait([task])


async def test_a_key_that_is_over_warms_nothing_up(tmp_path: Path) -> None:
    key = '[[keys]]\nkey="sk-0123456789"\nname="k"\n'
    async with serving(tmp_path, UP + MODELS + key) as served:
        client = Client()
        client.scope["headers"] = [(b"authorization", b"Bearer sk-0123456789")]
        task = await connected(served, client)
        await client.frames.put(event(input="x", generate=False))
        assert [each["type"] for each in await client.said(2)] == [
            "response.created",
            "response.completed",
        ]
        served._keys.configure([])
        await client.frames.put(event(input="x", generate=False))
        assert (await client.said(3))[2]["status"] == 401
        task.cancel()
        await asyncio.wait([task])
