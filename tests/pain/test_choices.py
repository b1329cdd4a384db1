"""Tool choice, parallel calls, and what stands beside them: PAIN F01 to F06, by their numbers.

Every form of every client goes to every upstream; the strict simulated vendor says what it read.
"""

from __future__ import annotations

from typing import Any

import pytest

from polycall.errors import UnsupportedError
from polycall.ir import JSON
from polycall.translation.quirks import Quirks
from tests.pain.bodies import CITY, STREAMS, chat_body, chat_call
from tests.pain.talks import body, tools
from tests.pain.wires import (
    ALL_CROSS,
    ALL_PAIRS,
    ANTHROPIC,
    CHAT,
    GEMINI,
    NAMES,
    RESPONSES,
    accepted,
    answer,
    dialect,
    features,
    parse,
    stream,
    translate,
)


def chosen(client: str, form: Any, *names: str, **fields: Any) -> JSON:
    """A request with the tools of these names and this choice, in the client's own place."""
    if client == GEMINI:
        place: JSON = {"toolConfig": {"functionCallingConfig": form}}
    else:
        place = {"tool_choice": form}
    offered = {"tools": tools(client, *names)} if names else {}
    return body(client, **offered, **place, **fields)


def named(client: str, name: str) -> Any:
    """The choice of one tool."""
    return {
        CHAT: {"type": "function", "function": {"name": name}},
        RESPONSES: {"type": "function", "name": name},
        ANTHROPIC: {"type": "tool", "name": name},
        GEMINI: {"mode": "ANY", "allowedFunctionNames": [name]},
    }[client]


def any_tool(client: str) -> Any:
    """The choice of any tool."""
    return {
        CHAT: "required",
        RESPONSES: "required",
        ANTHROPIC: {"type": "any"},
        GEMINI: {"mode": "ANY"},
    }[client]


def thinking(client: str) -> JSON:
    """A wish to think, with a budget where the client has one."""
    return {
        CHAT: {"reasoning": {"max_tokens": 2000}},
        RESPONSES: {"reasoning": {"effort": "high"}},
        ANTHROPIC: {"thinking": {"type": "enabled", "budget_tokens": 2000}},
        GEMINI: {"generationConfig": {"thinkingConfig": {"thinkingBudget": 2000}}},
    }[client]


@pytest.mark.parametrize("client", [CHAT, RESPONSES, GEMINI])
def test_F01_a_forced_call_beats_thinking_on_anthropic_and_says_so(client: str) -> None:
    given = chosen(client, named(client, "f"), "f", **thinking(client))
    no_forced = Quirks(forced_choice_while_reasoning=False)
    wire = translate(client, ANTHROPIC, given, quirks=no_forced)
    assert wire.body["thinking"] == {"type": "disabled"}
    assert wire.body["tool_choice"] == {"type": "tool", "name": "f"}
    assert ("adjusted", "reasoning") in features(wire)
    assert accepted(ANTHROPIC, wire).allowed == {"f"}


def test_F02_a_reasoning_chat_model_is_never_forced_in_silence() -> None:
    """DeepSeek and Qwen refuse a forced choice while they think."""
    quirks = Quirks(reasoning_control="thinking", forced_choice_while_reasoning=False)
    for client in NAMES:
        given = chosen(client, named(client, "f"), "f")
        wire = translate(client, CHAT, given, quirks=quirks)
        assert wire.body["thinking"] == {"type": "disabled"}
        assert ("adjusted", "reasoning") in features(wire)
        with pytest.raises(UnsupportedError) as caught:
            translate(client, CHAT, {**given, **thinking(client)}, quirks=quirks)
        assert caught.value.feature == "tool_choice"


@pytest.mark.parametrize("upstream", NAMES)
def test_F03_none_is_none_everywhere(upstream: str) -> None:
    forms: dict[str, Any] = {
        CHAT: "none",
        RESPONSES: "none",
        ANTHROPIC: {"type": "none"},
        GEMINI: {"mode": "NONE"},
    }
    for client, form in forms.items():
        wire = translate(client, upstream, chosen(client, form, "f", "g"))
        prompt = accepted(upstream, wire)
        assert prompt.choice == "none"
        assert {tool.name for tool in prompt.tools} == {"f", "g"}  # caches and history keep them


@ALL_PAIRS
def test_F04_a_choice_that_the_model_cannot_take_is_refused(client: str, upstream: str) -> None:
    weak = Quirks(tool_choices=frozenset({"auto", "none"}))
    for form in (named(client, "f"), any_tool(client)):
        given = chosen(client, form, "f", "g")
        with pytest.raises(UnsupportedError) as caught:
            translate(client, upstream, given, quirks=weak)
        assert caught.value.feature == "tool_choice"
        wire = translate(client, upstream, given, quirks=weak, lossy=True)
        assert ("unsupported", "tool_choice") in features(wire)


@ALL_CROSS
def test_F04_a_forced_call_without_tools_is_refused(client: str, upstream: str) -> None:
    if client == CHAT and upstream == CHAT:
        return
    with pytest.raises(UnsupportedError) as caught:
        translate(client, upstream, chosen(client, any_tool(client)))
    assert caught.value.feature == "tool_choice"


# form -> (choice, allowed tools) as the vendor reads it
FORMS: dict[str, list[tuple[Any, tuple[str, set[str] | None]]]] = {
    CHAT: [
        ("auto", ("auto", None)),
        ("required", ("required", None)),
        (named(CHAT, "f"), ("required", {"f"})),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [{"type": "function", "function": {"name": "f"}}],
                },
            },
            ("auto", {"f"}),
        ),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [
                        {"type": "function", "function": {"name": name}} for name in ("f", "g")
                    ],
                },
            },
            ("required", {"f", "g"}),
        ),
    ],
    RESPONSES: [
        ("auto", ("auto", None)),
        ("required", ("required", None)),
        (named(RESPONSES, "f"), ("required", {"f"})),
        (
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "f"}],
            },
            ("auto", {"f"}),
        ),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": name} for name in ("f", "g")],
            },
            ("required", {"f", "g"}),
        ),
    ],
    ANTHROPIC: [
        ({"type": "auto"}, ("auto", None)),
        ("auto", ("auto", None)),  # as some clients write it
        ({"type": "any"}, ("required", None)),
        (named(ANTHROPIC, "f"), ("required", {"f"})),
    ],
    GEMINI: [
        ({"mode": "AUTO"}, ("auto", None)),
        ({"mode": "ANY"}, ("required", None)),
        ({"mode": "any"}, ("required", None)),
        (named(GEMINI, "f"), ("required", {"f"})),
        ({"mode": "VALIDATED", "allowedFunctionNames": ["f"]}, ("auto", {"f"})),
        ({"mode": "ANY", "allowedFunctionNames": ["f", "g"]}, ("required", {"f", "g"})),
    ],
}


@pytest.mark.parametrize("upstream", NAMES)
@pytest.mark.parametrize(
    ("client", "form", "meaning"),
    [(client, form, meaning) for client, forms in FORMS.items() for form, meaning in forms],
)
def test_F05_every_form_means_the_same_everywhere(
    client: str, form: Any, meaning: tuple[str, set[str] | None], upstream: str
) -> None:
    if client == upstream:
        return  # goes back as it came
    wire = translate(client, upstream, chosen(client, form, "f", "g", "h"))
    prompt = accepted(upstream, wire)
    choice, allowed = meaning
    assert prompt.choice == choice
    assert {tool.name for tool in prompt.offered} == (allowed or {"f", "g", "h"})


@pytest.mark.parametrize("client", [CHAT, ANTHROPIC, GEMINI])
def test_F05_a_choice_and_its_tool_share_an_alias(client: str) -> None:
    name = "a" * 80 if client != GEMINI else "a.b:c"
    for upstream in NAMES:
        if upstream == client:
            continue
        wire = translate(client, upstream, chosen(client, named(client, name), name, "g"))
        (alias,) = accepted(upstream, wire).offered
        assert wire.aliases[alias.name].name == name


@pytest.mark.parametrize("upstream", [CHAT, ANTHROPIC, GEMINI])
def test_F05_a_choice_and_its_tool_share_a_namespace(upstream: str) -> None:
    namespace = {"type": "namespace", "name": "ns", "description": "d"}
    inner = {**namespace, "tools": tools(RESPONSES, "f", "g")}
    given = body(RESPONSES, tools=[inner], tool_choice=named(RESPONSES, "f"))
    offered = accepted(upstream, translate(RESPONSES, upstream, given)).offered
    assert [tool.name for tool in offered] == ["ns__f"]


SINGLE: dict[str, JSON] = {
    CHAT: {"parallel_tool_calls": False},
    RESPONSES: {"parallel_tool_calls": False},
    ANTHROPIC: {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
}


@pytest.mark.parametrize("client", SINGLE)
@pytest.mark.parametrize("upstream", NAMES)
def test_F06_one_call_at_a_time(client: str, upstream: str) -> None:
    given = body(client, tools=tools(client, "get_weather", "now"), **SINGLE[client])
    wire = translate(client, upstream, given)
    prompt = accepted(upstream, wire)
    assert prompt.parallel == (upstream == GEMINI)
    assert (("emulated", "parallel_tool_calls") in features(wire)) == (upstream == GEMINI)


@pytest.mark.parametrize("client", SINGLE)
def test_F06_where_there_is_no_switch_the_first_call_counts(client: str) -> None:
    given = body(client, tools=tools(client, "get_weather", "now"), **SINGLE[client])
    request = parse(client, given)
    wire = dialect(GEMINI).render_request(request)
    data = b"".join(stream(GEMINI, client, STREAMS[GEMINI], request=request, wire=wire))
    decoder = dialect(client).StreamDecoder()
    events = [*decoder.feed(data), *decoder.close()]
    names = [e.part.name for e in events if hasattr(e, "part") and hasattr(e.part, "name")]
    assert names == ["get_weather"]


def test_custom_tools_make_the_round_trip_from_client_to_provider_and_back() -> None:
    """A freeform tool travels as a function, and its call comes back freeform."""
    grammar = {"syntax": "lark", "definition": "start: X"}
    forms: dict[str, JSON] = {
        CHAT: {
            "type": "custom",
            "custom": {
                "name": "sh",
                "description": "run",
                "format": {"type": "grammar", "grammar": grammar},
            },
        },
        RESPONSES: {
            "type": "custom",
            "name": "sh",
            "description": "run",
            "format": {"type": "grammar", **grammar},
        },
    }
    text = 'ls "서울"\n\\d'
    answers: dict[str, JSON] = {
        ANTHROPIC: {
            "content": [{"type": "tool_use", "id": "c1", "name": "sh", "input": {"input": text}}],
            "stop_reason": "tool_use",
        },
        GEMINI: {
            "candidates": [
                {
                    "content": {
                        "parts": [
                            {"functionCall": {"id": "c1", "name": "sh", "args": {"input": text}}}
                        ]
                    },
                    "finishReason": "STOP",
                }
            ]
        },
    }
    for client, form in forms.items():
        for upstream, reply in answers.items():
            request = parse(client, body(client, tools=[form]))
            wire = dialect(upstream).render_request(request)
            assert ("emulated", "custom_tool") in features(wire)
            assert "start: X" in str(wire.body["tools"])
            assert [tool.name for tool in accepted(upstream, wire).tools] == ["sh"]
            response, shown = answer(upstream, client, reply, request=request, wire=wire)
            assert [(call.kind, call.arguments) for call in response.tool_calls] == [
                ("custom", {"input": text})
            ]
            if client == CHAT:
                (call,) = shown["choices"][0]["message"]["tool_calls"]
                assert call == {
                    "id": "c1",
                    "type": "custom",
                    "custom": {"name": "sh", "input": text},
                }
            else:
                (item,) = shown["output"]
                assert (item["type"], item["input"]) == ("custom_tool_call", text)


def test_names_come_back_as_the_client_wrote_them() -> None:
    given = body(CHAT, tools=tools(CHAT, "get weather/now"))
    request = parse(CHAT, given)
    wire = dialect(RESPONSES).render_request(request)
    (alias,) = wire.aliases
    reply = chat_body({"tool_calls": [chat_call("c1", alias, CITY)]}, "tool_calls")
    response, _ = answer(CHAT, CHAT, reply, request=request, wire=wire)
    assert [call.name for call in response.tool_calls] == ["get weather/now"]
