"""Errors, both ways: `{"error": "..."}`, with the status alone to tell them apart."""

from __future__ import annotations

from typing import Any

from polycall.errors import (
    NotFoundError,
    PolycallError,
    ProtocolError,
    RequestError,
    RequestTooLargeError,
    ServerError,
    UpstreamError,
    error_class_for_status,
)
from polycall.ir import JSON
from polycall.translation.error_bodies import (
    decoded,
    error_fields,
    error_message,
    is_overflow,
)
from polycall.translation.failures import blamed


def parse_error(status: int, body: Any) -> UpstreamError:
    """The error that a server answered with, whatever it wrote."""
    read = decoded(body)
    fields = error_fields(read)
    message = error_message(fields, read, status)
    known = error_class_for_status(status) if status >= 400 else ServerError
    if known is ServerError and "not found" in message and "model" in message:
        known = NotFoundError
    if is_overflow(message):
        known = RequestTooLargeError
    return blamed(known, fields, "", message)(message, status=status, body=body)


def render_error(error: PolycallError) -> tuple[int, JSON]:
    """Status and body for a client of this dialect."""
    status = 500
    if isinstance(error, UpstreamError):
        status = error.status_default
        body: Any = error.body
        is_own = isinstance(body, dict) and set(body) == {"error"}  # pyright: ignore[reportUnknownArgumentType]
        if is_own and isinstance(body["error"], str):
            return (error.status if (error.status or 0) >= 400 else status) or status, body  # pyright: ignore[reportUnknownVariableType]
    elif isinstance(error, RequestError):
        status = 400
    elif isinstance(error, ProtocolError):
        status = 502
    return status, {"error": str(error)}
