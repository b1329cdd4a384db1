"""Traces, where the configuration wants them and their library is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polycall.config import TraceSettings
from polycall.errors import RequestError

if TYPE_CHECKING:
    from polycall.gateway.observability.traces import Traces


def open_traces(settings: TraceSettings) -> Traces:
    """Open the exporter of spans; raises `RequestError` without the library for it."""
    try:
        from polycall.gateway.observability.traces import Traces  # noqa: PLC0415 - an extra
    except ImportError:
        raise RequestError(
            "[traces] needs OpenTelemetry; install 'polycall[opentelemetry]'"
        ) from None
    return Traces(settings)
