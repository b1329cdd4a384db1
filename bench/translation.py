"""What translation costs, beside the official SDKs' own parsing of the same bytes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from anthropic.types import Message as AnthropicMessage
from anthropic.types import RawMessageStreamEvent
from google.genai import types as genai_types
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response as OpenAIResponse
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from polycall._support import jsontext
from polycall.fold import unfold
from polycall.ir import (
    Message,
    PartDelta,
    Reasoning,
    Request,
    Response,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
)
from polycall.providers.dialects import DIALECTS
from polycall.translation.sse import SSEDecoder

BUDGET_S = 0.4

TOOLS = [
    Tool(
        name=f"look_up_{what}",
        description=f"Find {what} by name, with filters on date and state.",
        parameters={
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": f"the name of the {what}"},
                "since": {"type": "string", "format": "date"},
                "state": {"type": "string", "enum": ["open", "closed", "any"]},
                "limit": {"type": "integer", "minimum": 1, "maximum": 100},
            },
            "required": ["name"],
        },
    )
    for what in ("orders", "refunds", "customers")
]

REQUEST = Request(
    model="m",
    messages=[
        Message("system", [Text("You help the customers of a shop. " * 10)]),
        Message("user", [Text("What happened to the order of Kim Minji? 주문이 아직 안 왔어요.")]),
        Message("assistant", [ToolCall("call_1", "look_up_orders", '{"name":"Kim Minji"}')]),
        Message("tool", [ToolResult("call_1", [Text('{"id":7,"state":"open"}' * 8)])]),
        Message("user", [Text("And the refund?")]),
    ],
    tools=TOOLS,
    max_output_tokens=1000,
)

RESPONSE = Response(
    id="r_1",
    model="m",
    created=1_790_000_000,
    message=Message(
        "assistant",
        [
            Reasoning("The customer asks for a refund. " * 4),
            Text("Let me look at that for you. " * 4),
            ToolCall("call_2", "look_up_refunds", '{"name":"Kim Minji","state":"any"}'),
            ToolCall("call_3", "look_up_customers", '{"name":"Kim Minji","limit":5}'),
        ],
    ),
    finish_reason="tool_calls",
    raw_finish_reason="tool_calls",
    usage=Usage(900, 120, 512, 0, 40),
)

# A hundred fragments: what a burst of a real stream looks like.
LONG = Response(
    id="r_2",
    model="m",
    created=1_790_000_000,
    message=Message("assistant", [Text("x"), ToolCall("call_4", "look_up_orders", "{}")]),
    finish_reason="tool_calls",
    usage=Usage(900, 120),
)

SDK_BODY: dict[str, Callable[[Any], Any]] = {
    "openai-chat": lambda body: ChatCompletion.construct(**body),
    "openai-responses": lambda body: OpenAIResponse.construct(**body),
    "anthropic": lambda body: AnthropicMessage.construct(**body),
    "gemini": genai_types.GenerateContentResponse.model_validate,
}
SDK_EVENT: dict[str, Callable[[Any], Any]] = {
    "openai-chat": lambda body: ChatCompletionChunk.construct(**body),
    "openai-responses": TypeAdapter(ResponseStreamEvent).validate_python,
    "anthropic": TypeAdapter(RawMessageStreamEvent).validate_python,
    "gemini": genai_types.GenerateContentResponse.model_validate,
}


def main() -> None:
    """Print the table, in microseconds."""
    columns = (
        "parse req",
        "render req",
        "parse resp",
        "SDK resp",
        "decode/ev",
        "encode/ev",
        "SDK/ev",
    )
    print(f"{'us':<18}" + "".join(f"{name:>12}" for name in columns))
    for name, dialect in DIALECTS.items():
        wire = dialect.render_request(REQUEST)
        request_body = jsontext.decode(jsontext.encode(wire.body))
        path = "/v1beta/models/m:generateContent" if name == "gemini" else ""
        body = jsontext.decode(jsontext.encode(dialect.render_response(RESPONSE)))
        stream, count = _stream(dialect)
        frames = [jsontext.decode(f.data) for f in SSEDecoder().feed(stream) if f.data[:1] == "{"]
        events = _events()
        row = (
            _time_us(lambda d=dialect, b=request_body, p=path: d.parse_request(b, path=p)),
            _time_us(lambda d=dialect: d.render_request(REQUEST)),
            _time_us(lambda d=dialect, b=body: d.parse_response(b)),
            _time_us(lambda n=name, b=body: SDK_BODY[n](b)),
            _time_us(lambda d=dialect, s=stream: _decode(d, s)) / count,
            _time_us(lambda d=dialect, e=events: _encode(d, e)) / len(events),
            _time_us(lambda n=name, fs=frames: [SDK_EVENT[n](f) for f in fs]) / len(frames),
        )
        print(f"{name:<18}" + "".join(f"{value:>12.1f}" for value in row))


def _events() -> list[Any]:
    events: list[Any] = []
    for event in unfold(LONG):
        pieces = 50 if isinstance(event, PartDelta) else 1
        if pieces == 1:
            events.append(event)
        elif event.text == "x":
            events.extend(PartDelta(event.index, "서울 ok ") for _ in range(pieces))
        else:
            text = '{"name":"' + "abcd" * 48 + '"}'
            size = len(text) // 50 + 1
            events.extend(
                PartDelta(event.index, text[i : i + size]) for i in range(0, len(text), size)
            )
    return events


def _stream(dialect: Any) -> tuple[bytes, int]:
    events = _events()
    return _encode(dialect, events), len(events)


def _encode(dialect: Any, events: list[Any]) -> bytes:
    encoder = dialect.StreamEncoder()
    return b"".join([*(encoder.feed(event) for event in events), encoder.close()])


def _decode(dialect: Any, stream: bytes) -> None:
    decoder = dialect.StreamDecoder()
    decoder.feed(stream)
    decoder.close()


def _time_us(call: Callable[[], Any]) -> float:
    call()
    best = float("inf")
    ends_at = time.perf_counter() + BUDGET_S
    while time.perf_counter() < ends_at:
        started = time.perf_counter()
        for _ in range(5):
            call()
        best = min(best, (time.perf_counter() - started) / 5)
    return best * 1e6
