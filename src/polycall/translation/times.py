"""Moments as several wires write them: RFC 3339, in UTC, whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

_LAST_SECOND = 253_402_300_799  # of the year 9999


def written_time(created: int) -> str:
    """The seconds since 1970 as `2026-11-29T12:00:00Z`.

    A provider's number may be anything: one that no calendar has becomes the nearest that it has.
    """
    known = min(max(created, 0), _LAST_SECOND)
    return datetime.fromtimestamp(known, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_time(value: Any) -> int:
    """Seconds since 1970 of such a time, however fine; 0 where it is none."""
    if not isinstance(value, str):
        return 0
    try:
        moment = datetime.fromisoformat(value)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError, OSError):
        return 0
