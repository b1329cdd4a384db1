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
    ServerError,
    UpstreamError,
    UpstreamTimeoutError,
    error_class_for_status,
)
from polycall.ir import JSON
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
_WORDS: tuple[tuple[type[UpstreamError], str], ...] = (
    (InvalidRequestError, "invalid_request"),
    (AuthenticationError, "unauthenticated"),
    (PermissionDeniedError, "permission_denied"),
    (NotFoundError, "not_found"),
    (RateLimitError, "resource_exhausted"),
    (OverloadedError, "unavailable"),
    (UpstreamTimeoutError, "deadline_exceeded"),
)
_SHOWN_MAX = 500


def parse_error(status: int, body: Any) -> UpstreamError:
    """The error that a body tells; the body may be anything, a proxy's page too."""
    if isinstance(body, list) and body:
        body = body[0]  # pyright: ignore[reportUnknownVariableType]
    fields: JSON = body if isinstance(body, dict) else {}  # pyright: ignore[reportUnknownVariableType]
    found: Any = fields.get("error")
    if found is None and isinstance(errors := fields.get("errors"), list) and errors:
        found = errors[0]  # pyright: ignore[reportUnknownVariableType]
    error: JSON = found if isinstance(found, dict) else {"message": found}  # pyright: ignore[reportUnknownVariableType]
    code: Any = error.get("code")
    word = str(error.get("status") or code or "").lower()
    if status < 400 and isinstance(code, int) and 400 <= code <= 599:
        status = code
    said: Any = error.get("message")
    message = said if isinstance(said, str) and said else _plain(body, status)
    known = _CLASSES.get(word)
    if known is None:
        known = error_class_for_status(status) if status >= 400 else ServerError
    return blamed(known, error, word, message)(message, status=status, code=word, body=body)


def _plain(body: Any, status: int) -> str:
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    if isinstance(text, str) and text.strip():
        return " ".join(text.split())[:_SHOWN_MAX]
    return f"the interaction failed, with status {status} and no message"


def render_error(error: PolycallError) -> tuple[int, JSON]:
    """Status and body for a client of this dialect."""
    status, word = 500, "internal"
    if isinstance(error, UpstreamError):
        status = error.status_default
        word = next((each for known, each in _WORDS if isinstance(error, known)), word)
        if status in (400, 402, 413):
            word = "invalid_request"
    elif isinstance(error, RequestError):
        status, word = 400, "invalid_request"
    elif isinstance(error, ProtocolError):
        status = 502
    return status, {"error": {"code": word, "message": str(error)}}
