"""Lists of servers on pages: all of them, within bounds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

from polycall.errors import ToolServerError

logger = logging.getLogger("polycall.mcp")

T = TypeVar("T")

LIST_ITEMS_MAX = 2_000
LIST_BYTES_MAX = 8 * 1024 * 1024
_VALUE_BYTES = 100  # that each value takes beyond its JSON, about
_PAGES_MAX = 100
_AT_ONCE = 100


class ListBounds(NamedTuple):
    """The largest sizes of a server's lists."""

    items_max: int = LIST_ITEMS_MAX
    bytes_max: int = LIST_BYTES_MAX


async def all_pages(
    server: str,
    what: str,
    page_of: Callable[[str | None], Awaitable[Any]],
    items_of: Callable[[Any], list[T]],
    *,
    bounds: ListBounds,
    is_pinned: bool = True,
) -> list[T]:
    """All pages of a list; `ToolServerError` where it has no end, or is too large.

    What is pinned is listed as a whole or not at all; of another list that is too long, a part.
    """
    found: list[T] = []
    cursor: str | None = None
    cursors: set[str] = set()
    size = 0
    excess = f"more than {_PAGES_MAX} pages"
    for _ in range(_PAGES_MAX):
        page = await page_of(cursor)
        items = items_of(page)
        size += await _size(items)
        if size > bounds.bytes_max:
            excess = f"more than list_bytes_max ({bounds.bytes_max:,}, a value as {_VALUE_BYTES})"
            break
        found += items
        if len(found) > bounds.items_max:
            excess = f"more items than list_items_max ({bounds.items_max:,})"
            break
        cursor = page.next_cursor
        if cursor is None:
            return found
        if cursor in cursors:
            excess = "no end: a cursor comes twice"
            break
        cursors.add(cursor)
    words = f"MCP server {server!r}: {what} has {excess}"
    if is_pinned:
        raise ToolServerError(words)
    shown = min(len(found), bounds.items_max)
    logger.warning("%s; the first %s are listed", words, f"{shown:,}")
    return found[:shown]


async def _size(items: list[Any]) -> int:
    """The approximate size of the items.  Others run meanwhile."""
    size = 0
    for start in range(0, len(items), _AT_ONCE):
        for each in items[start : start + _AT_ONCE]:
            text: str = each.model_dump_json(by_alias=True, exclude_none=True)
            size += len(text) + _VALUE_BYTES * sum(text.count(mark) for mark in "{[,")
        await asyncio.sleep(0)
    return size
