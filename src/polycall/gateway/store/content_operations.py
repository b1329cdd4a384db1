"""Captured requests and answers, kept for a time where an owner switched that on."""

from __future__ import annotations

from typing import NamedTuple

from polycall.gateway.store.base import Operation, Query

ROWS_MAX = 2000


class ContentWindow(NamedTuple):
    """A capture: of which key (of all, where it is empty), until when, and for whom."""

    id: str
    key: str
    until: float
    keep_s: float
    role: str
    created: float


_FIELDS = ", ".join(ContentWindow._fields)
_CHANGED = Query("UPDATE revisions SET number = number + 1 WHERE name = 'content'")


def open_window(window: ContentWindow) -> Operation[None]:
    """Keep content from now on; windows that are over are removed."""
    yield Query("DELETE FROM content_windows WHERE until < ?", (window.created,))
    yield Query(
        f"INSERT INTO content_windows ({_FIELDS}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608 - constant names
        window,
    )
    yield _CHANGED


def close_windows(*, removes: bool) -> Operation[int]:
    """Keep no more; with `removes`, remove what was kept.  Gives how many contents went."""
    yield Query("DELETE FROM content_windows")
    yield _CHANGED
    rows = (yield Query("DELETE FROM contents RETURNING id")) if removes else []
    return len(rows)


def windows(now: float) -> Operation[list[ContentWindow]]:
    """Those that are not over."""
    rows = yield Query(
        f"SELECT {_FIELDS} FROM content_windows WHERE until >= ? ORDER BY created",  # noqa: S608 - constant names
        (now,),
    )
    return [ContentWindow(*row) for row in rows]


def save_content(
    request_id: str, now: float, expires: float, role: str, value: bytes
) -> Operation[None]:
    """Keep the content of one request."""
    yield Query(
        "INSERT INTO contents (id, created, expires, role, value) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (id) DO NOTHING",
        (request_id, now, expires, role, value),
    )


def load_content(request_id: str, now: float) -> Operation[tuple[float, str, bytes] | None]:
    """Until when it is kept, who may see it, and the value; `None` where there is none."""
    rows = yield Query(
        "SELECT expires, role, value FROM contents WHERE id = ? AND expires > ?", (request_id, now)
    )
    return (rows[0][0], rows[0][1], bytes(rows[0][2])) if rows else None


def counted_contents() -> Operation[int]:
    """The number of captured contents."""
    rows = yield Query("SELECT COUNT(*) FROM contents")
    return rows[0][0]


def purge_contents(now: float) -> Operation[None]:
    """Remove what is over, and the oldest beyond a bound."""
    yield Query("DELETE FROM contents WHERE expires <= ?", (now,))
    yield Query(
        "DELETE FROM contents WHERE id IN "
        "(SELECT id FROM contents ORDER BY created DESC LIMIT 1000000 OFFSET ?)",
        (ROWS_MAX,),
    )
