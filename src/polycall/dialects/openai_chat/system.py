"""System messages for models whose chat template takes one, and only as the first message."""

from __future__ import annotations

from typing import Any

from polycall.ir import JSON
from polycall.translation.wire import Losses

_SYSTEM = ("system", "developer")


def with_one_system(messages: list[JSON], losses: Losses) -> list[JSON]:
    """The messages with all leading system messages in one, and later ones as the user's."""
    leading = 0
    while leading < len(messages) and messages[leading]["role"] in _SYSTEM:
        leading += 1
    first, rest = messages[:leading], messages[leading:]
    if len(first) > 1:
        texts = [_text(message) for message in first]
        first = [{**first[0], "role": "system", "content": "\n\n".join(filter(None, texts))}]
    if not any(message["role"] in _SYSTEM for message in rest):
        return [*first, *rest]
    losses.emulate("messages.system", "a late system message is sent as a user's")
    return [*first, *(_as_user(each) if each["role"] in _SYSTEM else each for each in rest)]


def _as_user(message: JSON) -> JSON:
    return {**message, "role": "user", "content": f"<system>\n{_text(message)}\n</system>"}


def _text(message: JSON) -> str:
    content: Any = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content)
