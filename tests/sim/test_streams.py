"""Streams: the same answer as whole bodies, each vendor's grammar, cuts on the socket."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall.sim import Call, Simulation, Turn
from polycall.sim.chunking import cut_frames, fragments
from polycall.translation.sse import Frame, SSEDecoder
from tests.sim.conftest import KEYS, Post
from tests.sim.test_faults import talk

TEXT = '좋은 아침입니다 ☀️ and some ASCII; "quotes" and a \\ backslash\u2028'
ARGUMENTS: dict[str, Any] = {"도시": "서울 🌧️", "nested": {"list": [1, 2.5, None, True]}}


def frames_of(content: bytes) -> list[Frame]:
    decoder = SSEDecoder()
    return [*decoder.feed(content), *decoder.close()]


def events_of(content: bytes) -> list[Any]:
    return [json.loads(frame.data) for frame in frames_of(content) if frame.data != "[DONE]"]


@pytest.fixture
def turns(sim: Simulation) -> None:
    turn = Turn(TEXT, calls=[Call("a", ARGUMENTS), Call("b")], reasoning="생각 중")
    for vendor in KEYS:
        sim.script(vendor, "streaming", [turn, turn], reasons="asked")


MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.mark.usefixtures("turns")
@pytest.mark.parametrize("vendor", ["openai", "deepseek"])
def test_chat(post: Post, vendor: str) -> None:
    body = {"model": "streaming", "messages": MESSAGES, "stream": True}
    content = post(vendor, "/chat/completions", body).content
    assert frames_of(content)[-1].data == "[DONE]"
    text = reasoning = ""
    calls: dict[int, str] = {}
    heads: list[tuple[int, str]] = []
    for event in events_of(content):
        [choice] = event["choices"]
        text += choice["delta"].get("content") or ""
        reasoning += choice["delta"].get("reasoning_content") or ""
        for call in choice["delta"].get("tool_calls") or []:
            if "id" in call:
                heads.append((call["index"], call["function"]["name"]))
            calls[call["index"]] = calls.get(call["index"], "") + call["function"]["arguments"]
    assert text == TEXT
    assert reasoning == ("생각 중" if vendor == "deepseek" else "")
    assert heads == [(0, "a"), (1, "b")]
    assert [json.loads(calls[0]), json.loads(calls[1])] == [ARGUMENTS, {}]
    assert (b"usage" in content) is (vendor == "deepseek")


@pytest.mark.usefixtures("turns")
def test_chat_usage_where_asked(post: Post) -> None:
    options = {"include_usage": True, "include_obfuscation": False}
    body = {"model": "streaming", "messages": MESSAGES, "stream": True, "stream_options": options}
    *others, last = events_of(post("openai", "/chat/completions", body).content)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] > 0
    assert {event["usage"] for event in others} == {None}
    assert all("obfuscation" not in event for event in [*others, last])


@pytest.mark.usefixtures("turns")
def test_responses(post: Post) -> None:
    body = {"model": "streaming", "input": "hi", "stream": True, "reasoning": {"summary": "auto"}}
    content = post("openai", "/responses", body).content
    events = events_of(content)
    assert [frame.event for frame in frames_of(content)] == [event["type"] for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert [item["type"] for item in done] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"]["output"] == done
    for index, item in enumerate(done):
        deltas = [
            event["delta"]
            for event in events
            if event["type"].endswith(".delta") and event["output_index"] == index
        ]
        whole = {
            "reasoning": lambda one: one["summary"][0]["text"],
            "message": lambda one: one["content"][0]["text"],
            "function_call": lambda one: one["arguments"],
        }[item["type"]](item)
        assert "".join(deltas) == whole


@pytest.mark.usefixtures("turns")
def test_anthropic(post: Post) -> None:
    body = {
        "model": "streaming",
        "max_tokens": 2000,
        "messages": MESSAGES,
        "thinking": {"type": "adaptive"},
    }
    content = post("anthropic", "/v1/messages", {**body, "stream": True}).content
    events = events_of(content)
    assert [frame.event for frame in frames_of(content)] == [event["type"] for event in events]
    assert [event["type"] for event in events[:2]] == ["message_start", "ping"]
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
    blocks: list[dict[str, Any]] = []
    for event in events:
        if event["type"] == "content_block_start":
            assert event["index"] == len(blocks)
            blocks.append({**event["content_block"], "json": ""})
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            field = {"input_json_delta": "json"}.get(delta["type"], delta["type"][:-6])
            value = delta.get("partial_json", delta.get(field))
            blocks[event["index"]][field] += value
    for block in blocks:
        text = block.pop("json")
        if text:
            block["input"] = json.loads(text)
    whole = post("anthropic", "/v1/messages", body).json()["content"]
    for block in [*blocks, *whole]:
        block.pop("id", None)
        block.pop("signature", None)
    assert blocks == whole


@pytest.mark.usefixtures("turns")
@pytest.mark.parametrize("sse", [True, False])
def test_gemini(post: Post, sse: bool) -> None:
    body = {
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "generationConfig": {"thinkingConfig": {"includeThoughts": True}},
    }
    path = "/v1beta/models/streaming:streamGenerateContent" + ("?alt=sse" if sse else "")
    content = post("google", path, body).content
    if sse:
        assert content.count(b"\r\n\r\n") == content.count(b"data: ") == len(events_of(content))
        assert b"event:" not in content
        assert b"[DONE]" not in content
    chunks = events_of(content) if sse else json.loads(content)
    candidates = [chunk["candidates"][0] for chunk in chunks]
    reasons = [candidate.get("finishReason") for candidate in candidates]
    assert reasons == [None] * (len(chunks) - 1) + ["STOP"]
    parts = [part for candidate in candidates for part in candidate["content"]["parts"]]
    texts = [part["text"] for part in parts if "text" in part and not part.get("thought")]
    assert "".join(texts) == TEXT
    calls = [part for part in parts if "functionCall" in part]
    assert [call["functionCall"].get("args") for call in calls] == [ARGUMENTS, None]
    assert ["thoughtSignature" in call for call in calls] == [True, False]


async def test_characters_are_cut_on_the_socket(sim: Simulation) -> None:
    pieces = list(cut_frames([f"data: {TEXT}\n\n".encode()], 1))
    broken = [piece for piece in pieces if not _is_utf8(piece)]
    assert broken
    answer, _ = await talk(sim, "anthropic", "sim-1", stream=True)
    sizes = answer.partition(b"\r\n\r\n")[2]
    chunks: list[bytes] = []
    while sizes:
        size, _, rest = sizes.partition(b"\r\n")
        chunks.append(rest[: int(size, 16)])
        sizes = rest[int(size, 16) + 2 :]
    assert any(not _is_utf8(chunk) for chunk in chunks)
    assert any(chunk and not chunk.endswith(b"\n\n") for chunk in chunks)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(st.text(), st.integers(0, 1000))
def test_fragments_are_the_text(text: str, seed: int) -> None:
    pieces = fragments(text, seed)
    assert "".join(pieces) == text
    assert all(pieces)
    assert pieces == fragments(text, seed)


@given(st.lists(st.binary(min_size=1)), st.integers(0, 1000))
def test_cuts_lose_nothing(frames: list[bytes], seed: int) -> None:
    assert b"".join(cut_frames(frames, seed)) == b"".join(frames)
