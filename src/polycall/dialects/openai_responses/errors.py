"""Errors of the wire, in every shape that servers of this dialect send, and back."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

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
    UnsupportedError,
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
from polycall.translation.failures import blamed, with_overflow_code

_BY_CODE: dict[str, type[UpstreamError]] = {
    "billing_hard_limit_reached": BillingError,
    "billing_not_active": BillingError,
    "context_length_exceeded": RequestTooLargeError,
    "insufficient_quota": BillingError,
    "invalid_api_key": AuthenticationError,
    "model_not_found": NotFoundError,
    "overloaded": OverloadedError,
    "overloaded_error": OverloadedError,
    "rate_limit_error": RateLimitError,
    "rate_limit_exceeded": RateLimitError,
    "request_too_large": RequestTooLargeError,
    "server_error": ServerError,
    "server_is_overloaded": OverloadedError,
    "slow_down": OverloadedError,
    "timeout": UpstreamTimeoutError,
    "too_many_requests": RateLimitError,
    "vector_store_timeout": UpstreamTimeoutError,
}

# Where a stream fails there is no status; these codes blame the request.
_REQUEST_CODES = re.compile(
    r"invalid|image|unsupported|policy|data_residency|parameter|below_min|above_max"
)

_RETRY_HINT = re.compile(r"try again in (\d+(?:\.\d+)?)\s*(ms|s|m)\b")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}


class _Wire(NamedTuple):
    status: int
    type: str
    code: str | None


_TO_WIRE: dict[type[UpstreamError], _Wire] = {
    InvalidRequestError: _Wire(400, "invalid_request_error", None),
    AuthenticationError: _Wire(401, "invalid_request_error", "invalid_api_key"),
    BillingError: _Wire(429, "insufficient_quota", "insufficient_quota"),
    PermissionDeniedError: _Wire(403, "invalid_request_error", None),
    NotFoundError: _Wire(404, "invalid_request_error", None),
    RequestTooLargeError: _Wire(400, "invalid_request_error", "context_length_exceeded"),
    RateLimitError: _Wire(429, "rate_limit_error", "rate_limit_exceeded"),
    ServerError: _Wire(500, "server_error", "server_error"),
    OverloadedError: _Wire(503, "server_error", "overloaded"),
    UpstreamTimeoutError: _Wire(504, "server_error", "timeout"),
    UpstreamConnectionError: _Wire(502, "server_error", "server_error"),
}

_STATUSES = frozenset({400, 401, 403, 404, 408, 409, 413, 422, 424, 426, 429, 500, 502, 503, 504})


def parse_error(status: int, body: Any) -> UpstreamError:
    """The error that an answer with this status tells, whatever its body is.

    A status under 400 (an error in a body or stream that began well) leaves the class to the
    error's code and type, and `status` unset.
    """
    parsed = decoded(body)
    inner = error_fields(parsed)
    code, kind = word(inner.get("code")), word(inner.get("type"))
    message = error_message(inner, parsed, status)
    cls = _BY_CODE.get(code) or _BY_CODE.get(kind)
    if cls is None or (status >= 400 and cls is ServerError):
        cls = error_class_for_status(status) if status >= 400 else _class_without_status(code, kind)
    if cls is InvalidRequestError and is_overflow(message):
        cls = RequestTooLargeError
    cls = blamed(cls, inner, code, message)
    hint = _RETRY_HINT.search(message)
    return cls(
        message,
        status=status if status >= 400 else None,
        type=kind,
        code=code,
        param=word(inner.get("param")),
        retry_after_s=float(hint[1]) * _SECONDS[hint[2]] if hint else None,
        body=parsed,
    )


def _class_without_status(code: str, kind: str) -> type[UpstreamError]:
    if code.isdigit() and 400 <= int(code) < 600:
        return error_class_for_status(int(code))
    if kind == "invalid_request_error" or _REQUEST_CODES.search(code):
        return InvalidRequestError
    return ServerError


def render_error(error: PolycallError) -> tuple[int, JSON]:
    """Status and body for a client of this dialect; its own body goes back unchanged."""
    if isinstance(error, UpstreamError):
        wire = _wire(error)
        given = error.status or 0
        if _is_own_body(error.body):
            return (given if given >= 400 else wire.status), with_overflow_code(error)
        # Another vendor's status may mean another error here: Google says 400 to a wrong key.
        is_same = given in _STATUSES and isinstance(error, error_class_for_status(given))
        status = given if is_same else wire.status
        body = _body(error.message, wire.type, error.param, error.code or wire.code)
        if not isinstance(parse_error(status, body), type(error)):
            # Another vendor's code says nothing here.
            body = _body(error.message, wire.type, error.param, wire.code)
        return status, body
    if isinstance(error, UnsupportedError):
        return 400, _body(
            str(error), "invalid_request_error", error.feature, "unsupported_parameter"
        )
    if isinstance(error, RequestError):
        return 400, _body(str(error), "invalid_request_error", error.path, None)
    if isinstance(error, ProtocolError):
        return 502, _body(str(error), "server_error", "", "upstream_protocol_error")
    return 500, _body(str(error), "server_error", "", "server_error")


def stream_error(error: PolycallError) -> JSON:
    """The `error` object of a response that failed after it had begun."""
    if isinstance(error, UpstreamError):
        if _is_own_body(error.body):
            return with_overflow_code(error)["error"]
        code = error.code or _wire(error).code or "invalid_prompt"
        return {"code": code, "message": error.message}
    if isinstance(error, RequestError):
        return {"code": "invalid_prompt", "message": str(error)}
    return {"code": "server_error", "message": str(error)}


def _wire(error: UpstreamError) -> _Wire:
    return nearest(error, _TO_WIRE) or _TO_WIRE[ServerError]


def _is_own_body(body: Any) -> bool:
    """Whether it is `{"error": {...}}` as OpenAI writes it, and not as Anthropic or Google do."""
    if not isinstance(body, dict) or "type" in body:
        return False
    error = body.get("error")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):  # pyright: ignore[reportUnknownMemberType]
        return False
    return "status" not in error and not isinstance(error.get("code"), int)  # pyright: ignore[reportUnknownMemberType]


def _body(message: str, kind: str, param: str, code: str | None) -> JSON:
    return {
        "error": {"message": message, "type": kind, "param": param or None, "code": code or None}
    }
