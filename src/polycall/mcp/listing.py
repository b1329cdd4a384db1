"""Lists of servers on pages: all of them, within bounds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from polycall.errors import ToolServerError

T = TypeVar("T")

LIST_CHARS_MAX = 64 * 1024 * 1024
_PAGES_MAX = 100
_ITEMS_MAX = 10_000


async def all_pages(
    server: str,
    what: str,
    page_of: Callable[[str | None], Awaitable[Any]],
    items_of: Callable[[Any], list[T]],
) -> list[T]:
    """What a list has on all its pages; `ToolServerError` where it has no end, or is too large."""
    start = f"MCP server {server!r}"
    found: list[T] = []
    cursor: str | None = None
    cursors: set[str] = set()
    size = 0
    for _ in range(_PAGES_MAX):
        page = await page_of(cursor)
        items = items_of(page)
        found += items
        size += sum(len(str(each)) for each in items)
        if len(found) > _ITEMS_MAX:
            raise ToolServerError(f"{start} lists more than {_ITEMS_MAX:,} items ({what})")
        if size > LIST_CHARS_MAX:
            raise ToolServerError(f"{start}: {what} has more than {LIST_CHARS_MAX:,} characters")
        cursor = page.next_cursor
        if cursor is None:
            return found
        if cursor in cursors:
            raise ToolServerError(f"{start}: {what} has no end: a cursor comes twice")
        cursors.add(cursor)
    raise ToolServerError(f"{start}: {what} has more than {_PAGES_MAX} pages")
