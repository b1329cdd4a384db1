"""Errors, both ways: `{"error": {"code", "message"}}`, the code a word or a number."""

from __future__ import annotations

from typing import Any

from polycall import errors
from polycall.dialects.gemini_interactions.names import WORDS
from polycall.ir import JSON
from polycall.translation.error_bodies import (
    class_of,
    nearest,
    read_error,
    status_in,
    usual_status,
    word,
)
from polycall.translation.failures import blamed

_CLASSES = WORDS.classes()
_WORDS = WORDS.wire(str)


def parse_error(status: int, body: Any) -> errors.UpstreamError:
    """The error that a body tells; the body may be anything, a proxy's page too."""
    _, error, message = read_error(body, status)
    kind = (word(error.get("status")) or word(error.get("code"))).lower()
    if status < 400:
        status = status_in(error) or status
    known = _CLASSES.get(kind) or class_of(status)
    return blamed(known, error, kind, message)(message, status=status, code=kind, body=body)


def render_error(error: errors.PolycallError) -> tuple[int, JSON]:
    """Status and body for a client of this dialect."""
    status = usual_status(error)
    kind = "invalid_request" if status in (400, 402, 413) else nearest(error, _WORDS)
    return status, {"error": {"code": kind, "message": str(error)}}
