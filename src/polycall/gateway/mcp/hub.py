"""The servers: opened once for the process, pinned, and merged under names that cannot clash."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from asyncio import to_thread
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import mcp_types as types
from msgspec.structs import replace as replace_fields

from polycall._support import jsontext
from polycall._support.printable import printable, printable_line
from polycall.config import McpServer
from polycall.errors import PolycallError, ToolServerError
from polycall.gateway.mcp.calls import CallScope, clean, clean_tree
from polycall.gateway.mcp.known_secrets import KnownSecrets
from polycall.gateway.mcp.log_messages import ServerLogs
from polycall.gateway.mcp.openapi_source import OpenAPISource
from polycall.gateway.mcp.pins import StorePins, StoreTokens, options_of
from polycall.gateway.observability.logs import hide
from polycall.gateway.store import Store
from polycall.ir import JSON, Response
from polycall.mcp import HttpServer, McpToolset, Notice, OAuth, StdioServer
from polycall.mcp.asking import (
    Elicitation,
    ElicitationAnswer,
    SamplingRequest,
)
from polycall.mcp.blocks import CallResult
from polycall.mcp.connection import Kind
from polycall.mcp.content import served_tool
from polycall.mcp.cooldown import Cooldown
from polycall.mcp.looking import Definitions, listed
from polycall.mcp.servers import Server
from polycall.mcp.tasks import ServerTask
from polycall.mcp.toolset import McpTool
from polycall.tools import AbstractToolset, ToolContext
from polycall.tools.toolset import AnyTool
from polycall.transport.base import Transport

logger = logging.getLogger("polycall.mcp")

_MANY = 50  # tools, whose definitions are made in a thread
_LOOK_AGAIN_S = 2.0  # so long after a look, pins that somebody approved are read anew
_EXECUTION = {"taskSupport": "optional"}  # tasks are the gateway's own, whatever a server has
_QUESTIONS_MAX = 50  # of one call
_QUESTION_CHARS_MAX = 32_000
_OTHERS_S = 5.0  # so long a list waits for a server that is being opened


class OfferedTool(NamedTuple):
    """A tool of a server under its full name; what clients are shown of it has `size_bytes`.

    There may be thousands: what can be made when it is asked for is not kept.
    """

    member: Member
    source: McpToolset | OpenAPISource
    own_name: str
    own: AnyTool
    size_bytes: int

    @property
    def name(self) -> str:
        """Its full name."""
        return f"{self.member.name}_{self.own_name}"

    @property
    def tool(self) -> AnyTool:
        """It, under its full name."""
        return replace(self.own, name=self.name)

    @property
    def wire(self) -> types.Tool:
        """The definition that clients are shown."""
        return _wire(self.own, self.name, self.source, self.member.secrets)


class Member:
    """One server of the configuration."""

    def __init__(self, name: str, settings: McpServer, hub: Hub) -> None:
        self.name = name
        self.settings = settings
        self.at_once = asyncio.Semaphore(settings.calls_at_once)
        self.secrets = _known_secrets(name, settings)
        where = (settings.url, settings.command, settings.cwd)
        self.place = hashlib.sha256(jsontext.encode_bytes(where)).hexdigest()[:16]
        self.tools: dict[str, OfferedTool] = {}
        self.error = ""
        self.told = ""  # the last text in the log
        self._hub = hub
        self._opening = asyncio.Lock()
        self._cooldown = Cooldown()
        self._looked_at = 0.0
        self._version = -1
        self.source: McpToolset | OpenAPISource | None = None

    @property
    def notices(self) -> list[Notice]:
        """The latest notices, without the server's secrets."""
        return [
            replace_fields(
                each, tool=clean(each.tool, self.secrets), reason=clean(each.reason, self.secrets)
            )
            for each in ([] if self.source is None else self.source.notices)
        ]

    @property
    def mcp(self) -> McpToolset | None:
        """The server, where it speaks MCP."""
        return self.source if isinstance(self.source, McpToolset) else None

    def toolset(self) -> AbstractToolset:
        """Its tools under their own names."""
        if self.source is None:
            raise ToolServerError(f"MCP server {self.name!r} is not open; nothing was run")
        return self.source if isinstance(self.source, McpToolset) else self.source.toolset

    async def ready(self) -> None:
        """Open it if need be; `ToolServerError` where it cannot be."""
        async with self._opening:
            if self.source is None:
                self._cooldown.check(self.name, self.error)
                try:
                    self.source = await self._hub.open_source(self)
                except PolycallError as error:
                    self._cooldown.failed()
                    self.error = clean(str(error), self.secrets)
                    raise
                self.error = ""
                self._looked_at = time.monotonic()
            elif time.monotonic() - self._looked_at > _LOOK_AGAIN_S:
                # Somebody may have looked at what there is, and pinned it anew.
                await self._look_again()
            await self._take()

    async def close(self) -> None:
        """End the connection, and the server's process where we started it."""
        async with self._opening:
            source, self.source, self.tools = self.source, None, {}
            if source is not None:
                await source.close()

    def changed(self) -> None:
        """The server's tools are others now."""
        self._hub.on_changed("tools")

    async def _look_again(self) -> None:
        assert self.source is not None
        self._looked_at = time.monotonic()
        try:
            is_other = await self._hub.pins.fetch(self.name)
            if not is_other and not self.source.notices:
                return
            if self.mcp is not None and is_other:
                self.mcp.others.forget("prompt", "template")
            await self.source.refresh()
            if not await self._hub.pins.flush(self.name):  # another replica pinned meanwhile
                if self.mcp is not None:
                    self.mcp.others.forget("prompt", "template")
                await self.source.refresh()
        except PolycallError as error:
            logger.warning("MCP server %r: %s", self.name, clean(str(error), self.secrets))

    async def _take(self) -> None:
        assert self.source is not None
        if self._version == self.source.version:
            return
        version, own = self.source.version, self.toolset().tools
        self.tools = self._found(own) if len(own) < _MANY else await to_thread(self._found, own)
        self._version = version

    def _found(self, own: Mapping[str, AnyTool]) -> dict[str, OfferedTool]:
        assert self.source is not None
        found: dict[str, OfferedTool] = {}
        for own_name, tool in own.items():
            if any(fnmatchcase(own_name, pattern) for pattern in self.settings.tools):
                offered = OfferedTool(self, self.source, own_name, tool, 0)
                size_bytes = len(offered.wire.model_dump_json(by_alias=True, exclude_none=True))
                found[offered.name] = offered._replace(size_bytes=size_bytes)
        return found


class Hub:
    """All servers.  `close` it at the end."""

    def __init__(
        self,
        store: Store,
        folder: Path,
        transport: Transport,
        *,
        on_changed: Callable[[Kind], None] = lambda _: None,
    ) -> None:
        self.pins = StorePins(store)
        self.on_changed = on_changed
        self.on_updated: Callable[[str, str], None] = lambda _name, _uri: None
        self.members: dict[str, Member] = {}
        self._store = store
        self._folder = folder
        self._transport = transport
        self._closing: set[asyncio.Task[None]] = set()
        self._opening: set[asyncio.Future[None]] = set()

    def configure(self, servers: Mapping[str, McpServer]) -> None:
        """Serve these; those that are as before stay open."""
        for name, member in list(self.members.items()):
            if servers.get(name) != member.settings:
                del self.members[name]
                task = asyncio.ensure_future(member.close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
        for name, settings in servers.items():
            if name not in self.members:
                self.members[name] = Member(name, settings, self)

    async def ready(self, names: Iterable[str]) -> list[Member]:
        """The servers of these names that can be had; what is wrong with others is logged."""
        wanted = [self.members[name] for name in names if name in self.members]
        tasks = {member: asyncio.ensure_future(member.ready()) for member in wanted}
        for member, task in tasks.items():
            self._opening.add(task)
            task.add_done_callback(partial(self._opened, member))
        if tasks:
            # One that takes long does so alone: the others are listed without it.
            await asyncio.wait(tasks.values(), timeout=_OTHERS_S if len(tasks) > 1 else None)
        return [
            member
            for member, task in tasks.items()
            if task.done() and not task.cancelled() and task.exception() is None
        ]

    def _opened(self, member: Member, task: asyncio.Future[None]) -> None:
        self._opening.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if not isinstance(error, PolycallError):
            logger.error("MCP server %r could not be opened", member.name, exc_info=error)
        # A program's last words may hold what it was given.
        elif member.told != member.error and "cooling down" not in str(error):
            member.told = member.error
            logger.warning("%s; the others are served without it", member.error)

    async def close(self) -> None:
        """End all servers."""
        for task in list(self._opening):
            task.cancel()
        if self._opening:
            await asyncio.wait(self._opening)
        await asyncio.gather(*(member.close() for member in self.members.values()))
        if self._closing:
            await asyncio.wait(self._closing)

    async def open_source(self, member: Member) -> McpToolset | OpenAPISource:
        """Start or reach a server, and list its tools."""
        settings = member.settings
        await self.pins.fetch(member.name)
        if settings.openapi:
            source = await OpenAPISource.opened(
                member.name, settings, self.pins, self._folder, self._transport
            )
        else:
            source = McpToolset(
                self._server(member.name, settings, member.secrets.learn),
                pins=self.pins,
                changed=settings.changed,
                elicit=partial(_elicit, member.secrets) if settings.elicitation else None,
                sample=_sample if settings.sampling else None,
                log=ServerLogs(member.name, member.secrets),
                inspects=settings.changed != "allow",
                on_result=_keep_raw,
                on_task=partial(_keep_task, member.place),
                on_changed=member.changed,
                on_updated=lambda uri: self.on_updated(member.name, uri),
                on_others_changed=self.on_changed,
            )
            try:
                await source.open()
            except BaseException:
                await source.close()
                raise
        if not await self.pins.flush(member.name):
            await source.refresh()
        return source

    async def definitions(self, name: str, settings: McpServer) -> Definitions:
        """The definitions of a server as they are now, whatever is pinned."""
        if settings.openapi:
            source = await OpenAPISource.opened(
                name, settings, self.pins, self._folder, self._transport
            )
            return {"tool": source.definitions()}
        learn = _known_secrets(name, settings).learn
        return await listed(self._server(name, settings, learn))

    def _server(
        self, name: str, settings: McpServer, learn: Callable[[Iterable[str]], None]
    ) -> Server:
        common: dict[str, Any] = {
            "prefix": "",
            "ask_for": settings.ask_for,
            "deadline_s": settings.deadline_s,
            "connect_s": settings.connect_s,
            "allowed_callers": ("direct", "code"),
            "handshake": settings.handshake,
            "roots": settings.roots,
            "list_items_max": settings.list_items_max,
            "list_bytes_max": settings.list_bytes_max,
        }
        if settings.command:
            cwd = self._folder / settings.cwd if settings.cwd else None
            return StdioServer(name, command=settings.command, env=settings.env, cwd=cwd, **common)
        oauth = None
        if settings.oauth is not None:
            tokens = StoreTokens(self._store, name)
            oauth = OAuth(tokens, learn=learn, **options_of(settings.oauth))
        return HttpServer(name, url=settings.url, headers=settings.headers, oauth=oauth, **common)


def _known_secrets(name: str, settings: McpServer) -> KnownSecrets:
    """A server's secrets, which are hidden in the log too, where its words are told."""
    known = KnownSecrets(settings, partial(hide, of=f"mcp.{name}"))
    hide(known)
    return known


async def _elicit(
    secrets: Collection[str], asked: Elicitation, context: ToolContext[Any]
) -> ElicitationAnswer:
    if not isinstance(context.deps, CallScope):
        return ElicitationAnswer("decline")
    context.deps.questions += 1
    if refused := _refusal(asked, context.deps.questions):
        logger.warning("MCP server %r %s: refused", asked.server, clean(refused, secrets))
        return ElicitationAnswer("decline")
    # A client takes the gateway for who asks; its person must know that it is this server.
    asked = Elicitation(
        asked.server,
        printable(f"{asked.server}: {clean(asked.message, secrets)}"),
        schema=clean_tree(asked.schema, secrets),
        url=clean(asked.url, secrets),
    )
    with context.paused():
        return await context.deps.ask(asked)


def _refusal(asked: Elicitation, number: int) -> str:
    """Why a person is not asked this, where he is not."""
    if asked.url and not _is_page(asked.url):
        return f"would have a person open {asked.url[:200]!r}"
    if number > _QUESTIONS_MAX:
        return f"asks a person more than {_QUESTIONS_MAX} questions in one call"
    if len(jsontext.encode(asked.schema)) + len(asked.url) > _QUESTION_CHARS_MAX:
        return f"asks a person more than {_QUESTION_CHARS_MAX:,} characters hold"
    return ""


def _is_page(url: str) -> bool:
    """Whether it is an address of the web that leads where it seems to lead."""
    if not url.startswith(("https://", "http://")) or "\\" in url or " " in url:
        return False
    if printable_line(url) != url:
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        return False


async def _sample(asked: SamplingRequest, context: ToolContext[Any]) -> Response:
    if not isinstance(context.deps, CallScope):
        raise PolycallError("nobody answers for a model here")
    return await context.deps.sample(asked)


def _keep_raw(context: ToolContext[Any], result: CallResult) -> None:
    if isinstance(context.deps, CallScope):
        context.deps.raw = result


def _keep_task(place: str, context: ToolContext[Any], task: ServerTask) -> None:
    task.place = place
    if isinstance(context.deps, CallScope):
        context.deps.took(task)


def _wire(
    tool: AnyTool, full: str, source: McpToolset | OpenAPISource, secrets: Collection[str]
) -> types.Tool:
    """The definition that clients see: the server's own, under the full name."""
    if isinstance(tool, McpTool):
        shown: JSON = {**clean_tree(tool.wire, secrets), "name": full}
        shown["execution"] = _EXECUTION
        shown.pop("_meta", None)  # it is not pinned, and may lead a client anywhere
        return types.Tool.model_validate(shown)
    annotations = source.annotations(tool.name) if isinstance(source, OpenAPISource) else {}
    served = served_tool(replace(tool, name=full), annotations)
    served.execution = types.ToolExecution.model_validate(_EXECUTION)
    return served
