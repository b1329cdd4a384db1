"""One tool call, from the key to the ledger row, made by a client, a program or a model."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from typing import TYPE_CHECKING, Any, cast

import mcp_types as types
import msgspec
from msgspec.structs import replace

from polycall.errors import PolycallError, RateLimitError
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.accounts.limits import KeyLimits
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.mcp.result_bounds import bounded, bounded_wire, is_longer
from polycall.gateway.observability.attempt_report import words_of
from polycall.gateway.observability.metrics import Metrics
from polycall.gateway.store import LedgerRow, Store
from polycall.ir import JSON, Media, Opaque, Response, Text, ToolCall, ToolResult
from polycall.mcp.asking import Elicitation, ElicitationAnswer, SamplingRequest
from polycall.mcp.blocks import Block, CallResult, Contents, LinkBlock, ResourceBlock, takes_long
from polycall.mcp.content import has_object, served_result, wire_result
from polycall.mcp.inspection import without_tags
from polycall.mcp.logs import LogMessage
from polycall.mcp.tasks import ServerTask
from polycall.tools import ToolContext, Toolset
from polycall.tools.execute import Attempt, attempt
from polycall.tools.validate import SchemaChecker

if TYPE_CHECKING:
    from polycall.gateway.mcp.hub import Hub, Member, OfferedTool
    from polycall.gateway.observability.traces import Traces

logger = logging.getLogger("polycall.mcp")

CLIENT = "mcp"
_REDACTED = "[redacted]"
_NAME_MAX = 300
_PROGRESS_CHARS_MAX, _LOOKED_AT = 2_000, 32_000

Ask = Callable[[Elicitation], Awaitable[ElicitationAnswer]]
SampleHere = Callable[[SamplingRequest], Awaitable[Response]]


async def _nobody(_: Elicitation) -> ElicitationAnswer:
    return ElicitationAnswer("decline")


async def _no_model(_: SamplingRequest) -> Response:
    raise PolycallError("nobody answers for a model here")


def _unheard(_: object) -> None:
    pass


@dataclass
class CallScope:
    """The maker of a call, and the questions that may be asked on its way.

    `ask` asks the client's person, `sample` a model on the key's account.  `raw` is the server's
    own result, where there is one, `task` the task that the server made of the call.  `links` is
    what addresses of the server's resources begin with at the client's door.  `begun` hears the id
    that the call has in the ledger, `tasked` of the server's task.  `log` hears what the server
    logs, `log_level` is the lowest level that was asked for; `logged` and `questions` count.
    """

    owner: Owner
    request_id: str
    headers: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes], repr=False)
    ask: Ask = _nobody
    sample: SampleHere = _no_model
    begun: Callable[[str], None] = _unheard
    tasked: Callable[[ServerTask], None] = _unheard
    log: Callable[[LogMessage], Awaitable[None]] | None = None
    log_level: types.LoggingLevel | None = None
    logged: int = 0
    questions: int = 0
    links: str = ""
    raw: CallResult | None = field(default=None, repr=False)
    task: ServerTask | None = None

    def took(self, task: ServerTask) -> None:
        """The server made a task of the call."""
        self.task = task
        self.tasked(task)


@dataclass(frozen=True)
class Outcome:
    """A call's result: for models and programs, and as it is on the wire of the protocol."""

    result: ToolResult
    served: JSON


@dataclass(frozen=True)
class McpRequest:
    """The maker of a request, and its subject."""

    owner: Owner
    names: tuple[str, ...]
    is_code: bool
    is_one: bool  # the path names one server, whose own names are enough
    gateway_request: GatewayRequest


# Of the request that is served here.
request_here: ContextVar[McpRequest] = ContextVar("polycall_mcp_request")

Reporter = Callable[[float, str], Awaitable[None]]


class Pace:
    """The pace of a call's progress: its beginning is passed on, and then so much a second."""

    _FREE, _A_SECOND = 200.0, 20.0

    def __init__(self) -> None:
        self._left, self._at = self._FREE, time.monotonic()

    def takes(self) -> bool:
        """Whether to pass on one more."""
        now = time.monotonic()
        self._left = min(self._left + (now - self._at) * self._A_SECOND, self._FREE)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class ToolCalls:
    """Makes calls.  One for the process."""

    def __init__(
        self,
        hub: Hub,
        store: Store,
        limits: KeyLimits,
        metrics: Metrics,
        traces: Traces | None,
    ) -> None:
        self._hub = hub
        self._store = store
        self._limits = limits
        self._metrics = metrics
        self._traces = traces
        self._numbers = itertools.count(1)

    async def offered(self, owner: Owner, names: Iterable[str]) -> dict[str, OfferedTool]:
        """The tools of these servers that the key may call, by their full names, in order."""
        members = await self._hub.ready(names)
        found = {
            full: each
            for member in members
            for full, each in member.tools.items()
            if owner.may_call(full)
        }
        return dict(sorted(found.items()))

    async def find(self, owner: Owner, names: Iterable[str], full: str) -> OfferedTool | None:
        """One tool, if it is there and the key may call it; else nobody learns which it is."""
        if not owner.may_call(full):
            return None
        name = self.server_of(names, full)
        for member in await self._hub.ready([name] if name else []):
            return member.tools.get(full)
        return None

    def input_schema(self, full: str) -> JSON | None:
        """The schema of a tool that is called here.

        Else the library lists all tools for each call.
        """
        asked = request_here.get()
        member = self._hub.members.get(self.server_of(asked.names, full))
        if member is None or asked.is_code or not asked.owner.may_call(full):
            return None
        offered = member.tools.get(full)
        return None if offered is None else offered.own.parameters

    def server_of(self, names: Iterable[str], full: str) -> str:
        """Which of these servers a tool belongs to, by its full name."""
        return next((name for name in names if full.startswith(f"{name}_")), "")

    async def member(self, name: str) -> Member | None:
        """A server, where it can be had."""
        return next(iter(await self._hub.ready([name])), None)

    def deadline_s(self, name: str) -> float:
        """The seconds that a call of this server may take."""
        members = self._hub.members
        return members[name].settings.deadline_s if name in members else 0.0

    def unreachable(self, name: str) -> str:
        """Why a server cannot be reached now; empty where it can, or is not there at all."""
        return self._hub.members[name].error if name in self._hub.members else ""

    def task_after_s(self, names: Iterable[str]) -> float:
        """The seconds after which a call of one of these servers becomes a task."""
        members = self._hub.members
        return min(members[name].settings.task_after_s for name in names if name in members)

    def withheld(self, owner: Owner, full: str) -> str:
        """Why a tool of this name is not offered, where that is for an operator to look at."""
        for member in self._hub.members.values():
            for notice in [] if member.source is None else member.source.notices:
                is_tool = notice.withheld and notice.what == "tool"
                if is_tool and full == f"{member.name}_{notice.tool}":
                    return clean(str(notice), member.secrets) if owner.may_call(full) else ""
        return ""

    async def call(
        self,
        offered: OfferedTool,
        arguments_json: str,
        scope: CallScope,
        *,
        reporter: Reporter | None = None,
        caller: str = "direct",
    ) -> Outcome:
        """Run the call; what is wrong with it is in its result.

        Approval is the affair of who calls this: here the call is made.
        """
        call_id = f"{scope.request_id}_{next(self._numbers)}"
        call = ToolCall(call_id, offered.own_name, arguments_json, caller=caller)
        member = offered.member

        async def run(context: ToolContext[Any]) -> Attempt:
            await self.admit(scope.owner)
            most = member.settings.calls_at_once
            if member.at_once.locked():
                raise RateLimitError(
                    f"{most} calls of {member.name!r} are under way; try again", retry_after_s=1.0
                )
            deadline_s = member.settings.deadline_s
            async with member.at_once:
                return await attempt(call, member.toolset(), context, deadline_s, is_approved=True)

        return await self._made(offered, call_id, scope, run, reporter)

    async def resume(
        self,
        offered: OfferedTool,
        task: ServerTask,
        scope: CallScope,
        call_id: str,
        *,
        within_s: float,
        reporter: Reporter | None = None,
    ) -> Outcome:
        """Wait for the result of another process's call, which the server made a task of."""
        source, name = offered.member.mcp, offered.own_name
        assert source is not None, "only servers that speak the protocol have tasks"

        async def wait(_: JSON, *, context: ToolContext[Any]) -> ToolResult:
            return await source.resume(name, task, context)

        waiting = replace_fields(
            offered.own,
            name=name,
            function=wait,
            checker=SchemaChecker({"type": "object"}, label=name),  # the arguments were checked
            deadline_s=within_s,
            needs_approval=False,
            whole_arguments=True,
            context_parameter="context",
        )

        async def run(context: ToolContext[Any]) -> Attempt:
            async with offered.member.at_once:
                call = ToolCall(call_id, name, "{}")
                return await attempt(call, Toolset([waiting]), context, within_s)

        scope.took(task)
        return await self._made(offered, call_id, scope, run, reporter)

    async def cancel_task(self, server: str, task: ServerTask) -> None:
        """Tell a server that nobody waits for its task any more."""
        for member in await self._hub.ready([server]):
            if member.mcp is not None:
                await member.mcp.cancel_task(task)

    async def _made(
        self,
        offered: OfferedTool,
        call_id: str,
        scope: CallScope,
        run: Callable[[ToolContext[Any]], Awaitable[Attempt]],
        reporter: Reporter | None,
    ) -> Outcome:
        secrets, pace = offered.member.secrets, Pace()

        async def report(progress: float, message: str) -> None:
            if reporter is not None and pace.takes():
                await reporter(progress, clean(message[:_LOOKED_AT], secrets)[:_PROGRESS_CHARS_MAX])

        scope.begun(call_id)
        began = time.monotonic()
        span = None
        if self._traces is not None:
            span = self._traces.tool(offered.name, call_id, scope.owner.name, scope.headers)
        outcome, error = "cancelled", ""
        try:
            made = await run(ToolContext(deps=scope, reporter=report))
            # The server's own words are in the result; the ledger has the kind of the failure.
            error = made.error or ("ToolError" if made.result.is_error else "")
            outcome = "error" if made.result.is_error else "ok"
            if not takes_long([made.result, scope.raw]):
                return self._outcome(offered, made.result, scope)
            return await asyncio.to_thread(self._outcome, offered, made.result, scope)
        except PolycallError as failure:
            outcome, error = "error", words_of(failure)
            failed = ToolResult(call_id, [Text(str(failure))], is_error=True)
            return Outcome(failed, served(failed))
        finally:
            if scope.task is None or not scope.task.is_left:  # else it ends elsewhere
                self._write_down(offered, call_id, scope, began, outcome=outcome, error=error)
            if span is not None:
                span.end(outcome)

    async def admit(self, owner: Owner) -> None:
        """Count one request of the key; raises where there were enough."""
        self._limits.check_store()
        if owner.is_counted:
            await self._limits.count_request(owner)

    def _outcome(self, offered: OfferedTool, result: ToolResult, scope: CallScope) -> Outcome:
        settings, secrets = offered.member.settings, offered.member.secrets
        content = [_clean_part(part, secrets) for part in result.content]
        result = bounded(replace(result, content=content), settings.result_bytes_max)
        raw, scope.raw = scope.raw, None
        if raw is not None and raw.is_error == result.is_error:
            wire = None
            if not is_longer(raw, settings.result_bytes_max):  # else it has no more copies
                cleaned = _clean_raw(raw, secrets, scope.links)
                wire = bounded_wire(cleaned, settings.result_bytes_max)
            if wire is not None:
                return Outcome(result, wire)
            # What is cut fits no schema any more: it goes as a failure, with its beginning.
            result = replace(result, is_error=True)
        has_data = has_object(offered.own.output_schema)
        return Outcome(result, served(result, has_data=has_data))

    def _write_down(
        self,
        offered: OfferedTool,
        call_id: str,
        scope: CallScope,
        began: float,
        *,
        outcome: str,
        error: str,
    ) -> None:
        row = call_row(
            call_id,
            (scope.owner.name, scope.owner.id),
            (offered.name, offered.member.name),
            self._limits.worker,
            status=499 if outcome == "cancelled" else 200,
            outcome=outcome,
            error=error,
            duration_s=time.monotonic() - began,
        )
        self.write_row(row)

    def write_row(self, row: LedgerRow) -> None:
        """Write a call's row in the ledger."""
        self._metrics.count(row)
        self._store.add_row(row)

    @property
    def worker(self) -> str:
        """Which process this is."""
        return self._limits.worker


def failed(text: str) -> JSON:
    """A result that says why there is none."""
    return served(ToolResult("", [Text(text)], is_error=True))


def served(result: ToolResult, *, has_data: bool = False) -> JSON:
    return wire_result(served_result(result, has_data=has_data))


def call_row(
    call_id: str,
    key: tuple[str, str],
    tool: tuple[str, str],
    worker: str,
    *,
    status: int,
    outcome: str,
    error: str = "",
    duration_s: float = 0.0,
) -> LedgerRow:
    """A call's row: `key` is its name and id, `tool` its full name and its server's."""
    full, server = tool
    return LedgerRow(
        id=call_id,
        created=time.time(),
        key=key[0],
        client=CLIENT,
        asked=_storable(full),
        provider=f"mcp:{server}",
        model=_storable(full.removeprefix(f"{server}_")),
        streamed=0,
        status=status,
        outcome=outcome,
        attempts=1,
        input_tokens=None,
        output_tokens=None,
        cached_tokens=None,
        cache_write_tokens=None,
        reasoning_tokens=None,
        is_estimate=0,
        cost_usd="0",
        duration_ms=round(duration_s * 1000, 2),
        first_ms=None,
        key_id=key[1],
        worker=worker,
        calls=1,
        error=error,
    )


def _storable(name: str) -> str:
    return name.encode("utf-8", "replace").decode().replace("\0", "�")[:_NAME_MAX]


def clean(text: str, secrets: Collection[str]) -> str:
    """The text without the server's credentials, and without letters that nobody sees."""
    text = without_tags(text)  # first: they may stand in the midst of a credential
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, _REDACTED)
    return text


def _clean_part(part: Text | Media | Opaque, secrets: Collection[str]) -> Text | Media | Opaque:
    match part:
        case Text():
            return replace(part, text=clean(part.text, secrets))
        case Media():
            return replace(part, text=clean(part.text, secrets), url=clean(part.url, secrets))
        case Opaque():
            return replace(part, data=clean_tree(part.data, secrets))


def clean_tree(node: Any, secrets: Collection[str]) -> Any:
    if isinstance(node, str):
        return clean(node, secrets)
    if isinstance(node, list):
        return [clean_tree(each, secrets) for each in cast("list[Any]", node)]
    if isinstance(node, dict):
        table = cast("JSON", node)
        return {clean(key, secrets): clean_tree(each, secrets) for key, each in table.items()}
    return node


def _clean_raw(raw: CallResult, secrets: Collection[str], links: str) -> CallResult:
    content = [_clean_block(block, secrets, links) for block in raw.content]
    return CallResult(content, clean_tree(raw.data, secrets), is_error=raw.is_error)


def _clean_block(block: Block, secrets: Collection[str], links: str) -> Block:
    """The part, with an address that leads to this server's resources, whatever it names."""
    cleaned = msgspec.convert(clean_tree(msgspec.to_builtins(block), secrets), Block)
    place = cleaned.resource if isinstance(cleaned, ResourceBlock) else cleaned
    if links and isinstance(place, LinkBlock | Contents):
        is_page = place.uri.startswith(("https://", "http://"))
        place.uri = place.uri if is_page else links + place.uri
    return cleaned
