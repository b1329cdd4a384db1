"""Tools that belong together, and what can be put around them.

A toolset is an ordered set of tools with unique names.  Behaviour that cuts across tools is a
wrapper around a toolset, never a flag on one; wrappers go around wrappers.
"""

from __future__ import annotations

import inspect
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from polycall import ir
from polycall._support import jsontext
from polycall.errors import ToolDefinitionError, ToolError, UnknownToolError
from polycall.ir import JSON
from polycall.tools.context import ToolContext, leaving
from polycall.tools.function_tool import FunctionTool, tool
from polycall.tools.problems import near_miss
from polycall.tools.results import changed_result

AnyTool: TypeAlias = FunctionTool[..., Any]
# Yes or no; a no with a reason; a yes with other arguments.
Approval: TypeAlias = bool | str | JSON
Approve: TypeAlias = Callable[[AnyTool, JSON], Approval | Awaitable[Approval]]


_SHOWN_MAX = 20


class AbstractToolset(ABC):
    """A set of tools: it can list them, find one, run one, and be wrapped."""

    @property
    @abstractmethod
    def tools(self) -> Mapping[str, AnyTool]:
        """The tools by name, in order: the same order in every request, for prompt caches."""

    @abstractmethod
    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        """Run one of the tools with arguments that were checked."""

    def asks(self, name: str) -> bool:
        """Whether `run` itself asks a person about a call of this tool that needs approval.

        `execute` runs no call that needs approval where nothing asks.
        """
        del name
        return False

    def __repr__(self) -> str:
        """In a line: the names of its tools, the first of many."""
        names = list(self.tools)
        more = f", and {len(names) - _SHOWN_MAX} more" if len(names) > _SHOWN_MAX else ""
        return f"{type(self).__name__}({', '.join(names[:_SHOWN_MAX]) or 'no tools'}{more})"

    @property
    def definitions(self) -> list[ir.Tool]:
        """The tools as the model sees them."""
        return [each.definition for each in self.tools.values()]

    def __getitem__(self, name: str) -> AnyTool:
        found = self.tools.get(name)
        if found is None:
            names = list(self.tools)
            known = ", ".join(map(repr, names[:_SHOWN_MAX])) if names else "no tools"
            hint = near_miss(name, names) or f"; there are {known}"
            raise UnknownToolError(f"tool {name!r} is not registered{hint}", registered=names)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self.tools

    def __iter__(self) -> Iterator[AnyTool]:
        return iter(self.tools.values())

    def __len__(self) -> int:
        return len(self.tools)

    def __add__(self, other: AbstractToolset) -> AbstractToolset:
        return CombinedToolset([self, other])

    def prefixed(self, prefix: str) -> AbstractToolset:
        """The same tools as `prefix_name`."""
        return RenamedToolset(self, {name: f"{prefix}_{name}" for name in self.tools})

    def renamed(self, names: Mapping[str, str]) -> AbstractToolset:
        """The same tools, some under another name: `{"old": "new"}`."""
        return RenamedToolset(self, names)

    def filtered(self, keep: Callable[[AnyTool], bool] | Iterable[str]) -> AbstractToolset:
        """Only the tools that are kept, by a predicate or by name."""
        return FilteredToolset(self, keep)

    def approved(self, approve: Approve) -> AbstractToolset:
        """The same tools, each call only after `approve` says yes.

        It may be asynchronous, may say no with a reason, which the model reads, and may give other
        arguments: the call runs with those, and the model reads that they were changed.
        """
        return ApprovedToolset(self, approve)

    def limited(self, calls: int) -> AbstractToolset:
        """The same tools, for so many calls in all; those beyond are refused."""
        return LimitedToolset(self, calls)

    def logged(self, log: Callable[[str], None] | None = None) -> AbstractToolset:
        """The same tools; each call is logged with its time and outcome, without its contents."""
        return LoggedToolset(self, log)


class Toolset(AbstractToolset):
    """Tools in the order in which they are given.  Plain functions become tools."""

    def __init__(self, tools: Iterable[AnyTool | Callable[..., Any]] = ()) -> None:
        self._tools: dict[str, AnyTool] = {}
        for each in tools:
            self.add(each)

    @property
    def tools(self) -> Mapping[str, AnyTool]:
        return self._tools

    def add(self, function: AnyTool | Callable[..., Any]) -> AnyTool:
        """Add one more; its name must be new."""
        made: AnyTool
        if isinstance(function, FunctionTool):
            made = function  # pyright: ignore[reportUnknownVariableType]
        elif function is None:  # pyright: ignore[reportUnnecessaryComparison] - from the caller
            raise ToolDefinitionError("None cannot be a tool; give a function")
        else:
            made = tool(function)
        if made.name in self._tools:
            raise ToolDefinitionError(
                f"there are two tools named {made.name!r}; give one of them another name, "
                "or put a prefix before the names of its toolset"
            )
        self._tools[made.name] = made
        return made

    def _repr_html_(self) -> str:
        """In a notebook: its tools, folded."""
        from polycall._support.html_text import folded, tool_html  # noqa: PLC0415 - for notebooks

        return "".join(
            folded(each.name, tool_html(each.name, each.description, each.parameters))
            for each in self
        )

    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        return await self[name].run(arguments, context)


class CombinedToolset(AbstractToolset):
    """Several toolsets as one; no name may be in two of them."""

    def __init__(self, toolsets: Iterable[AbstractToolset]) -> None:
        self.toolsets = list(toolsets)
        _ = self.tools  # two of a name are a mistake of now, not of the first request

    @property
    def tools(self) -> Mapping[str, AnyTool]:
        return {name: each for name, (each, _) in self._owners().items()}

    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        _, owner = self._owners()[self[name].name]
        return await owner.run(name, arguments, context)

    def asks(self, name: str) -> bool:
        return self._owners()[self[name].name][1].asks(name)

    def _owners(self) -> dict[str, tuple[AnyTool, AbstractToolset]]:
        owners: dict[str, tuple[AnyTool, AbstractToolset]] = {}
        for toolset in self.toolsets:
            for name, each in toolset.tools.items():
                if name in owners:
                    raise ToolDefinitionError(
                        f"two toolsets have a tool named {name!r}; put a prefix before one"
                    )
                owners[name] = (each, toolset)
        return owners


class WrappedToolset(AbstractToolset):
    """A toolset around another, that is like it but for what a subclass changes."""

    def __init__(self, inner: AbstractToolset) -> None:
        self.inner = inner

    @property
    def tools(self) -> Mapping[str, AnyTool]:
        return self.inner.tools

    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        return await self.inner.run(name, arguments, context)

    def asks(self, name: str) -> bool:
        return self.inner.asks(name)


class FilteredToolset(WrappedToolset):
    """Some of the tools."""

    def __init__(
        self, inner: AbstractToolset, keep: Callable[[AnyTool], bool] | Iterable[str]
    ) -> None:
        super().__init__(inner)
        self._keep = keep if callable(keep) else None
        # A name that is unknown is a mistake of now.
        self._names = frozenset[str](() if callable(keep) else (inner[name].name for name in keep))

    @property
    def tools(self) -> Mapping[str, AnyTool]:
        return {
            name: each
            for name, each in self.inner.tools.items()
            if name in self._names or (self._keep is not None and self._keep(each))
        }

    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        return await super().run(self[name].name, arguments, context)


class RenamedToolset(WrappedToolset):
    """The same tools, some under other names."""

    def __init__(self, inner: AbstractToolset, names: Mapping[str, str]) -> None:
        super().__init__(inner)
        self._new = {inner[old].name: new for old, new in names.items()}
        after = [self._new.get(name, name) for name in inner.tools]
        twice = sorted({name for name in after if after.count(name) > 1})
        if twice:
            raise ToolDefinitionError(f"two tools would be named {twice[0]!r}")
        self._old = {new: old for old, new in self._new.items()}

    @property
    def tools(self) -> Mapping[str, AnyTool]:
        renamed = (
            replace(each, name=self._new.get(name, name)) for name, each in self.inner.tools.items()
        )
        return {each.name: each for each in renamed}

    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        return await super().run(self._old.get(name, name), arguments, context)

    def asks(self, name: str) -> bool:
        return super().asks(self._old.get(name, name))


class ApprovedToolset(WrappedToolset):
    """Tools that run only where somebody agrees."""

    def __init__(self, inner: AbstractToolset, approve: Approve) -> None:
        super().__init__(inner)
        self._approve = approve

    def asks(self, name: str) -> bool:
        return True

    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        with leaving():
            answer = self._approve(self[name], arguments)
            if inspect.isawaitable(answer):
                with context.paused():
                    answer = await answer
        if isinstance(answer, dict):
            return await self._run_changed(name, answer, context)
        if answer is not True:
            reason = f": {answer}" if answer else ""
            raise ToolError(f"the call of {name!r} was not approved{reason}; nothing was run")
        return await super().run(name, arguments, context)

    async def _run_changed(self, name: str, given: JSON, context: ToolContext[Any]) -> Any:
        checked = self[name].check(jsontext.encode(given)).arguments
        value = await super().run(name, checked, context)
        return changed_result(value, checked, context)


class LimitedToolset(WrappedToolset):
    """So many calls, and no more."""

    def __init__(self, inner: AbstractToolset, calls: int) -> None:
        super().__init__(inner)
        self._calls = calls
        self.calls_left = calls

    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        if self.calls_left <= 0:
            raise ToolError(
                f"all {self._calls} calls are used up, so {name!r} was not run; "
                "answer with what is known"
            )
        self.calls_left -= 1
        return await super().run(name, arguments, context)


class LoggedToolset(WrappedToolset):
    """Tools whose calls leave a line: name, time, outcome.  Arguments and results may be secret."""

    def __init__(self, inner: AbstractToolset, log: Callable[[str], None] | None = None) -> None:
        super().__init__(inner)
        self._log = log or logging.getLogger("polycall.tools").info

    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        started = time.monotonic()
        outcome = "cancelled"
        try:
            value = await super().run(name, arguments, context)
            outcome = "finished"
        except Exception as error:
            outcome = f"failed with {type(error).__name__}"
            raise
        else:
            return value
        finally:
            self._log(f"tool {name} {outcome} after {time.monotonic() - started:.3f} s")
