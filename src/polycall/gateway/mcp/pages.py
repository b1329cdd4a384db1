"""Long lists on pages."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import TypeVar

import mcp_types as types
from mcp.shared.exceptions import MCPError

T = TypeVar("T")

_PAGE = 250
_PAGE_BYTES = 512 * 1024


def page_of(
    items: Sequence[T],
    params: types.PaginatedRequestParams | None,
    name: Callable[[T], str],
    size: Callable[[T], int] = lambda _: 0,
) -> tuple[list[T], str | None]:
    """The items after a cursor, which is the name of the last one seen, and the next cursor.

    A page has so many items, and where their sizes are known so many bytes: stock clients take no
    larger message.
    """
    ordered = sorted(items, key=name)
    cursor = None if params is None else params.cursor
    if cursor is not None:
        try:
            after = base64.b64decode(cursor.encode(), b"-_", validate=True).decode()
        except ValueError:
            raise MCPError(code=types.INVALID_PARAMS, message="the cursor is not ours") from None
        if not after:
            raise MCPError(code=types.INVALID_PARAMS, message="the cursor is not ours")
        ordered = [each for each in ordered if name(each) > after]
    page: list[T] = []
    left = _PAGE_BYTES
    for each in ordered[:_PAGE]:
        left -= size(each)
        if page and left < 0:
            break
        page.append(each)
    if len(page) == len(ordered):
        return page, None
    return page, base64.urlsafe_b64encode(name(page[-1]).encode()).decode()
