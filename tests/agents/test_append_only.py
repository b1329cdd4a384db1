"""M1: agents on models that check what stood before their thinking, and what vendors cache."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench import steps
from bench.append import KINDS, PROTOCOLS, measure
from bench.append_traces import HEAD

from polycall import Client, tool
from polycall.agents import Agent, Compaction, Handoff, History, Memory, Sessions, ToolTree
from polycall.ir import Message, Text
from polycall.sandbox import Sandbox
from polycall.sim import Call, Simulation, Turn
from tests.agents.support import client_of

MODEL = "claude-fable-5-2"
NAME = f"anthropic/{MODEL}"


@pytest.fixture
def sim() -> Iterator[Simulation]:
    with Simulation(seed=4) as simulation:
        yield simulation


@pytest.fixture
def client(sim: Simulation) -> Client:
    return client_of(sim)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def weather(city: str) -> str:
    """The weather in a city."""
    return f"fair in {city}"


def mail(to: str) -> str:
    """Send a mail."""
    return f"sent to {to}"


def tree() -> ToolTree:
    return ToolTree({"math": {"add": add}, "world": {"weather": weather, "mail": mail}})


def dropped(run: Any) -> list[str]:
    return [each.detail for each in run.warnings if each.kind == "dropped_state"]


def thoughts(sim: Simulation) -> list[str]:
    return [
        block["thinking"]
        for message in sim.requests[-1].body["messages"]
        if isinstance(message["content"], list)
        for block in message["content"]
        if block["type"] == "thinking"
    ]


OPENING = [
    Turn(reasoning="a", calls=[Call("open_namespace", {"namespace": "math"})]),
    Turn(reasoning="b", calls=[Call("math__add", {"a": 1, "b": 2})]),
    Turn(reasoning="c", calls=[Call("open_namespace", {"namespace": "world"})]),
    Turn(reasoning="d", calls=[Call("world__weather", {"city": "Rome"})]),
    Turn(reasoning="e", text="done"),
]


@pytest.mark.parametrize("streamed", [False, True])
async def test_m1_a_tool_tree_that_grows_keeps_all_thinking(
    sim: Simulation, client: Client, *, streamed: bool
) -> None:
    sim.script("anthropic", MODEL, OPENING)
    agent = Agent(NAME, tools=[tree()], client=client)
    if streamed:
        async with agent.stream("go") as stream:
            async for _ in stream:
                pass
        run = stream.run
    else:
        run = await agent.run("go")
    assert run.text == "done"
    assert dropped(run) == []
    assert thoughts(sim) == ["a", "b", "c", "d"]
    late = [tool["name"] for tool in sim.requests[-1].body["tools"] if tool.get("defer_loading")]
    assert len(late) == 3


async def test_m1_a_session_goes_on_with_the_tools_it_has_opened(
    sim: Simulation, client: Client
) -> None:
    sim.script("anthropic", MODEL, [*OPENING, Turn(reasoning="f", text="again")])
    agent = Agent(NAME, tools=[tree()], client=client)
    first = await agent.run("go")
    run = await agent.run("and now?", history=first.history)
    assert dropped(run) == []
    assert thoughts(sim) == ["a", "b", "c", "d", "e"]


async def test_m1_instructions_by_function_are_added_at_the_end(
    sim: Simulation, client: Client
) -> None:
    sim.script(
        "anthropic",
        MODEL,
        [
            Turn(reasoning="a", calls=[Call("add", {"a": 1, "b": 2})]),
            Turn(reasoning="b", calls=[Call("add", {"a": 3, "b": 4})]),
            Turn(reasoning="c", text="done"),
        ],
    )
    numbers = itertools.count(1)
    agent = Agent(NAME, instructions=lambda _: f"step {next(numbers)}", tools=[add], client=client)
    run = await agent.run("go")
    assert dropped(run) == []
    body = sim.requests[-1].body
    assert body["system"] == "step 1"
    said = [m["content"] for m in body["messages"] if m["role"] == "system"]
    assert ["step 2" in str(said[0]), "step 3" in str(said[1])] == [True, True]


async def test_m1_the_next_run_and_the_session_begin_with_the_same_instructions(
    sim: Simulation, client: Client, tmp_path: Path
) -> None:
    turns = [
        Turn(reasoning="a", calls=[Call("add", {"a": 1, "b": 2})]),
        Turn(reasoning="b", text="x"),
    ]
    sim.script("anthropic", MODEL, turns * 4)
    numbers = itertools.count(1)
    agent = Agent(NAME, instructions=lambda _: f"step {next(numbers)}", tools=[add], client=client)
    first = await agent.run("go")
    run = await agent.run("more", history=History.from_json(first.history.to_json()))
    assert dropped(run) == []
    assert thoughts(sim) == ["a", "b", "a"]
    for _ in range(2):
        sessions = Sessions(str(tmp_path / "s.db"))
        run = await sessions.open("s").run(agent, "go")
        sessions.close()
        assert dropped(run) == []
    assert thoughts(sim) == ["a", "b", "a"]


async def test_m1_memory_is_added_at_the_end(sim: Simulation, client: Client) -> None:
    turns = [
        Turn(reasoning="a", calls=[Call("add", {"a": 1, "b": 2})]),
        Turn(reasoning="b", text="x"),
    ]
    sim.script("anthropic", MODEL, turns * 2)
    memory = Memory()
    agent = Agent(NAME, instructions="Be kind.", tools=[add], memory=memory, client=client)
    first = await agent.run("go", user="u")
    memory.add("the user likes tea", scope="user:u")
    run = await agent.run("tea?", history=first.history, user="u")
    assert dropped(run) == []
    body = sim.requests[-1].body
    assert "tea" not in json.dumps(body["system"])
    assert "the user likes tea" in json.dumps(
        [m for m in body["messages"] if m["role"] == "system"]
    )


async def test_m1_a_cut_beginning_is_told_and_never_refused(
    sim: Simulation, client: Client
) -> None:
    sim.script("anthropic", MODEL, [*OPENING, Turn(reasoning="f", text="again")])
    agent = Agent(NAME, tools=[tree()], client=client)
    first = await agent.run("go")
    edited = [Message("user", [Text("went")]), *first.messages[1:]]
    run = await agent.run([*edited, Message("user", [Text("more")])])
    assert run.text == "again"
    assert dropped(run)
    assert "what stood before it has changed" in dropped(run)[0]


HANDOFF = [
    Turn(reasoning="a", calls=[Call("add", {"a": 1, "b": 2})]),
    Turn(reasoning="b", calls=[Call("transfer_to_other", {"reason": "x"})]),
    Turn(reasoning="c", calls=[Call("mail", {"to": "ann"})]),
    Turn(reasoning="d", calls=[Call("return_to_first", {"reason": "y"})]),
    Turn(reasoning="e", calls=[Call("add", {"a": 3, "b": 4})]),
    Turn(reasoning="f", text="done"),
]


async def test_m1_a_handoff_and_the_way_back_keep_the_beginning(
    sim: Simulation, client: Client
) -> None:
    sim.script("anthropic", MODEL, [*HANDOFF, Turn(reasoning="g", text="again")])
    other = Agent(NAME, name="other", instructions="You are the other.", tools=[mail])
    agent = Agent(
        NAME,
        name="first",
        instructions="You are the first.",
        tools=[add],
        handoffs=[Handoff(other, returns=True)],
        client=client,
    )
    run = await agent.run("go")
    assert (run.text, run.reason, dropped(run)) == ("done", "finished", [])
    assert thoughts(sim) == ["a", "b", "c", "d", "e"]
    body = sim.requests[-1].body
    assert body["system"] == "You are the first."
    late = [tool["name"] for tool in body["tools"] if tool.get("defer_loading")]
    assert late == ["mail", "return_to_first"]
    said = [str(m["content"]) for m in body["messages"] if m["role"] == "system"]
    assert ["You are the other." in said[0], "at the beginning" in said[1]] == [True, True]
    again = await agent.run("and?", history=run.history)
    assert (again.text, dropped(again)) == ("again", [])
    assert thoughts(sim) == ["a", "b", "c", "d", "e", "f"]


async def test_m1_a_handoff_that_shows_less_is_told_and_never_refused(
    sim: Simulation, client: Client
) -> None:
    sim.script("anthropic", MODEL, [*HANDOFF[:2], Turn(reasoning="c", text="done")])
    other = Agent(NAME, name="other", instructions="You are the other.", client=client)
    agent = Agent(
        NAME,
        name="first",
        tools=[add],
        handoffs=[Handoff(other, history=lambda messages: messages[1:])],
        client=client,
    )
    run = await agent.run("go")
    assert (run.text, run.reason) == ("done", "finished")
    assert dropped(run)
    assert thoughts(sim) == []


async def test_t5_an_agents_steps_read_the_prompt_from_the_cache(
    sim: Simulation, client: Client
) -> None:
    shares: dict[bool, float] = {}
    for cache in (False, True):
        steps = [Turn(reasoning="a", calls=[Call("add", {"a": n, "b": 2})]) for n in range(15)]
        sim.script("anthropic", MODEL, [*steps, Turn(reasoning="z", text="done")])
        settings: Any = {} if cache else {"cache": False}
        words = f"{cache} Answer in the tone of the house. " + "Be kind. " * 2000
        agent = Agent(NAME, instructions=words, tools=[add], client=client, **settings)
        usage = (await agent.run("go")).usage
        shares[cache] = usage.cached_tokens / usage.input_tokens
    assert shares[False] == 0
    assert shares[True] > 0.9, shares


CASES = 120


class Trace:
    """One random agent and what its model does: turns of text and of calls, in several runs."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.opened: set[str] = set()
        self.steps = 0

    def instructions(self, _: Any) -> str:
        self.steps += self.random.random() < 0.4
        return f"{'You are kind. ' * 300}Mood {self.steps}."

    def turn(self) -> Turn:
        thought = f"thought {self.random.random()}" if self.random.random() < 0.9 else None
        names = {"math": "math__add", "world": "world__weather"}
        arguments: dict[str, Any] = {
            "math": {"a": 1, "b": self.random.randrange(9)},
            "world": {"city": self.random.choice(["Rome", "서울", "São Paulo"])},
        }
        place = self.random.choice(list(names))
        if place not in self.opened or self.random.random() < 0.2:
            self.opened.add(place)
            call = Call("open_namespace", {"namespace": place})
        else:
            call = Call(names[place], arguments[place])
        return Turn(reasoning=thought, calls=[call])

    def run(self) -> list[Turn]:
        count = self.random.randrange(6)
        return [*(self.turn() for _ in range(count)), Turn(reasoning="end", text="done")]


async def test_m1_random_agents_never_break_the_prefix_within_a_run(
    sim: Simulation, client: Client
) -> None:
    cached = total = 0
    for seed in range(CASES):
        trace = Trace(seed)
        sim.script("anthropic", MODEL, trace.run())
        agent = Agent(
            NAME, name=f"a{seed}", instructions=trace.instructions, tools=[tree()], client=client
        )
        if seed % 2:
            async with agent.stream("go") as stream:
                async for _ in stream:
                    pass
            run = stream.run
        else:
            run = await agent.run("go")
        assert (seed, run.reason, dropped(run)) == (seed, "finished", [])
        # The first request of a run has nothing to read: what later ones could have read counts.
        for before, step in itertools.pairwise(run.steps):
            cached += step.response.usage.cached_tokens
            total += before.response.usage.input_tokens
    assert cached / total > 0.9, cached / total


async def test_m1_random_conversations_with_edits_and_shortening_are_never_refused(
    sim: Simulation, client: Client
) -> None:
    for seed in range(CASES // 2):
        trace = Trace(seed)
        agent = Agent(
            NAME,
            name=f"b{seed}",
            instructions=trace.instructions,
            tools=[tree()],
            client=client,
            compaction=Compaction(tokens_max=600) if seed % 3 == 0 else None,
        )
        history: Any = []
        for number in range(3):
            sim.script("anthropic", MODEL, trace.run())
            run = await agent.run(f"go {number}", history=history)
            assert (seed, run.reason) == (seed, "finished")
            history = run.history
            if trace.random.random() < 0.3:
                history = [Message("user", [Text("edited")]), *run.messages[1:]]
                trace.opened.clear()


async def test_m1_a_small_change_of_long_instructions_is_said_by_its_part(
    sim: Simulation, client: Client
) -> None:
    sim.script(
        "anthropic",
        MODEL,
        [
            *(Turn(reasoning="a", calls=[Call("add", {"a": 1, "b": n})]) for n in range(4)),
            Turn(reasoning="b", text="done"),
        ],
    )
    words = "Be kind to everybody, and short. " * 60
    moods = iter(["one", "two", "two", "one", "three"])
    agent = Agent(
        NAME, instructions=lambda _: f"{words}Mood {next(moods)}. Go.", tools=[add], client=client
    )
    run = await agent.run("go")
    assert dropped(run) == []
    said = [m["content"] for m in sim.requests[-1].body["messages"] if m["role"] == "system"]
    texts = [each if isinstance(each, str) else each[0]["text"] for each in said]
    assert len(texts) == 3
    assert ("Mood one." in texts[0], "Mood two." in texts[0]) == (True, True)
    assert texts[1].endswith("hold again.")
    assert ("Mood one." in texts[2], "Mood three." in texts[2]) == (True, True)
    assert max(map(len, texts)) < 200


@pytest.mark.parametrize("kind", ["tools", "instructions", "nothing"])
async def test_a_broken_prefix_is_told_with_its_cost(
    sim: Simulation, client: Client, kind: str
) -> None:
    model = "claude-sonnet-4-6"
    calls = [OPENING[0].calls[0], OPENING[1].calls[0]] if kind == "tools" else ADD_TWICE
    sim.script("anthropic", model, [*(Turn(calls=[call]) for call in calls), Turn(text="done")])
    words = "Be kind to everybody, and short. " * 600
    moods = itertools.count()
    agent = Agent(
        f"anthropic/{model}",
        instructions=(lambda _: f"{next(moods)} {words}") if kind == "instructions" else words,
        tools=[tree()] if kind == "tools" else [add],
        client=client,
    )
    run = await agent.run("go")
    told = [each.detail for each in run.warnings if each.feature == "prompt_prefix"]
    if kind == "nothing":
        assert told == []
        return
    assert told
    assert told[0].startswith(f"the {kind} changed: about ")
    lost = int(told[0].split("about ")[1].split(" ")[0])
    price = float(told[0].split("$")[1].split(" ")[0])
    # Three dollars a million, and a tenth of it from the cache (the price list's of this model).
    assert price == pytest.approx(lost * 2.7e-6, rel=0.02)
    assert lost == pytest.approx(run.steps[0].response.usage.input_tokens, rel=0.05)


def tools_of(sim: Simulation) -> dict[str, bool]:
    """The tools of the last request, and whether each came later."""
    tools = sim.requests[-1].body["tools"]
    return {tool["name"]: bool(tool.get("defer_loading")) for tool in tools}


@pytest.mark.parametrize("kept", ["history", "json", "session"])
async def test_a_next_run_begins_with_the_tools_that_the_one_before_has_shown(
    sim: Simulation, client: Client, tmp_path: Path, kept: str
) -> None:
    """A tool that is new comes after them, though the agent lists it first."""
    turns = [
        Turn(reasoning="a", calls=[Call("add", {"a": 1, "b": 2})]),
        Turn(reasoning="b", text="x"),
        Turn(reasoning="c", calls=[Call("mail", {"to": "ann"})]),
        Turn(reasoning="d", text="y"),
        Turn(reasoning="e", text="z"),
    ]
    sim.script("anthropic", MODEL, turns)
    agents = [
        Agent(NAME, tools=tools, client=client)
        for tools in ([add, weather], [mail, add, weather], [mail, weather, add])
    ]
    sessions = Sessions(str(tmp_path / "s.db"))
    history: Any = None
    for agent in agents:
        if kept == "session":
            run = await sessions.open("s").run(agent, "go")
        else:
            run = await agent.run("go", history=history)
        history = run.history.to_json() if kept == "json" else run.history
        assert dropped(run) == []
    sessions.close()
    assert thoughts(sim) == ["a", "b", "c", "d"]
    assert tools_of(sim) == {"add": False, "weather": False, "mail": True}


async def test_programs_that_were_offered_stay_in_the_next_run(
    sim: Simulation, client: Client
) -> None:
    """`calling="auto"` may begin each run without them."""
    both = tool(allowed_callers=["direct", "code"])(add)
    calls = [Call("add", {"a": 1, "b": 2})]  # one in each step: a program would save requests
    steps = [Turn(reasoning=f"{n}", calls=calls) for n in range(6)]
    sim.script("anthropic", MODEL, [*steps, Turn(reasoning="x", text="x")] * 2)
    async with Sandbox() as sandbox:
        more: Any = {"calling": "auto", "sandbox": sandbox, "client": client}
        agent = Agent(NAME, instructions=HEAD, tools=[both], **more)
        first = await agent.run("go")
        assert tools_of(sim) == {"add": False, "run_code": True}
        run = await agent.run("more", history=first.history)
    assert [len(dropped(first)), len(dropped(run))] == [0, 0]
    assert len(thoughts(sim)) == 13
    assert tools_of(sim) == {"add": False, "run_code": True}


ADD_TWICE = [Call("add", {"a": 1, "b": 2}), Call("add", {"a": 3, "b": 4})]


@pytest.mark.slow
async def test_random_agents_of_each_kind_pass_the_strict_check() -> None:
    """A small part of `python -m bench.append`, which has the kinds that need a sandbox too."""
    results = await measure(8 * len(KINDS), seed=8, steps=6, sandboxed=False)
    assert set(results) == {"library", *PROTOCOLS}
    for name, found in results.items():
        assert found.problems == [], name
        assert set(found.kinds) == set(KINDS), name
    for kind in KINDS:
        counts = [found.kinds[kind] for found in results.values()]
        assert sum(each.unfit for each in counts) == 0, kind
        possible = sum(each.possible for each in counts)
        fitted = sum(each.fitted for each in counts)
        # Thinking cannot be kept where a conversation is shortened or edited.
        lost = kind in ("compaction", "edited", "mixed", "fallback")
        assert 0 < fitted <= possible, kind
        assert lost or fitted == possible, kind
        share = sum(each.read for each in counts) / sum(each.sent for each in counts)
        # Where another model answers, its cache is another.
        assert kind == "fallback" or share > (0.9 if lost else 0.95), (kind, share)


async def test_an_agent_of_forty_steps_costs_less_where_it_appends() -> None:
    """`python -m bench.steps` has all vendors; the table is in docs/costs.md."""
    anew = await steps.measure("deepseek", appended=False)
    appended = await steps.measure("deepseek", appended=True)
    assert (anew.steps, appended.steps) == (40, 40)
    assert anew.dollars is not None
    assert appended.dollars is not None
    assert appended.dollars < anew.dollars * 7 / 10
    assert appended.cached_share > 0.9 > anew.cached_share
