"""Pins of servers in the gateway's store, which may be away or slow at the wrong moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import msgspec
import pytest

from polycall.errors import StoreError
from polycall.gateway.mcp.pins import StorePins
from polycall.gateway.store import Store
from polycall.mcp.pins import KINDS, Pin, What, place_of

FIRST: dict[str, Pin] = {"x": {"hash": "first"}}


class Values:
    """What `StorePins` asks of a store; `meanwhile` happens before a read gives what it found."""

    def __init__(self) -> None:
        self.kept_values: dict[str, bytes] = {}
        self.is_away = False
        self.meanwhile: Callable[[str], None] = lambda _: None

    async def kept(self, owner: str, name: str) -> bytes | None:
        found = self.kept_values.get(name)
        self.meanwhile(name)
        return found

    async def keep_new(self, owner: str, name: str, value: bytes) -> bool:
        if self.is_away:
            raise StoreError("away")
        return self.kept_values.setdefault(name, value) is value


@pytest.mark.parametrize("what", KINDS)
async def test_pins_that_could_not_be_written_are_written_later(what: What) -> None:
    values = Values()
    pins = StorePins(cast("Store", values))
    place = place_of("a", what)
    await pins.fetch("a")
    pins.save(place, FIRST)
    values.is_away = True
    with pytest.raises(StoreError):
        await pins.flush("a")
    values.is_away = False
    await pins.fetch("a")
    assert pins.load(place) == FIRST
    assert await pins.flush("a")
    assert msgspec.json.decode(values.kept_values[f"pins:{place}"]) == FIRST


@pytest.mark.parametrize("what", KINDS)
async def test_a_read_says_whether_somebody_pinned_anew(what: What) -> None:
    values = Values()
    pins = StorePins(cast("Store", values))
    name = f"pins:{place_of('a', what)}"
    await pins.fetch("a")
    found = [await pins.fetch("a")]
    for each in (FIRST, FIRST, {"x": {"hash": "second"}}):
        values.kept_values[name] = msgspec.json.encode(each)
        found.append(await pins.fetch("a"))
    assert found == [False, True, False, True]


@pytest.mark.parametrize("what", KINDS)
async def test_a_slow_read_does_not_forget_what_was_pinned_meanwhile(what: What) -> None:
    values = Values()
    pins = StorePins(cast("Store", values))
    place = place_of("a", what)
    values.meanwhile = lambda name: pins.save(place, FIRST) if name == f"pins:{place}" else None
    await pins.fetch("a")
    assert pins.load(place) == FIRST
    assert await pins.flush("a")
    assert msgspec.json.decode(values.kept_values[f"pins:{place}"]) == FIRST
