"""Newer prices than those that came with the price table: from a file or an address, opt-in.

What is read is laid over the table, model by model, and takes its place in one step: a question is
answered by the old table or by the new one.  It never goes back in time: a source that is older
than the one before it, and a model whose latest price begins earlier than the known one, change
nothing.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from msgspec import Struct

from polycall.errors import RequestError
from polycall.providers.late_prices import complete_table

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider

logger = logging.getLogger("polycall.prices")

_BYTES_MAX = 64 * 1024 * 1024
_TIMEOUT_S = 10.0
_NEVER = datetime.min.replace(tzinfo=UTC)


class PriceSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[prices]`: where newer prices are, in genai-prices' format, and how often to look."""

    refresh: str = ""  # a file (relative to the configuration's folder) or an http(s) address
    every_s: float = 3600.0


class PriceRefresh:
    """Keeps this process's price table as new as its source.  One for the process."""

    def __init__(self, source: str, *, every_s: float = 3600.0, folder: Path = Path()) -> None:
        self._source = source
        self._every_s = every_s
        self._folder = folder
        self._as_of = _NEVER
        self._stopping = threading.Event()

    def start(self) -> None:
        """Refresh from time to time, alongside everything else."""
        threading.Thread(target=self._run, name="polycall-refresh", daemon=True).start()

    def close(self) -> None:
        """Stop looking; the prices that were read stay."""
        self._stopping.set()

    def refresh(self) -> int:
        """Look once; gives the number of models whose price is new.

        Raises `RequestError` where the source cannot be read or is not a price table; the prices
        that are known stay.
        """
        data, as_of = self._read()
        if as_of < self._as_of:
            logger.warning("%s is older than the prices that are known: not taken", self._source)
            return 0
        changed = _lay_over(_parsed(data, self._source))
        self._as_of = as_of
        return changed

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            self.try_refresh()

    def try_refresh(self) -> None:
        """`refresh`, with a line in the log where it fails."""
        try:
            changed = self.refresh()
        except RequestError as error:
            logger.warning("prices are not refreshed: %s", error)
            return
        if changed:
            logger.info("%s: new prices of %d models", self._source, changed)

    def _read(self) -> tuple[bytes, datetime]:
        """The bytes, and the moment that they are of."""
        try:
            if urlsplit(self._source).scheme in ("http", "https"):
                import urllib.request  # noqa: PLC0415 - with what it imports, a tenth of an agent's import
                from email.utils import parsedate_to_datetime  # noqa: PLC0415

                request = urllib.request.Request(self._source)  # noqa: S310 - http(s) by the check
                with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
                    data: bytes = answer.read(_BYTES_MAX + 1)
                    changed: str | None = answer.headers.get("last-modified")
                as_of = parsedate_to_datetime(changed) if changed else datetime.now(UTC)
            else:
                path = self._folder / self._source
                as_of = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                with path.open("rb") as file:
                    data = file.read(_BYTES_MAX + 1)
        except (OSError, ValueError) as error:
            raise RequestError(f"{self._source!r} cannot be read: {error}") from None
        if len(data) > _BYTES_MAX:
            raise RequestError(f"{self._source!r} has more than {_BYTES_MAX} bytes")
        return data, as_of if as_of.tzinfo is not None else as_of.replace(tzinfo=UTC)


def _parsed(data: bytes, source: str) -> list[Provider]:
    from genai_prices import types  # noqa: PLC0415 - costs 0.3 s at import
    from pydantic import ValidationError  # noqa: PLC0415

    read: Any = getattr(types, "_providers_from_raw", None)
    if read is None:
        raise RequestError("this version of genai-prices cannot read prices: install 0.2")
    try:
        raw: Any = json.loads(data)
        return read(raw if isinstance(raw, list) else [raw])
    except (ValueError, ValidationError, TypeError, KeyError) as error:
        words = str(error).splitlines()[0]
        raise RequestError(f"{source!r} is not a price table of genai-prices: {words}") from None


def _lay_over(newer: list[Provider]) -> int:
    """Put the new prices into the table; gives the number of models that have changed."""
    from genai_prices import data_snapshot  # noqa: PLC0415 - as above

    complete_table()
    known = {provider.id: provider for provider in data_snapshot.get_snapshot().providers}
    changed = 0
    for provider in newer:
        before = known.get(provider.id)
        models = {} if before is None else {model.id: model for model in before.models}
        fresh = [
            model
            for model in provider.models
            if model.id not in models or _is_newer(model, models[model.id])
        ]
        if not fresh:
            continue
        changed += len(fresh)
        names = {model.id for model in fresh}
        # The new ones come first: the table takes the first model that matches a name.
        rest = [model for name, model in models.items() if name not in names]
        known[provider.id] = dataclasses.replace(before or provider, models=[*fresh, *rest])
    if changed:
        table = data_snapshot.DataSnapshot(list(known.values()), from_auto_update=True)
        data_snapshot.set_custom_snapshot(table)
    return changed


def _is_newer(model: ModelInfo, known: ModelInfo) -> bool:
    return model != known and _latest(model) >= _latest(known)


def _latest(model: ModelInfo) -> date:
    """The day on which the model's latest price begins; long ago for one that always held."""
    if not isinstance(model.prices, list):
        return date.min
    starts = [getattr(price.constraint, "start_date", date.min) for price in model.prices]
    return max(starts, default=date.min)
