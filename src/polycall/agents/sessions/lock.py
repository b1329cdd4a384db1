"""One run of a session at a time, over all processes that share its database."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from polycall.agents.sessions.store import SessionConflictError, SessionStore
from polycall.errors import RequestError

# A process that has died holds a session up for so long at most.
LEASE_S = 30.0
_POLL_S = (0.01, 0.25)

_held: ContextVar[frozenset[tuple[int, str]]] = ContextVar(
    "polycall_sessions_held", default=frozenset()
)


@asynccontextmanager
async def locked(store: SessionStore, session: str, wait_s: float) -> AsyncGenerator[None]:
    """Hold the session; `SessionConflictError` where it is not free within `wait_s` seconds."""
    key = (id(store), session)
    if key in _held.get():
        raise SessionConflictError(
            f"session {session!r} is being run by the code that calls this run, so it would wait "
            "for itself; nothing was run"
        )
    owner = secrets.token_hex(8)
    await _taken(store, session, owner, wait_s)
    renewing = asyncio.create_task(_renewed(store, session, owner))
    before = _held.get()
    _held.set(before | {key})
    try:
        yield
    finally:
        _held.set(before)
        renewing.cancel()
        await asyncio.wait([renewing])
        # Where the database is out of reach, the lease runs out by itself.
        with contextlib.suppress(RequestError):
            await asyncio.shield(asyncio.to_thread(store.give_back, session, owner))


async def _taken(store: SessionStore, session: str, owner: str, wait_s: float) -> None:
    ends_at, pause_s = time.monotonic() + wait_s, _POLL_S[0]
    while not await asyncio.to_thread(store.take, session, owner, LEASE_S):
        if time.monotonic() >= ends_at:
            raise SessionConflictError(
                f"session {session!r} is being run elsewhere, and was not free within {wait_s:g} "
                "s; nothing was run"
            )
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _POLL_S[1])


async def _renewed(store: SessionStore, session: str, owner: str) -> None:
    while True:
        await asyncio.sleep(LEASE_S / 3)
        with contextlib.suppress(RequestError):
            await asyncio.to_thread(store.take, session, owner, LEASE_S)
