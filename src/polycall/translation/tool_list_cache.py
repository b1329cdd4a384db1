"""Tools that come again: an agent sends the same ones with each of its requests.

Reading and rendering them anew is half of the work for a long list.  A caller that knows that a
list has come before passes the same `ToolListCache`; a plain list is read each time, since its
owner may change it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from polycall.ir import Tool, Warning
from polycall.translation.quirks import Quirks
from polycall.translation.wire import Losses

T = TypeVar("T")

_RENDERED_MAX = 16


class KnownList(list[Any]):
    """A list that nobody changes, and what was found in it."""

    __slots__ = ("found",)

    def __init__(self, items: Iterable[Any]) -> None:
        super().__init__(items)
        self.found: dict[Callable[..., Any], Any] = {}


class ToolListCache(KnownList):
    """A list of tools that nobody changes, and what was made of it."""

    __slots__ = ("parsed", "rendered")

    def __init__(self, items: Iterable[Any]) -> None:
        super().__init__(items)
        self.parsed: dict[str, ToolListCache] = {}
        self.rendered: dict[tuple[object, ...], _Rendered] = {}


class _Rendered(Struct, frozen=True):
    quirks: Quirks
    value: Any
    warnings: list[Warning]
    notes: list[dict[str, Any]]


def once(items: list[Any], look: Callable[[list[Any]], T]) -> T:
    """Look into a list, once for a known one.  Nobody changes the result."""
    if not isinstance(items, KnownList):
        return look(items)
    if look not in items.found:
        items.found[look] = look(items)
    return items.found[look]


def parsed_once(
    items: list[Any], dialect: str, parse: Callable[[list[Any]], list[Tool]]
) -> list[Tool]:
    """Parse a list of tools, once for a known one."""
    if not isinstance(items, ToolListCache):
        return parse(items)
    found = items.parsed.get(dialect)
    if found is None:
        found = items.parsed[dialect] = ToolListCache(parse(items))
    return found


def rendered_once(
    tools: Sequence[Tool],
    key: tuple[object, ...],
    *,
    quirks: Quirks,
    losses: Losses,
    notes: list[dict[str, Any]],
    render: Callable[[], T],
) -> T:
    """Render parsed tools, once for a known list, with warnings and notes.

    `key` is what it depends on alongside the tools and the quirks, `notes` the dictionaries it
    fills. Nobody changes the result.
    """
    if not isinstance(tools, ToolListCache):
        return render()
    key = (*key, id(quirks), losses.is_lossy)
    found = tools.rendered.get(key)
    if found is not None and found.quirks is quirks:
        losses.repeat(found.warnings)
        for note, kept in zip(notes, found.notes, strict=True):
            note.update(kept)
        return found.value
    before = [dict(note) for note in notes]
    with losses.apart() as warnings:
        for note in notes:
            note.clear()
        value = render()
    made = _Rendered(quirks, value, [*warnings], [dict(note) for note in notes])
    for note, kept in zip(notes, before, strict=True):
        note.update(kept)
    if len(tools.rendered) >= _RENDERED_MAX:
        tools.rendered.clear()
    tools.rendered[key] = made
    return value
