"""The rows that hold for one model on one day, and whose rules they are."""

from __future__ import annotations

import re
import time
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any

from msgspec import Struct

from polycall.profiles.features import FEATURES
from polycall.profiles.names import bare, known_name, undated, vendor_of
from polycall.profiles.rows import Retired, Row, Value, Vendor, load

_DAY_S = 86_400
_REMEMBERED_MAX = 4096
# Models of a vendor's that no list has yet are numbered as the others are.
_VERSIONED = re.compile(r"\d|latest")
# A caller that names a wire for a model that no list has knows that it is served there: tools are
# not refused on a guess.
_OF_LISTED_MODELS = frozenset({"chat_tools_while_thinking"})
# Habits of single models, which no other of their family has: not taken over from `like`.
_OF_ONE_MODEL = frozenset({"thinking_needs_stream"})


class Bounds(Struct, frozen=True):
    """The limits of a request on any wire; 0: no limit is known."""

    is_unknown: bool
    candidates: int
    no_logprobs: bool
    stop: int
    tools: int
    output_tokens: int
    media: frozenset[str] | None
    no_prefill: bool


class Profile(Struct, frozen=True, dict=True):
    """The features that one model accepts.

    `like` names the model whose rules hold for one that no list has: its family's newest.
    """

    name: str
    vendor: str
    price_id: str
    is_open: bool
    dialects: frozenset[str]
    rows: dict[str, Row]
    like: str = ""
    retired: Retired | None = None
    is_elsewhere: bool = False  # open weights, at another's server than their vendor's

    def value(self, feature: str) -> Value | None:
        """The value of a feature; `None` where it is unknown."""
        row = self.rows.get(feature)
        return None if row is None else row.value

    def words(self, feature: str) -> list[str] | None:
        """A feature that is a list of words; `None` where nothing is known."""
        found: Any = self.value(feature)
        return found if isinstance(found, list) else None  # pyright: ignore[reportUnknownVariableType]

    def number(self, feature: str) -> int:
        """A feature that is a number; 0 where nothing is known."""
        found = self.value(feature)
        return found if isinstance(found, int) else 0

    def says_no(self, feature: str) -> bool:
        """Whether the feature is known to be absent."""
        return self.value(feature) is False

    @cached_property
    def bounds(self) -> Bounds:
        """The bounds that are the same on every wire."""
        media = self.words("media")
        return Bounds(
            is_unknown=bool(self.like),
            candidates=self.number("candidates_max"),
            no_logprobs=self.says_no("logprobs"),
            stop=self.number("stop_max"),
            tools=self.number("tools_max"),
            output_tokens=self.number("output_tokens"),
            # A server of open weights may show them more than their vendor does.
            media=None if media is None or self.is_elsewhere else self._media(media),
            no_prefill=self.says_no("prefill"),
        )

    def _media(self, taken: list[Any]) -> frozenset[str]:
        # The rows of open weights are of pictures; which files go is a matter of the server.
        more = ("document", "audio", "video") if self.is_open else ()
        return frozenset({*taken, "file", *more})

    @cached_property
    def budget(self) -> tuple[int, int]:
        """The least and the most thinking tokens; 0 and 0 where there is no budget."""
        found: Any = self.value("budget") or [0, 0]
        return found[0], found[1]


_profiles: dict[tuple[str, int, str], Profile | None] = {}


def profile(name: str, *, day: date | None = None, server: str = "") -> Profile | None:
    """The profile of a model by any of its names; `None` where its family is unknown.

    `day` is the day for which to say it: today.  `server` is where it is asked
    (`Quirks.server`): by default at its own vendor's.
    """
    number = int(time.time() // _DAY_S) if day is None else day.toordinal() + 10**6
    key = (name, number, server)
    if key not in _profiles:
        if len(_profiles) >= _REMEMBERED_MAX:
            _profiles.clear()
        _profiles[key] = _made(name, day or datetime.now(UTC).date(), server)
    return _profiles[key]


def _made(name: str, day: date, server: str) -> Profile | None:
    family = vendor_of(name)
    if family is None:
        return None
    listed = load(family.name)
    known = known_name(family.name, name)
    if known is None and _VERSIONED.search(bare(name)) is None:
        return None  # somebody's own name that begins like a vendor's: `gpt-mock`
    like = "" if known is not None else _newest(listed, bare(name))
    own = _spellings(known or bare(name))
    # A row that names a model of no list by itself holds, as do those of the one that it is like.
    both = own | _spellings(like) if like else own
    rows: dict[str, Row] = {}
    for row in listed.rows:
        if row.feature in rows:
            continue
        spelt = own if row.feature in _OF_ONE_MODEL else both
        if any(row.holds(model, day, server or family.name) for model in spelt):
            rows[row.feature] = row
    if like:
        for feature in _OF_LISTED_MODELS & rows.keys():
            del rows[feature]
    return Profile(
        name=known or bare(name),
        vendor=family.name,
        price_id=family.price_id,
        is_open=family.open,
        dialects=listed.dialects,
        rows={feature: rows[feature] for feature in FEATURES if feature in rows},
        like=like,
        retired=listed.retired.get(known or bare(name)),
        is_elsewhere=family.open and server not in ("", family.name),
    )


def _spellings(name: str) -> set[str]:
    """A row may be one snapshot's, or of all of them."""
    return {name.lower(), undated(name.lower())}


def _newest(listed: Vendor, name: str) -> str:
    for newest in listed.newest:
        if re.fullmatch(newest.pattern, name):
            return newest.like
    return ""
