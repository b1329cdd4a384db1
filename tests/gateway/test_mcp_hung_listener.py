"""A client that reads nothing keeps no other from hearing of a change."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from polycall.gateway.mcp.subscriptions import Subscriptions
from polycall.mcp.connection import Kind


class Listener:
    def __init__(self, *, reads: bool) -> None:
        self.heard = 0
        self._reads = reads
        self.session = self

    @property
    def _connection(self) -> Listener:
        return self

    async def send_tool_list_changed(self) -> None:
        self.heard += 1
        if not self._reads:
            await asyncio.Event().wait()

    send_prompt_list_changed = send_resource_list_changed = send_tool_list_changed


@pytest.mark.parametrize("kind", ["tools", "prompts", "resources"])
async def test_s16_a_client_that_reads_nothing_keeps_no_other_waiting(kind: Kind) -> None:
    nothing: Any = None
    subscriptions = Subscriptions(nothing, nothing)
    listeners: list[Any] = [Listener(reads=place % 2 == 1) for place in range(6)]
    for each in listeners:
        subscriptions.met(each)
    for _ in range(3):
        async with asyncio.timeout(1):
            await subscriptions.changed(kind)
        for _ in range(3):
            await asyncio.sleep(0)
    assert [each.heard for each in listeners] == [1, 3] * 3
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert len(others) == 3  # one for each that reads nothing, however often something changes
    for task in others:
        task.cancel()
