"""How often the arguments of a tool may not fit before it is closed: by steps, and not by calls."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from polycall import Agent, Limits, run_tools, tool
from polycall.errors import RequestError
from polycall.ir import Message, Request, Text, ToolCall, ToolResult
from polycall.loop import RunEnd
from polycall.testing import ScriptedModel
from polycall.tools import Executor, Toolset


@tool
async def weigh(grams: int) -> str:
    """Weigh."""
    return f"{grams} g"


def bad(*numbers: int) -> list[ToolCall]:
    return [ToolCall(f"b{number}", "weigh", '{"grams":"heavy"}') for number in numbers]


def good(number: int) -> ToolCall:
    return ToolCall(f"g{number}", "weigh", '{"grams":5}')


def texts(messages: list[Message]) -> list[str]:
    parts = [part for message in messages for part in message.parts]
    return [part.text for part in parts if isinstance(part, ToolResult)]


def test_l9_calls_side_by_side_are_one_strike() -> None:
    script = [bad(1, 2, 3), bad(4, 5, 6, 7), good(8), "5 g"]
    with ScriptedModel(script) as model:
        run = Agent("test/m", tools=[weigh], client=model).run_sync("weigh it")
    found = texts(run.messages)
    assert not any("is closed" in text for text in found)
    assert all("do not fit" in text for text in found[:7])
    assert found[-1] == "5 g"


def test_l9_three_steps_in_a_row_close_the_tool_and_a_good_call_begins_anew() -> None:
    script = [bad(1), [good(2)], bad(3, 4), bad(5), bad(6), [good(7)], "enough"]
    with ScriptedModel(script) as model:
        run = Agent("test/m", tools=[weigh], client=model).run_sync("weigh it")
    assert texts(run.messages)[-1] == (
        "'weigh' is closed: its arguments did not fit 3 times in a row; continue without it"
    )


@pytest.mark.parametrize("attempts", [1, 5])
def test_l9_how_often_can_be_set(attempts: int) -> None:
    script: list[Any] = [bad(number) for number in range(attempts)]
    with ScriptedModel([*script, good(99), "enough"]) as model:
        agent = Agent("test/m", tools=[weigh], client=model, argument_attempts=attempts)
        run = agent.run_sync("weigh it", limits=Limits(steps=20))
    assert f"did not fit {attempts} times" in texts(run.messages)[-1]
    assert sum("do not fit" in text for text in texts(run.messages)) == attempts
    for wrong in (0, "3", True, 2.5):
        with pytest.raises(RequestError, match="argument_attempts is a whole number above 0"):
            Agent("test/m", argument_attempts=wrong)  # type: ignore[arg-type]


async def test_l9_in_a_loop_without_an_agent_too() -> None:
    with ScriptedModel([bad(1, 2, 3), good(4), "5 g"]) as model:
        request = Request("test/m", [Message("user", [Text("weigh it")])], [weigh.definition])
        events = run_tools(model, request, Executor(Toolset([weigh])))
        async with contextlib.aclosing(events):
            ends = [event async for event in events if isinstance(event, RunEnd)]
    assert texts(ends[0].messages)[-1] == "5 g"
