"""A20: what an answer's long thoughts cost: little more than the answer, and away from the loop."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from bench.door_upstream import Upstream

from polycall._support.json_weight import LONG_BYTES
from polycall.dialects import openai_chat
from polycall.errors import UpstreamTimeoutError
from polycall.fold import fold, unfold
from polycall.gateway.generation.endpoints import dialect_for
from polycall.gateway.http import framers
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.passthrough.stream import Observer
from polycall.gateway.state.carried import CarriedTurn, Entry, Origin
from polycall.gateway.state.carrier import Carrier
from polycall.gateway.state.embedder import Embedder
from polycall.gateway.state.sealed_tokens import Sealer
from polycall.gateway.store import open_store
from polycall.ir import Message, Metadata, Part, Reasoning, Request, Response, Text, ToolCall
from tests.edge.test_doors import serving
from tests.edge.test_loop_time import stream

HOME = Origin("openai-chat", "p", "m")
OWN: Metadata = {"openai-chat": {"field": "reasoning_content"}}
LONG = "why? " * 400_000
SAID = [{"role": "user", "content": "x"}]


@pytest.fixture
async def carrier(tmp_path: Path) -> AsyncIterator[Carrier]:
    store = open_store("sqlite:///store.db", tmp_path)
    yield Carrier(store)
    await store.close()


async def came_back(carrier: Carrier, said: str) -> tuple[Any, list[str]]:
    """What its model reads of a thought, after a client of Anthropic's brought `said` back."""
    sealed = carrier.seal_reasoning(Reasoning(LONG, OWN), HOME, "me", "anthropic")
    assert len(json.dumps(sealed)) < 1_000
    turns = [Message("user", [Text("x")]), Message("assistant", [Reasoning(said, sealed)])]
    carried = await carrier.extract(Request(model="any", messages=turns), "me")
    view, warnings = carried.for_target("p", "m")
    return view.messages[1].parts, [each.kind for each in warnings]


async def test_a20_a_long_thought_is_not_sent_twice(carrier: Carrier) -> None:
    assert await came_back(carrier, LONG) == ([Reasoning(LONG, OWN)], [])


@pytest.mark.parametrize("said", ["", "why? ", LONG + "!", LONG[:-1]])
async def test_a20_a_long_thought_that_was_changed_is_not_its_models(
    carrier: Carrier, said: str
) -> None:
    assert await came_back(carrier, said) == ([Reasoning(said)], ["dropped_state"])


async def test_a20_a_turn_of_long_thoughts_is_not_kept(
    carrier: Carrier, caplog: pytest.LogCaptureFixture
) -> None:
    warned: list[list[str]] = []
    for size in (8 * 2**20, 8 * 2**20 + 1):
        base = carrier.new_base()
        turn = CarriedTurn(HOME, [Entry("reasoning", "x" * size, OWN), Entry("call", "", OWN)])
        await carrier.keep("me", base, turn)
        said = Message("assistant", [ToolCall(f"{base}_0", "t", "{}")])
        carried = await carrier.extract(Request(model="any", messages=[said]), "me")
        warned.append([each.kind for each in carried.for_target("p", "m")[1]])
    assert warned == [[], ["dropped_state"]]
    assert [each.getMessage() for each in caplog.records] == [
        "a turn of 8388609 characters is not kept: 8388608 at most"
    ]


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a20_a_turn_of_very_many_parts_is_not_kept(
    is_streamed: bool,
    carrier: Carrier,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("polycall.gateway.state.embedder.KEPT_PARTS_MAX", 4)
    warned: list[list[str]] = []
    for count in (3, 4, 9):
        embedder = Embedder(carrier, HOME, "me", "anthropic")
        calls = [ToolCall(f"c{n}", "f", "{}") for n in range(count)]
        parts: list[Part] = [Reasoning("y", OWN), *calls]
        answer = Response("i", "m", Message("assistant", parts), finish_reason="tool_calls")
        shown = (
            fold(map(embedder.event, unfold(answer))) if is_streamed else embedder.response(answer)
        )
        await embedder.finish()
        said = [Message("user", [Text("x")]), Message("assistant", [*shown.message.tool_calls])]
        carried = await carrier.extract(Request(model="any", messages=said), "me")
        warned.append([each.kind for each in carried.for_target("p", "m")[1]])
    assert warned == [[], ["dropped_state"], ["dropped_state"]]
    assert [each.getMessage() for each in caplog.records] == [
        f"a turn of {count} parts is not kept: 4 at most" for count in (5, 10)
    ]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 100, 3 * 2**18, 3 * 2**18 + 1, 2_000_000])
def test_a20_a_token_is_what_it_was_however_it_is_encoded(size: int) -> None:
    sealer, payload = Sealer(b"k" * 32), b"\xff" * size
    mac = hmac.new(b"k" * 32, b"me\0" + payload, hashlib.sha256).digest()[:18]
    token = sealer.seal("me", payload)
    assert token == base64.b64encode(b"polycall1" + mac + payload).decode()
    assert sealer.open("me", token) == payload
    assert sealer.open("you", token) is None


def test_a20_an_answers_state_takes_no_more_than_the_answer(carrier: Carrier) -> None:
    parts = [Reasoning(LONG, OWN), ToolCall("c", "f", "{}")]
    response = Response("i", "m", Message("assistant", [*parts]), finish_reason="tool_calls")
    tracemalloc.start()
    Embedder(carrier, HOME, "me", "anthropic").response(response)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.2 * len(LONG)


PATHS = {
    "/v1/responses": {"model": "p/m", "input": "x"},
    "/v1/messages": {"model": "p/m", "max_tokens": 9, "messages": SAID},
    "/v1beta/interactions": {"model": "p/m", "input": "x", "store": False},
    "/api/generate": {"model": "p/m", "prompt": "x", "stream": False},
    "/model/p/m/converse": {"messages": [{"role": "user", "content": [{"text": "x"}]}]},
}


@pytest.mark.parametrize("path", PATHS)
async def test_a20_a_long_answer_is_made_in_a_thread(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream, loop = Upstream(), threading.current_thread()
    on_loop: list[str] = []

    def noted(owner: Any, name: str) -> None:
        inner = getattr(owner, name)

        def work(*given: Any, **named: Any) -> Any:
            if threading.current_thread() is loop:
                on_loop.append(name)
            return inner(*given, **named)

        monkeypatch.setattr(owner, name, work)

    noted(Embedder, "response")
    noted(dialect_for(path, {}), "render_response")
    noted(framers.PromptFramer, "whole")
    message = {"role": "assistant", "content": "x" * 2 * LONG_BYTES, "reasoning_content": LONG}
    body: dict[str, Any] = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    body["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
    data = json.dumps(body).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    upstream.answers["m"] = lambda: head % len(data) + data
    config = (
        '[server]\nattempts = 1\n[providers.p]\ndialect = "openai-chat"\n'
        f'base_url = "{upstream.url}"\napi_key = "sk-aaaaaaaa"\n'
    )
    async with serving(tmp_path, config) as served:
        status, made = await stream(served, path, PATHS[path])
    assert status == 200
    assert len(made) > 2 * LONG_BYTES
    assert on_loop == []


@pytest.mark.parametrize("hides_usage", [False, True])
def test_a20_a_long_frame_is_read_without_a_copy(
    hides_usage: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    observer = Observer(openai_chat, hides_usage=hides_usage, is_sse=True)
    seen: list[bytes] = []
    look_at = Observer._look_at  # pyright: ignore[reportPrivateUsage]

    def noted(self: Observer, whole: bytes) -> bytes:
        seen.append(whole)
        return look_at(self, whole)

    monkeypatch.setattr(Observer, "_look_at", noted)
    small = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
    long = small.replace(b'"x"', b'"%b"' % (b"x" * 3 * LONG_BYTES))
    whole = small + long + small * 3
    made = b"".join(observer.feed(whole[n : n + 65_536]) for n in range(0, len(whole), 65_536))
    assert made == whole
    assert seen == [small, long, small * 3]
    assert observer.frames == 5


STREAMS = {
    "/api/generate": {"model": "p/m", "prompt": "x"},
    "/model/p/m/invoke-with-response-stream": {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 9,
        "messages": SAID,
    },
}


@pytest.mark.parametrize("path", STREAMS)
@pytest.mark.parametrize("first", ["", "x"])
async def test_a20_a_long_event_is_framed_in_a_thread(
    path: str, first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream, loop = Upstream(), threading.current_thread()
    on_loop = [0]
    for framer in (framers.PromptFramer, framers.InvokeFramer):
        inner = framer.feed

        def feed(self: Any, data: bytes, inner: Any = inner) -> bytes:
            if threading.current_thread() is loop:
                on_loop.append(len(data))
            return inner(self, data)

        monkeypatch.setattr(framer, "feed", feed)
    deltas = [{"content": each} for each in (first, "x" * 3 * LONG_BYTES) if each]
    choices: list[Any] = [[{"index": 0, "delta": delta}] for delta in deltas]
    choices.append([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    events = [json.dumps({"id": "c", "choices": each}) for each in choices]
    data = "".join(f"data: {each}\n\n" for each in (*events, "[DONE]")).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n"
    upstream.answers["m"] = lambda: head % len(data) + data
    config = (
        '[server]\nattempts = 1\n[providers.p]\ndialect = "openai-chat"\n'
        f'base_url = "{upstream.url}"\napi_key = "sk-aaaaaaaa"\n'
    )
    async with serving(tmp_path, config) as served:
        status, made = await stream(served, path, STREAMS[path])
    assert status == 200
    assert len(made) > 3 * LONG_BYTES
    assert max(on_loop) < LONG_BYTES


ENDS = (
    '{"type":"response.failed"',
    '{"type":"response.completed"',
    "[DONE]",
    '{"error":',
    '{"type":"message_stop"',
    '{"type":"error"',
)


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("number", range(1, 9))
async def test_a_deadline_while_an_event_is_made_loses_none(
    path: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was counted, and may be the end: the stream goes on behind it, and ends once."""
    upstream, loop = Upstream(), asyncio.get_running_loop()
    framed, here, seen = GatewayRequest.framed, threading.current_thread(), [0]
    cut = [b""]

    def late(self: GatewayRequest, data: bytes) -> bytes:
        made = framed(self, data)
        seen[0] += threading.current_thread() is not here
        if seen[0] == number and threading.current_thread() is not here:
            cut.append(made)
            loop.call_soon_threadsafe(self.abort, UpstreamTimeoutError("too late"))
            while not self.aborted:
                time.sleep(0.001)
        return made

    monkeypatch.setattr(GatewayRequest, "framed", late)
    delta = {"content": "x" * 3 * LONG_BYTES}
    events: list[Any] = [
        {"id": "c", "choices": [{"index": 0, "delta": delta}]},
        {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    data = "".join(f"data: {json.dumps(each)}\n\n" for each in events).encode()
    data += b"data: [DONE]\n\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n"
    upstream.answers["m"] = lambda: head % len(data) + data
    config = (
        '[server]\nattempts = 1\n[providers.p]\ndialect = "openai-chat"\n'
        f'base_url = "{upstream.url}"\napi_key = "sk-aaaaaaaa"\n'
    )
    said = {"input": "x"} if path == "/v1/responses" else {"messages": SAID, "max_tokens": 9}
    async with serving(tmp_path, config) as served:
        status, made = await stream(served, path, {"model": "p/m", "stream": True, **said})
    assert status == 200
    assert cut[-1] in made
    told = [line[6:] for line in made.decode().split("\n") if line.startswith("data: ")]
    ends = [each for each in told if any(mark in each[:60] for mark in ENDS)]
    assert ends == told[-1:]
    if path == "/v1/responses":
        numbers = [json.loads(each)["sequence_number"] for each in told]
        assert numbers == list(range(len(told)))
