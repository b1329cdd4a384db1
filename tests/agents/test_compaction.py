"""One run that becomes too long: what it sends is shortened on the way, not what it keeps."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent, Client, Limits
from polycall.agents import Compaction, PausedRun
from polycall.agents.compaction import TOKENS_PER_BYTE, size_of
from polycall.durable import Durable
from polycall.errors import RequestError
from polycall.ir import Message, Request, ToolCall, ToolResult
from polycall.sim import Call, Simulation, Turn
from polycall.testing import FunctionModel
from polycall.tools import tool

from .support import PROVIDERS, play

STEPS = 30
BUDGET = 2_000
TASK = "Read thirty pages (서른 쪽)."


@tool
async def read_page(number: int) -> str:
    """Read a page."""
    return f"page {number}: " + "word " * 150


@tool(needs_approval=True)
async def print_page(number: int) -> str:
    """Print a page."""
    return f"printed {number}"


def reader(request: Request) -> Any:
    """Reads on from the last page that it can see, until the thirtieth."""
    page = 0
    for message in request.messages:
        for call in message.tool_calls:
            page = max(page, (call.arguments or {})["number"])
    return ToolCall(f"c{page}", "read_page", f'{{"number": {page + 1}}}') if page < STEPS else "ok"


class Summaries:
    """Says which pages are gone."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, before: str, gone: list[Message]) -> str:
        self.made += 1
        pages = [call.arguments_json for message in gone for call in message.tool_calls]
        return f"{before} {len(pages)} pages;"[-200:]


def agent(model: Any, summaries: Summaries, *tools: Any) -> Agent[Any, Any]:
    return Agent(
        "test/m",
        name="reader",
        instructions="Read.",
        tools=tools or [read_page],
        client=model,
        compaction=Compaction(tokens_max=BUDGET, summarize=summaries),
        limits=Limits(steps=100),
    )


def is_whole(messages: list[Message]) -> bool:
    calls = [call.id for message in messages for call in message.tool_calls]
    results = [p.call_id for m in messages for p in m.parts if isinstance(p, ToolResult)]
    return calls == results


async def test_each_request_fits_and_the_run_keeps_everything() -> None:
    model, summaries = FunctionModel(reader), Summaries()
    run = await agent(model, summaries).run(TASK)
    assert run.text == "ok"
    assert len(run.messages) == 1 + 2 * STEPS + 1
    sent = [request.messages[1:] for request in model.requests]
    for messages in sent:
        assert is_whole(messages)
        assert sum(message.text == TASK for message in messages) == 1
        assert sum(map(size_of, messages)) * TOKENS_PER_BYTE <= BUDGET
    # In between it only grows at its end, which is what providers cache.
    changes = [
        after for before, after in itertools.pairwise(sent) if after[: len(before)] != before
    ]
    assert len(changes) == summaries.made
    assert 3 < summaries.made < STEPS / 2
    assert "left out here; a summary:]" in sent[-1][0].text


async def test_a_result_that_takes_all_of_the_budget_stays() -> None:
    @tool
    async def read_page(number: int) -> str:
        """Read a page."""
        return f"page {number}: " + "word " * 2_000

    model = FunctionModel(reader)
    await agent(model, Summaries(), read_page).run(TASK)
    # What stands for the rest, the task, the last call and its result.
    assert [[m.role for m in request.messages[1:]] for request in model.requests[2:]] == [
        ["user", "user", "assistant", "tool"]
    ] * (STEPS - 1)


async def test_a_paused_run_goes_on_as_it_was_shortened() -> None:
    def printing(request: Request) -> Any:
        last = reader(request)
        if last == "ok" and not any(m.text.startswith("printed") for m in request.messages):
            done = [p.name for p in request.messages[-1].parts if isinstance(p, ToolResult)]
            return "ok" if "print_page" in done else ToolCall("p", "print_page", '{"number": 30}')
        return last

    undisturbed, summaries = FunctionModel(printing), Summaries()
    whole = await agent(undisturbed, summaries, read_page, print_page).run(
        TASK, approve=lambda _: True
    )
    first, again = FunctionModel(printing), FunctionModel(printing)
    before, after = Summaries(), Summaries()
    run = await agent(first, before, read_page, print_page).run(TASK, approve="pause")
    assert run.paused is not None
    paused = PausedRun.from_json(run.paused.to_json())
    paused.allow(paused.waiting[0].id)
    run = await agent(again, after, read_page, print_page).resume(paused)
    assert run.messages == whole.messages
    assert [*first.requests, *again.requests] == undisturbed.requests
    assert before.made + after.made == summaries.made
    assert before.made > 3


def slow_at(stops_at: int, reached: asyncio.Event) -> Any:
    @tool
    async def read_page(number: int) -> str:
        """Read a page."""
        if number == stops_at:
            reached.set()
            await asyncio.sleep(60)
        return f"page {number}: " + "word " * 150

    return read_page


async def test_a_durable_run_goes_on_as_it_was_shortened(tmp_path: Path) -> None:
    undisturbed, summaries = FunctionModel(reader), Summaries()
    whole = await agent(undisturbed, summaries).run(TASK)
    asked: list[Request] = []
    made = 0
    for stops_at in (8, 21, 0):
        here_made, reached = Summaries(), asyncio.Event()
        slow = slow_at(stops_at, reached)
        model = FunctionModel(reader)
        url = f"sqlite:///{tmp_path / 'runs.db'}"
        async with Durable(url, agents=[agent(model, here_made, slow)], poll_s=0.02) as here:
            handle = await here.start("reader", TASK, run_id="r")
            if stops_at:
                await reached.wait()
            else:
                result = await handle.result()
        asked += model.requests
        made += here_made.made
    assert result.history.messages == whole.messages
    assert [request.messages for request in asked] == [r.messages for r in undisturbed.requests]
    assert made == summaries.made > 3


@pytest.mark.parametrize("vendor", PROVIDERS)
async def test_every_provider_takes_what_is_sent(
    vendor: str, simulation: Simulation, client: Client
) -> None:
    turns = [Turn(calls=[Call("read_page", {"number": n})]) for n in range(9)]
    name = play(simulation, vendor, *turns, Turn(text="Read."), model="shortened")
    short = Agent(name, tools=[read_page], client=client, compaction=Compaction(tokens_max=900))
    run = await short.run(TASK)
    assert (run.text, len(run.messages), run.warnings) == ("Read.", 20, [])


def test_a_compaction_that_is_none() -> None:
    with pytest.raises(RequestError, match=r"such as Compaction\(tokens_max=50_000\), not 5"):
        Agent("test/m", compaction=5)  # type: ignore[arg-type]
