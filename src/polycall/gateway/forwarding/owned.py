"""Whose files and jobs are whose: a provider's account holds those of all keys."""

from __future__ import annotations

from collections.abc import Sequence

from polycall.gateway.store import Store

_ASKED_MAX = 500


class OwnedResources:
    """Remembers which key made a file or a job, for as long as carried state is kept."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def keep(self, owner: str, provider: str, resource: str) -> None:
        """This key made it; committed when this returns."""
        await self._store.save_state(owner, _name(provider, resource), b"1")

    async def of(self, owner: str, provider: str, resources: Sequence[str]) -> set[str]:
        """Those that this key made."""
        names = {_name(provider, each): each for each in resources}
        found: set[str] = set()
        keys = list(names)
        for start in range(0, len(keys), _ASKED_MAX):
            known = await self._store.load_states(owner, keys[start : start + _ASKED_MAX])
            found.update(names[name] for name in known)
        return found


def _name(provider: str, resource: str) -> str:
    return f"owned:{provider}:{resource}"[:250]
