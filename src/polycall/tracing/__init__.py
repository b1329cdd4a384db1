"""OpenTelemetry spans of agents' runs: what happened, and what was said only where that is asked.

conventions.py   the names; common.py what the gateway's spans share
spans.py         the spans; content.py messages as the conventions write them

    with tracing.enable("http://localhost:4318/v1/traces"): ...

Needs `polycall[opentelemetry]`, and nothing of it is loaded before `enable`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from polycall.errors import RequestError
from polycall.instrumentation import watch, watcher

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider as OwnProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["Tracing", "enable"]


class Tracing:
    """Spans of all that agents do in this process, until `close`."""

    def __init__(self, owned: OwnProvider | None) -> None:
        self._owned = owned
        self._watcher = watcher()

    def __enter__(self) -> Tracing:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop, and send what is waiting to the collector; for that it may wait some seconds."""
        if watcher() is self._watcher:
            watch(None)
        if self._owned is not None:
            self._owned.shutdown()


def enable(
    endpoint: str = "",
    *,
    headers: Mapping[str, str] | None = None,
    service: str = "polycall",
    sample: float = 1.0,
    provider: TracerProvider | None = None,
    content: bool = False,
) -> Tracing:
    """Make spans from now on.

    They go to `endpoint`, a collector's address for OTLP over HTTP; or to `provider`; or, without
    either, to the application's own, as `opentelemetry.trace` knows it.  `headers`, `service` and
    `sample` (the share of traces that are kept) are for the endpoint.  `content` puts messages,
    arguments, results, programs and error messages into the spans: they may hold anything that
    users and tools say.
    """
    try:
        from opentelemetry import trace  # noqa: PLC0415 - an extra

        from polycall.tracing.spans import SpanWatcher  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise RequestError(
            f"tracing needs OpenTelemetry ({error}); install 'polycall[opentelemetry]'"
        ) from None
    if watcher() is not None:
        raise RequestError("tracing is on already; close it first")
    if endpoint and provider is not None:
        raise RequestError("give an endpoint or a provider, and not both")
    owned = _exporting(endpoint, headers or {}, service, sample) if endpoint else None
    tracers = owned or provider or trace.get_tracer_provider()
    watch(SpanWatcher(tracers.get_tracer("polycall"), content=content))
    return Tracing(owned)


def _exporting(
    endpoint: str, headers: Mapping[str, str], service: str, sample: float
) -> OwnProvider:
    from polycall.tracing.common import exporting  # noqa: PLC0415 - an extra

    if not endpoint.startswith(("http://", "https://")):
        raise RequestError(f"{endpoint!r} is not an address; write http://HOST:4318/v1/traces")
    if not 0.0 <= sample <= 1.0:
        raise RequestError(f"sample is a share between 0 and 1, not {sample!r}")
    return exporting(endpoint, headers=headers, service=service, sample=sample)
