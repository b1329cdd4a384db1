"""However a run ends, its spans end: by an error, by a cancellation, by a pause."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.trace import StatusCode

from polycall import Agent, Client, Limits, tool, tracing
from polycall.agents import PausedRun
from polycall.errors import UpstreamError
from polycall.ir import Text, ToolResult
from polycall.providers.catalogue import CATALOGUE
from polycall.sim import Failure, Simulation, Turn
from polycall.testing import ScriptedModel
from polycall.tools import AbstractToolset, Toolset
from polycall.transport.base import Retry

from ..agents.support import play
from ..collector import Collector
from .support import call, names, one, trees

SECRET = "the vault opens at four"


class Seen(SpanProcessor):
    """Every span that begins, and every span that ends."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[ReadableSpan] = []

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        self.begun.append(span.name)

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)

    def outcomes(self) -> dict[str, Any]:
        """How each ended: its `polycall.outcome`, its error, or nothing."""
        assert sorted(self.begun) == sorted(span.name for span in self.ended)
        return {
            span.name: (span.attributes or {}).get("polycall.outcome")
            or (span.attributes or {}).get("error.type")
            for span in self.ended
        }


@pytest.fixture
def seen() -> Iterator[Seen]:
    provider, found = TracerProvider(), Seen()
    provider.add_span_processor(found)
    with tracing.enable(provider=provider):
        yield found


@tool
async def find(what: str) -> str:
    """Find something."""
    raise LookupError(SECRET)


@tool(deadline_s=0.01)
async def wait() -> str:
    """Wait."""
    await asyncio.sleep(60)
    return "late"


@tool
async def refuse() -> ToolResult:
    """Give a result that is an error."""
    return ToolResult("", [Text(SECRET)], is_error=True)


@tool(allowed_callers=["code"])
async def nothing() -> str:
    """Give nothing."""
    return ""


BAD_CALLS = [
    call("c1", "find", what="it"),
    call("c2", "find", which="it"),
    call("c3", "nobody"),
    call("c4", "wait"),
    call("c5", "refuse"),
    call("c6", "run_code", code="raise ValueError('the vault')"),
]


async def test_what_went_wrong_is_named_and_not_told(collector: Collector) -> None:
    with ScriptedModel([BAD_CALLS, "sorry"]) as model, tracing.enable(collector.url):
        tools = [find, wait, refuse, nothing]
        agent = Agent("test/m", tools=tools, calling="code", client=model)
        run = await agent.run("hello")
    assert run.reason == "finished"
    (tree,) = trees(collector)
    failed = tree.below[0].below[1:]
    assert sorted((each.attributes["gen_ai.tool.call.id"], each.error) for each in failed) == [
        ("c1", "LookupError"),
        ("c2", "ArgumentsError"),
        ("c3", "UnknownToolError"),
        ("c4", "TimeoutError"),
        ("c5", "tool_error"),
        ("c6", "tool_error"),
    ]
    assert one(collector, "sandbox run").attributes["error.type"] == "failed"
    # A failed call is no failed run.
    assert (tree.error, tree.below[0].error) == ("", "")
    assert not any(span.message for span in collector.spans())
    assert b"vault" not in b"".join(collector.bodies)


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("content", [False, True])
async def test_a_model_that_fails_fails_the_run(
    simulation: Simulation, client: Client, collector: Collector, streams: bool, content: bool
) -> None:
    model = play(simulation, "openai", Turn(error=Failure(status=400, message=SECRET)))
    agent = Agent(model, client=client)
    with tracing.enable(collector.url, content=content), pytest.raises(UpstreamError):
        if streams:
            async for _ in agent.stream("hello"):
                pass
        await agent.run("hello")
    (tree,) = trees(collector)
    assert names(tree) == ("invoke_agent agent", [("step", ["chat scripted"])])
    chat = tree.below[0].below[0]
    assert {tree.error, tree.below[0].error, chat.error} == {"InvalidRequestError"}
    assert (SECRET.encode() in b"".join(collector.bodies)) == content


@pytest.mark.parametrize("vendor", ["openai", "anthropic", "google"])
async def test_no_key_is_in_a_trace(
    simulation: Simulation, collector: Collector, vendor: str
) -> None:
    key = "sk-very-secret-0123456789"
    there = replace(CATALOGUE[vendor], base_url=simulation.base_url(vendor))
    nowhere = replace(there, name="nowhere", base_url="http://127.0.0.1:9")
    keys = {vendor: key, "nowhere": key}
    retry = Retry(attempts=1)
    async with Client(providers=[there, nowhere], keys=keys, retry=retry) as client:
        with tracing.enable(collector.url, content=True):
            refused = play(simulation, vendor, Turn(error=Failure(401, "no such key: sk-v***89")))
            for model in (f"{vendor}/sim-1", refused, "nowhere/m"):
                agent = Agent(model, client=client)
                with contextlib.suppress(UpstreamError):
                    await agent.run("hello")
    errors = [tree.error for tree in trees(collector)]
    assert errors == ["", "AuthenticationError", "UpstreamConnectionError"]
    assert key.encode() not in b"".join(collector.bodies)


async def test_a_run_without_an_answer_is_a_failure_and_a_limit_is_none(
    collector: Collector,
) -> None:
    with tracing.enable(collector.url):
        with ScriptedModel(["no number"]) as model:
            await Agent("test/m", output=int, output_attempts=1, client=model).run("one?")
        with ScriptedModel([call("c", "nobody")]) as model:
            await Agent("test/m", limits=Limits(steps=1), client=model).run("go on")
    first, second = trees(collector)
    assert (first.attributes["polycall.run.reason"], first.error) == ("output", "output")
    assert (second.attributes["polycall.run.reason"], second.error) == ("steps", "")


def slow_shop(reached: asyncio.Event, model: Any) -> Agent[Any, Any]:
    @tool
    async def hang(what: str) -> str:
        """Never end."""
        reached.set()
        await asyncio.sleep(60)
        return what

    @tool(background=True)
    async def draw() -> str:
        """Draw for ever."""
        await asyncio.sleep(60)
        return ""

    clerk = Agent("test/clerk", name="clerk", tools=[hang])
    return Agent("test/m", name="boss", tools=[clerk, hang, draw], client=model)


HANGING = [
    call("c0", "draw"),
    [call("c1", "clerk", task="x")],
    call("c2", "hang", what="y"),
]


async def test_a_cancelled_run_ends_all_its_spans(seen: Seen) -> None:
    reached = asyncio.Event()
    agent = slow_shop(reached, ScriptedModel(HANGING))
    running = asyncio.create_task(agent.run("go"))
    await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert seen.outcomes() == {
        "invoke_agent boss": "cancelled",
        "step": "cancelled",
        "chat m": None,
        "chat clerk": None,
        "execute_tool draw": None,
        "background_task draw": "cancelled",
        "execute_tool clerk": "cancelled",
        "invoke_agent clerk": "cancelled",
        "execute_tool hang": "cancelled",
    }
    assert {span.status.status_code for span in seen.ended} == {StatusCode.UNSET}


@pytest.mark.parametrize("events", [1, 12])
async def test_whoever_stops_reading_ends_all_spans(seen: Seen, events: int) -> None:
    reached = asyncio.Event()
    agent = slow_shop(reached, ScriptedModel(HANGING))
    async with agent.stream("go") as stream:
        for _ in range(events):
            await anext(stream)
    assert seen.outcomes()["invoke_agent boss"] == "cancelled"


async def test_a_stream_that_another_task_closes(seen: Seen) -> None:
    stream = slow_shop(asyncio.Event(), ScriptedModel(HANGING)).stream("go")
    await asyncio.create_task(anext(stream))  # pyright: ignore[reportArgumentType]
    await asyncio.create_task(stream.aclose())
    assert seen.outcomes()["invoke_agent boss"] == "cancelled"


async def test_a_run_that_is_out_of_time(seen: Seen) -> None:
    agent = slow_shop(asyncio.Event(), ScriptedModel(HANGING))
    run = await agent.run("go", limits=Limits(wall_s=0.1))
    assert run.reason == "wall"
    outcomes = seen.outcomes()
    assert (outcomes["invoke_agent boss"], outcomes["execute_tool clerk"]) == (None, "cancelled")


def paying(model: Any, paid: list[int]) -> Agent[Any, Any]:
    @tool(needs_approval=True)
    async def pay(amount: int) -> str:
        """Pay."""
        paid.append(amount)
        return "paid"

    @tool
    async def look() -> str:
        """Look."""
        return "seen"

    tools: AbstractToolset = Toolset([pay, look])
    return Agent("test/m", tools=[tools], client=model)


async def test_a_paused_run_goes_on_in_a_linked_trace_and_repeats_no_span(
    collector: Collector,
) -> None:
    paid: list[int] = []
    calls = [call("c1", "look"), call("c2", "pay", amount=3)]
    with ScriptedModel([call("c0", "look"), calls]) as model, tracing.enable(collector.url):
        run = await paying(model, paid).run("pay", approve="pause")
    assert run.paused is not None
    text = run.paused.to_json()
    (before,) = trees(collector)
    looked = ("step", ["chat m", "execute_tool look"])
    both = ("step", ["chat m", "execute_tool look", "execute_tool pay"])
    assert names(before) == ("invoke_agent agent", [looked, both])
    assert before.attributes["polycall.run.reason"] == "paused"
    assert before.below[1].below[2].attributes["polycall.outcome"] == "paused"
    first = one(collector, "invoke_agent agent")
    collector.bodies.clear()
    with ScriptedModel(["done"]) as model, tracing.enable(collector.url):
        paused = PausedRun.from_json(text)
        paused.allow(paused.waiting[0].id)
        await paying(model, paid).resume(paused)
    assert paid == [3]
    (after,) = trees(collector)
    assert names(after) == (
        "invoke_agent agent",
        [("step", ["execute_tool pay"]), ("step", ["chat m"])],
    )
    assert [each.attributes["polycall.step.number"] for each in after.below] == [2, 3]
    second = one(collector, "invoke_agent agent")
    assert second.links == [(first.trace, first.id)]
    assert second.trace != first.trace
    assert {span.attributes["polycall.run.id"] for span in collector.spans()} == {
        first.attributes["polycall.run.id"]
    }
