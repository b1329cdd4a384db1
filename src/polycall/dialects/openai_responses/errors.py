"""Errors of the wire, in every shape that servers of this dialect send, and back."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from polycall import errors
from polycall.dialects.openai_responses.names import WORDS
from polycall.ir import JSON
from polycall.translation.error_bodies import class_of, nearest, read_error, status_of, word
from polycall.translation.failures import blamed, with_overflow_code

_BY_CODE = WORDS.classes()

# Where a stream fails there is no status; these codes blame the request.
_REQUEST_CODES = re.compile(
    r"invalid|image|unsupported|policy|data_residency|parameter|below_min|above_max"
)

_RETRY_HINT = re.compile(r"try again in (\d+(?:\.\d+)?)\s*(ms|s|m)\b")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}


class _Wire(NamedTuple):
    status: int
    type: str
    code: str | None = None


_TO_WIRE = WORDS.wire(_Wire)

_STATUSES = frozenset({400, 401, 403, 404, 408, 409, 413, 422, 424, 426, 429, 500, 502, 503, 504})


def parse_error(status: int, body: Any) -> errors.UpstreamError:
    """The error that an answer with this status tells, whatever its body is.

    A status under 400 (an error in a body or stream that began well) leaves the class to the
    error's code and type, and `status` unset.
    """
    parsed, inner, message = read_error(body, status)
    code, kind = word(inner.get("code")), word(inner.get("type"))
    cls = _BY_CODE.get(code) or _BY_CODE.get(kind)
    if cls is None or (status >= 400 and cls is errors.ServerError):
        cls = class_of(status) if status >= 400 else _class_without_status(code, kind)
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


def _class_without_status(code: str, kind: str) -> type[errors.UpstreamError]:
    if code.isdigit() and 400 <= int(code) < 600:
        return errors.error_class_for_status(int(code))
    if kind == "invalid_request_error" or _REQUEST_CODES.search(code):
        return errors.InvalidRequestError
    return errors.ServerError


def render_error(error: errors.PolycallError) -> tuple[int, JSON]:
    """Status and body for a client of this dialect; its own body goes back unchanged."""
    wire = nearest(error, _TO_WIRE)
    if isinstance(error, errors.UpstreamError):
        if _is_own_body(error.body):
            return status_of(error, wire.status), with_overflow_code(error)
        # Another vendor's status may mean another error here: Google says 400 to a wrong key.
        given = error.status or 0
        is_same = given in _STATUSES and isinstance(error, errors.error_class_for_status(given))
        status = given if is_same else wire.status
        body = _body(error.message, wire.type, error.param, error.code or wire.code)
        if not isinstance(parse_error(status, body), type(error)):
            # Another vendor's code says nothing here.
            body = _body(error.message, wire.type, error.param, wire.code)
        return status, body
    place = error.path if isinstance(error, errors.RequestError) else ""
    place = error.feature if isinstance(error, errors.UnsupportedError) else place
    return wire.status, _body(str(error), wire.type, place, wire.code)


def stream_error(error: errors.PolycallError) -> JSON:
    """The `error` object of a response that failed after it had begun."""
    if isinstance(error, errors.UpstreamError):
        if _is_own_body(error.body):
            return with_overflow_code(error)["error"]
        code = error.code or nearest(error, _TO_WIRE).code or "invalid_prompt"
        return {"code": code, "message": error.message}
    if isinstance(error, errors.RequestError):
        return {"code": "invalid_prompt", "message": str(error)}
    return {"code": "server_error", "message": str(error)}


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
