"""What servers tell without end or not at all, and what clients are told of it.  No server runs."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import mcp_types as types
import pytest
from mcp import Client, MCPError

from polycall.config import parse_config
from polycall.errors import ConfigError, RequestError, ToolServerError
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.mcp.calls import CallScope
from polycall.gateway.mcp.log_messages import ServerLogs
from polycall.gateway.mcp.task_jobs import TaskJob
from polycall.gateway.mcp.task_records import TaskRecord
from polycall.gateway.mcp.task_requests import TaskRequests
from polycall.ir import JSON
from polycall.mcp import StdioServer, listing
from polycall.mcp import connection as connection_module
from polycall.mcp.asking import Elicitation
from polycall.mcp.connection import Connection
from polycall.mcp.logs import LEVELS, LogMessage, LogSink
from polycall.tools import ToolContext

# pyright: reportPrivateUsage=false
OWNER = Owner("id-1", "first")
SERVER = StdioServer("s", command=["true"])


@pytest.mark.parametrize("lowest", ["error", "debug"])
async def test_messages_that_a_client_does_not_want_use_up_no_bound(
    lowest: types.LoggingLevel,
) -> None:
    heard: list[LogMessage] = []

    async def hear(message: LogMessage) -> None:
        heard.append(message)

    logs = ServerLogs("s", [])
    context = ToolContext(deps=CallScope(OWNER, "r", log=hear, log_level=lowest))
    for number in range(4_000):
        below = LEVELS[: LEVELS.index(lowest)]
        level = below[number % len(below)] if below and number < 2_500 else lowest
        await logs.write(LogMessage(level, "x"), context)
    assert Counter(each.level for each in heard[:-1]) == {lowest: 1_000}
    assert "left out" in heard[-1].data
    assert LEVELS.index(heard[-1].level) >= LEVELS.index(lowest)


def unheard(*_: Any) -> None:
    """Nobody listens."""


async def nothing() -> None:
    """No tools are listed anew."""


async def test_a_stream_of_changes_that_opens_again_tells_of_what_the_server_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_module, "_LISTEN_AGAIN_S", 0.0)
    connection = Connection(SERVER, nothing)
    times = 0

    @asynccontextmanager
    async def listen(**_: bool) -> AsyncGenerator[AsyncIterator[Any]]:
        nonlocal times
        times += 1
        if times > 2:
            raise MCPError(types.INTERNAL_ERROR, "enough")
        yield cast("Any", _none())

    async def _none() -> AsyncIterator[None]:
        for each in ():
            yield each

    can = types.ServerCapabilities(prompts=types.PromptsCapability())
    client = SimpleNamespace(server_capabilities=can, listen=listen)
    listening = asyncio.ensure_future(
        connection._listen(cast("Client", client), task_status=cast("Any", _Started()))
    )
    while times < 3:
        await asyncio.sleep(0)
    listening.cancel()
    assert connection._changed == {"prompts"}


class _Started:
    def started(self) -> None:
        """Nobody waits."""


async def test_changes_that_a_server_announces_without_end_are_told_more_and_more_rarely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_module, "_REFRESH_PAUSE_S", 0.001)
    told: list[str] = []
    connection = Connection(SERVER, nothing, on_others_changed=told.append)
    refreshing = asyncio.ensure_future(connection._refresh())
    async with asyncio.timeout(5):
        while len(told) < 2:
            connection._mark("prompts")
            await asyncio.sleep(0)
    end = asyncio.get_running_loop().time() + 0.12
    while asyncio.get_running_loop().time() < end:
        connection._mark("prompts")
        await asyncio.sleep(0.001)
    refreshing.cancel()
    assert len(told) <= 12  # a pause that stays would tell of about a hundred


@pytest.mark.parametrize("pages", ["large", "in a ring", "endless"])
async def test_lists_are_bounded_in_size_and_have_an_end(pages: str) -> None:
    bounds = listing.ListBounds(bytes_max=10_000)
    prompts = [types.Prompt(name="x", description="y" * 2_000)]
    number = 0

    async def page(cursor: str | None) -> types.ListPromptsResult:
        nonlocal number
        number += 1
        following = "same" if cursor is not None and pages == "in a ring" else f"more {number}"
        return types.ListPromptsResult(
            prompts=prompts if pages == "large" else [], next_cursor=following
        )

    words = {
        "large": r"list_bytes_max \(10,000",
        "in a ring": "a cursor comes twice",
        "endless": "100 pages",
    }
    with pytest.raises(ToolServerError, match=words[pages]):
        await listing.all_pages(
            "s", "prompts/list", page, lambda found: found.prompts, bounds=bounds
        )


async def test_a_client_hears_that_a_task_ended_whose_result_is_not_kept() -> None:
    record = SimpleNamespace(
        id="t", status="completed", created=0.0, updated=0.0, ttl_ms=1, message="",
        question_name="", is_over=True,
    )  # fmt: skip

    class Kept:
        async def find(self, *_: Any) -> Any:
            return record

        async def result(self, *_: Any) -> JSON:
            raise MCPError(types.INVALID_PARAMS, "not kept any more")

    told: list[JSON] = []
    never = cast("Any", lambda *_: None)  # pyright: ignore[reportUnknownLambdaType]
    requests = TaskRequests(cast("Any", Kept()), lambda _: OWNER, never, never, never)
    await requests.watch(cast("Any", None), "t", told.append)
    assert [each["status"] for each in told] == ["failed"]
    assert told[0]["error"]["message"] == "not kept any more"


async def test_a_question_that_is_declined_for_its_size_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers: list[Any] = []
    running = SimpleNamespace(
        question=Elicitation("s", "?" * 70_000, schema={"type": "object", "properties": {}}),
        answer=answers.append,
        listen=unheard,
    )

    async def change_state(*_: Any) -> None:
        """Nothing is kept."""

    record = TaskRecord("t", "s_x", "s", "k", "w", 0.0, 0.0, 0.0, 2**60, can_ask=True)
    store = SimpleNamespace(change_state=change_state)
    job = TaskJob(cast("Any", store), OWNER, record, cast("Any", running))
    with caplog.at_level(logging.WARNING):
        await job._look()
    assert [each.action for each in answers] == ["decline"]
    assert "declined" in caplog.text


@pytest.mark.parametrize(
    "uri", ["file:///a\nb", "file:///\ud800", "file:///a\x00", "file:///\u200b"]
)
def test_a_folder_that_no_address_can_name_is_refused_where_it_is_written(uri: str) -> None:
    with pytest.raises(RequestError, match="roots"):
        StdioServer("s", command=["true"], roots=[uri])
    if uri.isascii():
        text = (
            f'[mcp.s]\nurl = "https://h/mcp"\nroots = ["{uri.encode("unicode_escape").decode()}"]\n'
        )
        with pytest.raises(ConfigError, match="roots"):
            parse_config(text.replace("\\x00", "\\u0000"), environment={})


@pytest.mark.parametrize("outcome", ["refused", "cancelled", "silent", "taken"])
async def test_a_log_level_is_asked_for_again_until_the_server_has_it(outcome: str) -> None:
    class Sink:
        def level(self, _: Any) -> str:
            return "info"

    asked = 0

    async def send_request(*_: Any) -> None:
        nonlocal asked
        asked += 1
        if outcome == "cancelled":
            raise asyncio.CancelledError
        if outcome != "taken":
            code = types.INTERNAL_ERROR if outcome == "refused" else types.REQUEST_TIMEOUT
            raise MCPError(code, "no")

    client = SimpleNamespace(
        protocol_version="2025-06-18",
        server_capabilities=types.ServerCapabilities(logging=types.LoggingCapability()),
        session=SimpleNamespace(send_request=send_request),
    )
    connection = Connection(SERVER, nothing, log=cast("LogSink", Sink()))
    for _ in range(2):
        try:
            await connection._log_from(cast("Client", client), ToolContext(deps=None))
        except asyncio.CancelledError:
            assert outcome == "cancelled"
    assert asked == (2 if outcome in ("refused", "cancelled") else 1)
