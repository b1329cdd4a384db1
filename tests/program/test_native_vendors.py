"""Programs that run at their vendors, end to end: agents and loops against the simulated ones.

The simulated program prints what it makes of the results that it was sent, and of nothing else.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent, Client, tool
from polycall.agents import PausedRun
from polycall.errors import InvalidRequestError
from polycall.ir import Media, Message, Request, Text, ToolResult
from polycall.loop import Limits, RunEnd
from polycall.program import Programs, ResultLater, with_result
from polycall.sandbox import Sandbox
from polycall.sim import Call, Program, Simulation, Turn
from polycall.sim.script import CallTool
from tests.agents.support import client_of, play

from .support import collect

VENDORS = ["anthropic", "openai"]
Show = Callable[..., None]
CODE = "print the sums of north and south, then the word for the better one"


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulation]:
    with Simulation(seed=3) as running:
        yield running


@pytest.fixture
async def client(sim: Simulation) -> AsyncIterator[Client]:
    async with client_of(sim) as made:
        yield made


async def compare(call: CallTool, show: Show) -> None:
    """Two calls at once, then one that depends on them."""
    regions = ["north", "south"]
    texts = await asyncio.gather(*(call("get_rows", region=region) for region in regions))
    sums = {region: sum(json.loads(text)) for region, text in zip(regions, texts, strict=True)}
    best = max(sums, key=lambda region: sums[region])
    show(sums, await call("describe", region=best))


OUTPUT = "{'north': 6, 'south': 60} warm"


def tools(made: list[str] | None = None) -> list[Any]:
    noted = [] if made is None else made

    @tool(allowed_callers=["code"], strict=True)
    async def get_rows(region: str) -> list[int]:
        """Rows of a region."""
        noted.append(f"rows {region}")
        return [n * (10 if region == "south" else 1) for n in (1, 2, 3)]

    @tool(allowed_callers=["direct", "code"])
    async def describe(region: str) -> str:
        """A region in a word."""
        noted.append(f"describe {region}")
        return {"south": "warm"}[region]

    @tool(allowed_callers=["direct"])
    async def delete() -> str:
        """Deletes everything."""
        noted.append("delete")
        return "gone"

    return [get_rows, describe, delete]


def turns(run: Callable[[CallTool, Show], Awaitable[None]] = compare, *rest: Turn) -> list[Turn]:
    first = Turn("잠시만요.", reasoning="a program is better", program=Program(CODE, run))
    return [first, *(rest or [Turn("done")])]


def asked(sim: Simulation, model: str) -> list[Any]:
    return [each.body for each in sim.requests if each.body.get("model") == model]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_results_reach_the_program_and_its_output_the_model(
    sim: Simulation, client: Client, vendor: str, streamed: bool
) -> None:
    made: list[str] = []
    name = f"native-{vendor}-{streamed}"
    model = play(sim, vendor, *turns(), model=name)
    agent = Agent(model, tools=tools(made), calling="code", native=True, client=client)
    if streamed:
        async with agent.stream("Which is better?") as stream:
            async for _ in stream:
                pass
        run = stream.run
    else:
        run = await agent.run("Which is better?")
    assert run.output == "done"
    assert sorted(made) == ["describe south", "rows north", "rows south"]
    assert [(each.form, each.rule) for each in run.decisions] == [("code", "native")]
    (program,) = run.programs
    assert (program.status, program.code, program.output) == ("native", CODE, OUTPUT)
    assert [(each.call.name, each.call.caller) for each in program.calls] == [
        ("get_rows", program.id),
        ("get_rows", program.id),
        ("describe", program.id),
    ]
    assert [each.result and each.result.text for each in program.calls][2] == "warm"
    assert [len(step.response.tool_calls) for step in run.steps] == [2, 1, 0]
    assert sim.remaining(vendor, name) == 0
    bodies = asked(sim, name)
    assert len(bodies) == 3
    if vendor == "anthropic":
        containers = [body.get("container") for body in bodies]
        assert containers[0] is None
        assert containers[1] == containers[2] != None  # noqa: E711
    else:
        outputs = [each for each in bodies[2]["input"] if "output" in each]
        caller = {"type": "program", "caller_id": program.id}
        assert [each["caller"] for each in outputs] == [caller] * 3


async def test_the_same_checks_approvals_and_bounds(sim: Simulation, client: Client) -> None:
    """A call of a vendor's program is a call like any other."""
    made: list[str] = []

    @tool(allowed_callers=["code"], needs_approval=True)
    async def pay(amount: int) -> str:
        """Pay."""
        made.append(f"pay {amount}")
        return f"paid {amount}"

    async def run(call: CallTool, show: Show) -> None:
        for arguments in ({"amount": "much"}, {"amount": 5}, {"amount": 70}):
            show(await call("pay", **arguments), end=" | ")
        try:
            await call("delete")
        except NameError as error:
            show(error)

    asked_for: list[Any] = []

    def approve(request: Any) -> bool:
        asked_for.append((request.tool, request.arguments, request.is_in_program))
        return request.arguments["amount"] < 10

    for vendor in VENDORS:
        made.clear()
        model = play(sim, vendor, *turns(run), model=f"checked-{vendor}")
        agent = Agent(
            model, tools=[pay, tools(made)[2]], calling="code", native=True, client=client
        )
        done = await agent.run("pay", approve=approve)
        assert made == ["pay 5"]
        (program,) = done.programs
        wrong, paid, refused, gone = program.output.split(" | ")
        assert "amount" in wrong
        assert "paid 5" in paid
        assert "not approved" in refused
        assert "'delete' is not defined" in gone
        assert [each.result and each.result.is_error for each in program.calls] == [
            True,
            False,
            True,
        ]
    assert asked_for == [("pay", {"amount": 5}, True), ("pay", {"amount": 70}, True)] * 2


@pytest.mark.parametrize("vendor", VENDORS)
async def test_the_limits_of_a_run_hold(sim: Simulation, client: Client, vendor: str) -> None:
    async def run(call: CallTool, show: Show) -> None:
        for _ in range(10):
            await call("describe", region="south")

    made: list[str] = []
    model = play(sim, vendor, *turns(run), model=f"bounded-{vendor}")
    agent = Agent(model, tools=tools(made), calling="code", native=True, client=client)
    done = await agent.run("go", limits=Limits(steps=3))
    assert (done.reason, len(done.steps), len(made)) == ("steps", 3, 3)


def paying(made: list[str]) -> list[Any]:
    @tool(allowed_callers=["code"], needs_approval=True)
    async def pay(amount: int) -> str:
        """Pay."""
        made.append(f"pay {amount}")
        return f"paid {amount}"

    return [*tools(made), pay]


async def count_and_pay(call: CallTool, show: Show) -> None:
    rows, receipt = await asyncio.gather(call("get_rows", region="south"), call("pay", amount=5))
    show(sum(json.loads(rows)), receipt, await call("describe", region="south"))


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_paused_run_goes_on_from_json(sim: Simulation, client: Client, vendor: str) -> None:
    made: list[str] = []
    name = f"paused-{vendor}"
    model = play(sim, vendor, *turns(count_and_pay), model=name)

    def agent() -> Agent[Any, str]:
        return Agent(model, tools=paying(made), calling="code", native=True, client=client)

    first = await agent().run("pay", approve="pause")
    assert first.reason == "paused"
    assert first.paused is not None
    assert made == ["rows south"]
    paused = PausedRun.from_json(first.paused.to_json("secret"), "secret")
    (waiting,) = paused.waiting
    assert (waiting.tool, waiting.arguments) == ("pay", {"amount": 5})
    paused.allow(waiting.id)
    done = await agent().resume(paused)
    assert done.output == "done"
    assert made == ["rows south", "pay 5", "describe south"]
    (program,) = done.programs
    assert program.output == "60 paid 5 warm"
    bodies = asked(sim, name)
    assert len(bodies) == 3
    if vendor == "anthropic":
        assert bodies[1]["container"] == bodies[2]["container"]


async def test_the_container_is_used_again_while_it_lives(sim: Simulation, client: Client) -> None:
    model = play(
        sim,
        "anthropic",
        *turns(compare, Turn("one"), *turns(compare, Turn("two"))),
        model="again",
    )
    agent = Agent(model, tools=tools(), calling="code", native=True, client=client)
    first = await agent.run("Which?")
    second = await agent.run("And now?", history=first.history)
    assert [first.output, second.output] == ["one", "two"]
    containers = [body.get("container") for body in asked(sim, "again")]
    assert containers[0] is None
    assert len(set(containers[1:])) == 1


async def test_an_expired_container_is_not_named_again(sim: Simulation, client: Client) -> None:
    model = play(sim, "anthropic", *turns(), *turns(), model="expired")
    agent = Agent(model, tools=tools(), calling="code", native=True, client=client)
    sim.programs.idle_s, kept = 4.0, sim.programs.idle_s  # less than is worth naming
    try:
        first = await agent.run("Which?")
        second = await agent.run("And now?", history=first.history)
    finally:
        sim.programs.idle_s = kept
    assert (first.output, second.output) == ("done", "done")
    containers = [body.get("container") for body in asked(sim, "expired")]
    # Named where a program waits, whatever its clock says; a new one for the next question.
    assert containers[0] is containers[3] is None
    assert containers[1] == containers[2] != containers[4] == containers[5]


async def test_a_program_that_waited_too_long_is_told_so(sim: Simulation, client: Client) -> None:
    made: list[str] = []
    model = play(sim, "anthropic", *turns(count_and_pay, Turn("too late")), model="late")
    agent = Agent(model, tools=paying(made), calling="code", native=True, client=client)
    first = await agent.run("pay", approve="pause")
    assert first.paused is not None
    first.paused.allow(first.paused.waiting[0].id)
    sim.programs.wait_s, kept = 0.0, sim.programs.wait_s
    try:
        done = await agent.resume(first.paused)
    finally:
        sim.programs.wait_s = kept
    assert done.output == "too late"
    (program,) = done.programs
    assert program.output.startswith("TimeoutError: Calling tool ['")


async def test_a_container_that_is_gone_is_the_vendors_error(
    sim: Simulation, client: Client
) -> None:
    model = play(sim, "anthropic", *turns(count_and_pay), model="gone")
    agent = Agent(model, tools=paying([]), calling="code", native=True, client=client)
    sim.programs.idle_s, kept = 0.0, sim.programs.idle_s
    try:
        first = await agent.run("pay", approve="pause")
        assert first.paused is not None
        first.paused.allow(first.paused.waiting[0].id)
        with pytest.raises(
            InvalidRequestError, match=r"Container 'container_\w+' not found or expired"
        ):
            await agent.resume(first.paused)
    finally:
        sim.programs.idle_s = kept


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_direct_call_that_waits_goes_on_in_another_process(
    sim: Simulation, client: Client, vendor: str
) -> None:
    """`Programs` without an agent: the conversation alone says where the program waits."""

    @tool(allowed_callers=["code"])
    async def survey() -> str:
        """Takes days."""
        raise ResultLater

    async def run(call: CallTool, show: Show) -> None:
        show("heard:", await call("survey"))

    name = f"later-{vendor}"
    model = play(sim, vendor, *turns(run), model=name)
    dialect = {"anthropic": "anthropic", "openai": "openai-responses"}[vendor]
    request = Request(model, [Message("user", [Text("ask")])])
    async with Programs([survey], Sandbox().session, calling="code", native=dialect) as programs:
        _, end = await collect(programs.run(client, request))
        assert (end.reason, [call.name for call in programs.waiting]) == ("paused", ["survey"])
        (call,) = programs.waiting
    messages = with_result(end.messages, ToolResult(call.id, [Text("sunny")], name=call.name))
    async with Programs([survey], Sandbox().session, calling="code", native=dialect) as programs:
        _, end = await collect(programs.run(client, Request(model, messages=messages)))
        assert isinstance(end, RunEnd)
    assert end.text == "done"
    assert [run.output for run in programs.programs] == ["heard: sunny"]


@pytest.mark.parametrize("vendor", VENDORS)
async def test_what_only_text_can_carry_becomes_text(
    sim: Simulation, client: Client, vendor: str
) -> None:
    @tool(allowed_callers=["code"])
    async def photo() -> ToolResult:
        """A photo."""
        return ToolResult("", [Media("image", "image/png", "iVBORw0KGgo=")])

    @tool(allowed_callers=["code"])
    async def fail() -> str:
        """Fails."""
        raise LookupError("no such row")

    async def run(call: CallTool, show: Show) -> None:
        (image,) = json.loads(await call("photo"))
        show(image["media_type"], await call("fail"))

    model = play(sim, vendor, *turns(run), model=f"photo-{vendor}")
    agent = Agent(model, tools=[photo, fail], calling="code", native=True, client=client)
    done = await agent.run("go")
    (program,) = done.programs
    assert program.output.startswith("image/png ")
    assert "no such row" in program.output


async def test_who_cannot_is_said_and_the_sandbox_here_does_it(
    sim: Simulation, client: Client
) -> None:
    model = play(sim, "google", Turn("hello"), model="other")
    agent = Agent(model, tools=tools(), calling="code", native=True, client=client)
    done = await agent.run("go")
    (decision,) = done.decisions
    assert (decision.form, decision.rule) == ("code", "asked")
    assert decision.reason.endswith("not every model of 'google/other' has programs of its own")


async def test_a_program_beside_the_models_own_call(sim: Simulation, client: Client) -> None:
    """Anthropic gives the call first, and begins the program when that has its result."""
    made: list[str] = []
    mixed = Turn(program=Program(CODE, compare), calls=[Call("delete")], reasoning="both")
    model = play(sim, "anthropic", mixed, Turn("done"), model="mixed")
    agent = Agent(model, tools=tools(made), calling="code", native=True, client=client)
    sim.programs.idle_s, kept = 4.0, sim.programs.idle_s  # named though it is about to expire
    try:
        run = await agent.run("Delete, and which is better?")
    finally:
        sim.programs.idle_s = kept
    assert run.output == "done"
    assert made[0] == "delete"
    assert sorted(made[1:]) == ["describe south", "rows north", "rows south"]
    assert [(each.name, each.caller == "direct") for each in run.steps[0].response.tool_calls] == [
        ("delete", True)
    ]
    (program,) = run.programs
    assert program.output == OUTPUT


CONFIG = """
[providers.anthropic]
base_url = "{url}"
api_key = "k"
runs_programs = true
[models.fast]
route = ["anthropic/by-alias"]
"""


async def test_an_alias_is_looked_through(sim: Simulation, tmp_path: Path) -> None:
    play(sim, "anthropic", *turns(), model="by-alias")
    path = tmp_path / "polycall.toml"
    path.write_text(CONFIG.format(url=sim.base_url("anthropic")), encoding="utf-8")
    async with Client(config=path) as client:
        assert client.runs_programs("fast") == "anthropic"
        assert client.runs_programs("anthropic/x,google/y") == ""
        agent = Agent("fast", tools=tools(), calling="code", native=True, client=client)
        run = await agent.run("Which is better?")
    assert (run.output, run.programs[0].output) == ("done", OUTPUT)


async def test_a_model_that_is_told_of_its_tools_writes_programs_for_us(
    sim: Simulation, client: Client
) -> None:
    sim.script("anthropic", "told", [Turn("hello")], calls_tools=False)
    agent = Agent(
        "anthropic/told", tools=tools(), calling="code", native=True, prompted=True, client=client
    )
    run = await agent.run("go")
    assert run.decisions[0].reason.endswith("the prompt describes the model's tools")
