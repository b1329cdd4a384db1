"""Errors, both ways: `{"error": {"code", "message"}}`, the code a word or a number."""

from __future__ import annotations

from typing import Any

from polycall.errors import (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    PolycallError,
    ProtocolError,
    RateLimitError,
    RequestError,
    RequestTooLargeError,
    ServerError,
    UpstreamError,
    UpstreamTimeoutError,
    error_class_for_status,
)
from polycall.ir import JSON
from polycall.translation.error_bodies import (
    decoded,
    error_fields,
    error_message,
    is_overflow,
    nearest,
    status_in,
    word,
)
from polycall.translation.failures import blamed

_CLASSES: dict[str, type[UpstreamError]] = {
    "invalid_request": InvalidRequestError,
    "invalid_argument": InvalidRequestError,
    "failed_precondition": InvalidRequestError,
    "unauthenticated": AuthenticationError,
    "permission_denied": PermissionDeniedError,
    "not_found": NotFoundError,
    "resource_exhausted": RateLimitError,
    "too_many_requests": RateLimitError,
    "unavailable": OverloadedError,
    "deadline_exceeded": UpstreamTimeoutError,
    "gateway_timeout": UpstreamTimeoutError,
    "internal": ServerError,
}
_WORDS: dict[type[UpstreamError], str] = {
    InvalidRequestError: "invalid_request",
    AuthenticationError: "unauthenticated",
    PermissionDeniedError: "permission_denied",
    NotFoundError: "not_found",
    RateLimitError: "resource_exhausted",
    OverloadedError: "unavailable",
    UpstreamTimeoutError: "deadline_exceeded",
}


def parse_error(status: int, body: Any) -> UpstreamError:
    """The error that a body tells; the body may be anything, a proxy's page too."""
    read = decoded(body)
    error = error_fields(read)
    kind = (word(error.get("status")) or word(error.get("code"))).lower()
    if status < 400:
        status = status_in(error) or status
    message = error_message(error, read, status)
    known = _CLASSES.get(kind)
    if known is None:
        known = error_class_for_status(status) if status >= 400 else ServerError
    if known is InvalidRequestError and is_overflow(message):
        known = RequestTooLargeError
    return blamed(known, error, kind, message)(message, status=status, code=kind, body=body)


def render_error(error: PolycallError) -> tuple[int, JSON]:
    """Status and body for a client of this dialect."""
    status, kind = 500, "internal"
    if isinstance(error, UpstreamError):
        status = error.status_default
        kind = nearest(error, _WORDS) or kind
        if status in (400, 402, 413):
            kind = "invalid_request"
    elif isinstance(error, RequestError):
        status, kind = 400, "invalid_request"
    elif isinstance(error, ProtocolError):
        status = 502
    return status, {"error": {"code": kind, "message": str(error)}}
