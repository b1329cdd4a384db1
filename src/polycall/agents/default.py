"""The client of agents that have none, and the event loop of those that run without one."""

from __future__ import annotations

import asyncio
import atexit
import functools
import weakref
from collections.abc import AsyncGenerator

from polycall._support.blocking import Portal
from polycall.client import Client

# One for each event loop, since connections belong to the loop that opened them.
_clients: weakref.WeakKeyDictionary[
    asyncio.AbstractEventLoop, tuple[Client, AsyncGenerator[Client]]
] = weakref.WeakKeyDictionary()


async def default_client() -> Client:
    """Made on first use, shared, and closed with its event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        holder = _held()
        _clients[loop] = (await anext(holder), holder)
    return _clients[loop][0]


async def _held() -> AsyncGenerator[Client]:
    # `asyncio.run` closes generators that are still open, and this one closes the client.
    async with Client() as client:
        yield client


async def close_default_client() -> None:
    """Close this loop's client; the next agent that needs one gets a new one."""
    held = _clients.pop(asyncio.get_running_loop(), None)
    if held is not None:
        await held[1].aclose()


@functools.cache
def portal() -> Portal:
    """The event loop of `run_sync`, one for the process."""
    made = Portal()

    def close() -> None:
        made.run(close_default_client())
        made.close()

    atexit.register(close)
    return made
