"""A gateway's work alongside its requests: care for the store, and for changed keys."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence

from polycall.config import Store as StoreSettings
from polycall.errors import StoreError
from polycall.gateway.accounts.keys import Keys
from polycall.gateway.store import Store
from polycall.gateway.store.base import SlowQueryError

logger = logging.getLogger("polycall.upkeep")

LOOK_S = 0.5
_PURGE_S = 3600.0


class Maintenance:
    """One task.  `start` it on the loop that serves; `close` stops it."""

    def __init__(
        self, store: Store, keys: Keys, refreshed: Sequence[Callable[[], Awaitable[None]]] = ()
    ) -> None:
        """`refreshed` read what else other processes may have changed."""
        self._store = store
        self._refreshed = refreshed
        self._keys = keys
        self.settings = StoreSettings()
        # Not all replicas at the same moment.
        self._purge_at = time.monotonic() + random.uniform(1, 60)  # noqa: S311 - not a secret
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.ensure_future(self._run())

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                await self._keys.refresh(await self._store.look())
                for refresh in self._refreshed:
                    await refresh()
                is_due = time.monotonic() >= self._purge_at
                if is_due:
                    self._purge_at = time.monotonic() + _PURGE_S
                    await self._store.purge(self.settings.ledger_days)
                await self._store.trim(self.settings.kept_bytes_max, looks_at_all=is_due)
            except (StoreError, SlowQueryError) as error:
                logger.warning("upkeep: %s", error)
            except Exception:
                # Without it a revoked key would work, and an outage would never end.
                logger.exception("upkeep failed")
            await asyncio.sleep(LOOK_S)
