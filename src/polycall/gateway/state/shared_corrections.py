"""The corrections from refusals, for all workers and replicas of one store."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from polycall.errors import StoreError
from polycall.gateway.store import Store
from polycall.profiles.corrections import Correction, CorrectionBook

logger = logging.getLogger("polycall.corrections")


class SharedCorrections:
    """The book of this process, kept in the store and read again when another one changed it."""

    def __init__(self, store: Store) -> None:
        self.book = CorrectionBook()
        self._store = store
        self._revision = -1
        self._unsaved: dict[str, Correction] = {}

    async def remember(self, corrections: Sequence[Correction]) -> None:
        """Keep corrections; without the store, for the life of this process."""
        new = self.book.remember(corrections)
        if not new:
            return
        for each in new:
            logger.warning("%s/%s: from now on %s", each.provider, each.model, each.change)
        self._unsaved.update({each.key: each for each in new})
        try:
            await self._store.save_corrections({each.key: encoded(each) for each in new})
        except StoreError as error:
            logger.warning("a correction was not kept: %s", error)
        finally:
            for each in new:
                self._unsaved.pop(each.key, None)

    async def refresh(self) -> None:
        """Read the store's where another process changed them."""
        revision = self._store.corrections_revision
        if revision != self._revision:
            # What was learned while the store was read may not be in what it gave.
            before = dict(self._unsaved)
            found = await load(self._store)
            self.book.replace([*found, *before.values(), *self._unsaved.values()])
            self._revision = revision


def encoded(correction: Correction) -> bytes:
    """The correction as the store keeps it."""
    return msgspec.json.encode(correction)


async def load(store: Store) -> list[Correction]:
    """The corrections of a store; what is none is left out."""
    found: list[Correction] = []
    for value in await store.corrections():
        try:
            found.append(msgspec.json.decode(value, type=Correction))
        except (msgspec.DecodeError, msgspec.ValidationError):
            logger.warning("a correction in the store cannot be read")
    return found
