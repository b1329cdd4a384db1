"""Events of durable runs from any process: from the first, after one, and after a kill -9."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent
from polycall.agents import Approval, Resumed
from polycall.durable import Durable, RunFailedError, Runs
from polycall.errors import RequestError
from polycall.ir import PartDelta
from polycall.loop import ModelEvent, RunEnd, StepEnd
from polycall.testing import FunctionModel, ScriptedModel

from .test_streaming import ASK, LOOK, PAY, Shop, durable, shown


async def test_n8_a_handle_streams_from_another_connection_and_after_an_event(url: str) -> None:
    with ScriptedModel([LOOK, ASK, PAY, "clerk: done", "all done"]) as model:
        async with durable(url, Shop().agent(model)) as here, Runs(url, poll_s=0.02) as there:
            handle = await here.start("desk", "go", run_id="r")
            seen: list[tuple[int, Any]] = []
            async with there.handle("r").stream() as stream:
                async for event in stream:
                    if isinstance(event, Approval):
                        await there.allow("r", event.id)
                    seen.append((stream.position, event))
                assert (await stream.result()).text == "all done"
            assert [position for position, _ in seen] == list(range(1, len(seen) + 1))
            words = [shown(event) for _, event in seen if shown(event) is not None]
            assert ("CallEnd", "look") in words
            assert words[-3:] == ["all done", "StepEnd", "RunEnd"]
            for after in (0, 3, len(seen)):
                reader = there.handle("r").stream(after=after)
                rest = [(reader.position, event) async for event in reader]
                assert [event for _, event in rest] == [event for _, event in seen[after:]]
            text = "".join([piece async for piece in handle.stream().text()])
            assert text == "all done"


async def test_n8_a_stream_with_the_id_of_a_run_joins_it(sqlite: str) -> None:
    shop = Shop()
    shop.wait_s = 0.3
    with ScriptedModel([LOOK, "done"]) as model:
        async with durable(sqlite, shop.agent(model)) as here:
            async with (
                here.stream("desk", "go", run_id="r") as first,
                here.stream("desk", "go", run_id="r") as second,
            ):
                one, two = await asyncio.gather(_read(first), _read(second))
            assert [shown(event) for event in one] == [shown(event) for event in two]
            assert first.position == second.position


async def test_n8_a_run_that_failed_ends_its_readers_by_the_error(sqlite: str) -> None:
    def broken(_: Any) -> Any:
        raise ValueError("the model's code is broken")

    agent = Agent("test/m", name="a", client=FunctionModel(broken))
    async with durable(sqlite, agent) as here:
        handle = await here.start(agent, "go")
        with pytest.raises(RunFailedError, match="broken"):
            await _read(handle.stream())
        with pytest.raises(RequestError, match="there is no run 'x'"):
            await _read(here.handle("x").stream())
        with pytest.raises(RequestError, match="after is the number"):
            here.handle("x").stream(after=-1)


async def test_n8_a_process_that_was_given_up_adds_nothing(sqlite: str) -> None:
    from polycall.durable.event_log import EventLog

    async with Durable(sqlite, agents=[], poll_s=0.02) as here:
        async with EventLog(here.database, "r") as old:
            await old.add(ModelEvent(1, PartDelta(0, "ol", "text")))
            await old._flush()
            async with EventLog(here.database, "r") as new:
                await old.add(ModelEvent(1, PartDelta(0, "d", "text")))
                await old._flush()
                await new.add(ModelEvent(1, PartDelta(0, "new", "text")))
        rows = here.database.rows("select events from polycall_events order by first")
    assert "".join(row["events"] for row in rows).count("old") == 0
    assert [("new" in row["events"]) for row in rows] == [False, False, True]


PROGRAM = '''
import asyncio, sys
from polycall import Agent, tool
from polycall.durable import Durable
from polycall.ir import ToolCall
from polycall.testing import FunctionModel

def answer(request):
    said = sum(message.role == "assistant" for message in request.messages)
    return ["first words", ToolCall("a", "look"), ToolCall("b", "hang"), "the end"][said + 1]

@tool
async def look() -> str:
    """Look."""
    return "seen"

@tool
async def hang() -> str:
    """Hang for as long as this process lives."""
    print("hanging", flush=True)
    await asyncio.sleep(600 if sys.argv[2] == "hang" else 0)
    return "hung"

async def main() -> None:
    agent = Agent("test/m", name="a", tools=[look, hang], client=FunctionModel(answer))
    async with Durable(sys.argv[1], agents=[agent], poll_s=0.02, lease_s=1.0) as here:
        async with here.stream(agent, "go", run_id="r") as stream:
            async for event in stream:
                pass
        print((await stream.result()).text, flush=True)

asyncio.run(main())
'''


async def test_n8_after_kill_9_the_same_run_id_goes_on_and_readers_go_on(
    sqlite: str, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    first = subprocess.Popen(
        [sys.executable, str(program), sqlite, "hang"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert first.stdout is not None
        assert await asyncio.to_thread(first.stdout.readline) == "hanging\n"
        await asyncio.sleep(0.3)  # until what was said is written
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        first.stdout.close()  # type: ignore[union-attr]
    async with Runs(sqlite, poll_s=0.02) as runs:
        before: list[Any] = []
        reader = runs.handle("r").stream()
        async for event in reader:
            before.append(event)
            if len([each for each in before if isinstance(each, StepEnd)]) == 1 and shown(
                event
            ) == ("CallStart", "hang"):
                break
        second = subprocess.Popen(
            [sys.executable, str(program), sqlite, "go"], stdout=subprocess.PIPE, text=True
        )
        after = [event async for event in runs.handle("r").stream(after=reader.position)]
        output, _ = await asyncio.to_thread(second.communicate, None, 60)
        assert output.splitlines()[-1] == "the end"
        whole = await _read(runs.handle("r").stream())
    assert Resumed(2) in after
    assert whole == [*before, *after]
    assert [event.number for event in whole if isinstance(event, StepEnd)] == [1, 2, 3]
    assert isinstance(whole[-1], RunEnd)


async def _read(events: Any) -> list[Any]:
    return [event async for event in events]
