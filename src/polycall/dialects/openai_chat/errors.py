"""Errors, both ways: whatever shape a server gives them, to the tree in `polycall.errors`."""

from __future__ import annotations

from typing import Any, NamedTuple

from polycall import errors
from polycall.dialects.openai_chat.names import WORDS
from polycall.ir import JSON
from polycall.translation.error_bodies import (
    is_of_prompt,
    is_overflow,
    nearest,
    read_error,
    status_in,
    status_of,
    word,
)
from polycall.translation.failures import blamed, failed_end, with_overflow_code

_BY_WORD = WORDS.classes()
_BY_VAGUE_WORD = WORDS.classes("vague_errors")


def parse_error(status: int, body: Any) -> errors.UpstreamError:
    """The error that an answer tells: nested, flat, a string, a list or a page of HTML."""
    body, fields, message = read_error(body, status)
    code = word(fields.get("code"))
    kind = word(fields.get("type"))
    known_status = status if status >= 400 else status_in(fields)
    error_class = _class(known_status, code, kind, message)
    if code == "string_above_max_length" and is_of_prompt(word(fields.get("param")), message):
        error_class = errors.RequestTooLargeError
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


def stream_error(data: JSON) -> errors.UpstreamError | None:
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


def choice_error(choice: JSON, reason: Any) -> errors.UpstreamError | None:
    """The error inside of a choice: an object, or a word for how it ended; `None` for an answer."""
    for place in (choice, choice.get("message"), choice.get("delta")):
        error: Any = place.get("error") if isinstance(place, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if error and isinstance(error, dict | str):
            return parse_error(0, {"error": error})
    words = [word for word in (reason, choice.get("native_finish_reason")) if isinstance(word, str)]
    return failed_end(*words)


def _class(status: int | None, code: str, kind: str, message: str) -> type[errors.UpstreamError]:
    for said in (code, kind):
        known = _BY_WORD.get(said.lower())
        # "tokens" and "requests" are OpenAI's types of a rate limit, and say it with 429 only.
        if known is not None and (said not in ("tokens", "requests") or status == 429):
            return known
    if status in (None, 400, 413, 422, 500) and is_overflow(message):
        return errors.RequestTooLargeError
    if status is not None:
        return errors.error_class_for_status(status)
    for said in (code, kind):
        known = _BY_VAGUE_WORD.get(said.lower())
        if known is not None:
            return known
    return errors.ServerError


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
class _Words(NamedTuple):
    type: str
    code: str | None = None


_WORDS = WORDS.wire(_Words)


def render_error(error: errors.PolycallError) -> tuple[int, JSON]:
    """Status and body, as OpenAI writes errors."""
    if isinstance(error, errors.UpstreamError):
        if _has_own_shape(error.body):
            return _wire_status(error, is_own=True), with_overflow_code(error)
        status = _wire_status(error, is_own=False)
        return status, _body(str(error), *nearest(error, _WORDS), error.param)
    status = 400 if isinstance(error, errors.RequestError) else 502
    place = error.feature if isinstance(error, errors.UnsupportedError) else error.path
    return status, _body(str(error), *nearest(error, _WORDS), place)


def _wire_status(error: errors.UpstreamError, *, is_own: bool) -> int:
    status = status_of(error, error.status_default)
    # Another vendor's status may mean another error here: Google says 400 to a wrong key.
    meant = errors.error_class_for_status(status)
    is_same = is_own or isinstance(error, meant | errors.RequestTooLargeError)
    if not is_same:
        status = error.status_default
    if isinstance(error, errors.RequestTooLargeError) and error.status is None:
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
