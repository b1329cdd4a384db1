"""The stretches of time that limits hold for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

# The last second that a date can say; a limit in total does not begin again.
END_OF_TIME = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
SPANS = ("day", "week", "month", "total")


def budget_words(amount: str, per: str) -> str:
    """A budget as people say it: `$20.00 a month`, `$20.00 in total`."""
    return f"{amount} in total" if per == "total" else f"{amount} a {per}"


class Window(NamedTuple):
    """A stretch of time that a limit holds for, in UTC."""

    name: str
    starts: float
    ends: float


def window_at(per: str, now: float) -> Window:
    """The minute, day, week or month that a moment is in, or all of time for `total`.

    A week begins on Monday.
    """
    if per == "total":
        return Window(per, 0.0, END_OF_TIME)
    if per == "minute":
        number = int(now // 60)
        return Window(str(number), number * 60.0, number * 60.0 + 60.0)
    moment = datetime.fromtimestamp(now, UTC)
    start = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if per == "day":
        return Window(f"{start:%Y-%m-%d}", start.timestamp(), (start + timedelta(1)).timestamp())
    if per == "week":
        start -= timedelta(start.weekday())
        return Window(f"{start:%G-W%V}", start.timestamp(), (start + timedelta(7)).timestamp())
    start = start.replace(day=1)
    end = (start + timedelta(32)).replace(day=1)
    return Window(f"{start:%Y-%m}", start.timestamp(), end.timestamp())
