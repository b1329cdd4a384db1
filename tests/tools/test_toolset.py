"""Toolsets and the wrappers around them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from polycall.errors import ToolDefinitionError, UnknownToolError
from polycall.ir import JSON, Text, ToolCall, ToolResult
from polycall.tools import AbstractToolset, ToolContext, Toolset, WrappedToolset, execute, tool
from polycall.tools.toolset import AnyTool


@tool
def add(a: int, b: int) -> int:
    return a + b


@tool
def greet(name: str) -> str:
    return f"hello {name}"


def shout(text: str) -> str:
    if not text:
        raise ValueError("nothing to shout")
    return text.upper()


def tools() -> Toolset:
    return Toolset([add, greet, shout])


async def run(toolset: AbstractToolset, name: str, arguments_json: str = "{}") -> str:
    result = await execute(ToolCall("c", name, arguments_json), toolset)
    assert result == ToolResult("c", [Text(result.text)], is_error=result.is_error, name=name)
    return f"error: {result.text}" if result.is_error else result.text


ADD = '{"a": 1, "b": 2}'


def test_a_toolset_is_ordered_and_knows_its_tools() -> None:
    toolset = tools()
    assert [each.name for each in toolset] == ["add", "greet", "shout"]
    assert [each.name for each in toolset.definitions] == ["add", "greet", "shout"]
    assert toolset["add"] is add
    assert "greet" in toolset
    assert "other" not in toolset
    assert len(toolset) == 3


def test_names_are_unique_and_known() -> None:
    with pytest.raises(ToolDefinitionError, match="there are two tools named 'add'; give one"):
        Toolset([add, add])
    with pytest.raises(UnknownToolError) as refusal:
        tools()["Great"]
    assert str(refusal.value) == "tool 'Great' is not registered; did you mean 'greet'?"
    assert refusal.value.registered == ["add", "greet", "shout"]


async def test_prefixes() -> None:
    toolset = tools().prefixed("math")
    assert list(toolset.tools) == ["math_add", "math_greet", "math_shout"]
    assert toolset["math_add"].definition.name == "math_add"
    assert await run(toolset, "math_add", ADD) == "3"
    assert await run(toolset, "add", ADD) == (
        "error: tool 'add' is not registered; did you mean 'math_add'?"
    )


async def test_new_names() -> None:
    toolset = tools().renamed({"add": "sum"})
    assert list(toolset.tools) == ["sum", "greet", "shout"]
    assert await run(toolset, "sum", ADD) == "3"
    assert await run(toolset, "greet", '{"name": "a"}') == "hello a"
    swapped = tools().renamed({"add": "greet", "greet": "add"})
    assert await run(swapped, "greet", ADD) == "3"
    assert await run(swapped, "add", '{"name": "a"}') == "hello a"
    with pytest.raises(ToolDefinitionError, match="two tools would be named 'greet'"):
        tools().renamed({"add": "greet"})
    with pytest.raises(UnknownToolError, match="did you mean 'add'"):
        tools().renamed({"ad": "sum"})


async def test_filters() -> None:
    by_name = tools().filtered(["shout", "add"])
    assert list(by_name.tools) == ["add", "shout"]
    by_rule = tools().filtered(lambda each: "name" in each.parameters["properties"])
    assert list(by_rule.tools) == ["greet"]
    assert (await run(by_rule, "add", ADD)).startswith("error: tool 'add' is not registered")
    with pytest.raises(UnknownToolError):
        await by_rule.run("add", {}, ToolContext(deps=None))
    with pytest.raises(UnknownToolError):
        tools().filtered(["nope"])


async def test_approval() -> None:
    asked: list[tuple[str, JSON]] = []

    def approve(each: AnyTool, arguments: JSON) -> bool | str:
        asked.append((each.name, arguments))
        return True if each.name == "greet" else "ask your manager"

    async def never(each: AnyTool, arguments: JSON) -> bool:
        await asyncio.sleep(0)
        return False

    assert await run(tools().approved(approve), "greet", '{"name": "a"}') == "hello a"
    assert await run(tools().approved(approve), "add", '{"a": "1", "b": 2}') == (
        "error: the call of 'add' was not approved: ask your manager; nothing was run"
    )
    # People see the arguments as they would be run, mended already.
    assert asked == [("greet", {"name": "a"}), ("add", {"a": 1, "b": 2})]
    assert await run(tools().approved(never), "add", ADD) == (
        "error: the call of 'add' was not approved; nothing was run"
    )


async def test_a_limit_of_calls() -> None:
    toolset = tools().limited(2)
    assert await run(toolset, "add", ADD) == "3"
    assert await run(toolset, "add", '{"a": "x"}') != "3"  # refused before it was run
    assert await run(toolset, "shout", '{"text": ""}') == "error: ValueError: nothing to shout"
    assert await run(toolset, "add", ADD) == (
        "error: all 2 calls are used up, so 'add' was not run; answer with what is known"
    )


async def test_the_log_has_times_and_outcomes_and_no_contents() -> None:
    lines: list[str] = []
    toolset = tools().logged(lines.append)
    await run(toolset, "greet", '{"name": "secret"}')
    await run(toolset, "shout", '{"text": ""}')

    @tool
    async def hang() -> None:
        await asyncio.sleep(60)

    task = asyncio.create_task(run(Toolset([hang]).logged(lines.append), "hang"))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [line.rsplit(" after ", 1)[0] for line in lines] == [
        "tool greet finished",
        "tool shout failed with ValueError",
        "tool hang cancelled",
    ]
    assert "secret" not in "".join(lines)


async def test_the_log_goes_to_logging_by_default(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="polycall.tools"):
        await run(tools().logged(), "add", ADD)
    assert [record.message.rsplit(" after ", 1)[0] for record in caplog.records] == [
        "tool add finished"
    ]


async def test_toolsets_are_added() -> None:
    both = Toolset([add]) + Toolset([greet, shout]).prefixed("say")
    assert list(both.tools) == ["add", "say_greet", "say_shout"]
    assert await run(both, "say_greet", '{"name": "a"}') == "hello a"
    assert await run(both, "add", ADD) == "3"
    with pytest.raises(ToolDefinitionError, match="two toolsets have a tool named 'add'"):
        Toolset([add]) + Toolset([add])


async def test_wrappers_go_around_wrappers_and_can_be_ones_own() -> None:
    class Counting(WrappedToolset):
        calls = 0

        async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
            self.calls += 1
            return await super().run(name, arguments, context)

    inner = Counting(tools())
    outer = inner.filtered(["add"]).prefixed("x").renamed({"x_add": "plus"}).limited(5)
    assert list(outer.tools) == ["plus"]
    assert await run(outer, "plus", ADD) == "3"
    assert inner.calls == 1


async def test_a_tool_that_is_added_later_is_seen_by_wrappers() -> None:
    toolset = Toolset([add])
    wrapped = toolset.filtered(lambda each: True).logged(lambda line: None)
    toolset.add(greet)
    assert list(wrapped.tools) == ["add", "greet"]
    assert await run(wrapped, "greet", '{"name": "b"}') == "hello b"
