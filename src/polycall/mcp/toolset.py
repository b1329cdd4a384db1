"""The tools of one MCP server as a toolset."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar

import mcp_types as types
import msgspec
from mcp import Client

from polycall._support.blocking import is_held_up
from polycall.errors import RequestError, ToolDefinitionError, ToolError, ToolServerError
from polycall.ir import JSON, ToolResult
from polycall.mcp.asking import Elicit, Sample
from polycall.mcp.blocks import CallResult
from polycall.mcp.comparing import Changed, Comparison, tell_new
from polycall.mcp.connection import Connection, Kind, SessionLostError
from polycall.mcp.content import definition_of, result_of
from polycall.mcp.cooldown import Cooldown
from polycall.mcp.http_transport import StreamEndedError
from polycall.mcp.logs import LogSink
from polycall.mcp.others import OtherOffers
from polycall.mcp.pieces import TOO_LARGE, weight_of
from polycall.mcp.pins import MemoryPins, Notice, PinStore
from polycall.mcp.servers import AskFor, Server
from polycall.mcp.tasks import ServerTask, TaskForgottenError
from polycall.schema.ways import ways_of
from polycall.tools import AbstractToolset, FunctionTool, ToolContext
from polycall.tools.problems import truncated
from polycall.tools.toolset import AnyTool
from polycall.tools.validate import LightChecker

logger = logging.getLogger("polycall.mcp")

T = TypeVar("T")

_NAME_CHARS_MAX = 128  # as the protocol has it

_RESUME_S = 60.0  # so long a server may be away while a task of it is waited for
_RESUME_PAUSE_S = 0.5
_MAYBE = "the call may have done its work, and it is not made again"
_CANCEL_S = 30.0

OnResult: TypeAlias = Callable[[ToolContext[Any], CallResult], None]
OnTask: TypeAlias = Callable[[ToolContext[Any], ServerTask], None]
State: TypeAlias = Literal["connected", "lost", "failed", "closed"]


@dataclass(frozen=True, eq=False)
class McpTool(FunctionTool[..., Any]):
    """A server's tool.  `annotations` are what the server says of it, and no proof."""

    server: str = ""
    annotations: JSON = field(default_factory=dict[str, Any])
    wire: JSON = field(default_factory=dict[str, Any], repr=False)

    @property
    def is_read_only(self) -> bool:
        """Whether it says that it changes nothing; one that is silent may change something."""
        return self.annotations.get("readOnlyHint") is True

    @property
    def is_destructive(self) -> bool:
        """Whether it may destroy; the protocol takes silence for yes."""
        return not self.is_read_only and self.annotations.get("destructiveHint") is not False


class McpToolset(AbstractToolset):
    """One server's tools under their own names, in the order of the alphabet.

    Order is ours, since a server's may differ from day to day, and prompt caches with it.  A
    connection that broke is made anew at the next call, and one that breaks again and again after
    a pause.  `others` is what the server has beside tools.  With `inspects`, what was never pinned
    and looks like an attack is withheld.  `on_result` sees results as they came, `on_task` the
    tasks that the server makes of calls, `on_updated` the addresses of resources that changed,
    `on_others_changed` that there are other prompts or resources, and `log` the server's log
    messages.
    """

    def __init__(
        self,
        server: Server,
        *,
        pins: PinStore | None = None,
        changed: Changed = "refuse",
        elicit: Elicit | None = None,
        sample: Sample | None = None,
        log: LogSink | None = None,
        inspects: bool = False,
        on_result: OnResult | None = None,
        on_task: OnTask = lambda _context, _task: None,
        on_changed: Callable[[], None] = lambda: None,
        on_updated: Callable[[str], None] = lambda _: None,
        on_others_changed: Callable[[Kind], None] = lambda _: None,
    ) -> None:
        if not callable(changed) and changed not in ("refuse", "allow"):
            raise RequestError(f"changed is 'refuse', 'allow' or a function, not {changed!r}")
        self.server = server
        self.error = ""
        self._tool_notices: list[Notice] = []
        self.version = 0
        self._comparison = Comparison(
            server.name,
            MemoryPins() if pins is None else pins,
            changed,
            is_pinned=pins is not None,
            inspects=inspects,
        )
        self.others = OtherOffers(self._comparison, self.ask, server.list_bounds)
        self._elicit = elicit
        self._on_result = on_result
        self._on_task = on_task
        self._on_changed = on_changed
        self._on_updated = on_updated
        self._on_others_changed = on_others_changed
        self._log = log
        self._sample = sample
        self._pause = Cooldown()
        self._tools: dict[str, McpTool] = {}
        self._connection: Connection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = True
        self._opening = asyncio.Lock()
        self._listing = asyncio.Lock()
        self._telling: set[asyncio.Task[None]] = set()

    @property
    def state(self) -> State:
        """Whether its tools can be called; `error` says why a failed one cannot."""
        if self._is_closed:
            return "closed"
        if self.error:
            return "failed"
        return "connected" if self._connection and self._connection.is_open else "lost"

    @property
    def notices(self) -> list[Notice]:
        """The latest notices, of tools and of the server's other offers."""
        return [*self._tool_notices, *self.others.notices]

    @property
    def tools(self) -> Mapping[str, AnyTool]:
        return self._tools

    def __getitem__(self, name: str) -> AnyTool:
        for notice in self._tool_notices:
            if notice.tool == name and notice.withheld:
                raise ToolError(f"{notice}; nothing was run")
        return super().__getitem__(name)

    async def open(self) -> None:
        """Connect and list; a server whose tools cannot be listed is not connected."""
        async with self._opening:
            await self._open()

    async def close(self) -> None:
        """End the connection, and the server's process where we started it."""
        async with self._opening:
            self._is_closed = True
            if self._connection is not None:
                await self._connection.close()

    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        try:
            msgspec.json.encode(arguments)
        except UnicodeEncodeError:
            # The library's connection would end over it, and with it the calls of others.
            raise ToolError(
                f"the arguments of {name!r} hold half of a character (a lone surrogate), which "
                "cannot be sent; nothing was run; call again with whole ones"
            ) from None
        if not self._is_closed and self._loop is not asyncio.get_running_loop():
            return await self._elsewhere(name, arguments, context)
        try:
            return await self._run_once(name, arguments, context)
        except SessionLostError:
            self._pause.renewed()
            return await self._run_once(name, arguments, context)  # on another session

    async def _elsewhere(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        """The call in the event loop that holds the connection, which runs in another thread."""
        here, loop = asyncio.get_running_loop(), self._loop
        if loop is None or not loop.is_running() or is_held_up(loop):
            why = "waits for this call" if loop is not None and is_held_up(loop) else "has ended"
            raise ToolServerError(
                f"the event loop that connected MCP server {self.server.name!r} {why}; connect and "
                "run in one: 'await agent.run', or 'with connect(...)' for 'run_sync'; "
                "nothing was run"
            )

        async def report(progress: float, message: str) -> None:
            saying = asyncio.run_coroutine_threadsafe(context.report(progress, message), here)
            await asyncio.wrap_future(saying)

        # Its deadline belongs to the loop that is here.
        theirs = replace(context, reporter=report, timer=None)
        running = self.run(name, arguments, theirs)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(running, loop))

    async def _run_once(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        connection = await self._connected()
        _ = self[name]  # the list may be another since the call was checked
        execution: JSON = self._tools[name].wire.get("execution", {})

        async def report(progress: float, total: float | None, message: str | None) -> None:
            await context.report(progress / total if total else 0.0, message or "")

        as_task = execution.get("taskSupport") == "required"
        task: ServerTask | None = None

        def begun(made: ServerTask) -> None:
            nonlocal task
            task = made
            self._on_task(context, made)

        try:
            result = await connection.call(
                name, arguments, report, context, as_task=as_task, begun=begun
            )
        except ToolServerError as error:
            if task is None or not _is_gone(error, connection):
                raise
            # The call is the server's task, and lasts; it is not to be made again.
            return await self.resume(name, task, context)
        return await self._taken(result, context)

    async def resume(self, name: str, task: ServerTask, context: ToolContext[Any]) -> ToolResult:
        """Wait for the result of a call that the server made a task of, maybe for another process.

        A server that is unreachable is tried again for a while.
        """
        until = asyncio.get_running_loop().time() + _RESUME_S
        pause_s = _RESUME_PAUSE_S
        try:
            while True:
                connection = None
                try:
                    connection = await self._connected()
                    result = await connection.resume(name, task, context)
                    return await self._taken(result, context)
                except ToolServerError as error:
                    is_late = asyncio.get_running_loop().time() > until
                    is_gone = _is_gone(error, connection)
                    if isinstance(error, SessionLostError):
                        error = ToolServerError(f"{error}; {_MAYBE}")  # never as if nothing had run
                    if self._is_closed or is_late or not is_gone:
                        raise error from None
                if connection is not None:
                    until = asyncio.get_running_loop().time() + _RESUME_S
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, 10 * _RESUME_PAUSE_S)
        except asyncio.CancelledError:
            if not (task.is_left or task.is_cancelled or self._is_closed):
                telling = asyncio.create_task(self.cancel_task(task))
                self._telling.add(telling)
                telling.add_done_callback(self._telling.discard)
            raise

    async def cancel_task(self, task: ServerTask) -> None:
        """Tell the server that nobody waits for a task any more, as soon as it can be informed."""
        task.is_cancelled = True
        try:
            async with asyncio.timeout(_CANCEL_S):
                await (await self._connected()).cancel_task(task.id)
        except (ToolError, TimeoutError) as error:
            logger.warning(
                "MCP server %r does not know that its task is cancelled: %s",
                self.server.name,
                error,
            )

    async def _taken(self, result: CallResult, context: ToolContext[Any]) -> ToolResult:
        if self._on_result is not None:
            self._on_result(context, result)
        return await asyncio.to_thread(result_of, result) if result.is_long else result_of(result)

    async def watch(self, uri: str, caller: Hashable = None) -> None:
        """Hear of changes of a resource, on `on_updated`, for as long as this connection lasts."""
        await (await self._connected()).watch(uri, caller)

    async def ask(
        self, what: str, asking: Callable[[Client], Awaitable[T]], caller: Hashable = None
    ) -> T:
        """Another request of the protocol, on another session where the server forgot this one.

        `caller` is whose it is, as a `LogSink` names callers.
        """
        try:
            return await (await self._connected()).ask(what, asking, caller)
        except SessionLostError:
            self._pause.renewed()
            return await (await self._connected()).ask(what, asking, caller)

    @property
    def instructions(self) -> str:
        """The server's instructions for its tools, as they were pinned."""
        return self.others.instructions

    @property
    def capabilities(self) -> types.ServerCapabilities | None:
        """The server's capabilities; `None` while it is not connected."""
        if self._connection is None or not self._connection.is_open:
            return None
        return self._connection.capabilities

    async def _connected(self) -> Connection:
        async with self._opening:
            if self._is_closed:
                raise ToolServerError(f"MCP server {self.server.name!r} is closed; nothing was run")
            if self._loop is not asyncio.get_running_loop():
                raise ToolServerError(
                    f"MCP server {self.server.name!r} was connected in another event loop"
                )
            if self._connection is None or not self._connection.is_open:
                self._pause.check(self.server.name, self.error)
                logger.warning("MCP server %r is started or reached anew", self.server.name)
                await self._open()
            assert self._connection is not None
            return self._connection

    async def _open(self) -> None:
        if self._connection is not None:
            await self._connection.close()
        self._connection = Connection(
            self.server,
            self.refresh,
            elicit=self._elicit,
            sample=self._sample,
            log=self._log,
            on_updated=self._on_updated,
            on_others_changed=self._others_changed,
        )
        self.others.forget("prompt", "template")  # another program may answer
        self._loop = asyncio.get_running_loop()
        self._is_closed = False
        try:
            await self._connection.open()
            await self.refresh()
            self._pause.opened()
        except BaseException as error:
            self._pause.failed()
            self.error = str(error) or type(error).__name__
            await self._connection.close()
            raise
        self.error = ""

    def _others_changed(self, kind: Kind) -> None:
        self.others.forget("prompt" if kind == "prompts" else "template")
        self._on_others_changed(kind)

    async def refresh(self) -> None:
        """List the tools again, and look at what became of their definitions."""
        assert self._connection is not None
        async with self._listing:
            try:
                async with asyncio.timeout(self.server.connect_s):
                    listed = await self._connection.list_tools()
            except TimeoutError:
                raise ToolServerError(
                    f"MCP server {self.server.name!r} did not list its tools within "
                    f"{self.server.connect_s:g} s"
                ) from None
            self._check_named({tool.name for tool in listed})
            await self._take(sorted(listed, key=lambda tool: tool.name))
            await self.others.take_instructions(self._connection.instructions)

    async def _take(self, listed: list[types.Tool]) -> None:
        counts = Counter(tool.name for tool in listed)
        # Thousands of tools take a while.
        wires, notices = await asyncio.to_thread(self._looked_over, listed, counts)
        differing = await self._comparison.notices("tool", wires, counts)
        withheld = {each.tool for each in differing if each.withheld}
        tools, unusable = await asyncio.to_thread(self._made_all, wires, withheld)
        notices += [*differing, *unusable]
        tell_new(notices, self._tool_notices)
        was = [tool.wire for tool in self._tools.values()], self._tool_notices
        is_same = was == ([tool.wire for tool in tools.values()], notices)
        self._tool_notices = notices
        self._tools = tools
        if not is_same:  # a server may announce what is no change, without end
            self.version += 1
            self._on_changed()

    def _looked_over(
        self, listed: list[types.Tool], counts: Counter[str]
    ) -> tuple[dict[str, JSON], list[Notice]]:
        """The definitions of which tools can be made, and why there are others."""
        wires: dict[str, JSON] = {}
        notices: list[Notice] = []
        for name, count in counts.items():
            if count > 1:
                notices.append(self._unusable(name, "two tools have the name"))
        odd = f"its name has not 1 to {_NAME_CHARS_MAX} characters, all of which can be seen"
        for tool in listed:
            if counts[tool.name] > 1:
                continue
            wire = definition_of(tool)
            if not _is_name(tool.name):  # clients' models refuse a whole list for one of them
                notices.append(self._unusable(tool.name, odd))
            elif weight_of(wire).is_too_large:  # not even looked at: that takes long
                notices.append(self._unusable(tool.name, TOO_LARGE))
            else:
                wires[tool.name] = wire
        return wires, notices

    def _made_all(
        self, wires: Mapping[str, JSON], withheld: set[str]
    ) -> tuple[dict[str, McpTool], list[Notice]]:
        tools: dict[str, McpTool] = {}
        notices: list[Notice] = []
        for name, wire in wires.items():
            if name in withheld:
                continue
            try:
                tools[name] = self._made(wire)
            except ToolDefinitionError as error:
                notices.append(self._unusable(name, str(error)))
        return tools, notices

    def _unusable(self, name: str, reason: str) -> Notice:
        return Notice(self.server.name, name, "unusable", reason=reason)

    def _check_named(self, listed: set[str]) -> None:
        """A name that is misspelt here would leave a tool without its approval."""
        asked = self.server.ask_for
        unknown = [] if isinstance(asked, str) else sorted(set(asked) - listed)
        if unknown:
            raise ToolDefinitionError(
                f"ask_for names {unknown[0]!r}, which MCP server {self.server.name!r} does not "
                f"have; it has {truncated(', '.join(sorted(listed)))}"
            )

    def _made(self, wire: JSON) -> McpTool:
        name: str = wire["name"]
        annotations: JSON = wire.get("annotations", {})
        output = ways_of(wire.get("outputSchema", {}))
        if output is not None and not output.are_few(None):  # clients would be at work for ever
            raise ToolDefinitionError("its output schema leads to a value by too many ways")
        made = McpTool(
            name=name,
            description=wire.get("description") or wire.get("title", ""),
            parameters=wire["inputSchema"],
            function=partial(self._call, name),
            checker=LightChecker(wire["inputSchema"], label=name),
            output_schema=wire.get("outputSchema"),
            output_is_derived=True,
            allowed_callers=tuple(self.server.allowed_callers),
            deadline_s=self.server.deadline_s,
            context_parameter="context",
            whole_arguments=True,
            server=self.server.name,
            annotations=annotations,
            wire=wire,
        )
        is_free = name in self.server.allowed_without_asking
        asks = not is_free and _needs_approval(made, self.server.ask_for)
        return replace(made, needs_approval=asks)

    async def _call(self, name: str, arguments: JSON, *, context: ToolContext[Any]) -> Any:
        return await self.run(name, arguments, context)


def _is_gone(error: ToolServerError, connection: Connection | None) -> bool:
    """Whether the connection failed, and not what was asked on it."""
    if isinstance(error, TaskForgottenError):
        return False
    is_ended = isinstance(error, SessionLostError | StreamEndedError)
    return is_ended or connection is None or not connection.is_open


def _is_name(name: str) -> bool:
    return 0 < len(name.strip()) == len(name) <= _NAME_CHARS_MAX and name.isprintable()


def _needs_approval(tool: McpTool, ask_for: AskFor) -> bool:
    match ask_for:
        case "nothing":
            return False
        case "destructive":
            return tool.is_destructive
        case "writes":
            return not tool.is_read_only
        case "everything":
            return True
        case names:
            return tool.name in names
