"""Reasoning state comes back whole and in its place, or the vendor refuses."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from polycall.sim import Call, Simulation, Turn
from tests.sim.conftest import WEATHER, Answer, Post

ASK = "weather in Seoul and Tokyo"
Change = Callable[[dict[str, Any]], object]


def keep(_: dict[str, Any]) -> None:
    """No change at all."""


# -- Anthropic ----------------------------------------------------------------------------------


def anthropic_second(post: Post, change: Change, model: str = "sim-1-thinking") -> Answer:
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": 2000,
        "messages": [{"role": "user", "content": ASK}],
        "tools": [{"name": "get_weather", "input_schema": WEATHER}],
    }
    blocks = post("anthropic", "/v1/messages", body).json()["content"]
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": "18C"}
        for block in blocks
        if block["type"] == "tool_use"
    ]
    body["messages"].append({"role": "assistant", "content": blocks})
    body["messages"].append({"role": "user", "content": results})
    change(body)
    return post("anthropic", "/v1/messages", body)


def thinking(body: dict[str, Any]) -> dict[str, Any]:
    return body["messages"][1]["content"][0]


EXPECTED = (
    "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`. "
    "When `thinking` is enabled, a final `assistant` message must start with a thinking block "
    "(preceeding the lastmost set of `tool_use` and `tool_result` blocks)."
)
INVALID = "messages.1.content.0: Invalid `signature` in `thinking` block"
ANTHROPIC: dict[str, tuple[Change, str]] = {
    "lost": (lambda body: body["messages"][1]["content"].pop(0), EXPECTED),
    "moved": (
        lambda body: body["messages"][1]["content"].append(body["messages"][1]["content"].pop(0)),
        EXPECTED,
    ),
    "text altered": (lambda body: thinking(body).update(thinking="other"), INVALID),
    "signature altered": (lambda body: thinking(body).update(signature="AAAA"), INVALID),
    "another model": (
        lambda body: body.update(model="sim-1"),
        f"{INVALID}: it belongs to another model",
    ),
    "another conversation": (
        lambda body: body["messages"][0].update(content=ASK + "!"),
        f"{INVALID}: the messages before it are not those it was made for",
    ),
}


@pytest.mark.parametrize("case", ANTHROPIC)
def test_anthropic_refuses(post: Post, case: str) -> None:
    change, message = ANTHROPIC[case]
    answer = anthropic_second(post, change)
    assert (answer.status, answer.json()["error"]["message"]) == (400, message)


def spell_otherwise(body: dict[str, Any]) -> None:
    body["messages"][0]["content"] = [
        {"type": "text", "text": ASK, "cache_control": {"type": "ephemeral"}}
    ]


@pytest.mark.parametrize("change", [keep, spell_otherwise])
def test_anthropic_takes_it_back(post: Post, change: Change) -> None:
    answer = anthropic_second(post, change)
    assert answer.status == 200, answer.content


def test_anthropic_lets_go_of_it_after_the_turn(post: Post) -> None:
    def next_turn(body: dict[str, Any]) -> None:
        body["messages"][1]["content"].pop(0)
        body["messages"].append({"role": "user", "content": "thanks"})

    assert anthropic_second(post, next_turn).status == 200


def test_anthropic_redacted_and_omitted_thinking(sim: Simulation, post: Post) -> None:
    def drop_redacted(body: dict[str, Any]) -> None:
        assert [block["type"] for block in body["messages"][1]["content"]] == [
            "thinking",
            "redacted_thinking",
            "tool_use",
        ]
        del body["messages"][1]["content"][1]

    turns = [
        Turn(reasoning="hidden", redacted=True, calls=[Call("get_weather", {"city": "Oslo"})]),
        Turn("done"),
    ]
    sim.script("anthropic", "redacting", turns)
    assert anthropic_second(post, drop_redacted, "redacting").status == 400
    sim.script("anthropic", "redacting", turns)
    assert anthropic_second(post, keep, "redacting").json()["content"][-1]["text"] == "done"
    body = {
        "model": "sim-1",
        "max_tokens": 2000,
        "messages": [{"role": "user", "content": "hello"}],
        "thinking": {"type": "adaptive", "display": "omitted"},
    }
    block = post("anthropic", "/v1/messages", body).json()["content"][0]
    assert (block["type"], block["thinking"], bool(block["signature"])) == ("thinking", "", True)


def test_anthropic_fixed_budget_wants_thinking_of_any_turn(post: Post) -> None:
    def think(body: dict[str, Any]) -> None:
        body["thinking"] = {"type": "enabled", "budget_tokens": 1024}

    answer = anthropic_second(post, think, "sim-1")
    assert (answer.status, answer.json()["error"]["message"]) == (400, EXPECTED)


# -- Responses ----------------------------------------------------------------------------------


def responses_second(post: Post, change: Change) -> Answer:
    tool = {"type": "function", "name": "get_weather", "parameters": WEATHER}
    body: dict[str, Any] = {
        "model": "sim-1-thinking",
        "store": False,
        "input": [{"role": "user", "content": ASK}],
        "tools": [tool],
        "reasoning": {"summary": "auto"},
    }
    output = post("openai", "/responses", body).json()["output"]
    body["input"] += output
    body["input"] += [
        {"type": "function_call_output", "call_id": item["call_id"], "output": "18C"}
        for item in output
        if item["type"] == "function_call"
    ]
    change(body)
    return post("openai", "/responses", body)


RESPONSES: dict[str, tuple[Change, int, str]] = {
    "lost": (lambda body: body["input"].pop(1), 400, "without its required 'reasoning' item"),
    "after its call": (
        lambda body: body["input"].insert(2, body["input"].pop(1)),
        400,
        "without its required 'reasoning' item",
    ),
    "summary altered": (
        lambda body: body["input"][1]["summary"][0].update(text="other"),
        400,
        "could not be verified",
    ),
    "content altered": (
        lambda body: body["input"][1].update(encrypted_content="gAAAA"),
        400,
        "could not be verified",
    ),
    "id only": (
        lambda body: body["input"][1].pop("encrypted_content"),
        404,
        "Items are not persisted when `store` is set to false",
    ),
    "alone": (
        lambda body: body.update(input=body["input"][:2]),
        400,
        "without its required following item",
    ),
}


@pytest.mark.parametrize("case", RESPONSES)
def test_responses_refuses(post: Post, case: str) -> None:
    change, status, message = RESPONSES[case]
    answer = responses_second(post, change)
    assert answer.status == status
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize("change", [keep, lambda body: body["input"][1].pop("id")])
def test_responses_takes_it_back(post: Post, change: Change) -> None:
    answer = responses_second(post, change)
    assert answer.status == 200, answer.content


# -- Gemini -------------------------------------------------------------------------------------

PATH = "/v1beta/models/sim-1-thinking:generateContent"


def gemini_second(post: Post, change: Change) -> Answer:
    body: dict[str, Any] = {
        "contents": [{"role": "user", "parts": [{"text": ASK}]}],
        "tools": [
            {"functionDeclarations": [{"name": "get_weather", "parametersJsonSchema": WEATHER}]}
        ],
    }
    content = post("google", PATH, body).json()["candidates"][0]["content"]
    results = [
        {"functionResponse": {"name": "get_weather", "response": {"output": "18C"}}}
        for part in content["parts"]
        if "functionCall" in part
    ]
    body["contents"] += [content, {"role": "user", "parts": results}]
    change(body)
    return post("google", PATH, body)


def parts(body: dict[str, Any]) -> list[dict[str, Any]]:
    return body["contents"][1]["parts"]


def swap(body: dict[str, Any]) -> None:
    parts(body)[1]["thoughtSignature"] = parts(body)[0].pop("thoughtSignature")


GEMINI: dict[str, tuple[Change, str]] = {
    "lost": (
        lambda body: parts(body)[0].pop("thoughtSignature"),
        "Function call is missing a thought_signature in functionCall parts. This is required for "
        "tools to work correctly, and missing thought_signature may lead to degraded model "
        "performance. Function call `get_weather`, position 1.",
    ),
    "on another call": (swap, "Function call is missing a thought_signature"),
    "call altered": (
        lambda body: parts(body)[0]["functionCall"]["args"].update(city="Oslo"),
        "Corrupted thought signature.",
    ),
    "sentinel on the second call": (
        lambda body: parts(body)[1].update(thoughtSignature="skip_thought_signature_validator"),
        "skip_thought_signature_validator is only valid on the first function call of a turn.",
    ),
}


@pytest.mark.parametrize("case", GEMINI)
def test_gemini_refuses(post: Post, case: str) -> None:
    change, message = GEMINI[case]
    answer = gemini_second(post, change)
    assert answer.status == 400
    assert answer.json()["error"]["message"].startswith(message)


def in_the_other_alphabet(body: dict[str, Any]) -> None:
    token = parts(body)[0]["thoughtSignature"]
    parts(body)[0]["thoughtSignature"] = token.replace("+", "-").replace("/", "_").rstrip("=")


@pytest.mark.parametrize(
    "change",
    [
        keep,
        in_the_other_alphabet,
        lambda body: parts(body)[0].update(thoughtSignature="skip_thought_signature_validator"),
    ],
)
def test_gemini_takes_it_back(post: Post, change: Change) -> None:
    answer = gemini_second(post, change)
    assert answer.status == 200, answer.content


def test_gemini_signs_text_on_a_part_of_its_own(post: Post) -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
    content = post("google", PATH, body).json()["candidates"][0]["content"]
    assert content["parts"][1].keys() == {"text", "thoughtSignature"}
    follow = {"role": "user", "parts": [{"text": "and now?"}]}
    again = copy.deepcopy(body)
    again["contents"] += [content, follow]
    assert post("google", PATH, again).status == 200


# -- DeepSeek -----------------------------------------------------------------------------------


def deepseek_second(post: Post, change: Change) -> Answer:
    function = {"name": "get_weather", "parameters": WEATHER}
    body: dict[str, Any] = {
        "model": "sim-1-thinking",
        "messages": [{"role": "user", "content": ASK}],
        "tools": [{"type": "function", "function": function}],
    }
    message = post("deepseek", "/chat/completions", body).json()["choices"][0]["message"]
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": "18C"}
        for call in message["tool_calls"]
    ]
    body["messages"] += [message, *results]
    change(body)
    return post("deepseek", "/chat/completions", body)


DEEPSEEK: dict[str, tuple[Change, str]] = {
    "lost": (
        lambda body: body["messages"][1].pop("reasoning_content"),
        "Missing `reasoning_content` field in the assistant message at message index 1.",
    ),
    "altered": (
        lambda body: body["messages"][1].update(reasoning_content="other"),
        "The `reasoning_content` at message index 1 is not the one that was returned with its "
        "tool calls.",
    ),
}


@pytest.mark.parametrize("case", DEEPSEEK)
def test_deepseek_refuses(post: Post, case: str) -> None:
    change, message = DEEPSEEK[case]
    answer = deepseek_second(post, change)
    assert (answer.status, answer.json()["error"]["message"]) == (400, message)


@pytest.mark.parametrize("change", [keep, lambda body: body.update(thinking={"type": "disabled"})])
def test_deepseek_takes_it_back(post: Post, change: Change) -> None:
    answer = deepseek_second(post, change)
    assert answer.status == 200, answer.content
