"""Spans of what `polycall.instrumentation` tells: one for each thing that has begun."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Tracer

from polycall.instrumentation import (
    Finished,
    HandedOver,
    ModelCalled,
    ProgramFinished,
    ProgramStarted,
    RunFinished,
    RunStarted,
    Started,
    StepStarted,
    TaskStarted,
    ToolCalled,
    ToolFinished,
    TraceContext,
    Watched,
    conversation,
)
from polycall.ir import Request, Response, Usage
from polycall.loop import Abandoned, Suspended
from polycall.tracing import conventions as names
from polycall.tracing.common import PROPAGATOR, fail
from polycall.tracing.content import clipped, instructions_json, messages_json, sendable

Attributes: TypeAlias = dict[str, Any]

_RUN_KEY = contexts.create_key("polycall-run")
# How a run may end that is not an answer and no limit which was asked for.
_FAILURES = ("error", "output")
_SETTINGS = {
    "max_output_tokens": names.REQUEST_MAX_TOKENS,
    "temperature": names.REQUEST_TEMPERATURE,
    "top_p": names.REQUEST_TOP_P,
    "top_k": names.REQUEST_TOP_K,
    "seed": names.REQUEST_SEED,
    "presence_penalty": names.REQUEST_PRESENCE,
    "frequency_penalty": names.REQUEST_FREQUENCY,
    "candidates": names.REQUEST_CHOICES,
}


class SpanWatcher:
    """Begins spans.  With `content`, they say what was said, too."""

    def __init__(self, tracer: Tracer, *, content: bool) -> None:
        self._tracer = tracer
        self._content = content

    def begin(self, what: Started, above: Watched | None = None) -> Watched:
        """The span of something, below `above` or below the current one."""
        context = contexts.get_current()
        run_id = str(contexts.get_value(_RUN_KEY, context) or "")
        if isinstance(above, WatchedSpan):
            context, run_id = above.context, above.run_id
        elif isinstance(what, RunStarted | TaskStarted):
            context, run_id = _asked_in(what.carried, context), what.run_id
        name, attributes = _described(what)
        if run_id:
            attributes[names.RUN_ID] = run_id
        if isinstance(what, RunStarted | ModelCalled) and conversation():
            attributes[names.CONVERSATION] = conversation()
        span = self._tracer.start_span(
            sendable(name),
            context,
            kind=SpanKind.CLIENT if isinstance(what, ModelCalled) else SpanKind.INTERNAL,
            attributes=_sendable(attributes),
            links=_links(what.earlier) if isinstance(what, RunStarted) else None,
        )
        has_content = self._content and span.is_recording()
        if has_content:
            span.set_attributes(_sendable(_content_of(what)))
        return WatchedSpan(span, context, run_id, content=has_content)

    def carried(self) -> TraceContext:
        """The headers that continue the current trace elsewhere."""
        return _carried(contexts.get_current())


class WatchedSpan:
    """One span, until it is ended or forgotten."""

    def __init__(self, span: Span, above: Context, run_id: str, *, content: bool) -> None:
        self.run_id = run_id
        self.context = contexts.set_value(_RUN_KEY, run_id, trace.set_span_in_context(span, above))
        self._span = span
        self._content = content
        self._ended: Finished | None = None
        self._began_at = time.monotonic()
        self._is_over = False

    def current(self) -> AbstractContextManager[object]:
        """Spans that begin meanwhile, of the application too, are below this one."""
        return _attached(self.context)

    def carried(self) -> TraceContext:
        """The headers that continue the trace from here."""
        return _carried(self.context)

    def tell(self, ended: Finished) -> None:
        """Note the end, for the span's attributes."""
        self._ended = ended

    def first(self) -> None:
        """The first piece of a stream has come."""
        self._span.set_attribute(names.FIRST_CHUNK, time.monotonic() - self._began_at)

    def forget(self) -> None:
        """Leave it out: a span that never ends is never exported."""
        self._is_over = True

    def end(self, error: BaseException | None = None) -> None:
        """End it, by what was reported or by what went wrong."""
        if self._is_over:
            return
        self._is_over = True
        if self._ended is not None:
            self._span.set_attributes(_sendable(_concluded(self._ended)))
            if self._content:
                self._span.set_attributes(_sendable(_content_of_end(self._ended)))
        kind = _failure(self._ended)
        match error:
            case None if kind:
                fail(self._span, kind)
            case None:
                pass
            case asyncio.CancelledError() | GeneratorExit() | Abandoned():
                # Nothing went wrong: somebody wanted no more of it.
                self._span.set_attribute(names.OUTCOME, "cancelled")
            case Suspended():
                self._span.set_attribute(names.OUTCOME, "paused")
            case _:
                words = sendable(clipped(str(error))) if self._content else None
                fail(self._span, type(error).__name__, words)
        self._span.end()


@contextmanager
def _attached(context: Context) -> Generator[None]:
    token = contexts.attach(context)
    try:
        yield
    finally:
        contexts.detach(token)


def _carried(context: Context) -> TraceContext:
    headers: TraceContext = {}
    PROPAGATOR.inject(headers, context)
    return headers


def _asked_in(carried: TraceContext, context: Context) -> Context:
    """The parent context of work that was requested elsewhere and is done here."""
    asked = PROPAGATOR.extract(carried, context)
    there = trace.get_current_span(asked).get_span_context()
    here = trace.get_current_span(context).get_span_context()
    return context if there.span_id == here.span_id else asked


def _links(earlier: list[TraceContext]) -> list[Link]:
    spans = [trace.get_current_span(PROPAGATOR.extract(each, Context())) for each in earlier]
    found = [span.get_span_context() for span in spans]
    return [Link(each) for each in found if each.is_valid]


def _sendable(attributes: Attributes) -> Attributes:
    return {
        name: sendable(value) if isinstance(value, str) else value
        for name, value in attributes.items()
    }


# ---------------------------------------------------------------------------------------------
# What spans say


def _described(what: Started) -> tuple[str, Attributes]:
    """Name and attributes of a span that begins."""
    match what:
        case RunStarted():
            attributes = {names.OPERATION: names.INVOKE_AGENT, names.AGENT: what.agent}
            return f"{names.INVOKE_AGENT} {what.agent}", attributes | _model(what.model)[1]
        case StepStarted():
            return "step", {names.STEP_NUMBER: what.number, names.AGENT: what.agent}
        case ModelCalled(request=request):
            model, attributes = _model(request.model)
            attributes[names.OPERATION] = names.CHAT
            return f"{names.CHAT} {model}", attributes | _settings(request)
        case ToolCalled(call=call):
            attributes = {
                names.OPERATION: names.EXECUTE_TOOL,
                names.TOOL: _name(call.name),
                names.TOOL_TYPE: "function",
                names.CALL_ID: call.id,
                names.CALLER: "model" if call.caller == "direct" else "program",
            }
            return f"{names.EXECUTE_TOOL} {_name(call.name)}", attributes
        case ProgramStarted():
            return "sandbox run", {names.CALL_ID: what.call_id}
        case TaskStarted(call=call):
            attributes = {
                names.TASK_ID: what.task_id,
                names.TOOL: call.name,
                names.CALL_ID: call.id,
            }
            return f"background_task {call.name}", attributes
        case HandedOver():
            attributes = {
                names.HANDOFF_ORIGIN: what.origin,
                names.HANDOFF_TARGET: what.target,
                names.HANDOFF_IS_RETURN: what.is_return,
            }
            return f"handoff {what.target}", attributes


def _name(name: str) -> str:
    """A tool's name, which a model may have made up."""
    return name[: names.NAME_CHARS_MAX]


def _model(model: str) -> tuple[str, Attributes]:
    """A model's own name, and what is known of it; of a route, who answers is seen later."""
    provider, slash, name = model.partition("/")
    if not slash or "," in model:
        short = model[: names.NAME_CHARS_MAX]
        return short, {names.REQUEST_MODEL: short}
    short = name[: names.NAME_CHARS_MAX]
    return short, {names.PROVIDER: names.provider_name(provider), names.REQUEST_MODEL: short}


def _settings(request: Request) -> Attributes:
    said = {name: getattr(request, field) for field, name in _SETTINGS.items()}
    attributes = {name: value for name, value in said.items() if value is not None}
    if request.stop:
        attributes[names.REQUEST_STOP] = request.stop
    if request.stream:
        attributes[names.REQUEST_STREAM] = True
    if request.response_format is not None:
        is_text = request.response_format.kind == "text"
        attributes[names.OUTPUT_TYPE] = "text" if is_text else "json"
    return attributes


def _concluded(ended: Finished) -> Attributes:
    """The attributes known at the end."""
    match ended:
        case RunFinished():
            attributes = {names.RUN_REASON: ended.reason, **_usage(ended.usage)}
            return (
                attributes if ended.cost is None else attributes | {names.COST: float(ended.cost)}
            )
        case Response():
            model, attributes = _model(ended.model)
            attributes.pop(names.REQUEST_MODEL)
            attributes[names.RESPONSE_MODEL] = model
            attributes[names.FINISH_REASONS] = [ended.finish_reason]
            if ended.id:
                attributes[names.RESPONSE_ID] = ended.id
            return attributes | _usage(ended.usage)
        case ProgramFinished():
            return {names.PROGRAM_STATUS: ended.status, names.PROGRAM_CALLS: ended.calls}
        case ToolFinished():
            return {}


def _usage(usage: Usage) -> Attributes:
    if not usage.is_reported:
        return {}
    attributes = {
        names.INPUT_TOKENS: usage.input_tokens,
        names.OUTPUT_TOKENS: usage.output_tokens,
    }
    parts = {
        names.CACHED_TOKENS: usage.cached_tokens,
        names.CACHE_WRITE_TOKENS: usage.cache_write_tokens,
        names.REASONING_TOKENS: usage.reasoning_tokens,
    }
    return attributes | {name: tokens for name, tokens in parts.items() if tokens}


def _failure(ended: Finished | None) -> str:
    """The kind of what went wrong, where something did."""
    match ended:
        case ToolFinished(result=result, error=error):
            return (error or "tool_error") if result.is_error else ""
        case ProgramFinished(status=status):
            return "" if status in ("finished", "paused") else status
        case RunFinished(reason=reason):
            return reason if reason in _FAILURES else ""
        case _:
            return ""


def _content_of(what: Started) -> Attributes:
    """The attributes with the content of the request."""
    match what:
        case RunStarted(messages=messages):
            return {names.INPUT_MESSAGES: messages_json(messages)}
        case ModelCalled(request=request):
            system = [each for each in request.messages if each.role == "system"]
            others = [each for each in request.messages if each.role != "system"]
            attributes = {names.INPUT_MESSAGES: messages_json(others)}
            return attributes | ({names.INSTRUCTIONS: instructions_json(system)} if system else {})
        case ToolCalled(call=call) | TaskStarted(call=call):
            return {names.CALL_ARGUMENTS: clipped(call.arguments_json)}
        case ProgramStarted(code=code):
            return {names.PROGRAM_CODE: clipped(code)}
        case HandedOver(reason=reason):
            return {names.HANDOFF_REASON: clipped(reason)}
        case StepStarted():
            return {}


def _content_of_end(ended: Finished) -> Attributes:
    """The attributes with the content of the answer."""
    match ended:
        case Response():
            answer = messages_json([ended.message], finish_reason=ended.finish_reason)
            return {names.OUTPUT_MESSAGES: answer}
        case RunFinished(answer=answer, reason=reason):
            answers = [answer] if answer is not None else []
            return {names.OUTPUT_MESSAGES: messages_json(answers, finish_reason=reason)}
        case ToolFinished(result=result):
            return {names.CALL_RESULT: clipped(result.text)}
        case ProgramFinished(output=output):
            return {names.PROGRAM_OUTPUT: clipped(output)}
