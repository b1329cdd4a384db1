"""Names for kept turns without calls: what was said up to them, and what they say.

A turn with calls is named by the ids of its calls.  One of text alone has nothing that comes back
but its words, and the same words may be said twice; so the name is a digest of the conversation as
the client tells it.  A client that tells it otherwise finds nothing, and loses what it would have
lost without.
"""

from __future__ import annotations

import hashlib
from typing import Any

from polycall.ir import Message, Part, Text, ToolCall, ToolResult
from polycall.translation.conversation import begun, end_of_beginning, keep_begun, known_of

_HEAD = "text_pc"
_LENGTH = 40


def turn_names(messages: list[Message]) -> dict[int, str]:
    """The names of all turns of text alone, by their place."""
    return _read(messages)[1]


def answer_name(messages: list[Message], text: str) -> str:
    """The name of the turn that answers these messages; empty for one without a text."""
    return _name(_read(messages)[0], text) if text.strip() else ""


def _read(messages: list[Message]) -> tuple[Any, dict[int, str]]:
    """A digest of the messages, and the names in them."""
    known, end = known_of(messages), end_of_beginning(messages)
    start, before = begun(known, messages, turn_names)
    digest, names = hashlib.sha256(), dict[int, str]()
    if before is not None:
        digest, names = before[0].copy(), before[1].copy()
    for place in range(start, len(messages)):
        if place == end > start:
            keep_begun(known, messages[:end], turn_names, (digest.copy(), names.copy()))
        message = messages[place]
        if message.role == "assistant" and not message.tool_calls and message.text.strip():
            names[place] = _name(digest, message.text)
        _add(digest, message)
    return digest, names


def _name(before: Any, text: str) -> str:
    digest = before.copy()
    digest.update(_bytes("assistant", text.strip()))
    return _HEAD + digest.hexdigest()[:_LENGTH]


def _add(digest: Any, message: Message) -> None:
    """Add the parts that a client sends back unchanged.

    Ids, reasoning and instructions may differ.
    """
    if message.role == "system":
        return
    digest.update(_bytes(message.role, message.text.strip()))
    for part in message.parts:
        digest.update(_said(part))


def _said(part: Part) -> bytes:
    match part:
        case Text():
            return b""
        case ToolCall():
            return _bytes("call", part.name)
        case ToolResult():
            return _bytes("result", part.text)
        case _:
            return b""


def _bytes(kind: str, text: str) -> bytes:
    return f"{kind}\x1f{len(text)}\x1f{text}".encode("utf-8", "surrogatepass")
