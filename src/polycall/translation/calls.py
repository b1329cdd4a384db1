"""Tool calls as dialects read and write them: arguments, ids, and what a wire cannot say of one."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from polycall._support import jsontext
from polycall.ir import INVALID_ARGUMENTS, JSON, Part, ToolCall, parse_arguments
from polycall.translation.wire import Losses


def arguments_text(value: Any) -> str:
    """The arguments' text; a wrapped invalid text comes out of its wrapper."""
    if value is None or value == {}:
        return "{}"
    if isinstance(value, str):  # some relatives send text where an object belongs
        return value
    if isinstance(value, dict) and len(value) == 1:  # pyright: ignore[reportUnknownArgumentType]
        invalid: Any = value.get(INVALID_ARGUMENTS)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if isinstance(invalid, str) and parse_arguments(invalid) is None:
            return invalid
    return jsontext.encode(value)


def arguments_object(call: ToolCall) -> JSON:
    """The arguments, for wires that only objects fit: any other text is wrapped into one."""
    arguments = call.arguments
    return {INVALID_ARGUMENTS: call.arguments_json} if arguments is None else arguments


def note_call(call: ToolCall, losses: Losses) -> None:
    """Note what a wire of objects without programs does not say of a call."""
    if call.arguments is None:
        losses.adjust("arguments", f"those of {call.name!r} are not an object")
    if call.caller != "direct":
        losses.drop("caller", f"{call.id!r} was made by a program")


def unique_id(call_id: str, taken: set[str]) -> str:
    """The id, numbered where an earlier call of the answer has it; adds it to those taken."""
    unique, number = call_id, 2
    while unique in taken:
        unique, number = f"{call_id}_{number}", number + 1
    taken.add(unique)
    return unique


def unique_calls(parts: list[Part]) -> list[Part]:
    """The parts, every call with an id of its own."""
    calls = [part for part in parts if isinstance(part, ToolCall)]
    if len({call.id for call in calls}) == len(calls):
        return parts
    taken: set[str] = set()
    return [
        replace(part, id=unique_id(part.id, taken)) if isinstance(part, ToolCall) else part
        for part in parts
    ]
