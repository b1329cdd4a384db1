"""A refusal to the corrections that it asks for.

The words of a refusal are the provider's and may quote a client's: only sentences that begin as
`words.toml` says are read, only fields that were sent are meant, and `policy.py` has the last word.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import resources
from typing import Any, Literal, TypeAlias, cast

import msgspec
from msgspec import Struct

from polycall._support import jsontext
from polycall.errors import InvalidRequestError, PolycallError, RequestTooLargeError
from polycall.ir import JSON
from polycall.profiles.corrections.correction import PAIRS, WORDS_MAX, Correction, Refused
from polycall.profiles.corrections.places import found_in, value_at
from polycall.profiles.corrections.policy import TWINS, kind_of

_SENTENCE_MAX = 1_000
_SENTENCES_MAX = 8
_CORRECTIONS_MAX = 4
_STATUSES = (None, 400, 422)

_Kind: TypeAlias = Literal[
    "drop", "rename", "values", "range", "length", "header", "beta", "quirk", "thinking", "pairs"
]
_GROUPS = {
    "<q>": r"[`'\"\u2018\u2019\u201c\u201d]?",
    "<field>": r"(?P<field>[A-Za-z_][\w.\[\]-]{0,120}?)(?![\w\[\]-])(?!\.\w)",
    "<fields>": (
        r"[`'\"\[]{0,2}(?P<field>[A-Za-z_][\w.\[\]-]{0,120}?(?:[`'\"]?(?:, | and )[`'\"]?"
        r"[A-Za-z_][\w.\[\]-]{0,120}?){0,3})[`'\"\]]{0,2}(?=$|[\s.,;:)])"
    ),
    "<field_of>": r"(?:the )?(?:field |parameter |value of |argument |property |option )?",
    "<to>": r"(?P<to>[\w.:=-]{1,80}?)(?=[`'\"\u2019\u201d\s,;)]|\.?$|\.\s)",
    "<value>": r"(?P<value>[^`'\"\s]{1,80}?)",
    "<values>": r"(?P<values>[^\n]{1,400})",
    "<max>": r"(?P<max>-?\d[\d,_]*(?:\.\d+)?)",
    "<min>": r"(?P<min>-?\d[\d,_]*(?:\.\d+)?)",
    "<length>": r"(?P<length>\d{1,6})",
    "<header>": r"(?P<header>[A-Za-z][A-Za-z0-9-]{2,60})",
}
_NAME = re.compile("|".join(rf"(?<!\?P){name}" for name in _GROUPS))
# Words of a refusal that holds for what else this request has, and may not hold for the next.
_CONDITIONAL = re.compile(
    r"\b(when|while|if|unless|together|both|combined?|combination|alongside|besides?|along with"
    r"|in this request|only (allowed|supported|valid) (with|for)|with reasoning|incompatible with"
    r"|depends?|requires?)\b",
    re.IGNORECASE,
)
_VALUE = re.compile(r"[`'\"\u2018\u201c]([^`'\"\u2019\u201d]{1,60})[`'\"\u2019\u201d]")
_NAMED = re.compile(r"^(?:[A-Za-z]\w*Error|Validation|Error|Bad Request)(?: code: \d+)? ?[:-] ")
_PLACE = re.compile(r"^[A-Za-z_][\w.\[\]]{0,120}: ")
# NVIDIA's: a place, and what is said of it in the next line.  Read 2026-11-29 at
# https://github.com/BerriAI/litellm/issues/4558.
_BELOW = re.compile(
    r"(?m)^body -> (?P<loc>[\w.\[\]]{1,80}(?: -> [\w.\[\]]{1,80}){0,5})\n +(?P<msg>[^\n(]{1,300})"
)
_LOC = re.compile(
    r"['\"]loc['\"]: ?[(\[](?P<loc>[^)\]]{1,200})[)\]], ?['\"]msg['\"]: ?"
    r"(?P<quote>['\"])(?P<msg>.{1,300}?)(?P=quote)(?=[,}])"
)


class _Word(Struct, frozen=True, forbid_unknown_fields=True):
    """One row of `words.toml`."""

    kind: _Kind
    pattern: str
    source: str
    field: str = ""
    value: str = ""
    quirk: str = ""
    to: str = ""


class _Sent(Struct, frozen=True):
    """The request that was refused."""

    body: JSON
    headers: Mapping[str, str]
    param: str


def read_refusal(
    error: PolycallError,
    body: JSON,
    headers: Mapping[str, str],
    *,
    provider: str,
    address: str,
    model: str,
    dialect: str,
) -> Refused | None:
    """The corrections that would let the request pass; `None` for any other refusal."""
    if not isinstance(error, InvalidRequestError | RequestTooLargeError):
        return None
    if error.status not in _STATUSES:
        return None
    sent = _Sent(body, headers, error.param)
    for sentence in _sentences(error):
        for pattern, word in _words():
            found = pattern.match(sentence)
            if found is None:
                continue
            moment = datetime.now(UTC).isoformat(timespec="seconds")
            made = [
                msgspec.structs.replace(
                    each,
                    provider=provider,
                    address=address,
                    model=model,
                    dialect=dialect,
                    words=" ".join(sentence.split())[:WORDS_MAX],
                    read=moment,
                )
                for each in _asked(word, found, sent)
            ]
            kept = tuple(each for each in made if each.is_sane)[:_CORRECTIONS_MAX]
            if kept:
                if kept[0].act in ("header", "beta"):
                    return Refused(kept, lasts=True)
                # Which results a history has says nothing of the next one.
                is_general = word.kind != "pairs" and _CONDITIONAL.search(sentence) is None
                return Refused(kept, lasts=is_general)
    return None


@functools.cache
def _words() -> list[tuple[re.Pattern[str], _Word]]:
    data = resources.files("polycall.profiles.corrections").joinpath("words.toml")
    table = tomllib.loads(data.read_text(encoding="utf-8"))
    made: list[tuple[re.Pattern[str], _Word]] = []
    for word in msgspec.convert(table["word"], list[_Word]):
        pattern = _NAME.sub(lambda found: _GROUPS[found[0]], word.pattern)
        made.append((re.compile(pattern, re.IGNORECASE), word))
    return made


# ---------------------------------------------------------------------------------------------
# Sentences


def _sentences(error: InvalidRequestError | RequestTooLargeError) -> Iterator[str]:
    """The lines or validation errors of a refusal, the plainest first."""
    seen: list[str] = []
    message = error.message[: _SENTENCES_MAX * _SENTENCE_MAX]
    for text in [*_validations(error.body, 0), *_texts(message)]:
        for line in text.splitlines():
            sentence = line.strip()[:_SENTENCE_MAX]
            # A place may stand before what is said of it.
            for each in (sentence, _PLACE.sub("", sentence)):
                if each and each not in seen:
                    seen.append(each)
                    yield each
            if len(seen) >= _SENTENCES_MAX:
                return


def _texts(message: str) -> Iterator[str]:
    stripped = message.strip()
    for found in _BELOW.finditer(stripped[: 4 * _SENTENCE_MAX]):
        yield _placed(found["loc"].split(" -> "), found["msg"].strip())
    if stripped[:1] in "{[":
        # A proxy's: the vendor's own body as text.
        for found in _LOC.finditer(stripped[: 4 * _SENTENCE_MAX]):
            yield _placed(re.findall(r"[\w.-]+", found["loc"]), found["msg"])
        try:
            inner: Any = jsontext.decode(stripped)
        except ValueError:
            inner = None
        yield from _validations(inner, 0)
        yield from _messages(inner, 0)
    else:
        for found in _LOC.finditer(stripped[: 4 * _SENTENCE_MAX]):
            yield _placed(re.findall(r"[\w.-]+", found["loc"]), found["msg"])
    yield re.sub(
        r"^(?:[A-Za-z]\w*Error|Validation|Error|Bad Request)(?: code: \d+)? ?[:-] ", "", message
    )


def _validations(value: Any, depth: int) -> Iterator[str]:
    """FastAPI's and pydantic's lists of errors, wherever they stand."""
    if depth > 5:
        return
    if isinstance(value, dict):
        fields = cast("JSON", value)
        loc, said = fields.get("loc"), fields.get("msg")
        if isinstance(loc, list) and isinstance(said, str):
            yield _placed([str(step) for step in cast("list[Any]", loc)], said)
            return
        for below in fields.values():
            yield from _validations(below, depth + 1)
    elif isinstance(value, list):
        for item in cast("list[Any]", value)[:_SENTENCES_MAX]:
            yield from _validations(item, depth + 1)


def _placed(loc: list[str], said: str) -> str:
    steps = [step for step in loc if step != "body" and "[" not in step]
    return f"{'.'.join(steps)}: {said}"


def _messages(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, dict) and depth < 4:
        fields = cast("JSON", value)
        for name in ("message", "detail", "msg"):
            if isinstance(fields.get(name), str):
                yield fields[name]
        yield from _messages(fields.get("error"), depth + 1)
    elif isinstance(value, list) and value and depth < 4:
        yield from _messages(value[0], depth + 1)


# ---------------------------------------------------------------------------------------------
# Corrections


def _asked(word: _Word, found: re.Match[str], sent: _Sent) -> list[Correction]:
    groups = {name: value for name, value in found.groupdict().items() if value is not None}
    match word.kind:
        case "header":
            return [_correction("header", groups["header"].lower(), groups["to"])]
        case "beta":
            flags = _values(groups["values"])
            return [_correction("beta", groups["header"].lower(), flags)]
        case "pairs":
            return [_correction("pairs", PAIRS)]
        case "thinking":
            form = groups.get("value") or word.value
            return [_correction("quirk", "thinking_forms", [form])]
        case "quirk":
            value: Any = word.to if word.quirk == "thinking_unit" else word.to.split()
            return [_correction("quirk", word.quirk, value)]
        case _:
            return [
                made
                for path in _fields(word, groups, sent)
                for made in _of_field(word.kind, path, groups, sent)
            ]


def _correction(act: Any, path: str, value: Any = None) -> Correction:
    return Correction("", "", "", "", act, path, value)


def _fields(word: _Word, groups: dict[str, str], sent: _Sent) -> list[str]:
    """The places that are meant, of those that were sent."""
    said = groups.get("field") or word.field
    named = [each.strip("`'\" ") for each in re.split(r",| and ", said)] if said else []
    if "at" in groups:
        named = [f"{groups['at']}.{each}" for each in named]
    named = [each.replace("/", ".") for each in named]
    found = [path for each in named if (path := found_in(sent.body, each)) is not None]
    if not found and sent.param:
        path = found_in(sent.body, sent.param)
        found = [path] if path is not None else []
    if not found:
        # The other name of one limit.
        twins = [TWINS[name] for name in named if name in TWINS]
        found = [twin for twin in twins if twin in sent.body]
    if not found and "value" in groups:
        # Words that name the value alone: the one hint that has it.
        found = [
            path
            for path in ("reasoning_effort", "reasoning.effort", "output_config.effort")
            if value_at(sent.body, path) == groups["value"]
        ]
    return found


def _of_field(kind: _Kind, path: str, groups: dict[str, str], sent: _Sent) -> Iterator[Correction]:
    match kind:
        case "drop":
            twin = TWINS.get(path)
            if twin is not None and twin not in sent.body:
                yield _correction("rename", path, twin)
            else:
                yield _correction("drop", path)
        case "rename":
            yield _correction("rename", path, _new_name(path, groups["to"].rstrip("."), sent.body))
        case "range":
            yield from _bounds(path, groups, sent)
        case "length":
            yield _correction("length", path, int(groups["length"]))
        case "values":
            if path == "thinking.type":
                yield _correction("quirk", "thinking_forms", [value_at(sent.body, path)])
            else:
                yield _correction("values", path, _values(groups["values"]))
        case _:
            return


def _new_name(path: str, said: str, body: JSON) -> str:
    """The new name: alone where it stands alongside the old one, else from the root."""
    above, _, leaf = said.rpartition(".")
    parent = path.rpartition(".")[0]
    if above and parent and found_in(body, above) == parent:
        return leaf
    return said


def _bounds(path: str, groups: dict[str, str], sent: _Sent) -> Iterator[Correction]:
    value = value_at(sent.body, path)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    if "max" in groups:
        most = _number(groups["max"])
        if groups.get("bound") in ("exclusive", "<", ")"):
            most = _beyond(most, value, -1)
        if value > most:
            yield _correction("at_most", path, most)
    if "min" in groups and kind_of(path) == "hint":
        least = _number(groups["min"])
        if groups.get("floor") in (">", "("):
            least = _beyond(least, value, 1)
        if value < least:
            yield _correction("at_least", path, least)


def _beyond(bound: float, value: float, step: int) -> int | float:
    """The nearest value on the right side of a bound that is itself not taken."""
    if isinstance(bound, int) and isinstance(value, int) and abs(bound) > 1:
        return bound + step
    return round(bound + step * 0.01, 6)


def _number(text: str) -> int | float:
    plain = re.sub(r"[,_]", "", text)
    return float(plain) if "." in plain else int(plain)


def _values(text: str) -> list[str]:
    """The words of a list, quoted or not."""
    quoted = _VALUE.findall(text)
    if quoted:
        return list(dict.fromkeys(quoted))[:32]
    plain = re.split(r"[.;\n]", text, maxsplit=1)[0]
    words = re.split(r", (?:and |or )?|,| and | or |\|", plain.strip(" []()"))
    return list(dict.fromkeys(word.strip() for word in words if word.strip()))[:32]
