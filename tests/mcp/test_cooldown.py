"""A server that fails again and again is left alone for a while, and then tried again."""

from __future__ import annotations

import pytest

from polycall.errors import ToolServerError
from polycall.mcp import cooldown
from polycall.mcp.cooldown import Cooldown


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(cooldown, "time", made)
    return made


def test_pauses_grow(clock: Clock) -> None:
    pause = Cooldown()
    for _ in range(3):
        pause.failed()
        pause.check("s", "")
    for wait_s in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
        pause.failed()
        with pytest.raises(ToolServerError, match=rf"tried again in {wait_s:.1f} s"):
            pause.check("s", "it said no")
        clock.now += wait_s
        pause.check("s", "")


def test_what_was_steady_is_started_at_once(clock: Clock) -> None:
    pause = Cooldown()
    for _ in range(10):
        pause.failed()
        clock.now += 60
    pause.opened()
    clock.now += 60
    pause.check("s", "")
    pause.failed()
    pause.check("s", "")


def test_what_ends_at_once_is_a_failure(clock: Clock) -> None:
    pause = Cooldown()
    for _ in range(3):
        pause.opened()
        pause.check("s", "")
    pause.opened()
    with pytest.raises(ToolServerError):
        pause.check("s", "")
    clock.now += 31


def test_a_lost_session_is_none(clock: Clock) -> None:
    del clock
    pause = Cooldown()
    for _ in range(20):
        pause.opened()
        pause.renewed()
        pause.check("s", "")
