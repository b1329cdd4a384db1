"""Short ways to write wire bodies and requests."""

from __future__ import annotations

from typing import Any

from polycall.dialects import gemini
from polycall.ir import (
    JSON,
    Message,
    Request,
    Text,
    Tool,
)
from polycall.translation.quirks import Quirks

SENTINEL = "skip_thought_signature_validator"
WEATHER = Tool("get_weather", "Current weather", {"type": "object", "properties": {}})


def ask(*messages: Message, **fields: Any) -> Request:
    return Request("gemini-2.5-flash", [Message("user", [Text("hi")]), *messages], **fields)


def contents(request: Request, **quirks: Any) -> list[JSON]:
    return gemini.render_request(request, quirks=Quirks(**quirks)).body["contents"]


def same(body: JSON) -> JSON:
    """The body after parsing and rendering, which must cost nothing."""
    wire = gemini.render_request(gemini.parse_request(body))
    assert wire.warnings == []
    return wire.body


def turn(*parts: JSON, role: str = "user") -> JSON:
    return {"role": role, "parts": list(parts)}


def call(name: str, args: JSON, call_id: str = "", **beside: Any) -> JSON:
    wire: JSON = {"id": call_id} if call_id else {}
    return {"functionCall": {**wire, "name": name, "args": args}, **beside}


def result(name: str, response: JSON, call_id: str = "", **more: Any) -> JSON:
    wire: JSON = {"id": call_id} if call_id else {}
    return {"functionResponse": {**wire, "name": name, "response": response, **more}}
