"""The stretches of time that limits hold for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple


class Window(NamedTuple):
    """A stretch of time that a limit holds for, in UTC."""

    name: str
    starts: float
    ends: float


def window_at(per: str, now: float) -> Window:
    """The minute, day or month that a moment is in."""
    if per == "minute":
        number = int(now // 60)
        return Window(str(number), number * 60.0, number * 60.0 + 60.0)
    moment = datetime.fromtimestamp(now, UTC)
    start = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if per == "day":
        return Window(f"{start:%Y-%m-%d}", start.timestamp(), (start + timedelta(1)).timestamp())
    start = start.replace(day=1)
    end = (start + timedelta(32)).replace(day=1)
    return Window(f"{start:%Y-%m}", start.timestamp(), end.timestamp())
