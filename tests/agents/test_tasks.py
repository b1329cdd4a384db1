"""Background tasks in one process: the tools for them, late results, and nothing left behind."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any

import pytest

from polycall import Agent, Client, ToolContext
from polycall.agents import ProgressEvent
from polycall.ir import (
    Event,
    PartStart,
    Request,
    Response,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)
from polycall.loop import Limits, ToolEvent
from polycall.sim import Call, Simulation, Turn
from polycall.streams import Stream
from polycall.testing import FunctionModel, ScriptedModel
from polycall.tools import tool

from .support import PROVIDERS, nothing_left, play


def call(call_id: str, name: str, **arguments: Any) -> ToolCall:
    return ToolCall(call_id, name, json.dumps(arguments))


def told(request: Request) -> list[Any]:
    """The results of the last calls, as JSON where they are."""
    results = [message for message in request.messages if message.role == "tool"][-1].parts
    texts = [part.text for part in results if isinstance(part, ToolResult)]
    return [json.loads(text) if text[:1] in "[{" else text for text in texts]


class Kitchen:
    """Tools whose work lasts until it is told to end."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.started: list[str] = []
        self.running = 0
        self.most = 0

    @tool(background=True, concurrency=2)
    async def bake(self, what: str, context: ToolContext[Any]) -> str:
        """Bake something."""
        self.started.append(what)
        self.running += 1
        self.most = max(self.most, self.running)
        await context.report(0.5, "half done")
        await self.ready.wait()
        self.running -= 1
        if what == "stone":
            raise ValueError("stones do not bake")
        return f"{what} is baked"

    @tool(background="optional")
    async def wash(self, what: str, context: ToolContext[Any]) -> str:
        """Wash something."""
        await context.report(2.0)
        return f"{what} is clean"

    @tool
    async def open(self) -> str:
        """Let everything end."""
        self.ready.set()
        for _ in range(5):
            await asyncio.sleep(0)
        return "open"


def kitchen() -> tuple[Kitchen, list[Any]]:
    made = Kitchen()
    return made, [made.bake, made.wash, made.open]


def task_of(request: Request, place: int = 0) -> str:
    return told(request)[place]["task_id"]


async def test_check_wait_list_and_cancel() -> None:
    made, tools = kitchen()
    seen: list[Any] = []

    def answer(request: Request) -> Any:
        number = len(model.requests)
        if number > 1:
            seen.append(told(request))
        first = task_of(model.requests[1]) if number > 1 else ""
        second = task_of(model.requests[1], 1) if number > 1 else ""
        match number:
            case 1:
                return [call("a", "bake", what="bread"), call("b", "bake", what="stone")]
            case 2:
                return call("c", "check_task", task_id=first)
            case 3:
                return call("d", "wait_for_tasks", until="any", deadline_s=0.01)
            case 4:
                return [call("e", "open"), call("f", "check_task", task_id="task_x")]
            case 5:
                return call("g", "wait_for_tasks", task_ids=[first, second])
            case 6:
                return [call("h", "list_tasks"), call("i", "cancel_task", task_id=first)]
            case _:
                return "done"

    model = FunctionModel(answer)
    with nothing_left():
        run = await Agent("test/m", tools=tools, client=model).run("bake")
    first, second = task_of(model.requests[1]), task_of(model.requests[1], 1)
    baking = {"task_id": first, "tool": "bake", "state": "running"}
    baking |= {"progress": 0.5, "message": "half done"}
    good = {"task_id": first, "tool": "bake", "state": "finished", "result": "bread is baked"}
    bad = {"task_id": second, "tool": "bake", "state": "failed"}
    bad["result"] = "ValueError: stones do not bake"
    assert seen[0] == [{"task_id": each, "state": "queued"} for each in (first, second)]
    assert seen[1] == [baking]
    assert seen[2] == [[baking, {**baking, "task_id": second}]]
    # Their ends come by themselves, once; a tool tells them as often as it is asked.
    ends = [message for message in run.messages if message.role == "user"][1:]
    assert [(each.parts[0], each.parts[2]) for each in ends] == [
        (Text(f"[task {first} (bake): finished]"), Text("bread is baked")),
        (Text(f"[task {second} (bake): failed]"), Text("ValueError: stones do not bake")),
    ]
    assert seen[3][1] == f"there is no task 'task_x'; there are {first}, {second}"
    assert seen[4] == [[good, bad]]
    assert seen[5] == [[{**good, "result": "..."}, {**bad, "result": "..."}], good]
    assert run.text == "done"
    assert made.most == 2


async def test_the_model_chooses_where_it_is_optional() -> None:
    _, tools = kitchen()
    script = [
        call("a", "wash", what="a cup"),
        call("b", "wash", what="a pot", run_in_background=True),
        call("c", "wash", what="a pan", run_in_background="soon"),
        "done",
    ]
    with ScriptedModel(script) as model:
        await Agent("test/m", tools=tools, client=model).run("wash")
    assert told(model.requests[1]) == ["a cup is clean"]
    assert told(model.requests[2])[0]["state"] == "queued"
    # The task has ended by now: its end comes before the model's next answer.
    late = next(each for each in model.requests[3].messages if each.text.startswith("[task"))
    assert late.parts[0] == Text(f"[task {task_of(model.requests[2])} (wash): finished]")
    assert late.parts[2] == Text("a pot is clean")
    assert "run_in_background: must be true or false" in told(model.requests[3])[0]
    offered = {each.name: each for each in model.requests[0].tools}
    assert "run_in_background" in (offered["wash"].parameters or {})["properties"]
    assert "run_in_background" not in (offered["bake"].parameters or {})["properties"]
    assert [*offered][-4:] == ["check_task", "wait_for_tasks", "cancel_task", "list_tasks"]


async def test_a_run_ends_when_its_tasks_have() -> None:
    made, tools = kitchen()
    asyncio.get_running_loop().call_later(0.05, made.ready.set)
    script = [call("a", "bake", what="bread"), "The bread is in the oven.", "It is baked."]
    with ScriptedModel(script) as model:
        run = await Agent("test/m", tools=tools, client=model).run("bake")
    assert run.text == "It is baked."
    task_id = task_of(model.requests[1])
    late = model.requests[2].messages[-1]
    assert late.role == "user"
    assert late.parts[0] == Text(f"[task {task_id} (bake): finished]")
    assert late.parts[2] == Text("bread is baked")


async def test_a_limit_ends_tasks_too() -> None:
    made, tools = kitchen()
    with ScriptedModel([call("a", "bake", what="bread")]) as model, nothing_left():
        agent = Agent("test/m", tools=tools, client=model, limits=Limits(steps=1))
        run = await agent.run("bake")
    assert (run.reason, made.started) == ("steps", ["bread"])


async def test_progress_is_an_event_where_the_call_is_waited_for() -> None:
    _, tools = kitchen()
    events: list[Any] = []
    with ScriptedModel([call("a", "wash", what="a cup"), "done"]) as model:
        agent = Agent("test/m", tools=tools, client=model)
        async with agent.stream("wash") as stream:
            async for event in stream:
                if isinstance(event, ToolEvent):
                    events.append(event.event)
    assert events == [ProgressEvent(1.0)]


def conversation(raw: bytes) -> str:
    """The messages of a request's body, as they are on the wire."""
    text = raw.decode()
    start = next(
        text.index("[", text.index(f'"{key}":'))
        for key in ("messages", "contents", "input")
        if f'"{key}":' in text
    )
    _, end = json.JSONDecoder().raw_decode(text, start)
    return text[start:end]


class Talking:
    """A client whose second answer takes until the bread is baked."""

    def __init__(self, inner: Client, kitchen: Kitchen) -> None:
        self._inner = inner
        self._kitchen = kitchen
        self._asked = 0

    async def generate_request(self, request: Request) -> Response:
        answer = await self._inner.generate_request(request)
        await self._talk()
        return answer

    def stream_request(self, request: Request) -> Stream:
        inner = self._inner.stream_request(request)

        async def events() -> AsyncGenerator[Event]:
            async with inner:
                async for event in inner:
                    yield event
                    if isinstance(event, PartStart):
                        await self._talk()

        return Stream(events(), inner.warnings)

    def cost(self, model: str, usage: Usage) -> Decimal | None:
        return self._inner.cost(model, usage)

    async def _talk(self) -> None:
        self._asked += 1
        if self._asked == 2:
            self._kitchen.ready.set()
            async with asyncio.timeout(5):
                while self._kitchen.running:
                    await asyncio.sleep(0.001)


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("vendor", PROVIDERS)
async def test_a_task_that_ends_while_the_model_talks_is_told_at_the_next_step(
    vendor: str, streams: bool, simulation: Simulation, client: Client
) -> None:
    made, tools = kitchen()
    turns = [
        Turn(calls=[Call("bake", {"what": "bread"})]),
        Turn(text="It smells good."),
        Turn(text="빵이 다 됐어요 🍞"),
        Turn(text="never asked for"),
    ]
    model = play(simulation, vendor, *turns, model="talking")
    before = simulation.received
    agent = Agent(model, tools=tools, client=Talking(client, made), instructions="Bake.")
    if streams:
        async with agent.stream("bread, please") as stream:
            async for _ in stream:
                pass
        run = stream.run
    else:
        run = await agent.run("bread, please")
    assert (run.text, run.reason) == ("빵이 다 됐어요 🍞", "finished")
    texts = [conversation(recorded.raw) for recorded in simulation.since(before)]
    assert [text.count("bread is baked") for text in texts] == [0, 0, 1]
    for earlier, later in itertools.pairwise(texts):
        assert later.startswith(earlier.removesuffix("]") + ",")


@pytest.mark.parametrize("vendor", PROVIDERS)
async def test_late_results_come_once_and_change_nothing_before(
    vendor: str, simulation: Simulation, client: Client
) -> None:
    """The wire's own messages: each request begins with the bytes of the one before."""
    _, tools = kitchen()
    turns = [
        Turn(calls=[Call("bake", {"what": "bread"}), Call("wash", {"what": "a cup"})]),
        Turn(text="I open the door.", calls=[Call("open", {})]),
        Turn(calls=[Call("list_tasks", {})]),
        Turn(text="All is done."),
    ]
    model = play(simulation, vendor, *turns, model="late")
    before = simulation.received
    run = await Agent(model, tools=tools, client=client, instructions="Bake.").run("bread, please")
    assert run.text == "All is done."
    sent = simulation.since(before)
    bodies = [recorded.body for recorded in sent]
    assert len(bodies) == 4
    texts = [conversation(recorded.raw) for recorded in sent]
    for earlier, later in itertools.pairwise(texts):
        assert later.startswith(earlier.removesuffix("]") + ",")
    # ListedModel in the third request, which is the first after it ended, and never again.
    assert [text.count("bread is baked") for text in texts] == [0, 0, 1, 1]
    heads = [text.count("(bake): finished]") for text in texts]
    assert heads == [0, 0, 1, 1]
    for body in bodies[1:]:
        assert {k: v for k, v in body.items() if k not in ("messages", "contents", "input")} == {
            k: v for k, v in bodies[0].items() if k not in ("messages", "contents", "input")
        }


async def test_what_a_tool_leaves_behind_changes_no_result() -> None:
    """A tool's own task reports on when the tool has ended, and more than there is to do."""
    left: list[asyncio.Task[None]] = []

    @tool(background=True)
    async def bake(context: ToolContext[Any]) -> str:
        """Bake."""

        async def report_on() -> None:
            for progress in (0.9, 7.0, float("nan"), -3.0):
                await asyncio.sleep(0)
                await context.report(progress, "still baking")

        left.append(asyncio.create_task(report_on()))
        return "baked"

    @tool
    async def wait() -> str:
        """Wait for what was left behind."""
        await asyncio.gather(*left)
        return "waited"

    script = [call("a", "bake"), call("b", "wait"), call("c", "list_tasks"), "It is baked."]
    with ScriptedModel(script) as model:
        run = await Agent("test/m", tools=[bake, wait], client=model).run("bake")
    assert run.text == "It is baked."
    task_id = task_of(model.requests[1])
    assert told(model.requests[3]) == [
        [{"task_id": task_id, "tool": "bake", "state": "finished", "result": "..."}]
    ]
