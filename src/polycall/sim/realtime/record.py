"""The record of a simulated voice, for tests: frames with their times, and its counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

Frame: TypeAlias = "str | bytes"
JSON: TypeAlias = dict[str, Any]


def object_at(body: JSON, key: str) -> JSON:
    """The object at a key; empty if absent."""
    found: Any = body.get(key)
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def objects_at(body: JSON, key: str) -> list[JSON]:
    """The objects of the list at a key."""
    found: Any = body.get(key)
    if not isinstance(found, list):
        return []
    return [each for each in found if isinstance(each, dict)]  # pyright: ignore[reportUnknownVariableType]


@dataclass
class Record:
    """All sessions of one script.

    `refusals` are what the vendor refused, in its words; `usage` the usage objects that were sent,
    for each session; `issued` the calls that were made, `runnable` those that may run, `answers`
    the ids that were answered, in order, and `restored` those that came with a conversation of
    before; `truncations` pairs of an item and the milliseconds, `lengths` what each item had.
    """

    received: list[tuple[float, JSON]] = field(default_factory=list[tuple[float, JSON]])
    sent: list[tuple[float, JSON]] = field(default_factory=list[tuple[float, JSON]])
    refusals: list[str] = field(default_factory=list[str])
    usage: list[tuple[int, JSON]] = field(default_factory=list[tuple[int, JSON]])
    issued: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    runnable: set[str] = field(default_factory=set[str])
    cancelled: set[str] = field(default_factory=set[str])
    answers: list[str] = field(default_factory=list[str])
    restored: list[str] = field(default_factory=list[str])
    truncations: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    deletions: list[str] = field(default_factory=list[str])
    lengths: dict[str, float] = field(default_factory=dict[str, float])
    texts: dict[str, str] = field(default_factory=dict[str, str])
    spoken: list[str] = field(default_factory=list[str])
    speech: list[tuple[float, bool]] = field(default_factory=list[tuple[float, bool]])
    requests: list[float] = field(default_factory=list[float])
    sessions: int = 0
    active_most: int = 0

    def kinds(self) -> list[str]:
        """The kinds of the frames that came, without sound."""
        found = [frame.get("type") or next(iter(frame), "") for _, frame in self.received]
        return [kind for kind in found if "append" not in kind and kind != "realtimeInput"]
