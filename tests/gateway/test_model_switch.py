"""A session goes on at another vendor and comes back: what one wrote reaches no other as its own.

Each turn of the client's history was answered by a model that reasons, with two calls or with none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from polycall.sim import Call, Prompt, Simulation, Turn
from tests.gateway.harness import UPSTREAMS, Gateway

JSON = dict[str, Any]
MODELS = {
    "up-chat": "gpt-5.2",
    "up-responses": "gpt-5.6-sol",
    "up-anthropic": "claude-opus-5-5",
    "up-gemini": "gemini-3.8-flash",
    "up-deepseek": "deepseek-v4-flash",
}
RESULT = "읽음 🎉"
SCHEMA: JSON = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
DEFINED: JSON = {"name": "read", "description": "Reads a file."}


def calling(prompt: Prompt) -> Turn:
    """A turn with two calls at once."""
    number = len(prompt.entries)
    calls = [Call("read", {"path": f"집/{number}{name}.txt"}) for name in "ab"]
    return Turn("I read.", calls=calls, reasoning=f"It is {number}.")


def talking(prompt: Prompt) -> Turn:
    """A turn of words."""
    return Turn(f"It is {len(prompt.entries)}.", reasoning="Let me think.")


class Wire(NamedTuple):
    """How a client asks, and what it adds to its history for an answer."""

    path: str
    body: Callable[[str, list[JSON]], JSON]
    added: Callable[[JSON], list[JSON]]
    first: JSON


def _responses_body(model: str, history: list[JSON]) -> JSON:
    tool = {"type": "function", **DEFINED, "parameters": SCHEMA}
    body: JSON = {"model": model, "input": history, "tools": [tool], "store": False}
    include = ["reasoning.encrypted_content"]
    return {**body, "include": include, "reasoning": {"effort": "low", "summary": "auto"}}


def _responses_added(answer: JSON) -> list[JSON]:
    calls = [item for item in answer["output"] if item["type"] == "function_call"]
    results: list[JSON] = [
        {"type": "function_call_output", "call_id": call["call_id"], "output": RESULT}
        for call in calls
    ]
    return [*answer["output"], *(results or [{"role": "user", "content": "go on"}])]


def _gemini_body(_: str, history: list[JSON]) -> JSON:
    return {
        "contents": history,
        "tools": [{"functionDeclarations": [{**DEFINED, "parameters": SCHEMA}]}],
        "generationConfig": {"thinkingConfig": {"includeThoughts": True}},
    }


def _gemini_added(answer: JSON) -> list[JSON]:
    said = answer["candidates"][0]["content"]
    results: list[JSON] = [
        {"functionResponse": {"name": call["name"], "response": {"output": RESULT}}}
        for part in said["parts"]
        if (call := part.get("functionCall"))
    ]
    return [said, {"role": "user", "parts": results or [{"text": "go on"}]}]


def _messages_body(model: str, history: list[JSON]) -> JSON:
    tool = {**DEFINED, "input_schema": SCHEMA}
    return {"model": model, "messages": history, "tools": [tool], "max_tokens": 2000}


def _messages_added(answer: JSON) -> list[JSON]:
    results: list[JSON] = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": RESULT}
        for block in answer["content"]
        if block["type"] == "tool_use"
    ]
    said = {"role": "assistant", "content": answer["content"]}
    return [said, {"role": "user", "content": results or "go on"}]


USER: JSON = {"role": "user", "content": "go"}
WIRES = {
    "responses": Wire("/v1/responses", _responses_body, _responses_added, USER),
    "gemini": Wire(
        "/v1beta/models/{model}:generateContent",
        _gemini_body,
        _gemini_added,
        {"role": "user", "parts": [{"text": "go"}]},
    ),
    "messages": Wire("/v1/messages", _messages_body, _messages_added, USER),
}


@pytest.mark.parametrize("turn", [calling, talking])
@pytest.mark.parametrize(
    ("client", "upstreams"),
    [
        ("responses", ("up-gemini", "up-responses", "up-anthropic", "up-responses")),
        ("gemini", ("up-chat", "up-gemini", "up-deepseek", "up-gemini")),
        ("messages", ("up-gemini", "up-anthropic", "up-chat", "up-anthropic")),
    ],
)
def test_a_session_that_moves_between_vendors_is_refused_by_none(
    gateway: Gateway,
    sim: Simulation,
    client: str,
    upstreams: tuple[str, ...],
    turn: Callable[[Prompt], Turn],
) -> None:
    wire = WIRES[client]
    history = [wire.first]
    for upstream in upstreams:
        name = MODELS[upstream]
        sim.script(UPSTREAMS[upstream][0], name, turn)
        model = f"{upstream}/{name}"
        answer = gateway.post(wire.path.format(model=model), wire.body(model, history))
        assert answer.status == 200, (upstream, answer.content)
        history += wire.added(answer.json())
    assert sim.received >= len(upstreams)
