"""Resources whose changes clients want to hear of: one subscription at the server for all."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager

from polycall.errors import PolycallError, RateLimitError, RequestError
from polycall.gateway.mcp.calls import clean
from polycall.gateway.mcp.hub import Hub, Member

logger = logging.getLogger("polycall.mcp")

Heard = Callable[[], None]

_WATCHED_MAX = 2_000
_OF_KEY_MAX = 200
_AGAIN_S = 1.0
_AGAIN_S_MAX = 60.0


class Updates:
    """The subscribers of each resource.  One for the process; `close` it at the end."""

    def __init__(self, hub: Hub) -> None:
        self._heard: dict[tuple[str, str], list[tuple[str, Heard]]] = {}  # with their owners
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._of_key: Counter[str] = Counter()
        hub.on_updated = self._updated

    @contextmanager
    def watching(self, owner: str, member: Member, uri: str, heard: Heard) -> Generator[None]:
        """Call `heard` for each change of a server's resource; `owner` is the id of a key."""
        place = (member.name, uri)
        if member.source is not None and member.mcp is None:
            raise RequestError(f"{member.name!r} tells of no changes")
        if self._of_key[owner] >= _OF_KEY_MAX:
            raise RateLimitError(
                f"{_OF_KEY_MAX} subscriptions of this key are open, the most that one may have",
                retry_after_s=60.0,
            )
        if place not in self._tasks:
            if len(self._tasks) >= _WATCHED_MAX:
                raise RateLimitError(
                    f"{_WATCHED_MAX} resources are watched, the most that the gateway takes",
                    retry_after_s=60.0,
                )
            self._tasks[place] = asyncio.ensure_future(self._watch(member, uri))
        listeners = self._heard.setdefault(place, [])
        listeners.append((owner, heard))
        self._of_key[owner] += 1
        try:
            yield
        finally:
            self._of_key[owner] -= 1
            self._of_key += Counter()  # keeps those that are more than none
            listeners.remove((owner, heard))
            if not listeners:
                del self._heard[place]
                self._tasks.pop(place).cancel()

    async def close(self) -> None:
        """End all subscriptions."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _updated(self, server: str, uri: str) -> None:
        for _, heard in list(self._heard.get((server, uri), [])):
            heard()

    async def _watch(self, member: Member, uri: str) -> None:
        """Again and again: a server that ends forgets who wanted to hear of what."""
        told = ""
        pause_s = _AGAIN_S
        while True:
            try:
                await member.ready()
                if member.mcp is not None:
                    owners = {owner for owner, _ in self._heard[member.name, uri]}
                    await member.mcp.watch(uri, owners.pop() if len(owners) == 1 else None)
                pause_s = _AGAIN_S
            except PolycallError as error:
                words = clean(str(error), member.secrets)
                if words != told:
                    told = words
                    logger.warning("%s", told)
                pause_s = min(2 * pause_s, _AGAIN_S_MAX)
            except Exception:
                logger.exception("updates of a resource of %r failed", member.name)
                pause_s = _AGAIN_S_MAX
            await asyncio.sleep(pause_s)
