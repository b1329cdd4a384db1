"""Work whose time grows with a body: away from the loop where the body is large, and bounded.

A thread shares the interpreter with the loop, which gets its turn every few milliseconds.  Few such
threads there are, and one client's work takes one of them at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from polycall._support import json_weight
from polycall.errors import RequestTooLargeError
from polycall.translation.conversation import end_of_beginning, known_of
from polycall.translation.tool_list_cache import once

T = TypeVar("T")

# A body of that size is worth a thread: up to it the work takes 15 ms at most, and a thread would
# cost a shorter one three times its own work.
LONG_BYTES = json_weight.LONG_BYTES
ITEMS_MAX = 20_000  # messages, their parts, tools: each costs about 0.1 ms
# A shorter body cannot have more: each takes a value and a comma at least.
FEW_ITEMS_BYTES = 2 * ITEMS_MAX
_THREADS = 2
# What the dialects' bodies have many of, and what has many parts in turn.
_LISTS = ("messages", "input", "contents", "functions", "system")
_PARTS = ("content", "parts", "tool_calls")
_DECLARATIONS = ("functionDeclarations", "function_declarations")


class HeavyWork:
    """Runs functions on large bodies.  One for the process; close it."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="polycall-body")
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def run(
        self, owner: str, size_bytes: int, function: Callable[..., T], *given: Any, **named: Any
    ) -> T:
        """Run `function`; here where the body is short, else in a thread.

        `owner` is the client, whose long work is done one after the other.  The function must not
        depend on the loop.  Where this is cancelled it has ended: its turn is over, and what it
        works on is the caller's again.
        """
        if size_bytes < LONG_BYTES:
            return function(*given, **named)
        call = partial(function, *given, **named)
        turn = self._turns.setdefault(owner, asyncio.Semaphore(1))
        async with turn:
            work = self._threads.submit(call)
            done = asyncio.wrap_future(work)
            try:
                return await asyncio.shield(done)
            except asyncio.CancelledError:
                while not (work.cancel() or done.done()):
                    with suppress(asyncio.CancelledError):  # cancelled once more, it still works
                        await asyncio.wait([done])
                raise

    def close(self) -> None:
        """Take no more work."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def check_items(body: dict[str, Any]) -> None:
    """Raise `RequestTooLargeError` for a body that has more in it than is translated."""
    tools: Any = body.get("tools")
    count = once(tools, _declared_in) if isinstance(tools, list) else 0  # pyright: ignore[reportUnknownArgumentType]
    for name in _LISTS:
        items: Any = body.get(name)
        if not isinstance(items, list):
            continue
        count += len(items)  # pyright: ignore[reportUnknownArgumentType]
        known = known_of(items)  # pyright: ignore[reportUnknownArgumentType]
        # Of a conversation, how many messages were counted before, and the parts in them.
        done, before = (0, 0) if known is None else known.get(check_items, (0, 0))
        count += before
        inside = count
        end = end_of_beginning(items)  # pyright: ignore[reportUnknownArgumentType]
        for place in range(done, len(items)):  # pyright: ignore[reportUnknownArgumentType]
            if known is not None and place == end:
                known[check_items] = place, before + count - inside
            item: Any = items[place]  # pyright: ignore[reportUnknownVariableType]
            if isinstance(item, dict):
                for inner in _PARTS:
                    parts: Any = item.get(inner)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
                    if isinstance(parts, list):
                        count += len(parts)  # pyright: ignore[reportUnknownArgumentType]
    if count > ITEMS_MAX:
        raise RequestTooLargeError(
            f"the request has {count} messages, parts and tools, and at most {ITEMS_MAX} are "
            "translated; send fewer, or larger ones",
            status=413,
        )


def _declared_in(tools: list[Any]) -> int:
    """The tools, and those that stand in others as Gemini's do."""
    count = len(tools)
    for tool in tools:
        for name in _DECLARATIONS:
            inside: Any = tool.get(name) if isinstance(tool, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            count += len(inside) if isinstance(inside, list) else 0  # pyright: ignore[reportUnknownArgumentType]
    return count
