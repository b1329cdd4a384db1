"""One request for programs, from what the client asked to what it gets.

Nothing is held between two requests: a program that waits for the client's tools is its journal,
and continues by replay, in this process or in another one.  Whatever is asked twice is answered
twice the same: a client that lost an answer sends its results again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any

from msgspec.structs import replace

from polycall import ir
from polycall.errors import InvalidRequestError
from polycall.gateway.generation.client_request import ClientRequest
from polycall.gateway.generation.request_usage import RequestUsage
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.programs.client_tools import (
    answered_now,
    answers_to,
    check_calls,
    for_several_steps,
    programs_for,
    without_namespaces,
)
from polycall.gateway.programs.history import as_the_model_saw, records_in
from polycall.gateway.programs.merged_answer import MergedAnswer
from polycall.gateway.programs.model import RoutedModel
from polycall.gateway.programs.protocols import ProgramProtocol, container_of
from polycall.gateway.programs.records import (
    Container,
    Record,
    Records,
    Shown,
    new_id,
    read_id,
    record_of,
    shown_id,
)
from polycall.gateway.programs.sender import Sender
from polycall.gateway.services import GatewayServices
from polycall.gateway.state.carried import CarriedRequest
from polycall.loop import (
    CallEnd,
    CallStart,
    EndReason,
    Limits,
    ModelEvent,
    RunEnd,
    StepEnd,
    Turn,
    run_tools,
)
from polycall.loop import Step as LoopStep
from polycall.program import PausedProgram, Programs, with_result
from polycall.program.programs import NAME as RUN_CODE
from polycall.sandbox import Sandbox, SandboxError, Session
from polycall.tools import FunctionTool

_MANY_TOOLS = 100  # that take some milliseconds to describe to programs
_LATER = "(the result comes later)"
_ONE_PROGRAM = "nothing was run: an answer may have one program; put both into one, or ask again"
# How a run's end looks to a client; a limit of ours looks like one of tokens.
_ENDS: dict[EndReason, ir.FinishReason] = {
    "finished": "stop",
    "content_filter": "content_filter",
    "refusal": "refusal",
    "error": "error",
}


# What an answer of Anthropic says of its end alongside the reason.
_END_KEYS = ("stop_sequence", "stop_details")


@dataclass(eq=False, repr=False)
class ProgramTurn:
    """One request and its answer."""

    requested: ClientRequest
    gateway_request: GatewayRequest
    services: GatewayServices
    account: RequestUsage
    _: KW_ONLY
    protocol: ProgramProtocol
    records: Records
    open_sandbox: Callable[[], Awaitable[Sandbox]]
    steps_max: int
    turn: Callable[[], AbstractAsyncContextManager[None]]  # one of those that a key has
    own: Sequence[FunctionTool[..., Any]] = ()  # tools that run here

    def __post_init__(self) -> None:
        self._sandbox: Sandbox | None = None
        self._stack = AsyncExitStack()  # what is held until the answer ends
        self._entering = asyncio.Lock()
        self._has_turn = False
        self._ready: list[Session] = []
        self._owner = self.requested.owner.id
        self._answer = MergedAnswer(
            self.requested.dialect.NAME, self.gateway_request.id, self.requested.model
        )
        self._tools: dict[str, ir.Tool] = {}  # the client's, by the names that the model knows
        self._record_id = ""  # of the program that continues
        self._program_call = ""  # the model's call that is this program
        self._container = Container("")
        self._waiting: list[ir.ToolCall] = []  # for the client, of this step
        self._is_waiting = False  # the answer ends in calls
        self._kept = 0  # messages that are in records, or the client's own

    async def run(self, carried: CarriedRequest, calling: str) -> bool:
        """The whole of it; false where nothing was done, since calls are better made directly."""
        requested = carried.request
        request, self._tools = without_namespaces(self.protocol.without_programs(requested))
        found = await self.records.load(self._owner, records_in(request.messages))
        check_calls(requested.messages, found)
        self._container = await self._find_container(requested, found)
        model = RoutedModel(
            self.requested, carried, self.gateway_request, self.services, self.account
        )
        async with self._stack:
            waiting = {name: record for name, record in found.items() if record.waits}
            self._programs = await self._make_programs(request, calling)
            is_plain = not found and not self.protocol.shows_programs
            may_be_direct = is_plain and not self.own
            if may_be_direct and await self._goes_directly(request, calling):
                return False
            request, warnings = for_several_steps(request)
            if calling != "direct" or found:
                self._sandbox = self._sandbox or await self.open_sandbox()
            self._sender = Sender(
                self.requested,
                self.gateway_request,
                self.services,
                self.account,
                lambda: (model.stop_name, [*warnings, *model.warnings]),
            )
            async with self._sender.sending():
                for name, record in waiting.items():
                    found[name] = await self._went_on(requested, name, record)
                await self._show_ends(requested.messages, found)
                if not self._is_waiting:
                    messages, lost = as_the_model_saw(request.messages, found)
                    warnings += lost
                    await self._loop(replace(request, messages=messages), model)
                else:
                    await self._finish("tool_calls")
        return True

    async def _find_container(self, request: ir.Request, found: dict[str, Record]) -> Container:
        """The container that the client names, or a new one."""
        if not self.protocol.keeps_sessions:
            return Container("")
        given = container_of(request)
        if not given:
            known = [record.container for record in found.values() if record.waits]
            return Container(known[-1] if known else shown_id("container", new_id()))
        # Only what may be an id of ours is looked up: a database may not even take other text.
        is_own = read_id(given) is not None
        container = await self.records.load_container(self._owner, given) if is_own else None
        if container is None:
            raise InvalidRequestError(
                f"the container {given!r} is not there: it has expired, or is not this key's",
                param="container",
            )
        return container

    # A program that waited

    async def _went_on(self, requested: ir.Request, name: str, record: Record) -> Record:
        """The record with its results; where it waits for more, those calls are shown."""
        if record.paused is not None:
            self.protocol.check_answers(requested, record.container)
        self._record_id = name
        given = answers_to(requested.messages, name, record)
        if given:
            resumed = await self._resumed(record, given)
            record = await self.records.change(self._owner, name, record, resumed)
            if record == resumed and record.ended:
                # Here, as the answer may fail yet and the client come back: it would be lost.
                await self._save_container()
        if record.waits:
            await self._show_calls(name, record)
        return record

    async def _show_ends(self, messages: list[ir.Message], found: dict[str, Record]) -> None:
        """The ends of programs whose results came with this request, if the client has not seen
        them: it may have lost the answer that had them."""
        now = {own[0] for each in answered_now(messages) if (own := read_id(each))}
        seen = {
            (record_of(part), part.kind)
            for message in messages
            for part in message.parts
            if isinstance(part, ir.Opaque)
        }
        for name, record in found.items():
            unseen = [
                part
                for part in record.ended
                if isinstance(part, ir.Opaque) and (name, part.kind) not in seen
            ]
            if name in now and unseen:
                await self._sender.send(self._answer.parts([*unseen]))

    async def _resumed(self, record: Record, given: dict[str, ir.ToolResult]) -> Record:
        messages = record.messages
        for call_id, result in given.items():
            messages = with_result(messages, replace(result, call_id=call_id, metadata={}))
        if record.paused is None:
            return replace(record, messages=messages, waits=[])
        await self._take_turn()
        try:
            result = await self._programs.resume(record.paused, answers=given)
        except SandboxError as error:
            raise InvalidRequestError(f"the program cannot continue: {error}") from None
        paused = self._programs.paused
        if paused is not None:
            first = 1 + max(shown.number for shown in record.waits)
            return replace(
                record,
                messages=messages,
                waits=self._waits_of(paused, first),
                paused=paused,
                expires=self.records.expires_at(),
            )
        ended = self.protocol.ended(self._record_id, result)
        messages = with_result(messages, result)
        return replace(record, messages=messages, waits=[], paused=None, ended=ended)

    # The model's turns

    async def _make_programs(self, request: ir.Request, calling: str) -> Programs:
        def new_session() -> Session:
            return self._ready.pop() if self._ready else self._session()

        model = self.requested.model
        make = partial(programs_for, request, model, calling, new_session, self.own)
        is_long = len(request.tools) + len(self.own) > _MANY_TOOLS
        programs = await asyncio.to_thread(make) if is_long else make()
        return await self._stack.enter_async_context(programs)

    def _session(self) -> Session:
        assert self._sandbox is not None, "no program runs before it is opened"
        return self._sandbox.session()

    async def _take_turn(self) -> None:
        if not self._has_turn:
            await self._stack.enter_async_context(self.turn())
            self._has_turn = True

    async def _run_program(self, call: ir.ToolCall) -> ir.ToolResult:
        """Run it: one at a time, where the container's last one ended."""
        async with self._entering:
            await self._take_turn()
            if self._container.journal and not self._programs.journal:
                await self._restore()
            return await self._programs(call)

    async def _restore(self) -> None:
        """Make ready a session with the variables of the container."""
        session = self._session()
        self._stack.push_async_exit(session)
        try:
            await session.resume(self._container.journal)
        except SandboxError as error:
            raise InvalidRequestError(
                f"the container {self._container.id!r} cannot continue: {error}", param="container"
            ) from None
        self._ready.append(session)

    async def _goes_directly(self, request: ir.Request, calling: str) -> bool:
        """Whether calls are better made directly; a header of the answer says why."""
        decision = self._programs.offer.decide(request, 0)
        form, reason = decision.form, decision.reason
        if form == "code" and calling == "auto":
            try:
                self._sandbox = await self.open_sandbox()
            except InvalidRequestError as error:
                form, reason = "direct", error.message
        note = " ".join(f"{form}; {reason}".split())
        self.gateway_request.notes.append((b"polycall-calling", note.encode("ascii", "replace")))
        return form == "direct"

    async def _loop(self, request: ir.Request, model: RoutedModel) -> None:
        self._kept = len(request.messages)
        self._record_id = ""  # of the program that continues

        async def prepare(messages: list[ir.Message], steps: list[LoopStep]) -> Turn | EndReason:
            if self._is_waiting:
                return "paused"
            turn = await self._programs.prepare(request, messages, steps)
            return replace(turn, execute=self._execute) if isinstance(turn, Turn) else turn

        limits = Limits(steps=self.steps_max)
        events = run_tools(model, request, self._execute, limits=limits, prepare=prepare)
        async with aclosing(events):
            async for event in events:
                self.gateway_request.heard_at = time.monotonic()
                match event:
                    case ModelEvent():
                        await self._sender.send(self._answer.step(event.event))
                    case CallStart() if self._is_the_program(event.call):
                        await self._began(event.call)
                    case CallEnd() if event.call.id == self._program_call:
                        await self._ended(event.result)
                    case StepEnd():
                        await self._step_ended(event.messages)
                    case RunEnd():
                        await self._run_ended(event)
                    case _:
                        pass

    def _is_the_program(self, call: ir.ToolCall) -> bool:
        """Whether this is the first program of an answer, which names the record."""
        if call.name != RUN_CODE:
            return False
        if not self._record_id:
            self._record_id, self._program_call = new_id(), call.id
        return call.id == self._program_call

    async def _began(self, call: ir.ToolCall) -> None:
        code = (call.arguments or {}).get("code", "")
        await self._sender.send(self._answer.parts(self.protocol.began(self._record_id, str(code))))

    async def _ended(self, result: ir.ToolResult) -> None:
        paused = self._programs.paused
        if paused is None or paused.call_id != result.call_id:
            parts = self.protocol.ended(self._record_id, result)
            await self._sender.send(self._answer.parts(parts))

    async def _execute(self, call: ir.ToolCall) -> ir.ToolResult:
        """A call of a tool waits for the client, as the tool is the client's; a program runs."""
        tool = self._tools.get(call.name)
        if tool is not None and "direct" in (tool.allowed_callers or ["direct"]):
            self._waiting.append(call)
            return ir.ToolResult(call.id, [ir.Text(_LATER)], name=call.name)
        is_second = call.name == RUN_CODE and not self._is_the_program(call)
        if is_second and self.protocol.shows_programs:
            return ir.ToolResult(call.id, [ir.Text(_ONE_PROGRAM)], is_error=True, name=RUN_CODE)
        if call.name == RUN_CODE:
            return await self._run_program(call)
        return await self._programs(call)

    async def _step_ended(self, messages: list[ir.Message]) -> None:
        """Keep what the client will not send back as the model has to see it."""
        paused = self._programs.paused
        waits = [Shown(number, call.id) for number, call in enumerate(self._waiting, start=1)]
        if paused is not None:
            waits += self._waits_of(paused, len(waits) + 1)
        name, self._record_id, self._program_call = self._record_id, "", ""
        if not waits and not (name and self.protocol.shows_programs):
            return  # the client sees no sign of it; the next sign stands for this as well
        name = name or new_id()
        record = Record(
            messages[self._kept :],
            waits,
            paused,
            expires=self.records.expires_at(),
            container=self._container.id,
        )
        await self.records.save(self._owner, name, record)
        self._kept = len(messages)
        if waits:
            await self._show_calls(name, record)

    def _waits_of(self, paused: PausedProgram, first: int) -> list[Shown]:
        requested = self.requested.request
        one_at_a_time = requested is not None and requested.parallel_tool_calls is False
        pending = paused.pending[:1] if one_at_a_time else paused.pending
        return [Shown(number, call.id) for number, call in enumerate(pending, start=first)]

    async def _show_calls(self, name: str, record: Record) -> None:
        made = {call.id: call for message in record.messages for call in message.tool_calls}
        nested = {call.id: call for call in record.paused.pending} if record.paused else {}
        shown: list[ir.ToolCall] = []
        for wait in record.waits:
            pending = nested.get(wait.call_id)
            if pending is None:
                call = made[wait.call_id]
            else:
                call = ir.ToolCall(pending.id, pending.name, pending.arguments_json)
            tool = self._tools.get(call.name)
            if tool is not None and tool.namespace:
                call = replace(call, name=tool.name, namespace=tool.namespace)
            is_nested = pending is not None
            part = self.protocol.call(name, wait.number, call, from_program=is_nested)
            sealed = self.services.carrier.seal_id(
                part.id, self._owner, self.requested.dialect.NAME
            )
            shown.append(replace(part, metadata={**part.metadata, **sealed}))
        await self._sender.send(self._answer.parts([*shown]))
        self._is_waiting = True

    async def _run_ended(self, end: RunEnd) -> None:
        if self._is_waiting:
            await self._finish("tool_calls")
            return
        is_ours = end.reason in ("steps", "tokens", "cost", "wall")
        last = None if is_ours or not end.steps else end.steps[-1].response
        await self._finish(_ENDS.get(end.reason, "length"), last)

    async def _finish(self, reason: ir.FinishReason, last: ir.Response | None = None) -> None:
        """The end; what the last answer says of it counts where it speaks the client's language."""
        expires = await self._save_container()
        state = self.protocol.state(self._container.id, expires)
        name, raw = self.requested.dialect.NAME, ""
        if last is not None and name in last.metadata | last.usage.metadata:
            raw, own = last.raw_finish_reason, last.metadata.get(name, {})
            said = {key: own[key] for key in _END_KEYS if key in own}
            state = {**state, name: {**said, **state.get(name, {})}} if said else state
        await self._sender.finish(self._answer.end(reason, raw, state))

    async def _save_container(self) -> float:
        """Keep what ran in the client's container, if it has one; gives when that expires."""
        container, expires = self._container, self.records.expires_at()
        if container.id:
            journal = "" if self._programs.paused is not None else self._programs.journal
            kept = Container(container.id, expires, journal or container.journal)
            await self.records.save_container(self._owner, kept)
        return expires
