"""Conversations in OpenAI's Chat format, in and out: what other programs keep them in."""

from __future__ import annotations

from typing import Any, cast

from polycall.errors import RequestError
from polycall.ir import JSON, Message, Request
from polycall.providers.dialects import DIALECTS


def is_openai(messages: list[Any]) -> bool:
    """Whether these are Chat's messages and not polycall's, which have `parts`."""
    return bool(messages) and all(
        isinstance(each, dict)
        and "role" in each
        and "parts" not in each
        and ("content" in each or "tool_calls" in each)
        for each in messages
    )


def from_openai(messages: list[Any]) -> list[Message]:
    """Messages of OpenAI's Chat format; `RequestError` names the field that does not fit."""
    return DIALECTS["openai-chat"].parse_request({"model": "any", "messages": messages}).messages


def to_openai(messages: list[Message]) -> list[JSON]:
    """Messages as OpenAI's Chat format; `UnsupportedError` where it has no counterpart."""
    made = DIALECTS["openai-chat"].render_request(Request("any", messages)).body
    found = made.get("messages")
    if not isinstance(found, list):
        raise RequestError("the conversation has no form in OpenAI's Chat format")
    return cast("list[JSON]", found)
