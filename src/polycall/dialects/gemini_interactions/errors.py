"""Errors, both ways: `{"error": {"code", "message"}}`, the code a word or a number."""

from __future__ import annotations

from typing import Any

from polycall import errors
from polycall.ir import JSON
from polycall.translation.error_bodies import (
    class_of,
    nearest,
    read_error,
    status_in,
    usual_status,
    word,
)
from polycall.translation.failures import blamed

_CLASSES: dict[str, type[errors.UpstreamError]] = {
    "invalid_request": errors.InvalidRequestError,
    "invalid_argument": errors.InvalidRequestError,
    "failed_precondition": errors.InvalidRequestError,
    "unauthenticated": errors.AuthenticationError,
    "permission_denied": errors.PermissionDeniedError,
    "not_found": errors.NotFoundError,
    "resource_exhausted": errors.RateLimitError,
    "too_many_requests": errors.RateLimitError,
    "unavailable": errors.OverloadedError,
    "deadline_exceeded": errors.UpstreamTimeoutError,
    "gateway_timeout": errors.UpstreamTimeoutError,
    "internal": errors.ServerError,
}
_WORDS: dict[type[errors.PolycallError], str] = {
    errors.InvalidRequestError: "invalid_request",
    errors.AuthenticationError: "unauthenticated",
    errors.PermissionDeniedError: "permission_denied",
    errors.NotFoundError: "not_found",
    errors.RateLimitError: "resource_exhausted",
    errors.OverloadedError: "unavailable",
    errors.UpstreamTimeoutError: "deadline_exceeded",
    errors.PolycallError: "internal",
}


def parse_error(status: int, body: Any) -> errors.UpstreamError:
    """The error that a body tells; the body may be anything, a proxy's page too."""
    _, error, message = read_error(body, status)
    kind = (word(error.get("status")) or word(error.get("code"))).lower()
    if status < 400:
        status = status_in(error) or status
    known = _CLASSES.get(kind) or class_of(status)
    return blamed(known, error, kind, message)(message, status=status, code=kind, body=body)


def render_error(error: errors.PolycallError) -> tuple[int, JSON]:
    """Status and body for a client of this dialect."""
    status = usual_status(error)
    kind = "invalid_request" if status in (400, 402, 413) else nearest(error, _WORDS)
    return status, {"error": {"code": kind, "message": str(error)}}
