"""Tools that OpenAI runs itself, namespaces, and tools that come in the middle of the input.

Hosted tools are taken as the vendor takes them; web search has a simulated result, and the
simulated model does not use the others.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from polycall.sim.script import Search, ToolSpec
from polycall.sim.shape import JSON, list_in
from polycall.sim.shape_files import ShapeFile

SHAPES = ShapeFile("openai_responses")
CHOICES = SHAPES.names("hosted")
# What they leave in a conversation, and items that bring tools or take up space.
ITEMS = SHAPES.names("hosted_items")
_SEARCHES = SHAPES.names("searches")
_CALLABLE = ("function", "custom")


class Namespaces:
    """Which of the offered tools stand in a namespace, and under which names they are known."""

    def __init__(self) -> None:
        self.names: dict[str, tuple[str, str]] = {}  # by the tool's name in the prompt

    def named(self, spec: ToolSpec, namespace: str) -> ToolSpec:
        """The tool under a name that no other tool has."""
        if not namespace:
            return spec
        name = f"{namespace}.{spec.name}"
        self.names[name] = (namespace, spec.name)
        return replace(spec, name=name)

    def spec_name(self, namespace: str, name: str) -> str:
        """The prompt's name of a tool that a call names."""
        return f"{namespace}.{name}" if namespace else name


def callable_tools(body: JSON) -> Iterator[tuple[JSON, str, str]]:
    """Every function and custom tool: where it stands, and in which namespace.

    Tools of the request, and those that items of the input bring.
    """
    yield from _spread(list_in(body, "tools"), "tools")
    source = body["input"]
    seen = {tool["name"] for tool, _, _ in _spread(list_in(body, "tools"), "tools")}
    for index, item in enumerate(source if isinstance(source, list) else []):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        if item.get("type") not in ("additional_tools", "tool_search_output"):  # pyright: ignore[reportUnknownMemberType]
            continue
        for tool, place, namespace in _spread(list_in(item, "tools"), f"input[{index}].tools"):  # pyright: ignore[reportUnknownArgumentType]
            if tool["name"] not in seen:
                seen.add(tool["name"])
                yield tool, place, namespace


def _spread(tools: list[JSON], place: str) -> Iterator[tuple[JSON, str, str]]:
    for index, tool in enumerate(tools):
        if tool.get("type") in _CALLABLE:
            yield tool, f"{place}[{index}]", ""
        elif tool.get("type") == "namespace":
            for number, inner in enumerate(list_in(tool, "tools")):
                yield inner, f"{place}[{index}].tools[{number}]", tool["name"]


def search_tool(tools: list[JSON]) -> str:
    """The type of the web search that is offered; `""` without one."""
    return next((tool["type"] for tool in tools if tool["type"] in _SEARCHES), "")


def search_item(search: Search, nonce: str) -> JSON:
    """A search, as it stands in an answer."""
    return {
        "type": "web_search_call",
        "id": f"ws_{nonce}",
        "status": "completed",
        "action": {
            "type": "search",
            "query": search.query,
            "queries": [search.query],
            "sources": [{"type": "url", "url": search.url}],
        },
    }
