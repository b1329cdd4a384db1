"""One agent: what it asks, what its run holds, and how it ends."""

# pyright: basic

from __future__ import annotations

import dataclasses
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from polycall import Client
from polycall.agents import Agent, AgentContext, AgentEvent, Guarded, History, OutputError, Run
from polycall.errors import RequestError
from polycall.ir import Message, ResponseFormat, Text, ToolCall, ToolResult, Usage
from polycall.loop import CallEnd, Limits, ModelEvent, RunEnd
from polycall.sim import Call, Simulation, Turn
from polycall.testing import FunctionModel, ScriptedModel
from polycall.tools import ToolContext, tool

from .support import PROVIDERS, bare, play, said


async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def test_a_run_holds_everything() -> None:
    call = ToolCall("c1", "add", '{"a":2,"b":3}')
    with ScriptedModel([call, "five"]) as model:
        agent = Agent("test/m", instructions="Be brief.", tools=[add], client=model, seed=7)
        run = await agent.run("2 + 3?")
    assert (run.output, run.text, run.reason, run.cost) == ("five", "five", "finished", 0)
    assert run.agents == ["agent", "agent"]
    assert run.usage == sum((step.response.usage for step in run.steps), Usage())
    assert run.warnings == []
    call = ToolCall("call_1", "add", '{"a":2,"b":3}')
    assert bare(run.messages) == [
        said("user", "2 + 3?"),
        said("assistant", call),
        said("tool", ToolResult("call_1", [Text("5")], name="add")),
        said("assistant", "five"),
    ]
    first = model.requests[0]
    assert first.messages == [said("system", "Be brief."), said("user", "2 + 3?")]
    assert [each.name for each in first.tools] == ["add"]
    assert (first.seed, first.stream, first.response_format) == (7, False, None)


async def test_a_chain_of_models_is_one_request() -> None:
    with ScriptedModel(["ok"]) as model:
        await Agent(["a/x", "b/y"], client=model).run("hi")
    assert model.requests[0].model == "a/x,b/y"


async def test_instructions_may_be_a_function_of_the_context() -> None:
    async def instructions(context: AgentContext[Any]) -> str:
        return f"Speak {context.variables['language']} with {context.user}."

    with ScriptedModel(["네"]) as model:
        agent = Agent("test/m", instructions=instructions, client=model)
        await agent.run("hi", variables={"language": "Korean"}, user="민수")
    assert model.requests[0].messages[0] == said("system", "Speak Korean with 민수.")


async def test_dependencies_and_variables_reach_the_tools() -> None:
    @tool
    def remember(word: str, context: AgentContext[dict[str, int]]) -> int:
        context.variables["word"] = word
        return context.deps["answer"]

    def plain(context: ToolContext[dict[str, int]]) -> int:
        """The same through the plain context."""
        return context.deps["answer"] + 1

    calls = [ToolCall("c1", "remember", '{"word":"x"}'), ToolCall("c2", "plain")]
    with ScriptedModel([calls, "ok"]) as model:
        agent = Agent("test/m", tools=[remember, plain], client=model)
        run = await agent.run("go", deps={"answer": 42})
    assert run.history.variables == {"word": "x"}
    assert [result.text for result in run.steps[0].results] == ["42", "43"]


class City(BaseModel):
    name: str
    people: int


@dataclasses.dataclass
class Point:
    x: int
    y: int


class Pair(TypedDict):
    left: str
    right: str


@pytest.mark.parametrize(
    ("kind", "answer", "value"),
    [
        (City, '{"name":"서울","people":9}', City(name="서울", people=9)),
        (Point, '```json\n{"x":1,"y":2}\n```', Point(1, 2)),
        (Pair, '{"left":"a","right":"b"}', {"left": "a", "right": "b"}),
        (list[int], '{"result":[1,2]}', [1, 2]),
        (int, '{"result":3}', 3),
    ],
)
async def test_an_answer_of_a_type(kind: type, answer: str, value: object) -> None:
    with ScriptedModel([answer]) as model:
        run = await Agent("test/m", output=kind, client=model).run("go")
    assert run.output == value
    wanted = model.requests[0].response_format
    assert wanted is not None
    assert wanted.schema is not None
    assert (wanted.kind, wanted.schema["type"]) == ("json_schema", "object")


async def test_the_schema_is_as_somebody_would_write_it() -> None:
    with ScriptedModel(['{"name":"x","people":1}']) as model:
        await Agent("test/m", output=City, client=model).run("go")
    assert model.requests[0].response_format == ResponseFormat(
        "json_schema",
        schema={
            "type": "object",
            "properties": {"name": {"type": "string"}, "people": {"type": "integer"}},
            "required": ["name", "people"],
        },
        name="City",
    )


async def test_an_answer_that_does_not_fit_is_asked_for_again() -> None:
    with ScriptedModel(
        ['{"name":"x"}', '{"name":"x","people":"1"}', '{"name":"x","people":1}']
    ) as model:
        run = await Agent("test/m", output=City, client=model).run("go")
    assert run.output == City(name="x", people=1)
    asked = model.requests[1].messages[-1]
    assert asked.role == "user"
    assert asked.text == (
        "The answer does not fit:\n- people: Field required\n"
        "Answer again with the whole JSON object."
    )
    assert asked.metadata == {"polycall": {"from": "application"}}
    assert "valid integer" in model.requests[2].messages[-1].text


async def test_an_answer_that_never_fits_ends_the_run() -> None:
    agent = Agent("test/m", output=City, client=FunctionModel(lambda _: "no"), output_attempts=2)
    run = await agent.run("go")
    assert (run.reason, len(run.steps), run.text) == ("output", 2, "no")
    with pytest.raises(OutputError, match="ended by 'output' without an output"):
        _ = run.output


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        (int | None, '{"result": null}'),
        (type(None), '{"result": null}'),
        (Annotated[date | None, Field(description="if known")], '{"result":null}'),
        (Literal["a", None], '{"result": null}'),
        ({"type": ["string", "null"]}, '{"result": null}'),
    ],
)
async def test_nothing_is_an_answer_where_the_type_has_it(kind: Any, answer: str) -> None:
    agent = Agent("test/m", name="boss", output=kind, client=ScriptedModel(["[]", answer]))
    run = await agent.run("when?")
    assert (run.output, run.has_output, run.reason, run.problem) == (None, True, "finished", "")

    checked: list[Any] = []

    def look(run: Run[Any]) -> None:
        checked.append(run.output)

    seen = Guarded(agent.changed(client=ScriptedModel([answer])), outputs=[look])
    assert ((await seen.run("when?")).output, checked) == (None, [None])

    inner = agent.changed(client=ScriptedModel([answer]))
    call = ToolCall("c1", "boss", '{"task":"when?"}')
    outer = Agent("test/m", tools=[inner], client=ScriptedModel([call, "unknown"]))
    (result,) = (await outer.run("when?")).steps[0].results
    assert (result.text, result.is_error) == ("null", False)


async def test_a_run_that_ends_otherwise_has_no_output_of_such_a_type() -> None:
    agent = Agent("test/m", output=int | None, client=ScriptedModel(["[]"]), output_attempts=1)
    run = await agent.run("when?")
    assert (run.reason, run.has_output) == ("output", False)
    with pytest.raises(OutputError, match="the run ended by 'output' without an output"):
        _ = run.output


async def test_a_limit_is_a_result() -> None:
    model = FunctionModel(lambda r: ToolCall(f"c{len(r.messages)}", "add", '{"a":1,"b":1}'))
    agent = Agent("test/m", tools=[add], client=model, limits=Limits(steps=2))
    run = await agent.run("go")
    assert (run.reason, len(run.steps), len(run.messages)) == ("steps", 2, 5)
    assert (await agent.run("go", limits=Limits(steps=1))).reason == "steps"
    with pytest.raises(OutputError):
        _ = run.output


async def test_a_conversation_goes_on_from_plain_json() -> None:
    with ScriptedModel(["one", "two", "three", "four"]) as model:
        agent = Agent("test/m", client=model)
        first = await agent.run("a")
        text = first.history.to_json()
        assert History.from_json(text) == first.history
        second = await agent.run("b", history=text)
        third = await agent.run("c", history=second.history)
        await agent.run("d", history=third.messages)
    assert [m.text for m in model.requests[-1].messages] == [
        "a",
        "one",
        "b",
        "two",
        "c",
        "three",
        "d",
    ]


@pytest.mark.parametrize("history", ['{"messages":3}', "no json", [{"role": "nobody"}]])
async def test_a_history_that_is_none_is_refused(history: Any) -> None:
    agent = Agent("test/m", client=ScriptedModel([]))
    with pytest.raises(RequestError, match="this is not a history"):
        await agent.run("a", history=history)


async def test_a_history_keeps_every_kind_of_part(simulation: Simulation, client: Client) -> None:
    name = play(
        simulation,
        "anthropic",
        Turn(reasoning="hm", calls=[Call("add", {"a": 1, "b": 2})]),
        Turn(reasoning="so", text="3"),
        Turn(reasoning="again", text="yes"),
        model="thinker",
    )
    agent = Agent(name, tools=[add], client=client, max_output_tokens=4000)
    first = await agent.run("1 + 2?")
    again = await agent.run("sure?", history=first.history.to_json())
    assert again.text == "yes"
    assert again.messages[:4] == first.messages


async def test_events_come_as_they_happen_and_hooks_see_the_same() -> None:
    seen: list[AgentEvent] = []

    async def hook(event: AgentEvent) -> None:
        seen.append(event)

    with ScriptedModel([ToolCall("c1", "add", '{"a":1,"b":1}'), "two"]) as model:
        agent = Agent("test/m", tools=[add], client=model, hooks=[hook, lambda _: None])
        async with agent.stream("go") as stream:
            with pytest.raises(RequestError, match="not over"):
                _ = stream.run
            events = [event async for event in stream]
    assert events == seen
    assert isinstance(events[0], ModelEvent)
    assert isinstance(events[-1], RunEnd)
    assert [event.result.text for event in events if isinstance(event, CallEnd)] == ["2"]
    assert stream.run.output == "two"
    assert model.requests[0].stream


def test_without_an_event_loop() -> None:
    model = ScriptedModel([ToolCall("c1", "add", '{"a":1,"b":1}'), "two"])
    agent = Agent("test/m", tools=[add], client=model)
    assert agent.run_sync("go").output == "two"
    model.assert_done()


@pytest.mark.parametrize("vendor", PROVIDERS)
async def test_the_same_agent_on_every_provider(
    vendor: str, simulation: Simulation, client: Client
) -> None:
    name = play(
        simulation,
        vendor,
        Turn(calls=[Call("add", {"a": 2, "b": 3}), Call("add", {"a": 4, "b": 5})]),
        Turn(text='{"name":"five","people":5}'),
    )
    run = await Agent(name, tools=[add], output=City, client=client).run("2 + 3?")
    assert run.output == City(name="five", people=5)
    assert bare(run.messages) == [
        said("user", "2 + 3?"),
        said(
            "assistant",
            ToolCall("call_1", "add", '{"a":2,"b":3}'),
            ToolCall("call_2", "add", '{"a":4,"b":5}'),
        ),
        said(
            "tool",
            ToolResult("call_1", [Text("5")], name="add"),
            ToolResult("call_2", [Text("9")], name="add"),
        ),
        said("assistant", '{"name":"five","people":5}'),
    ]


async def test_a_prompt_may_be_messages() -> None:
    with ScriptedModel(["ok", "ok"]) as model:
        agent = Agent("test/m", client=model)
        await agent.run(Message("user", [Text("a")]))
        await agent.run([said("user", "b"), said("assistant", "c"), said("user", "d")])
    assert [len(request.messages) for request in model.requests] == [1, 3]


def test_what_cannot_be_is_refused_at_once() -> None:
    with pytest.raises(RequestError, match="calling is 'direct', 'code' or 'auto'"):
        Agent("test/m", calling="magic")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def test_a_cost_bound_counts() -> None:
    class Priced(ScriptedModel):
        def cost(self, model: str, usage: Usage) -> Decimal | None:
            return Decimal("0.02")

    calls = [ToolCall(f"c{n}", "add", '{"a":1,"b":1}') for n in range(3)]
    model = Priced([*calls, "done"])
    agent = Agent("test/m", tools=[add], client=model, limits=Limits(cost_usd=Decimal("0.05")))
    run = await agent.run("go")
    assert (run.reason, run.cost) == ("cost", Decimal("0.06"))
