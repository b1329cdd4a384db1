"""The fields that decide what a request may do and costs: each once and in one spelling.

A body that is passed through is checked here and read by a provider, whose reader may be another:
Go's matches names in any case and takes the last, others the first, and all of them read escapes.
So a body that passes says each name of its top level once and as it is written, and a field that
matters here has no second spelling; otherwise it is built anew, or refused by the field's name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any

import msgspec

from polycall._support import jsontext
from polycall._support.memo import Memo
from polycall._support.runs import after_run, before_run
from polycall.errors import MalformedRequestError

# What any of the four protocols decides by, or a server that speaks one of them in its own way.
_FIELDS = frozenset(
    {
        *("model", "models", "fallbacks", "fallback_models", "provider", "route", "engine"),
        *("messages", "prompt", "input", "contents", "system", "instructions"),
        *("systemInstruction", "system_instruction", "stream", "stream_options", "store"),
        *("max_tokens", "max_completion_tokens", "max_output_tokens", "max_tool_calls", "n"),
        *("best_of", "generationConfig", "generation_config", "service_tier", "serviceTier"),
        *("speed", "background", "previous_response_id", "conversation", "container"),
        *("tools", "tool_choice", "functions", "function_call", "toolConfig", "tool_config"),
        *("parallel_tool_calls", "mcp_servers", "web_search_options", "plugins", "include"),
        *("thinking", "reasoning", "reasoning_effort", "output_config", "betas", "truncation"),
        *("response_format", "text", "modalities", "audio", "prediction", "stop", "metadata"),
        *("cachedContent", "cached_content", "safetySettings", "safety_settings", "labels"),
        *("inferenceConfig", "outputConfig", "additionalModelRequestFields", "guardrailConfig"),
        *("performanceConfig", "promptVariables", "requestMetadata", "anthropic_version"),
        *("anthropic_beta", "options", "format", "think", "keep_alive", "agent"),
        *("previous_interaction_id", "response_modalities", "response_mime_type"),
        *("context_management", "cache_control", "inference_geo", "user", "safety_identifier"),
    }
)
# Within Gemini's generation settings.
_GENERATION = frozenset(
    {
        *("maxOutputTokens", "max_output_tokens", "candidateCount", "candidate_count"),
        *("thinkingConfig", "thinking_config", "responseModalities", "response_modalities"),
    }
)
# Fields by which a body names models alongside the one that is checked: a preset holds some, too.
OTHER_MODELS = ("models", "fallbacks", "fallback_models", "preset")
# An escape of what is never escaped: a letter, a digit, `_`, `-`.  It begins with what can be
# searched for quickly, so that backslashes before it are counted afterwards.
_NEEDLESS = re.compile(rb"\\u00(?:2[dD]|3[0-9]|4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aA])")
_ESCAPE, _NEEDLESS_FIRSTS = b"\\u00", frozenset({b"2", b"3", b"4", b"5", b"6", b"7"})
_first_byte = itemgetter(slice(1))
_SPACED = re.compile(rb'\{"[^"\\]*": ')
_CANONICAL_BYTES_MAX = 1 << 20
_NAMES_LENGTH_MAX = 400  # of all names of a body, for its check to be remembered


def without_needless_escapes(body: bytes) -> bytes:
    """The body, built anew where it escapes letters: what is looked for in it is found.

    Raises `MalformedRequestError` where it is not JSON, or so large that this would take long.
    """
    if not has_needless_escape(body):
        return body
    if len(body) > _CANONICAL_BYTES_MAX:
        raise MalformedRequestError(
            "letters are written as escapes (such as \\u0061) in a body of more than "
            f"{_CANONICAL_BYTES_MAX} bytes; write them as they are"
        )
    try:
        return jsontext.encode_bytes(jsontext.decode(body))
    except ValueError as error:
        raise MalformedRequestError(f"the body is not JSON: {error}") from None


def has_needless_escape(body: bytes) -> bool:
    """Whether a letter, a digit, `_` or `-` is written as an escape."""
    if body.find(b"\\") < 0:  # a single byte is found far faster
        return False
    if len(body) <= _CANONICAL_BYTES_MAX:
        # Most escapes are of other letters, and a pattern takes longer to find them.
        firsts = map(_first_byte, body.split(_ESCAPE)[1:])
        if _NEEDLESS_FIRSTS.isdisjoint(firsts):
            return False
    for found in _NEEDLESS.finditer(body):
        place = found.start()
        if (
            place - before_run(body, place, b"\\")
        ) % 2 == 0:  # else the text has a backslash, and no escape follows it
            return True
    return False


def is_compact(body: bytes, fields: Mapping[str, msgspec.Raw], names_length: int) -> bool:
    """Whether the object's text is these fields, each name once, and nothing between them.

    A space, an escape in a name or a field that is there twice would make the text longer than all
    names and values with the quotes, colons, commas and braces that they need.
    """
    values = sum(map(len, fields.values()))
    return len(body) == names_length + values + 4 * len(fields) + 1


def says_each_once(body: bytes, fields: Mapping[str, msgspec.Raw]) -> bool:
    """Whether the object's text is exactly these fields, each name once and without escapes."""
    if len(body) <= _CANONICAL_BYTES_MAX:  # of a longer one, there would be four copies at once
        # As most clients write it: without spaces, or with one after each comma and colon.
        comma, colon = (b", ", b": ") if _SPACED.match(body) else (b",", b":")
        written = [
            b'"%b"%b%b' % (name.encode("utf-8", "surrogatepass"), colon, raw)
            for name, raw in fields.items()
        ]
        if body == b"{" + comma.join(written) + b"}":
            return True
    place = after_run(body, 0)
    if body[place : place + 1] != b"{":
        return False
    place += 1
    mark = b"}"
    for number, (name, raw) in enumerate(fields.items()):
        if number:
            place = after_run(body, place)
            if body[place : place + 1] != b",":
                return False
            place += 1
        place = after_run(body, place)
        for token in (b'"' + name.encode("utf-8", "surrogatepass") + b'"', b":", bytes(raw)):
            place = after_run(body, place)
            if not body.startswith(token, place):
                return False
            place += len(token)
    place = after_run(body, place)
    return body.startswith(mark, place) and after_run(body, place + 1) == len(body)


def check_names(names: Iterable[str], dialect: str) -> int:
    """`MalformedRequestError` for a second spelling of a field that decides something.

    Gives how long all names are.
    """
    written = tuple(names)
    length = len("".join(written))
    if length <= _NAMES_LENGTH_MAX:
        _ = _usual[written, dialect]
    else:
        _check(written, _FIELDS, dialect, "")
    return length


def _check_usual(said: tuple[tuple[str, ...], str]) -> None:
    """Clients say the same fields in each request: what was good once is remembered."""
    names, dialect = said
    _check(names, _FIELDS, dialect, "")


_usual = Memo(_check_usual)


def checked_generation(raw: bytes, path: str) -> bytes:
    """Gemini's generation settings, each said once; raises as `check_names`."""
    try:
        value: Any = jsontext.decode(raw)
    except ValueError as error:
        raise MalformedRequestError(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        return raw
    settings: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
    _check(settings, _GENERATION, "gemini", f"{path}.")
    if says_each_once(raw, msgspec.json.decode(raw, type=dict[str, msgspec.Raw])):
        return raw
    return jsontext.encode_bytes(settings)


def _check(names: Iterable[str], known: frozenset[str], dialect: str, where: str) -> None:
    seen: dict[str, str] = {}
    for name in names:
        folded = _folded(name, dialect)
        other = seen.setdefault(folded, name)
        spelt = name if name in known else _spellings(known, dialect).get(folded, name)
        if other != name and (folded in _spellings(known, dialect)):
            raise MalformedRequestError(
                f"{other!r} and {name!r} are one field to some servers; say it once",
                path=f"{where}{name}",
            )
        if spelt != name:
            raise MalformedRequestError(
                f"{name!r} is {spelt!r} to some servers; write {spelt!r}", path=f"{where}{name}"
            )


def _folded(name: str, dialect: str) -> str:
    # Go's reader knows the long s and the sign of Kelvin for s and k, as does `casefold`.
    folded = name.casefold()
    # Google's takes `max_output_tokens` for `maxOutputTokens`.
    return folded.replace("_", "") if dialect == "gemini" else folded


_memo: dict[tuple[frozenset[str], bool], dict[str, str]] = {}


def _spellings(known: frozenset[str], dialect: str) -> dict[str, str]:
    """The fields by what they are folded to."""
    key = (known, dialect == "gemini")
    if key not in _memo:
        _memo[key] = {_folded(name, dialect): name for name in sorted(known)}
    return _memo[key]


def number_of(value: Any) -> float | None:
    """A number as a lenient server reads it, also from text; `None` where it is none."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return value if isinstance(value, int | float) and math.isfinite(value) else None
