"""The few everyday words that the simulated model knows, in English and Korean.

A concept is known by any of its words.  Latin words match whole words of a text; Korean ones
match anywhere, since particles follow them without a space.
"""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files

from msgspec import Struct, convert


class _Words(Struct, frozen=True, forbid_unknown_fields=True):
    """The tables of `vocabulary.toml`."""

    empty: frozenset[str]
    parameters: dict[str, frozenset[str]]
    concepts: dict[str, tuple[str, ...]]
    places: dict[str, tuple[str, str]]  # the Korean name and the time zone, by the English name


_SOURCE = files("polycall.sim") / "vocabulary.toml"
_WORDS = convert(tomllib.loads(_SOURCE.read_text(encoding="utf-8")), _Words)
EMPTY_WORDS, CONCEPTS, PLACES = _WORDS.empty, _WORDS.concepts, _WORDS.places
PARAMETER_WORDS = _WORDS.parameters
_HANGUL = re.compile(r"[가-힣]")
_WORD = re.compile(r"[A-Za-z]+|[가-힣]+|\d+")


def is_korean(text: str) -> bool:
    """Whether a text has Korean letters."""
    return _HANGUL.search(text) is not None


def words_of(text: str) -> list[str]:
    """The words in lower case; `getWeather` and `get_weather` are two each."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return [stem(word) for word in _WORD.findall(spaced.lower())]


def stem(word: str) -> str:
    """A plural without its s."""
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def concepts_of(text: str) -> dict[str, int]:
    """The concepts in a text, each with the place where it is first named."""
    low = text.lower()
    found: dict[str, int] = {}
    for concept, names in CONCEPTS.items():
        places = [place for name in names if (place := find(name, low)) >= 0]
        if places:
            found[concept] = min(places)
    return found


def find(name: str, text: str, start: int = 0) -> int:
    """The place of a word in a lower-case text, or -1."""
    if is_korean(name):
        return text.find(name, start)
    match = re.compile(rf"(?<![a-z]){re.escape(name)}(?![a-z])").search(text, start)
    return match.start() if match else -1


def places_of(text: str) -> list[tuple[int, str, str]]:
    """Position, name as written and time zone of each known place, in order."""
    low = text.lower()
    found: list[tuple[int, str, str]] = []
    for english, (korean, zone) in PLACES.items():
        for name in (english, korean):
            position = find(name, low)
            if position >= 0:
                found.append((position, text[position : position + len(name)], zone))
                break
    return sorted(found)
