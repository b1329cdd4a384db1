"""M1: every way to run an agent, with every cause for another beginning, keeps all thinking.

The simulated vendor counts (`bench.append.Watch`): what it issued for the turns that come again has
to come back, and to fit what stands before it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from bench.append import Watch

from polycall import tool
from polycall.agents import Agent, Compaction, Guarded, Handoff, Memory, Sessions, ToolTree
from polycall.durable import Durable
from polycall.sandbox import Sandbox
from polycall.sim import Call, Simulation, Turn
from tests.agents.support import client_of

MODEL = "claude-fable-5-2"
NAME = f"anthropic/{MODEL}"
ADD = Call("add", {"a": 1, "b": 2})
LONG = "Be short. " * 100


@tool(allowed_callers=["direct", "code"])
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def weather(city: str) -> str:
    """The weather in a city."""
    return f"fair in {city}"


@tool(needs_approval=True)
def mail(to: str) -> str:
    """Send a mail."""
    return f"sent to {to}"


def turns_of(*calls: Call) -> list[Turn]:
    """A turn with thinking for each call, and an answer."""
    found = [Turn(reasoning=f"{n}", calls=[call]) for n, call in enumerate(calls)]
    return [*found, Turn(reasoning="end", text=f"done {next(_numbers)}")]


_numbers = itertools.count()
Made = tuple[dict[str, Any], list[Turn]]


def tree() -> Made:
    tools = [ToolTree({"math": {"add": add}, "world": {"weather": weather}})]
    opening = [Call("open_namespace", {"namespace": "math"}), Call("math__add", ADD.arguments)]
    more = [Call("open_namespace", {"namespace": "world"}), Call("world__weather", {"city": "R"})]
    return {"tools": tools}, turns_of(*opening, *more)


def instructions() -> Made:
    numbers = itertools.count(1)
    words: Any = lambda _: f"{LONG} Step {next(numbers)}."  # noqa: E731
    return {"instructions": words, "tools": [add]}, turns_of(ADD, ADD, ADD)


def memory() -> Made:
    more = Call("add_to_memory", {"text": "likes tea"})
    return {"memory": Memory(), "tools": [add]}, turns_of(ADD, more, ADD)


def compaction() -> Made:
    more = {"tools": [add], "instructions": LONG, "compaction": Compaction(tokens_max=420)}
    return more, turns_of(*[ADD] * 6)


def everything() -> Made:
    found: Made = ({}, [])
    for make in (memory, instructions, compaction, tree):
        more, turns = make()
        found = ({**found[0], **more}, [*found[1], *turns[:-1]])
    turns = [turn for turn in found[1] if turn.calls[0].name != "add"]
    return found[0], [*turns, Turn(reasoning="end", text=f"done {next(_numbers)}")]


def programs() -> Made:
    code = Call("run_code", {"code": "print(await add(a=1, b=2))"})
    return {"tools": [add], "calling": "code"}, turns_of(code, code)


CAUSES = {
    each.__name__: each for each in (tree, instructions, memory, compaction, programs, everything)
}


async def run(agent: Agent[Any], _: Path) -> list[str]:
    first = await agent.run("go")
    second = await agent.run("more", history=first.history.to_json())
    return [first.reason, second.reason]


async def run_sync(agent: Agent[Any], _: Path) -> list[str]:
    def work() -> list[str]:
        first = agent.run_sync("go")
        return [first.reason, agent.run_sync("more", history=first.history).reason]

    return await asyncio.to_thread(work)


async def stream(agent: Agent[Any], _: Path) -> list[str]:
    history: Any = None
    reasons: list[str] = []
    for _ in range(2):
        async with agent.stream("go", history=history) as events:
            async for _ in events:
                pass
        history = events.run.history
        reasons.append(events.run.reason)
    return reasons


async def session(agent: Agent[Any], folder: Path) -> list[str]:
    reasons: list[str] = []
    for _ in range(2):  # as of two processes
        sessions = Sessions(str(folder / "s.db"))
        reasons.append((await sessions.open("s").run(agent, "go")).reason)
        sessions.close()
    return reasons


async def guarded(agent: Agent[Any], folder: Path) -> list[str]:
    checked: Any = Guarded(agent, inputs=[lambda _: None])
    return await run(checked, folder)


async def durable(agent: Agent[Any], folder: Path) -> list[str]:
    async with Durable(f"sqlite:///{folder / 'd.db'}", agents=[agent], poll_s=0.02) as here:
        first = await (await here.start("first", "go")).result()
        return [first.reason, (await agent.run("more", history=first.history)).reason]


async def handed(agent: Agent[Any], folder: Path) -> list[str]:
    desk = Agent(NAME, name="desk", instructions=LONG, handoffs=[Handoff(agent)])
    desk.client = agent.client
    return await run(desk, folder)


async def delegated(agent: Agent[Any], folder: Path) -> list[str]:
    return await run(Agent(NAME, name="desk", tools=[agent], client=agent.client), folder)


FACES: dict[str, Callable[[Agent[Any], Path], Awaitable[list[str]]]] = {
    each.__name__: each
    for each in (run, run_sync, stream, session, guarded, durable, handed, delegated)
}


# One of each in every run of the tests; the others with the slow ones.
_QUICK = {
    *(("compaction", "durable"), ("everything", "session"), ("tree", "handed")),
    *(("memory", "stream"), ("programs", "guarded"), ("instructions", "delegated")),
}


@pytest.mark.parametrize(
    ("cause", "face"),
    [
        pytest.param(cause, face, marks=() if (cause, face) in _QUICK else pytest.mark.slow)
        for cause in CAUSES
        for face in FACES
    ],
)
async def test_all_thinking_comes_back_and_fits(cause: str, face: str, tmp_path: Path) -> None:
    more, first = CAUSES[cause]()
    again = turns_of(ADD) if cause not in ("tree", "programs", "everything") else turns_of()
    script = [*first, *again]
    if face == "handed":
        script = [Turn(reasoning="h", calls=[Call("transfer_to_first", {"reason": "x"})]), *script]
    if face == "delegated":
        called = Turn(reasoning="d", calls=[Call("first", {"task": "do it"})])
        script = [called, *first, *turns_of(), called, *again, *turns_of()]
    with Simulation(seed=5) as sim, Watch() as watch:
        sim.script("anthropic", MODEL, script)
        async with Sandbox(pool=0) as sandbox, client_of(sim) as client:
            if cause == "programs" and face != "run_sync":  # that has a loop of its own
                more["sandbox"] = sandbox
            agent: Agent[Any] = Agent(NAME, name="first", client=client, **more)
            assert await FACES[face](agent, tmp_path) == ["finished", "finished"]
        if "compaction" in more:
            asked = [each.body for each in sim.requests if "compaction" in each.body]
            assert asked
    found = watch.now
    assert found.possible > 0
    assert (found.unfit, found.tools, found.system, found.prefix) == (0, 0, 0, 0)
    assert found.fitted == found.possible
