"""A clock that runs as fast as the work allows: an event loop whose time is its own.

Where nothing is to be done but wait, the loop's time jumps to the next timer.  What is run in it
must wait for nothing outside: its connections are links in memory.  The same work takes the same
steps each time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):  # pyright: ignore[reportGeneralTypeIssues, reportUntypedBaseClass]
    """Instead of waiting, moves the loop's time on."""

    loop: FastLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everything waits for something that will never come")
        if not ready and timeout:
            self.loop.moved_s += timeout
        return ready


class FastLoop(asyncio.SelectorEventLoop):
    """An event loop in which waiting takes no time."""

    def __init__(self) -> None:
        selector = _JumpingSelector()
        super().__init__(selector)
        selector.loop = self
        self.moved_s = 1.0

    def time(self) -> float:
        """Seconds of the loop's own time."""
        return self.moved_s


def run_fast(work: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on the fast clock."""
    with asyncio.Runner(loop_factory=FastLoop) as runner:
        return runner.run(work)
