"""Durable runs with each feature: their row of docs/joins.md."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent, Limits, Sessions
from polycall.agents import Approval
from polycall.durable import Durable, RunCancelledError, RunFailedError, RunHandle
from polycall.errors import RequestError
from polycall.ir import PartDelta, ToolCall
from polycall.loop import ModelEvent
from polycall.mcp import HttpServer, connect
from polycall.sim import Simulation

from ..agents.support import client_of
from ..mcp.support import STOCK, http_program, until_it_answers
from .forked import in_child
from .table import FEATURES
from .test_joins import Order, World, check_summary, pay, summing

SUMMARY = "vendor's summary"
PAYS = ("allow", "deny", "always", "edited arguments", "pause", "limits", "hooks", "client")


class Fleet:
    """One Durable for all cells, and for each cell an agent and what its tools have done."""

    def __init__(self, folder: Path, mcp_url: str) -> None:
        self.folder = folder
        self.runner = asyncio.Runner()
        self.sessions = Sessions(f"sqlite:///{folder / 'chat.db'}")
        self.mcp_url = mcp_url
        self.worlds = {name: World("Agent.run", folder) for name in FEATURES}
        self.durable = self.runner.run(self._open(folder))

    async def _open(self, folder: Path) -> Durable:
        server = HttpServer("stock", url=self.mcp_url)
        self.connected = connect(server)
        self.worlds["MCP"].tools.append(await self.connected.__aenter__())
        self.agents = {name: self._agent(name, world) for name, world in self.worlds.items()}
        self.simulation = Simulation(seed=6).__enter__()
        self.client = client_of(self.simulation)
        self.agents[SUMMARY] = summing(self.simulation, self.client, name="summing")
        self.url = f"sqlite:///{folder / 'runs.db'}"
        made = Durable(
            self.url,
            agents=self.agents.values(),
            poll_s=0.02,
            sessions=self.sessions,
        )
        return await made.__aenter__()

    def _agent(self, name: str, world: World) -> Agent[Any, Any]:
        script: list[Any] = [pay(), "done"]
        options: dict[str, Any] = {}
        match name:
            case "always":
                script = [pay(1), pay(2), "done"]
            case "limits":
                options["limits"] = Limits(steps=1)
            case "typed output":
                script, options["output"] = ['{"item": "tea"}'], Order
            case "user":
                script = [ToolCall("w", "who", "{}"), "done"]
            case "encrypted" | "branch":
                script = ["one done", "two done", "other"]
            case "streaming" | "session kept":
                script = ["in pieces", "again"]
            case "background":
                script = [ToolCall("l", "later", "{}"), "it goes on", "it is done"]
            case "cancel":
                script = [ToolCall("s", "slow", "{}"), "done"]
            case "exception":
                script = [ToolCall("x", "fail", "{}"), "done"]
            case "MCP":
                script = [ToolCall("m", "stock_add", '{"a": 2, "b": 3}'), "done"]
            case _:
                pass
        made = world.agent(*script, **options)
        made.name = name.replace(" ", "_")
        return made

    def close(self) -> None:
        self.runner.run(self.client.close())
        self.simulation.__exit__(None, None, None)
        self.runner.run(self.durable.__aexit__(None, None, None))
        self.runner.run(self.connected.__aexit__(None, None, None))
        self.runner.close()
        self.sessions.close()
        for world in self.worlds.values():
            world.sessions.close()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with http_program(str(STOCK), "http") as (_, url):
        asyncio.run(until_it_answers(url))
        made = Fleet(tmp_path_factory.mktemp("fleet"), url)
        yield made
        made.close()


def test_another_loop_goes_on_with_what_the_first_began(tmp_path: Path) -> None:
    world = World("Agent.run", tmp_path)
    agent = world.agent(pay(), "done")
    url = f"sqlite:///{tmp_path / 'runs.db'}"

    async def first() -> None:
        async with Durable(url, agents=[agent], poll_s=0.02) as durable:
            await waiting(durable, await durable.start(agent, "go", run_id="r"))

    async def second() -> str:
        async with Durable(url, agents=[agent], poll_s=0.02) as durable:
            handle = durable.handle("r")
            await durable.allow("r", (await waiting(durable, handle)).id)
            return (await handle.result()).text

    asyncio.run(first())
    assert world.paid == []
    assert asyncio.run(second()) == "done"
    assert world.paid == [900]
    world.sessions.close()


def test_without_an_event_loop_each_method_is_waited_for(tmp_path: Path) -> None:
    world = World("Agent.run", tmp_path)
    agent = world.agent(pay(), "in pieces", pay(), "refused")
    with Durable(f"sqlite:///{tmp_path / 'runs.db'}", agents=[agent], poll_s=0.02) as durable:
        handle = durable.start(agent, "go", run_id="r")
        for each in handle.stream():
            if isinstance(each, Approval):
                assert (world.paid, handle.info().state) == ([], "waiting")
                durable.allow("r", each.id)
        assert (handle.result().text, world.paid) == ("in pieces", [900])
        with durable.stream(agent, "again", run_id="s") as stream:
            for each in stream:
                if isinstance(each, Approval):
                    durable.deny(stream.run_id, each.id, "no")
        assert (stream.result().text, world.paid) == ("refused", [900])
        with durable.handle("s").stream(after=stream.position - 1) as late:
            assert [type(each).__name__ for each in late] == ["RunEnd"]
        with durable.handle("s").stream() as late:
            assert "".join(late.text()) == "refused"
        assert [each.id for each in durable.list()] == ["s", "r"]
        with pytest.raises(RequestError, match="the run begins with a block"):
            next(durable.stream(agent, "never begun"))
        with pytest.raises(RequestError, match="there is no run 'x'"):
            durable.show("x")
    world.sessions.close()


async def waiting(durable: Durable, handle: RunHandle) -> Approval:
    async with asyncio.timeout(20):
        while not (found := await durable.approvals(handle.run_id)):
            await asyncio.sleep(0.02)
    return found[0]


async def paying(fleet: Fleet, name: str) -> None:
    world, agent, durable = fleet.worlds[name], fleet.agents[name], fleet.durable
    handle = await durable.start(agent, "go")
    asked = await waiting(durable, handle)
    assert world.paid == []
    if name == "pause":
        assert (await handle.info()).state == "waiting"
    if name == "deny":
        await durable.deny(handle.run_id, asked.id, "no")
    else:
        arguments = {"amount": 9} if name == "edited arguments" else None
        await durable.allow(handle.run_id, asked.id, always=name == "always", arguments=arguments)
    result = await handle.result()
    expected = {"deny": [], "always": [900, 900], "edited arguments": [9]}
    assert world.paid == expected.get(name, [900])
    assert result.reason == ("steps" if name == "limits" else "finished")
    if name == "hooks":
        assert {"CallEnd", "RunEnd"} <= set(world.heard)
    if name == "client":
        assert [request.model for request in world.model.requests] == ["clerk/m"] * 2


async def streaming(fleet: Fleet, name: str) -> None:
    texts: list[str] = []
    async with fleet.durable.stream(fleet.agents[name], "go") as stream:
        async for event in stream:
            if isinstance(event, ModelEvent) and isinstance(event.event, PartDelta):
                texts.append(event.event.text)
    assert "".join(texts) == "in pieces"


async def sync_face(fleet: Fleet, name: str) -> None:
    # Where a loop runs; `test_without_an_event_loop_...` has the rest.
    with pytest.raises(RequestError, match="write 'async with Durable"), fleet.durable:
        pass


async def typed(fleet: Fleet, name: str) -> None:
    result = await (await fleet.durable.start(fleet.agents[name], "go")).result()
    assert result.output == {"item": "tea"}


async def background(fleet: Fleet, name: str) -> None:
    await (await fleet.durable.start(fleet.agents[name], "go")).result()
    world = fleet.worlds[name]
    assert world.ended == ["later"]
    assert "worked" in str(world.model.requests[-1].messages)


async def cancelled(fleet: Fleet, name: str) -> None:
    handle = await fleet.durable.start(fleet.agents[name], "go")
    async with asyncio.timeout(20):
        while not await fleet.durable.steps(handle.run_id):
            await asyncio.sleep(0.02)
    await handle.cancel()
    with pytest.raises(RunCancelledError):
        await handle.result()


async def leaves(fleet: Fleet, name: str) -> None:
    handle = await fleet.durable.start(fleet.agents[name], "go")
    with pytest.raises(RunFailedError, match="the stub was called"):
        await handle.result()


async def forks(fleet: Fleet, name: str) -> None:
    agent = fleet.agents[name]

    def child() -> bool:
        async def use() -> None:
            with pytest.raises(RequestError, match="fork before they are opened"):
                await fleet.durable.start(agent, "go")
            with pytest.raises(RequestError, match="fork before they are opened"):
                async with Durable(fleet.url, agents=[agent]):
                    pass

        asyncio.run(use())
        return True

    assert await asyncio.to_thread(in_child, child)


async def mcp(fleet: Fleet, name: str) -> None:
    result = await (await fleet.durable.start(fleet.agents[name], "go")).result()
    assert "text='5" in str(result.history.messages)


async def kept(fleet: Fleet, name: str) -> None:
    agent, durable = fleet.agents[name], fleet.durable
    for run_id, words in (("s1", "one"), ("s2", "two")):
        handle = await durable.start(agent, words, run_id=run_id, session="mina")
        await handle.result()
    # The same run again is the same run, and is not said twice.
    await (await durable.start(agent, "two", run_id="s2", session="mina")).result()
    said = [message.text for message in await fleet.sessions.open("mina").messages()]
    assert said == ["one", "in pieces", "two", "again"]
    sent = fleet.worlds[name].model.requests[-1].messages
    assert [message.text for message in sent if message.role != "system"] == said[:3]
    with pytest.raises(RequestError, match="not both"):
        await durable.start(agent, "x", session="mina", history=[{"role": "user", "content": "x"}])


async def of_a_user(fleet: Fleet, name: str) -> None:
    await (await fleet.durable.start(fleet.agents[name], "go", user="mina")).result()
    assert fleet.worlds[name].users == ["mina"]


async def encrypted(fleet: Fleet, name: str) -> None:
    plain, path = fleet.durable.sessions, fleet.folder / "encrypted.db"
    with Sessions(str(path), secret="0123456789abcdef-of-a-test") as sessions:
        fleet.durable.sessions = sessions
        try:
            handle = await fleet.durable.start(fleet.agents[name], "go", session="e")
            await handle.result()
        finally:
            fleet.durable.sessions = plain
        assert [each.text for each in await sessions.open("e").messages()] == ["go", "one done"]
    assert b"one done" not in path.read_bytes()


async def branched(fleet: Fleet, name: str) -> None:
    async def ask(session: str, words: str) -> None:
        await (await fleet.durable.start(fleet.agents[name], words, session=session)).result()

    await ask("trunk", "one")
    other = fleet.sessions.branch("trunk", "branch")
    await ask("trunk", "two")
    await ask("branch", "three")
    said = [message.text for message in await other.messages()]
    assert said == ["one", "one done", "three", "other"]


async def summed_up(fleet: Fleet, name: str) -> None:
    result = await (await fleet.durable.start(fleet.agents[name], "go")).result()
    assert result.text == "done"
    check_summary(fleet.simulation)


WAYS: dict[str, Callable[[Fleet, str], Any]] = {
    **dict.fromkeys(PAYS, paying),
    "streaming": streaming,
    "sync face": sync_face,
    "typed output": typed,
    "background": background,
    "cancel": cancelled,
    "exception": leaves,
    "fork": forks,
    "MCP": mcp,
    "session kept": kept,
    "user": of_a_user,
    "encrypted": encrypted,
    "branch": branched,
    SUMMARY: summed_up,
}


@pytest.mark.parametrize("feature", WAYS)
def test_a_durable_run_has_each_feature(fleet: Fleet, feature: str) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await WAYS[feature](fleet, feature)

    fleet.runner.run(bounded())


def test_no_feature_is_left_out() -> None:
    assert {*WAYS, "another loop"} == set(FEATURES)
