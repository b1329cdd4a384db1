"""Error bodies: `{"error": {"code", "message", "status", "details"}}`, both ways."""

from __future__ import annotations

import re
from typing import Any

from polycall import errors
from polycall.dialects.gemini.names import WORDS
from polycall.ir import JSON
from polycall.translation.error_bodies import (
    decoded,
    error_fields,
    is_overflow,
    nearest,
    read_error,
    status_in,
    status_of,
    word,
)
from polycall.translation.failures import blamed

_STATUS_BY_NAME: dict[str, int] = WORDS.tables["statuses"]
_NAME_BY_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
# Google's own statuses for these: a spent quota is a 429, a long prompt a 400; 0: the error's own.
_STATUS_BY_CLASS: dict[type[errors.PolycallError], int] = {
    errors.BillingError: 429,
    errors.RequestTooLargeError: 400,
    errors.OverloadedError: 503,
    errors.UpstreamTimeoutError: 504,
    errors.UpstreamError: 0,
    errors.RequestError: 400,
    errors.ProtocolError: 502,
    errors.PolycallError: 500,
}
# Reasons for what Google has no status of its own for, in the domain of those who write them.
_REASON_DOMAIN = "polycall"
_REASON_BY_CLASS: dict[type[errors.UpstreamError], str] = {
    errors.BillingError: "BILLING_DISABLED",
    errors.RequestTooLargeError: "REQUEST_TOO_LARGE",
}
_CLASS_BY_REASON: dict[str, type[errors.UpstreamError]] = {
    "API_KEY_INVALID": errors.AuthenticationError,
    "API_KEY_EXPIRED": errors.AuthenticationError,
    "ACCESS_TOKEN_EXPIRED": errors.AuthenticationError,
    "CREDENTIALS_MISSING": errors.AuthenticationError,
    "BILLING_DISABLED": errors.BillingError,
    "REQUEST_TOO_LARGE": errors.RequestTooLargeError,
}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)s")
_RPC = "type.googleapis.com/google.rpc."


def parse_error(status: int, body: Any) -> errors.PolycallError:
    """The error that a body tells; the body may be anything, a proxy's page too."""
    _, error, message = read_error(body, status)
    name = word(error.get("status"))
    if status < 400:
        # Inside a stream, or in a body that was sent with 200, only the body knows.
        status = status_in(error) or _STATUS_BY_NAME.get(name, 500)
    details = [_object(item) for item in _array(error.get("details"))]
    reason = ""
    param = ""
    retry_after_s: float | None = None
    for detail in details:
        kind = word(detail.get("@type")).rpartition(".")[2]
        if kind == "ErrorInfo":
            reason = word(detail.get("reason"))
        elif kind == "RetryInfo":
            retry_after_s = _seconds(detail.get("retryDelay"))
        elif kind == "BadRequest":
            param = _first_field(detail.get("fieldViolations"))
    error_class = _CLASS_BY_REASON.get(reason) or errors.error_class_for_status(status)
    if status == 400 and is_overflow(message):
        error_class = errors.RequestTooLargeError
    error_class = blamed(error_class, error, reason, message)
    return error_class(
        message,
        status=status,
        type=name,
        code=reason or word(error.get("code")),
        param=param,
        retry_after_s=retry_after_s,
        body=body,
    )


def _array(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]


def _object(value: Any) -> JSON:
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _seconds(value: Any) -> float | None:
    """`"34.4s"`, or the object that some writers make of a duration."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        return float(match[1])
    pairs = ((_object(value).get("seconds"), 1.0), (_object(value).get("nanos"), 1e-9))
    known = [number * unit for number, unit in pairs if isinstance(number, int | float)]
    return sum(known) if known else None


def _first_field(violations: Any) -> str:
    return next((word(_object(item).get("field")) for item in _array(violations)), "")


def render_error(error: errors.PolycallError) -> tuple[int, JSON]:
    """Status and body; a body that came from this wire goes back as it came."""
    if isinstance(error, errors.UpstreamError):
        own = _own_body(error.body)
        if own is not None:
            return error.status or own["error"]["code"], own
    status = _status_of(error)
    name = _NAME_BY_STATUS.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")
    details: list[JSON] = []
    if isinstance(error, errors.RequestError) and error.path:
        violation = {"field": error.path, "description": error.message}
        details.append({"@type": f"{_RPC}BadRequest", "fieldViolations": [violation]})
    for known, reason in _REASON_BY_CLASS.items():
        if isinstance(error, known):
            info = {"@type": f"{_RPC}ErrorInfo", "reason": reason, "domain": _REASON_DOMAIN}
            details.append(info)
    if isinstance(error, errors.UpstreamError) and error.retry_after_s is not None:
        details.append({"@type": f"{_RPC}RetryInfo", "retryDelay": f"{error.retry_after_s:g}s"})
    wire: JSON = {"code": status, "message": str(error), "status": name}
    if details:
        wire["details"] = details
    return status, {"error": wire}


def _own_body(body: Any) -> JSON | None:
    error = error_fields(decoded(body))
    if isinstance(error.get("code"), int) and word(error.get("status")):
        return {"error": error}
    return None


def _status_of(error: errors.PolycallError) -> int:
    status = nearest(error, _STATUS_BY_CLASS)
    if isinstance(error, errors.UpstreamError):
        return status or status_of(error, error.status_default)
    return status
