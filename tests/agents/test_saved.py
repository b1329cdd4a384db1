"""A run as one file: whole in JSON lines, bounded in HTML, gone on with, compared, and shown."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent, Toolset
from polycall._support import jsontext
from polycall.agents import RunOptions, Sessions
from polycall.agents.run import Run
from polycall.agents.saved import (
    Trace,
    TraceStep,
    diff_html,
    diff_lines,
    load_trace,
    replay,
    save_trace,
    summary_lines,
    trace_of,
)
from polycall.agents.saved.replay import history_before
from polycall.cli import main
from polycall.errors import RequestError
from polycall.ir import Message, Part, Request, Text, ToolCall, ToolResult, Usage
from polycall.testing import FunctionModel, ScriptedModel
from polycall.tools import tool
from tests.console.browser import browser

EVIL = "</script><script>window.evil=1</script><img src=x onerror=window.evil=1> 🦊 날씨"


@tool
async def weather(city: str) -> str:
    """The weather of a city."""
    return f"snow in {city} {EVIL}"


async def run_of(*answers: Any) -> Run[str]:
    with ScriptedModel(list(answers)) as model:
        helper = Agent("test/low", name="helper", tools=[weather], client=model)
        agent = Agent(
            "test/high",
            name="guide",
            instructions="Be kind.",
            tools=[weather, helper.as_tool(name="ask_helper")],
            client=model,
        )
        return await agent.run("서울 weather?")


ANSWERS: tuple[Any, ...] = (
    [ToolCall("a", "weather", '{"city": "서울"}')],
    [ToolCall("b", "ask_helper", '{"task": "look again"}')],
    [ToolCall("c", "weather", '{"city":"Busan"}')],
    "It snows in Busan.",
    "Snow everywhere.",
)


def long_trace(steps: int, words: int) -> Trace:
    messages = [Message("user", [Text("go on")])]
    made: list[TraceStep] = []
    for number in range(1, steps + 1):
        made.append(TraceStep(number, len(messages), "agent", "test/m", usage=Usage(900, 40)))
        text = f"step {number}: " + f"words {number * 7919 % 1000} of many " * words
        call = ToolCall(f"c{number}", "look", json.dumps({"n": number}))
        messages.append(Message("assistant", [Text(text), call]))
        result = ToolResult(f"c{number}", [Text(f"result {number} {text}")], name="look")
        messages.append(Message("tool", [result]))
    return Trace("agent", "finished", Usage(1, 2), Decimal("1.5"), messages, made)


@pytest.mark.parametrize("name", ["run.jsonl", "run.polycall.html"])
async def test_a_saved_run_is_the_run(name: str, tmp_path: Path) -> None:
    run = await run_of(*ANSWERS)
    run.save(tmp_path / name)
    trace = load_trace(tmp_path / name)
    assert trace == trace_of(run)
    assert jsontext.encode(trace.messages) == jsontext.encode(run.messages)
    assert [step.agent for step in trace.steps] == ["guide"] * 3
    assert [(nested.path, nested.number) for nested in trace.nested] == [(["b"], 1), (["b"], 2)]
    assert {each.name for each in trace.tools} == {"weather", "ask_helper"}
    assert trace.instructions == "Be kind."
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    lines = list(summary_lines(trace))
    assert lines[0].startswith("guide: finished, 3 steps")
    assert "2 steps of the agent below" in "\n".join(lines)


async def test_replay_reproduces_the_messages_byte_for_byte(tmp_path: Path) -> None:
    """Each step of the recorded run was asked exactly what a replay from it asks."""
    asked: list[Request] = []
    script = iter(ANSWERS[0:1] + ANSWERS[4:])

    def answer(request: Request) -> Any:
        asked.append(request)
        return next(script)

    agent = Agent("test/m", tools=[weather], instructions="Be kind.", client=FunctionModel(answer))
    run = await agent.run("서울 weather?")
    run.save(tmp_path / "run.jsonl")
    trace = load_trace(tmp_path / "run.jsonl")
    for number, before in enumerate(asked[:2], 1):
        again: list[Request] = []

        def record(request: Request, again: list[Request] = again) -> str:
            again.append(request)
            return "other words"

        done, _ = await replay(trace, number, model="test/x", client=FunctionModel(record))
        assert jsontext.encode(again[0].messages) == jsontext.encode(before.messages)
        assert jsontext.encode(again[0].tools) == jsontext.encode(before.tools)
        assert done.text == "other words"


async def test_replay_gives_what_was_recorded_and_edits_a_message() -> None:
    trace = trace_of(await run_of(*ANSWERS))
    calls = [
        ToolCall("x", "weather", '{"city":"서울"}'),  # other spaces, same arguments
        ToolCall("y", "weather", '{"city": "Paris"}'),
    ]
    model = ScriptedModel([calls, "done"])
    run, replayed = await replay(trace, 1, model="test/x", client=model, edits={0: "다시?"})
    assert model.requests[0].messages[-1].text == "다시?"
    results = [part for part in run.messages[2].parts if isinstance(part, ToolResult)]
    assert results[0].text == f"snow in 서울 {EVIL}"
    assert (results[1].is_error, "no result is known" in results[1].text) == (True, True)
    assert (replayed.known, replayed.unknown) == (1, ["weather"])
    paid: list[str] = []

    @tool(name="weather")
    async def other(city: str) -> str:
        """The weather."""
        paid.append(city)
        return "sun"

    answers = [[ToolCall("z", "weather", '{"city": "Jeju"}')], "sunny"]
    model = ScriptedModel(answers)
    mine = Agent("test/y", name="guide", tools=[other], client=model)
    run, _ = await replay(trace, 2, agent=mine)
    assert (run.text, paid) == ("sunny", ["Jeju"])


async def test_what_cannot_be_replayed_says_so(tmp_path: Path) -> None:
    trace = trace_of(await run_of(*ANSWERS))
    with pytest.raises(RequestError, match="has no step 9; it has 3"):
        history_before(trace, 9)
    with pytest.raises(RequestError, match="no message 7 before step 2"):
        history_before(trace, 2, {7: "x"})
    with pytest.raises(RequestError, match="say which model answers"):
        await replay(Trace(messages=trace.messages, steps=[TraceStep(1, 1)]), 1)
    with pytest.raises(RequestError, match="neither"):
        save_trace(trace, tmp_path / "run.txt")
    for text in ("", "{}", "[]", '{"type": "run"}', '{"type":"message"}', "nonsense", "\x00"):
        (tmp_path / "bad.jsonl").write_text(text)
        with pytest.raises(RequestError):
            load_trace(tmp_path / "bad.jsonl")
    page = b'<script type="text/plain" id="trace">AAAA</script>'
    (tmp_path / "bad.html").write_bytes(page)
    with pytest.raises(RequestError):
        load_trace(tmp_path / "bad.html")


def test_two_models_on_one_task_side_by_side(tmp_path: Path) -> None:
    one = trace_of(asyncio.run(run_of(*ANSWERS)))
    other = trace_of(asyncio.run(run_of(*ANSWERS[:1], f"Just {EVIL}")))
    lines = list(diff_lines(one, other))
    assert [line[0] for line in lines[5:]] == ["=", "=", "=", "≠", "≠", "≠"]
    page = diff_html(one, other, ("one", EVIL))
    assert "<script" not in page
    assert "<img" not in page
    one_path, other_path = tmp_path / "one.jsonl", tmp_path / "other.html"
    save_trace(one, one_path)
    save_trace(other, other_path)
    assert main(["trace", "diff", str(one_path), str(other_path)]) == 0
    assert main(["trace", str(other_path)]) == 0
    out = tmp_path / "again.html"
    assert main(["trace", str(one_path), "--out", str(out)]) == 0
    assert load_trace(out) == one
    assert main(["trace", "diff", str(one_path)]) == 1
    assert main(["trace", "replay", str(one_path)]) == 1


def test_ten_thousand_steps_are_small_and_open_within_a_second(tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    save_trace(long_trace(10_000, 12), path)
    assert path.stat().st_size < 2_000_000
    save_trace(Trace(messages=[Message("user", [Text(EVIL)])]), tmp_path / "evil.html")
    with browser() as page:
        page.open(f"file://{path}")
        page.wait_for("document.documentElement.dataset.ready")
        # A machine under load is slower: the bound is checked where nothing else runs.
        took_ms = float(page.evaluate("document.documentElement.dataset.ready"))
        print(f"10,000 steps in {took_ms:.0f} ms, {path.stat().st_size:,} bytes")
        assert took_ms < 20_000
        assert page.evaluate("document.querySelectorAll('#step-1, #step-150').length") == 2
        page.fill("step", "9000")
        page.click("Find")
        page.wait_for("document.getElementById('step-9000')?.textContent.includes('step 9000:')")
        page.fill("find", "result 77 ")
        page.click("Find")
        page.wait_for("document.querySelectorAll('[role=feed] > details').length < 5")
        page.open(f"file://{tmp_path / 'evil.html'}")
        page.wait_for("document.documentElement.dataset.ready")
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        page.wait_for("document.body.innerText.includes('날씨')")
        assert page.evaluate("window.evil") is None
        assert page.evaluate("document.querySelector('img')") is None
        assert page.errors == []
        # Nothing but the two files themselves was asked for.
        assert {url.partition(":")[0] for url in page.requests} <= {"file", "data"}


def test_texts_that_do_not_fit_are_shortened_and_it_is_said(tmp_path: Path) -> None:
    import random

    draw = random.Random(3)
    messages = [
        Message("user", [Text(f"{draw.getrandbits(160_000):x}")]) for _ in range(100)
    ]  # 4 MB that cannot be packed
    save_trace(Trace(messages=messages), tmp_path / "run.html")
    assert (tmp_path / "run.html").stat().st_size < 2_000_000
    trace = load_trace(tmp_path / "run.html")
    assert trace.is_cut
    assert "characters more)" in trace.messages[0].text
    with pytest.raises(RequestError, match="save the run as .jsonl"):
        history_before(Trace(messages=messages, steps=[TraceStep(1, 5)], is_cut=True), 1)


async def test_notebooks_show_agents_runs_tools_and_streams() -> None:
    run = await run_of(*ANSWERS[:1], EVIL)
    agent = Agent("test/m", instructions=EVIL, tools=[weather], client=ScriptedModel([]))
    stream = agent.stream("x")
    things: list[Any] = [run, agent, weather, Toolset([weather]), stream]
    shown: list[str] = [getattr(thing, "_repr_html_")() for thing in things]  # noqa: B009 - as notebooks do
    await stream.aclose()
    for text in shown:
        assert "<script" not in text
        assert "<img" not in text
    assert "input tokens" in shown[0]
    assert "weather" in shown[1]
    assert "city" in shown[2]


async def test_notebooks_show_where_sessions_are_and_what_a_run_waits_for() -> None:
    @tool(needs_approval=True)
    async def send(to: str) -> str:
        """Send something."""
        return "sent"

    with ScriptedModel([ToolCall("a", "send", '{"to":"mina"}')]) as model:
        agent = Agent("test/m", tools=[send], client=model)
        stream = agent.stream("x", approve="pause")
        assert repr(stream) == "AgentStream(not begun)"
        async with stream:
            async for _ in stream:
                pass
    assert "waiting for: send" in repr(stream.run)
    assert repr(stream) == f"AgentStream({stream.run!r})"
    assert '<th style="text-align:left">waiting for</th>' in getattr(stream, "_repr_html_")()  # noqa: B009
    with Sessions(":memory:") as sessions:
        shown = (repr(sessions), repr(sessions.open("a")), repr(sessions.open("a", user="mina")))
    assert shown == ("Sessions(':memory:')", "Session('a')", "Session('a', user='mina')")
    assert all(name in str(Agent.run.__doc__) for name in RunOptions.__annotations__)


def test_parts_of_every_kind_are_kept(tmp_path: Path) -> None:
    parts: list[Part] = [Text("a", {"gemini": {"sig": "x"}}), ToolCall("i", "n", "{ }")]
    trace = Trace(messages=[Message("assistant", parts)])
    save_trace(trace, tmp_path / "run.jsonl")
    assert load_trace(tmp_path / "run.jsonl") == trace
