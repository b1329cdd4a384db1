"""A small OTLP collector: keeps the bodies it is sent, and reads the spans in them."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.origins import Handler, serving


class Seen(NamedTuple):
    """One span."""

    name: str
    kind: int
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    is_error: bool
    message: str  # of its status
    start: int
    links: list[tuple[str, str]]  # trace and span
    service: str


class Collector(NamedTuple):
    """Where to send to, and what came."""

    url: str
    bodies: list[bytes]
    headers: list[dict[str, str]]

    def spans(self) -> list[Seen]:
        """All spans so far."""
        found: list[Seen] = []
        for body in self.bodies:
            request = ExportTraceServiceRequest.FromString(body)
            for resource in request.resource_spans:
                service = _attributes(resource.resource)["service.name"]
                for scope in resource.scope_spans:
                    found.extend(_seen(span, service) for span in scope.spans)
        return found


def _attributes(of: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in of.attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind)


def _seen(span: Any, service: str) -> Seen:
    return Seen(
        span.name,
        span.kind,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        _attributes(span),
        span.status.code == 2,
        span.status.message,
        span.start_time_unix_nano,
        [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        service,
    )


@contextmanager
def collecting() -> Iterator[Collector]:
    bodies: list[bytes] = []
    headers: list[dict[str, str]] = []

    class Receiver(Handler):
        def do_POST(self) -> None:
            body = self.read()
            if self.headers["content-encoding"] == "gzip":
                body = gzip.decompress(body)
            bodies.append(body)
            headers.append(self.head())
            self.answer()

    with serving(Receiver) as url:
        yield Collector(f"{url}/v1/traces", bodies, headers)
