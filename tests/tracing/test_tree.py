"""The spans of whole runs, as a collector gets them: every name, parent, kind, value and status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent, Client, ToolContext, tool, tracing
from polycall.agents import Run, Sessions
from polycall.ir import ReasoningConfig, ToolCall, Usage
from polycall.sim import Call, Simulation, Turn
from polycall.testing import ScriptedModel

from ..agents.support import play
from ..collector import Collector
from .support import Tree, one, trees

# Each stands for something that somebody said, or that a tool gave.
PROMPT = "my teapot is broken, says Yoon Seo-yeon"
INSTRUCTIONS = "Never mention the warehouse in Incheon."
REASON = "it is about a teapot"
ARGUMENT = "A17-cobalt"
RESULT = "four thousand and twelve won"
TASK = "write to the potter"
LETTER = "Dear potter, the handle came off."
CODE = 'rows = await stock(shelf="under-the-stairs")\nprint("teapots left:", sum(rows))'
OUTPUT = "teapots left: 49"
PICTURE = "a-cracked-spout.png"
FAREWELL = "It is settled, Seo-yeon."
CONTENT = [PROMPT, INSTRUCTIONS, REASON, ARGUMENT, RESULT, TASK, LETTER, OUTPUT, PICTURE, FAREWELL]
CONTENT += ["under-the-stairs", "sum(rows)", "teapots left", "cracked"]


@tool
async def find_order(order_id: str) -> str:
    """Look an order up."""
    return RESULT


@tool(allowed_callers=["code"])
async def stock(shelf: str) -> list[int]:
    """What is on a shelf."""
    return [42, 7]


@tool(background=True)
async def draw(what: str, context: ToolContext) -> str:
    """Draw a picture."""
    await context.report(0.5, "sketched")
    return PICTURE


PLAY = [
    Turn(calls=[Call("transfer_to_refunds", {"reason": REASON}, id="c1")]),
    Turn(
        calls=[
            Call("find_order", {"order_id": ARGUMENT}, id="c2"),
            Call("clerk", {"task": TASK}, id="c3"),
        ]
    ),
    Turn(text=LETTER),
    Turn(calls=[Call("run_code", {"code": CODE}, id="c4")]),
    Turn(calls=[Call("draw", {"what": "a cracked spout"}, id="c5")]),
    Turn(calls=[Call("wait_for_tasks", {}, id="c6")]),
    Turn(text=FAREWELL),
]


def shop(model: str, client: Client) -> Agent[Any, Any]:
    clerk = Agent(model, name="clerk", instructions=INSTRUCTIONS)
    refunds = Agent(
        model,
        name="refunds",
        instructions=INSTRUCTIONS,
        tools=[find_order, clerk, stock, draw],
        calling="code",
        temperature=0.5,
    )
    return Agent(model, name="triage", instructions=INSTRUCTIONS, handoffs=[refunds], client=client)


async def the_run(
    simulation: Simulation, client: Client, collector: Collector, **options: Any
) -> tuple[Run[Any], list[Usage]]:
    """The run, and what each answer cost, the delegate's as the third."""
    model = play(simulation, "openai", *PLAY)
    agent = shop(model, client)
    with tracing.enable(collector.url, service="the-shop", **options):
        run = await agent.run(PROMPT)
    assert (run.reason, run.output) == ("finished", FAREWELL)
    usages = [step.response.usage for step in run.steps]
    rest = run.usage
    clerk = Usage(
        input_tokens=rest.input_tokens - sum(each.input_tokens for each in usages),
        output_tokens=rest.output_tokens - sum(each.output_tokens for each in usages),
    )
    return run, [*usages[:2], clerk, *usages[2:]]


def chat(usage: Usage, finish: str, **more: Any) -> Tree:
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "scripted",
        "gen_ai.response.model": "scripted",
        "gen_ai.response.finish_reasons": [finish],
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        **(
            {"gen_ai.usage.cache_read.input_tokens": usage.cached_tokens}
            if usage.cached_tokens
            else {}
        ),
        **more,
    }
    return Tree("chat scripted", attributes, [], "client")


def step(number: int, agent: str, *below: Tree) -> Tree:
    return Tree("step", {"polycall.step.number": number, "gen_ai.agent.name": agent}, [*below])


def executed(name: str, call_id: str, *below: Tree, caller: str = "model") -> Tree:
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": call_id,
        "polycall.tool.caller": caller,
    }
    return Tree(f"execute_tool {name}", attributes, [*below])


def invoked(agent: str, usage: Usage, *below: Tree, **more: Any) -> Tree:
    attributes = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": agent,
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "scripted",
        "polycall.run.reason": "finished",
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        **more,
    }
    return Tree(f"invoke_agent {agent}", attributes, [*below])


async def test_a_handoff_a_delegate_a_program_and_a_background_task(
    simulation: Simulation, client: Client, collector: Collector
) -> None:
    run, usages = await the_run(simulation, client, collector)
    first, second, clerk, third, fourth, fifth, last = usages
    handoff = Tree(
        "handoff refunds",
        {
            "polycall.handoff.origin": "triage",
            "polycall.handoff.target": "refunds",
            "polycall.handoff.is_return": False,
        },
        [],
    )
    delegated = invoked("clerk", clerk, step(1, "clerk", chat(clerk, "stop")))
    program = Tree(
        "sandbox run",
        {
            "gen_ai.tool.call.id": "c4",
            "polycall.program.status": "finished",
            "polycall.program.calls": 1,
        },
        [executed("stock", "c4_1", caller="program")],
    )
    background = Tree(
        "background_task draw", {"gen_ai.tool.name": "draw", "gen_ai.tool.call.id": "c5"}, []
    )
    warm = {"gen_ai.request.temperature": 0.5}
    assert trees(collector) == [
        invoked(
            "triage",
            run.usage,
            step(
                1,
                "triage",
                chat(first, "tool_calls"),
                executed("transfer_to_refunds", "c1", handoff),
            ),
            step(
                2,
                "refunds",
                chat(second, "tool_calls", **warm),
                executed("find_order", "c2"),
                executed("clerk", "c3", delegated),
            ),
            step(
                3, "refunds", chat(third, "tool_calls", **warm), executed("run_code", "c4", program)
            ),
            step(
                4, "refunds", chat(fourth, "tool_calls", **warm), executed("draw", "c5", background)
            ),
            step(5, "refunds", chat(fifth, "tool_calls", **warm), executed("wait_for_tasks", "c6")),
            step(6, "refunds", chat(last, "stop", **warm)),
        )
    ]
    spans = collector.spans()
    run_ids = {span.attributes["polycall.run.id"] for span in spans}
    assert len(run_ids) == 1
    assert {span.service for span in spans} == {"the-shop"}
    task_id = json.loads(run.steps[3].results[0].text)["task_id"]
    assert one(collector, "background_task draw").attributes["polycall.task.id"] == task_id
    answers = [span for span in spans if span.name.startswith("chat")]
    ids = {span.attributes["gen_ai.response.id"] for span in answers}
    assert {each.response.id for each in run.steps} < ids


async def test_nothing_that_was_said_is_exported(
    simulation: Simulation, client: Client, collector: Collector
) -> None:
    run, _ = await the_run(simulation, client, collector)
    # All of it was there to be said.
    told = str(run.messages) + INSTRUCTIONS
    assert [each for each in CONTENT if each not in told and each != LETTER] == []
    exported = b"".join(collector.bodies)
    assert [each for each in CONTENT if each.encode() in exported] == []


async def test_what_was_said_is_there_where_it_was_asked_for(
    simulation: Simulation, client: Client, collector: Collector
) -> None:
    await the_run(simulation, client, collector, content=True)
    exported = b"".join(collector.bodies)
    assert [each for each in CONTENT if each.encode() not in exported] == []
    spans = {span.name: span.attributes for span in collector.spans()}
    system = [{"type": "text", "content": INSTRUCTIONS}]
    asked = [{"role": "user", "parts": [{"type": "text", "content": PROMPT}]}]
    first = next(span for span in collector.spans() if span.name == "chat scripted").attributes
    told = json.loads(first["gen_ai.system_instructions"])
    told[0]["content"] = told[0]["content"].partition("\n\n")[0]  # what follows is of tasks
    assert told == system
    assert json.loads(first["gen_ai.input.messages"]) == asked
    handed = {"type": "tool_call", "id": "c1", "name": "transfer_to_refunds"}
    assert json.loads(first["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [{**handed, "arguments": {"reason": REASON}}],
            "finish_reason": "tool_calls",
        }
    ]
    run = spans["invoke_agent triage"]
    assert json.loads(run["gen_ai.input.messages"]) == asked
    assert json.loads(run["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": FAREWELL}],
            "finish_reason": "finished",
        }
    ]
    found = spans["execute_tool find_order"]
    assert json.loads(found["gen_ai.tool.call.arguments"]) == {"order_id": ARGUMENT}
    assert found["gen_ai.tool.call.result"] == RESULT
    assert spans["background_task draw"]["gen_ai.tool.call.result"] == PICTURE
    assert spans["sandbox run"]["polycall.program.code"] == CODE
    assert OUTPUT in spans["sandbox run"]["polycall.program.output"]
    assert spans["handoff refunds"]["polycall.handoff.reason"] == REASON


@pytest.mark.parametrize("vendor", ["openai", "anthropic", "google", "deepseek"])
async def test_a_streamed_answer_says_when_it_began(
    simulation: Simulation, client: Client, collector: Collector, vendor: str
) -> None:
    model = play(simulation, vendor, Turn(text="hello"))
    with tracing.enable(collector.url):
        async with Agent(model, client=client, max_output_tokens=99).stream("hello") as stream:
            async for _ in stream:
                pass
    found = one(collector, "chat scripted").attributes
    provider = {"google": "gcp.gemini"}.get(vendor, vendor)
    assert (found["gen_ai.provider.name"], found["gen_ai.request.stream"]) == (provider, True)
    assert found["gen_ai.request.max_tokens"] == 99
    assert 0 < found["gen_ai.response.time_to_first_chunk"] < 5
    usage = stream.run.usage
    tokens = (found["gen_ai.usage.input_tokens"], found["gen_ai.usage.output_tokens"])
    assert tokens == (usage.input_tokens, usage.output_tokens)


@pytest.mark.parametrize("content", [False, True])
async def test_whatever_a_model_makes_up_is_sent(collector: Collector, content: bool) -> None:
    """Half a surrogate pair is no UTF-8, and one would cost the whole batch of spans."""
    half = "\ud83d"

    @tool
    async def say(words: str) -> str:
        """Say something."""
        raise ValueError(words + half)

    calls = [
        ToolCall("c1", "say", f'{{"words": "{half}"}}'),
        ToolCall(f"c{half}", f"made up {half}" + "x" * 10_000),
        ToolCall("c3", "say", '{"words": "' + "x" * 100_000 + '"}'),
    ]
    with (
        ScriptedModel([calls, f"an end {half}"]) as model,
        tracing.enable(collector.url, content=content),
    ):
        await Agent("test/m", tools=[say], client=model).run(f"a beginning {half}")
    (tree,) = trees(collector)
    assert [each.error for each in tree.below[0].below] == [
        "",
        "ArgumentsError",
        "UnknownToolError",
        "ValueError",
    ]
    assert tree.below[0].below[2].name == "execute_tool made up ?" + "x" * 191
    assert max(map(len, collector.bodies)) < (200_000 if content else 10_000)


async def test_a_session_is_the_conversation(collector: Collector, tmp_path: Path) -> None:
    clerk = Agent("test/clerk", name="clerk")
    answers = [ToolCall("c1", "clerk", '{"task": "x"}'), "it is done", "you are welcome", "hello"]
    with (
        ScriptedModel(answers) as model,
        Sessions(f"sqlite:///{tmp_path}/sessions.db") as sessions,
        tracing.enable(collector.url),
    ):
        agent = Agent("test/m", name="desk", tools=[clerk], client=model)
        await sessions.open("order-7").run(agent, "thank you")
        await agent.run("hello")
    found = [
        (span.name, span.attributes.get("gen_ai.conversation.id"))
        for span in sorted(collector.spans(), key=lambda span: span.start)
        if span.name.startswith(("chat", "invoke_agent"))
    ]
    assert found == [
        ("invoke_agent desk", "order-7"),
        ("chat m", "order-7"),
        ("invoke_agent clerk", "order-7"),
        ("chat clerk", "order-7"),
        ("chat m", "order-7"),
        ("invoke_agent desk", None),
        ("chat m", None),
    ]


def long_texts(value: Any) -> list[str]:
    """All that is long enough to be a signature, however deep."""
    match value:
        case str():
            return [value] if len(value) >= 20 else []
        case dict():
            return [text for each in value.values() for text in long_texts(each)]
        case list():
            return [text for each in value for text in long_texts(each)]
        case _:
            return []


@pytest.mark.parametrize("vendor", ["openai", "anthropic", "google"])
async def test_what_a_provider_wants_echoed_is_no_content(
    simulation: Simulation, client: Client, collector: Collector, vendor: str
) -> None:
    found = Call("find_order", {"order_id": ARGUMENT})
    model = play(simulation, vendor, Turn(reasoning="First, the order.", calls=[found]), Turn("ok"))
    with tracing.enable(collector.url, content=True):
        agent = Agent(model, tools=[find_order], client=client, reasoning=ReasoningConfig("high"))
        run = await agent.run("hello")
    parts = [part for message in run.messages for part in message.parts]
    echoed = [text for part in parts for text in long_texts(getattr(part, "metadata", {}))]
    assert echoed
    exported = b"".join(collector.bodies)
    assert [text for text in echoed if text.encode() in exported] == []
    assert ARGUMENT.encode() in exported
