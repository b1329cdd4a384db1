"""Lists of servers on pages: all of them, within bounds."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from polycall.errors import ToolServerError

logger = logging.getLogger("polycall.mcp")

T = TypeVar("T")

LIST_CHARS_MAX = 64 * 1024 * 1024
_PAGES_MAX = 100
_ITEMS_MAX = 10_000


async def all_pages(
    server: str,
    what: str,
    page_of: Callable[[str | None], Awaitable[Any]],
    items_of: Callable[[Any], list[T]],
    *,
    is_pinned: bool = True,
) -> list[T]:
    """What a list has on all its pages; `ToolServerError` where it has no end, or is too large.

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
        size += sum(len(str(each)) for each in items)
        if size > LIST_CHARS_MAX:
            excess = f"more than {LIST_CHARS_MAX:,} characters"
            break
        found += items
        if len(found) > _ITEMS_MAX:
            excess = f"more than {_ITEMS_MAX:,} items"
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
    logger.warning("%s; the first %s are listed", words, f"{min(len(found), _ITEMS_MAX):,}")
    return found[:_ITEMS_MAX]
