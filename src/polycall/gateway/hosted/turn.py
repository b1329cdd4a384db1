"""One request with hosted tools: the model's turns, the calls that are run here, one answer.

Calls of the client's own tools end the answer, as ever.  What was run here stands in the answer as
the client's protocol shows it, and comes back in the history: nothing is kept between requests but
calls that wait for consent.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, aclosing
from dataclasses import KW_ONLY, dataclass

from msgspec.structs import replace

from polycall import ir
from polycall.config.hosted import HostedToolSettings
from polycall.errors import MalformedRequestError
from polycall.gateway.generation.client_request import ClientRequest
from polycall.gateway.generation.request_usage import RequestUsage
from polycall.gateway.hosted.approvals import Approvals, consents, is_approval
from polycall.gateway.hosted.compaction import divided, summary_of, summary_request
from polycall.gateway.hosted.mcp_servers import Offered, for_the_model, opened
from polycall.gateway.hosted.protocols import HostedProtocol, Plan
from polycall.gateway.hosted.web_search import WebSearch, search_tool
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.programs.client_tools import for_several_steps
from polycall.gateway.programs.merged_answer import MergedAnswer
from polycall.gateway.programs.model import RoutedModel
from polycall.gateway.programs.sender import Sender
from polycall.gateway.services import GatewayServices
from polycall.gateway.state.carried import CarriedRequest, Origin
from polycall.gateway.state.embedder import Embedder
from polycall.gateway.store import Store
from polycall.ir import JSON
from polycall.loop import (
    CallEnd,
    EndReason,
    Limits,
    ModelEvent,
    RunEnd,
    StepEnd,
    Turn,
    run_tools,
)
from polycall.loop import Step as LoopStep
from polycall.tools import ToolContext, execute
from polycall.translation.context_edits import from_compaction, tokens_of

_LATER = "(the result comes later)"
_DENIED = "the user did not approve this call; it was not run"
_ENDS: dict[EndReason, ir.FinishReason] = {
    "finished": "stop",
    "content_filter": "content_filter",
    "refusal": "refusal",
    "error": "error",
}


@dataclass(eq=False, repr=False)
class HostedTurn:
    """One request and its answer."""

    client_request: ClientRequest
    gateway_request: GatewayRequest
    services: GatewayServices
    account: RequestUsage
    _: KW_ONLY
    protocol: HostedProtocol
    plan: Plan
    settings: HostedToolSettings
    store: Store

    def __post_init__(self) -> None:
        self._owner = self.client_request.owner.id
        self._approvals = Approvals(self.store, self._owner)
        self._answer = MergedAnswer(
            self.client_request.dialect.NAME, self.gateway_request.id, self.client_request.model
        )
        self._offered: dict[str, Offered] = {}
        self._search: WebSearch | None = None
        self._shown: dict[str, list[ir.Part]] = {}  # by call: what its end shows
        self._calls: dict[str, ir.ToolCall] = {}  # of this step, as the client may see them
        self._waiting: list[ir.ToolCall] = []  # for the client, of this step
        self._end: ir.FinishReason | None = None  # the answer ends with this step
        self._embedder: Embedder | None = None
        self._warnings: list[ir.Warning] = []

    async def run(self, carried: CarriedRequest) -> None:
        """The whole of it."""
        request, warnings = for_several_steps(self.plan.request)
        self._warnings += warnings
        async with AsyncExitStack() as stack:
            definitions: dict[str, list[JSON]] = {}
            if self.plan.servers:
                found = opened(self.plan.servers, self.settings, self.store, self._owner)
                self._offered, definitions, notices = await stack.enter_async_context(found)
                self._warnings += [ir.Warning("unsupported", "mcp", notice) for notice in notices]
            tools = [*request.tools, *(each.tool for each in self._offered.values())]
            if self.plan.search is not None:
                self._search = WebSearch(self.plan.search, self.settings, self.services.transport)
                tools.append(search_tool(self.plan.search))
            _check_names([tool.name for tool in tools])
            request = replace(request, tools=tools)
            model = RoutedModel(
                self.client_request, carried, self.gateway_request, self.services, self.account
            )
            self._sender = Sender(
                self.client_request,
                self.gateway_request,
                self.services,
                self.account,
                lambda: (model.stop_name, [*self._warnings, *model.warnings]),
            )
            async with self._sender.sending():
                await self._show_lists(request.messages, definitions)
                request = replace(request, messages=await self._answered(request.messages))
                request = await self._compacted(request, model)
                if self._end == "pause":
                    await self._sender.finish(self._answer.end("pause", "compaction", {}))
                else:
                    await self._loop(request, model)

    async def _show_lists(
        self, messages: list[ir.Message], definitions: dict[str, list[JSON]]
    ) -> None:
        """Show what servers offer, once in a conversation."""
        seen = {
            part.data.get("server_label")
            for message in messages
            for part in message.parts
            if isinstance(part, ir.Opaque) and part.kind == "mcp_list_tools"
        }
        for spec in self.plan.servers:
            if spec.label not in seen:
                parts = self.protocol.listed(spec, definitions.get(spec.label, []))
                await self._send(self._answer.parts(parts))

    async def _answered(self, messages: list[ir.Message]) -> list[ir.Message]:
        """The history without what is only about consent and lists; calls that now have consent
        are run, and shown."""
        given = consents(messages)
        kept: list[ir.Message] = []
        for message in messages:
            parts = [
                part
                for part in message.parts
                if not is_approval(part)
                and not (isinstance(part, ir.Opaque) and part.kind == "mcp_list_tools")
            ]
            if parts or not message.parts:
                kept.append(message if len(parts) == len(message.parts) else _with(message, parts))
        for consent in given:
            waiting = await self._approvals.take(consent.name)
            name = f"{waiting.label}_{waiting.tool}"
            call = ir.ToolCall(consent.name, name, waiting.arguments_json)
            if not consent.is_given:
                words = f"{_DENIED}: {consent.reason}" if consent.reason else _DENIED
                result = ir.ToolResult(call.id, [ir.Text(words)], is_error=True, name=name)
                await self._approvals.finish(consent.name, waiting, words, is_error=True)
            elif waiting.state == "done":
                content = [ir.Text(waiting.result)]
                result = ir.ToolResult(call.id, [*content], is_error=waiting.is_error, name=name)
            else:
                result = await self._run_mcp(call)
                await self._approvals.finish(
                    consent.name, waiting, result.text, is_error=result.is_error
                )
            kept += [ir.Message("assistant", [call]), ir.Message("tool", [result])]
            offered = self._offered.get(name)
            if consent.is_given and offered is not None:
                parts = self.protocol.ran(
                    offered.spec, offered.name, call, result, consent=consent.name
                )
                await self._send(self._answer.parts(parts))
        return kept

    async def _compacted(self, request: ir.Request, model: RoutedModel) -> ir.Request:
        """The request, made short by the model where it asks for that and is too long."""
        spec = self.plan.compaction
        if spec is None:
            return request
        request = replace(request, messages=from_compaction(request.messages))
        division = divided(request.messages, spec)
        if division is None:
            return request
        asked = summary_request(request, division, spec)
        if asked.stream:
            async with model.stream_request(asked) as stream:
                async for _ in stream:
                    self.gateway_request.heard_at = time.monotonic()
            response = stream.response
        else:
            response = await model.generate_request(asked)
        summary = summary_of(response)
        self._answer.usage += response.usage
        tokens = tokens_of(division.old)
        detail = f"the model's summary stands for ~{tokens} tokens of the conversation"
        self._warnings.append(ir.Warning("emulated", "context_management", detail))
        sealed = self.services.items.seal_summary(self._owner, summary, is_all=True)
        await self._send(self._answer.parts(self.protocol.compacted(summary, sealed)))
        self._end = "pause" if spec.pauses else None
        return replace(request, messages=division.shortened(summary))

    # The model's turns

    async def _loop(self, request: ir.Request, model: RoutedModel) -> None:
        async def prepare(messages: list[ir.Message], steps: list[LoopStep]) -> Turn | EndReason:
            if self._end is not None:
                return "paused"
            if steps and not steps[-1].response.tool_calls:
                return "finished"
            return Turn(replace(request, messages=messages), self._execute)

        limits = Limits(steps=self.settings.steps)
        events = run_tools(model, request, self._execute, limits=limits, prepare=prepare)
        async with aclosing(events):
            async for event in events:
                self.gateway_request.heard_at = time.monotonic()
                match event:
                    case ModelEvent():
                        await self._send(self._answer.step(self._embedded(event.event)))
                    case CallEnd():
                        await self._send(self._answer.parts(self._shown.pop(event.call.id, [])))
                    case StepEnd():
                        await self._step_ended()
                    case RunEnd():
                        reason = self._end or _ENDS.get(event.reason, "length")
                        await self._sender.finish(self._answer.end(reason, "", {}))
                    case _:
                        pass

    async def _send(self, events: list[ir.Event]) -> None:
        await self._sender.send(events)

    def _embedded(self, event: ir.Event) -> ir.Event:
        """The event with the state of its model where the client will bring it back from."""
        attempt = self.account.attempt
        if isinstance(event, ir.ResponseStart) and attempt is not None:
            target = attempt.target
            origin = Origin(attempt.dialect.NAME, target.provider.name, target.model)
            client = self.client_request.dialect.NAME
            self._embedder = Embedder(self.services.carrier, origin, self._owner, client)
        if self._embedder is None:
            return event
        shown = self._embedder.event(event)
        if isinstance(event, ir.PartStart) and isinstance(event.part, ir.ToolCall):
            assert isinstance(shown, ir.PartStart)
            assert isinstance(shown.part, ir.ToolCall)
            self._calls[event.part.id] = shown.part
        return shown

    async def _execute(self, call: ir.ToolCall) -> ir.ToolResult:
        if self._search is not None and call.name == self._search.name:
            result, query, found, error = await self._search.run(call)
            self._shown[call.id] = self.protocol.searched(query, found, error)
            return result
        offered = self._offered.get(call.name)
        if offered is None:
            self._waiting.append(call)
            return ir.ToolResult(call.id, [ir.Text(_LATER)], name=call.name)
        if offered.spec.needs_consent(offered.name):
            name = await self._approvals.ask(offered.spec.label, offered.name, call)
            self._shown[call.id] = self.protocol.asked(offered.spec, offered.name, call, name)
            self._end = self._end or "stop"
            return ir.ToolResult(call.id, [ir.Text(_LATER)], name=call.name)
        result = await self._run_mcp(call)
        self._shown[call.id] = self.protocol.ran(offered.spec, offered.name, call, result)
        return result

    async def _run_mcp(self, call: ir.ToolCall) -> ir.ToolResult:
        offered = self._offered.get(call.name)
        if offered is None:
            words = f"there is no tool {call.name!r} any more; nothing was run"
            return ir.ToolResult(call.id, [ir.Text(words)], is_error=True, name=call.name)
        context: ToolContext[None] = ToolContext(deps=None, model=self.client_request.model)
        own = replace(call, name=offered.name, namespace="")
        deadline_s = self.settings.call_s
        result = await execute(own, offered.toolset, context=context, deadline_s=deadline_s)
        result, warnings = for_the_model(result)
        self._warnings += warnings
        return replace(result, call_id=call.id, name=call.name)

    async def _step_ended(self) -> None:
        """Show the calls that the client has to run."""
        if self._embedder is not None:
            await self._embedder.finish()
        shown: list[ir.Part] = []
        for call in self._waiting:
            seen = self._calls.get(call.id, call)
            shown.append(replace(call, id=seen.id, metadata=seen.metadata))
        if shown:
            self._end = "tool_calls"
            await self._send(self._answer.parts(shown))
        self._waiting, self._calls = [], {}


def _with(message: ir.Message, parts: list[ir.Part]) -> ir.Message:
    return replace(message, parts=parts)


def _check_names(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MalformedRequestError(f"two tools are named {twice[0]!r}", path="tools")
