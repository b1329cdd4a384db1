"""The client of agents that have none, and the event loop of those that run without one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from polycall._support.blocking import PerLoop, Portal, shared_portal
from polycall.client import Client

P = ParamSpec("P")
T = TypeVar("T")

_clients = PerLoop(Client, Client.close)


async def default_client() -> Client:
    """Made on first use, shared, and closed with its event loop."""
    return await _clients.get()


async def close_default_client() -> None:
    """Close the clients that were made; the next agent that needs one gets a new one."""
    await _clients.close()


@functools.cache
def portal() -> Portal:
    """The event loop of `run_sync`, one for the process."""
    made = shared_portal()
    made.before_end(close_default_client)
    return made


def run_blocking(
    work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **options: P.kwargs
) -> T:
    """What `work` gives, waited for; `RequestError` where an event loop would stand still."""
    return portal().run(work(*args, **options))
