"""The ids in an answer that the vendor keeps; see `MadeFacts`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct

from polycall.translation.made import NONE, each_of


class _Named(Struct):
    id: Any = None
    container_id: Any = None


class _Responses(Struct):
    output: list[Raw] = []
    item: Raw = NONE


def ids_in(data: bytes) -> Iterator[tuple[Any, bool]]:
    found = msgspec.json.decode(data, type=_Responses)
    for item in each_of((*found.output, found.item), _Named):
        yield item.id, True
        yield item.container_id, False
