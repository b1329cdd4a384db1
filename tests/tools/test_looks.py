"""Tools as other code looks at functions: signatures, help, pickles; and agents in a pickle."""

from __future__ import annotations

import functools
import inspect
import multiprocessing
import pickle
import pydoc
from dataclasses import replace
from typing import Any

import pytest

from polycall import Agent, Client
from polycall.errors import RequestError
from polycall.ir import Message, Text
from polycall.testing import ScriptedModel

from . import things


@pytest.mark.parametrize("made", [things.weigh, things.lift, things.SCHEMA])
def test_l12_a_tool_looks_like_its_function(made: Any) -> None:
    assert inspect.signature(made) == inspect.signature(made.function)
    assert made.__name__ == made.name
    assert made.__wrapped__ is made.function
    assert inspect.getdoc(made) == (inspect.getdoc(made.function) or made.description)
    shown = pydoc.plain(pydoc.render_doc(made))
    assert made.name in shown
    assert "cached_property" not in shown
    assert repr(made).startswith(f"<tool {made.name}(")

    @functools.wraps(made)
    def around(*args: Any, **kwargs: Any) -> Any:
        return made(*args, **kwargs)

    assert around.__name__ == made.name


def test_l12_tools_of_a_class_too() -> None:
    from polycall import tool

    class Shop:
        @tool
        def weigh(self, thing: str) -> str:
            """Weigh."""
            return thing

    assert list(inspect.signature(Shop().weigh).parameters) == ["thing"]
    assert Shop().weigh.__name__ == "weigh"


@pytest.mark.parametrize("made", [things.weigh, things.lift, things.SCHEMA])
def test_l12_tools_pickle_and_their_copies_too(made: Any) -> None:
    for each in (made, replace(made, name="other", needs_approval=True)):
        again = pickle.loads(pickle.dumps(each))
        assert (again.name, again.needs_approval) == (each.name, each.needs_approval)
        assert again.definition == each.definition
        arguments = (
            '{"thing":"tea","a":"b"}'
            if each.parameters == {"type": "object"}
            else ('{"thing":"tea"}')
        )
        assert again.check(arguments) == each.check(arguments)
    assert pickle.loads(pickle.dumps(things.weigh)) is things.weigh


def _run(agent: Agent[Any, Any]) -> str:
    with ScriptedModel(['{"text":"five"}']) as model, agent.override(client=model):
        return str(agent.run_sync("go").output.text)


def test_l12_agents_pickle_into_another_process() -> None:
    again = pickle.loads(pickle.dumps(things.AGENT))
    assert again.handoffs[0].agent.handoffs[0].agent is again
    assert [each.name for toolset in again.toolsets for each in toolset] == [
        each.name for toolset in things.AGENT.toolsets for each in toolset
    ]
    assert _run(again) == "five"
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_run, (things.AGENT,)) == "five"
    client = pickle.loads(pickle.dumps(Client(keys={"openai": "k"})))
    assert client.resolve("openai/gpt-5.4")


def test_l12_what_a_prompt_and_instructions_are_is_said() -> None:
    agent = things.HELPER
    with pytest.raises(RequestError, match=r"prompt\[0\]: a prompt is text, .* this is 'x'"):
        agent.run_sync(["x"])  # type: ignore[list-item]
    with pytest.raises(RequestError, match=r"prompt\[1\]: "):
        agent.run_sync([Message("user", [Text("a")]), {"role": "user"}])  # type: ignore[list-item]
    for wrong in (["be kind"], {"a": 1}, 3, None):
        with pytest.raises(RequestError, match="instructions are text, or a function"):
            Agent("test/m", instructions=wrong)  # type: ignore[arg-type]
