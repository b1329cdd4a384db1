"""Conversations in all four wire formats, written by hand: requests around a few messages."""

from __future__ import annotations

from typing import Any

from polycall.ir import JSON
from tests.pain.wires import ANTHROPIC, CHAT, GEMINI, RESPONSES

# The smallest PNG: one pixel.
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
    "awAAAABJRU5ErkJggg=="
)
SCHEMA: JSON = {"type": "object", "properties": {"x": {"type": "string"}}}

IMAGES: dict[str, JSON] = {
    CHAT: {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    RESPONSES: {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
    ANTHROPIC: {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": PNG},
    },
    GEMINI: {"inlineData": {"mimeType": "image/png", "data": PNG}},
}


def tools(client: str, *names: str) -> Any:
    """Function tools of these names."""
    match client:
        case "openai-chat":
            return [
                {"type": "function", "function": {"name": n, "parameters": SCHEMA}} for n in names
            ]
        case "openai-responses":
            return [
                {"type": "function", "name": n, "parameters": SCHEMA, "strict": False}
                for n in names
            ]
        case "anthropic":
            return [{"name": n, "input_schema": SCHEMA} for n in names]
        case _:
            declared = [{"name": n, "parametersJsonSchema": SCHEMA} for n in names]
            return [{"functionDeclarations": declared}]


def body(client: str, items: Any = None, **fields: Any) -> JSON:
    """A request with these messages, items or contents; a greeting where there are none."""
    if items is None:
        items = [said(client, "user", "hi")]
    match client:
        case "openai-chat":
            return {"model": "m", "messages": items, **fields}
        case "openai-responses":
            return {"model": "m", "input": items, **fields}
        case "anthropic":
            return {"model": "m", "max_tokens": 4000, "messages": items, **fields}
        case _:
            return {"contents": items, **fields}


def said(client: str, role: str, text: str) -> JSON:
    """A plain turn of the user or the assistant."""
    if client == GEMINI:
        return {"role": "model" if role == "assistant" else role, "parts": [{"text": text}]}
    return {"role": role, "content": text}


def calls(client: str, *called: tuple[str, str, str]) -> list[JSON]:
    """An assistant's turn of calls: id, name, the argument `x`."""
    match client:
        case "openai-chat":
            entries = [
                {
                    "id": call_id,
                    "type": "function",
                    "function": {"name": name, "arguments": f'{{"x":"{x}"}}'},
                }
                for call_id, name, x in called
            ]
            return [{"role": "assistant", "content": None, "tool_calls": entries}]
        case "openai-responses":
            return [
                {
                    "type": "function_call",
                    "call_id": call_id,
                    "name": name,
                    "arguments": f'{{"x":"{x}"}}',
                }
                for call_id, name, x in called
            ]
        case "anthropic":
            blocks = [
                {"type": "tool_use", "id": call_id, "name": name, "input": {"x": x}}
                for call_id, name, x in called
            ]
            return [{"role": "assistant", "content": blocks}]
        case _:
            parts = [
                {"functionCall": {"id": call_id, "name": name, "args": {"x": x}}}
                for call_id, name, x in called
            ]
            return [{"role": "model", "parts": parts}]


def results(client: str, *given: tuple[str, str, str]) -> list[JSON]:
    """The results of calls: id, name, text."""
    match client:
        case "openai-chat":
            return [
                {"role": "tool", "tool_call_id": call_id, "content": text}
                for call_id, _, text in given
            ]
        case "openai-responses":
            return [
                {"type": "function_call_output", "call_id": call_id, "output": text}
                for call_id, _, text in given
            ]
        case "anthropic":
            blocks = [
                {"type": "tool_result", "tool_use_id": call_id, "content": text}
                for call_id, _, text in given
            ]
            return [{"role": "user", "content": blocks}]
        case _:
            parts = [
                {"functionResponse": {"id": call_id, "name": name, "response": {"output": text}}}
                for call_id, name, text in given
            ]
            return [{"role": "user", "parts": parts}]
