"""Responses over WebSocket: the official SDK, going on by id, many at once, restarts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from polycall.sim import Call, Simulation, Turn
from tests.gateway.harness import KEY, OTHER_KEY, UPSTREAMS, Gateway, sim_config
from tests.gateway.test_responses_stored import TOOL, paid, scripted

ENDS = ("response.completed", "response.incomplete", "response.failed", "error")


@asynccontextmanager
async def opened(gateway: Gateway, key: str = KEY) -> AsyncGenerator[ClientConnection]:
    url = f"ws://127.0.0.1:{gateway.port}/v1/responses"
    headers = {"authorization": f"Bearer {key}"}
    async with connect(url, additional_headers=headers, max_size=2**26) as socket:
        yield socket


async def ask(socket: ClientConnection, **event: Any) -> list[Any]:
    """The events of one answer."""
    await socket.send(json.dumps({"type": "response.create", **event}))
    return await answered(socket)


async def answered(socket: ClientConnection) -> list[Any]:
    events: list[Any] = []
    while not events or events[-1]["type"] not in ENDS:
        events.append(json.loads(await asyncio.wait_for(socket.recv(), 20)))
    return events


def text_of(events: list[Any]) -> str:
    assert events[-1]["type"] == "response.completed", events[-1]
    message = events[-1]["response"]["output"][-1]
    return message["content"][0]["text"]


# The SDK opens connections in a way that its own library for them has begun to deprecate.
@pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")
@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("stored", [True, False])
def test_the_sdk_goes_on_by_id(
    gateway: Gateway, sim: Simulation, upstream: str, stored: bool
) -> None:
    turns = [Turn("let me look", calls=[Call("now", {})]), Turn("정오 🕛"), Turn("again")]
    model = scripted(sim, upstream, f"socket-{stored}", turns)
    finals: list[Any] = []
    given: Any = "which time is it?"
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY) as client,
        client.responses.connect() as connection,
    ):
        for _ in range(3):
            more: Any = {} if stored else {"store": False}
            if finals:
                more["previous_response_id"] = finals[-1].id
            sent: Any = {"type": "response.create", "model": model, "tools": [TOOL], "input": given}
            connection.send({**sent, **more})
            for event in connection:
                assert event.type != "error", event
                if event.type == "response.completed":
                    finals.append(event.response)
                    break
            calls = [item for item in finals[-1].output if item.type == "function_call"]
            given = [
                {"type": "function_call_output", "call_id": call.call_id, "output": "12:00"}
                for call in calls
            ] or "and now?"
    assert [final.output_text for final in finals[1:]] == ["정오 🕛", "again"]
    if upstream != "up-responses" or not stored:  # which then keeps what was said itself
        sent = json.dumps(sim.requests[-1].body)
        places = [sent.index(text) for text in ("which time is it?", "12:00", "and now?")]
        assert places == sorted(places)
    rows = paid(gateway, model, 3)
    assert {row["outcome"] for row in rows} == {"ok"}


async def test_what_is_said_of_errors(gateway: Gateway, sim: Simulation) -> None:
    model = scripted(sim, "up-anthropic", "well", [Turn("ok")] * 2)
    async with opened(gateway) as socket:
        for sent, words in (
            ("{", "the frame is not JSON"),
            ("\ufeff{}", "the frame is not JSON"),
            ("[" * 9000, "the frame"),
            ("[]", "object"),
            ('{"type":"response.steer"}', "response.steer"),
            ('{"type":"response.create"}', "model"),
            ('{"type":"response.create","model":"x/y","input":"a","stream_id":5}', "ASCII"),
            (b"\x00\xff", "text frames"),
        ):
            await socket.send(sent)
            (event,) = await answered(socket)
            assert (event["type"], event["status"] // 100) == ("error", 4), event
            assert words in event["error"]["message"]
        (event,) = await ask(socket, model=model, input="x", previous_response_id="resp_no")
        assert event["error"]["code"] == "previous_response_not_found"
        assert event["error"]["param"] == "previous_response_id"
        (event,) = await ask(socket, model="up-anthropic/fault-500", input="x")
        assert (event["status"], event["type"]) == (500, "error")
        # The connection goes on.
        assert text_of(await ask(socket, model=model, input="x")) == "ok"
    for key, status in (("sk-nobody", 401),):
        with pytest.raises(InvalidStatus) as refused:
            async with opened(gateway, key):
                pass
        assert refused.value.response.status_code == status
        assert b"error" in (refused.value.response.body or b"")


async def test_pages_of_other_sites_use_no_gateway_without_keys(
    sim: Simulation, tmp_path: Path
) -> None:
    """A browser lets any page connect to this machine, with no question asked."""
    config = sim_config(sim).partition("[[keys]]")[0]
    gateway = Gateway(tmp_path, config).start()
    url = f"ws://127.0.0.1:{gateway.port}/v1/responses"
    for origin, is_served in (
        ("https://evil.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("null", False),
        ("http://localhost:3000", True),
        (None, True),
    ):
        headers = {"origin": origin} if origin else {}
        if is_served:
            async with connect(url, additional_headers=headers) as socket:
                events = await ask(socket, model="up-chat/sim-1", input="x")
                assert events[-1]["type"] == "response.completed"
            continue
        with pytest.raises(InvalidStatus) as refused:
            async with connect(url, additional_headers=headers):
                pass
        assert refused.value.response.status_code == 403
    assert gateway.stop() == 0


async def test_lanes_and_warm_ups(gateway: Gateway, sim: Simulation) -> None:
    model = scripted(sim, "up-gemini", "lanes", [Turn("warm"), Turn("warm again")])
    async with opened(gateway) as socket:
        slow = {"type": "response.create", "model": "up-gemini/fault-slow", "input": "x"}
        await socket.send(json.dumps({**slow, "stream_id": "slow"}))
        for store in (True, False):
            ready = await ask(
                socket, model=model, input="know this", generate=False, store=store, stream_id="w"
            )
            while ready[-1].get("stream_id") != "w":
                ready = await answered(socket)
            previous = ready[-1]["response"]["id"]
            assert ready[-1]["response"]["output"] == []
            events = await ask(
                socket,
                model=model,
                input="what?",
                store=store,
                previous_response_id=previous,
                stream_id="w",
            )
            mine = [event for event in events if event["stream_id"] == "w"]
            while mine[-1]["type"] not in ENDS:
                mine.append(json.loads(await socket.recv()))
                mine = [event for event in mine if event["stream_id"] == "w"]
            assert text_of(mine).startswith("warm")
            said = next(
                json.dumps(each.body) for each in reversed(sim.requests) if "lanes" in each.path
            )
            assert said.index("know this") < said.index("what?")


@pytest.mark.slow
async def test_a_turn_goes_on_at_another_replica_and_after_kill(
    sim: Simulation, tmp_path: Path
) -> None:
    config = f'[store]\nurl = "sqlite:///{tmp_path / "store.db"}"\n' + sim_config(sim)
    gateways: list[Gateway] = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        gateways.append(Gateway(tmp_path / name, config).start())
    model = scripted(sim, "up-anthropic", "moves", [Turn("one"), Turn("two"), Turn("three")])
    previous: Any = None
    for place, text in ((0, "one"), (1, "two"), (0, "three")):
        async with opened(gateways[place]) as socket:
            more = {"previous_response_id": previous} if previous else {}
            events = await ask(socket, model=model, input=f"say {text}", **more)
            assert text_of(events) == text
            previous = events[-1]["response"]["id"]
        gateways[place].kill()
        gateways[place].start()
    sent = json.dumps(sim.requests[-1].body)
    places = [sent.index(text) for text in ("say one", "say two", "say three")]
    assert places == sorted(places)
    assert sim.remaining("anthropic", "moves") == 0
    assert [gateway.stop() for gateway in gateways] == [0, 0]


async def test_a_restart_ends_answers_first(sim: Simulation, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, sim_config(sim)).start()
    async with opened(gateway) as socket:
        slow = {"type": "response.create", "model": "up-anthropic/fault-slow", "input": "x"}
        await socket.send(json.dumps(slow))
        await socket.recv()
        gateway.signal(15)
        events = await answered(socket)
        assert events[-1]["type"] == "response.completed"
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
    assert await asyncio.to_thread(gateway.wait) == 0


async def test_a_client_that_leaves_costs_nothing_more(gateway: Gateway) -> None:
    model = "up-chat/fault-slow"
    async with opened(gateway) as socket:
        await socket.send(json.dumps({"type": "response.create", "model": model, "input": "x"}))
        await socket.recv()
    (row,) = await asyncio.to_thread(paid, gateway, model, 1)
    assert row["outcome"] == "cancelled"


@pytest.mark.parametrize("number", [40, pytest.param(200, marks=pytest.mark.slow)])
async def test_many_at_once(gateway: Gateway, sim: Simulation, number: int) -> None:
    before = sim.received

    async def one(each: int) -> None:
        async with opened(gateway, KEY if each % 2 else OTHER_KEY) as socket:
            first = await ask(socket, model="up-anthropic/sim-1", input=f"a{each}")
            second = await ask(
                socket,
                model="up-anthropic/sim-1",
                input=f"b{each}",
                previous_response_id=first[-1]["response"]["id"],
            )
            assert second[-1]["type"] == "response.completed"

    await asyncio.gather(*(one(each) for each in range(number)))
    assert sim.received - before == 2 * number
