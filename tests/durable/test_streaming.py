"""The events of a durable run, read where it works."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from polycall import Agent, ToolContext
from polycall.agents import Approval, ProgressEvent
from polycall.durable import Durable, RunCancelledError, RunFailedError, RunStream
from polycall.errors import RequestError
from polycall.ir import PartDelta, Request, ToolCall
from polycall.loop import CallEnd, CallStart, ModelEvent, RunEnd, StepEnd, ToolEvent
from polycall.testing import FunctionModel, ScriptedModel
from polycall.tools import tool


def durable(url: str, *agents: Agent[Any, Any], **options: Any) -> Durable:
    return Durable(url, agents=agents, poll_s=0.02, lease_s=5.0, **options)


def shown(event: Any) -> Any:
    """An event in a word or two."""
    match event:
        case ModelEvent(event=PartDelta(text=text)) if text:
            return text
        case CallStart() | CallEnd():
            return (type(event).__name__, event.call.name)
        case ToolEvent(event=ProgressEvent(progress=progress)):
            return progress
        case StepEnd() | RunEnd():
            return type(event).__name__
        case Approval():
            return ("Approval", event.id, event.agents)
        case _:
            return None


class Shop:
    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.wait_s = 0.0

    @tool
    async def look(self, order: str, context: ToolContext[Any]) -> str:
        """Look an order up."""
        await context.report(0.5, "half")
        self.begun.set()
        await asyncio.sleep(self.wait_s)
        return "a teapot"

    @tool(needs_approval=True)
    async def refund(self, amount: int) -> str:
        """Pay back."""
        return "paid"

    def agent(self, model: Any) -> Agent[Any, Any]:
        clerk = Agent("test/m", name="clerk", tools=[self.refund])
        return Agent("test/m", name="desk", tools=[self.look, clerk], client=model)


LOOK = ToolCall("a", "look", '{"order": "A1"}')
ASK = ToolCall("b", "clerk", '{"task": "refund 4"}')
PAY = ToolCall("c", "refund", '{"amount": 4}')


async def test_events_as_they_come_and_an_approval_among_them(url: str) -> None:
    with ScriptedModel([LOOK, ASK, PAY, "clerk: done", "all done"]) as model:
        async with durable(url, Shop().agent(model)) as here:
            seen: list[Any] = []
            async with here.stream("desk", "go", run_id="r") as stream:
                async for event in stream:
                    if isinstance(event, Approval):
                        await here.allow(stream.run_id, event.id)
                    seen.append(shown(event))
            result = await stream.result()
            steps = [name for name, _ in await here.steps("r")]
            assert (await here.show("r")).state == "finished"
            async with here.stream("desk", "go", run_id="r") as again:
                joined = [shown(event) async for event in again]
            assert joined == seen
            with pytest.raises(RequestError, match="begun before, of the agent 'desk'"):
                async with here.stream("clerk", "go", run_id="r"):
                    pass
    assert [each for each in seen if each is not None] == [
        *('{"order": "A1"}', ("CallStart", "look"), 0.5, ("CallEnd", "look"), "StepEnd"),
        *('{"task": "refund 4"}', ("CallStart", "clerk")),
        ("Approval", "call/2/b/call/1/c", ["desk", "clerk"]),
        *(("CallEnd", "clerk"), "StepEnd", "all done", "StepEnd", "RunEnd"),
    ]
    assert (result.text, result.output) == ("all done", "all done")
    assert steps == [
        *("model/1", "call/1/a", "model/2", "call/2/b/model/1", "call/2/b/call/1/c"),
        *("call/2/b/model/2", "call/2/b", "model/3"),
    ]


async def test_whoever_stops_reading_stops_nothing(sqlite: str) -> None:
    def answer(request: Request) -> Any:
        said = sum(message.role == "assistant" for message in request.messages)
        return "done" if said == 3 else [ToolCall(f"a{said}.{n}", "tell", "{}") for n in range(8)]

    @tool
    async def tell(context: ToolContext[Any]) -> str:
        """Say more than anybody reads."""
        for number in range(100):
            await context.report(number / 100)
        return "told"

    agent = Agent("test/m", name="a", tools=[tell], client=FunctionModel(answer))
    async with durable(sqlite, agent) as here:
        async with here.stream(agent, "go") as stream:
            async for event in stream:
                if isinstance(event, ToolEvent):
                    break
            await asyncio.sleep(0.1)  # until the run waits for its reader
        assert (await asyncio.wait_for(stream.result(), 10)).text == "done"


async def test_a_run_that_fails_or_is_cancelled_says_so_to_its_reader(sqlite: str) -> None:
    def broken(request: Request) -> Any:
        raise ValueError("the model's code is broken")

    shop = Shop()
    shop.wait_s = 60
    agents = [
        Agent("test/m", name="broken", client=FunctionModel(broken)),
        shop.agent(ScriptedModel([LOOK])),
    ]
    async with durable(sqlite, *agents) as here:
        with pytest.raises(RunFailedError, match="the model's code is broken"):
            async with here.stream("broken", "go") as stream:
                async for _ in stream:
                    pass
        with pytest.raises(RunCancelledError):
            async with here.stream("desk", "go") as stream:
                async for event in stream:
                    if isinstance(event, ToolEvent):
                        await here.cancel(stream.run_id)
        with pytest.raises(RequestError, match="no agent 'b' here"):
            here.stream("b", "go")


async def test_it_goes_on_elsewhere_when_its_process_ends(sqlite: str) -> None:
    shop = Shop()
    shop.wait_s = 60

    async def read(stream: RunStream) -> None:
        async with stream:
            async for _ in stream:
                pass

    with ScriptedModel([LOOK]) as model:
        async with durable(sqlite, shop.agent(model)) as here:
            reading = asyncio.create_task(read(here.stream("desk", "go", run_id="r")))
            await shop.begun.wait()
        with pytest.raises(RequestError, match="'r' continues elsewhere, or here after a restart"):
            await reading
    with ScriptedModel(["done"]) as model:
        async with durable(sqlite, Shop().agent(model)) as there:
            assert (await there.handle("r").result()).text == "done"
