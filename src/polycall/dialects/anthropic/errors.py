"""Errors, both ways: `{"type": "error", "error": {"type", "message", "details"}, "request_id"}`."""

from __future__ import annotations

import re
from typing import Any

from polycall import errors
from polycall.dialects.anthropic.names import WORDS
from polycall.ir import JSON
from polycall.translation.error_bodies import (
    class_of,
    error_fields,
    is_overflow,
    nearest,
    read_error,
    status_of,
    word,
)
from polycall.translation.failures import blamed, is_about_bytes, overflow_words

_CLASSES = WORDS.classes()
_WIRE = WORDS.wire(tuple[int, str])

# What a server says of a path and a method, and what clients fall back on.
_OF_HTTP = (405, 426)

# The vendor has no types of its own for these; the words are what there is.
_UNPAID = re.compile(r"credit balance is too low", re.IGNORECASE)
_SPENT = re.compile(r"spend_limit_reached|billing")


def parse_error(status: int, body: Any) -> errors.UpstreamError:
    """The error that a provider answered with, whatever it wrote.

    The wire's own type decides where it is known (an error inside a stream has the status 200),
    then the status.
    """
    read, fields, message = read_error(body, status)
    kind = word(fields.get("type"))
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


def _error_class(status: int, kind: str, code: str, message: str) -> type[errors.UpstreamError]:
    known = _CLASSES.get(kind)
    if known is None:
        known = class_of(status)
    if known is errors.ServerError and status > 500:
        known = errors.error_class_for_status(status)  # one type for all that fails there
    if known is errors.InvalidRequestError:
        if is_overflow(message):
            return errors.RequestTooLargeError
        if status not in (200, 400, 422):  # relatives put everything under one type
            known = errors.error_class_for_status(status) if status >= 400 else known
        if _UNPAID.search(message):
            return errors.BillingError
    if known is errors.RateLimitError and _SPENT.search(code):
        return errors.BillingError
    return known


def render_error(error: errors.PolycallError) -> tuple[int, JSON]:
    """Status and body for a client of this dialect.

    A body that this dialect wrote is given back as it came.
    """
    status, kind = nearest(error, _WIRE)
    message = str(error)
    if isinstance(error, errors.UpstreamError):
        body: Any = error.body
        is_of_tokens = isinstance(error, errors.RequestTooLargeError) and not is_about_bytes(error)
        is_relatives = is_of_tokens and not error.message.startswith("prompt is too long")
        if _is_own(body) and not is_relatives:
            return status_of(error, status), body
        if is_of_tokens:
            status, kind = 400, "invalid_request_error"
            message = overflow_words(error.message)
        elif body is None and error.status in _OF_HTTP:
            status = error.status
    details: JSON = {"type": kind, "message": message}
    rendered: JSON = {"type": "error", "error": details}
    if isinstance(error, errors.UpstreamError) and error.request_id:
        rendered["request_id"] = error.request_id
    return status, rendered


def _is_own(body: Any) -> bool:
    if not isinstance(body, dict) or body.get("type") != "error":  # pyright: ignore[reportUnknownMemberType]
        return False
    fields = error_fields(body)
    # Responses has error events that begin alike, with keys that this wire does not have.
    return bool(fields.get("type")) and not fields.keys() & {"code", "param"}
