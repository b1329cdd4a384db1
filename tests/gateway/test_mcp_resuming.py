"""A call that another process began has one row in the ledger, however it ends here."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from polycall.gateway.mcp.calls import McpRequest, ToolCalls
from polycall.gateway.mcp.resuming import Resumer
from polycall.gateway.mcp.task_records import TaskRecord
from polycall.gateway.store import LedgerRow
from polycall.mcp.tasks import ServerTask

ASKED = cast("McpRequest", SimpleNamespace(owner=SimpleNamespace(id="id-1")))


class Calls:
    """What a `Resumer` asks of `ToolCalls`; a tool of `place`, or none."""

    worker = "here"

    def __init__(self, place: str, error: str) -> None:
        self.rows: list[LedgerRow] = []
        self.offered = SimpleNamespace(member=SimpleNamespace(place=place)) if place else None
        self.error = error

    def deadline_s(self, _: str) -> float:
        return 1.0

    async def find(self, *_: object) -> Any:
        return self.offered

    def unreachable(self, _: str) -> str:
        return self.error

    def withheld(self, *_: object) -> str:
        return ""

    def write_row(self, row: LedgerRow) -> None:
        self.rows.append(row)

    async def cancel_task(self, *_: object) -> None:
        """Nobody is told."""


def record() -> TaskRecord:
    now = time.time()
    return TaskRecord(
        id="1", tool="far_b", server="far", key="first", worker="gone", created=now, updated=now,
        beat=0.0, ttl_ms=60_000, call_id="c", server_task=ServerTask("t", "there"),
    )  # fmt: skip


def running_on(calls: Calls) -> Any:
    return Resumer(cast("ToolCalls", calls), cast("Any", None)).running(ASKED, record())


@pytest.mark.parametrize(
    ("place", "words"), [("elsewhere", "is another server"), ("", "cannot be had")]
)
async def test_a_result_that_is_not_to_be_had_has_its_row(place: str, words: str) -> None:
    calls = Calls(place, "")
    result = await running_on(calls).next()
    assert words in result["content"][0]["text"]
    (row,) = calls.rows
    assert (row.id, row.key_id, row.asked, row.outcome) == ("c", "id-1", "far_b", "error")


@pytest.mark.parametrize("is_left", [False, True])
async def test_a_call_that_is_cancelled_before_its_server_is_there_has_its_row(
    *, is_left: bool
) -> None:
    calls = Calls("", "away")
    running = running_on(calls)
    await asyncio.sleep(0.01)
    if is_left:
        running.leave()
    running.cancel()
    async with asyncio.timeout(5):
        while not running.is_done:
            await asyncio.sleep(0.01)
    assert [row.outcome for row in calls.rows] == ([] if is_left else ["cancelled"])
