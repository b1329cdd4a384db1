"""Tool calls as dialects read and write them: arguments, ids, and what a wire cannot say of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


class UniqueIds:
    """Ids of the calls of one answer, or of one conversation: each call has another one."""

    __slots__ = ("_length_max", "_numbers", "taken")

    def __init__(self, taken: Iterable[str] = (), *, length_max: int | None = None) -> None:
        """`length_max`: how much of an id stands before its number."""
        self.taken = set(taken)
        self._numbers: dict[str, int] = {}  # with which the search for a free one continues
        self._length_max = length_max

    def take(self, call_id: str) -> str:
        """The id, numbered where an earlier call has it."""
        unique = call_id
        if unique in self.taken:
            begin = call_id[: self._length_max]
            number = self._numbers.get(begin, 2)
            while (unique := f"{begin}_{number}") in self.taken:
                number += 1
            self._numbers[begin] = number + 1
        self.taken.add(unique)
        return unique

    def copy(self) -> UniqueIds:
        """The same, which may take others."""
        return UniqueIds(self.taken, length_max=self._length_max)


class OpenCalls:
    """The calls of a turn that wait for their results, each under its id on the wire."""

    def __init__(self, calls: Iterable[tuple[str, ToolCall]] = ()) -> None:
        self._calls = dict(enumerate(calls))
        self._count = len(self._calls)
        self.answered: dict[str, ToolCall] = {}  # the latest that was taken, by its id
        self._places: dict[tuple[str, str], list[int]] = {}  # the last first, taken ones as well

    def __iter__(self) -> Iterator[tuple[str, ToolCall]]:
        return iter(self._calls.values())

    def add(self, call_id: str, call: ToolCall) -> None:
        """One more, before the first result."""
        self._calls[self._count] = call_id, call
        self._count += 1
        self._places.clear()

    def copy(self) -> OpenCalls:
        """The same, of which others may be taken."""
        copied = OpenCalls(self)
        copied.answered = self.answered.copy()
        return copied

    def first(self) -> ToolCall | None:
        """Take the first of all."""
        return self._taken("", "")

    def with_id(self, call_id: str) -> ToolCall | None:
        """Take the first with this id."""
        return self._taken("id", call_id)

    def named(self, name: str) -> ToolCall | None:
        """Take the first of the tool."""
        return self._taken("name", name)

    def _taken(self, kind: str, value: str) -> ToolCall | None:
        if not self._places:
            for number, (call_id, call) in reversed(self._calls.items()):
                for key in (("", ""), ("id", call_id), ("name", call.name)):
                    self._places.setdefault(key, []).append(number)
        places = self._places.get((kind, value), [])
        while places:
            if (found := self._calls.pop(places.pop(), None)) is not None:
                self.answered[found[0]] = found[1]
                return found[1]
        return None


def unique_calls(parts: list[Part]) -> list[Part]:
    """The parts, every call with an id of its own."""
    calls = [part for part in parts if isinstance(part, ToolCall)]
    if len({call.id for call in calls}) == len(calls):
        return parts
    ids = UniqueIds()
    return [
        replace(part, id=ids.take(part.id)) if isinstance(part, ToolCall) else part
        for part in parts
    ]
