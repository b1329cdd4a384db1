"""Tools as other code looks at functions: signatures, help, pickles; and agents in a pickle."""

from __future__ import annotations

import copy
import functools
import inspect
import multiprocessing
import pickle
import pydoc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent, Client, Memory
from polycall.agents import (
    Compaction,
    Router,
    Sessions,
    ToolTree,
    by_words,
    summary_by,
)
from polycall.errors import RequestError
from polycall.ir import Message, Text
from polycall.testing import ScriptedModel
from polycall.tools import Toolset

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

    weigh: Any = Shop().weigh
    assert list(inspect.signature(weigh).parameters) == ["thing"]
    assert weigh.__name__ == "weigh"


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


def _of_kinds(folder: Path) -> list[Any]:
    """Agents with what may be given to them, each kept where another process can reach it."""
    kept = [Memory(str(folder / "m.db")), Memory(folder / "m.json"), Memory(folder / "n.db", ttl=9)]
    compaction = Compaction(tokens_max=5_000, summarize=summary_by(things.HELPER))
    return [
        *(Agent("test/m", memory=memory, tools=[things.weigh]) for memory in kept),
        Agent("test/m", compaction=compaction),
        Router([things.HELPER], by_words({"helper": ["scale"]}, default="helper")),
        Agent("test/m", tools=[ToolTree({"scales": [things.weigh]})]),
        Sessions(f"sqlite:///{folder / 's.db'}"),
        Sessions(f"sqlite:///{folder / 's.db'}").open("a"),
    ]


def test_l12_what_agents_are_given_pickles_with_them(tmp_path: Path) -> None:
    for each in _of_kinds(tmp_path):
        for again in (pickle.loads(pickle.dumps(each)), copy.deepcopy(each)):
            assert repr(again) == repr(each)
    agent = _of_kinds(tmp_path)[0]
    agent.memory.add("likes tea")
    again = pickle.loads(pickle.dumps(agent))
    assert [entry.text for entry in again.memory.search("tea")] == ["likes tea"]
    router = pickle.loads(pickle.dumps(_of_kinds(tmp_path)[4]))
    assert router.route("a scale").name == "helper"


def test_l12_a_memory_without_a_store_says_why_it_does_not_pickle() -> None:
    agent = Agent("test/m", memory=Memory())
    with pytest.raises(TypeError, match=r"give it a path: Memory\('memory.db'\)"):
        pickle.dumps(agent)
    # A copy here remembers the same.
    again = copy.deepcopy(agent)
    assert agent.memory
    assert again.memory
    agent.memory.add("likes tea")
    assert [entry.text for entry in again.memory.search("tea")] == ["likes tea"]


def test_l12_what_is_shown_of_toolsets_models_and_memories() -> None:
    shop = Toolset([things.weigh, things.lift])
    assert repr(shop) == "Toolset(weigh, heft)"
    assert repr(shop.prefixed("a")) == "RenamedToolset(a_weigh, a_heft)"
    assert repr(shop.approved(lambda made, arguments: True)) == "ApprovedToolset(weigh, heft)"
    assert repr(Toolset([things.weigh]) + shop.filtered(["heft"])) == "CombinedToolset(weigh, heft)"
    assert repr(Toolset([])) == "Toolset(no tools)"
    assert repr(ToolTree({"s": [things.weigh]})) == (
        "ToolTree(search_tools, open_namespace, s.weigh)"
    )
    many = [replace(things.weigh, name=f"t{number}") for number in range(25)]
    assert repr(Toolset(many)) == (
        f"Toolset({', '.join(f't{number}' for number in range(20))}, and 5 more)"
    )
    assert repr(Memory(scopes=["user", "run"])) == "Memory(ProcessStore, scopes: user, run)"
    assert repr(ScriptedModel(["a", "b"])) == "ScriptedModel(0 asked, 2 answers left)"


def test_l12_what_a_prompt_and_instructions_are_is_said() -> None:
    agent = things.HELPER
    with pytest.raises(RequestError, match=r"prompt\[0\]: a prompt is text, .* this is 'x'"):
        agent.run_sync(["x"])  # type: ignore[list-item]
    with pytest.raises(RequestError, match=r"prompt\[1\]: "):
        agent.run_sync([Message("user", [Text("a")]), {"role": "user"}])  # type: ignore[list-item]
    for wrong in (["be kind"], {"a": 1}, 3, None):
        with pytest.raises(RequestError, match="instructions are text, or a function"):
            Agent("test/m", instructions=wrong)  # type: ignore[arg-type]
