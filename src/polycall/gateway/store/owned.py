"""Whose files, jobs and answers are whose: a provider's account holds those of all keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from polycall.gateway.store.store import Store

_ASKED_MAX = 500
_MAKER = "maker"


class OwnedResources:
    """Remembers which key made a file or a job, for as long as carried state is kept."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def keep(self, owner: str, provider: str, resource: str) -> None:
        """This key made it; committed when this returns."""
        await self._store.save_state(owner, _name(provider, resource), b"1")
        await self.note_maker(owner, provider, resource)

    async def note_maker(self, owner: str, provider: str, resource: str) -> None:
        """This key made it, and no other may refer to it."""
        # By itself, so that no key can have it forgotten by making many.
        await self._store.save_state(_name(provider, resource), _MAKER, owner.encode())

    async def of(self, owner: str, provider: str, resources: Sequence[str]) -> set[str]:
        """Those that this key made."""
        names = {_name(provider, each): each for each in resources}
        found: set[str] = set()
        keys = list(names)
        for start in range(0, len(keys), _ASKED_MAX):
            known = await self._store.load_states(owner, keys[start : start + _ASKED_MAX])
            found.update(names[name] for name in known)
        return found

    async def first_of_others(
        self, owner: str, provider: str, resources: Iterable[str]
    ) -> str | None:
        """The first that another key made; what nobody made here is nobody's."""
        for each in resources:
            found = await self._store.load_states(_name(provider, each), [_MAKER], may_change=True)
            if found.get(_MAKER, owner.encode()) != owner.encode():
                return each
        return None


def _name(provider: str, resource: str) -> str:
    return f"owned:{provider}:{resource}"[:250]
