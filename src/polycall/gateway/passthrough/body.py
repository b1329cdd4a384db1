"""Looks at a whole answer that is passed through: its usage, and whether it is an answer at all.

Only the top level is read, and of that the usage; anything that does not look like an answer is
read by its dialect, which says what it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from polycall._support import jsontext
from polycall.dialects.anthropic.usage import parse_usage as anthropic_usage
from polycall.dialects.gemini.usage import parse_usage as gemini_usage
from polycall.dialects.openai_chat.usage import parse_usage as chat_usage
from polycall.dialects.openai_responses.response import parse_usage as responses_usage
from polycall.errors import ProtocolError
from polycall.ir import Response, Usage
from polycall.translation.wire import Dialect, response_reader


def _converse_usage(value: Any, tier: Any) -> Usage:
    """Loaded by those who need it."""
    from polycall.dialects.bedrock_converse.usage import parse_usage  # noqa: PLC0415

    return parse_usage(value, tier)


def _interactions_usage(value: Any, tier: Any) -> Usage:
    """Loaded by those who need it."""
    from polycall.dialects.gemini_interactions.usage import parse_usage  # noqa: PLC0415

    return parse_usage(value, tier)


# Where an answer has its usage, and what it has if it is one.
_PLACES: dict[str, tuple[str, str, Callable[[Any, Any], Usage]]] = {
    "openai-chat": ("usage", "choices", chat_usage),
    "openai-responses": (
        "usage",
        "output",
        lambda value, tier: responses_usage({"usage": value, "service_tier": tier}),
    ),
    "anthropic": ("usage", "content", lambda value, _: anthropic_usage(value)),
    "bedrock-converse": ("usage", "output", _converse_usage),
    "gemini-interactions": ("usage", "steps", _interactions_usage),
    "gemini": (
        "usageMetadata",
        "candidates",
        lambda value, _: gemini_usage(value, "usageMetadata", response_reader),
    ),
}
_decoder: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(
    dict[str, msgspec.Raw]
)


def usage_of(dialect: Dialect, body: bytes) -> Usage:
    """The usage of an answer; raises what the dialect says of one that is none."""
    place = _PLACES.get(dialect.NAME)
    if place is None:
        return read_whole(dialect, body).usage  # its counts have no object of their own
    field, needed, parse = place
    try:
        fields = _decoder.decode(body)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        fields = {}
    error = fields.get("error")
    is_failed = error is not None and bytes(error) != b"null"
    if needed not in fields or is_failed or _may_have_failed(bytes(fields[needed])):
        return read_whole(dialect, body).usage
    raw = fields.get(field)
    if raw is None:
        return Usage()
    tier = fields.get("service_tier") or fields.get("serviceTier")
    return parse(msgspec.json.decode(raw), None if tier is None else msgspec.json.decode(tier))


# How every client of Chat reads a text's end; and what a plain server may write in its own way.
_PLAIN_END = re.compile(rb'"finish_reason"\s*:\s*"(?:stop|length|content_filter)"')
_OWN_WAYS = re.compile(
    rb'"tool_calls"\s*:\s*\[\s*[^\]\s]|"function_call"\s*:\s*\{|"content"\s*:\s*[\[{]'
)


def is_plain_answer(body: bytes) -> bool:
    """Whether a Chat answer is one text that ended as OpenAI says it: nothing has to be mended."""
    has_ended = b'"message"' in body and _PLAIN_END.search(body) is not None
    return has_ended and _OWN_WAYS.search(body) is None


# What stands in an answer that says of itself that it failed.
_FAILED_MARKS = re.compile(
    rb'"error"\s*:\s*[{"]|"(native_)?finish_reason"\s*:\s*"(?!stop"|tool_calls"|length")'
)


def _may_have_failed(inside: bytes) -> bool:
    return _FAILED_MARKS.search(inside) is not None


def read_whole(dialect: Dialect, body: bytes) -> Response:
    """The answer as its dialect reads it; raises what that says of one that is none."""
    try:
        parsed = jsontext.decode(body)
    except ValueError as error:
        raise ProtocolError(f"the answer is not JSON ({error}): {body[:80]!r}") from None
    return dialect.parse_response(parsed)
