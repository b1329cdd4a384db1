"""What people get wrong when they write their first agent, and what they are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent, Client, Guarded, Limits, Memory, Sessions, ToolTree, tool
from polycall.agents import Router
from polycall.errors import NotFoundError, PolycallError
from polycall.ir import ToolCall
from polycall.sim import Simulation
from polycall.testing import ScriptedModel
from polycall.tools import Toolset


def hours(day: str) -> str:
    """When the shop is open on a day."""
    return "9 to 18"


def desk(**options: Any) -> Agent[Any, Any]:
    return Agent("openai/gpt-5.4", client=ScriptedModel(["yes"]), **options)


def ask(**options: Any) -> Any:
    return desk().run_sync(options.pop("prompt", "hello"), **options)


MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "one tool, no list": (
        lambda: desk(tools=hours),
        "tools is a list; write tools=[hours]",
    ),
    "one handoff, no list": (
        lambda: desk(handoffs=desk(name="sales")),
        "handoffs is a list; write handoffs=[sales]",
    ),
    "a tool that is called": (
        lambda: desk(tools=[hours("Saturday")]),
        "a str cannot be a tool: '9 to 18'; give the function itself, without calling it",
    ),
    "a setting with a slip": (
        lambda: desk(instuctions="Be kind."),
        "an agent has no 'instuctions'; did you mean 'instructions'?",
    ),
    "a setting of the loop's own": (
        lambda: desk(response_format=None),
        "an agent has no 'response_format'; known: argument_attempts, cache, calling, ",
    ),
    "a memory by its path": (
        lambda: desk(memory="memory.db"),
        "memory is a Memory, such as Memory('memory.db'), not 'memory.db'",
    ),
    "instructions as others call them": (
        lambda: desk(system_prompt="Be kind."),
        "an agent has no 'system_prompt'; did you mean 'instructions'?",
    ),
    "what belongs to a run": (
        lambda: desk(deps=5),
        "an agent has no 'deps'; they belong to a run: agent.run(prompt, deps=...)",
    ),
    "a client for a model": (
        lambda: Agent(5),  # type: ignore[arg-type]
        "model is 'provider/name', or a list of such names, not 5",
    ),
    "an output that is a value": (
        lambda: desk(output=[1, 2]),
        "output is a type, such as a pydantic model, a dataclass or list[int], or a JSON schema, "
        "not [1, 2]",
    ),
    "an output that is a function": (
        lambda: desk(output=len),
        "output is a type, such as a pydantic model, a dataclass or list[int], or a JSON schema, "
        "not <built-in function len>",
    ),
    "approve as a value": (
        lambda: desk().run_sync("x", approve=True),  # type: ignore[arg-type]
        "approve is 'pause' or a function of the request, not True; to allow all, write "
        "approve=lambda request: True",
    ),
    "limits below nothing": (
        lambda: desk(limits=Limits(steps=-5)),
        "limits: steps is a number above 0, not -5",
    ),
    "a dictionary as a client's prompt": (
        lambda: Client().request("openai/gpt-5.4", [{"role": "user", "content": "x"}]),  # type: ignore[list-item]
        "prompt[0]: a prompt is text, a Message or a list of them, and this is "
        "{'role': 'user', 'content': 'x'}; write Message('user', [Text('...')])",
    ),
    "limits as a dictionary": (
        lambda: desk(limits={"steps": 3}),
        "limits is a Limits, such as Limits(steps=10), not {'steps': 3}",
    ),
    "a handoff by name": (
        lambda: desk(handoffs=["sales"]),
        "an agent hands over to agents, not to 'sales'",
    ),
    "agents without names": (
        lambda: desk(handoffs=[desk()]).run_sync("hello"),
        "two agents are named 'agent', and a handoff could not tell them apart; give each a name=",
    ),
    "an option with a slip": (
        lambda: ask(users="user-17"),
        "a run has no 'users'; did you mean 'user'?",
    ),
    "limits of a run": (
        lambda: ask(limits=3),
        "limits is a Limits, such as Limits(steps=10), not 3",
    ),
    "a run for a history": (
        lambda: ask(history=ask()),
        "a history is run.history, its JSON or a list of messages, not a Run",
    ),
    "messages of a vendor": (
        lambda: ask(history=[{"role": "user", "parts": [], "content": "hello"}]),
        "history[0]: a message of polycall has no 'content'; give run.history, or messages such "
        "as Message('user', [Text('hello')])",
    ),
    "no prompt": (
        lambda: ask(prompt=None),
        "a prompt is text, a Message or a list of them, not None",
    ),
    "an empty prompt": (
        lambda: ask(prompt=""),
        "there is nothing to answer: prompt and history are empty",
    ),
    "a tool for programs only": (
        lambda: desk(tools=[tool(allowed_callers=["code"])(hours)]),
        "only programs may call 'hours' (allowed_callers); write calling='code' or 'auto'",
    ),
    "a lifetime in words": (
        lambda: Memory(ttl="30 days"),  # pyright: ignore[reportArgumentType]
        "a lifetime is seconds or a timedelta, not '30 days'",
    ),
    "a memory where none can be": (
        lambda: Memory("/proc/memory.db"),
        "memory cannot be kept in '/proc/memory.db': No such file or directory",
    ),
    "a memory that is no database": (
        lambda: Memory(__file__),
        f"memory cannot be kept in {__file__!r}: file is not a database",
    ),
    "limits in words": (
        lambda: desk(limits=Limits(wall_s="3")),  # type: ignore[arg-type]
        "limits: wall_s is a number above 0, not '3'",
    ),
    "a guard among the tools": (
        lambda: desk(tools=[Guarded(desk())]),
        "a Guarded is for those who run an agent, and no agent can give it tasks; give the agent "
        "itself",
    ),
    "a router to hand over to": (
        lambda: desk(handoffs=[Router([desk()], lambda words: "agent")]),
        "a Router is for those who run an agent, and no agent can give it tasks; give the agent "
        "itself",
    ),
    "a check, no list": (
        lambda: Guarded(desk(), inputs=len),  # type: ignore[arg-type]
        "inputs is a list; write inputs=[len]",
    ),
    "a guard of a name": (
        lambda: Guarded("desk"),  # type: ignore[arg-type]
        "a Guarded runs an agent, such as Agent('provider/model'), not 'desk'",
    ),
    "a router of one agent": (
        lambda: Router(desk(), lambda words: "agent"),  # type: ignore[arg-type]
        "agents is a list; write agents=[agent]",
    ),
    "a router of two of a name": (
        lambda: Router([desk(), desk()], lambda words: "agent"),
        "two agents of a Router have one name; give each a name= of its own",
    ),
    "a session's agent by name": (
        lambda: Sessions(":memory:").open("a").run_sync("desk", "hello"),  # type: ignore[arg-type]
        "a session runs an agent, such as Agent('provider/model'), not 'desk'",
    ),
    "a session without an id": (
        lambda: Sessions(":memory:").open(""),
        "a session needs an id: the conversation's, not empty text",
    ),
    "a session's id of half a character": (
        lambda: Sessions(":memory:").open("a\ud83d"),
        "a session's id has half a character, which UTF-8 cannot hold: 'a\\ud83d'",
    ),
    "a session's user with a zero": (
        lambda: Sessions(":memory:").open("a", user="x\0"),
        "user has at most 300 characters, and none that are zero",
    ),
    "a session's id that is long": (
        lambda: Sessions(":memory:").open("x" * 301),
        "a session's id has at most 300 characters, and none that are zero",
    ),
    "a user of half a character": (
        lambda: ask(user="\ud83d"),
        "user has half a character, which UTF-8 cannot hold: '\\ud83d'",
    ),
    "a tree of a list": (
        lambda: ToolTree([hours]),  # type: ignore[arg-type]
        "a tree is made of namespaces and what is in them, such as ToolTree({'mail': [send]}), "
        "not of a list",
    ),
    "a hook that is none": (
        lambda: desk(hooks=["print"]),
        "hooks are functions of an event, not 'print'",
    ),
    "a user by number": (
        lambda: ask(user=5),
        "user is the text of an id, such as 'user-17', not 5",
    ),
    "a name by number": (
        lambda: desk(name=7),
        "name is text, not 7",
    ),
    "no name": (
        lambda: desk(name=None),
        "name is text, not None",
    ),
    "a description as a list": (
        lambda: desk(description=["sells"]),
        "description is text, not ['sells']",
    ),
    "a client's class": (
        lambda: desk().changed(client=ScriptedModel),
        "client is a Client(), or a model of polycall.testing in its place, not <class "
        "'polycall.testing.ScriptedModel'>",
    ),
    "a client by its address": (
        lambda: desk().changed(client="http://127.0.0.1:8080"),
        "client is a Client(), or a model of polycall.testing in its place, not "
        "'http://127.0.0.1:8080'",
    ),
    "handoffs in words": (
        lambda: desk(handoffs_max="3"),
        "handoffs_max is a whole number from 0, not '3'",
    ),
    "a depth below nothing": (
        lambda: desk(depth_max=-1),
        "depth_max is a whole number from 0, not -1",
    ),
    "no tool": (
        lambda: desk(tools=[hours, None]),
        "None cannot be a tool; give a function",
    ),
    "options by the vendor's name": (
        lambda: desk(provider_options={"openai": {"store": False}}),
        "provider_options are by wire format, and 'openai' is not the name of one; did you mean "
        "'openai-chat'?",
    ),
    "options of no wire format": (
        lambda: ask(settings={"provider_options": {"xai": {}}}),
        "provider_options are by wire format, and 'xai' is not the name of one; known: "
        "openai-chat, openai-responses, anthropic, gemini, ",
    ),
    "settings by number": (
        lambda: ask(settings=3),
        "settings are a dictionary, such as {'temperature': 0.2}, not 3",
    ),
    "a time in words": (
        lambda: ask(approve="pause", approval_ttl_s="60"),
        "approval_ttl_s is a number of seconds above 0, not '60'",
    ),
    "no time at all": (
        lambda: ask(approve="pause", approval_ttl_s=float("nan")),
        "approval_ttl_s is a number of seconds above 0, not nan",
    ),
    "a variable without JSON": (
        lambda: str(ask(variables={"cart": object()}).history.to_json()),
        "the variable 'cart' is not plain JSON, so a run with it cannot be kept: Encoding "
        "objects of type object is unsupported",
    ),
    "variables as a list": (
        lambda: ask(variables=[1]),
        "variables are a dictionary, such as {'cart': []}, not [1]",
    ),
    "a provider with a slip": (
        lambda: Agent("opnai/gpt-5.4").run_sync("hello"),
        "no provider is called 'opnai'; did you mean 'openai'?",
    ),
    "a provider of nobody's": (
        lambda: Agent("qq/gpt-5.4").run_sync("hello"),
        "no provider is called 'qq'; known: alibaba, anthropic, ",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(mistake: str) -> None:
    make, words = MISTAKES[mistake]
    with pytest.raises(PolycallError) as caught:
        make()
    told = str(caught.value)
    # A sentence that ends in a list of names may go on.
    assert told.startswith(words) if words.endswith(", ") else told == words


def test_a_toolset_alone_keeps_what_is_around_it() -> None:
    asked: list[str] = []

    def never(called: Any, arguments: Any) -> str:
        asked.append(called.name)
        return "closed today"

    model = ScriptedModel([ToolCall("c1", "hours", '{"day":"Sunday"}'), "closed"])
    agent = Agent("test/m", tools=Toolset([hours]).approved(never), client=model)
    [result] = agent.run_sync("When?").steps[0].results
    assert (asked, result.is_error) == (["hours"], True)


def test_an_unknown_model_is_named_beside_the_provider_s_own_words(
    simulation: Simulation, tmp_path: Path
) -> None:
    url = simulation.base_url("openai")
    config = tmp_path / "polycall.toml"
    config.write_text(f'[providers.openai]\nbase_url = "{url}"\napi_key = "any"\n')
    with Client(config=config) as client, pytest.raises(NotFoundError) as caught:
        client.generate_sync("openai/gpt-none", "hello")
    assert caught.value.__notes__ == ["the model that was asked: openai/gpt-none"]


async def test_a_tool_that_raises_leaves_a_traceback_for_whoever_wrote_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def divide(a: int, b: int) -> float:
        """Divide."""
        return a / b

    model = ScriptedModel([ToolCall("c1", "divide", '{"a":1,"b":0}'), "no"])
    with caplog.at_level("DEBUG", logger="polycall.tools"):
        run = await Agent("test/m", tools=[divide], client=model).run("1 / 0?")
    assert run.steps[0].results[0].text == "ZeroDivisionError: division by zero"
    assert caplog.messages == ["the tool 'divide' raised"]
    assert "return a / b" in caplog.text
