"""OpenTelemetry spans of the gateway's requests: what happened, never what was said.

One span a request, and below it one for each attempt at a provider, by the GenAI semantic
conventions.  A client's `traceparent` is continued and given on to the provider.  Imported only
where the configuration has `[traces]`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from threading import Thread

from opentelemetry.trace import Span, SpanKind, Tracer, set_span_in_context

from polycall.config import TraceSettings
from polycall.errors import PolycallError
from polycall.gateway.store import LedgerRow
from polycall.tracing import conventions as names
from polycall.tracing.common import PROPAGATOR, exporting, fail

_CLOSE_S = 5.0
_CARRIED = (b"traceparent", b"tracestate")


class Traces:
    """Makes spans and sends them.  One for the process; `close` sends the last."""

    def __init__(self, settings: TraceSettings) -> None:
        self._provider = exporting(
            settings.endpoint,
            headers=settings.headers,
            service=settings.service,
            sample=settings.sample,
        )
        self._tracer = self._provider.get_tracer("polycall.gateway")

    def begin(
        self, request_id: str, method: str, path: str, headers: Mapping[bytes, bytes]
    ) -> Trace:
        """The span of a request."""
        carried = {
            name.decode(): headers[name].decode("latin-1") for name in _CARRIED if name in headers
        }
        span = self._tracer.start_span(
            # Not the path: Gemini's holds the model, and names of spans should be few.
            method,
            context=PROPAGATOR.extract(carried),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": method,
                "url.path": path[:300],
                "polycall.request_id": request_id,
            },
        )
        return Trace(self._tracer, span)

    def tool(self, name: str, call_id: str, key: str, headers: Mapping[bytes, bytes]) -> ToolTrace:
        """The span of one tool call, below what the client says it is part of."""
        carried = {
            each.decode(): headers[each].decode("latin-1") for each in _CARRIED if each in headers
        }
        span = self._tracer.start_span(
            f"{names.EXECUTE_TOOL} {name[: names.NAME_CHARS_MAX]}",
            context=PROPAGATOR.extract(carried),
            kind=SpanKind.CLIENT,
            attributes={
                names.OPERATION: names.EXECUTE_TOOL,
                names.TOOL: name[: names.NAME_CHARS_MAX],
                names.CALL_ID: call_id,
                "polycall.key": key,
            },
        )
        return ToolTrace(span)

    async def close(self) -> None:
        """Send what is waiting; a collector that takes long is not waited for."""
        closing = Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        ends_at = time.monotonic() + _CLOSE_S
        while closing.is_alive() and time.monotonic() < ends_at:  # noqa: ASYNC110 - a thread
            await asyncio.sleep(0.01)


class Trace:
    """The spans of one request."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self._attempt: Span | None = None

    def attempt(self, provider: str, model: str, headers: Mapping[str, str]) -> dict[str, str]:
        """Begin the span of an attempt; gives its headers, with the one that continues it."""
        if self._attempt is not None:
            self._attempt.end()  # a program's model answers several times
        model = model[: names.NAME_CHARS_MAX]
        self._attempt = self._tracer.start_span(
            f"{names.CHAT} {model}",
            context=set_span_in_context(self._span),
            kind=SpanKind.CLIENT,
            attributes={
                names.OPERATION: names.CHAT,
                names.PROVIDER: names.provider_name(provider),
                names.REQUEST_MODEL: model,
            },
        )
        continued = dict(headers)
        PROPAGATOR.inject(continued, set_span_in_context(self._attempt))
        return continued

    def failed(self, error: PolycallError) -> None:
        """The attempt gave no answer."""
        if self._attempt is not None:
            _end_as_failed(self._attempt, type(error).__name__)
            self._attempt = None

    def end(self, row: LedgerRow) -> None:
        """The request is over, as its row says."""
        is_good = row.outcome in ("ok", "cached")
        if self._attempt is not None:
            if row.input_tokens is not None:
                self._attempt.set_attribute(names.INPUT_TOKENS, row.input_tokens)
                self._attempt.set_attribute(names.OUTPUT_TOKENS, row.output_tokens or 0)
            if is_good:
                self._attempt.end()
            else:
                _end_as_failed(self._attempt, row.outcome)
        self._span.set_attributes(
            {
                "http.response.status_code": row.status,
                names.REQUEST_MODEL: row.asked,
                "polycall.client": row.client,
                "polycall.key": row.key,
                names.OUTCOME: row.outcome,
                "polycall.attempts": row.attempts,
                "polycall.streamed": bool(row.streamed),
            }
        )
        if row.cost_usd is not None:
            self._span.set_attribute(names.COST, float(row.cost_usd))
        # A status below 500 that is none of success is the client's own mistake.
        if row.outcome in ("error", "truncated") and not 400 <= row.status < 500:
            _end_as_failed(self._span, row.outcome)
        else:
            self._span.end()


class ToolTrace:
    """The span of one tool call."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def end(self, outcome: str) -> None:
        """The call is over."""
        self._span.set_attribute(names.OUTCOME, outcome)
        if outcome == "ok":
            self._span.end()
        else:
            _end_as_failed(self._span, outcome)


def _end_as_failed(span: Span, kind: str) -> None:
    fail(span, kind)
    span.end()
