"""A talk by voice with each feature: its row of docs/joins.md."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from polycall import ToolContext, tool
from polycall.agents import AgentContext, ApprovalRequest, Compaction, Sessions
from polycall.agents.approval_backend import Edited
from polycall.errors import RequestError
from polycall.loop import CallEnd
from polycall.mcp import HttpServer, connect
from polycall.realtime import Talk
from polycall.sim.realtime import VoiceScript
from polycall.sim.script import Call, Turn
from polycall.testing import FunctionModel
from polycall.tools import AbstractToolset

from ..mcp.support import STOCK, http_program, until_it_answers
from ..realtime.harness import LIVE, OPENAI, agent_of, hold
from ..realtime.test_forty_cases import saying
from .forked import in_child
from .table import FEATURES, REFUSED


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "any")


ONE_QUESTION = saying(("say", 600), ("wait", 6000))
PAY = Turn(calls=[Call("pay", {"amount": 900})])


def yes(request: ApprovalRequest) -> bool:
    return True


class Till:
    """What a talk's tools have done."""

    def __init__(self) -> None:
        self.paid: list[int] = []
        self.asked: list[str] = []
        self.seen: list[str] = []

        @tool(needs_approval=True)
        async def pay(amount: int) -> str:
            """Pay."""
            self.paid.append(amount)
            return f"paid {amount}"

        @tool(background=True)
        async def later(context: ToolContext[Any]) -> str:
            """Work on."""
            await asyncio.sleep(1)
            return "worked"

        @tool
        async def slow() -> str:
            """Wait."""
            try:
                await asyncio.sleep(600)
            finally:
                self.seen.append("ended")
            return ""

        @tool(raises=[AssertionError])
        async def fail() -> str:
            """Fail."""
            raise AssertionError("the stub was called")

        @tool
        async def who(context: AgentContext[Any]) -> str:
            """Say whose run it is."""
            self.seen.append(context.user)
            return context.user

        self.agent = agent_of(pay, later, slow, fail, who)

    def talk(self, *turns: Turn, drive: Any = ONE_QUESTION, **options: Any) -> Any:
        agent = options.pop("agent", self.agent)
        return hold(OPENAI, agent, VoiceScript.of(list(turns)), drive, **options)


def approvals(name: str) -> None:
    till = Till()

    def approve(request: ApprovalRequest) -> Any:
        till.asked.append(request.tool)
        request.always = name == "always"
        return Edited({"amount": 9}) if name == "edited arguments" else name != "deny"

    turns = [PAY, PAY] if name == "always" else [PAY]
    till.talk(*turns, Turn("Done."), approve=approve)
    expected = {"deny": [], "always": [900, 900], "edited arguments": [9]}
    assert till.paid == expected.get(name, [900])
    assert till.asked == ["pay"]


def streaming(_: str) -> None:
    outcome = Till().talk(Turn("In pieces."))
    assert outcome.said == ["In pieces."]


def limits(_: str) -> None:
    outcome = Till().talk(Turn("Done."), drive=saying(("wait", 60_000)), talk_s_max=2)
    assert outcome.end.reason == "time"
    outcome = Till().talk(Turn("Done."), Turn("More."), cost_max=0.000001)
    assert outcome.end.reason == "cost"


def client(_: str) -> None:
    # The agent's own model works behind a voice that only delegates.
    model = FunctionModel(lambda request: "It is done.")
    script = VoiceScript.of([Turn(calls=[Call("x")])])
    outcome = hold(LIVE, agent_of(client=model), script, saying(("say", 600), ("wait", 4000)))
    assert outcome.said == ["It is done."]
    assert len(model.requests) == 1


def background(_: str) -> None:
    outcome = Till().talk(Turn(calls=[Call("later")]), Turn("Wait."), Turn("It is done."))
    assert [each.result.text for each in outcome.of(CallEnd)] == ["worked"]


def cancel(_: str) -> None:
    till = Till()
    till.talk(Turn(calls=[Call("slow")]), drive=saying(("say", 600), ("wait", 3000)))
    assert till.seen == ["ended"]


def leaves(_: str) -> None:
    with pytest.raises(AssertionError, match="the stub was called"):
        Till().talk(Turn(calls=[Call("fail")]), judged=False)


def another_loop(_: str) -> None:
    till = Till()
    for number in (1, 2):
        till.talk(PAY, Turn("Done."), approve=yes)
        assert till.paid == [900] * number


def forks(_: str) -> None:
    def child() -> bool:
        till = Till()
        till.talk(PAY, Turn("Done."), approve=yes)
        return till.paid == [900]

    Till().talk(Turn("Done."))
    assert in_child(child)


async def said_by_mcp(tools: AbstractToolset) -> str:
    """What the server's tool says through a talk, whose clock is not that of the server."""
    called: list[str] = []

    async def until_called(talk: Talk, caller: Any) -> None:
        await caller.wait(200)
        await caller.say(600)
        for _ in range(500):
            await caller.wait(100)
            if called:
                break
            time.sleep(0.01)
        await caller.wait(2000)

    turns = [Turn(calls=[Call("stock_add", {"a": 2, "b": 3})]), Turn("Five.")]
    agent = agent_of(tools.logged(called.append))
    outcome = await asyncio.to_thread(Till().talk, *turns, agent=agent, drive=until_called)
    return str([each.result.text for each in outcome.of(CallEnd)])


@pytest.fixture(scope="module")
def mcp_url() -> Iterator[str]:
    with http_program(str(STOCK), "http") as (_, url):
        asyncio.run(until_it_answers(url))
        yield url


async def test_a_talk_calls_a_server_of_mcp(mcp_url: str) -> None:
    async with connect(HttpServer("stock", url=mcp_url)) as tools:
        assert "5" in await said_by_mcp(tools)


def user(_: str) -> None:
    till = Till()
    till.talk(Turn(calls=[Call("who")]), Turn("You are."), user="mina")
    assert till.seen == ["mina"]


def refused(_: str) -> None:
    with Sessions(":memory:") as sessions, pytest.raises(RequestError, match="begin with history="):
        Talk(sessions.open("a"), voice=OPENAI)  # type: ignore[arg-type]
    for words, agent, options in (
        ("cannot pause", agent_of(), {"approve": "pause"}),
        ("a voice speaks", agent_of(output=int), {}),
    ):
        with pytest.raises(RequestError, match=words):
            Talk(agent, voice=OPENAI, **options)  # type: ignore[arg-type]
    outcome = Till().talk(Turn("Hi."), agent=agent_of(compaction=Compaction(), hooks=[print]))
    assert [each.feature for each in outcome.run.warnings] == ["compaction", "hooks"]


WAYS: dict[str, Callable[[str], None]] = {
    **dict.fromkeys(("allow", "deny", "always", "edited arguments"), approvals),
    "streaming": streaming,
    "limits": limits,
    "client": client,
    "background": background,
    "cancel": cancel,
    "exception": leaves,
    "another loop": another_loop,
    "fork": forks,
    "user": user,
}


@pytest.mark.parametrize("feature", WAYS)
def test_a_talk_has_each_feature(feature: str) -> None:
    WAYS[feature](feature)


def test_what_a_talk_has_not_is_refused_or_warned_of() -> None:
    refused("")


def test_no_feature_of_a_talk_is_left_out() -> None:
    told = {feature for face, feature in REFUSED if face == "voice"}
    assert {*WAYS, *told, "MCP"} == set(FEATURES)
