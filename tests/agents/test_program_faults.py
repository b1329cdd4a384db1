"""What is raised around a call of a program ends the run and not the event loop; nothing hangs."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from polycall import Agent, tool
from polycall.agents import partial_run
from polycall.ir import ToolCall
from polycall.testing import ScriptedModel

RAISED: list[BaseException] = [
    SystemExit(3),
    KeyboardInterrupt(),
    asyncio.CancelledError("gone"),
    StopIteration(),
    StopAsyncIteration(),
    KeyError("no"),
]
PROGRAM = """
try:
    print(await act())
except BaseException as error:
    print("the program went on:", error)
"""
CALL = ToolCall("c1", "run_code", json.dumps({"code": PROGRAM}))


@tool(needs_approval=True)
def act() -> str:
    """Act."""
    raise AssertionError("nobody agreed")


@tool(name="act")
def interrupted() -> str:
    """Act."""
    raise KeyboardInterrupt


def told(agent: Agent[Any, Any], approve: Any, *, is_sync: bool) -> BaseException | None:
    """What the run raises, by its own loop or by one for it; `TimeoutError` where it hangs."""
    found: list[BaseException | None] = [TimeoutError("the run hangs")]

    def go() -> None:
        try:
            if is_sync:
                agent.run_sync("go", approve=approve)
            else:
                asyncio.run(agent.run("go", approve=approve))
            found[0] = None
        except BaseException as error:
            found[0] = error

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    thread.join(30)
    return found[0]


@pytest.mark.parametrize("raised", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("is_sync", [True, False])
def test_what_an_approval_raises_in_a_program_ends_the_run(
    raised: BaseException, is_sync: bool
) -> None:
    def ask(request: Any) -> bool:
        raise raised

    client = ScriptedModel([CALL, "never asked", "again"])
    agent = Agent("test/m", tools=[act], calling="code", client=client)
    error = told(agent, ask, is_sync=is_sync)
    assert error is not None
    # Python makes another error of what would stop the code around it.
    is_end = isinstance(raised, StopIteration | StopAsyncIteration)
    assert type(error).__name__ == (RuntimeError if is_end else type(raised)).__name__
    assert len(client.requests) == 1
    run = partial_run(error)
    assert run is not None
    assert [call.name for call in run.steps[0].response.tool_calls] == ["run_code"]
    assert Agent("test/m", client=ScriptedModel(["alive"])).run_sync("there?").text == "alive"


@pytest.mark.parametrize("is_sync", [True, False])
def test_what_a_tool_of_a_program_raises_too(is_sync: bool) -> None:
    client = ScriptedModel([CALL, "never asked"])
    agent = Agent("test/m", tools=[interrupted], calling="code", client=client)
    assert type(told(agent, None, is_sync=is_sync)) is KeyboardInterrupt
    assert Agent("test/m", client=ScriptedModel(["alive"])).run_sync("there?").text == "alive"
