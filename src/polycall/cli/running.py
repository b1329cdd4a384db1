"""What `run` and `chat` have in common: options, tools by name, one run with its events."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Iterable
from contextlib import AsyncExitStack, aclosing
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, cast

from msgspec.structs import replace

from polycall.agents import Agent, ApprovalRequest, History
from polycall.agents.offer import OfferingToolset
from polycall.agents.pausing import Start
from polycall.cli.asking import TerminalApproval
from polycall.cli.show import Show
from polycall.client import Client
from polycall.errors import RequestError
from polycall.ir import Message, Request
from polycall.loop import (
    CallEnd,
    CallStart,
    Limits,
    LoopEvent,
    ModelEvent,
    RunEnd,
    StepEnd,
    run_tools,
)
from polycall.settings import Settings
from polycall.tools import AbstractToolset, Executor, FunctionTool, ToolContext, Toolset
from polycall.tools.toolset import CombinedToolset


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of both commands."""
    parser.add_argument("model", help="provider/model, an alias, or several separated by commas")
    parser.add_argument(
        "--tools",
        action="append",
        default=[],
        metavar="MODULE:NAME",
        help="a function, a tool, a list of them or a Toolset; may be given several times",
    )
    parser.add_argument(
        "--mcp",
        type=Path,
        metavar="FILE",
        help="also the tools of the servers in a file with mcpServers; pinned next to it",
    )
    parser.add_argument("--system", default="", help="instructions for the model")
    parser.add_argument("--config", help="a polycall.toml with providers, keys and models")
    parser.add_argument("--max-steps", type=int, default=20, help="answers of the model at most")
    parser.add_argument("--max-cost", metavar="USD", help="stop the run beyond this cost")
    parser.add_argument("--max-output-tokens", type=int, help="for each answer")


def limits_from(options: argparse.Namespace) -> Limits:
    """The bounds of one run."""
    try:
        cost = None if options.max_cost is None else Decimal(options.max_cost)
    except InvalidOperation:
        raise RequestError(f"--max-cost takes US dollars, got {options.max_cost!r}") from None
    return Limits(steps=options.max_steps, cost_usd=cost)


def load_tools(names: Iterable[str]) -> AbstractToolset:
    """The tools that `MODULE:NAME` names, from the current folder or what is installed.

    A toolset stays itself: what it does around its calls, and tools that it gets later.
    """
    found = load_toolsets(names)
    return found[0] if len(found) == 1 else CombinedToolset(found)


def load_toolsets(names: Iterable[str]) -> list[AbstractToolset]:
    """The same, each name's by itself: what is put together is no tree any more."""
    sys.path.insert(0, os.getcwd())
    try:
        return [_toolset_of(name) for name in names]
    finally:
        sys.path.remove(os.getcwd())


def _toolset_of(name: str) -> AbstractToolset:
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise RequestError(f"--tools takes MODULE:NAME, got {name!r}; such as weather:get_weather")
    try:
        module = importlib.import_module(module_name.removesuffix(".py"))
    except ModuleNotFoundError as error:
        raise RequestError(f"--tools {name}: {error}; searched {Path.cwd()} first") from None
    value = getattr(module, attribute, None)
    if value is None:
        public = ", ".join(key for key in vars(module) if not key.startswith("_"))
        raise RequestError(f"--tools {name}: {module_name} has no {attribute!r}; it has {public}")
    if isinstance(value, AbstractToolset):
        return value
    if isinstance(value, list | tuple):
        return Toolset(cast("list[Any]", value))
    if isinstance(value, FunctionTool) or callable(value):
        return Toolset(cast("list[Any]", [value]))
    raise RequestError(f"--tools {name}: a {type(value).__name__} is neither tool nor function")


def pins_beside(file: Path | None) -> Path:
    """Where the pins of a file's servers are."""
    return Path("mcp.lock.json") if file is None else file.with_name("mcp.lock.json")


def mcp_library() -> Any:
    """`polycall.mcp`; `RequestError` where its extra is not installed."""
    try:
        return importlib.import_module("polycall.mcp")
    except ModuleNotFoundError as error:
        raise RequestError(f"{error.name} is missing; install 'polycall[mcp]'") from None


def _unasked(request: ApprovalRequest) -> str:
    """The answer where nobody can be asked."""
    return f"approvals of {request.tool!r} cannot be asked for here"


class Conversation:
    """A history that grows by turns.  A turn that is cut short leaves the last whole step.

    Calls of tools that need approval are asked about on the terminal.
    `open` connects the MCP servers, if there are any; `close` ends them.
    """

    def __init__(self, client: Client, options: argparse.Namespace) -> None:
        self.client = client
        self.model: str = options.model
        self._toolsets = load_toolsets(options.tools)
        self.tools: AbstractToolset = CombinedToolset(self._toolsets)
        if len(self._toolsets) == 1:
            self.tools = self._toolsets[0]
        self.limits = limits_from(options)
        self.max_output_tokens: int | None = options.max_output_tokens
        self.messages: list[Message] = []
        self._history = History()
        self._mcp: Path | None = options.mcp
        self._stack = AsyncExitStack()
        self._approve = TerminalApproval()

    async def open(self) -> None:
        """Connect what is not tools of this process."""
        if self._mcp is not None:
            library = mcp_library()
            servers = library.load_servers(self._mcp)
            pins = pins_beside(self._mcp)
            found = await self._stack.enter_async_context(library.connect(*servers, pins=pins))
            self._toolsets.append(found)
            self.tools = CombinedToolset([self.tools, found])

    async def close(self) -> None:
        """End it."""
        await self._stack.aclose()

    async def turn(self, message: Message, show: Show | None, *, stream: bool = True) -> RunEnd:
        """Run one user message to its answer."""
        if any(isinstance(each, OfferingToolset) for each in self._toolsets):
            return await self._turn_of_agent(message, show, stream=stream)
        messages = [*self.messages, message]
        request = replace(
            Request(self.model, messages, self.tools.definitions, stream=stream),
            max_output_tokens=self.max_output_tokens,
        )
        tools = self.tools.approved(self._approve)
        executor = Executor(tools, ToolContext(deps=None, model=self.model))
        async with aclosing(
            run_tools(self.client, request, executor, limits=self.limits)
        ) as events:
            async for event in events:
                if show is not None:
                    show.event(event)
                if (end := self._remember(event)) is not None:
                    return end
        raise AssertionError("a run ends with RunEnd")

    async def _turn_of_agent(self, message: Message, show: Show | None, *, stream: bool) -> RunEnd:
        """The same for tools of which a model sees few at once: an agent knows which those are."""
        more: Settings = {}
        if self.max_output_tokens is not None:
            more["max_output_tokens"] = self.max_output_tokens
        agent = Agent(
            self.model, tools=self._toolsets, client=self.client, limits=self.limits, **more
        )
        history = replace(self._history, messages=self.messages)
        start = Start.of(agent.name, "run", history, [message], "")
        async with agent.follow(start, approve=_unasked, stream=stream) as events:
            end: RunEnd | None = None
            async for event in events:
                if not isinstance(event, ModelEvent | CallStart | CallEnd | StepEnd | RunEnd):
                    continue
                if show is not None:
                    show.event(event)
                end = self._remember(event)
        assert end is not None
        # What was opened stays open for the next turn.
        self._history = events.run.history
        return end

    def _remember(self, event: LoopEvent) -> RunEnd | None:
        if isinstance(event, StepEnd):
            self.messages = event.messages
        return event if isinstance(event, RunEnd) else None
