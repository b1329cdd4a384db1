"""Every face of an agent with every feature: each cell of docs/joins.md is tried here."""

# pyright: basic
from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from polycall import Agent, Client, Limits, ToolContext, Toolset, tool
from polycall.agents import (
    AgentContext,
    ApprovalRequest,
    Compaction,
    Guarded,
    PausedRun,
    Router,
    Run,
    Sessions,
    partial_run,
)
from polycall.agents.approval_backend import Edited
from polycall.ir import Message, Request, Text, ToolCall
from polycall.loop import ModelEvent, RunEnd, Suspended, ToolEvent, run_tools
from polycall.mcp import HttpServer, connect
from polycall.sandbox import Sandbox
from polycall.sim import Call, Simulation, Turn
from polycall.testing import FunctionModel, ScriptedModel
from polycall.tools import AbstractToolset, Executor

from ..agents.support import client_of
from ..mcp.support import STOCK, http_program, until_it_answers
from .forked import in_child
from .table import FEATURES, REFUSED, rendered

PAGE = Path(__file__).parents[2] / "docs" / "joins.md"
GATE = ToolCall("g", "gate", "{}")
HERE = (
    *("Agent.run", "run_sync", "stream", "resume", "Session", "Guarded", "Router"),
    *("handoff target", "delegate", "program", "run_tools"),
)


class Order(BaseModel):
    item: str


class World:
    """What the tools have done, and an agent of the face that is tried."""

    def __init__(self, face: str, folder: Path) -> None:
        self.face = face
        self.paid: list[int] = []
        self.asked: list[str] = []
        self.ended: list[str] = []
        self.heard: list[str] = []
        self.texts: list[str] = []
        self.mcp_url = ""
        self.users: list[str] = []
        self.url = f"sqlite:///{folder / 'chat.db'}"
        self.sessions = Sessions(self.url)

        @tool(needs_approval=True)
        async def pay(amount: int) -> str:
            """Pay."""
            self.paid.append(amount)
            return f"paid {amount}"

        @tool(needs_approval=True)
        async def gate() -> str:
            """Wait for the run to be resumed."""
            return "open"

        @tool(background=True)
        async def later() -> str:
            """Work on."""
            await asyncio.sleep(0.01)
            self.ended.append("later")
            return "worked"

        @tool
        async def slow() -> str:
            """Wait."""
            self.has_begun.set()
            try:
                await asyncio.sleep(30)
            finally:
                self.ended.append("slow")
            return ""

        @tool(raises=[AssertionError])
        async def fail() -> str:
            """Fail."""
            raise AssertionError("the stub was called")

        @tool
        async def who(context: AgentContext[Any]) -> str:
            """Say whose run it is."""
            self.users.append(context.user)
            return context.user

        self.has_begun = asyncio.Event()
        self.tools: list[Any] = [pay, gate, later, slow, fail, who]

    def agent(self, *script: Any, **options: Any) -> Agent[Any, Any]:
        answers = list(script)
        if self.face == "program":
            answers = [self.written(each) for each in answers]
            options["calling"] = "code"
        if self.face == "resume":
            answers.insert(0, GATE)
        self.model = ScriptedModel(answers)
        hooks = [lambda event: self.heard.append(type(event).__name__)]
        return Agent(
            "clerk/m", name="clerk", tools=self.tools, client=self.model, hooks=hooks, **options
        )

    def written(self, answer: Any) -> Any:
        """A call as a program makes it; a background task is begun beside programs."""
        if not isinstance(answer, ToolCall) or answer.name == "later":
            return answer
        given = ", ".join(f"{name}={value!r}" for name, value in (answer.arguments or {}).items())
        return {"run_code": {"code": f"print(await {answer.name}({given}))"}}

    def front(self, agent: Agent[Any, Any]) -> Any:
        """What is run for the face."""
        call = "transfer_to_clerk" if self.face == "handoff target" else "clerk"
        arguments = '{"reason":"r"}' if self.face == "handoff target" else '{"task":"t"}'

        def answer(request: Request) -> Any:
            is_done = request.messages[-1].role == "tool"
            return "front: done" if is_done else ToolCall("f", call, arguments)

        own = FunctionModel(answer)
        match self.face:
            case "Guarded":
                return Guarded(agent)
            case "Router":
                return Router([agent], lambda words: "clerk")
            case "handoff target":
                return Agent("front/m", handoffs=[agent], client=own, output=agent.output._kind)
            case "delegate":
                return Agent("front/m", tools=[agent], client=own)
            case _:
                return agent

    async def loop(self, decide: str = "", **options: Any) -> RunEnd:
        """The loop alone, with the agent's model and the same tools."""

        def approve(tool: Any, arguments: Any) -> Any:
            if not tool.needs_approval:
                return True
            self.asked.append(tool.name)
            if decide == "pause":
                raise Suspended
            return {"amount": 9} if decide == "edited arguments" else decide != "deny"

        tools: AbstractToolset = Toolset(each for each in self.tools if callable(each))
        for each in self.tools:
            tools = tools + each if isinstance(each, AbstractToolset) else tools
        tools = tools.approved(approve)
        messages = options.get("messages") or [Message("user", [Text("go")])]
        request = Request("clerk/m", messages, tools.definitions, stream=True)
        executor = Executor(tools, ToolContext(deps=None, model="clerk/m"))
        async for event in run_tools(self.model, request, executor, limits=options.get("limits")):
            self.heard.append(type(event).__name__)
            if isinstance(event, ModelEvent):
                self.texts.append(getattr(event.event, "text", ""))
            if isinstance(event, RunEnd):
                return event
        raise AssertionError("a run ends with RunEnd")

    async def go(self, agent: Agent[Any, Any], decide: str = "", **options: Any) -> Any:
        """Run the face to its end, with approvals decided so."""
        if self.face == "run_tools":
            return await self.loop(decide, **options)
        front = self.front(agent)
        if decide and self.face not in ("stream", "resume"):
            options["approve"] = lambda request: self.decided(request, decide)
        match self.face:
            case "run_sync":
                return await asyncio.to_thread(lambda: front.run_sync("go", **options))
            case "stream":
                async with front.stream("go", **options) as stream:
                    async for event in stream:
                        if isinstance(event, ApprovalRequest):
                            self.settle(event, decide)
                return stream.run
            case "resume":
                return await self.resumed(agent, decide, **options)
            case "Session":
                return await self.sessions.open("a").run(front, "go", **options)
            case _:
                return await front.run("go", **options)

    async def resumed(self, agent: Agent[Any, Any], decide: str, **options: Any) -> Run[Any]:
        run = await agent.run("go", approve="pause")
        while run.paused is not None:
            paused = PausedRun.from_json(run.paused.to_json())
            for each in paused.waiting:
                if each.tool == "gate" or decide == "allow":
                    paused.allow(each.id)
                    continue
                self.asked.append(each.tool)
                if decide == "deny":
                    paused.deny(each.id)
                else:
                    other = {"amount": 9} if decide == "edited arguments" else None
                    paused.allow(each.id, always=decide == "always", arguments=other)
            run = await agent.resume(paused, **options)
        return run

    def decided(self, request: ApprovalRequest, decide: str) -> Any:
        self.asked.append(request.tool)
        if decide == "edited arguments":
            return Edited({"amount": 9})
        request.always = decide == "always"
        return decide != "deny"

    def settle(self, request: ApprovalRequest, decide: str) -> None:
        answer = self.decided(request, decide)
        if answer is True:
            request.allow(always=request.always)
        elif answer is False:
            request.deny()
        else:
            request.allow(arguments=answer.arguments)


def pay(number: int = 1) -> ToolCall:
    return ToolCall(f"p{number}", "pay", '{"amount": 900}')


async def approvals(world: World, decide: str) -> None:
    script = [pay(1), pay(2), "done"] if decide == "always" else [pay(), "done"]
    await world.go(world.agent(*script), decide)
    expected = {"allow": [900], "deny": [], "always": [900, 900], "edited arguments": [9]}
    assert world.paid == expected[decide]
    if decide == "always":
        assert world.asked == ["pay"]


async def pauses(world: World) -> None:
    if world.face == "run_tools":
        world.agent(pay(), pay(), "done")
        end = await world.loop("pause")
        assert (end.reason, world.paid) == ("paused", [])
        await world.loop("allow", messages=end.messages)
        assert world.paid == [900]
        return
    agent = world.agent(pay(), "done")
    front = world.front(agent)
    owner: Any = world.sessions.open("p") if world.face == "Session" else front
    again: Any = owner.resume
    if world.face == "Session":
        run = await owner.run(front, "go", approve="pause")
    elif world.face == "run_sync":
        run = await asyncio.to_thread(lambda: front.run_sync("go", approve="pause"))
        again = lambda paused: asyncio.to_thread(front.resume_sync, paused)  # noqa: E731
    elif world.face == "stream":
        async with front.stream("go", approve="pause") as stream:
            async for _ in stream:
                pass
        run = stream.run
    else:
        run = await front.run("go", approve="pause")
    while run.paused is not None:
        assert world.paid == []
        paused = PausedRun.from_json(run.paused.to_json())
        for each in paused.waiting:
            paused.allow(each.id)
        run = await (again(front, paused) if world.face == "Session" else again(paused))
    assert world.paid == [900]


async def streams(world: World) -> None:
    agent = world.agent("in pieces")
    if world.face == "run_tools":
        await world.loop()
        assert "in pieces" in "".join(world.texts)
        return
    front = world.front(agent)
    if world.face == "resume":
        paused = (await agent.run("go", approve="pause")).paused
        assert paused is not None
        paused.allow(paused.waiting[0].id)
        stream: Any = agent.resume_stream(paused)
    elif world.face == "Session":
        stream = world.sessions.open("a").stream(front, "go")  # type: ignore[attr-defined]
    else:
        stream = front.stream("go")
    texts: list[str] = []
    async with stream:
        async for event in stream:
            inner = event.event if isinstance(event, ToolEvent) else event
            if isinstance(inner, ModelEvent):
                texts.append(getattr(inner.event, "text", ""))
    assert "in pieces" in "".join(texts)


async def synchronous(world: World) -> None:
    agent = world.agent(pay(), "done")
    front = world.front(agent)
    yes: Callable[[Any], bool] = lambda request: True  # noqa: E731

    def run() -> None:
        if world.face == "resume":
            paused = agent.run_sync("go", approve="pause").paused
            while paused is not None:
                paused.allow(paused.waiting[0].id)
                paused = agent.resume_sync(paused).paused
        elif world.face == "Session":
            world.sessions.open("s").run_sync(front, "go", approve=yes)
        else:
            front.run_sync("go", approve=yes)

    await asyncio.to_thread(run)
    assert world.paid == [900]


async def limits(world: World) -> None:
    steps = {"resume": 2, "handoff target": 2}.get(world.face, 1)
    bound = Limits(steps=steps)
    if world.face == "delegate":
        run = await world.go(world.agent(pay(), "done", limits=bound), "allow")
        assert "ended by 'steps'" in run.steps[0].results[0].text
        return
    run = await world.go(world.agent(pay(), "done"), "allow", limits=bound)
    assert (run.reason, world.paid) == ("steps", [900])


async def typed(world: World) -> None:
    run = await world.go(world.agent('{"item": "tea"}', output=Order))
    if world.face == "delegate":
        assert run.steps[0].results[0].text == '{"item":"tea"}'
    else:
        assert run.output == Order(item="tea")


async def hooked(world: World) -> None:
    await world.go(world.agent(pay(), "done"), "allow")
    assert "RunEnd" in world.heard
    assert "CallEnd" in world.heard


async def own_client(world: World) -> None:
    await world.go(world.agent(pay(), "done"), "allow")
    assert {request.model for request in world.model.requests} == {"clerk/m"}
    world.model.assert_done()


async def background(world: World) -> None:
    # Where the task has ended before the model's next answer, that answer is the last.
    script = [ToolCall("l", "later", "{}"), "it goes on", "it is done"]
    await world.go(world.agent(*script))
    assert world.ended == ["later"]
    assert "worked" in str(world.model.requests[-1].messages)


async def cancelled(world: World) -> None:
    agent = world.agent(ToolCall("s", "slow", "{}"), "done")
    if world.face == "run_sync":
        # A thread cannot be cancelled; its bound is.
        run = await world.go(agent, limits=Limits(wall_s=1))
        assert (run.reason, world.ended) == ("wall", ["slow"])
        return
    going = asyncio.ensure_future(world.go(agent))
    async with asyncio.timeout(20):
        await world.has_begun.wait()
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    assert world.ended == ["slow"]


async def leaves(world: World) -> None:
    with pytest.raises(AssertionError, match="the stub was called") as caught:
        await world.go(world.agent(ToolCall("x", "fail", "{}"), "done"))
    run = partial_run(caught.value)
    if world.face == "run_tools":
        # Its reader has heard every event until then.
        assert "CallStart" in world.heard
        return
    assert run is not None
    assert run.messages[0].text == "go"


async def another_loop(world: World) -> None:
    agent = world.agent(pay(), "done", pay(), "done") if world.face != "resume" else None
    for number in (1, 2):
        each = agent or world.agent(pay(), "done")
        await asyncio.to_thread(lambda each=each: asyncio.run(world.go(each, "allow")))
        assert world.paid == [900] * number


async def forks(world: World) -> None:
    agent = world.agent(pay(), "done")

    def child() -> bool:
        asyncio.run(world.go(agent, "allow"))
        return world.paid == [900]

    assert await asyncio.to_thread(in_child, child)


async def mcp(world: World) -> None:
    server = HttpServer("stock", url=world.mcp_url, allowed_callers=["direct", "code"])
    async with connect(server) as tools:
        world.tools.append(tools)
        call = ToolCall("m", "stock_add", '{"a": 2, "b": 3}')
        await world.go(world.agent(call, "done"), "allow")
    said = str(world.model.requests[-1].messages[-1])
    assert "text='5" in said


async def kept(world: World) -> None:
    agent = world.agent("one done", "two done")
    if world.face == "run_tools":
        end = await world.loop()
        await world.loop(messages=[*end.messages, Message("user", [Text("two")])])
        assert [each.text for each in world.model.requests[-1].messages] == [
            "go",
            "one done",
            "two",
        ]
        return
    session = world.sessions.open("kept")
    front = world.front(agent)
    for words in ("one", "two"):
        if world.face == "run_sync":
            await asyncio.to_thread(session.run_sync, front, words)
        elif world.face == "stream":
            async with session.stream(front, words) as stream:
                async for _ in stream:
                    pass
        elif world.face == "resume" and words == "one":
            run = await session.run(front, words, approve="pause")
            assert run.paused is not None
            run.paused.allow(run.paused.waiting[0].id)
            await session.resume(front, run.paused)
        else:
            await session.run(front, words)
    texts = [message.text for message in await session.messages()]
    assert texts[0] == "one"
    assert "two" in texts
    assert len(texts) >= 4
    if world.face != "delegate":
        assert "one" in [message.text for message in world.model.requests[-1].messages]


async def of_a_user(world: World) -> None:
    agent = world.agent(ToolCall("w", "who", "{}"), "done")
    front = world.front(agent)
    if world.face == "run_sync":
        await asyncio.to_thread(lambda: front.run_sync("go", user="mina"))
    elif world.face == "Session":
        await world.sessions.open("a", user="mina").run(front, "go")
    elif world.face == "stream":
        async with front.stream("go", user="mina") as stream:
            async for _ in stream:
                pass
    elif world.face == "resume":
        paused = (await agent.run("go", approve="pause", user="mina")).paused
        assert paused is not None
        paused.allow(paused.waiting[0].id)
        await agent.resume(PausedRun.from_json(paused.to_json()))
    else:
        await front.run("go", user="mina")
    assert world.users == ["mina"]


async def encrypted(world: World) -> None:
    world.sessions.close()
    world.sessions = Sessions(world.url, secret="0123456789abcdef-of-a-test")
    await kept(world)
    assert b"one done" not in Path(world.url.removeprefix("sqlite:///")).read_bytes()


async def branched(world: World) -> None:
    agent = world.agent("one done", "two done", "other")
    if world.face == "run_tools":
        end = await world.loop()
        for words in ("two", "three"):
            await world.loop(messages=[*end.messages, Message("user", [Text(words)])])
        assert "two" not in [each.text for each in world.model.requests[-1].messages]
        return
    session = world.sessions.open("kept")
    front = world.front(agent)

    async def ask(asked: Any, words: str) -> None:
        if world.face == "run_sync":
            await asyncio.to_thread(asked.run_sync, front, words)
        elif world.face == "stream":
            async with asked.stream(front, words) as stream:
                async for _ in stream:
                    pass
        elif world.face == "resume" and words == "one":
            run = await asked.run(front, words, approve="pause")
            run.paused.allow(run.paused.waiting[0].id)
            await asked.resume(front, run.paused)
        else:
            await asked.run(front, words)

    await ask(session, "one")
    other = world.sessions.branch("kept", "other")
    await ask(session, "two")
    await ask(other, "three")
    texts = [message.text for message in await other.messages()]
    assert [each for each in texts if each in ("one", "two", "three")] == ["one", "three"]


VENDORS = "claude-fable-5-2"


def summing(
    simulation: Simulation, client: Client, *, name: str = "clerk", **options: Any
) -> Agent[Any, Any]:
    """An agent whose conversation its vendor sums up, on a model that is scripted so."""

    @tool
    async def look(at: str) -> str:
        """Look at something."""
        return f"{at} is there " * 5

    @tool(needs_approval=True)
    async def gate() -> str:
        """Wait for the run to be resumed."""
        return "open"

    def turn(number: int) -> Turn:
        call = Call("look", {"at": str(number)})
        if options.get("calling") == "code":
            call = Call("run_code", {"code": f"print(await look(at='{number}'))"})
        return Turn(reasoning=f"{number}", calls=[call])

    first = [Turn(reasoning="g", calls=[Call("gate", {})])] if options.pop("waits", False) else []
    turns = [*first, *map(turn, range(9)), Turn(reasoning="end", text="done")]
    simulation.script("anthropic", VENDORS, turns)
    return Agent(
        f"anthropic/{VENDORS}",
        name=name,
        instructions="Be short. " * 100,
        tools=[look, gate],
        client=client,
        compaction=Compaction(tokens_max=900),
        limits=Limits(steps=20),
        **options,
    )


def check_summary(simulation: Simulation) -> None:
    """Its vendor was asked for a summary, which stands first in the last request."""
    assert [each for each in simulation.requests if "compaction" in each.body]
    assert "compaction" in str(simulation.requests[-1].body["messages"][:2])


async def summed_up(world: World) -> None:
    with Simulation(seed=6) as simulation:
        async with client_of(simulation) as client, Sandbox("monty", pool=0) as sandbox:
            by_code: dict[str, Any] = {"calling": "code", "sandbox": sandbox}
            options = by_code if world.face == "program" else {}
            agent = summing(simulation, client, waits=world.face == "resume", **options)
            if world.face == "resume":
                await world.resumed(agent, "allow")
            else:
                await world.go(agent)
        check_summary(simulation)


WAYS: dict[str, Callable[[World], Any]] = {
    **{
        name: (lambda world, name=name: approvals(world, name))
        for name in ("allow", "deny", "always", "edited arguments")
    },
    "pause": pauses,
    "streaming": streams,
    "sync face": synchronous,
    "limits": limits,
    "typed output": typed,
    "hooks": hooked,
    "client": own_client,
    "background": background,
    "cancel": cancelled,
    "exception": leaves,
    "another loop": another_loop,
    "fork": forks,
    "MCP": mcp,
    "session kept": kept,
    "user": of_a_user,
    "encrypted": encrypted,
    "branch": branched,
    "vendor's summary": summed_up,
}
# What the loop alone has not: an agent has it.
ABSENT = {
    ("run_tools", feature)
    for feature in (
        *("always", "sync face", "typed output"),
        *("user", "encrypted", "vendor's summary"),
    )
}


@pytest.fixture(scope="module")
def mcp_url() -> Iterator[str]:
    with http_program(str(STOCK), "http") as (_, url):
        asyncio.run(until_it_answers(url))
        yield url


def cells() -> Iterator[Any]:
    """Each face with each feature; summaries of a vendor take a server and ten steps."""
    for face in HERE:
        for feature in FEATURES:
            is_slow = feature == "vendor's summary" and face not in ("Session", "run_tools")
            if feature != "MCP":
                yield pytest.param(face, feature, marks=[pytest.mark.slow] if is_slow else [])


@pytest.mark.parametrize(("face", "feature"), list(cells()))
async def test_each_cell_works_or_is_refused(face: str, feature: str, tmp_path: Path) -> None:
    if (face, feature) in ABSENT:
        assert REFUSED[face, feature].startswith("no: ")
        return
    world = World(face, tmp_path)
    try:
        await WAYS[feature](world)
    finally:
        world.sessions.close()


@pytest.mark.parametrize("face", HERE)
async def test_each_face_calls_a_server_of_mcp(face: str, tmp_path: Path, mcp_url: str) -> None:
    world = World(face, tmp_path)
    world.mcp_url = mcp_url
    try:
        await WAYS["MCP"](world)
    finally:
        world.sessions.close()


def test_no_cell_is_empty_and_the_page_has_the_table() -> None:
    assert set(WAYS) == set(FEATURES)
    assert rendered() in PAGE.read_text(encoding="utf-8")
