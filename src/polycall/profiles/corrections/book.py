"""The corrections of providers and models: bounded, dated, forgettable, kept in a file if asked."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from polycall._support import jsontext
from polycall.errors import RequestError
from polycall.profiles.corrections.correction import Correction

KEPT_DAYS = 30
_MODEL_MAX = 16
_MAX = 512


class CorrectionBook:
    """The corrections that refusals taught, by provider, address, model and wire.

    An entry ends after thirty days: what a vendor refused then it may take now, and if not, one
    more request learns it again.  The oldest go where there are too many.  With `path`, entries are
    kept in that file, which only its owner can read.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self._path = None if path is None else Path(path)
        self._kept: dict[str, Correction] = {}
        self._by_target: dict[tuple[str, str, str, str], tuple[Correction, ...]] = {}
        if self._path is not None and self._path.exists():
            self.replace(read_file(self._path))

    def __len__(self) -> int:
        return len(self._kept)

    def entries(self) -> list[Correction]:
        """All of them, the latest last."""
        return sorted(self._kept.values(), key=lambda each: each.read)

    def for_target(
        self, provider: str, address: str, model: str, dialect: str
    ) -> tuple[Correction, ...]:
        """The corrections of requests to one target; empty for nearly all."""
        if not self._by_target:
            return ()
        return self._by_target.get((provider, address, model, dialect), ())

    def remember(self, corrections: Iterable[Correction]) -> list[Correction]:
        """Keep corrections; gives those that were not there."""
        new = [each for each in corrections if each.is_sane and self._is_new(each)]
        for each in new:
            self._kept[each.key] = each
        if new:
            self._settle()
            self._write()
        return new

    def _is_new(self, correction: Correction) -> bool:
        known = self._kept.get(correction.key)
        return known is None or known.value != correction.value

    def forget(self, model: str = "") -> int:
        """Forget all, or those of `provider/model`; gives how many."""
        gone = [
            key
            for key, each in self._kept.items()
            if model in ("", f"{each.provider}/{each.model}", each.provider)
        ]
        for key in gone:
            del self._kept[key]
        self._settle()
        if gone:
            self._write()
        return len(gone)

    def replace(self, corrections: Iterable[Correction]) -> None:
        """Have these and no others: what a store says."""
        self._kept = {each.key: each for each in corrections if each.is_sane}
        self._settle()

    def _settle(self) -> None:
        ended = (datetime.now(UTC) - timedelta(days=KEPT_DAYS)).isoformat(timespec="seconds")
        living = sorted(
            (each for each in self._kept.values() if each.read >= ended),
            key=lambda each: each.read,
            reverse=True,
        )
        by_target: dict[tuple[str, str, str, str], list[Correction]] = {}
        for each in living[:_MAX]:
            place = (each.provider, each.address, each.model, each.dialect)
            entries = by_target.setdefault(place, [])
            if len(entries) < _MODEL_MAX:
                entries.append(each)
        self._by_target = {place: tuple(found) for place, found in by_target.items()}
        self._kept = {each.key: each for found in self._by_target.values() for each in found}

    def _write(self) -> None:
        if self._path is None:
            return
        data = jsontext.encode_bytes(self.entries())
        beside = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        beside.replace(self._path)


def read_file(path: Path) -> list[Correction]:
    """The corrections that a file holds; `RequestError` for one that is no such file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Correction])
    except (msgspec.DecodeError, OSError) as error:
        raise RequestError(f"{path} holds no corrections: {error}") from None
