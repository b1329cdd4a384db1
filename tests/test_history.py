"""A conversation that moves between models keeps what each may see, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from polycall.client import Client
from polycall.ir import (
    Message,
    Opaque,
    Reasoning,
    Request,
    Response,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from polycall.loop import RunEnd, run_tools
from polycall.sim import Simulation
from polycall.translation.portable import marked, portable
from tests.support import simulated

SIGNED = {"anthropic": {"signature": "s"}}
ANSWER = Response(
    "r",
    "m",
    Message(
        "assistant",
        [
            Reasoning("seen", SIGNED),
            Reasoning("", SIGNED),
            Text("hi", SIGNED),
            Opaque("anthropic", "server_tool_use", {"id": "x"}),
            ToolCall("c", "f", metadata=SIGNED),
        ],
        metadata=SIGNED,
    ),
    "tool_calls",
)


def test_the_same_model_sees_everything() -> None:
    message = marked(ANSWER, "anthropic/a").message
    assert portable([message], "anthropic/a") == [message]
    assert portable([ANSWER.message], "anthropic/a") == [ANSWER.message]  # nobody knows whose


@pytest.mark.parametrize(
    ("model", "opaque"),
    [
        ("anthropic/b", [Opaque("anthropic", "server_tool_use", {"id": "x"})]),
        ("bedrock/a", []),
    ],
)
def test_another_model_sees_what_is_portable(model: str, opaque: list[Opaque]) -> None:
    mark = {"polycall": {"model": "anthropic/a"}}
    assert portable([marked(ANSWER, "anthropic/a").message], model) == [
        Message(
            "assistant",
            [Reasoning("seen"), Text("hi"), *opaque, ToolCall("c", "f")],
            metadata=mark,
        )
    ]


VENDORS = ["openai", "anthropic", "google", "deepseek", "compatible"]
WEATHER = Tool(
    "get_weather",
    "The weather in a city (날씨)",
    {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "the city (도시)"}},
        "required": ["city"],
    },
)


@pytest.fixture(scope="module")
def simulation() -> Iterator[Simulation]:
    with Simulation() as running:
        yield running


async def execute(call: ToolCall) -> ToolResult:
    return ToolResult(call.id, [Text('{"temperature":3}')], name=call.name)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("first", VENDORS)
async def test_C20_one_conversation_over_all_vendors_and_back(
    simulation: Simulation, first: str, streamed: bool
) -> None:
    """Each model thinks, calls and signs; the next one gets the whole history."""
    order = [*VENDORS[VENDORS.index(first) :], *VENDORS[: VENDORS.index(first)], first]
    models = [f"{vendor}/{name}" for vendor in order for name in ("sim-1-thinking", "sim-1")]
    rows = [simulated(simulation, vendor) for vendor in VENDORS]
    messages: list[Message] = []
    async with Client(providers=rows, keys=dict.fromkeys(VENDORS, "k")) as client:
        for model in models:
            asked = [*messages, Message("user", [Text("서울, 도쿄 날씨 알려줘")])]
            request = Request(model, asked, [WEATHER], stream=streamed, max_output_tokens=4000)
            end = None
            async for event in run_tools(client, request, execute):
                end = event
            assert isinstance(end, RunEnd)
            calls = [call.arguments for call in end.steps[0].response.tool_calls]
            assert calls == [{"city": "서울"}, {"city": "도쿄"}], model
            assert end.reason == "finished"
            messages = end.messages
    assert len(messages) == 4 * len(models)
