"""Looks at a whole answer that is passed through: its usage, and whether it is an answer at all.

Only the top level is read, and of that the usage; anything that does not look like an answer is
read by its dialect, which says what it is.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from polycall._support import jsontext
from polycall.errors import ProtocolError
from polycall.exchange import check_weight
from polycall.ir import Response, Usage
from polycall.translation.wire import Dialect

_USAGE_BYTES_MAX = 64 * 1024


@lru_cache
def _decoder_for(*names: str) -> msgspec.json.Decoder[Any]:
    """Reads these fields of an answer; nothing else of it is kept, however much that is."""
    fields = [(name, msgspec.Raw | UnsetType, UNSET) for name in dict.fromkeys(names)]
    return msgspec.json.Decoder(msgspec.defstruct("Answer", fields))


def usage_of(dialect: Dialect, body: bytes) -> Usage:
    """The usage of an answer; raises what the dialect says of one that is none."""
    facts = dialect.FACTS
    field, needed, parse = facts.usage_field, facts.answer_field, facts.parse_usage
    if parse is None:
        return _counted(dialect, body)
    names = (field, needed, "error", "service_tier", "serviceTier")
    try:
        answer = _decoder_for(*names).decode(body)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return read_whole(dialect, body).usage
    raw, inside, error, *tiers = (getattr(answer, name) for name in names)
    is_failed = error is not UNSET and bytes(memoryview(error)[:5]) != b"null"
    if inside is UNSET or is_failed or _FAILED_MARKS.search(memoryview(inside)):
        return read_whole(dialect, body).usage
    if raw is UNSET:
        return Usage()
    if sum(len(memoryview(each)) for each in (raw, *tiers) if each is not UNSET) > _USAGE_BYTES_MAX:
        raise ProtocolError(f"the answer's usage has more than {_USAGE_BYTES_MAX} bytes")
    tier = next((msgspec.json.decode(each) for each in tiers if each is not UNSET), None)
    return parse(msgspec.json.decode(raw), tier)


def _counted(dialect: Dialect, body: bytes) -> Usage:
    """The same where the answer itself has the counts: it is read with no message in it."""
    facts = dialect.FACTS
    names = (facts.answer_field, "error", *facts.count_fields)
    try:
        answer = _decoder_for(*names).decode(body)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        return read_whole(dialect, body).usage
    message, error, *counts = (getattr(answer, name) for name in names)
    if message is UNSET or bytes(memoryview(message)[:1]) != b"{" or error is not UNSET:
        return read_whole(dialect, body).usage
    told = {
        name: raw for name, raw in zip(facts.count_fields, counts, strict=True) if raw is not UNSET
    }
    if sum(len(memoryview(each)) for each in told.values()) > _USAGE_BYTES_MAX:
        raise ProtocolError(f"the answer's usage has more than {_USAGE_BYTES_MAX} bytes")
    fields = {name: msgspec.json.decode(raw) for name, raw in told.items()}
    return dialect.parse_response({**fields, facts.answer_field: {}}).usage


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


def read_whole(dialect: Dialect, body: bytes) -> Response:
    """The answer as its dialect reads it; raises what that says of one that is none."""
    check_weight(body)
    try:
        parsed = jsontext.decode(body)
    except ValueError as error:
        raise ProtocolError(f"the answer is not JSON ({error}): {body[:80]!r}") from None
    del body  # where nobody else has it, it is gone before its parts are made
    return dialect.parse_response(parsed)
