"""The ids in an answer that the vendor keeps; see `MadeFacts`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct


class _Audio(Struct):
    id: Any = None


class _Spoken(Struct):
    audio: _Audio | None = None


class _Choice(Struct):
    message: _Spoken | None = None
    delta: _Spoken | None = None


class _Answer(Struct):
    choices: list[_Choice] = []


def ids_in(data: bytes) -> Iterator[tuple[Any, bool]]:
    for choice in msgspec.json.decode(data, type=_Answer).choices:
        for said in (choice.message, choice.delta):
            if said is not None and said.audio is not None:
                yield said.audio.id, False
