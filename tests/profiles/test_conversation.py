"""What a conversation may hold, by model: T3, T7, T17 and the choices of M2."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.errors import UnsupportedError
from polycall.ir import (
    Media,
    Message,
    ReasoningConfig,
    ResponseFormat,
    Text,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from tests.profiles.asking import TOOL, asked, said

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def message(role: Any, text: str) -> Message:
    return Message(role, [Text(text)])


LATE = [
    message("user", "a"),
    message("assistant", "b"),
    message("system", "be brief"),
    message("user", "c"),
]


def roles(body: dict[str, Any]) -> list[str]:
    return [each["role"] for each in body["messages"]]


@pytest.mark.parametrize(
    "model", ["claude-sonnet-4.6", "claude-opus-4-7", "claude-haiku-4-5", "claude-sonnet-5"]
)
def test_t03_late_system_messages_are_a_users_for_claude_models_that_know_none(model: str) -> None:
    wire = asked(f"anthropic/{model}", messages=LATE)
    assert roles(wire.body) == ["user", "assistant", "user", "user"]
    assert "be brief" in str(wire.body["messages"][2]["content"])
    assert ("emulated", "messages.system") in said(wire)


@pytest.mark.parametrize("model", ["claude-opus-4-8", "claude-opus-5-5", "claude-haiku-5-5"])
def test_t03_late_system_messages_stand_after_the_users_turn_where_the_model_takes_them(
    model: str,
) -> None:
    wire = asked(f"anthropic/{model}", messages=LATE)
    assert roles(wire.body) == ["user", "assistant", "user", "system"]
    assert ("adjusted", "messages.system") in said(wire)
    in_place = [LATE[0], message("system", "x"), LATE[1], LATE[3], message("system", "y")]
    wire = asked(f"anthropic/{model}", messages=in_place)
    assert roles(wire.body) == ["user", "system", "assistant", "user", "system"]
    assert wire.warnings == []


def test_t03_a_late_system_message_between_results_and_text_stands_after_both() -> None:
    call = ToolCall("c1", "look")
    messages = [
        message("user", "a"),
        Message("assistant", [call]),
        Message("tool", [ToolResult("c1", [Text("seen")])]),
        message("system", "now in French"),
        message("user", "and?"),
    ]
    wire = asked("anthropic/claude-opus-5-5", messages=messages, tools=[TOOL])
    assert roles(wire.body) == ["user", "assistant", "user", "system"]
    assert [block["type"] for block in wire.body["messages"][2]["content"]] == [
        "tool_result",
        "text",
    ]


def test_t03_a_late_system_message_after_an_assistants_turn_is_a_users() -> None:
    wire = asked("anthropic/claude-opus-5-5", messages=[*LATE[:2], LATE[2]])
    assert roles(wire.body) == ["user", "assistant", "user"]
    assert ("emulated", "messages.system") in said(wire)


@pytest.mark.parametrize(
    "model", ["vllm/Qwen/Qwen3.5-9B", "llamacpp/qwen3.8-27b", "ollama/qwen3.6:35b"]
)
def test_t03_templates_that_want_one_system_message_first_get_one(model: str) -> None:
    messages = [message("system", "one"), message("system", "two"), *LATE]
    wire = asked(model, messages=messages)
    assert roles(wire.body) == ["system", "user", "assistant", "user", "user"]
    assert wire.body["messages"][0]["content"] == "one\n\ntwo"
    assert "be brief" in wire.body["messages"][3]["content"]
    wire = asked("vllm/Qwen/Qwen3-8B", messages=messages)
    assert roles(wire.body).count("system") == 3


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-2.5-pro", "gemini-2.0-flash"])
@pytest.mark.parametrize("kind", ["json", "json_schema"])
def test_t07_json_beside_tools_is_told_in_words_for_gemini_up_to_2_5(model: str, kind: Any) -> None:
    wanted = ResponseFormat(kind, SCHEMA if kind == "json_schema" else None)
    wire = asked(f"google/{model}", tools=[TOOL], response_format=wanted)
    assert "responseMimeType" not in wire.body.get("generationConfig", {})
    words = wire.body["systemInstruction"]["parts"][-1]["text"]
    assert "JSON" in words
    assert ('"integer"' in words) is (kind == "json_schema")
    assert ("emulated", "response_format") in said(wire)


def test_t07_json_is_asked_for_on_the_wire_where_the_model_takes_it() -> None:
    wanted = ResponseFormat("json_schema", SCHEMA)
    for model, tools in [("gemini-3.8-flash", [TOOL]), ("gemini-2.5-flash", [])]:
        wire = asked(f"google/{model}", tools=tools, response_format=wanted)
        assert wire.body["generationConfig"]["responseMimeType"] == "application/json"
        assert wire.warnings == []


@pytest.mark.parametrize(
    "model",
    [
        "claude-mythos-5-1",
        "claude-mythos-5-2",
        "claude-fable-5-2",
        "claude-opus-5-5",
        "claude-sonnet-5-5",
        "claude-opus-6",
    ],
)
@pytest.mark.parametrize("choice", [ToolChoice("required"), ToolChoice("tool", ["look"])])
def test_m02_a_forced_call_is_refused_by_name_where_the_model_takes_none(
    model: str, choice: ToolChoice
) -> None:
    with pytest.raises(UnsupportedError, match="tool_choice"):
        asked(f"anthropic/{model}", tools=[TOOL], tool_choice=choice)
    wire = asked(f"anthropic/{model}", tools=[TOOL], tool_choice=choice, lossy=True)
    assert wire.body["tool_choice"] == {"type": "auto"}


def test_m02_a_forced_call_beside_adaptive_thinking_stays_where_the_model_takes_both() -> None:
    wanted: dict[str, Any] = {"tools": [TOOL], "tool_choice": ToolChoice("required")}
    wire = asked("anthropic/claude-opus-4-6", reasoning=ReasoningConfig("high"), **wanted)
    assert wire.body["thinking"] == {"type": "adaptive"}
    assert wire.body["tool_choice"] == {"type": "any"}
    wire = asked("anthropic/claude-haiku-4-5", reasoning=ReasoningConfig("high"), **wanted)
    assert wire.body["thinking"] == {"type": "disabled"}


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        ("google/gemini-4-argon", "candidates", 2),
        ("anthropic/claude-opus-5-5", "candidates", 3),
        ("deepseek/deepseek-flash", "candidates", 2),
        ("openai/gpt-6-sol", "logprobs", 2),
        ("google/gemini-3.8-flash", "stop", list("abcdef")),
        ("openai/gpt-4o", "stop", list("abcde")),
    ],
)
def test_m02_what_would_change_the_answer_is_refused_by_name(
    model: str, field: str, value: Any
) -> None:
    with pytest.raises(UnsupportedError, match=field):
        asked(model, **{field: value})


def test_m02_as_many_answers_as_a_model_gives_are_asked_for() -> None:
    model = "google/gemini-2.5-flash"
    for count in (2, 8):
        wire = asked(model, candidates=count)
        assert wire.body["generationConfig"] == {"candidateCount": count}
        assert wire.warnings == []
    with pytest.raises(UnsupportedError, match="9 answers; .* gives 8 a request"):
        asked(model, candidates=9)


def test_m02_one_answer_is_what_nobody_has_to_ask_for() -> None:
    for model in ("google/gemini-4-argon", "openai/gpt-5.4", "anthropic/claude-opus-5-5"):
        wire = asked(model, candidates=1)
        assert "n" not in wire.body
        assert "candidateCount" not in wire.body.get("generationConfig", {})
        assert wire.warnings == []


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("openai/o3-mini", "image"),
        ("openai/gpt-5.4", "audio"),
        ("anthropic/claude-opus-5", "video"),
    ],
)
def test_m02_media_that_a_model_cannot_see_are_refused_by_name(model: str, kind: Any) -> None:
    shown = Message("user", [Media(kind, f"{kind}/x", data="AAAA")])
    with pytest.raises(UnsupportedError, match=kind):
        asked(model, messages=[shown])


@pytest.mark.parametrize("model", ["claude-sonnet-5", "claude-opus-4-6", "claude-fable-5-2"])
def test_m02_a_last_turn_of_the_assistants_is_refused_where_the_model_takes_none(
    model: str,
) -> None:
    messages = [message("user", "a"), message("assistant", "{")]
    with pytest.raises(UnsupportedError, match="prefill"):
        asked(f"anthropic/{model}", messages=messages)
    wire = asked("anthropic/claude-haiku-4-5", messages=messages)
    assert roles(wire.body) == ["user", "assistant"]


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("claude-opus-5-5", 128_000),
        ("claude-sonnet-4.6", 128_000),
        ("claude-haiku-4-5", 64_000),
        ("claude-opus-4-1", 32_000),
        ("claude-3-haiku-20240307", 4_096),
    ],
)
def test_t17_a_request_without_a_bound_gets_the_models_own(model: str, most: int) -> None:
    wire = asked(f"anthropic/{model}")
    assert wire.body["max_tokens"] == most
    assert wire.warnings == []
    assert asked(f"anthropic/{model}", max_output_tokens=17).body["max_tokens"] == 17
    wire = asked(f"anthropic/{model}", max_output_tokens=most)
    assert (wire.body["max_tokens"], said(wire)) == (most, set())
    wire = asked(f"anthropic/{model}", max_output_tokens=most + 1)
    assert wire.body["max_tokens"] == most
    assert ("adjusted", "max_output_tokens") in said(wire)


@pytest.mark.parametrize("effort", ["high", "xhigh", "max"])
def test_t17_much_effort_without_a_bound_is_warned_of(effort: Any) -> None:
    wire = asked("anthropic/claude-opus-5-5", reasoning=ReasoningConfig(effort))
    assert wire.body["max_tokens"] == 128_000
    assert ("emulated", "max_output_tokens") in said(wire)
    wire = asked("anthropic/claude-opus-5-5", reasoning=ReasoningConfig("low"))
    assert wire.warnings == []


@pytest.mark.parametrize(
    ("model", "like"),
    [
        ("anthropic/claude-opus-6", "claude-opus-5-5"),
        ("openai/gpt-7-sol", "gpt-6.2-sol"),
        ("google/gemini-5-xenon", "gemini-4-neon"),
        ("deepseek/deepseek-v5-flash", "deepseek-flash"),
    ],
)
def test_m02_an_unknown_model_follows_its_familys_newest_and_a_warning_says_so(
    model: str, like: str
) -> None:
    wire = asked(model)
    (warning,) = wire.warnings
    assert (warning.kind, warning.feature) == ("emulated", "model")
    assert like in warning.detail
    assert asked("vllm/some-model").warnings == []


def test_a_model_of_unknown_bounds_gets_the_tokens_that_were_asked_for() -> None:
    wire = asked("groq/some-new-model", max_output_tokens=5_000_000)
    assert 5_000_000 in wire.body.values()
    assert ("adjusted", "max_output_tokens") not in said(wire)


CALLED = [
    message("user", "a"),
    Message("assistant", [ToolCall("call_1", "look")]),
    Message("tool", [ToolResult("call_1", [Text("seen")])]),
]


@pytest.mark.parametrize("model", ["moonshot/kimi-k2.6", "moonshot/kimi-k3.1-pro"])
def test_m02_calls_of_another_provider_have_some_reasoning_where_the_server_wants_it(
    model: str,
) -> None:
    wire = asked(model, messages=CALLED, tools=[TOOL])
    assert wire.body["messages"][1]["reasoning_content"] == " "
    wire = asked("zai/glm-5.3", messages=CALLED, tools=[TOOL])
    assert "reasoning_content" not in wire.body["messages"][1]
    off = ReasoningConfig("none")
    wire = asked("moonshot/kimi-k2.6", messages=CALLED, tools=[TOOL], reasoning=off)
    assert "reasoning_content" not in wire.body["messages"][1]


@pytest.mark.parametrize("kind", ["json", "json_schema"])
@pytest.mark.parametrize("model", ["groq/openai/gpt-oss-120b", "groq/llama-3.3-70b-versatile"])
def test_t07_json_beside_tools_is_asked_for_in_words_where_a_server_takes_no_both(
    model: str, kind: Any
) -> None:
    wanted = ResponseFormat(kind, SCHEMA if kind == "json_schema" else None)
    wire = asked(model, tools=[TOOL], response_format=wanted)
    assert "response_format" not in wire.body
    assert "JSON" in wire.body["messages"][0]["content"]
    assert ("emulated", "response_format") in said(wire)
    assert "response_format" in asked(model, response_format=wanted).body


@pytest.mark.parametrize(
    ("model", "wanted", "sent"),
    [
        ("mistral/mistral-large-4", 2, 1.5),
        ("minimax/MiniMax-M3", 0, 0.01),
        ("zai/glm-4.7", 1.3, 1),
        ("moonshot/moonshot-v1-8k", 1.5, 1),
        ("groq/llama-3.3-70b-versatile", 2, 2),
    ],
)
def test_m02_a_temperature_is_within_what_the_server_takes(
    model: str, wanted: float, sent: float
) -> None:
    wire = asked(model, temperature=wanted)
    assert wire.body["temperature"] == sent
    assert (("adjusted", "temperature") in said(wire)) is (wanted != sent)
