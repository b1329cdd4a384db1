"""Restarting a server that fails: at once, and then after longer and longer pauses."""

from __future__ import annotations

import time

from polycall.errors import ToolServerError


class Cooldown:
    """The time for which a server that fails again and again is left alone.

    After the third failure 0.5 seconds, then 1, 2 and so on, at most 30."""

    _AT_ONCE = 3  # so many failures in a row are followed by no pause
    _FIRST_S, _LONGEST_S, _STEADY_S = 0.5, 30.0, 5.0

    def __init__(self) -> None:
        self._failures = 0
        self._until = 0.0
        self._opened_at: float | None = None

    def check(self, name: str, error: str) -> None:
        """Before it is started anew; `ToolServerError` while it is cooling down."""
        now = time.monotonic()
        if self._opened_at is not None:
            is_steady = now - self._opened_at > self._STEADY_S
            self._opened_at = None
            if is_steady:
                self._failures = 0
            else:
                self.failed()
        if now < self._until:
            why = f" ({error})" if error else ""
            raise ToolServerError(
                f"MCP server {name!r} fails again and again{why}; it is cooling down, and is tried "
                f"again in {self._until - now:.1f} s; nothing was run"
            )

    def opened(self) -> None:
        """It was started or reached."""
        self._opened_at = time.monotonic()

    def renewed(self) -> None:
        """It is there, and only forgot a session: no failure."""
        self._opened_at = None

    def failed(self) -> None:
        """It could not be, or it ended at once."""
        self._failures += 1
        more = self._failures - self._AT_ONCE
        if more > 0:
            wait_s = min(self._FIRST_S * 2 ** (more - 1), self._LONGEST_S)
            self._until = time.monotonic() + wait_s
