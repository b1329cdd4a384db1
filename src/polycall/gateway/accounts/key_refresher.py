"""Providers' keys that may change while serving: read again when a provider refuses one."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable

from msgspec.structs import replace

from polycall.config import Config
from polycall.config.secret_source import is_rereadable, read_secret
from polycall.gateway.observability.logs import hide
from polycall.gateway.routing.router import Target, TargetRouter

logger = logging.getLogger("polycall.keys")

AGAIN_S = 10.0


class KeyRefresher:
    """Reads keys that come from files and commands again."""

    def __init__(
        self, config: Config, router: TargetRouter, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sources = config.key_sources
        self._folder = config.folder
        self._router = router
        self._clock = clock
        self._read_at: dict[tuple[str, int], float] = {}
        self._lock = asyncio.Lock()

    async def other(self, target: Target) -> Target | None:
        """The target with another key than the refused one; `None` if absent."""
        name, number = target.provider.name, target.key_number
        source = self._sources.get(name, ())[number : number + 1]
        if not source or not is_rereadable(source[0]):
            return None
        async with self._lock:
            key = self._router.key(name, number)
            if key == target.key:
                # A key that is simply wrong would have its command run for every request.
                now = self._clock()
                if now - self._read_at.get((name, number), float("-inf")) < AGAIN_S:
                    return None
                self._read_at[name, number] = now
                key = await self._read(source[0], name)
                if key is None or key == target.key:
                    return None
                hide([key])
                self._router.set_key(name, number, key)
        return replace(target, key=key)

    async def _read(self, source: str, name: str) -> str | None:
        try:
            key = await asyncio.to_thread(read_secret, source, os.environ, self._folder)
        except ValueError as error:
            logger.warning("the key of provider %r could not be read again: %s", name, error)
            return None
        logger.info("provider %r refused its key, which was read again", name)
        return key
