"""The event loop of a program, whose waiting is a turn of the host.

While there is something to do, the loop does it.  When there is not, it tells the host until when
it can wait, and the host answers with results, or with the time.  Everything that reaches the
program from outside is therefore the answer to a `wait`, in an order the journal keeps: that is
what makes `asyncio.timeout`, `as_completed` and their like come out the same in a replay.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import selectors
from asyncio import events
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import Any, TypeVar

from .channel import Channel, Frame
from .clock import Clock

T = TypeVar("T")


class TurnSelector(selectors.BaseSelector):
    """Waits for the host, and for threads of the program that wake the loop."""

    def __init__(
        self,
        channel: Channel,
        clock: Clock,
        on_turn: Callable[[Frame], None],
        before: Callable[[], None],
    ) -> None:
        self._inner = selectors.DefaultSelector()
        self._channel = channel
        self._clock = clock
        self._on_turn = on_turn
        self._before_wait = before
        self._channel_key = self._inner.register(channel.fileno(), selectors.EVENT_READ)
        self._waits = 0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._inner.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._inner.get_map()

    def close(self) -> None:
        self._inner.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return self._ready(0)
        self._before_wait()
        self._waits += 1
        self._channel.put(
            {"type": "wait", "number": self._waits, "now": self._clock.now, "for": timeout}
        )
        self._channel.flush()
        return self._ready(None)

    def _ready(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        has_turn = timeout is None and self._channel.has_frame
        others: list[tuple[selectors.SelectorKey, int]] = []
        for key, mask in self._inner.select(0 if has_turn else timeout):
            if key.fd != self._channel_key.fd:
                others.append((key, mask))
            else:
                has_turn = timeout is None
        if has_turn:
            self._on_turn(self._channel.read())
        return others


class ProgramTask(asyncio.Task[Any]):
    """A task whose place in a set does not depend on where in memory it is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._place = next(_places)
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return hash(self._place)

    def __eq__(self, other: object) -> bool:
        return self is other


_places = itertools.count()


def _task(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> ProgramTask:
    return ProgramTask(work, loop=loop, **options)


class ProgramLoop(asyncio.SelectorEventLoop):
    """The loop on logical time.  `run` inside `run` is allowed, since models write it."""

    def __init__(self, selector: TurnSelector, clock: Clock) -> None:
        # `SelectorEventLoop.__init__` reads the time.
        self._clock = clock
        self.make_selector: Callable[[], TurnSelector] = lambda: selector
        super().__init__(selector)
        self.set_task_factory(_task)

    def time(self) -> float:
        return self._clock.now

    def run_until_complete(self, future: Any) -> Any:
        if self.is_running() and asyncio.iscoroutine(future):
            return asyncio.run(future)
        return super().run_until_complete(future)


def install_ordered_as_completed() -> None:
    """Starts what `as_completed` is given in the order given; asyncio goes by address."""
    unordered: Callable[..., Any] = asyncio.as_completed

    def as_completed(fs: Any, *, timeout: float | None = None) -> Any:
        if asyncio.isfuture(fs) or asyncio.iscoroutine(fs):
            return unordered(fs, timeout=timeout)
        return unordered([asyncio.ensure_future(f) for f in dict.fromkeys(fs)], timeout=timeout)

    asyncio.as_completed = as_completed


@contextlib.contextmanager
def _outer_loop_suspended() -> Generator[None]:
    outer = events._get_running_loop()  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]
    events._set_running_loop(None)
    try:
        yield
    finally:
        events._set_running_loop(outer)


def install_nested_run(new_loop: Callable[[], ProgramLoop]) -> None:
    """Lets `asyncio.run(main())` work at the top level of a program, where a loop is running.

    The inner coroutine gets a loop of its own; the outer one stands still meanwhile, as it would
    during any other synchronous call.
    """

    def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None, **_: Any) -> T:
        with _outer_loop_suspended(), asyncio.Runner(debug=debug, loop_factory=new_loop) as runner:
            return runner.run(main)

    asyncio.run = run
