"""Looks at a whole answer that is passed through: its usage, and whether it is an answer at all.

Only the top level is read, and of that the usage; anything that does not look like an answer is
read by its dialect, which says what it is.
"""

from __future__ import annotations

import re

import msgspec

from polycall._support import jsontext
from polycall.errors import ProtocolError
from polycall.ir import Response, Usage
from polycall.translation.wire import Dialect

_decoder: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(
    dict[str, msgspec.Raw]
)


def usage_of(dialect: Dialect, body: bytes) -> Usage:
    """The usage of an answer; raises what the dialect says of one that is none."""
    facts = dialect.FACTS
    field, needed, parse = facts.usage_field, facts.answer_field, facts.parse_usage
    if parse is None:
        return read_whole(dialect, body).usage
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
