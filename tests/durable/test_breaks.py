"""Durable runs where something is wrong: the database, its rows, the caller, or two at once."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from polycall import Agent, ToolContext
from polycall.agents import Guarded
from polycall.durable import Durable, Runs
from polycall.errors import RequestError
from polycall.ir import Request, ToolCall
from polycall.testing import FunctionModel, ScriptedModel
from polycall.tools import tool

from ..servers import postgres


def durable(url: str, *agents: Agent[Any, Any], **options: Any) -> Durable:
    settings: dict[str, Any] = {"lease_s": 5.0, "poll_s": 0.02, **options}
    return Durable(url, agents=agents, **settings)


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(15):
        while not await is_so():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("begun", [1, pytest.param(120, marks=pytest.mark.slow)])
async def test_all_tasks_of_a_run_end_with_it(sqlite: str, begun: int) -> None:
    @tool(background=True)
    async def bake(n: int) -> str:
        """Bake."""
        await asyncio.sleep(60)
        return "baked"

    def answer(request: Request) -> Any:
        if all(message.role != "assistant" for message in request.messages):
            return [ToolCall(f"c{n}", "bake", f'{{"n": {n}}}') for n in range(120)]
        return ToolCall("w", "wait_for_tasks", "{}")

    agent = Agent("test/m", name="a", tools=[bake], client=FunctionModel(answer))
    async with durable(sqlite, agent) as here:
        handle = await here.start("a", "go", run_id="r")

        async def have_begun() -> bool:
            return len(await here.tasks("r", limit=None)) >= begun

        async def have_ended() -> bool:
            tasks = await here.tasks("r", limit=None)
            return len(tasks) >= begun and {each.state for each in tasks} == {"cancelled"}

        await until(have_begun)
        await handle.cancel()
        await asyncio.sleep(0.5)  # calls that were under way have begun theirs
        await until(have_ended)
        assert len(await here.tasks("r")) <= 100


@pytest.mark.slow
async def test_postgres_goes_away_while_a_run_waits_and_comes_back() -> None:
    paid: list[int] = []

    @tool(needs_approval=True)
    async def pay(amount: int) -> str:
        """Pay."""
        paid.append(amount)
        return "paid"

    with postgres() as server, ScriptedModel([ToolCall("p", "pay", '{"amount": 4}'), "ok"]) as m:
        agent = Agent("test/m", name="a", tools=[pay], client=m)
        async with durable(server.database(), agent, lease_s=1.0) as here:
            handle = await here.start("a", "go", run_id="r")

            async def is_waiting() -> bool:
                return (await handle.info()).state == "waiting"

            await until(is_waiting)
            await asyncio.to_thread(server.stop)
            await asyncio.sleep(1.5)
            await asyncio.to_thread(server.start)
            await until(is_waiting)
            await here.allow("r", "call/1/p")
            result = await asyncio.wait_for(handle.result(), 20)
            names = [name for name, _ in await here.steps("r")]
    assert (result.text, paid) == ("ok", [4])
    assert names == ["model/1", "call/1/p", "model/2"]


async def test_a_row_that_is_no_run_does_not_hide_the_others(sqlite: str) -> None:
    with ScriptedModel(["hello", "hello"]) as model:
        async with durable(sqlite, Agent("test/m", name="a", client=model)) as here:
            for run_id in ("good", "bad"):
                await (await here.start("a", "hi", run_id=run_id)).result()
    with sqlite3.connect(sqlite.removeprefix("sqlite:///")) as connection:
        garbage = "update workflow_input set inputs = replace(inputs, 'messages', 'masseges')"
        assert connection.execute(f"{garbage} where workflow_uuid = 'bad'").rowcount == 1
    connection.close()
    async with Runs(sqlite) as runs:
        bad, good = await runs.list()
    assert (good.id, good.agent, good.prompt, good.error) == ("good", "a", "hi", "")
    assert (bad.id, bad.agent) == ("bad", "")
    assert "no Start here: Object missing required field `messages`" in bad.error


async def test_what_could_not_be_read_again_is_not_written(sqlite: str) -> None:
    with ScriptedModel([]) as model:
        agent = Agent("test/m", name="a", client=model)
        async with durable(sqlite, agent) as here:
            wrong: list[tuple[dict[str, Any], str]] = [
                ({"user": 5}, "user is a str, not 5"),
                ({"run_id": 5}, "run_id is a str, not 5"),
                ({"run_id": "x" * 301}, "at most 300 characters"),
                ({"run_id": "a\0b"}, "none that are zero"),
                ({"run_id": "a\ud83d"}, "a run_id has half a character, which UTF-8 cannot hold"),
                ({"user": "a\ud83d"}, "user has half a character"),
                ({"session": "a\ud83d"}, "a session's id has half a character"),
                ({"variables": ["x"]}, "variables is a dict"),
                ({"variables": {"x": object()}}, "not plain JSON"),
            ]
            for options, told in wrong:
                with pytest.raises(RequestError, match=told):
                    await here.start("a", "hi", **options)
            nothings: list[Any] = ["", []]
            for nothing in nothings:
                with pytest.raises(RequestError, match="there is nothing to answer"):
                    await here.start("a", nothing)
            odd: list[dict[str, Any]] = [{"lease_s": "1"}, {"poll_s": True}, {"tasks_max": None}]
            for bounds in odd:
                with pytest.raises(RequestError, match=" is above 0, not "):
                    durable(sqlite, agent, **bounds)
            with pytest.raises(RequestError, match="no agent None here"):
                await here.start(None, "hi")  # type: ignore[arg-type]
            assert await here.list() == []


async def test_databases_and_agents_that_are_none(sqlite: str) -> None:
    agent = Agent("test/m", name="a", client=ScriptedModel([]))
    path = sqlite.removeprefix("sqlite:///")
    with open(path, "wb") as file:
        file.write(bytes(range(256)) * 16)
    for url, told in (
        (sqlite, "file is not a database"),
        ("postgresql://127.0.0.1:1/runs", "cannot be kept at .*refused"),
    ):
        with pytest.raises(RequestError, match=told):
            await durable(url, agent).__aenter__()
    agents: Any
    for agents, told in (
        (agent, r"write agents=\[a\]"),
        (["a"], "of an Agent, not of 'a'"),
        ([Guarded(agent)], "of an Agent, not of Guarded"),
    ):
        with pytest.raises(RequestError, match=told):
            Durable(sqlite, agents=agents)
    for name in ("lease_s", "poll_s", "runs_max", "tasks_max"):
        with pytest.raises(RequestError, match=f"{name} is above 0, not 0"):
            durable(sqlite, agent, **{name: 0})


async def test_resumed_twice_at_once_it_goes_on_once(sqlite: str) -> None:
    begun = asyncio.Event()
    done: list[int] = []
    keys: set[str] = set()

    @tool
    async def work(n: int, context: ToolContext[Any]) -> str:
        """Work."""
        done.append(n)
        keys.add(context.idempotency_key)
        if len(done) == 1:
            begun.set()
            await asyncio.sleep(60)
        await asyncio.sleep(0.3)
        return f"did {n}"

    def answer(request: Request) -> Any:
        said = sum(message.role == "assistant" for message in request.messages)
        return ToolCall(f"c{said}", "work", f'{{"n": {said}}}') if said < 3 else "done"

    agent = Agent("test/m", name="a", tools=[work], client=FunctionModel(answer))
    async with durable(sqlite, agent) as here, Runs(sqlite) as desk:
        handle = await here.start("a", "go", run_id="r")
        await begun.wait()
        await handle.cancel()
        await asyncio.gather(*(runs.resume("r") for runs in (here, desk, here, desk)))
        assert (await handle.result()).text == "done"
        names = [name for name, _ in await here.steps("r")]
    assert names == [
        *("model/1", "call/1/c0", "model/2", "call/2/c1", "model/3", "call/3/c2", "model/4")
    ]
    # What was under way may be done again with each, and what was recorded is not.
    assert done.count(0) >= 2
    assert done[-2:] == [1, 2]
    assert keys == {"r/call/1/c0", "r/call/2/c1", "r/call/3/c2"}


@pytest.mark.parametrize("hours", [-1, 1])
async def test_whoever_died_before_the_clock_jumped_is_taken_over_from(
    sqlite: str, hours: int
) -> None:
    with ScriptedModel(["hello"]) as model:
        agent = Agent("test/m", name="a", client=model)
        async with durable(sqlite, agent, lease_s=1.0) as here:
            insert = "insert into polycall_executors (id, host, pid, seen, taken_by, taken_at) "
            here.database.change(
                f"{insert} values ('dead', 'elsewhere', 1, {here.database.now} + :jump, "
                f"'dead too', {here.database.now} + :jump)",
                jump=3600.0 * hours,
            )

            async def is_gone() -> bool:
                rows = here.database.rows("select id from polycall_executors")
                return [row["id"] for row in rows] == [here.executor_id]

            await until(is_gone)
            assert (await (await here.start(agent, "hi")).result()).text == "hello"
