"""Errors, both ways: whatever shape a server gives them, to the tree in `polycall.errors`."""

from __future__ import annotations

from typing import Any

from polycall.errors import (
    AuthenticationError,
    BillingError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    PolycallError,
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
    is_of_prompt,
    is_overflow,
    nearest,
    status_in,
    word,
)
from polycall.translation.failures import blamed, failed_end, with_overflow_code

# Words that say more than the status does, whether they stand as code or as type.
_BY_WORD: dict[str, type[UpstreamError]] = {
    "context_length_exceeded": RequestTooLargeError,
    "exceed_context_size_error": RequestTooLargeError,
    "request_too_large": RequestTooLargeError,
    "insufficient_quota": BillingError,
    "billing_error": BillingError,
    "billing_hard_limit_reached": BillingError,
    "billing_not_active": BillingError,
    "insufficient_balance": BillingError,
    "rate_limit_exceeded": RateLimitError,
    "rate_limit_error": RateLimitError,
    "too_many_requests": RateLimitError,
    "tokens": RateLimitError,
    "requests": RateLimitError,
    "invalid_api_key": AuthenticationError,
    "authentication_error": AuthenticationError,
    "permission_error": PermissionDeniedError,
    "permission_denied": PermissionDeniedError,
    "model_not_found": NotFoundError,
    "not_found_error": NotFoundError,
    "overloaded_error": OverloadedError,
    "service_unavailable": OverloadedError,
    "timeout": UpstreamTimeoutError,
}
# These are as vague as a status, and count only if nothing else says it.
_BY_VAGUE_WORD: dict[str, type[UpstreamError]] = {
    "invalid_request_error": InvalidRequestError,
    "invalid_request": InvalidRequestError,
    "bad_request": InvalidRequestError,
    "server_error": ServerError,
    "api_error": ServerError,
    "internal_error": ServerError,
    "internal_server_error": ServerError,
}


def parse_error(status: int, body: Any) -> UpstreamError:
    """The error that an answer tells: nested, flat, a string, a list or a page of HTML."""
    body = decoded(body)
    fields = error_fields(body)
    message = error_message(fields, body, status)
    code = word(fields.get("code"))
    kind = word(fields.get("type"))
    known_status = status if status >= 400 else status_in(fields)
    error_class = _class(known_status, code, kind, message)
    if code == "string_above_max_length" and is_of_prompt(word(fields.get("param")), message):
        error_class = RequestTooLargeError
    error_class = blamed(error_class, fields, code or kind, message)
    return error_class(
        message,
        status=known_status,
        type=kind,
        code=code,
        param=word(fields.get("param")),
        request_id=_request_id(fields, body),
        body=body,
    )


def stream_error(data: JSON) -> UpstreamError | None:
    """The error in an event or a body that came with status 200; `None` if it is malformed."""
    error = data.get("error")
    if error:
        return parse_error(0, data)
    if data.get("choices") is not None:
        return None
    status: Any = data.get("base_resp")
    if isinstance(status, dict) and status.get("status_code"):  # pyright: ignore[reportUnknownMemberType]
        # Documented: MiniMax says with status 200 that it failed.
        code, message = status["status_code"], status.get("status_msg")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return parse_error(0, {"error": {"message": message, "code": code}})
    is_flat = data.get("object") == "error" or data.get("type") == "error"
    is_flat = is_flat or ("message" in data and ("code" in data or "type" in data))
    return parse_error(0, data) if is_flat or "detail" in data else None


def choice_error(choice: JSON, reason: Any) -> UpstreamError | None:
    """The error inside of a choice: an object, or a word for how it ended; `None` for an answer."""
    for place in (choice, choice.get("message"), choice.get("delta")):
        error: Any = place.get("error") if isinstance(place, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if error and isinstance(error, dict | str):
            return parse_error(0, {"error": error})
    words = [word for word in (reason, choice.get("native_finish_reason")) if isinstance(word, str)]
    return failed_end(*words)


def _class(status: int | None, code: str, kind: str, message: str) -> type[UpstreamError]:
    for said in (code, kind):
        known = _BY_WORD.get(said.lower())
        # "tokens" and "requests" are OpenAI's types of a rate limit, and say it with 429 only.
        if known is not None and (said not in ("tokens", "requests") or status == 429):
            return known
    if status in (None, 400, 413, 422, 500) and is_overflow(message):
        return RequestTooLargeError
    if status is not None:
        return error_class_for_status(status)
    for said in (code, kind):
        known = _BY_VAGUE_WORD.get(said.lower())
        if known is not None:
            return known
    return ServerError


def _request_id(fields: JSON, body: Any) -> str:
    for source in (body, fields):
        if isinstance(source, dict):
            value: Any = source.get("request_id")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            if isinstance(value, str):
                return value
    return ""


# ---------------------------------------------------------------------------------------------
# Out

# (type, code) in OpenAI's words.
_WORDS: dict[type[UpstreamError], tuple[str, str | None]] = {
    InvalidRequestError: ("invalid_request_error", None),
    AuthenticationError: ("invalid_request_error", "invalid_api_key"),
    BillingError: ("insufficient_quota", "insufficient_quota"),
    PermissionDeniedError: ("invalid_request_error", "permission_denied"),
    NotFoundError: ("invalid_request_error", "model_not_found"),
    RequestTooLargeError: ("invalid_request_error", "context_length_exceeded"),
    RateLimitError: ("rate_limit_error", "rate_limit_exceeded"),
    ServerError: ("server_error", None),
    OverloadedError: ("server_error", "service_unavailable"),
    UpstreamTimeoutError: ("server_error", "timeout"),
    UpstreamConnectionError: ("server_error", "upstream_unreachable"),
}


def render_error(error: PolycallError) -> tuple[int, JSON]:
    """Status and body, as OpenAI writes errors."""
    if isinstance(error, UpstreamError):
        if _has_own_shape(error.body):
            return _wire_status(error, is_own=True), with_overflow_code(error)
        status = _wire_status(error, is_own=False)
        words = nearest(error, _WORDS) or ("server_error", None)
        return status, _body(str(error), *words, error.param)
    if isinstance(error, UnsupportedError):
        return 400, _body(
            str(error), "invalid_request_error", "unsupported_parameter", error.feature
        )
    if isinstance(error, RequestError):
        return 400, _body(str(error), "invalid_request_error", None, error.path)
    # What is left is nonsense from the provider.
    return 502, _body(str(error), "server_error", "bad_upstream_response", error.path)


def _wire_status(error: UpstreamError, *, is_own: bool) -> int:
    status = error.status if error.status and error.status >= 400 else error.status_default
    # Another vendor's status may mean another error here: Google says 400 to a wrong key.
    is_same = is_own or isinstance(error, error_class_for_status(status) | RequestTooLargeError)
    if not is_same:
        status = error.status_default
    if isinstance(error, RequestTooLargeError) and error.status is None:
        return 400  # OpenAI's own for a context that is too long
    return 503 if status == 529 else status


def _has_own_shape(body: Any) -> bool:
    """Whether the body is an error as Chat writes it, and not Anthropic's or Gemini's."""
    if not isinstance(body, dict) or body.get("type") == "error":  # pyright: ignore[reportUnknownMemberType]
        return False
    error: Any = body.get("error")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return (
        isinstance(error, dict)
        and isinstance(error.get("message"), str)  # pyright: ignore[reportUnknownMemberType]
        and not isinstance(error.get("status"), str)  # pyright: ignore[reportUnknownMemberType]
    )


def _body(message: str, kind: str, code: str | None, param: str) -> JSON:
    fields: JSON = {"message": message, "type": kind, "param": param or None, "code": code}
    return {"error": fields}
