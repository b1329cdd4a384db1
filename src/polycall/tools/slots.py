"""How many calls of a tool run at a time in an event loop: `concurrency`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from polycall.errors import ToolError

_held: ContextVar[frozenset[int]] = ContextVar("polycall_slots", default=frozenset())


class Slots:
    """The places of one tool, under whatever names it goes."""

    def __init__(self) -> None:
        self._places: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}

    @asynccontextmanager
    async def taken(self, name: str, bound: int | None) -> AsyncGenerator[None]:
        """Hold a place; `ToolError` where the call would wait for one that it is made by."""
        if bound is None:
            yield
            return
        if id(self) in _held.get():
            raise ToolError(
                f"{name!r} runs {bound} at a time, and this call is made by one of them, which it "
                "would wait for; nothing was run"
            )
        loop = asyncio.get_running_loop()
        if loop not in self._places:
            for other in [each for each in self._places if each.is_closed()]:
                del self._places[other]
            self._places[loop] = asyncio.Semaphore(bound)
        async with self._places[loop]:
            before = _held.get()
            _held.set(before | {id(self)})
            try:
                yield
            finally:
                _held.set(before)

    def __reduce__(self) -> tuple[type[Slots], tuple[()]]:
        # A tool that is pickled has its places where it is read again.
        return Slots, ()
