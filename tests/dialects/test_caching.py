"""T5: marks go both ways between vendors, and conversations have a key of their own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from polycall.dialects import anthropic, openai_chat, openai_responses
from polycall.exchange import prepare
from polycall.ir import Message, Request, Text, Tool
from polycall.providers.catalogue import CATALOGUE

LONG = "word " * 1000
CLAUDE, SONNET = "anthropic", "claude-sonnet-5-5"


def body_of(request: Request, provider: str, model: str) -> dict[str, Any]:
    return prepare(request, CATALOGUE[provider], model, "k").wire.body


def warned(request: Request, provider: str, model: str) -> list[str]:
    wire = prepare(request, CATALOGUE[provider], model, "k").wire
    return [each.feature for each in wire.warnings]


def marked_chat(**mark: Any) -> Request:
    part = {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit", **mark}}
    return openai_chat.parse_request(
        {"model": "m", "messages": [{"role": "user", "content": [part]}]}
    )


@pytest.mark.parametrize(
    ("mark", "expected"),
    [
        ({}, {"type": "ephemeral"}),
        ({"ttl": "30m"}, {"type": "ephemeral"}),
        ({"ttl": "12h"}, {"type": "ephemeral", "ttl": "1h"}),
    ],
)
def test_t5_marks_of_openai_become_those_of_anthropic(
    mark: dict[str, str], expected: dict[str, str]
) -> None:
    request = marked_chat(**mark)
    (block,) = body_of(request, CLAUDE, SONNET)["messages"][0]["content"]
    assert block["cache_control"] == expected
    assert warned(request, CLAUDE, SONNET) == []


def test_t5_marks_of_responses_become_those_of_anthropic() -> None:
    part = {
        "type": "input_text",
        "text": "a",
        "prompt_cache_breakpoint": {"mode": "explicit"},
    }
    request = openai_responses.parse_request(
        {"model": "m", "input": [{"role": "user", "content": [part]}]}
    )
    (block,) = body_of(request, CLAUDE, SONNET)["messages"][0]["content"]
    assert block["cache_control"] == {"type": "ephemeral"}


@pytest.mark.parametrize(
    ("model", "is_marked"), [("gpt-5.6", True), ("gpt-6.1-sol", True), ("gpt-5.4", False)]
)
@pytest.mark.parametrize(
    ("mark", "expected"),
    [({}, {"mode": "explicit"}), ({"ttl": "1h"}, {"mode": "explicit", "ttl": "12h"})],
)
def test_t5_marks_of_anthropic_become_those_of_openai_where_the_model_takes_them(
    model: str, mark: dict[str, str], expected: dict[str, str], *, is_marked: bool
) -> None:
    block = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", **mark}}
    request = anthropic.parse_request(
        {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [block]}]}
    )
    for tools in ([], [Tool("f", parameters={"type": "object"})]):
        body = body_of(_with_tools(request, tools), "openai", model)
        assert (json.dumps(expected) in json.dumps(body)) == is_marked
        assert "cache_control" not in json.dumps(body)


def _with_tools(request: Request, tools: list[Tool]) -> Request:
    return Request(request.model, request.messages, tools, metadata=request.metadata)


def test_t5_a_clients_own_marks_stay_as_they_are() -> None:
    block = {"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    wire = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [block]}]}
    body = body_of(anthropic.parse_request(wire), CLAUDE, SONNET)
    assert body["messages"] == wire["messages"]
    assert "cache_control" not in body
    wire["messages"][0]["content"][0] = {"type": "text", "text": LONG}
    assert "cache_control" not in json.dumps(body_of(anthropic.parse_request(wire), CLAUDE, SONNET))


def test_t5_a_key_is_the_conversations_and_never_its_content() -> None:
    first = [Message("system", [Text("secret words " + LONG)]), Message("user", [Text("hi")])]
    later = [*first, Message("assistant", [Text("x")]), Message("user", [Text("more")])]
    keys = [
        body_of(Request("m", messages, cache=cache), "openai", "gpt-5.4").get("prompt_cache_key")
        for messages, cache in [
            (first, None),
            (later, None),
            ([*first[:1], Message("user", [Text("hello")])], None),
            (first, False),
            (first[1:], None),
        ]
    ]
    assert keys[0] == keys[1] != keys[2]
    assert keys[3:] == [None, None]
    assert len(keys[0]) <= 64
    assert "secret" not in keys[0]


def test_t5_a_key_of_the_clients_stays_and_another_vendor_gets_none() -> None:
    own = openai_chat.parse_request(
        {"model": "m", "prompt_cache_key": "k", "messages": [{"role": "user", "content": LONG}]}
    )
    assert body_of(own, "openai", "gpt-5.4")["prompt_cache_key"] == "k"
    long = Request("m", [Message("user", [Text(LONG)])])
    assert "prompt_cache_key" not in body_of(long, "google", "gemini-3.8-flash")
    assert "prompt_cache_key" not in body_of(long, "groq", "llama-3.3-70b-versatile")


@pytest.mark.parametrize(
    ("cache", "text", "marks"),
    [(None, LONG, 2), (None, "short", 0), (True, "short", 2), (False, LONG, 0)],
)
def test_t5_what_the_setting_says(cache: bool | None, text: str, marks: int) -> None:
    messages = [Message("system", [Text(text)]), Message("user", [Text("hi")])]
    body = body_of(Request("m", messages, cache=cache), CLAUDE, SONNET)
    assert json.dumps(body).count("cache_control") == marks


HOUR = {"type": "ephemeral", "ttl": "1h"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALLED = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
# Where clients of Chat write Anthropic's mark, and where Anthropic wants it.
WRITTEN: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a part": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": HOUR}]}
            ]
        },
        ["messages", "0", "content", "0"],
    ),
    "a message": (
        {
            "messages": [
                {"role": "system", "content": "a", "cache_control": HOUR},
                {"role": "user", "content": "b"},
            ]
        },
        ["system", "0"],
    ),
    "a result": (
        {
            "messages": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": None, "tool_calls": [CALLED]},
                {"role": "tool", "tool_call_id": "c", "content": "b", "cache_control": HOUR},
            ],
            "tools": [TOOL],
        },
        ["messages", "2", "content", "0"],
    ),
    "a tool": (
        {
            "messages": [{"role": "user", "content": "a"}],
            "tools": [{**TOOL, "cache_control": HOUR}],
        },
        ["tools", "0"],
    ),
    "a function": (
        {
            "messages": [{"role": "user", "content": "a"}],
            "tools": [
                {"type": "function", "function": {**TOOL["function"], "cache_control": HOUR}}
            ],  # type: ignore[dict-item]
        },
        ["tools", "0"],
    ),
    "the request": ({"messages": [{"role": "user", "content": "a"}], "cache_control": HOUR}, []),
}


@pytest.mark.parametrize("place", WRITTEN)
def test_t5_marks_of_anthropics_that_clients_of_chat_write_are_kept(place: str) -> None:
    fields, path = WRITTEN[place]
    request = openai_chat.parse_request({"model": "m", **fields})
    found: Any = body_of(request, CLAUDE, SONNET)
    for name in path:
        found = found[int(name) if name.isdigit() else name]
    assert found["cache_control"] == HOUR
    assert "cache_control" not in warned(request, CLAUDE, SONNET)


ROUTED = "anthropic/claude-opus-5.5"


def test_t5_claude_behind_a_router_is_cached_for_clients_of_anthropic_and_for_the_library() -> None:
    block = {"type": "text", "text": LONG, "cache_control": HOUR}
    ask = {"role": "user", "content": [{"type": "text", "text": "a"}]}
    marked = anthropic.parse_request(
        {"model": "m", "max_tokens": 9, "system": [block], "messages": [ask]}
    )
    (system, *_) = body_of(marked, "openrouter", ROUTED)["messages"]
    assert system["content"] == [{"type": "text", "text": LONG, "cache_control": HOUR}]
    plain = Request("m", messages=[Message("system", [Text(LONG)]), Message("user", [Text("a")])])
    body = body_of(plain, "openrouter", ROUTED)
    assert [message["content"][-1]["cache_control"] for message in body["messages"]] == [
        {"type": "ephemeral"}
    ] * 2
    assert "cache_control" not in str(body_of(plain, "openrouter", "openai/gpt-5.4"))


@pytest.mark.parametrize("head", ["x-anthropic-billing-header", "X-ANTHROPIC-Session-Nonce"])
@pytest.mark.parametrize("place", ["first block", "last block", "first line"])
def test_t13_what_is_new_in_each_request_is_no_part_of_the_conversations_key(
    head: str, place: str
) -> None:
    """Neither of the prompt nor of the key by which it is routed to its cache."""
    long = "Be exact and short. " * 400

    def body(nonce: str) -> Any:
        line = f"{head}: v=2.1; cch={nonce};"
        texts = {
            "first block": [line, long],
            "last block": [long, line],
            "first line": [f"{line}\n{long}"],
        }[place]
        system = [{"type": "text", "text": text} for text in texts]
        said = [{"role": "user", "content": "hi"}]
        wire = {"model": "m", "max_tokens": 50, "system": system, "messages": said}
        request = anthropic.parse_request(wire)
        row = CATALOGUE["openai"]
        return prepare(request, row, "gpt-5.4", "k", "openai-responses").wire.body

    one, other = body("a1"), body("b2")
    assert one == other
    assert one["prompt_cache_key"]
    assert "cch=" not in str(one)
