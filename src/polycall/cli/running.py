"""The common part of `run` and `chat`: options, tools by name, a kept conversation."""

from __future__ import annotations

import argparse
import importlib
import sys
from contextlib import AsyncExitStack
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from polycall._support import jsontext
from polycall.agents import Agent, Run
from polycall.agents.run import partial_run
from polycall.cli.asking import TerminalApproval
from polycall.cli.conversation_log import ConversationLog, log_path
from polycall.cli.default_model import named_model
from polycall.cli.named import load_toolsets, named_agent
from polycall.cli.output_schema import output_schema
from polycall.cli.show import Show
from polycall.client import Client
from polycall.errors import RequestError
from polycall.ir import Message
from polycall.loop import Limits
from polycall.settings import Settings
from polycall.tools import AbstractToolset
from polycall.tools.toolset import CombinedToolset

_MEDIA_SHOWN_MAX = 20


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of both commands."""
    parser.add_argument(
        "-m",
        "--model",
        help="provider/model, an alias, or several separated by commas; default: the first word, "
        "else what 'polycall models default' says",
    )
    parser.add_argument(
        "--agent", metavar="MODULE:NAME", help="an Agent of yours, instead of a model with --tools"
    )
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
    parser.add_argument("-s", "--system", default="", help="instructions for the model")
    parser.add_argument(
        "-c", "--continue", dest="goes_on", action="store_true", help="continue the last one"
    )
    parser.add_argument("--conversation", metavar="ID", help="continue this one of 'polycall log'")
    parser.add_argument("--no-log", action="store_true", help="do not keep the conversation")
    parser.add_argument(
        "-a",
        "--attach",
        action="append",
        default=[],
        metavar="FILE",
        help="a file, an address or - (standard input) that goes with the prompt; may be given "
        "several times",
    )
    parser.add_argument("--config", help="a polycall.toml with providers, keys and models")
    parser.add_argument("--max-steps", type=int, help="answers of the model at most; default: 20")
    parser.add_argument("--max-cost", metavar="USD", help="stop the run beyond this cost")
    parser.add_argument("--max-output-tokens", type=int, help="for each answer")


def limits_from(options: argparse.Namespace) -> Limits | None:
    """The bounds of one run; `None` where none were given."""
    if options.max_steps is None and options.max_cost is None:
        return None
    try:
        cost = None if options.max_cost is None else Decimal(options.max_cost)
    except InvalidOperation:
        raise RequestError(f"--max-cost takes US dollars, got {options.max_cost!r}") from None
    return Limits(steps=20 if options.max_steps is None else options.max_steps, cost_usd=cost)


def chosen_model(options: argparse.Namespace, client: Client) -> tuple[str, str | None]:
    """The model and the prompt that a command's words and options name."""
    if options.agent or options.goes_on or options.conversation:
        return options.model or "", " ".join(options.words) or None
    return named_model(options.words, options.model, client)


def plain(value: Any) -> Any:
    """An output as JSON values."""
    # Pydantic is there where a typed output is.
    from pydantic_core import to_json  # noqa: PLC0415

    return jsontext.decode(to_json(value))


def pins_beside(file: Path | None) -> Path:
    """The path of the pins of a file's servers."""
    return Path("mcp.lock.json") if file is None else file.with_name("mcp.lock.json")


def mcp_library() -> Any:
    """`polycall.mcp`; `RequestError` where its extra is not installed."""
    try:
        return importlib.import_module("polycall.mcp")
    except ModuleNotFoundError as error:
        raise RequestError(f"{error.name} is missing; install 'polycall[mcp]'") from None


class Conversation:
    """A conversation with a model and tools, or with an agent, which is kept turn by turn.

    A turn that is cut short is kept as far as it came.  Calls of tools that need approval are
    asked about on the terminal.  `open` connects the MCP servers, if there are any, and finds the
    conversation to continue; `close` ends them.
    """

    def __init__(self, client: Client, options: argparse.Namespace, model: str) -> None:
        _check_agent(options)
        self.client = client
        self.model = model
        self.own = named_agent(options.agent, "--agent") if options.agent else None
        self.toolsets = load_toolsets(options.tools)
        self.system: str = options.system
        self.id = ""
        self._output: Any = output_schema(options.schema) if options.schema else str
        self._limits = limits_from(options)
        self._max_output_tokens: int | None = options.max_output_tokens
        self._options = options
        self._stack = AsyncExitStack()
        self._approve = TerminalApproval()
        self._log = _opened_log(options)

    @property
    def name(self) -> str:
        """The name of the model or agent."""
        if self.own is None:
            return self.model
        return f"{self.own.name} ({self.model or self.own.model})"

    @property
    def tools(self) -> AbstractToolset:
        """The tools that the model may call."""
        own = self.own.toolsets if self.own is not None else []
        return CombinedToolset([*own, *self.toolsets])

    async def open(self) -> None:
        """Connect what is not tools of this process; find what is to be continued."""
        if self._options.mcp is not None:
            library = mcp_library()
            servers = library.load_servers(self._options.mcp)
            pins = pins_beside(self._options.mcp)
            found = await self._stack.enter_async_context(library.connect(*servers, pins=pins))
            self.toolsets.append(found)
        self.new()
        if self._options.conversation or self._options.goes_on:
            self._continue(self._options.conversation or self._log.last_id())

    def _continue(self, conversation: str) -> None:
        """The conversation of the log, with the model and the instructions that it had."""
        last = self._log.turns(conversation)[-1]
        self.id = conversation
        self.system = self.system or last.system
        if not self._options.model and self.own is None:
            self.model = last.model

    def new(self) -> None:
        """Begin another conversation."""
        self.id = self._log.new_id()

    async def close(self) -> None:
        """End it."""
        await self._stack.aclose()
        self._log.close()

    async def turn(self, message: Message, show: Show | None, *, stream: bool = True) -> Run[Any]:
        """Run one user message to its answer, and keep both."""
        agent = self._agent(show)
        session = self._log.sessions.open(self.id)
        options: dict[str, Any] = {"approve": self._approve}
        if self.own is not None:
            options |= {"limits": self._limits} if self._limits else {}
            options |= {"model": self.model} if self.model else {}
        try:
            if stream:
                async with session.stream(agent, [message], **options) as events:
                    async for _ in events:
                        pass
                run = events.run
            else:
                run = await session.run(agent, [message], **options)
        except BaseException as error:
            made = partial_run(error)
            if made is not None and made.steps:
                self._keep(message, made)
            raise
        self._keep(message, run)
        return run

    def _agent(self, show: Show | None) -> Agent[Any, Any]:
        """The agent for this turn; `show` hears of each event as a hook."""
        hooks: list[Any] = [] if show is None else [show.event]
        if self.own is not None:
            client = self.own.client or self.client
            return self.own.changed(hooks=[*self.own.hooks, *hooks], client=client)
        settings: Settings = {}
        if self._max_output_tokens is not None:
            settings["max_output_tokens"] = self._max_output_tokens
        return Agent(
            self.model,
            instructions=self.system,
            tools=self.toolsets,
            output=self._output,
            hooks=hooks,
            client=self.client,
            limits=self._limits,
            **settings,
        )

    def _keep(self, message: Message, run: Run[Any]) -> None:
        others = len(message.parts) - 1
        files = f" [+{min(others, _MEDIA_SHOWN_MAX)} attached]" if others else ""
        model = self.model or (self.own.model if self.own else "")
        self._log.add(self.id, model, self.system, f"{message.text}{files}", run)


def _check_agent(options: argparse.Namespace) -> None:
    if options.agent and (options.tools or options.system or options.schema or options.mcp):
        raise RequestError("--agent brings its own tools, instructions and output; give it alone")


def _opened_log(options: argparse.Namespace) -> ConversationLog:
    """The log; in memory where nothing is to be kept, or nothing can be."""
    path = None if options.no_log else log_path()
    goes_on = options.goes_on or options.conversation
    if path is None and goes_on:
        raise RequestError("there is nothing to continue: no log is kept (--no-log, POLYCALL_LOG)")
    try:
        return ConversationLog(path)
    except RequestError as error:
        if goes_on:
            raise
        print(f"! the conversation is not kept: {error}", file=sys.stderr)
        return ConversationLog(None)
