"""Many tools in namespaces, of which a model sees only what it has looked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from msgspec.structs import replace as changed

from polycall.agents.agent import Agent
from polycall.agents.context import AgentContext
from polycall.agents.offer import AnyTool, OfferingToolset
from polycall.agents.tree import load
from polycall.agents.tree.search import Embed, Method, ToolSearch, branch_of, is_below
from polycall.client import Client
from polycall.errors import ToolDefinitionError, ToolError
from polycall.ir import JSON, Tool
from polycall.tools import (
    AbstractToolset,
    FunctionTool,
    ToolContext,
    Toolset,
    tool,
    tool_from_schema,
)

# Namespaces within namespaces; at the leaves a tool or function under its name, or several.
Branches: TypeAlias = (
    "Mapping[str, Branches | AnyTool | AbstractToolset | Iterable[Any] | Callable[..., Any]]"
)
SEARCH, OPEN = "search_tools", "open_namespace"
# What the vendors' own search is called, by dialect.
_NATIVE: dict[str, JSON] = {
    "anthropic": {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"},
    "openai-responses": {"type": "tool_search"},
}
_SHOWN_NAMESPACES = 40
_SHOWN_TOOLS = 50
_OPENED_AT_ONCE = 20
_ABOUT_CHARS = 100


class ToolTree(OfferingToolset):
    """Tools in namespaces: `email.send`, `calendar.events.create`.

    A model sees two tools, `search_tools` and `open_namespace`, and what it has found with them,
    at most `opened_max` (the longest known go first).  The prompt does not grow with the tree, on
    any provider.  `about` describes namespaces.  With `embed`, search goes by vectors too.
    `native` leaves the search to the vendor where the model's provider has one: then all
    definitions are sent, marked to be loaded by it.  A toolset in it may get and lose tools: the
    tree follows.
    """

    def __init__(
        self,
        branches: Branches,
        *,
        about: Mapping[str, str] | None = None,
        embed: Embed | None = None,
        method: Method | None = None,
        found_max: int = 5,
        opened_max: int = 40,
        native: bool = False,
    ) -> None:
        if not isinstance(branches, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - from the caller
            raise ToolDefinitionError(
                "a tree is made of namespaces and what is in them, such as "
                f"ToolTree({{'mail': [send]}}), not of a {type(branches).__name__}"
            )
        self._sources = list(_sources(branches))
        self._about = dict(about or {})
        self._embed = embed
        self._method: Method = method or ("hybrid" if embed else "words")
        self._found_max = found_max
        self._opened_max = opened_max
        self._native = native
        self._load()

    @classmethod
    def from_package(cls, package: str | ModuleType, **options: Any) -> ToolTree:
        """The tree of a Python package: modules are namespaces, public functions the tools.

        A function is public that is in `__all__`, or is defined in the module and has no underscore
        in front.  The package is imported, with all its modules.
        """
        return cls(load.package_branches(package), **options)

    @classmethod
    def from_openapi(cls, document: JSON, send: load.Send, **options: Any) -> ToolTree:
        """The tree of an OpenAPI 3 document: tags are namespaces, operations the tools.

        `send` does what an operation asks for; it knows the address and the key.
        """
        return cls(load.openapi_branches(document, send), **options)

    @classmethod
    def from_folder(cls, folder: str | Path, run: load.RunNamed, **options: Any) -> ToolTree:
        """The tree of JSON files: folders are namespaces, files hold one definition or a list.

        A definition has `name`, `description` and `parameters`, as providers take it.  `run` is
        called with a tool's full name and its arguments.
        """
        return cls(load.folder_branches(folder, run), **options)

    @property
    def tools(self) -> Mapping[str, AnyTool]:
        """All tools by their full names, and the two that find them."""
        self._follow()
        return self._tools

    @property
    def leaves(self) -> Mapping[str, AnyTool]:
        """The tools of the tree itself."""
        self._follow()
        return self._leaves

    def namespaces(self, within: str = "") -> dict[str, int]:
        """The namespaces right below one (or below the root), and how many tools each holds."""
        counts: dict[str, int] = {}
        start = f"{within}." if within else ""
        for name in self._leaves:
            if name.startswith(start):
                head, dot, _ = name.removeprefix(start).partition(".")
                if dot:
                    counts[start + head] = counts.get(start + head, 0) + 1
        return counts

    def search(self, query: str, *, limit: int = 5, within: str = "") -> list[AnyTool]:
        """The tools that fit best, best first."""
        return [
            self._leaves[name] for name in self._search.best(query, limit, self._method, within)
        ]

    def branch(self, name: str) -> AbstractToolset:
        """The tools of one namespace, all of them visible."""
        found = [tool for full, tool in self._leaves.items() if is_below(full, name)]
        if not found:
            raise ToolDefinitionError(
                f"there is no namespace {name!r}; there are {', '.join(self.namespaces())}"
            )
        return Toolset(found)

    def agents(self, model: str | Sequence[str], **options: Any) -> list[Agent[Any, Any]]:
        """An agent for each namespace at the top: give them to `triage`, or hand over to them."""
        return [
            Agent(
                model,
                name=name,
                description=self._about.get(name) or _summary(self.branch(name)),
                tools=[self.branch(name)],
                **options,
            )
            for name in self.namespaces()
        ]

    def offered(self, context: AgentContext[Any]) -> list[Tool]:
        """The two that find tools, and what was found, in the order in which it was."""
        self._follow()
        dialect = _searching_dialect(context) if self._native else ""
        if dialect:
            deferred = (
                changed(tool.definition, defer_loading=True) for tool in self._leaves.values()
            )
            definition = _NATIVE[dialect]
            name = definition.get("name", definition["type"])
            metadata = {dialect: {"definition": definition}}
            return [Tool(name, kind="hosted", metadata=metadata), *deferred]
        opened = [self._leaves[name] for name in context.run.opened if name in self._leaves]
        own = [self._tools[SEARCH], self._tools[OPEN]]
        return [tool.definition for tool in [*own, *opened]]

    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        self._search.called(name, _owner(context))
        return await self[name].run(arguments, context)

    def _load(self) -> None:
        """Take the tools as they are now."""
        self._seen = self._names()
        leaves = dict(sorted(_leaves(self._sources)))
        self._leaves = leaves
        self._search = ToolSearch(leaves, about=self._about, embed=self._embed)
        own = [self._search_tool(), self._open_tool()]
        self._tools: dict[str, AnyTool] = {**{each.name: each for each in own}, **leaves}

    def _follow(self) -> None:
        """Load again where a toolset has other tools now: an MCP server's may change."""
        if self._seen != self._names():
            self._load()

    def _names(self) -> list[tuple[str, ...]]:
        sources = (source for _, source in self._sources)
        return [tuple(each.tools) for each in sources if isinstance(each, AbstractToolset)]

    def _search_tool(self) -> FunctionTool[..., Any]:
        parameters = _schema(
            query="what the tool should do, in plain words",
            within="only in this namespace",
        )
        description = (
            f"Find tools among {len(self._leaves)}, to be called from the next step on. "
            f"Namespaces: {self._overview('')}"
        )
        return tool_from_schema(SEARCH, description, parameters, self._find)

    def _open_tool(self) -> FunctionTool[..., Any]:
        return tool_from_schema(
            OPEN,
            "See what a namespace holds. The tools of a small one can be called from the next "
            "step on.",
            _schema(namespace="its full name, such as a.b"),
            self._open,
        )

    async def _find(self, arguments: JSON, context: ToolContext[Any]) -> JSON:
        within = arguments.get("within", "")
        found = self._search.best(
            arguments["query"], self._found_max, self._method, within, owner=_owner(context)
        )
        if not found:
            raise ToolError(
                "no tool fits these words; use others, or look with open_namespace. "
                f"Namespaces: {self._overview('')}"
            )
        self._put_open(found, context)
        return {"found": {name: _short(self._leaves[name].description) for name in found}}

    async def _open(self, arguments: JSON, context: ToolContext[Any]) -> JSON:
        namespace = arguments["namespace"]
        inner = [name for name in self._leaves if is_below(name, namespace)]
        if not inner:
            raise ToolError(
                f"there is no namespace {namespace!r}. Namespaces: {self._overview('')}"
            )
        direct = [name for name in inner if branch_of(name) == namespace]
        shown: JSON = {}
        if self.namespaces(namespace):
            shown["namespaces"] = self._overview(namespace)
        if direct:
            shown["tools"] = {
                name: _short(self._leaves[name].description) for name in direct[:_SHOWN_TOOLS]
            }
        if len(direct) > _SHOWN_TOOLS:
            shown["more"] = f"{len(direct) - _SHOWN_TOOLS} more tools"
        if len(direct) <= _OPENED_AT_ONCE:
            self._put_open(direct, context)
        else:
            shown["next"] = f"too many to load at once: {SEARCH} with within={namespace!r}"
        return shown

    def _put_open(self, names: list[str], context: ToolContext[Any]) -> None:
        if not isinstance(context, AgentContext):
            return
        opened = context.run.opened
        for name in names:
            # One that is there keeps its place, so that the prompt's beginning stays as it was.
            opened.setdefault(name, None)
        ours = [name for name in opened if name in self._leaves]
        for name in ours[: max(0, len(ours) - self._opened_max)]:
            del opened[name]

    def _overview(self, within: str) -> str:
        counts = self.namespaces(within)
        shown = [
            self._named(name, count) for name, count in list(counts.items())[:_SHOWN_NAMESPACES]
        ]
        left = len(counts) - len(shown)
        return ", ".join([*shown, f"and {left} more"] if left else shown)

    def _named(self, name: str, count: int) -> str:
        about = self._about.get(name, "")
        return f"{name} ({count}: {_short(about)})" if about else f"{name} ({count})"


def _searching_dialect(context: AgentContext[Any]) -> str:
    """The dialect of the vendor that is to search; nothing where it cannot."""
    client = context.run.client_of(context.agent)
    return client.searches_tools(context.model) if isinstance(client, Client) else ""


def _owner(context: ToolContext[Any]) -> str:
    """The owner of searches and calls: the user, or the run where no user is named."""
    if not isinstance(context, AgentContext):
        return ""
    return context.user or context.run.root.run_id


def _sources(
    branches: Branches, prefix: str = ""
) -> Iterable[tuple[str, AnyTool | AbstractToolset]]:
    """Each tool and each toolset of the branches, with the name of its place."""
    for name, inner in branches.items():
        if not name or "." in name:
            raise ToolDefinitionError(f"{name!r} cannot be a name in a tree")
        full = prefix + name
        if isinstance(inner, FunctionTool | AbstractToolset):
            yield full, inner
        elif isinstance(inner, Mapping):
            yield from _sources(inner, f"{full}.")  # pyright: ignore[reportUnknownArgumentType]
        elif callable(inner):
            yield full, tool(inner, name=full)
        else:
            yield full, Toolset(inner)


def _leaves(
    sources: Iterable[tuple[str, AnyTool | AbstractToolset]],
) -> Iterable[tuple[str, AnyTool]]:
    for full, source in sources:
        if isinstance(source, FunctionTool):
            yield full, replace(source, name=full)
            continue
        for each in source:
            yield f"{full}.{each.name}", _within(source, each, f"{full}.{each.name}")


def _within(toolset: AbstractToolset, tool: AnyTool, full: str) -> AnyTool:
    """The tool under its full name; what its toolset does around it stays around it."""
    if type(toolset) is Toolset:
        return replace(tool, name=full)

    async def run(arguments: JSON, context: ToolContext[Any]) -> Any:
        return await toolset.run(tool.name, arguments, context)

    outer: Callable[..., Any] = run
    return replace(
        tool, name=full, function=outer, whole_arguments=True, context_parameter="context"
    )


def _schema(**properties: str) -> JSON:
    first = next(iter(properties))
    return {
        "type": "object",
        "properties": {
            name: {"type": "string", "description": about} for name, about in properties.items()
        },
        "required": [first],
        "additionalProperties": False,
    }


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _ABOUT_CHARS else line[: _ABOUT_CHARS - 1] + "…"


def _summary(toolset: AbstractToolset) -> str:
    return _short("Tools: " + ", ".join(name.rpartition(".")[2] for name in toolset.tools))
