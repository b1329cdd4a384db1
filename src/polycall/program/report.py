"""The report on a program that the model reads: its output, its value, short errors.

Always bounded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from polycall._support import jsontext
from polycall.ir import Media
from polycall.program.records import NestedCall, PendingCall
from polycall.sandbox import RunResult
from polycall.schema.walk import as_array, as_object

CALLS_SHOWN_MAX = 20
_ARGUMENTS_LENGTH_MAX = 80
_ERROR_LENGTH_MAX = 120
_NOTHING = "(the program printed nothing and its last expression has no value: print what you need)"


def program_text(
    result: RunResult,
    calls: list[NestedCall],
    pending: list[PendingCall],
    *,
    output_chars_max: int,
) -> str:
    """The whole answer to a `run_code` call."""
    match result.status:
        case "finished":
            text = _finished(result, output_chars_max)
        case "paused":
            waiting = ", ".join(
                f"{each.name}({_arguments(each.arguments_json)})" for each in pending
            )
            text = _joined(
                truncated(result.stdout.rstrip("\n"), output_chars_max),
                f"(the program is paused: the result of {waiting} comes later)",
            )
        case _:
            text = _joined(
                truncated(result.stdout.rstrip("\n"), output_chars_max // 2),
                truncated(_error(result), output_chars_max // 2),
                calls_text(calls),
            )
    return text


def calls_text(calls: list[NestedCall]) -> str:
    """Which calls were made, and what became of each: they will not be undone."""
    if not calls:
        return "(no calls had been made)"
    lines = [f"- {_call_line(each)}" for each in calls[:CALLS_SHOWN_MAX]]
    if len(calls) > CALLS_SHOWN_MAX:
        lines.append(f"- and {len(calls) - CALLS_SHOWN_MAX} more")
    return "\n".join(["calls that had been made:", *lines])


def truncated(text: str, length_max: int) -> str:
    """The text with its middle left out where it is long, and a word that it is."""
    if len(text) <= length_max:
        return text
    half = max(length_max // 2, 1)
    left_out = len(text) - 2 * half
    return f"{text[:half]}\n... ({left_out} characters left out; print less) ...\n{text[-half:]}"


def preview(data: Any, length_max: int) -> str:
    """A preview of data: its kind, its size, its keys and its beginning."""
    text = jsontext.encode(data)
    begin = text if len(text) <= length_max else f"{text[:length_max]}..."
    return f"{_kind(data)}\nIt begins: {begin}"


def _kind(data: Any) -> str:
    rows, mapping = as_array(data), as_object(data)
    if rows is not None:
        keys = {key: None for row in rows[:100] for key in as_object(row) or {}}
        what = f" of objects with the keys {', '.join(keys)}" if keys else ""
        return f"a list{what}, {len(rows)} items"
    if mapping is not None:
        return f"an object with the keys {', '.join(list(mapping)[:20])}"
    return f"text of {len(str(data))} characters"


def _finished(result: RunResult, length_max: int) -> str:
    stdout = result.stdout.rstrip("\n")
    value = ""
    if result.value is not None:
        value = result.value if isinstance(result.value, str) else jsontext.encode(result.value)
        value = f"value: {value}" if stdout else value
    cuts = f"(cut: {'; '.join(result.cuts)}; `_` has the whole value)" if result.cuts else ""
    text = _joined(stdout, value)
    stderr = f"stderr: {truncated(result.stderr.strip(), 1_000)}" if result.stderr.strip() else ""
    return _joined(truncated(text, length_max), cuts, stderr) or _NOTHING


def _error(result: RunResult) -> str:
    error = result.error
    if error is None:
        return f"the program ended as {result.status!r}"
    lines = error.traceback.rstrip("\n").removeprefix("Traceback (most recent call last):\n")
    if result.status == "failed":
        return lines or str(error)
    return f"the program was stopped ({result.status}): {error.message}"


def _call_line(made: NestedCall) -> str:
    if made.result is None:
        outcome = "no answer yet; it may have done its work"
    elif made.result.is_error:
        first_line, _, more = made.result.text.partition("\n")
        outcome = f"error: {first_line[:_ERROR_LENGTH_MAX]}{' ...' if more else ''}"
    else:
        outcome = "ok"
    return f"{made.call.name}({_arguments(made.call.arguments_json)}): {outcome}"


def _arguments(arguments_json: str) -> str:
    length_max = _ARGUMENTS_LENGTH_MAX
    is_short = len(arguments_json) <= length_max
    return arguments_json if is_short else f"{arguments_json[:length_max]}..."


def _joined(*texts: str) -> str:
    return "\n".join(text for text in texts if text)


SHOWN_MAX = 10
# As much of it as tells one from others; what is printed may have been cut.
_BEGINNING = 48
# The sandbox leaves out the middle of what is too long.
_BASE64 = re.compile(r"[A-Za-z0-9+/]*(?:\n… \d+ bytes cut …\n[A-Za-z0-9+/]*)?={0,2}")


def with_pictures(result: RunResult, calls: Sequence[NestedCall]) -> tuple[RunResult, list[Media]]:
    """The result with names in place of media, and those media, in the order of their calls."""
    given: dict[str, Media] = {}
    for made in calls:
        for part in made.result.content if made.result is not None else ():
            if isinstance(part, Media) and len(part.data) >= _BEGINNING:
                given.setdefault(part.data[:_BEGINNING], part)
    if not given:
        return result, []
    shown: dict[str, Media] = {}
    stdout = _named(result.stdout, given, shown)
    value = _named_in(result.value, given, shown)
    return replace(result, stdout=stdout, value=value), list(shown.values())[:SHOWN_MAX]


def _named(text: str, given: dict[str, Media], shown: dict[str, Media]) -> str:
    for beginning, media in given.items():
        while (at := text.find(beginning)) >= 0:
            shown.setdefault(beginning, media)
            number = list(shown).index(beginning) + 1
            where = "attached" if number <= SHOWN_MAX else "not attached: too many"
            end = cast("re.Match[str]", _BASE64.match(text, at)).end()
            text = f"{text[:at]}({media.kind} {number}, {where}){text[end:]}"
    return text


def _named_in(value: Any, given: dict[str, Media], shown: dict[str, Media]) -> Any:
    match value:
        case str():
            return _named(value, given, shown)
        case list():
            items = cast("list[Any]", value)
            return [_named_in(each, given, shown) for each in items]
        case dict():
            fields = cast("dict[str, Any]", value)
            return {name: _named_in(each, given, shown) for name, each in fields.items()}
        case _:
            return value
