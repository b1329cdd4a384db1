"""Short ways to write the values that these tests compare."""

from __future__ import annotations

from typing import Any

from polycall._support.jsontext import encode
from polycall.dialects import anthropic
from polycall.ir import JSON, Message, Part, Request, Tool, Warning
from polycall.translation.quirks import Quirks
from polycall.translation.wire import WireRequest

WEATHER: JSON = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
TOOL = Tool("get_weather", "Weather now", WEATHER)


def user(*parts: Part) -> Message:
    return Message("user", list(parts))


def assistant(*parts: Part) -> Message:
    return Message("assistant", list(parts))


def results(*parts: Part) -> Message:
    return Message("tool", list(parts))


def render(*messages: Message, quirks: Quirks | None = None, **fields: Any) -> WireRequest:
    request = Request("m", list(messages), **fields)
    return anthropic.render_request(request, quirks=quirks or Quirks())


def body_of(*messages: JSON, **fields: Any) -> JSON:
    return {"model": "m", "max_tokens": 99, "messages": list(messages), **fields}


def again(body: JSON) -> JSON:
    """The body after a round trip through the middle language."""
    return anthropic.render_request(anthropic.parse_request(body)).body


def warned(wire: WireRequest) -> list[tuple[str, str]]:
    return [(warning.kind, warning.feature) for warning in wire.warnings]


def kinds(warnings: list[Warning]) -> set[str]:
    return {warning.kind for warning in warnings}


def sse(*events: JSON, names: bool = True) -> bytes:
    return b"".join(
        (f"event: {event['type']}\n" if names else "").encode()
        + f"data: {encode(event)}\n\n".encode()
        for event in events
    )


def start(index: int, **block: Any) -> JSON:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, **fields: Any) -> JSON:
    return {"type": "content_block_delta", "index": index, "delta": fields}


def stop(index: int) -> JSON:
    return {"type": "content_block_stop", "index": index}


def message_start(**fields: Any) -> JSON:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 1},
        **fields,
    }
    return {"type": "message_start", "message": message}


def message_delta(reason: Any, **usage: Any) -> JSON:
    return {
        "type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": None},
        "usage": usage,
    }


MESSAGE_STOP: JSON = {"type": "message_stop"}
