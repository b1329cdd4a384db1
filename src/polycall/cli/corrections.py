"""What refusals taught, for `polycall models`: of the gateway's store, and of a library's file."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from polycall.cli.stored import run_with_store
from polycall.config import Store as StoreSettings
from polycall.config import default_path, load_store
from polycall.gateway.state.shared_corrections import load
from polycall.gateway.store import Store
from polycall.gateway.store.sqlite import path_of
from polycall.profiles.corrections import Correction, CorrectionBook

T = TypeVar("T")
VARIABLE = "POLYCALL_CORRECTIONS"


def entries(config: str | None) -> list[Correction]:
    """All corrections that are kept where this configuration keeps them."""
    book = _book()
    found = [] if book is None else book.entries()
    return [*found, *(_with_store(config, load) or [])]


def forget(model: str, config: str | None) -> str:
    """Forget those of a `provider/model`, or all; says how many."""
    book = _book()
    count = 0 if book is None else book.forget(model)

    async def gone(store: Store) -> int:
        names = ("", model)
        keys = [
            each.key
            for each in await load(store)
            if f"{each.provider}/{each.model}" in names or model in ("", each.provider)
        ]
        if keys:
            await store.forget_corrections(keys)
        return len(keys)

    count += _with_store(config, gone) or 0
    return f"forgot {count} correction{'' if count == 1 else 's'}"


def _book() -> CorrectionBook | None:
    path = os.environ.get(VARIABLE)
    return CorrectionBook(path) if path else None


def _with_store(config: str | None, work: Callable[[Store], Awaitable[T]]) -> T | None:
    """Do `work` on the gateway's store; `None` where there is none yet."""
    path = Path(config) if config else default_path()
    settings = load_store(path) if path is not None else StoreSettings()
    folder = path.parent if path is not None else Path()
    if settings.url.startswith("sqlite:") and not Path(path_of(settings.url, folder)).exists():
        return None
    return run_with_store(settings, folder, work)
