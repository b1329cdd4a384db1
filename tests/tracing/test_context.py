"""Where spans hang: below the caller's, above the application's own, and on in a gateway."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from polycall import Agent, Client, run_tools, tool, tracing
from polycall.errors import RequestError
from polycall.ir import Message, Request, Response, Text
from polycall.mcp import StdioServer, connect
from polycall.sim import Call as SimCall
from polycall.sim import Simulation, Turn
from polycall.testing import FunctionModel, ScriptedModel
from polycall.tools import Executor, Toolset

from ..agents.support import client_of, play
from ..collector import Collector
from ..gateway.harness import KEY, Gateway, provider_table
from .support import call, names, one, trees

ROOT = Path(__file__).parents[2]


class Application:
    """An application with a tracer of its own, that polycall's spans go to as well."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = tracing.enable(provider=provider)
        self.tracer = provider.get_tracer("application")

    def tree(self) -> Any:
        """The names of all spans, each with those below it; none is left out."""
        spans = sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

        def below(parent: int | None) -> list[Any]:
            mine = [s for s in spans if (s.parent.span_id if s.parent else None) == parent]
            return [
                (s.name, inner) if (inner := below(s.context.span_id)) else s.name for s in mine
            ]

        return below(None)


@pytest.fixture
def application() -> Iterator[Application]:
    made = Application()
    yield made
    made.tracing.close()


async def test_calls_side_by_side_keep_their_own(application: Application) -> None:
    """Each call waits for another one, so that all are under way at once."""
    met = asyncio.Barrier(3)

    async def at_work(name: str) -> str:
        with application.tracer.start_as_current_span(f"{name} before"):
            await met.wait()
        with application.tracer.start_as_current_span(f"{name} after"):
            await asyncio.sleep(0.01)
        await met.wait()
        return name

    @tool
    async def left() -> str:
        """Go left."""
        return await at_work("left")

    @tool
    async def right() -> str:
        """Go right."""
        return await at_work("right")

    def answer(request: Request) -> Any:
        if request.messages[-1].role == "tool":
            return "done"
        if request.model == "test/clerk":
            return call("c3", "deep")
        return [call("c1", "left"), call("c2", "right"), call("c3", "clerk", task="x")]

    @tool
    async def deep() -> str:
        """Go deep."""
        return await at_work("deep")

    model = FunctionModel(answer)
    clerk = Agent("test/clerk", name="clerk", tools=[deep])
    await Agent("test/m", name="boss", tools=[left, right, clerk], client=model).run("go")
    work = {
        name: (f"execute_tool {name}", [f"{name} before", f"{name} after"])
        for name in ("left", "right", "deep")
    }
    delegate = (
        "invoke_agent clerk",
        [("step", ["chat clerk", work["deep"]]), ("step", ["chat clerk"])],
    )
    (run,) = application.tree()
    assert run[0] == "invoke_agent boss"
    first, second = run[1]
    assert first == (
        "step",
        ["chat m", work["left"], work["right"], ("execute_tool clerk", [delegate])],
    )
    assert second == ("step", ["chat m"])


async def test_a_run_is_below_the_callers_span_and_not_in_its_way(
    application: Application,
) -> None:
    with ScriptedModel([call("c1", "nobody"), "done"]) as model:
        agent = Agent("test/m", client=model)
        with application.tracer.start_as_current_span("request") as request:
            async with agent.stream("go") as stream:
                async for _ in stream:
                    # Nothing of a run is current for those who read its events.
                    assert trace.get_current_span() is request
            with application.tracer.start_as_current_span("afterwards"):
                pass
    run = (
        "invoke_agent agent",
        [("step", ["chat m", "execute_tool nobody"]), ("step", ["chat m"])],
    )
    assert application.tree() == [("request", [run, "afterwards"])]


async def test_a_plain_function_in_a_thread_and_one_in_a_program(
    application: Application,
) -> None:
    @tool(allowed_callers=["direct", "code"])
    def look(where: str) -> str:
        """Look; it runs in a thread."""
        with application.tracer.start_as_current_span(f"looking {where}"):
            return where

    code = "import asyncio\nawait asyncio.gather(look(where='a'), look(where='b'))"
    with ScriptedModel([call("c1", "run_code", code=code), "done"]) as model:
        await Agent("test/m", tools=[look], calling="code", client=model).run("go")
    looks = [("execute_tool look", ["looking a"]), ("execute_tool look", ["looking b"])]
    program = ("execute_tool run_code", [("sandbox run", looks)])
    assert application.tree() == [
        ("invoke_agent agent", [("step", ["chat m", program]), ("step", ["chat m"])])
    ]


async def test_without_an_agent_there_are_answers_and_calls(
    application: Application, simulation: Simulation, client: Client
) -> None:
    @tool
    async def look() -> str:
        """Look."""
        return "seen"

    tools = Toolset([look])
    turns = [Turn(text="hello")] * 2 + [Turn(calls=[SimCall("look")]), Turn(text="done")] * 2
    model = play(simulation, "openai", *turns)
    await client.generate(model, "hello")
    async for _ in client.stream(model, "hello"):
        assert not trace.get_current_span().get_span_context().is_valid
    for streams in (False, True):
        with application.tracer.start_as_current_span("loop"):
            request = Request(
                model, [Message("user", [Text("go")])], tools.definitions, stream=streams
            )
            async for _ in run_tools(client, request, Executor(tools)):
                pass
    loop = ("loop", ["chat scripted", "execute_tool look", "chat scripted"])
    assert application.tree() == ["chat scripted", "chat scripted", loop, loop]


class Panel(ScriptedModel):
    """A model whose answers another agent writes."""

    async def generate_request(self, request: Request) -> Response:
        await Agent("test/writer", name="writer", client=ScriptedModel(["words"])).run("write")
        return await super().generate_request(request)


async def test_a_model_that_is_made_of_an_agent(application: Application) -> None:
    await Agent("test/m", client=Panel(["done"])).run("go")
    writer = ("invoke_agent writer", [("step", ["chat writer"])])
    assert application.tree() == [("invoke_agent agent", [("step", [("chat m", [writer])])])]


def test_code_without_an_event_loop_has_a_current_span_too(
    application: Application, simulation: Simulation
) -> None:
    model = play(simulation, "openai", Turn(text="hello"), Turn(text="again"))
    client = client_of(simulation)
    with application.tracer.start_as_current_span("script"):
        client.generate_sync(model, "hello")
        for _ in client.stream_sync(model, "hello"):
            assert trace.get_current_span().get_span_context().is_valid
    client.close_sync()
    with ScriptedModel(["done"]) as scripted, application.tracer.start_as_current_span("agent"):
        Agent("test/m", client=scripted).run_sync("hello")
    run = ("invoke_agent agent", [("step", ["chat m"])])
    assert application.tree() == [
        ("script", ["chat scripted", "chat scripted"]),
        ("agent", [run]),
    ]


def gateway_config(upstream: str, collector: str) -> str:
    return f"""
{provider_table("up", upstream, "openai-chat", 'quirks = "openai"')}
[traces]
endpoint = "{collector}"
service = "the-gateway"
[[keys]]
key = "{KEY}"
name = "first"
"""


async def test_through_a_gateway_it_is_one_trace(
    simulation: Simulation, collector: Collector, tmp_path: Path
) -> None:
    play(simulation, "openai", Turn(text="hello"), Turn(text="hello again"))
    gateway = Gateway(tmp_path, gateway_config(simulation.base_url("openai"), collector.url))
    gateway.start()
    (tmp_path / "client.toml").write_text(
        f'[providers.company]\ndialect = "openai-chat"\nbase_url = "{gateway.url}/v1"\n'
        f'api_key = "{KEY}"\n'
    )
    with tracing.enable(collector.url, service="the-application"):
        async with Client(config=tmp_path / "client.toml") as client:
            agent = Agent("company/up/scripted", client=client)
            first = await agent.run("hello")
            async with agent.stream("more", history=first.history) as stream:
                async for _ in stream:
                    pass
    assert gateway.stop() == 0
    joined = ("chat up/scripted", [("POST", ["chat scripted"])])
    found = trees(collector)
    assert [names(tree) for tree in found] == [("invoke_agent agent", [("step", [joined])])] * 2
    served = found[0].below[0].below[0].below[0]
    assert (served.kind, served.below[0].kind) == ("server", "client")
    services = [(span.name, span.service) for span in collector.spans() if span.name != "step"]
    assert sorted(set(services)) == [
        ("POST", "the-gateway"),
        ("chat scripted", "the-gateway"),
        ("chat up/scripted", "the-application"),
        ("invoke_agent agent", "the-application"),
    ]


async def test_through_an_mcp_server_it_is_one_trace(collector: Collector) -> None:
    command = [sys.executable, "-m", "tests.tracing.serving", collector.url]
    with tracing.enable(collector.url, service="the-application"):
        async with connect(StdioServer("words", command=command, cwd=ROOT)) as words:
            with ScriptedModel([call("c1", "words_look_up", word="teapot"), "done"]) as model:
                await Agent("test/m", tools=[words], client=model).run("what is a teapot?")
    (tree,) = trees(collector)
    looked = ("execute_tool words_look_up", ["execute_tool look_up"])
    assert names(tree) == (
        "invoke_agent agent",
        [("step", ["chat m", looked]), ("step", ["chat m"])],
    )
    assert one(collector, "execute_tool look_up").service == "the-server"


async def test_headers_are_sent_and_an_unsampled_trace_is_not(collector: Collector) -> None:
    with (
        ScriptedModel(["hello", "hello"]) as model,
        tracing.enable(collector.url, headers={"x-team": "7"}) as first,
    ):
        await Agent("test/m", client=model).run("hello")
        first.close()
        with tracing.enable(collector.url, sample=0.0):
            await Agent("test/m", client=model).run("hello")
    assert [headers["x-team"] for headers in collector.headers] == ["7"]
    assert one(collector, "invoke_agent agent").service == "polycall"


async def test_a_collector_that_is_away_costs_no_run() -> None:
    with ScriptedModel(["hello"]) as model, tracing.enable("http://127.0.0.1:9/v1/traces"):
        assert (await Agent("test/m", client=model).run("hello")).output == "hello"


def test_what_cannot_be() -> None:
    provider = TracerProvider()
    on = tracing.enable(provider=provider)
    with pytest.raises(RequestError, match="tracing is on already; close it first"):
        tracing.enable(provider=provider)
    on.close()
    with pytest.raises(RequestError, match="'collector:4318' is not an address; write http://HOST"):
        tracing.enable("collector:4318")
    with pytest.raises(RequestError, match="a share between 0 and 1, not 2"):
        tracing.enable("http://127.0.0.1:9/v1/traces", sample=2)
    with pytest.raises(RequestError, match="an endpoint or a provider, and not both"):
        tracing.enable("http://127.0.0.1:9/v1/traces", provider=provider)
    # None of them is left on.
    tracing.enable(provider=provider).close()
