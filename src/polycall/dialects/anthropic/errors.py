"""Errors, both ways: `{"type": "error", "error": {"type", "message", "details"}, "request_id"}`."""

from __future__ import annotations

import re
from typing import Any

from polycall.errors import (
    AuthenticationError,
    BillingError,
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
    UpstreamConnectionError,
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
    word,
)
from polycall.translation.failures import blamed, is_about_bytes, overflow_words

_CLASSES: dict[str, type[UpstreamError]] = {
    "invalid_request_error": InvalidRequestError,
    "authentication_error": AuthenticationError,
    "billing_error": BillingError,
    "permission_error": PermissionDeniedError,
    "not_found_error": NotFoundError,
    "request_too_large": RequestTooLargeError,
    "rate_limit_error": RateLimitError,
    "api_error": ServerError,
    "timeout_error": UpstreamTimeoutError,
    "overloaded_error": OverloadedError,
    "conflict_error": InvalidRequestError,
}

_WIRE: dict[type[UpstreamError], tuple[int, str]] = {
    InvalidRequestError: (400, "invalid_request_error"),
    AuthenticationError: (401, "authentication_error"),
    BillingError: (402, "billing_error"),
    PermissionDeniedError: (403, "permission_error"),
    NotFoundError: (404, "not_found_error"),
    RequestTooLargeError: (413, "request_too_large"),
    RateLimitError: (429, "rate_limit_error"),
    OverloadedError: (529, "overloaded_error"),
    UpstreamTimeoutError: (504, "timeout_error"),
    UpstreamConnectionError: (502, "api_error"),
    ServerError: (500, "api_error"),
}

# What a server says of a path and a method, and what clients fall back on.
_OF_HTTP = (405, 426)

# The vendor has no types of its own for these; the words are what there is.
_UNPAID = re.compile(r"credit balance is too low", re.IGNORECASE)
_SPENT = re.compile(r"spend_limit_reached|billing")


def parse_error(status: int, body: Any) -> UpstreamError:
    """The error that a provider answered with, whatever it wrote.

    The wire's own type decides where it is known (an error inside a stream has the status 200),
    then the status.
    """
    read = decoded(body)
    fields = error_fields(read)
    kind = word(fields.get("type"))
    message = error_message(fields, read, status)
    details: Any = fields.get("details")
    code = word(details.get("error_code")) if isinstance(details, dict) else ""  # pyright: ignore[reportUnknownMemberType]
    request_id = word(read.get("request_id")) if isinstance(read, dict) else ""  # pyright: ignore[reportUnknownMemberType]
    return blamed(_error_class(status, kind, code, message), fields, code, message)(
        message,
        status=status,
        type=kind,
        code=code,
        request_id=request_id,
        body=body,
    )


def _error_class(status: int, kind: str, code: str, message: str) -> type[UpstreamError]:
    known = _CLASSES.get(kind)
    if known is None:
        known = error_class_for_status(status) if status >= 400 else ServerError
    if known is ServerError and status > 500:
        known = error_class_for_status(status)  # one type for all that fails there
    if known is InvalidRequestError:
        if status not in (200, 400, 422):  # relatives put everything under one type
            known = error_class_for_status(status) if status >= 400 else known
        if is_overflow(message):
            return RequestTooLargeError
        if _UNPAID.search(message):
            return BillingError
    if known is RateLimitError and _SPENT.search(code):
        return BillingError
    return known


def render_error(error: PolycallError) -> tuple[int, JSON]:
    """Status and body for a client of this dialect.

    A body that this dialect wrote is given back as it came.
    """
    status, kind = _status_and_type(error)
    message = str(error)
    if isinstance(error, UpstreamError):
        body: Any = error.body
        is_of_tokens = isinstance(error, RequestTooLargeError) and not is_about_bytes(error)
        is_relatives = is_of_tokens and not error.message.startswith("prompt is too long")
        if _is_own(body) and not is_relatives:
            came_with = error.status or 0
            return (came_with if came_with >= 400 else status), body
        if is_of_tokens:
            status, kind = 400, "invalid_request_error"
            message = overflow_words(error.message)
        elif body is None and error.status in _OF_HTTP:
            status = error.status
    details: JSON = {"type": kind, "message": message}
    rendered: JSON = {"type": "error", "error": details}
    if isinstance(error, UpstreamError) and error.request_id:
        rendered["request_id"] = error.request_id
    return status, rendered


def _is_own(body: Any) -> bool:
    if not isinstance(body, dict) or body.get("type") != "error":  # pyright: ignore[reportUnknownMemberType]
        return False
    fields = error_fields(body)
    # Responses has error events that begin alike, with keys that this wire does not have.
    return bool(fields.get("type")) and not fields.keys() & {"code", "param"}


def _status_and_type(error: PolycallError) -> tuple[int, str]:
    if isinstance(error, UpstreamError):
        return nearest(error, _WIRE) or (500, "api_error")
    if isinstance(error, RequestError):
        return 400, "invalid_request_error"
    if isinstance(error, ProtocolError):
        return 502, "api_error"
    return 500, "api_error"
