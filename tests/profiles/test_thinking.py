"""How much to think, by model: T6 and the table of M2."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.errors import UnsupportedError
from polycall.ir import (
    Message,
    Reasoning,
    ReasoningConfig,
    ResponseFormat,
    Text,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from polycall.providers.provider import Provider
from tests.profiles.asking import TOOL, asked, said

EFFORT = ReasoningConfig("high")
FORCED = ToolChoice("required")


def thinking_of(body: dict[str, Any]) -> dict[str, Any]:
    config = body.get("generationConfig", {})
    parts = {
        "thinking": body.get("thinking"),
        "effort": body.get("reasoning_effort")
        or body.get("reasoning", {}).get("effort")
        or body.get("output_config", {}).get("effort"),
        **config.get("thinkingConfig", {}),
    }
    return {name: value for name, value in parts.items() if value is not None}


@pytest.mark.parametrize(
    "model", ["claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5", "claude-haiku-4.5"]
)
def test_t06_an_effort_is_a_budget_for_claude_models_without_adaptive_thinking(model: str) -> None:
    wire = asked(f"anthropic/{model}", reasoning=EFFORT)
    assert wire.body["thinking"] == {"type": "enabled", "budget_tokens": 16384}
    assert "output_config" not in wire.body
    assert wire.body["max_tokens"] > 16384
    assert ("emulated", "reasoning.effort") in said(wire)


@pytest.mark.parametrize(
    "model",
    ["claude-opus-4-7", "claude-opus-4-8", "claude-sonnet-5", "claude-fable-5", "claude-opus-5-5"],
)
@pytest.mark.parametrize(("budget", "effort"), [(2048, "low"), (20_000, "high"), (90_000, "xhigh")])
def test_t06_m02_a_budget_is_an_effort_for_claude_models_that_take_no_budget(
    model: str, budget: int, effort: str
) -> None:
    wire = asked(f"anthropic/{model}", reasoning=ReasoningConfig(budget_tokens=budget))
    assert wire.body["thinking"] == {"type": "adaptive"}
    assert wire.body["output_config"] == {"effort": effort}
    assert ("adjusted", "reasoning.budget_tokens") in said(wire)


@pytest.mark.parametrize(
    ("model", "wanted", "sent"),
    [
        ("openai/gpt-5", "max", "high"),
        ("openai/gpt-5.4", "max", "xhigh"),
        ("openai/o3", "max", "high"),
        ("openai/gpt-5.1", "minimal", "low"),
        ("openai/gpt-5-pro", "low", "high"),
        ("openai/gpt-5.6-sol", "max", "max"),
        ("openai/gpt-6-astra", "minimal", "low"),
        ("openai/gpt-6.1-sol", "none", "low"),
        ("openai/gpt-6.2-astra", "none", "low"),
        ("openai/gpt-6-luna", "none", "none"),
        ("openai/gpt-5", "none", "minimal"),
        ("openai/o4-mini", "none", "low"),
        ("anthropic/claude-opus-4-6", "xhigh", "high"),
        ("xai/grok-4.5", "max", "high"),
        ("xai/grok-4.3", "none", "none"),
    ],
)
@pytest.mark.parametrize("with_tools", [False, True])
def test_t06_m02_each_model_gets_an_effort_that_it_takes(
    model: str, wanted: Any, sent: str, *, with_tools: bool
) -> None:
    tools = [TOOL] if with_tools else []
    wire = asked(model, reasoning=ReasoningConfig(wanted), tools=tools)
    assert thinking_of(wire.body)["effort"] == sent
    assert (("adjusted", "reasoning.effort") in said(wire)) is (wanted != sent)


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1-mini", "gpt-3.5-turbo", "chatgpt-4o-latest"])
def test_t06_models_that_never_think_are_not_told_to_stop(model: str) -> None:
    for off in (ReasoningConfig("none"), ReasoningConfig(budget_tokens=0)):
        wire = asked(f"openai/{model}", reasoning=off)
        assert thinking_of(wire.body) == {}
        assert wire.warnings == []
    wire = asked(f"openai/{model}", reasoning=EFFORT)
    assert thinking_of(wire.body) == {}
    assert ("unsupported", "reasoning") in said(wire)


@pytest.mark.parametrize(
    ("model", "budget", "sent"),
    [
        ("gemini-2.5-flash", 31_999, 24_576),
        ("gemini-2.5-flash-lite", 100, 512),
        ("gemini-2.5-pro", 0, 128),
        ("gemini-2.5-pro", 50_000, 32_768),
        ("gemini-2.5-flash", 0, 0),
        ("gemini-2.5-pro", -1, -1),
    ],
)
def test_t06_gemini_budgets_are_within_the_models_bounds(
    model: str, budget: int, sent: int
) -> None:
    wire = asked(f"google/{model}", reasoning=ReasoningConfig(budget_tokens=budget))
    assert thinking_of(wire.body) == {"thinkingBudget": sent}
    assert bool(wire.warnings) is (budget != sent)


def test_t06_no_effort_is_the_least_budget_where_thinking_cannot_be_turned_off() -> None:
    wire = asked("google/gemini-2.5-pro", reasoning=ReasoningConfig("none"))
    assert thinking_of(wire.body) == {"thinkingBudget": 128}
    wire = asked("google/gemini-2.5-flash", reasoning=ReasoningConfig("none"))
    assert thinking_of(wire.body) == {"thinkingBudget": 0}


@pytest.mark.parametrize("model", ["claude-opus-5-5", "claude-fable-5-2", "claude-mythos-5.2"])
@pytest.mark.parametrize("off", [ReasoningConfig("none"), ReasoningConfig(budget_tokens=0)])
def test_m02_a_model_that_always_thinks_is_not_told_to_stop(
    model: str, off: ReasoningConfig
) -> None:
    wire = asked(f"anthropic/{model}", reasoning=off)
    assert "thinking" not in wire.body
    assert wire.body["output_config"] == {"effort": "low"}
    assert ("adjusted", "reasoning") in said(wire)


def test_m02_sonnet_5_5_stops_thinking_up_front_only() -> None:
    wire = asked("anthropic/claude-sonnet-5.5", reasoning=ReasoningConfig("none"))
    assert wire.body["thinking"] == {"type": "between_tools"}
    wire = asked("anthropic/claude-haiku-5-5", reasoning=ReasoningConfig("none"))
    assert wire.body["thinking"] == {"type": "disabled"}


@pytest.mark.parametrize(
    "model",
    [
        "claude-haiku-5-5",
        "claude-mythos-5-2",
        "claude-mythos-5",
        "claude-opus-4-7",
        "claude-sonnet-5",
    ],
)
def test_m02_no_sampling_where_the_model_refuses_it(model: str) -> None:
    wire = asked(f"anthropic/{model}", temperature=0.2, top_p=0.9, top_k=4)
    assert not wire.body.keys() & {"temperature", "top_p", "top_k"}
    assert {feature for _, feature in said(wire)} == {"temperature", "top_p", "top_k"}


def test_m02_sampling_of_gpt_5_needs_the_effort_none() -> None:
    assert asked("openai/gpt-5.4", temperature=0.2).body["temperature"] == 0.2
    assert asked("openai/gpt-5.6-sol", temperature=0.2).body.get("temperature") is None
    quiet = ReasoningConfig("none")
    for tools in ([], [TOOL]):
        wire = asked("openai/gpt-5.6-sol", temperature=0.2, reasoning=quiet, tools=tools)
        assert wire.body["temperature"] == 0.2
        wire = asked("openai/gpt-5.4", temperature=0.2, reasoning=EFFORT, tools=tools)
        assert "temperature" not in wire.body
        wire = asked("openai/gpt-6-sol", temperature=0.2, reasoning=quiet, tools=tools)
        assert "temperature" not in wire.body


@pytest.mark.parametrize("model", ["gemini-3.8-flash", "gemini-3.7-flash", "gemini-4-argon"])
def test_m02_gemini_models_without_minimal_get_low(model: str) -> None:
    for wanted in (ReasoningConfig("minimal"), ReasoningConfig("none")):
        wire = asked(f"google/{model}", reasoning=wanted)
        assert thinking_of(wire.body) == {"thinkingLevel": "LOW"}
        assert ("adjusted", "reasoning.effort") in said(wire)
    wire = asked("google/gemini-3-flash-preview", reasoning=ReasoningConfig("minimal"))
    assert thinking_of(wire.body) == {"thinkingLevel": "MINIMAL"}


@pytest.mark.parametrize("model", ["gemini-4-argon", "gemini-4-neon", "gemini-4-boron"])
def test_m02_gemini_4_takes_no_budget_no_penalties_and_one_answer(model: str) -> None:
    wire = asked(
        f"google/{model}",
        reasoning=ReasoningConfig(budget_tokens=4_000),
        presence_penalty=0.5,
        frequency_penalty=0.5,
        candidates=1,
    )
    assert wire.body["generationConfig"] == {"thinkingConfig": {"thinkingLevel": "MEDIUM"}}
    assert {"presence_penalty", "frequency_penalty"} <= {feature for _, feature in said(wire)}


def test_m02_a_client_of_the_same_wire_is_made_to_fit_where_it_is_translated() -> None:
    own = ReasoningConfig(
        budget_tokens=4000,
        metadata={"anthropic": {"thinking": {"type": "enabled", "budget_tokens": 4000}}},
    )
    assert asked("anthropic/claude-opus-4-6", reasoning=own).body["thinking"] == {
        "type": "enabled",
        "budget_tokens": 4000,
    }
    wire = asked("anthropic/claude-opus-5-5", reasoning=own)
    assert wire.body["thinking"] == {"type": "adaptive"}
    assert wire.body["output_config"] == {"effort": "medium"}


ALWAYS = ("moonshot/kimi-k3.1-pro", "zai/glm-5.3-flash", "xai/grok-4.6", "groq/openai/gpt-oss-20b")
OFF = [ReasoningConfig("none"), ReasoningConfig(budget_tokens=0)]


@pytest.mark.parametrize("off", OFF)
@pytest.mark.parametrize("model", ALWAYS)
def test_m02_relatives_that_always_think_get_the_least_effort(
    model: str, off: ReasoningConfig
) -> None:
    wire = asked(model, reasoning=off)
    assert thinking_of(wire.body)["effort"] == "low"
    assert wire.body.get("thinking") in (None, {"type": "enabled"})
    assert ("adjusted", "reasoning.effort") in said(wire)


@pytest.mark.parametrize("off", OFF)
@pytest.mark.parametrize(
    "model", ["google/gemini-3.7-flash", "anthropic/claude-opus-5.5", "moonshotai/kimi-k3.1-pro"]
)
def test_m02_a_router_is_not_told_to_turn_off_what_thinks_always(
    model: str, off: ReasoningConfig
) -> None:
    wire = asked(f"openrouter/{model}", reasoning=off)
    assert wire.body["reasoning"] == {"effort": "low"}
    assert ("adjusted", "reasoning.effort") in said(wire)
    wire = asked("openrouter/z-ai/glm-4.7", reasoning=off)
    assert wire.body["reasoning"] in ({"effort": "none"}, {"enabled": False})


@pytest.mark.parametrize(
    ("model", "wanted", "sent"),
    [
        ("moonshot/kimi-k3", "medium", {"effort": "low"}),
        ("moonshot/kimi-k2.6", "none", {"thinking": {"type": "disabled"}}),
        ("zai/glm-5.2", "low", {"thinking": {"type": "enabled"}, "effort": "high"}),
        ("fireworks/accounts/fireworks/models/glm-5p2", "none", {"effort": "none"}),
        ("fireworks/accounts/fireworks/models/deepseek-v4-pro", "none", {"effort": "none"}),
        ("fireworks/accounts/fireworks/models/kimi-k2p6", "max", {"effort": "high"}),
        ("cerebras/zai-glm-4.7", "max", {"effort": "high"}),
        ("mistral/mistral-small-latest", "low", {"effort": "high"}),
        ("mistral/mistral-large-2512", "high", {}),
        ("groq/qwen/qwen3-32b", "none", {"effort": "none"}),
        ("groq/qwen/qwen3-32b", "high", {}),
        ("minimax/MiniMax-M3", "high", {"thinking": {"type": "adaptive"}}),
    ],
)
def test_m02_a_server_of_open_weights_is_asked_in_its_own_way(
    model: str, wanted: Any, sent: dict[str, Any]
) -> None:
    assert thinking_of(asked(model, reasoning=ReasoningConfig(wanted)).body) == sent


@pytest.mark.parametrize(("wanted", "sent"), [("none", False), ("high", True)])
def test_m02_qwens_own_server_has_a_switch(wanted: Any, *, sent: bool) -> None:
    wire = asked("alibaba/qwen3.7-plus", reasoning=ReasoningConfig(wanted))
    assert wire.body["enable_thinking"] is sent
    wire = asked("alibaba/qwen3.7-plus", reasoning=ReasoningConfig(budget_tokens=500))
    assert wire.body["thinking_budget"] == 500


@pytest.mark.parametrize(
    ("model", "wanted", "sent"),
    [
        ("qwen3.8-max", {"effort": "max"}, {"enable_thinking": True, "reasoning_effort": "xhigh"}),
        ("qwen3.8-max", {"effort": "high"}, {"enable_thinking": True, "reasoning_effort": "high"}),
        ("qwen3.8-27b", {"effort": "low"}, {"enable_thinking": True, "reasoning_effort": "low"}),
        ("qwen3.8-max", {"effort": "none"}, {"enable_thinking": False}),
        (
            "qwen3.8-max",
            {"effort": "high", "budget_tokens": 500},
            {"enable_thinking": True, "thinking_budget": 500},
        ),
        ("qwen3.7-max", {"effort": "high"}, {"enable_thinking": True}),
        # The open ones of before think by themselves, and in streams alone.
        ("qwen3-32b", {}, {"enable_thinking": False}),
        ("qwen3-8b", {"effort": "high"}, {"enable_thinking": False}),
    ],
)
def test_m02_qwens_efforts_and_streams(
    model: str, wanted: dict[str, Any], sent: dict[str, Any]
) -> None:
    config = ReasoningConfig(**wanted) if wanted else None
    wire = asked(f"alibaba/{model}", reasoning=config)
    fields = ("enable_thinking", "reasoning_effort", "thinking_budget")
    assert {name: wire.body[name] for name in fields if name in wire.body} == sent
    if model in {"qwen3-32b", "qwen3-8b"}:
        assert ("adjusted", "reasoning") in said(wire)
        streamed = asked(f"alibaba/{model}", reasoning=config, stream=True).body
        assert streamed.get("enable_thinking") is not False


@pytest.mark.parametrize(
    ("model", "wanted", "formed"),
    [
        ("qwen3-235b-a22b-thinking-2507", None, False),
        ("qwen-plus", EFFORT, False),
        ("qwen-plus", None, True),
        ("qwen3-32b", ReasoningConfig("none"), True),
        ("qwen3-32b", None, False),
    ],
)
def test_m02_json_of_a_qwen_that_thinks_is_asked_for_in_words(
    model: str, wanted: ReasoningConfig | None, *, formed: bool
) -> None:
    wire = asked(
        f"alibaba/{model}", reasoning=wanted, stream=True, response_format=ResponseFormat("json")
    )
    assert ("response_format" in wire.body) is formed
    assert "JSON" in str(wire.body["messages"])


@pytest.mark.parametrize(
    "model",
    [
        "qwen3-next-80b-a3b-thinking",
        "qwen3-vl-235b-a22b-thinking",
        "qwen3-coder-30b-a3b-instruct",
        "qwen3-max-preview",
        "qwen3-vl-plus",
    ],
)
def test_m02_what_one_qwen_does_is_not_said_of_another_that_no_list_has(model: str) -> None:
    wire = asked(f"alibaba/{model}")
    assert "enable_thinking" not in wire.body
    assert said(wire) == {("emulated", "model")}


def test_m02_a_row_that_names_a_model_that_no_list_has_comes_before_those_of_the_newest() -> None:
    thinking = asked("alibaba/qwen3-next-80b-a3b-thinking", reasoning=EFFORT, stream=True)
    never = asked("alibaba/qwen3-coder-30b-a3b-instruct", reasoning=EFFORT, stream=True)
    assert "enable_thinking" not in thinking.body
    assert "enable_thinking" not in never.body


@pytest.mark.parametrize(
    ("address", "is_own"),
    [
        ("http://127.0.0.1:8000/v1", False),
        ("https://models.example.com/v1", False),
        ("https://notaliyuncs.com/v1", False),
        ("https://dashscope-us.aliyuncs.com/compatible-mode/v1", True),
    ],
)
def test_m04_what_a_vendors_own_server_fixes_holds_at_its_own_address(
    address: str, *, is_own: bool
) -> None:
    mine = Provider("mine", "openai-chat", address)
    assert ("enable_thinking" in asked("mine/Qwen/Qwen3-32B", provider=mine).body) is is_own
    bounds = [mine.profile(name) for name in ("glm-5.3", "gpt-oss-120b")]
    assert all(each is not None and each.is_elsewhere for each in bounds)


@pytest.mark.parametrize("server", ["vllm", "together"])
def test_m02_the_template_of_qwen_3_8_is_told_one_of_its_own_efforts(server: str) -> None:
    wire = asked(f"{server}/Qwen/Qwen3.8-27B", reasoning=EFFORT)
    assert wire.body.get("reasoning_effort", "xhigh") in {"low", "medium", "xhigh"}


@pytest.mark.parametrize(
    ("model", "wanted", "sent"),
    [
        ("moonshotai/Kimi-K2.6", "none", {"reasoning": {"enabled": False}}),
        ("zai-org/GLM-5.1", "high", {"reasoning": {"enabled": True}}),
        ("deepseek-ai/DeepSeek-V4-Pro", "none", {"reasoning": {"enabled": False}}),
        ("deepseek-ai/DeepSeek-V4-Pro", "max", {"reasoning_effort": "max"}),
        ("Qwen/Qwen3.6-Plus", "none", {"reasoning": {"enabled": False}}),
        ("openai/gpt-oss-20b", "none", {"reasoning_effort": "low"}),
        ("zai-org/GLM-5.3", "none", {"reasoning_effort": "low"}),
    ],
)
def test_m02_together_switches_a_model_that_may_think_or_not(
    model: str, wanted: Any, sent: dict[str, Any]
) -> None:
    body = asked(f"together/{model}", reasoning=ReasoningConfig(wanted)).body
    names = ("reasoning", "reasoning_effort", "thinking", "enable_thinking")
    assert {name: body[name] for name in names if name in body} == sent


def test_m02_what_one_server_fixes_another_takes() -> None:
    wanted: dict[str, Any] = {"temperature": 0.2, "top_p": 0.9}
    for model in ("kimi-k3", "kimi-k2.6"):
        wire = asked(f"moonshot/{model}", **wanted)
        assert not wire.body.keys() & wanted.keys()
        assert {feature for _, feature in said(wire)} == set(wanted)
    for model in ("together/moonshotai/Kimi-K3", "fireworks/accounts/fireworks/models/kimi-k3"):
        assert asked(model, **wanted).body.keys() >= wanted.keys()


@pytest.mark.parametrize("name", ["gemini-flash-latest", "gemini-pro-latest"])
def test_m02_an_alias_has_the_rules_of_the_model_that_answers_for_it(name: str) -> None:
    wire = asked(f"google/{name}", reasoning=ReasoningConfig("minimal"))
    assert thinking_of(wire.body) == {"thinkingLevel": "LOW"}


@pytest.mark.parametrize("wanted", [ReasoningConfig("none"), ReasoningConfig(budget_tokens=0)])
@pytest.mark.parametrize("model", ["moonshot/kimi-k3", "moonshot/kimi-k2.7-code"])
def test_m02_a_model_that_always_thinks_gets_what_it_wants_though_asked_not_to(
    model: str, wanted: ReasoningConfig
) -> None:
    called = [
        Message("user", [Text("look")]),
        Message("assistant", [ToolCall("call_1", "look", "{}")]),
        Message("tool", [ToolResult("call_1", [Text("seen")])]),
    ]
    wire = asked(model, messages=called, tools=[TOOL], reasoning=wanted)
    assert wire.body["messages"][1]["reasoning_content"] == " "
    assert "thinking" not in wire.body or wire.body["thinking"]["type"] != "disabled"
    with pytest.raises(UnsupportedError, match="tool_choice"):
        asked("moonshot/kimi-k2.7-code", tools=[TOOL], reasoning=wanted, tool_choice=FORCED)


@pytest.mark.parametrize(
    ("model", "thinking"),
    [
        ("anthropic/claude-haiku-4-5", "disabled"),
        ("anthropic/claude-opus-4-5", "disabled"),
        ("anthropic/claude-sonnet-4-6", "adaptive"),
        ("bedrock/anthropic.claude-haiku-4-5-20251001-v1:0", "disabled"),
    ],
)
def test_m02_calls_of_another_model_go_on_without_a_budget_of_thinking(
    monkeypatch: pytest.MonkeyPatch, model: str, thinking: str
) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    wanted = ReasoningConfig(budget_tokens=2048)
    user = Message("user", [Text("look")])
    called = Message("assistant", [Text("well"), ToolCall("call_1", "look", "{}")])
    seen = Message("tool", [ToolResult("call_1", [Text("seen")])])

    def kind(*messages: Message) -> str:
        body = asked(model, messages=list(messages), tools=[TOOL], reasoning=wanted).body
        fields = body.get("additionalModelRequestFields", body)
        return fields["thinking"]["type"]

    assert kind(user, called, seen) == thinking
    assert kind(user, called, seen, Message("assistant", [Text("So")]), user) == "enabled"
    assert kind(user) == "enabled"
    wire = asked(model, messages=[user, called, seen], tools=[TOOL], reasoning=wanted)
    assert any(feature.startswith("reasoning") for _, feature in said(wire))


@pytest.mark.parametrize("later", [[], [Text("next")]])
def test_m02_a_turn_that_began_with_thinking_goes_on_with_its_budget(later: list[Any]) -> None:
    thought = Reasoning("which?", metadata={"anthropic": {"signature": "c2ln"}})
    messages = [
        Message("user", [Text("look")]),
        Message("assistant", [thought, ToolCall("call_1", "look", "{}")]),
        Message("tool", [ToolResult("call_1", [Text("seen")])]),
        Message("assistant", [*later, ToolCall("call_2", "look", "{}")]),
        Message("tool", [ToolResult("call_2", [Text("seen")])]),
    ]
    wanted = ReasoningConfig(budget_tokens=2048)
    wire = asked("anthropic/claude-haiku-4-5", messages=messages, tools=[TOOL], reasoning=wanted)
    assert wire.body["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert not any(feature.startswith("reasoning") for _, feature in said(wire))
