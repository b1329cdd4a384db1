"""Conversations that are made short before they are answered, for any vendor's model."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest

from polycall.sim import Call, Simulation, Turn
from tests.gateway.harness import KEY, Gateway
from tests.gateway.test_responses_stored import TOOL, paid, scripted

LONG = "LONG-AGO " * 400
THRESHOLD: Any = [{"type": "compaction", "compact_threshold": 300}]
BETA = "compact-2026-01-12"


def said(sim: Simulation) -> str:
    return json.dumps(sim.requests[-1].body, ensure_ascii=False)


def cells(*upstreams: str) -> list[Any]:
    quick = {("up-gemini", True), ("up-anthropic", False), ("up-chat", False)}
    return [
        pytest.param(name, streamed, marks=[] if (name, streamed) in quick else pytest.mark.slow)
        for name in upstreams
        for streamed in (False, True)
    ]


@pytest.mark.parametrize(
    ("upstream", "streamed"),
    cells("up-anthropic", "up-gemini", "up-chat", "up-deepseek", "up-compatible"),
)
def test_a_responses_client_has_a_threshold(
    gateway: Gateway, sim: Simulation, upstream: str, streamed: bool
) -> None:
    turns = [
        Turn("THE-GIST 요약"),
        Turn("I look.", calls=[Call("now", {})]),
        Turn("noon"),
        Turn("short"),
    ]
    model = scripted(sim, upstream, f"threshold-{streamed}", turns)
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as client:

        def ask(given: Any, **more: Any) -> Any:
            options: Any = {"model": model, "tools": [TOOL], "input": given, **more}
            options["context_management"] = THRESHOLD
            if not streamed:
                return client.responses.create(**options)
            events = [*client.responses.create(**options, stream=True)]
            return events[-1].response  # pyright: ignore[reportAttributeAccessIssue]

        given: list[Any] = [
            {"role": "developer", "content": "RULES"},
            {"role": "user", "content": LONG},
            {"role": "assistant", "content": "yes"},
            {"role": "user", "content": "what time is it?"},
        ]
        first = ask(given)
        assert [item.type for item in first.output] == ["compaction", "message", "function_call"]
        assert "THE-GIST" in said(sim)
        assert "LONG-AGO" not in said(sim)
        assert "RULES" in said(sim)
        assert "what time is it?" in said(sim)
        # All of it comes again, and what the summary stands for is left out.
        result = {
            "type": "function_call_output",
            "call_id": first.output[-1].call_id,
            "output": "12:00",
        }
        items = [item.to_dict() for item in first.output]
        second = ask([*given, *items, result])
        assert second.output_text == "noon"
        for text, is_there in (("LONG-AGO", False), ("THE-GIST", True), ("12:00", True)):
            assert (text in said(sim)) is is_there
        third = ask("and?", previous_response_id=second.id)
        assert [item.type for item in third.output] == ["message"]
    rows = paid(gateway, model, 3)
    assert [row["attempts"] for row in rows] == [2, 1, 1]
    assert {row["outcome"] for row in rows} == {"ok"}


@pytest.mark.parametrize(
    ("upstream", "streamed"),
    cells("up-gemini", "up-chat", "up-responses", "up-deepseek", "up-compatible"),
)
@pytest.mark.parametrize("pauses", [False, True])
def test_a_messages_client_compacts(
    *, gateway: Gateway, sim: Simulation, upstream: str, streamed: bool, pauses: bool
) -> None:
    turns = [Turn("THE-GIST 요약"), *([] if pauses else [Turn("hello")]), Turn("again")]
    model = scripted(sim, upstream, f"compacts-{streamed}-{pauses}", turns)
    edit: Any = {
        "type": "compact_20260112",
        "trigger": {"type": "input_tokens", "value": 300},
        "pause_after_compaction": pauses,
        "instructions": "Write it SHORT.",
    }
    messages: list[Any] = [
        {"role": "user", "content": LONG},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "and now?"},
    ]
    options: Any = {
        "model": model,
        "max_tokens": 500,
        "system": "RULES",
        "betas": [BETA],
        "context_management": {"edits": [edit]},
    }
    before = sim.received
    client: Any = anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0)
    with client:

        def ask() -> Any:
            if not streamed:
                return client.beta.messages.create(messages=messages, **options)
            with client.beta.messages.stream(messages=messages, **options) as stream:
                return stream.get_final_message()

        first = ask()
        assert "Write it SHORT." in json.dumps(sim.since(before)[0].body)
        assert first.content[0].type == "compaction"
        assert first.content[0].content == "THE-GIST 요약"
        assert first.stop_reason == ("compaction" if pauses else "end_turn")
        assert [block.type for block in first.content[1:]] == ([] if pauses else ["text"])
        messages.append({"role": "assistant", "content": [b.to_dict() for b in first.content]})
        messages.append({"role": "user", "content": "more"})
        second = ask()
    assert second.content[-1].text == "again"
    for text, is_there in (("LONG-AGO", False), ("THE-GIST", True), ("RULES", True)):
        assert (text in said(sim)) is is_there
    assert {row["outcome"] for row in paid(gateway, model, 2)} == {"ok"}


def test_odd_wishes(gateway: Gateway, sim: Simulation) -> None:
    model = scripted(sim, "up-gemini", "odd-compaction", [Turn("", finish="length"), Turn("ok")])
    body: Any = {"model": model, "input": LONG, "context_management": THRESHOLD}
    for odd in ("x", 0, -1, True, 1.5):
        wish = [{"type": "compaction", "compact_threshold": odd}]
        answer = gateway.post("/v1/responses", {**body, "context_management": wish})
        assert answer.status == 400, odd
    # One message alone has nothing before it that a summary could stand for.
    assert sim.remaining("google", "odd-compaction") == 2
    body["input"] = [{"role": "user", "content": LONG}, {"role": "user", "content": "x"}]
    # Half a summary is none: the conversation is not answered from it.
    assert gateway.post("/v1/responses", body).status >= 500
