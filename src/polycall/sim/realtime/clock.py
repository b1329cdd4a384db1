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


# So many rounds of the loop in one moment are work that begets itself.
_ROUNDS_MAX = 20_000


class _JumpingSelector(selectors.DefaultSelector):  # pyright: ignore[reportGeneralTypeIssues, reportUntypedBaseClass]
    """Instead of waiting, moves the loop's time on."""

    loop: FastLoop
    _rounds = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        self._rounds = self._rounds + 1 if timeout == 0 else 0
        if self._rounds > _ROUNDS_MAX:
            self._rounds = 0  # for the loop to end
            raise RuntimeError("the same moment continues without end")
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
