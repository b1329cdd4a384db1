"""Messages as the GenAI conventions write them, for those who want content in their spans.

What a provider wants echoed (signatures, encrypted reasoning) and the bytes of media stay out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from polycall import ir
from polycall._support import jsontext

TEXT_CHARS_MAX = 16_000


def messages_json(messages: Iterable[ir.Message], **more: Any) -> str:
    """Messages as JSON; `more` are further fields of each."""
    return jsontext.encode([_message(each, more) for each in messages])


def instructions_json(messages: Iterable[ir.Message]) -> str:
    """System messages as the instructions that they are."""
    return jsontext.encode([_part(part) for message in messages for part in message.parts])


def clipped(text: str) -> str:
    """The text, or its beginning where it is long."""
    left = len(text) - TEXT_CHARS_MAX
    return text if left <= 0 else f"{text[:TEXT_CHARS_MAX]}... ({left} more characters)"


def sendable(text: str) -> str:
    """The text without halves of surrogate pairs: one would cost all spans that go with it."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _message(message: ir.Message, more: dict[str, Any]) -> dict[str, Any]:
    return {"role": message.role, "parts": [_part(part) for part in message.parts], **more}


def _part(part: ir.Part) -> dict[str, Any]:
    match part:
        case ir.Text(text=text) | ir.Refusal(text=text):
            return {"type": "text", "content": clipped(text)}
        case ir.Reasoning(text=text):
            return {"type": "reasoning", "content": clipped(text)}
        case ir.ToolCall():
            is_long = len(part.arguments_json) > TEXT_CHARS_MAX
            is_text = is_long or part.arguments is None
            arguments = clipped(part.arguments_json) if is_text else part.arguments
            return {"type": "tool_call", "id": part.id, "name": part.name, "arguments": arguments}
        case ir.ToolResult():
            response = clipped(part.text)
            return {"type": "tool_call_response", "id": part.call_id, "response": response}
        case ir.Media(kind=kind, media_type=media_type):
            return {"type": "media", "modality": kind, "mime_type": media_type}
        case ir.Opaque(kind=kind):
            return {"type": kind}
