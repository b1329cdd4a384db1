"""Pins of servers in the gateway's store, which may be away or slow at the wrong moment."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import mcp_types as types
import msgspec
import pytest

from polycall.config import McpServer
from polycall.errors import StoreError, ToolError
from polycall.gateway.mcp.offers import Offers
from polycall.gateway.mcp.pins import StorePins
from polycall.gateway.store import Store
from polycall.mcp.comparing import Comparison
from polycall.mcp.listing import ListBounds
from polycall.mcp.others import OtherOffers
from polycall.mcp.pins import KINDS, Pin, What, pin_of, place_of

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


async def test_a_prompt_is_used_only_when_it_is_clear_whose_pins_hold() -> None:
    """Two replicas meet a server at once, and one cannot write its pins: the other's hold."""
    values = Values()
    pins = StorePins(cast("Store", values))
    prompt = types.Prompt(name="p", description="as this replica saw it")

    async def ask(*_: object) -> types.ListPromptsResult:
        return types.ListPromptsResult(prompts=[prompt])

    comparison = Comparison("a", pins, "refuse", is_pinned=True, inspects=False)
    others = OtherOffers(comparison, cast("Any", ask), ListBounds())
    settings = McpServer(url="https://h")
    spoken = SimpleNamespace(others=others)
    member = cast("Any", SimpleNamespace(name="a", mcp=spoken, settings=settings, secrets=[]))
    offers = Offers(cast("Any", SimpleNamespace(pins=pins)))
    asked = cast("Any", SimpleNamespace(owner=SimpleNamespace(id="key")))

    async def check() -> None:
        await offers._check(member, asked, "prompt", "p")  # pyright: ignore[reportPrivateUsage]

    await pins.fetch("a")
    values.is_away = True
    for _ in range(2):
        with pytest.raises(StoreError):
            await check()
    values.is_away = False
    pinned = {"p": pin_of({"name": "p", "description": "as another one saw it"}, "prompt")}
    values.kept_values[f"pins:{place_of('a', 'prompt')}"] = msgspec.json.encode(pinned)
    with pytest.raises(ToolError, match="its definition is not the pinned one"):
        await check()
    prompt.description = "as another one saw it"
    others.forget("prompt")
    await check()
