"""Histories that move between models.

Reasoning state (signatures, encrypted content) is bound to the model that issued it: another one
refuses it, even of the same vendor.  A client marks each answer with the model that gave it, and
takes the state out of the answers of others before it asks.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from polycall.ir import Message, Opaque, Part, Reasoning, Response, ToolCall

# The key in `Message.metadata`, alongside the dialects' own.
MARK = "polycall"


def marked(response: Response, model: str) -> Response:
    """The response, its message marked with the model that gave it.

    Where the vendor ran a program, the mark names the container that the next request needs.
    """
    mark: dict[str, Any] = {"model": model}
    for own in response.metadata.values():
        if own.get("container"):
            mark["container"] = own["container"]
    metadata = {**response.message.metadata, MARK: mark}
    return replace(response, message=replace(response.message, metadata=metadata))


def portable(messages: list[Message], model: str) -> list[Message]:
    """The history as `model` (`provider/name`) may see it.

    Answers of the same model, and those without a mark, stay as they are.  Answers of another keep
    text, calls and visible reasoning but lose what only their own model takes; rendering then says
    what it leaves out.
    """
    return [
        message if _is_own(message, model) else _without_state(message, model)
        for message in messages
    ]


def _is_own(message: Message, model: str) -> bool:
    giver = message.metadata.get(MARK, {}).get("model", model)
    return giver == model


def _without_state(message: Message, model: str) -> Message:
    giver = str(message.metadata[MARK]["model"])
    same_provider = giver.partition("/")[0] == model.partition("/")[0]
    parts: list[Part] = []
    for part in message.parts:
        if isinstance(part, Opaque):
            # A vendor's own pieces (server tools) mean nothing elsewhere.
            if same_provider:
                parts.append(part)
        elif same_provider and isinstance(part, ToolCall) and part.caller != "direct":
            parts.append(part)  # its program is there too, and names it
        elif not isinstance(part, Reasoning) or part.text:
            parts.append(replace(part, metadata={}))
    return replace(message, parts=parts, metadata={MARK: message.metadata[MARK]})
