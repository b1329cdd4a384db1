"""A history whose calls and results are no pairs: refused by its vendor, it is sent again in pairs.

Agents get into this when they are interrupted, resume, or cut a conversation, and then cannot go
on: it is what public threads on them report most often.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from polycall.sim import Simulation, Turn
from tests.gateway.harness import Gateway
from tests.gateway.test_responses_stored import paid, scripted

JSON = dict[str, Any]
SCHEMA: JSON = {"type": "object", "properties": {}}


def chat(model: str, history: list[str]) -> tuple[str, JSON]:
    messages: list[JSON] = [{"role": "user", "content": "go"}]
    for step in history:
        kind, name = step.split()
        function = {"name": "find", "arguments": "{}"}
        messages.append(
            {"role": "tool", "tool_call_id": name, "content": f"RESULT-{name}"}
            if kind == "result"
            else {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": name, "type": "function", "function": function}],
            }
        )
    messages.append({"role": "user", "content": "ASKED"})
    tools = [{"type": "function", "function": {"name": "find", "parameters": SCHEMA}}]
    return "/v1/chat/completions", {"model": model, "messages": messages, "tools": tools}


def responses(model: str, history: list[str]) -> tuple[str, JSON]:
    items: list[JSON] = [{"role": "user", "content": "go"}]
    for step in history:
        kind, name = step.split()
        items.append(
            {"type": "function_call_output", "call_id": name, "output": f"RESULT-{name}"}
            if kind == "result"
            else {"type": "function_call", "call_id": name, "name": "find", "arguments": "{}"}
        )
    items.append({"role": "user", "content": "ASKED"})
    tools = [{"type": "function", "name": "find", "parameters": SCHEMA, "strict": False}]
    return "/v1/responses", {"model": model, "input": items, "tools": tools, "store": False}


def messages(model: str, history: list[str]) -> tuple[str, JSON]:
    said: list[JSON] = [{"role": "user", "content": "go"}]
    for step in history:
        kind, name = step.split()
        block = (
            {"type": "tool_result", "tool_use_id": name, "content": f"RESULT-{name}"}
            if kind == "result"
            else {"type": "tool_use", "id": name, "name": "find", "input": {}}
        )
        said.append({"role": "user" if kind == "result" else "assistant", "content": [block]})
    said.append({"role": "user", "content": "ASKED"})
    tools = [{"name": "find", "input_schema": SCHEMA}]
    return "/v1/messages", {"model": model, "max_tokens": 99, "messages": said, "tools": tools}


def gemini(model: str, history: list[str]) -> tuple[str, JSON]:
    contents: list[JSON] = [{"role": "user", "parts": [{"text": "go"}]}]
    for step in history:
        kind, name = step.split()
        part: JSON = {"id": name, "name": "find"}
        role = "user" if kind == "result" else "model"
        if kind == "result":
            part = {"functionResponse": {**part, "response": {"output": f"RESULT-{name}"}}}
        else:
            part = {"functionCall": {**part, "args": {}}}
            if contents[-1]["role"] == "user":  # the first call of a turn
                part["thoughtSignature"] = SENTINEL
        contents.append({"role": role, "parts": [part]})
    contents.append({"role": "user", "parts": [{"text": "ASKED"}]})
    tools = [{"functionDeclarations": [{"name": "find", "parametersJsonSchema": SCHEMA}]}]
    path = f"/v1beta/models/{model}:generateContent"
    return path, {"contents": contents, "tools": tools}


SENTINEL = "skip_thought_signature_validator"
WIRES: dict[str, tuple[str, Any]] = {
    "chat": ("up-chat", chat),
    "deepseek": ("up-deepseek", chat),
    "responses": ("up-responses", responses),
    "messages": ("up-anthropic", messages),
    "gemini": ("up-gemini", gemini),
}
# What the history is, and which results have to reach the model.
HISTORIES: dict[str, tuple[list[str], list[str]]] = {
    "told twice": (["call a", "result a", "result a", "call b", "result b"], ["a", "b"]),
    "no result": (["call a", "call b", "result b"], ["b"]),
    "no call": (["result x", "call b", "result b"], ["b"]),
    "interrupted": (["call b", "result b", "call a"], ["b"]),
}


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("history", HISTORIES)
def test_a_history_that_is_no_pairs_is_answered_by_its_own_vendor(
    *, gateway: Gateway, sim: Simulation, wire: str, history: str
) -> None:
    upstream, written = WIRES[wire]
    steps, reach = HISTORIES[history]
    model = scripted(sim, upstream, f"pairs-{wire}-{[*HISTORIES].index(history)}", [Turn("read")])
    path, body = written(model, steps)
    answer = gateway.post(path, body)
    assert answer.status == 200, answer.content
    assert b"read" in answer.content
    assert "tool_result" in answer.headers.get("polycall-warnings", "") or "tool_call" in (
        answer.headers.get("polycall-warnings", "")
    )
    sent = json.dumps(sim.requests[-1].body)
    for name in reach:
        assert sent.count(f"RESULT-{name}") == 1, sent
    assert "ASKED" in sent
    (row,) = paid(gateway, model, 1)
    assert row["outcome"] == "ok"


@pytest.mark.parametrize("wire", WIRES)
def test_a_strict_client_hears_of_it(gateway: Gateway, sim: Simulation, wire: str) -> None:
    upstream, written = WIRES[wire]
    model = scripted(sim, upstream, f"strict-pairs-{wire}", [Turn("no")])
    path, body = written(model, HISTORIES["told twice"][0])
    assert gateway.post(path, body, **{"polycall-strict": "true"}).status == 400
    # What holds for one history is not remembered of the model.
    assert gateway.post(*written(model, [])).status == 200
