"""Which tools a step offers: all of a toolset's, or those that it offers by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from polycall.agents.context import AgentContext
from polycall.ir import Tool
from polycall.tools import AbstractToolset, FunctionTool, Toolset

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
            toolsets.append(source)
            loose = None
            continue
        if loose is None:
            loose = Toolset()
            toolsets.append(loose)
        loose.add(source)
    return toolsets


def definitions(toolsets: Iterable[AbstractToolset], context: AgentContext[Any]) -> list[Tool]:
    """What a step offers of all toolsets."""
    found: list[Tool] = []
    for toolset in toolsets:
        if isinstance(toolset, OfferingToolset):
            found += toolset.offered(context)
        else:
            found += toolset.definitions
    return found
