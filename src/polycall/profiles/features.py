"""The features of profiles: what each means, and what happens where a model lacks it.

`instead` says what happens to a request: `adjust` (another value is sent), `emulate` (it is done
in another way), `drop` (left out, with a warning), `refuse` (an error before anything is sent) or
`tell` (nothing is changed; the profile says it).
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Literal, TypeAlias

from msgspec import Struct, convert

Instead: TypeAlias = Literal["adjust", "emulate", "drop", "refuse", "tell"]


class Feature(Struct, frozen=True, array_like=True):
    """One line of a profile.  `title` is short, for tables."""

    title: str
    meaning: str
    instead: Instead


def _read() -> dict[str, Feature]:
    source = files("polycall.profiles") / "features.toml"
    rows: dict[str, list[str]] = tomllib.loads(source.read_text(encoding="utf-8"))
    return {name: convert(row, Feature) for name, row in rows.items()}


FEATURES = _read()
