"""Errors, both ways: `{"error": "..."}`, with the status alone to tell them apart."""

from __future__ import annotations

from typing import Any

from polycall import errors
from polycall.ir import JSON
from polycall.translation.error_bodies import (
    class_of,
    is_overflow,
    read_error,
    status_of,
    usual_status,
)
from polycall.translation.failures import blamed


def parse_error(status: int, body: Any) -> errors.UpstreamError:
    """The error that a server answered with, whatever it wrote."""
    _, fields, message = read_error(body, status)
    known = class_of(status)
    if known is errors.ServerError and "not found" in message and "model" in message:
        known = errors.NotFoundError
    if is_overflow(message):
        known = errors.RequestTooLargeError
    return blamed(known, fields, "", message)(message, status=status, body=body)


def render_error(error: errors.PolycallError) -> tuple[int, JSON]:
    """Status and body for a client of this dialect."""
    status = usual_status(error)
    body: Any = error.body if isinstance(error, errors.UpstreamError) else None
    is_own = isinstance(body, dict) and set(body) == {"error"}  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(error, errors.UpstreamError) and is_own and isinstance(body["error"], str):
        return status_of(error, status), body  # pyright: ignore[reportUnknownVariableType]
    return status, {"error": str(error)}
