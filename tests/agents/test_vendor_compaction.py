"""M1: a conversation that its vendor sums up, so that the reasoning of what stays still fits."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from polycall import Client, Limits, tool
from polycall.agents import Agent, Compaction, History, PausedRun
from polycall.agents.compaction import Shortened
from polycall.dialects.anthropic.binding import SummedUp, binding, summary_note
from polycall.ir import Message, Opaque
from polycall.sim import Call, Simulation, Turn
from tests.agents.support import client_of

MODEL = "claude-fable-5-2"
NAME = f"anthropic/{MODEL}"
WORDS = "Be short. " * 100


def look(at: str) -> str:
    """Look at something."""
    return f"{at} is there " * 5


@tool(needs_approval=True)
def stamp(at: str) -> str:
    """Put a stamp on something."""
    return f"{at} has a stamp"


@pytest.fixture
def sim() -> Iterator[Simulation]:
    with Simulation(seed=6) as simulation:
        yield simulation


def script(sim: Simulation, steps: int = 16, model: str = MODEL) -> None:
    turns = [Turn(reasoning=f"{n}", calls=[Call("look", {"at": f"{n}"})]) for n in range(steps)]
    sim.script("anthropic", model, [*turns, Turn(reasoning="end", text="done")])


def agent(
    client: Client, model: str = NAME, tools: list[Any] | None = None, **compaction: Any
) -> Agent[Any]:
    short = Compaction(**{"tokens_max": 700, **compaction})
    more: Any = {"compaction": short, "client": client, "limits": Limits(steps=40)}
    return Agent(model, name="first", instructions=WORDS, tools=tools or [look], **more)


def asked(sim: Simulation) -> list[dict[str, Any]]:
    """The requests for a summary."""
    return [each.body for each in sim.requests if "compaction" in each.body]


def kinds(messages: list[dict[str, Any]]) -> list[str]:
    """The first block of each message."""
    found = [each["content"] for each in messages]
    return ["text" if isinstance(each, str) else each[0]["type"] for each in found]


def dropped(run: Any) -> list[str]:
    return [each.detail for each in run.warnings if each.kind == "dropped_state"]


async def test_the_vendors_summary_comes_first_and_thinking_after_it_still_fits(
    sim: Simulation,
) -> None:
    script(sim)
    async with client_of(sim) as client:
        run = await agent(client).run("go")
    assert run.text == "done"
    assert dropped(run) == []
    assert len(asked(sim)) > 1  # a summary is summed up as well
    assert kinds(asked(sim)[1]["messages"])[0] == "compaction"
    last = sim.requests[-1].body["messages"]
    assert kinds(last)[:2] == ["compaction", "thinking"]
    assert "compact-2026-09-04" in sim.requests[-1].headers["anthropic-beta"]
    # What it cost is the run's: the steps have less.
    steps = sum((step.cost or Decimal(0) for step in run.steps), Decimal(0))
    assert run.cost is not None
    assert run.cost > steps
    assert [message.role for message in run.messages[:2]] == ["user", "assistant"]


async def test_a_next_run_goes_on_from_the_summary(sim: Simulation) -> None:
    async with client_of(sim) as client:
        script(sim)
        first = await agent(client).run("go")
        made = len(asked(sim))
        script(sim, 0)
        run = await agent(client).run("more", history=first.history.to_json())
    assert dropped(run) == []
    assert kinds(sim.requests[-1].body["messages"])[0] == "compaction"
    assert len(asked(sim)) <= made + 1


@pytest.mark.parametrize("off", [{"by_vendor": False}, {"summarize": lambda *_: "so far"}])
async def test_who_wants_another_summary_gets_that(sim: Simulation, off: dict[str, Any]) -> None:
    script(sim)
    async with client_of(sim) as client:
        run = await agent(client, **off).run("go")
    assert asked(sim) == []
    assert dropped(run)
    assert any(each.feature == "prompt_prefix" for each in run.warnings) or run.text == "done"
    said = sim.requests[-1].body["messages"][0]["content"]
    assert ("so far" in str(said)) == ("summarize" in off)


@pytest.mark.parametrize("model", ["claude-opus-4-8", "claude-sonnet-4-6"])
async def test_models_that_check_nothing_are_asked_for_no_summary(
    sim: Simulation, model: str
) -> None:
    script(sim, model=model)
    async with client_of(sim) as client:
        run = await agent(client, f"anthropic/{model}").run("go")
    assert run.text == "done"
    assert asked(sim) == []


async def test_a_vendor_that_refuses_is_asked_once_and_a_note_stands_there(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host of the model's may not have it yet."""
    monkeypatch.setattr("polycall.dialects.anthropic.request.COMPACTION_BETA", "compact-2020-01-01")
    script(sim)
    async with client_of(sim) as client:
        run = await agent(client).run("go")
    assert run.text == "done"
    assert len(asked(sim)) == 1
    told = [each.detail for each in run.warnings if each.feature == "compaction"]
    assert len(told) == 1
    assert "Extra inputs are not permitted" in told[0]
    assert "earlier messages of this conversation" in str(sim.requests[-1].body["messages"][0])
    assert "go" in str(sim.requests[-1].body["messages"][:2])  # what the run is for


async def test_another_model_reads_the_summarys_words(sim: Simulation) -> None:
    script(sim)
    sim.script("openai", "gpt-5.4", [Turn(text="fine")])
    async with client_of(sim) as client:
        first = await agent(client).run("go")
        run = await agent(client, "openai/gpt-5.4", tokens_max=90_000).run(
            "and you?", history=first.history
        )
    assert run.text == "fine"
    assert "[simulated]" in str(sim.requests[-1].body)


async def test_a_run_that_goes_on_elsewhere_asks_for_no_summary_again(sim: Simulation) -> None:
    """The summary is an entry of the run's journal, with what it cost."""
    script(sim)
    async with client_of(sim) as client:
        whole = await agent(client).run("go")
        turns = [Turn(reasoning=f"{n}", calls=[Call("look", {"at": f"{n}"})]) for n in range(16)]
        stop = Turn(reasoning="s", calls=[Call("stamp", {"at": "x"})])
        sim.script("anthropic", MODEL, [*turns, stop, Turn(reasoning="end", text="done")])
        before = len(asked(sim))
        run = await agent(client, tools=[look, stamp]).run("go", approve="pause")
        assert run.paused is not None
        made = len(asked(sim)) - before
        assert made > 0
        paused = PausedRun.from_json(run.paused.to_json())
        paused.allow(paused.waiting[0].id)
        run = await agent(client, tools=[look, stamp]).resume(paused)
    assert (run.text, dropped(run)) == ("done", [])
    assert len(asked(sim)) - before <= made + 1
    assert run.cost is not None
    assert whole.cost is not None
    assert run.cost > whole.cost


def test_a_summary_stands_for_what_it_sums_up_and_for_nothing_else() -> None:
    """The note of a summary says what it stands for, to the byte."""
    said: list[dict[str, Any]] = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": [{"type": "text", "text": "two"}]},
        {"role": "user", "content": "three"},
    ]
    body = {"system": "s", "messages": said}
    whole = binding({**body, "messages": [*said, *said[1:]]})
    note = summary_note(body, None, set())["anthropic"]["summed"]
    summed = SummedUp(**note)
    block = {"role": "assistant", "content": [{"type": "compaction", "content": "x"}]}
    assert binding({**body, "messages": [block, *said[1:]]}, summed) == whole
    for other in ([said[2]], [said[0], *said[1:]], [*said[1:], said[2]]):
        assert binding({**body, "messages": [block, *other]}, summed) != whole


def test_a_history_keeps_the_summary_as_json() -> None:
    part = Opaque("anthropic", "compaction", {"content": "x"}, {"anthropic": {"summed": {}}})
    block = Message("assistant", [part])
    history = History([Message("user", [])], shortened={"1/a/0": Shortened(1, "", block)})
    assert History.from_json(history.to_json()) == history
