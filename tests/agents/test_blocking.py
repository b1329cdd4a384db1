"""Synchronous calls, wherever they are made: inside each other, in loops, after a fork."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent, AgentContext, Client, Limits, tool
from polycall._support.blocking import PerLoop
from polycall.agents import Guarded, Router, partial_run
from polycall.errors import RequestError
from polycall.ir import Request, ToolCall
from polycall.sim import Simulation, Turn
from polycall.testing import FunctionModel, ScriptedModel

from .support import client_of, play

_ALONE_S = 20.0


def bounded(work: Callable[[], Any]) -> Any:
    """What the work gives or raises, in a thread: a hang is a failure and not the test's."""
    given: list[Any] = []

    def run() -> None:
        try:
            given.append(work())
        except BaseException as error:
            given.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_ALONE_S)
    assert given, "it hangs"
    return given[0]


def agent_with(*tools: Any, **options: Any) -> Agent[Any, str]:
    """An agent that calls its first tool once, and then repeats what that gave."""
    name = getattr(tools[0], "name", "") or getattr(tools[0], "__name__", "") if tools else ""

    def answer(request: Request) -> str | ToolCall:
        last = request.messages[-1]
        if last.role == "tool":
            return last.parts[0].text  # type: ignore[union-attr]
        return ToolCall("c1", name, "{}") if name else "hello"

    return Agent("test/m", tools=tools, client=FunctionModel(answer), **options)


def inner() -> Agent[Any, str]:
    return Agent("test/m", name="inner", client=FunctionModel(lambda request: "from inside"))


# ---------------------------------------------------------------------------------------------
# L3: a synchronous call where a loop runs


async def ask_by_agent() -> str:
    """Ask."""
    return inner().run_sync("hello").text


async def ask_by_guarded() -> str:
    """Ask."""
    return Guarded(inner()).run_sync("hello").text


async def ask_by_router() -> str:
    """Ask."""
    return Router([inner()], lambda words: "inner").run_sync("hello").text


async def ask_by_client() -> str:
    """Ask."""
    with Client() as client:
        return client.generate_sync("openai/gpt-5.4", "hello").text


@pytest.mark.parametrize("tool_of", [ask_by_agent, ask_by_guarded, ask_by_router, ask_by_client])
def test_l3_a_blocking_call_in_an_async_tool_is_refused_with_the_call_to_write(
    tool_of: Callable[..., Any],
) -> None:
    run = bounded(lambda: agent_with(tool_of).run_sync("go"))
    assert "hold up" in run.text
    assert (
        "await agent.run(...)" in run.text
        or "await client.generate(...)" in run.text
        or "await guarded.run(...)" in run.text
        or "await router.run(...)" in run.text
    )


def test_l3_in_a_hook_and_in_instructions_it_is_refused_too() -> None:
    def hook(event: Any) -> None:
        inner().run_sync("hello")

    def instructions(context: AgentContext[Any]) -> str:
        return inner().run_sync("hello").text

    def check(messages: Any) -> str | None:
        return inner().run_sync("hello").text

    for outer in (
        agent_with(hooks=[hook]),
        agent_with(instructions=instructions),
        Guarded(agent_with(), inputs=[check]),
    ):
        error = bounded(lambda outer=outer: outer.run_sync("go"))
        assert isinstance(error, RequestError), error
        assert "await agent.run(...)" in str(error)


async def test_l3_n9_in_an_async_handler_it_is_refused_too() -> None:
    with pytest.raises(RequestError, match=r"await agent\.run\(\.\.\.\)"):
        inner().run_sync("hello")
    client = Client()
    with pytest.raises(RequestError, match=r"await client\.generate\(\.\.\.\)"):
        client.generate_sync("openai/gpt-5.4", "hello")
    await client.close()


@pytest.mark.parametrize("how", ["sync tool", "to_thread", "own thread"])
def test_l3_in_a_thread_of_its_own_it_runs(how: str) -> None:
    def ask_plainly() -> str:
        """Ask."""
        return inner().run_sync("hello").text

    async def ask_in_thread() -> str:
        """Ask."""
        return await asyncio.to_thread(ask_plainly)

    if how == "own thread":
        assert bounded(ask_plainly) == "from inside"
        return
    outer = agent_with(ask_plainly if how == "sync tool" else ask_in_thread)
    assert bounded(lambda: outer.run_sync("go")).text == "from inside"


async def test_l3_a_notebooks_own_loop_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shell:
        @staticmethod
        def get_ipython() -> object:
            return object()

    monkeypatch.setitem(sys.modules, "IPython", Shell)
    assert inner().run_sync("hello").text == "from inside"
    # In a tool of the same notebook it would wait for itself all the same.
    error = bounded(lambda: agent_with(ask_by_agent).run_sync("go"))
    assert "await agent.run(...)" in error.text


# ---------------------------------------------------------------------------------------------
# L4: a tool that raises what is no `Exception`


class PanicError(BaseException):
    """As a library in Rust raises it."""


def panics() -> None:
    raise PanicError("unwrap of nothing")


def fails() -> None:
    pytest.fail("the stub was called")


def interrupts() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("face", ["run", "run_sync", "stream", "delegate", "background"])
@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("leave", [panics, fails, interrupts])
def test_l4_what_is_no_exception_leaves_the_run(
    leave: Callable[[], None], is_async: bool, face: str
) -> None:
    async def act() -> str:
        """Act."""
        leave()
        return "done"

    def act_plainly() -> str:
        """Act."""
        leave()
        return "done"

    function: Any = act if is_async else act_plainly
    made = tool(function, name="act", background=face == "background")
    agent = agent_with(made)
    if face == "delegate":
        worker = Agent("test/m", name="worker", tools=[made], client=agent.client)
        boss = FunctionModel(lambda request: ToolCall("d", "worker", '{"task":"act"}'))
        agent = Agent("test/m", name="boss", tools=[worker], client=boss)
    expected = {panics: PanicError, fails: pytest.fail.Exception, interrupts: KeyboardInterrupt}

    async def streamed() -> None:
        async with agent.stream("go") as stream:
            async for _ in stream:
                pass

    if face == "stream":
        error = bounded(lambda: asyncio.run(streamed()))
    elif face == "run_sync":
        error = bounded(lambda: agent.run_sync("go"))
    else:
        error = bounded(lambda: asyncio.run(agent.run("go")))
    assert type(error) is expected[leave], error
    # The loop of `run_sync` is as good as before.
    assert bounded(lambda: inner().run_sync("hello")).text == "from inside"
    run = partial_run(error)
    assert run is not None
    assert run.messages[0].text == "go"


def test_l4_other_calls_of_the_step_are_cancelled_with_it() -> None:
    ended: list[str] = []

    @tool
    async def slow() -> str:
        """Wait."""
        try:
            await asyncio.sleep(30)
        finally:
            ended.append("slow")
        return ""

    @tool
    async def act() -> str:
        """Act."""
        await asyncio.sleep(0.05)
        panics()
        return ""

    calls = [ToolCall("1", "slow", "{}"), ToolCall("2", "act", "{}")]
    with ScriptedModel([calls]) as model:
        agent = Agent("test/m", tools=[slow, act], client=model)
        assert type(bounded(lambda: agent.run_sync("go", limits=Limits()))) is PanicError
    assert ended == ["slow"]


# ---------------------------------------------------------------------------------------------
# L5: fork


_FORKS = """
import os, sys, signal
signal.alarm(30)
from polycall import Agent, Client
from polycall.testing import FunctionModel
import multiprocessing, threading, time

def agent():
    return Agent("test/m", client=FunctionModel(lambda request: "hello"))

def wait_for(pid):
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status

assert agent().run_sync("one").text == "hello"
pid = os.fork()
if pid == 0:
    {child}
wait_for(pid)
assert agent().run_sync("two").text == "hello"
print("parent is well")
"""
_CHILDREN = {
    "calls": 'assert agent().run_sync("child").text == "hello"; sys.exit(0)',
    "idle": "sys.exit(0)",
    "forks again": """
    pid = os.fork()
    if pid == 0:
        assert agent().run_sync("grandchild").text == "hello"
        sys.exit(0)
    wait_for(pid)
    sys.exit(0)
    """,
    "threads": """
    got = []
    threads = [threading.Thread(target=lambda: got.append(agent().run_sync("t").text))
               for _ in range(4)]
    [each.start() for each in threads]; [each.join() for each in threads]
    assert got == ["hello"] * 4
    sys.exit(0)
    """,
    "tools in threads": """
    from polycall.ir import ToolCall
    def act() -> str:
        "Act."
        return "acted"
    answers = iter([ToolCall("c", "act", "{}"), "done"])
    made = Agent("test/m", tools=[act], client=FunctionModel(lambda request: next(answers)))
    assert made.run_sync("child").text == "done"
    sys.exit(0)
    """,
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("child", sorted(_CHILDREN))
def test_l5_a_forked_child_calls_or_just_ends(child: str, tmp_path: Path) -> None:
    script = tmp_path / "forks.py"
    script.write_text(
        _FORKS.replace("{child}", textwrap.dedent(_CHILDREN[child]).strip().replace("\n", "\n    "))
    )
    # Since 3.12 Python itself says of each fork beside a thread that it may lead to deadlocks.
    done = subprocess.run(
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "parent is well\n"), done.stderr
    assert done.stderr == ""


_FORKS_WITH_CLIENT = """
import os, sys, signal, multiprocessing
signal.alarm(40)
from msgspec.structs import replace
from polycall import Agent, Client
from polycall.providers.catalogue import CATALOGUE

model, url = sys.argv[1:]
client = Client(providers=[replace(CATALOGUE["openai"], base_url=url)], keys={"openai": "any"})
agent = Agent(model, client=client)

def child(answers):
    answers.put(agent.run_sync("child").text)
    answers.put(client.generate_sync(model, "child").text)

if __name__ == "__main__":
    agent.run_sync("parent")
    client.generate_sync(model, "parent")
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    process = context.Process(target=child, args=(answers,))
    process.start()
    print(answers.get(timeout=20), answers.get(timeout=20))
    process.join(20)
    print(process.exitcode, agent.run_sync("parent").text)
    client.close_sync()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_l5_a_client_of_the_parent_serves_the_child(simulation: Simulation, tmp_path: Path) -> None:
    turns = [Turn(text=f"answer {number}") for number in range(5)]
    model = play(simulation, "openai", *turns, model="forked")
    script = tmp_path / "forks.py"
    script.write_text(_FORKS_WITH_CLIENT)
    command = [sys.executable, str(script), model, simulation.base_url("openai")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["answer 2 answer 3", "0 answer 4"]


# ---------------------------------------------------------------------------------------------
# L11: one client, several loops


def test_l11_an_explicit_client_serves_one_loop_after_the_other(simulation: Simulation) -> None:
    turns = [Turn(text=f"answer {number}") for number in range(6)]
    model = play(simulation, "openai", *turns, model="loops")
    client = client_of(simulation)
    agent = Agent(model, client=client)
    assert asyncio.run(agent.run("a")).text == "answer 0"
    assert asyncio.run(agent.run("b")).text == "answer 1"
    assert asyncio.run(client.generate(model, "c")).text == "answer 2"
    assert bounded(lambda: asyncio.run(agent.run("d"))).text == "answer 3"
    assert agent.run_sync("e").text == "answer 4"
    assert client.generate_sync(model, "f").text == "answer 5"
    client.close_sync()


def test_l11_a_client_that_only_agents_used_closes_their_connections(
    simulation: Simulation,
) -> None:
    model = play(simulation, "openai", Turn(text="yes"), Turn(text="again"), model="agents-only")
    client = client_of(simulation)
    with client:
        assert Agent(model, client=client).run_sync("a").text == "yes"
    sessions = client._transport._sessions  # type: ignore[attr-defined]
    assert sessions._held == {}
    assert Agent(model, client=client).run_sync("b").text == "again"  # it opens anew
    client.close_sync()
    assert sessions._held == {}


UNCLOSED = """
import gc, threading, time
from polycall import Agent, Client
from polycall.sim import Simulation
from tests.agents.support import client_of

def ask(client):
    return Agent("openai/sim-1", client=client).run_sync("hi").text

with Simulation() as simulation:
    client = client_of(simulation)
    threads = [threading.Thread(target=ask, args=[client]) for _ in range(2)]
    [each.start() for each in threads]
    [each.join() for each in threads]
    for _ in range(5):
        client_of(simulation).generate_sync("openai/sim-1", "hello")
    gc.collect()
    ends_at = time.monotonic() + 30
    def portals():
        return [each.name for each in threading.enumerate()].count("polycall-portal")
    while portals() > 1 and time.monotonic() < ends_at:
        time.sleep(0.01)
    print(portals())
    streaming = client_of(simulation)
    stream = streaming.stream_sync("openai/sim-1", "hello")
    next(stream)
    client.generate_sync("openai/sim-1", "bye")
    kept = client_of(simulation)
    kept.generate_sync("openai/sim-1", "bye")
"""


def test_l11_clients_that_nobody_closes_end_silently_and_leave_no_thread() -> None:
    # Of the shared loop of `run_sync` alone; the loops of dropped clients have ended.
    assert alone(UNCLOSED) == "1\n"


async def test_l11_two_loops_at_once_share_a_client_and_close_closes_both(
    simulation: Simulation,
) -> None:
    model = play(simulation, "openai", *[Turn(text="yes")] * 9, model="both-loops")
    async with client_of(simulation) as client:
        agent = Agent(model, client=client)
        others = [asyncio.to_thread(agent.run_sync, "there") for _ in range(4)]
        runs = await asyncio.gather(*others, *(agent.run("here") for _ in range(4)))
        assert [run.text for run in runs] == ["yes"] * 8
    # Closed, and made anew where it is asked again.
    assert (await agent.run("again")).text == "yes"
    await client.close()


def test_a_value_that_is_being_closed_while_its_loop_ends_is_closed_once() -> None:
    closed: list[str] = []
    errors: list[str] = []

    async def close(value: str) -> None:
        await asyncio.sleep(0.01)
        closed.append(value)

    held = PerLoop(lambda: "connection", close)

    async def other() -> AsyncGenerator[int]:
        try:
            yield 1
        finally:
            await held.close()  # while the loop closes the value's own generator

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: errors.append(context["message"]))
        await held.get()
        generator = other()
        await anext(generator)
        kept.append(generator)

    kept: list[AsyncGenerator[int]] = []
    asyncio.run(main())
    assert (closed, errors) == (["connection"], [])


# ---------------------------------------------------------------------------------------------
# Ctrl-C, and streams that are left

INTERRUPTED = """
import asyncio, os, signal, threading, time
from polycall import Agent
from polycall.agents import partial_run
from polycall.testing import ScriptedModel

started = threading.Event()
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs behind

def interrupt():
    started.wait(20)
    time.sleep(0.5)  # until the program waits for the tool's end
    os.kill(os.getpid(), signal.SIGINT)

async def slow() -> str:
    "Slow."
    started.set()
    try:
        await asyncio.sleep(30)
    finally:
        print("cleaned up", flush=True)

def stuck() -> str:
    "Stuck."
    started.set()
    time.sleep(30)

agent = Agent("test/m", tools=[slow, stuck], client=ScriptedModel([{TOOL: {}}]))
threading.Thread(target=interrupt, daemon=True).start()
try:
    WORK
except KeyboardInterrupt as error:
    run = partial_run(error)
    print("interrupted", run.reason, len(run.steps))
"""
STREAMED = """with agent.stream_sync("go") as stream:
        for event in stream:
            pass"""
LEFT_OPEN = """
import asyncio
from polycall import Agent
from polycall.testing import ScriptedModel

async def slow() -> str:
    "Slow."
    try:
        await asyncio.sleep(30)
    finally:
        print("cleaned up", flush=True)

stream = Agent("test/m", tools=[slow], client=ScriptedModel([{"slow": {}}])).stream_sync("go")
for event in stream:
    if type(event).__name__ == "CallStart":
        break
"""


def alone(program: str) -> str:
    """What a program prints that runs by itself; it must end, and complain of nothing."""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stderr == ""
    return ended.stdout


@pytest.mark.parametrize("work", ["agent.run_sync('go')", STREAMED], ids=["run", "stream"])
@pytest.mark.parametrize("name", ["slow", "stuck"])
def test_l7_ctrl_c_waits_for_what_it_stops_and_has_the_run_so_far(work: str, name: str) -> None:
    said = alone(INTERRUPTED.replace("TOOL", repr(name)).replace("WORK", work)).splitlines()
    assert said == ["cleaned up"] * (name == "slow") + ["interrupted stopped 1"]


def test_n9_a_synchronous_stream_left_open_ends_with_the_program() -> None:
    # It need not be cleaned up in time; it may not keep the program.
    assert alone(LEFT_OPEN) in ("cleaned up\n", "")


def test_a_run_after_the_end_of_the_program_is_refused() -> None:
    program = """
from polycall import Agent
from polycall.errors import RequestError
from polycall.testing import FunctionModel

class Last:
    agent = Agent("test/m", client=FunctionModel(lambda request: "hello"))
    refused = RequestError

    def __del__(self):
        try:
            self.agent.run_sync("go")
        except self.refused as error:
            print(error)

last = Last()
"""
    assert alone(program) == "the program has ended, and nothing can run any more\n"


async def test_l3_n9_a_synchronous_stream_where_a_loop_runs_is_refused_with_what_to_write() -> None:
    agent = inner()
    for made in (agent, Guarded(agent), Router([agent], lambda words: "inner")):
        with (
            pytest.raises(RequestError, match=r"write 'async with agent\.stream\(\.\.\.\)"),
            made.stream_sync("hello") as stream,
        ):
            list(stream)
