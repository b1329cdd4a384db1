"""The common part of the spans of the gateway and of agents' runs: their exporter and failures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from polycall.tracing.conventions import ERROR_TYPE

PROPAGATOR = TraceContextTextMapPropagator()
_TIMEOUT_S = 5.0


def exporting(
    endpoint: str, *, headers: Mapping[str, str], service: str, sample: float
) -> TracerProvider:
    """A provider whose spans go to a collector, by OTLP over HTTP.  The code that asked closes it.

    `sample` is the share of traces to keep, where the caller above has not decided.
    """
    provider = TracerProvider(
        resource=Resource.create({"service.name": service}),
        sampler=ParentBased(TraceIdRatioBased(sample)),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(
        endpoint=endpoint, headers=dict(headers), timeout=_TIMEOUT_S, session=_Session()
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


class _Session(requests.Session):
    """Looks at a collector's status alone: a body may have no end, and a redirect lead anywhere."""

    def request(self, *args: Any, **options: Any) -> requests.Response:
        response = super().request(*args, **{**options, "stream": True})
        response.close()
        return response

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None: the library reads a whole body before it looks at where it leads."""
        return None


def fail(span: Span, kind: str, description: str | None = None) -> None:
    """Mark a span as failed.  A message may repeat what was said, and its kind does not."""
    span.set_attribute(ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR, description))
