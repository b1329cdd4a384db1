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

# In the order in which a subclass would be found; the base stands last.
_WIRE: tuple[tuple[type[UpstreamError], int, str], ...] = (
    (InvalidRequestError, 400, "invalid_request_error"),
    (AuthenticationError, 401, "authentication_error"),
    (BillingError, 402, "billing_error"),
    (PermissionDeniedError, 403, "permission_error"),
    (NotFoundError, 404, "not_found_error"),
    (RequestTooLargeError, 413, "request_too_large"),
    (RateLimitError, 429, "rate_limit_error"),
    (OverloadedError, 529, "overloaded_error"),
    (UpstreamTimeoutError, 504, "timeout_error"),
    (UpstreamConnectionError, 502, "api_error"),
    (ServerError, 500, "api_error"),
)

# The vendor has no types of its own for these; the words are what there is.
_TOO_LONG = re.compile(r"prompt is too long|exceeds? (the )?context (limit|window)", re.IGNORECASE)
_UNPAID = re.compile(r"credit balance is too low", re.IGNORECASE)
_SPENT = re.compile(r"spend_limit_reached|billing")


def parse_error(status: int, body: Any) -> UpstreamError:
    """The error that a provider answered with, whatever it wrote.

    The wire's own type decides where it is known (an error inside a stream has the status 200),
    then the status.
    """
    fields = _fields(body)
    kind = _string(fields.get("type"))
    message = _string(fields.get("message")) or _plain_message(body, status)
    details = fields.get("details")
    code = _string(details.get("error_code")) if isinstance(details, dict) else ""  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    request_id = _string(body.get("request_id")) if isinstance(body, dict) else ""  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
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
        if _TOO_LONG.search(message):
            return RequestTooLargeError
        if _UNPAID.search(message):
            return BillingError
    if known is RateLimitError and _SPENT.search(code):
        return BillingError
    return known


def _fields(body: Any) -> JSON:
    """The object that says what went wrong, wherever a server put it."""
    if isinstance(body, list) and body:
        body = body[0]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(body, dict):
        return {}
    error: Any = body.get("error")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if isinstance(error, dict):
        return error  # pyright: ignore[reportUnknownVariableType]
    if isinstance(error, str):
        return {"message": error}
    for key in ("message", "detail", "Message"):
        if isinstance(body.get(key), str):  # pyright: ignore[reportUnknownMemberType]
            return {"message": body[key]}
    return {}


def _plain_message(body: Any, status: int) -> str:
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    if isinstance(text, str) and text.strip():
        return " ".join(text.split())[:500]
    return f"the provider answered with status {status} and no message"


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def render_error(error: PolycallError) -> tuple[int, JSON]:
    """Status and body for a client of this dialect.

    A body that this dialect wrote is given back as it came.
    """
    status, kind = _status_and_type(error)
    message = str(error)
    if isinstance(error, UpstreamError):
        body = error.body
        if _is_own(body):
            came_with = error.status or 0
            return (came_with if came_with >= 400 else status), body
        if isinstance(error, RequestTooLargeError) and not is_about_bytes(error):
            status, kind = 400, "invalid_request_error"
            message = overflow_words(error.message)
    details: JSON = {"type": kind, "message": message}
    rendered: JSON = {"type": "error", "error": details}
    if isinstance(error, UpstreamError) and error.request_id:
        rendered["request_id"] = error.request_id
    return status, rendered


def _is_own(body: Any) -> bool:
    if not isinstance(body, dict) or body.get("type") != "error":  # pyright: ignore[reportUnknownMemberType]
        return False
    fields = _fields(body)
    # Responses has error events that begin alike, with keys that this wire does not have.
    return bool(fields.get("type")) and not fields.keys() & {"code", "param"}


def _status_and_type(error: PolycallError) -> tuple[int, str]:
    if isinstance(error, UpstreamError):
        for known, status, kind in _WIRE:
            if isinstance(error, known):
                return status, kind
        return 500, "api_error"
    if isinstance(error, RequestError):
        return 400, "invalid_request_error"
    if isinstance(error, ProtocolError):
        return 502, "api_error"
    return 500, "api_error"
