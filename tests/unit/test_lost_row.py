"""The ledger's row of an answer whose process was killed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from polycall.gateway.accounts.keys import Owner
from polycall.gateway.responses.records import JobRecord, lost_row


@pytest.mark.parametrize(
    ("model", "kept"),
    [
        ("p/m", "p/m"),
        ("p/\0m", "p/�m"),
        ("p/\ud83d", "p/?"),
        ("p/물🎉", "p/물🎉"),
        ("p/" + "m" * 999, "p/" + "m" * 298),
    ],
)
def test_its_names_are_as_every_database_takes_them(model: str, kept: str) -> None:
    """One row that the database refuses would hold up those that are spooled with it."""
    target = SimpleNamespace(provider=SimpleNamespace(name="p"), model=model)
    services: Any = SimpleNamespace(
        router=SimpleNamespace(route=lambda _: iter([target])),  # pyright: ignore[reportUnknownLambdaType]
        costs=SimpleNamespace(known=lambda *_: None),  # pyright: ignore[reportUnknownLambdaType]
    )
    record = JobRecord(1.0, "w", "k", "key_1", model)
    row = lost_row("resp_1", record, Owner("k", "key_1"), "w", services)
    assert (row.id, row.asked, row.provider, row.model) == ("req_1", kept, "p", kept)
