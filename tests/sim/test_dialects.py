"""Our translation against the simulated vendors: two independent readings of the same wires."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest
from msgspec.structs import replace

from polycall.dialects import anthropic, gemini, openai_chat, openai_responses
from polycall.fold import fold
from polycall.ir import (
    Message,
    ReasoningConfig,
    Request,
    Response,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
)
from polycall.providers.quirks import NAMED_QUIRKS
from polycall.sim import Call, Simulation, Turn
from polycall.translation.quirks import Quirks
from tests.sim.conftest import KEYS, WEATHER, request
from tests.support import cut, decode

TARGETS: dict[str, tuple[ModuleType, str, Quirks]] = {
    "chat": (openai_chat, "openai", NAMED_QUIRKS["openai"]),
    "responses": (openai_responses, "openai", Quirks()),
    "anthropic": (anthropic, "anthropic", Quirks()),
    "gemini": (gemini, "google", Quirks()),
    "deepseek": (openai_chat, "deepseek", NAMED_QUIRKS["deepseek"]),
    "compatible": (openai_chat, "compatible", NAMED_QUIRKS["compatible"]),
}
TOOL = Tool("get_weather", "Current weather of a city", WEATHER)
ASK = Request(
    "sim-1",
    [Message("user", [Text("서울과 도쿄 날씨 알려줘")])],
    tools=[TOOL],
    max_output_tokens=4000,
)


def send(sim: Simulation, target: str, ask: Request, *, stream: bool) -> Response:
    """One exchange: rendered, sent, decoded; a refusal fails the test with its words."""
    dialect, vendor, quirks = TARGETS[target]
    wire = dialect.render_request(replace(ask, stream=stream), quirks=quirks)
    headers = {**KEYS[vendor], **wire.headers}
    data = json.dumps(wire.body).encode()
    answer = request("POST", sim.base_url(vendor) + wire.path, data, headers)
    assert answer.status == 200, answer.content
    if not stream:
        return dialect.parse_response(answer.json())
    return fold(decode(dialect.StreamDecoder(), cut(answer.content, seed=3)))


def with_results(ask: Request, response: Response) -> Request:
    results: list[Any] = [
        ToolResult(call.id, [Text("18C")], name=call.name) for call in response.tool_calls
    ]
    return replace(ask, messages=[*ask.messages, response.message, Message("tool", results)])


# Function tools with reasoning are refused on Chat Completions.
CYCLES = [(target, "sim-1") for target in TARGETS] + [
    (target, "sim-1-thinking") for target in TARGETS if target != "chat"
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("target", "model"), CYCLES)
def test_cycle(sim: Simulation, target: str, model: str, stream: bool) -> None:
    ask = replace(ASK, model=model)
    first = send(sim, target, ask, stream=stream)
    assert [call.arguments for call in first.tool_calls] == [{"city": "서울"}, {"city": "도쿄"}]
    assert first.finish_reason == "tool_calls"
    second = send(sim, target, with_results(ask, first), stream=stream)
    assert second.text == "확인한 결과입니다.\n- get_weather(서울): 18C\n- get_weather(도쿄): 18C"
    assert second.finish_reason == "stop"


@pytest.mark.parametrize("last", TARGETS)
@pytest.mark.parametrize("first", TARGETS)
def test_a_conversation_moves_between_vendors(sim: Simulation, first: str, last: str) -> None:
    """The first step at one vendor, the second at another, both reasoning where they can."""
    models = {target: "sim-1" if target == "chat" else "sim-1-thinking" for target in (first, last)}
    response = send(sim, first, replace(ASK, model=models[first]), stream=True)
    ask = replace(with_results(ASK, response), model=models[last])
    assert "서울): 18C" in send(sim, last, ask, stream=False).text


@pytest.mark.parametrize("target", TARGETS)
def test_stream_and_body_are_the_same_answer(sim: Simulation, target: str) -> None:
    vendor = TARGETS[target][1]
    turn = Turn(
        "먼저 확인할게요 ☀️",
        calls=[Call("get_weather", {"city": "서울", "unit": "celsius"}), Call("get_weather", {})],
        reasoning="날씨를 물었다.",
    )
    sim.script(vendor, "both", [turn, turn], reasons="asked")
    reasoning = None if target == "chat" else ReasoningConfig(include_text=True)
    ask = replace(ASK, model="both", reasoning=reasoning)
    whole = send(sim, target, ask, stream=False)
    streamed = send(sim, target, ask, stream=True)
    assert streamed.text == whole.text == turn.text
    assert [call.arguments_json for call in streamed.tool_calls] == [
        call.arguments_json for call in whole.tool_calls
    ]
    assert [type(part) for part in streamed.message.parts] == [
        type(part) for part in whole.message.parts
    ]
    if target != "chat":  # where the request did not ask for usage
        assert streamed.usage.output_tokens == whole.usage.output_tokens > 0


@pytest.mark.parametrize("mode", ["auto", "none", "required", "tool"])
@pytest.mark.parametrize("target", TARGETS)
def test_choices(sim: Simulation, target: str, mode: Any) -> None:
    choice = ToolChoice(mode, ["get_weather"] if mode == "tool" else [])
    response = send(sim, target, replace(ASK, tool_choice=choice), stream=False)
    assert len(response.tool_calls) == (0 if mode == "none" else 2)


@pytest.mark.parametrize("target", TARGETS)
def test_errors_are_understood(sim: Simulation, target: str) -> None:
    dialect, vendor, quirks = TARGETS[target]
    statuses: list[str] = []
    for model in ("fault-429", "fault-500", "no-such-model"):
        wire = dialect.render_request(replace(ASK, model=model), quirks=quirks)
        url = sim.base_url(vendor) + wire.path
        answer = request("POST", url, json.dumps(wire.body).encode(), KEYS[vendor])
        statuses.append(type(dialect.parse_error(answer.status, answer.json())).__name__)
    unknown = "NotFoundError"  # whatever the status: DeepSeek says 400
    assert statuses == ["RateLimitError", "ServerError", unknown]
