"""Log messages, and changes of lists, from servers to the clients that they concern."""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter
from collections.abc import Iterator
from typing import Any

import mcp_types as types
import pytest

from polycall.gateway.accounts.keys import Owner
from polycall.gateway.mcp.calls import CallScope
from polycall.gateway.mcp.log_messages import ServerLogs
from polycall.mcp.asking import Elicitation, ElicitationAnswer, ServerQuestions
from polycall.mcp.logs import ConnectionLogs, LogMessage
from polycall.tools import ToolContext
from tests.gateway.harness import KEY, OTHER_KEY, Gateway
from tests.gateway.mcp_support import TOKEN, mcp_client, stock_table
from tests.gateway.test_mcp_tasks import warm

ME, OTHER = Owner("id-1", "first"), Owner("id-2", "second")


class Heard:
    """A call of a key, and what it heard."""

    def __init__(self, owner: Owner, level: types.LoggingLevel | None = None) -> None:
        self.messages: list[LogMessage] = []
        scope = CallScope(owner, "r", log=self.hear, log_level=level)
        self.context = ToolContext(deps=scope)

    async def hear(self, message: LogMessage) -> None:
        self.messages.append(message)


@pytest.mark.parametrize("who", [ME.id, OTHER.id, None])
async def test_what_a_server_says_while_or_after_another_key_asks_of_it_is_of_no_call(
    who: str | None,
) -> None:
    async def elicit(_: Elicitation, __: ToolContext[Any]) -> ElicitationAnswer:
        return ElicitationAnswer("accept")

    questions = ServerQuestions("s", elicit, None, ServerLogs("s", []))
    servers = contextvars.copy_context()  # what a server sends comes in another task
    params = types.ElicitRequestFormParams(message="?", requested_schema={"type": "object"})

    async def says(what: str, *args: Any) -> Any:
        callback = questions.callbacks[what]
        return await asyncio.create_task(callback(*args), context=servers)

    mine = Heard(ME)
    with questions.calling(mine.context):
        with questions.asking(who):
            answer = await says("elicitation_callback", None, params)
            assert isinstance(answer, types.ErrorData)
        await says("logging_callback", said("read the other's file"))
        answer = await says("elicitation_callback", None, params)
        assert isinstance(answer, types.ElicitResult)
    assert len(mine.messages) == (who == ME.id)


def said(data: Any, level: types.LoggingLevel = "info") -> types.LoggingMessageNotificationParams:
    return types.LoggingMessageNotificationParams(level=level, data=data, logger="work")


@pytest.mark.parametrize("who", ["stream", "only call", "two calls", "another key", "no call"])
async def test_a_message_reaches_the_call_that_it_is_of_and_no_other(who: str) -> None:
    logs = ConnectionLogs("s", ServerLogs("s", []))
    mine, other = Heard(ME), Heard(OTHER if who == "another key" else ME)
    logs.begun(other.context)
    logs.begun(mine.context)
    calls = [mine.context, other.context] if who in ("stream", "two calls") else [mine.context]
    own = mine.context if who == "stream" else None
    await logs.take(said("secret plans"), own, [] if who == "no call" else calls)
    is_mine = who in ("stream", "only call")
    assert [each.data for each in mine.messages] == (["secret plans"] if is_mine else [])
    assert other.messages == []


async def test_a_message_has_no_secret_and_is_bounded_in_size_and_number() -> None:
    logs = ServerLogs("s", ["hush-hush-hush"])
    call = Heard(ME)
    await logs.write(LogMessage("error", {"a": ["hush-hush-hush \U000e0041"]}, "x"), call.context)
    assert call.messages == [LogMessage("error", {"a": ["[redacted] "]}, "s.x")]
    await logs.write(LogMessage("error", "가" * 50_000), call.context)
    assert len(call.messages[1].data) < 17_000
    assert "50,000" in call.messages[1].data
    for number in range(3_000):
        await logs.write(LogMessage("error", number), call.context)
    assert len(call.messages) == 1_001
    assert "left out" in call.messages[-1].data


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Gateway]]:
    """A gateway that starts the servers, and one that has them at the first one's address."""
    places = [tmp_path_factory.mktemp(name) for name in ("near", "far")]
    keys = f'[[keys]]\nkey = "{KEY}"\nname = "first"\n[[keys]]\nkey = "{OTHER_KEY}"\nname = "b"\n'
    head = "[server]\nmcp_processes = true\n"
    tables = "".join(
        stock_table(name, places[0] / name, *more)
        for name, more in (("stock", ()), ("old", ("handshake = true",)))
    )
    near = Gateway(places[0], head + tables + keys).start()
    tables = "".join(
        f'[mcp.{name}]\nurl = "{near.url}/mcp/{name}"\n{more}'
        f'headers = {{ Authorization = "Bearer {KEY}", X = "{TOKEN}" }}\n'
        for name, more in (("stock", ""), ("old", "handshake = true\n"))
    )
    far = Gateway(places[1], head + tables + keys).start()
    for gateway in (near, far):  # a client's probe gives up after 10 s, and speaks another revision
        asyncio.run(warm(gateway))
    yield {"program": near, "address": far}
    far.stop()
    near.stop()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["program", "address"])
@pytest.mark.parametrize("server", ["stock", "old"])
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_log_messages_of_a_call(
    served: dict[str, Gateway], way: str, server: str, mode: str
) -> None:
    heard: list[types.LoggingMessageNotificationParams] = []

    async def hear(params: types.LoggingMessageNotificationParams) -> None:
        heard.append(params)

    start = f"{server}_" if way == "program" else f"{server}_{server}_"
    options: dict[str, Any] = {"logging_callback": hear}

    async def levels(level: types.LoggingLevel | None) -> Counter[str]:
        heard.clear()
        if mode == "auto":
            options["log_level"] = level
        async with mcp_client(served[way], mode=mode, **options) as client:
            assert client.server_capabilities.logging is not None
            if mode == "legacy" and level is not None:
                params = types.SetLevelRequestParams(level=level)
                await client.session.send_request(
                    types.SetLevelRequest(params=params), types.EmptyResult
                )
            await client.call_tool(f"{start}log_more", {"count": 3})
            await asyncio.sleep(0.1)
        return Counter(each.level for each in heard)

    assert await levels("debug") == {"debug": 1, "info": 1, "warning": 1, "error": 5}
    assert all((each.logger or "").startswith(server) for each in heard)
    assert TOKEN not in str(heard)
    assert await levels("warning") == {"warning": 1, "error": 5}
    unasked = await levels(None)
    assert unasked == ({} if mode == "auto" else {"info": 1, "warning": 1, "error": 5})
