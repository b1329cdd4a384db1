"""The synchronous face of asynchronous code: one event loop on one thread, owned by a client.

A pool of connections belongs to the loop that opened it, so the loop has to outlive the single
call; and a thread of its own lets the facade work where a loop is already running (notebooks).
Everywhere else a wait inside a running loop is refused: it would hold up all that runs there, and
for ever where it waits for that loop itself.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import os
import sys
import threading
import weakref
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterator,
)
from typing import Any, Generic, Protocol, Self, TypeVar

from polycall.errors import RequestError

T = TypeVar("T")
EventT = TypeVar("EventT")
EventT_co = TypeVar("EventT_co", covariant=True)

_own = threading.local()  # `is_portal` in the threads of portals
# How long an interrupt waits for what it has cancelled to clean up.
_LEAVE_S = 5.0
# Loops of the parent process, in a child: to close one would close what the parent waits on.
_abandoned: list[asyncio.AbstractEventLoop] = []


class Portal:
    """Runs coroutines on its own loop and waits for them.  `close` ends the thread.

    The loop begins with the first call, and anew in a process that was forked.  It ends as
    `asyncio.run` ends one: with `close`, with the last reference to it, or with the program.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._last: list[Callable[[], Coroutine[Any, Any, object]]] = []
        self._dropped: weakref.finalize[..., Portal] | None = None
        _portals.add(self)

    def before_end(self, last: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Run this when it is closed, before its loop stops."""
        self._last.append(last)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result.  Ctrl-C cancels it.

        Raises `RequestError`, and runs nothing, in a thread whose event loop would stand still.
        """
        try:
            check_may_wait(coroutine.__qualname__)
        except RequestError:
            coroutine.close()
            raise
        return self._run(coroutine)

    def iterate(self, events: AsyncIterator[T]) -> Iterator[T]:
        """The iterator's values, one wait each.  Leaving early closes it."""
        loop: asyncio.AbstractEventLoop | None = None
        try:
            while True:
                _check_may_read()
                loop = self._started()
                try:
                    yield self._run(_next(events))
                except StopAsyncIteration:
                    return
        finally:
            # Its loop has closed it, where that has ended first: as the program ends, in a fork.
            if self._loop is loop:
                self._run(_close_source(events))

    def close(self, *last: Coroutine[Any, Any, object]) -> None:
        """Run the `last` coroutines, cancel what still runs, stop the loop, end the thread.

        Where it has no loop, which is so in a process that was forked, there is nothing to close.
        """
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            for coroutine in last:
                coroutine.close()
            return
        for coroutine in (*last, *(each() for each in self._last)):
            self._run(coroutine)
        self._without_loop()
        loop.call_soon_threadsafe(_stop_soon, loop)
        thread.join()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            loop = self._started()
        except RequestError:
            coroutine.close()
            raise
        with _holding_up():
            return self._waited(coroutine, loop)

    def _waited(self, coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
        left = _Left()
        future = asyncio.run_coroutine_threadsafe(_outcome(coroutine, left), loop)
        try:
            outcome = future.result()
        except BaseException as interrupt:
            left.begun.wait(_LEAVE_S)  # one that is cancelled before it begins cleans up nothing
            if future.cancel():
                # Ctrl-C: what was under way ends first, and the interrupt has what was done.
                left.ended.wait(_LEAVE_S)
                raise interrupt from left.error
            raise
        return outcome.value()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                if sys.is_finalizing():
                    raise RequestError("the program has ended, and nothing can run any more")
                loop = self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_work, args=(loop,), name="polycall-portal", daemon=True
                )
                self._thread.start()
                self._dropped = weakref.finalize(self, loop.call_soon_threadsafe, _stop_soon, loop)
                self._dropped.atexit = False
            return self._loop

    def forget(self) -> None:
        """Forget the loop, whose thread is in another process."""
        self._lock = threading.Lock()
        if self._loop is not None:
            _abandoned.append(self._loop)
            # What is dropped of it here is the parent's, which closes it.
            self._loop.set_exception_handler(lambda loop, context: None)
        self._without_loop()

    def _without_loop(self) -> None:
        if self._dropped is not None:
            self._dropped.detach()
        self._loop = self._thread = self._dropped = None


_portals: weakref.WeakSet[Portal] = weakref.WeakSet()
# Loops whose thread waits in a `Portal` meanwhile, as a notebook's may.
_held_up: list[asyncio.AbstractEventLoop] = []


@functools.cache
def shared_portal() -> Portal:
    """The event loop of whatever is called without one; it ends with the process."""
    return Portal()


@atexit.register
def _close_all() -> None:
    for portal in list(_portals):
        portal.close()


def is_held_up(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the loop can do nothing now, since its thread waits for a `Portal`."""
    return loop in _held_up


class _Held(Generic[T]):
    """A value of one event loop, until it is closed, once."""

    def __init__(
        self, owner: PerLoop[T], value: T, close: Callable[[T], Awaitable[object]]
    ) -> None:
        self.value = value
        self.loop = asyncio.get_running_loop()
        self.holder = self._holding()
        self._close = close
        self._closed: asyncio.Future[None] | None = None
        self._dropped = weakref.finalize(owner, _drop, self)
        self._dropped.atexit = False
        _all_held.add(self)

    async def _holding(self) -> AsyncGenerator[None]:
        # `asyncio.run` closes generators that are still open, and this one closes the value.
        try:
            yield
        finally:
            if self._closed is None:
                await self._close_once()

    async def close(self) -> None:
        """Close the value, in its loop."""
        # The value first: a generator that waits in its end cannot be closed by its loop as well.
        if self._closed is not None:
            await asyncio.shield(self._closed)  # the loop ends, and closes the generator itself
            return
        await self._close_once()
        await self.holder.aclose()

    async def _close_once(self) -> None:
        self._closed = self.loop.create_future()
        try:
            await self._close(self.value)
        finally:
            self.forget()
            self._closed.set_result(None)

    def forget(self) -> None:
        """Leave the value, which is closed, or whose loop is."""
        _all_held.discard(self)
        self._dropped.detach()


# All that is open, so that nothing of it is dropped before it is closed.
_all_held: set[_Held[Any]] = set()


def _drop(held: _Held[Any]) -> None:
    """Close what nothing uses any more, where its loop still runs."""
    if held.loop.is_closed() or held.loop in _abandoned:
        return

    def begin() -> None:
        task = held.loop.create_task(held.close())
        _ending.add(task)
        task.add_done_callback(_ending.discard)

    held.loop.call_soon_threadsafe(begin)


class PerLoop(Generic[T]):
    """One value for each event loop, since connections belong to the loop that opened them.

    A value is closed with its loop, where `asyncio.run` or the like ends that, and where this is
    dropped.
    """

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[object]]) -> None:
        self._make = make
        self._close = close
        self._held: dict[asyncio.AbstractEventLoop, _Held[T]] = {}

    async def get(self) -> T:
        """The value of the loop that runs here."""
        loop = asyncio.get_running_loop()
        held = self._held.get(loop)
        if held is None:
            for other in [each for each in self._held if each.is_closed()]:
                self._held.pop(other).forget()
            held = self._held[loop] = _Held(self, self._make(), self._close)
            await anext(held.holder)
        return held.value

    async def close(self) -> None:
        """Close the values of all loops that still run; the next `get` makes a new one."""
        held, self._held = self._held, {}
        here = asyncio.get_running_loop()
        for loop, each in held.items():
            if loop is here:
                await each.close()
            elif loop.is_running() and loop not in _abandoned:
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(each.close(), loop))


def runs_a_loop() -> bool:
    """Whether this thread runs an event loop now."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def check_may_wait(asked: str) -> None:
    """`RequestError` where this thread runs an event loop that waiting would hold up.

    `asked` is the coroutine that is to be waited for, such as `Agent.run`.  A notebook's own loop
    may wait: a cell is run to its end before anything else.
    """
    owner, _, method = asked.rpartition(".")
    name = owner.rpartition(".")[2].lower() or "it"
    _check(f"a blocking call of {method!r}", f"await {name}.{method}(...)")


@contextlib.contextmanager
def _holding_up() -> Generator[None]:
    loop = asyncio.get_running_loop() if runs_a_loop() else None
    if loop is None:
        yield
        return
    _held_up.append(loop)
    try:
        yield
    finally:
        _held_up.remove(loop)


def _check_may_read() -> None:
    _check("'stream_sync'", "async with agent.stream(...) as stream:")


def _check(what: str, instead: str) -> None:
    if not runs_a_loop():
        return
    if not getattr(_own, "is_portal", False) and _is_notebook():
        return
    raise RequestError(
        f"this thread runs an event loop, which {what} would hold up, for ever where it waits for "
        f"that loop; write '{instead}' in an async function, or call it from a thread of its own: "
        "'await asyncio.to_thread(...)'"
    )


def _is_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return shell is not None and shell.get_ipython() is not None


def _work(loop: asyncio.AbstractEventLoop) -> None:
    _own.is_portal = True
    try:
        loop.run_forever()
    finally:
        loop.close()


# Tasks that nothing else holds while they run.
_ending: set[asyncio.Task[None]] = set()


def _stop_soon(loop: asyncio.AbstractEventLoop) -> None:
    """Stop the loop that runs here when what runs in it has been cancelled and closed."""

    async def leave() -> None:
        for held in [each for each in _all_held if each.loop is loop]:
            await held.close()
        await _cancel_others()

    def left(task: asyncio.Task[None]) -> None:
        _ending.discard(task)
        loop.stop()

    task = loop.create_task(leave())
    _ending.add(task)
    task.add_done_callback(left)


class _Outcome(Generic[T]):
    """The result of a coroutine.  An exception such as `SystemExit` would end the loop's thread."""

    def __init__(self, given: list[T], raised: BaseException | None = None) -> None:
        self._given = given
        self._raised = raised

    def value(self) -> T:
        if self._raised is not None:
            raise self._raised
        return self._given[0]


class _Left:
    """The end of a coroutine that an interrupt cancelled."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.ended = threading.Event()
        self.error: BaseException | None = None


async def _outcome(coroutine: Coroutine[Any, Any, T], left: _Left) -> _Outcome[T]:
    left.begun.set()
    try:
        return _Outcome([await coroutine])
    except (KeyboardInterrupt, SystemExit) as error:
        return _Outcome([], error)
    except asyncio.CancelledError as error:
        left.error = error
        raise
    finally:
        left.ended.set()


class TextStream(Protocol[EventT_co]):
    """An asynchronous stream of events that can also give its text alone."""

    def __aiter__(self) -> AsyncIterator[EventT_co]: ...

    async def __anext__(self) -> EventT_co: ...

    def text(self) -> AsyncGenerator[str]: ...


class BlockingStream(Generic[EventT]):
    """A stream for code without an event loop.

    Iterate over it, over `text()`, or use it as a context manager.  Leaving the `with`, `close`,
    or dropping the last reference cancels what is under way.
    """

    def __init__(self, portal: Portal, stream: TextStream[EventT]) -> None:
        self._portal = portal
        self._source = stream
        self._begun = threading.Event()
        self._events = self._reading(stream)

    def __iter__(self) -> Iterator[EventT]:
        return self

    def __next__(self) -> EventT:
        return next(self._events)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def text(self) -> Iterator[str]:
        """The visible text alone, as it comes."""
        return self._reading(self._source.text())

    def _reading(self, values: AsyncIterator[T]) -> Iterator[T]:
        # Without this object in it: the last reference to that closes what it reads.
        return _read(self._portal, values, self._begun)

    def close(self) -> None:
        """Stop what is under way."""
        if self._begun.is_set():
            self._portal.run(_close_source(self._source))


def _read(portal: Portal, values: AsyncIterator[T], begun: threading.Event) -> Iterator[T]:
    _check_may_read()
    begun.set()
    yield from portal.iterate(values)


async def _close_source(source: Any) -> None:
    close = getattr(source, "aclose", None)
    if close is None:
        return
    try:
        await close()
    except RuntimeError as error:
        # A step that does not end though it was cancelled: nobody can close around it.
        if "already running" not in str(error):
            raise


async def _next(events: AsyncIterator[T]) -> T:
    return await anext(events)


async def _cancel_others() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _after_fork() -> None:
    _own.is_portal = False
    for portal in list(_portals):
        portal.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
