"""Errors, both ways: `{"message", "__type"}`, and exceptions inside of a stream.

AWS says the type in a header; clients take it from the body as well, where `__type` says it.
"""

from __future__ import annotations

import re
from typing import Any

from polycall import errors
from polycall.dialects.bedrock_converse.names import WORDS
from polycall.ir import JSON
from polycall.translation.error_bodies import class_of, nearest, read_error, status_of, word
from polycall.translation.failures import blamed

_CLASSES = WORDS.classes()
_WIRE = WORDS.wire(tuple[int, str])
_IN_STREAM = frozenset(
    {
        "internalServerException",
        "modelStreamErrorException",
        "validationException",
        "throttlingException",
        "serviceUnavailableException",
    }
)
_NO_KEY = re.compile(
    r"security token|signature (expired|not yet current)|does not match the signature"
    r"|authentication (failed|token)|bearer token|api key",
    re.IGNORECASE,
)


def is_error(body: JSON) -> bool:
    """Whether a body is an error, whatever its status was."""
    return "output" not in body and ("__type" in body or "message" in body or "Message" in body)


def parse_error(status: int, body: Any, kind: str = "") -> errors.UpstreamError:
    """The error that a provider answered with; `kind` is the type where a stream says it."""
    _, fields, message = read_error(body, status)
    kind = kind or word(fields.get("__type")) or word(fields.get("code"))
    kind = kind.rpartition("#")[2].partition(":")[0]
    known = _CLASSES.get(kind.lower())
    if known is None:
        known = class_of(status) if status != 424 else errors.ServerError
    if known is errors.PermissionDeniedError and _NO_KEY.search(message):
        known = errors.AuthenticationError
    return blamed(known, fields, kind, message)(message, status=status, type=kind, body=body)


def render_error(error: errors.PolycallError) -> tuple[int, JSON]:
    """Status and body for a client of this dialect."""
    status, kind = nearest(error, _WIRE)
    message = str(error)
    if isinstance(error, errors.UpstreamError):
        body: Any = error.body
        if isinstance(body, dict) and "__type" in body and isinstance(body.get("message"), str):  # pyright: ignore[reportUnknownMemberType]
            return status_of(error, status), body  # pyright: ignore[reportUnknownVariableType]
        is_long = isinstance(error, errors.RequestTooLargeError)
        if is_long and not message.startswith("Input is too long"):
            message = f"Input is too long for requested model: {message}"
    return status, {"message": message, "__type": kind}


def stream_exception(error: errors.PolycallError) -> tuple[str, JSON]:
    """The exception that ends a stream, and its payload."""
    _, body = render_error(error)
    kind = str(body["__type"])
    kind = kind[:1].lower() + kind[1:]
    if kind not in _IN_STREAM:
        kind = (
            "modelStreamErrorException" if kind.startswith("model") else "internalServerException"
        )
    return kind, {"message": body["message"]}
