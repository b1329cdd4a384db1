"""Bodies of errors, read alike for every dialect.

Servers write what went wrong in an object under `error`, flat, in a list, as a string, in bytes or
as a proxy's page of HTML, whatever wire they speak otherwise.  A dialect says what the words mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from polycall._support import jsontext
from polycall.errors import (
    PolycallError,
    ProtocolError,
    RequestError,
    ServerError,
    UpstreamError,
    error_class_for_status,
)
from polycall.ir import JSON

_Row = TypeVar("_Row")

_MESSAGE_KEYS = (
    "message",
    "detail",
    "error_description",
    "error_message",
    "Message",
    "originalMessage",
    "msg",
    "title",
)
_SHOWN_MAX = 2_000

# Servers that have no code for it say in words that the prompt does not fit.
_OVERFLOW = re.compile(
    r"(prompt|input)( token)?( length| tokens?)?( is| are)? too (long|large)"
    r"|context (length|size|window|limit)|available context|maximum (context|prompt)"
    r"|token limit reached|too many (input )?tokens"
    r"|request exceeded\b.{0,20} token limit"
    r"|(prompt|input)( length)?( of)?( \d+)? exceeds max"
    r"|range of input length should be"
    r"|`inputs` (tokens \+|must have less than)"
    r"|reduce the length of the (messages|prompt|input)"
    r"|token count .{0,40}exceeds the (maximum|limit)"
    r"|(number of|total|input|prompt)\b.{0,40}\btokens?\b.{0,40}exceed",
    re.IGNORECASE,
)
# Fields whose text is the prompt: one that is too long is a prompt that is.
_OF_PROMPT = re.compile(r"(input|prompt|instructions|system|messages)?(\[\d+\]|\.(content|text))*")
_NAMED = re.compile(r"Invalid '([^']*)'")


def decoded(body: Any) -> Any:
    """The body as JSON where it is JSON, else as it came, bytes as text; of a list its first."""
    if isinstance(body, bytes | bytearray):
        body = body.decode("utf-8", "replace")
    if isinstance(body, str) and body.lstrip()[:1] in ("{", "["):
        try:
            body = jsontext.decode(body)
        except ValueError:
            return body
    if isinstance(body, list) and body:
        return body[0]  # pyright: ignore[reportUnknownVariableType]
    return body  # pyright: ignore[reportUnknownVariableType]


def error_fields(body: Any) -> JSON:
    """The object that holds message, type and code, from a body that `decoded` returned."""
    if not isinstance(body, dict):
        return {}
    flat: JSON = body  # pyright: ignore[reportUnknownVariableType]
    errors: Any = flat.get("errors")
    inner: Any = flat.get("error")
    if not inner and isinstance(errors, list) and errors:
        inner = errors[0]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(inner, dict):
        return inner  # pyright: ignore[reportUnknownVariableType]
    if flat.get("type") == "error":  # says what the body is, not what failed
        flat = {key: value for key, value in flat.items() if key != "type"}
    if isinstance(inner, str) and inner:
        flat = {**flat, "message": flat.get("message") or inner}
    return flat


def error_message(fields: JSON, body: Any, status: int) -> str:
    """The server's message, at most 2,000 characters; a sentence with the status if it has none."""
    for key in _MESSAGE_KEYS:
        value = fields.get(key)
        if isinstance(value, str) and value.strip():
            return value.strip()[:_SHOWN_MAX]
        if value and not isinstance(value, str):
            # A list of validation errors, or an object: as it is.
            return jsontext.encode(value)[:_SHOWN_MAX]
    if isinstance(body, str):
        said = " ".join(body.split())
    else:
        said = jsontext.encode(body) if body else ""
    return said[:_SHOWN_MAX] or f"the provider answered with status {status}"


def word(value: Any) -> str:
    """A code or type as text; numbers too, `""` for anything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def status_in(fields: JSON) -> int | None:
    """The status that a body of an answer with status 200 gives, if it gives one."""
    for key in ("code", "status_code", "status"):
        value = word(fields.get(key))
        if value.isascii() and value.isdigit() and 400 <= int(value[:4]) < 600:
            return int(value)
    return None


def is_overflow(message: str) -> bool:
    """Whether the words say that the prompt is longer than the model takes."""
    return _OVERFLOW.search(message) is not None


def is_of_prompt(param: str, message: str) -> bool:
    """Whether the field that is too long is the prompt, and not a name or an id in it."""
    named = _NAMED.search(message)
    return _OF_PROMPT.fullmatch(param or (named[1] if named else "")) is not None


class ErrorBody(NamedTuple):
    """A server's error: its body, the object in it that says what failed, and its words."""

    body: Any
    fields: JSON
    message: str


def read_error(body: Any, status: int) -> ErrorBody:
    """The body of an answer with this status, whatever it is."""
    read = decoded(body)
    fields = error_fields(read)
    return ErrorBody(read, fields, error_message(fields, read, status))


def class_of(status: int) -> type[UpstreamError]:
    """The class that a status means; one under 400 says nothing, and the server has failed."""
    return error_class_for_status(status) if status >= 400 else ServerError


def nearest(error: PolycallError, rows: Mapping[type[PolycallError], _Row]) -> _Row:
    """The row of the error's class, or else of the nearest class above it; all end in one."""
    return next(rows[known] for known in type(error).__mro__ if known in rows)


_USUAL: dict[type[PolycallError], int] = {RequestError: 400, ProtocolError: 502, PolycallError: 500}


def usual_status(error: PolycallError) -> int:
    """The status that tells a client of this error."""
    return error.status_default if isinstance(error, UpstreamError) else nearest(error, _USUAL)


def status_of(error: UpstreamError, usual: int) -> int:
    """The status that the error came with; `usual` where it came with none of an error."""
    return error.status if error.status is not None and error.status >= 400 else usual
