"""The owners of files, jobs and answers: a provider's account holds those of all keys."""

from __future__ import annotations

from collections.abc import Iterable

from polycall.gateway.store.quota import MAKERS
from polycall.gateway.store.store import Store


class OwnedResources:
    """Remembers which key made what: files and jobs until they are deleted, answers for a time."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def keep(self, owner: str, provider: str, resource: str) -> None:
        """This key made a file or a job; committed when this returns."""
        name = _name(provider, resource)
        await self._store.add_states(MAKERS, {name: owner.encode()}, has_age=False)

    async def forget(self, provider: str, resource: str) -> None:
        """It is no longer at its provider."""
        await self._store.delete_states(MAKERS, [_name(provider, resource)])

    async def note_makers(self, owner: str, provider: str, resources: Iterable[str]) -> None:
        """This key made these, and no other may refer to them; what has a maker keeps it."""
        value = owner.encode()
        names = {_name(provider, each): value for each in resources}
        await self._store.add_states(MAKERS, names)

    async def of(self, owner: str, provider: str, resources: Iterable[str]) -> set[str]:
        """Those that this key made."""
        makers = await self._makers(provider, resources)
        return {name for name, maker in makers.items() if maker == owner}

    async def first_of_others(
        self, owner: str, provider: str, resources: Iterable[str]
    ) -> str | None:
        """The first that another key made; what nobody made here is nobody's."""
        makers = await self._makers(provider, resources)
        return next((name for name, maker in makers.items() if maker != owner), None)

    async def _makers(self, provider: str, resources: Iterable[str]) -> dict[str, str]:
        names = {_name(provider, each): each for each in resources}
        # None has another maker later: a provider uses no name again.
        found = await self._store.load_states(MAKERS, list(names))
        return {names[name]: maker.decode() for name, maker in found.items()}


def _name(provider: str, resource: str) -> str:
    return f"owned:{provider}:{resource}"[:250]
