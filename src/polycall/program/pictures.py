"""Pictures and other media that tools gave a program: what it shows of them stays media.

In the program they are data (`{"type": "media", "data": ...}`).  Where it prints them, or ends with
them, the model reads a name and gets the media beside the text, and no base64.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from polycall.ir import Media
from polycall.program.records import NestedCall
from polycall.sandbox import RunResult

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
