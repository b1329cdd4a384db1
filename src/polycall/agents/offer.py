"""Which tools a step offers: all of a toolset's, or those that it offers by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from msgspec.structs import replace

from polycall.agents.context import AgentContext
from polycall.errors import RequestError
from polycall.ir import Tool
from polycall.tools import AbstractToolset, FunctionTool, Toolset, WrappedToolset
from polycall.tools.toolset import CombinedToolset, RenamedToolset

AnyTool: TypeAlias = FunctionTool[..., Any]
# What an agent takes as its tools.
ToolSource: TypeAlias = AnyTool | AbstractToolset | Callable[..., Any]


class OfferingToolset(AbstractToolset, ABC):
    """A toolset with more tools than a model should see at once.

    All of `tools` can be called; a step offers what `offered` gives.
    """

    @abstractmethod
    def offered(self, context: AgentContext[Any]) -> list[Tool]:
        """The tools that the model sees now, in an order that only grows at its end."""


def gather(sources: Iterable[ToolSource]) -> list[AbstractToolset]:
    """The sources as toolsets, in their order; tools that stand alone are put together."""
    toolsets: list[AbstractToolset] = []
    loose: Toolset | None = None
    for source in sources:
        if isinstance(source, AbstractToolset):
            toolsets += _parts(source)
            loose = None
            continue
        if loose is None:
            loose = Toolset()
            toolsets.append(loose)
        loose.add(source)
    return toolsets


def definitions(toolsets: Iterable[AbstractToolset], context: AgentContext[Any]) -> list[Tool]:
    """The definitions that a step offers of all toolsets."""
    return [tool for toolset in toolsets for tool in _offered(toolset, context)]


def offers(toolset: AbstractToolset) -> bool:
    """Whether it, or one that it is put around, offers its tools by and by."""
    if isinstance(toolset, CombinedToolset):
        return any(map(offers, toolset.toolsets))
    if isinstance(toolset, WrappedToolset):
        return offers(toolset.inner)
    return isinstance(toolset, OfferingToolset)


def _parts(toolset: AbstractToolset) -> list[AbstractToolset]:
    """The toolsets of a sum; refuses names that a model could not find."""
    if isinstance(toolset, CombinedToolset):
        return [part for each in toolset.toolsets for part in _parts(each)]
    inner = toolset
    while isinstance(inner, WrappedToolset):
        if isinstance(inner, RenamedToolset) and offers(inner.inner):
            raise RequestError(
                "the tools of a tree are called by the names that it finds, so they cannot be "
                "renamed or prefixed; give its branches other names"
            )
        inner = inner.inner
    return [toolset]


def _offered(toolset: AbstractToolset, context: AgentContext[Any]) -> list[Tool]:
    if isinstance(toolset, OfferingToolset):
        return toolset.offered(context)
    if not offers(toolset):
        return toolset.definitions
    if isinstance(toolset, CombinedToolset):
        return definitions(toolset.toolsets, context)
    assert isinstance(toolset, WrappedToolset)
    known, found = toolset.tools, list[Tool]()
    for each in _offered(toolset.inner, context):
        if each.kind == "hosted":
            found.append(each)
        elif each.name in known:
            own = known[each.name].definition
            found.append(replace(own, defer_loading=each.defer_loading))
    # A choice without the tools that find others has few, and shows them.
    return found or toolset.definitions
