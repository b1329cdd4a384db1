"""Building chunks and requests by hand."""

from __future__ import annotations

import json
from typing import Any

from polycall.dialects import openai_chat
from polycall.fold import fold
from polycall.ir import Event, Response
from tests.support import decode

NAME = openai_chat.NAME
DONE = b"data: [DONE]\n\n"


def sse(payload: Any) -> bytes:
    return b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\n\n"


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0, **top: Any) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m"}
    return sse({**head, "choices": [choice], **top})


def calls(*pieces: dict[str, Any]) -> bytes:
    return chunk({"tool_calls": list(pieces)})


def piece(
    index: int | None = None, id: str | None = None, name: str | None = None, args: Any = None
) -> dict[str, Any]:
    """One entry of `delta.tool_calls`; what is `None` is absent."""
    function = {
        key: value for key, value in (("name", name), ("arguments", args)) if value is not None
    }
    fields = {"index": index, "id": id, "function": function}
    return {key: value for key, value in fields.items() if value is not None}


def events_of(data: bytes) -> list[Event]:
    return decode(openai_chat.StreamDecoder(), [data])


def answer(data: bytes) -> Response:
    return fold(events_of(data))


def called(response: Response) -> list[tuple[str, str, str]]:
    return [(call.id, call.name, call.arguments_json) for call in response.tool_calls]


def body_of(message: dict[str, Any], finish: str | None = "stop", **top: Any) -> dict[str, Any]:
    """A whole answer that tells the same as `chunk`s do."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    head = {"id": "c1", "object": "chat.completion", "created": 7, "model": "m"}
    return {**head, "choices": [choice], **top}


def function(name: str, arguments: Any = "{}", id: str = "a") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **fields}}


def request(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages), **fields}


USER = {"role": "user", "content": "hi"}
