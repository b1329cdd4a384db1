"""Programs of one run: the tool `run_code`, what is offered to the model, what is remembered.

`Programs` stands where an executor stands: `run_tools(client, request, programs)` works, and
`programs.run(client, request)` also decides before each step which tools are offered how.
"""

from __future__ import annotations

import asyncio
import functools
import re
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from dataclasses import replace as changed
from typing import Any, Self

from msgspec import Struct
from msgspec.structs import replace

from polycall._support import jsontext
from polycall.client import ModelClient
from polycall.errors import RequestError, ToolError
from polycall.instrumentation import ProgramFinished, ProgramStarted, watching
from polycall.ir import JSON, Message, Request, Text, ToolCall, ToolResult
from polycall.loop import EndReason, Limits, LoopEvent, Step, Turn, run_tools
from polycall.program.auto import Hints, Seen
from polycall.program.catalogue import STUB_TOKENS_MAX, Catalogue
from polycall.program.native import Native, programs_in
from polycall.program.nested_calls import Nested, ResultCapture, data_of
from polycall.program.offer import Offer, opened_to_programs
from polycall.program.records import (
    Calling,
    CallingDecision,
    Form,
    NestedCall,
    Parked,
    PausedProgram,
    ProgramRun,
)
from polycall.program.report import preview, program_text, with_pictures
from polycall.sandbox import (
    Journal,
    JournalError,
    RunResult,
    Sandbox,
    SandboxError,
    Session,
    SessionClosedError,
)
from polycall.tools import (
    AbstractToolset,
    Executor,
    FunctionTool,
    ToolContext,
    Toolset,
    ToolStats,
    tool_from_schema,
)

NAME = "run_code"
_PARAMETERS: JSON = {
    "type": "object",
    "properties": {"code": {"type": "string", "description": "the Python program"}},
    "required": ["code"],
    "additionalProperties": False,
}
# A program is bounded by the sandbox's own wall clock; this one only ends what that cannot.
_DEADLINE_S = 3_600.0


class Bounds(Struct, frozen=True):
    """The limits of the text that the model reads.

    `output_chars` bounds one program's answer.  A direct result of more than `park_bytes` is put
    into the session, and `preview_chars` of it are shown; `None` parks nothing.  Stubs of more
    than `stub_tokens` become a catalogue that programs search.
    """

    output_chars: int = 16_000
    park_bytes: int | None = 20_000
    preview_chars: int = 1_000
    stub_tokens: int = STUB_TOKENS_MAX


class Programs:
    """The tools of one run, as direct calls and as functions of programs.

    `sandbox` is an open `Sandbox`, one of its sessions, or a function that makes a session (with a
    journal on disk, say).  Only tools with `"code"` in `allowed_callers` are there for programs.
    `overrides` says `"direct"` or `"code"` for single tools, within what they allow.  `native` is
    the dialect whose vendor shall run the programs itself; where it cannot, the sandbox does.
    Leaving the context closes the session, unless it was given.
    """

    def __init__(
        self,
        tools: AbstractToolset | Iterable[Any],
        sandbox: Sandbox | Session | Callable[[], Session],
        *,
        calling: Calling = "auto",
        hints: Hints | None = None,
        overrides: Mapping[str, Form] | None = None,
        seen: Seen | None = None,
        context: ToolContext[Any] | None = None,
        deadline_s: float | None = None,
        stats: ToolStats | None = None,
        bounds: Bounds | None = None,
        native: str | Native = "",
        notes: str = "",
        attempts_max: int = 3,
    ) -> None:
        self.seen = seen or Seen()
        self.bounds = bounds or Bounds()
        self.programs: list[ProgramRun] = []
        self.parked: list[Parked] = []
        self.paused: PausedProgram | None = None
        self.waiting: list[ToolCall] = []
        self._toolset = tools if isinstance(tools, AbstractToolset) else Toolset(tools)
        self._new_session = _session_maker(sandbox)
        self._session = sandbox if isinstance(sandbox, Session) else None
        self._owns_session = not isinstance(sandbox, Session)
        opened = opened_to_programs(self._toolset, overrides or {})
        self.catalogue = Catalogue(
            opened,
            notes=notes or (sandbox.notes if isinstance(sandbox, Sandbox) else ""),
            stub_tokens_max=self.bounds.stub_tokens,
        )
        self.tool = tool_from_schema(
            NAME, self.catalogue.description, _PARAMETERS, self._run_code, deadline_s=_DEADLINE_S
        )
        self.offer = Offer(
            self._toolset,
            {tool.name: tool for tool in opened},
            self.tool.definition,
            calling=calling,
            hints=hints or Hints(),
            overrides=overrides or {},
            seen=self.seen,
            native=Native(native) if isinstance(native, str) and native else native or None,
        )
        self._model = context.model if context is not None else ""
        self._sessions = 0
        self._results = 0
        self._noted = 0
        self._turn = asyncio.Lock()  # a session runs one program at a time
        self._capture = ResultCapture(self._toolset)
        own = Toolset([self.tool])
        has_code = bool(opened) and calling != "direct"
        self._executor = Executor(
            self._capture + own if has_code else self._capture,
            context=context,
            deadline_s=deadline_s,
            stats=stats or ToolStats(),
            attempts_max=attempts_max,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the session, unless it was given."""
        session, self._session = self._session, None
        if session is not None and self._owns_session:
            await session.close()

    # What the model is offered.

    def run(
        self, client: ModelClient, request: Request, *, limits: Limits | None = None
    ) -> AsyncGenerator[LoopEvent]:
        """`run_tools` with these tools; it ends as `paused` where a result comes later."""
        self._noted = 0
        self.seen.begin_run()
        self.offer.decisions.clear()
        hook = functools.partial(self.prepare, request)
        return run_tools(client, request, self, limits=limits, prepare=hook)

    async def prepare(
        self, request: Request, messages: list[Message], steps: list[Step]
    ) -> Turn | EndReason:
        """The next turn of `request`; the hook that `run` gives to the loop."""
        self.note(steps)
        if self.paused is not None or self.waiting:
            return "paused"
        if steps and steps[-1].response.finish_reason == "stop":
            return "finished"
        if steps and any(each.name in self.catalogue.tools for each in steps[-1].results):
            self.seen.step()
        self._model = request.model
        parked_bytes = self.parked[-1].result_bytes if self.parked else 0
        decision = self.offer.decide(request, len(steps), parked_bytes)
        tools = [tool for tool in request.tools if tool.name not in self._toolset]
        tools = [*tools, *self.offer.tools(decision)]
        request = replace(request, messages=messages, tools=tools)
        if decision.rule == "native" and self.offer.native is not None:
            request = self.offer.native.goes_on(request)
        return Turn(request, self)

    def note(self, steps: list[Step]) -> None:
        """Write down what answers say of the vendor's programs; `prepare` does it too."""
        for step in steps[self._noted :]:
            for found in programs_in(step.response.message):
                run = self._native_run(found.id)
                run.code = found.code or run.code
                run.output = run.output if found.output is None else found.output
        self._noted = len(steps)

    @property
    def journal(self) -> str:
        """The session's journal as JSON lines; empty before the first program."""
        return "" if self._session is None else self._session.journal.to_json()

    @property
    def decisions(self) -> list[CallingDecision]:
        """Why the tools of this run were offered as they were, in order."""
        return self.offer.decisions

    # What runs.

    async def __call__(self, call: ToolCall) -> ToolResult:
        """The result of one call of the model, or of a program at the provider."""
        if call.name == NAME and NAME not in self._toolset:
            # The deadline of calls holds for each call of a program, not for all together.
            return await changed(self._executor, deadline_s=None)(call)
        started = time.monotonic()
        result = await self._executor(call)
        if self._capture.take_pause(call.id):
            self.waiting.append(call)
            return result
        if call.name in self.catalogue.tools:
            self.seen.result(result, direct=call.caller == "direct")
        if call.caller == "direct":
            return await self._parked(call, result)
        self._capture.forget(call.id)
        made = NestedCall(call, result, time.monotonic() - started)
        self._native_run(call.caller).calls.append(made)
        return result if self.offer.native is None else self.offer.native.result(call, result)

    def _native_run(self, caller: str) -> ProgramRun:
        for run in reversed(self.programs):
            if run.id == caller:
                return run
        self.programs.append(ProgramRun(caller, status="native", calls=[]))
        return self.programs[-1]

    async def _run_code(self, arguments: JSON, context: ToolContext[Any]) -> ToolResult:
        async with self._turn:
            # Whether another one is paused is known only when that has ended.
            if self.paused is not None:
                raise ToolError("a program is paused until its result comes; no other can run now")
            return await self._run_one(arguments, context)

    async def _run_one(self, arguments: JSON, context: ToolContext[Any]) -> ToolResult:
        call_id = context.call.id if context.call is not None else f"program_{len(self.programs)}"
        # Killed, until it has ended otherwise.
        run = ProgramRun(call_id, _unfenced(arguments["code"]), status="killed", calls=[])
        self.programs.append(run)
        try:
            with watching(ProgramStarted(call_id, run.code)) as watched:
                nested = self._nested(run, context)
                result, note = await self._run(run.code, nested.functions())
                concluded = self._concluded(run, nested, result, note=note)
                watched.tell(_ended(run))
        except SandboxError as error:
            raise ToolError(f"the program could not run: {error}") from None
        return concluded

    async def _run(
        self, code: str, functions: Mapping[str, Callable[..., Any]]
    ) -> tuple[RunResult, str]:
        """Run in the session; where that is lost, in a new one, and with a note that says so."""
        if self._session is not None:
            try:
                return await self._session.run(code, functions), ""
            except (SessionClosedError, JournalError):
                if not self._owns_session:
                    raise
                await self.close()
        note = "(the session was lost: variables of earlier programs are gone)\n"
        had_one = bool(self._sessions)
        self._sessions += 1
        self._session = self._new_session()
        return await self._session.run(code, functions), note if had_one else ""

    def _nested(self, run: ProgramRun, context: ToolContext[Any]) -> Nested:
        # The same executor, so that what it counts holds for both kinds of calls.
        execute = changed(self._executor, context=context)
        return Nested(run, execute, self._capture, self.catalogue, observe=self.seen.result)

    def _concluded(
        self,
        run: ProgramRun,
        nested: Nested,
        result: RunResult,
        *,
        note: str = "",
    ) -> ToolResult:
        run.status, run.duration_s = result.status, result.duration_s
        nested.add_replayed(result.calls)
        pending = nested.pending(result.calls) if result.status == "paused" else []
        if result.status == "paused" and self._session is not None:
            self.paused = PausedProgram(run.id, self._session.journal.to_json(), pending)
        else:
            self.seen.program(self._model, failed=not result.ok)
        named, pictures = with_pictures(result, run.calls)
        run.output = note + program_text(
            named, run.calls, pending, output_chars_max=self.bounds.output_chars
        )
        is_error = result.status not in ("finished", "paused")
        return ToolResult(run.id, [Text(run.output), *pictures], is_error=is_error, name=NAME)

    async def resume(
        self,
        paused: PausedProgram,
        *,
        answers: Mapping[str, Any] | None = None,
        retry: Collection[str] = (),
    ) -> ToolResult:
        """Continue a paused program, here or in another process; its `run_code` result.

        `answers` gives results by call id: a value, a `ToolResult`, or an exception that the
        program sees as a `ToolError`.  Pending calls without an answer run now, as a call that was
        approved in the meantime.  No result that the journal has is fetched again.  Raises
        `polycall.sandbox.DivergenceError`, which names the call, where the program goes another way
        than in the journal, and `InDoubtError` where a call began and nobody knows its end; `retry`
        names tools that may then be called again.
        """
        await self.close()
        runs = Journal.from_json(paused.journal).runs()
        if not runs or runs[-1].is_over:
            raise RequestError("the journal holds no program to continue")
        session = self._session = self._new_session()
        run = ProgramRun(paused.call_id, runs[-1].code, calls=[], resumed=True)
        call = ToolCall(paused.call_id, NAME, jsontext.encode({"code": run.code}))
        context = self._executor.context or ToolContext(deps=None)
        again = [
            name for name, each in self.catalogue.signatures.items() if {name, each.tool} & {*retry}
        ]
        with watching(ProgramStarted(run.id, run.code)) as watched:
            nested = self._nested(run, changed(context, call=call))
            nested.go_on(len(runs[-1].calls), paused.pending, answers or {})
            result = await session.resume(paused.journal, nested.functions(), retry=again)
            assert result is not None, "the journal was seen to end inside a run"
            self.paused = None
            self.programs.append(run)
            concluded = self._concluded(run, nested, result)
            watched.tell(_ended(run))
        return concluded

    async def _parked(self, call: ToolCall, result: ToolResult) -> ToolResult:
        """The result, or a preview of it where it is large and a program could read it."""
        size = len(result.text.encode("utf-8", "surrogatepass"))
        is_text = all(isinstance(part, Text) for part in result.content)
        limit = self.bounds.park_bytes
        is_small = limit is None or size <= limit
        if is_small or result.is_error or not is_text or call.name not in self.catalogue.tools:
            return result
        is_native = bool(self.decisions) and self.decisions[-1].rule == "native"
        if self.offer.calling == "direct" or is_native:
            return result
        data = data_of(result)
        self._results += 1
        name = f"{re.sub(r'[^0-9a-zA-Z_]', '_', call.name)}_result_{self._results}"

        async def parked_result() -> Any:
            return data

        code = f"{name} = await parked_result()"
        try:
            stored, _ = await self._run(code, {"parked_result": parked_result})
        except SandboxError:
            return result
        if not stored.ok:
            return result
        self.parked.append(Parked(call.id, name, size))
        text = (
            f"(the result has {size} bytes and is in the variable {name!r} of {NAME}: "
            f"{preview(data, self.bounds.preview_chars)})"
        )
        return ToolResult(result.call_id, [Text(text)], name=result.name, metadata=result.metadata)


def code_tool(
    tools: AbstractToolset | Iterable[Any],
    sandbox: Sandbox | Session | Callable[[], Session],
    **options: Any,
) -> FunctionTool[..., Any]:
    """The tool `run_code` alone, for a toolset of your own; `options` are those of `Programs`."""
    return Programs(tools, sandbox, calling="code", **options).tool


def with_result(messages: list[Message], result: ToolResult) -> list[Message]:
    """The conversation of a paused run, with the result that has come in its place."""
    return [
        replace(
            message,
            parts=[
                result if isinstance(part, ToolResult) and part.call_id == result.call_id else part
                for part in message.parts
            ],
        )
        if message.role == "tool"
        else message
        for message in messages
    ]


def _ended(run: ProgramRun) -> ProgramFinished:
    return ProgramFinished(run.status, len(run.calls), run.output)


def _unfenced(code: str) -> str:
    """The program without the Markdown fence that models like to put around it."""
    fenced = re.fullmatch(r"\s*```(?:python|py)?[ \t]*\n(.*?)\n?```\s*", code, re.DOTALL)
    return fenced.group(1) if fenced else code


def _session_maker(
    sandbox: Sandbox | Session | Callable[[], Session],
) -> Callable[[], Session]:
    match sandbox:
        case Sandbox():
            return sandbox.session
        case Session():

            def closed() -> Session:
                raise SessionClosedError("the session that was given is closed")

            return closed
        case make:
            return make
