"""Every pair of dialects: what a client of one says reaches a provider of the other, and back.

The client's request holds the whole of tool use (reasoning, parallel calls, an error result, an
image).  Each provider here is the simulated one, which refuses what the vendor refuses; each
client is the vendor's own SDK.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from polycall._support import jsontext
from polycall.client import Client
from polycall.ir import (
    Media,
    Message,
    Reasoning,
    ReasoningConfig,
    Request,
    Response,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.dialects import DIALECTS
from polycall.providers.provider import Provider
from polycall.sim import Call, Simulation, Turn
from tests.sdk import Calls, read_body, read_stream

# The smallest PNG: one pixel.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
    "awAAAABJRU5ErkJggg=="
)

# Upstream dialect -> the simulated vendor that speaks it.
VENDORS = {
    "openai-chat": "compatible",
    "openai-responses": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
    "bedrock-converse": "bedrock",
    "gemini-interactions": "google-interactions",
    "ollama-chat": "ollama-native",
}
# Where the simulated vendor's scripts are.
SCRIPTED = {"google-interactions": "google"}
PAIRS = list(itertools.product(DIALECTS, VENDORS))

WEATHER = Tool(
    name="get_weather",
    description="The weather in a city",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        },
        "required": ["city"],
    },
)
NOW = Tool(name="now", description="The time", parameters={"type": "object", "properties": {}})

CONVERSATION = Request(
    model="vendor/scripted",
    messages=[
        Message("system", [Text("Use tools.")]),
        Message("user", [Text("서울 날씨랑 시간 알려줘"), Media("image", "image/png", data=PIXEL)]),
        Message(
            "assistant",
            [
                Reasoning("Two things are asked."),
                Text("Looking."),
                ToolCall("call_a", "get_weather", '{"city":"서울","unit":"celsius"}'),
                ToolCall("call_b", "now", "{}"),
            ],
        ),
        Message(
            "tool",
            [
                ToolResult("call_a", [Text('{"temperature":3}')], name="get_weather"),
                ToolResult("call_b", [Text("the clock is broken")], is_error=True, name="now"),
            ],
        ),
        Message("user", [Text("Try again, for Seoul and Tokyo.")]),
    ],
    tools=[WEATHER, NOW],
    max_output_tokens=2000,
    reasoning=ReasoningConfig(effort="medium", include_text=True),
)

TURN = Turn(
    reasoning="Both cities, and the time.",
    text="Again, then.",
    calls=[
        Call("get_weather", {"city": "서울", "unit": "celsius"}),
        Call("get_weather", {"city": "도쿄 🗼"}),
        Call("now", {}),
    ],
)
EXPECTED: Calls = [(call.name, call.arguments) for call in TURN.calls]


@pytest.fixture(scope="module")
def simulation() -> Iterator[Simulation]:
    with Simulation() as running:
        yield running


def provider(simulation: Simulation, dialect: str) -> Provider:
    vendor = VENDORS[dialect]
    row = CATALOGUE.get(vendor, CATALOGUE["arouter"])
    return Provider(
        name="vendor",
        dialect=dialect,  # pyright: ignore[reportArgumentType]
        base_url=simulation.base_url(vendor),
        auth="bearer" if dialect == "bedrock-converse" else row.auth,
        headers=row.headers,
        quirks=row.quirks,
    )


def as_client_request(dialect: str) -> Request:
    """The conversation as a client of this dialect writes it, read back from its own body."""
    wire = DIALECTS[dialect].render_request(CONVERSATION)  # pyright: ignore[reportArgumentType]
    body: dict[str, Any] = jsontext.decode(jsontext.encode(wire.body))
    path = wire.path if dialect in ("gemini", "bedrock-converse") else ""
    parsed = DIALECTS[dialect].parse_request(body, path=path)  # pyright: ignore[reportArgumentType]
    return replace(parsed, model="vendor/scripted", lossy=True)


async def ask(simulation: Simulation, client_dialect: str, upstream: str) -> tuple[Any, Response]:
    """The events and the whole answer of the simulated provider."""
    vendor = VENDORS[upstream]
    simulation.script(SCRIPTED.get(vendor, vendor), "scripted", [TURN, TURN])
    request = as_client_request(client_dialect)
    row = provider(simulation, upstream)
    async with Client(providers=[row], keys={"vendor": "simulated"}) as client:
        response = await client.generate_request(request)
        stream = client.stream_request(request)
        events = [event async for event in stream]
    return events, response


@pytest.mark.parametrize(("client_dialect", "upstream"), PAIRS)
async def test_the_sdk_finds_the_same_calls(
    simulation: Simulation, client_dialect: str, upstream: str
) -> None:
    events, response = await ask(simulation, client_dialect, upstream)
    assert [(call.name, call.arguments) for call in response.tool_calls] == EXPECTED
    assert response.finish_reason == "tool_calls"
    thought = [part.text for part in response.message.parts if isinstance(part, Reasoning)]
    # A Chat client has no way to ask that the reasoning be shown.
    is_quiet = client_dialect in ("openai-chat", "ollama-chat", "bedrock-converse")
    assert thought == ["Both cities, and the time."] or is_quiet
    dialect = DIALECTS[client_dialect]  # pyright: ignore[reportArgumentType]

    assert read_body(client_dialect, dialect.render_response(response)) == EXPECTED

    encoder = dialect.StreamEncoder()
    data = b"".join([*(encoder.feed(event) for event in events), encoder.close()])
    assert read_stream(client_dialect, data) == EXPECTED
