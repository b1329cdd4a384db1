"""When models end, and the living ones that examples, documentation, demo and help name."""

from __future__ import annotations

from datetime import date

from msgspec import Struct

from polycall.profiles.names import bare, known_name, vendor_of
from polycall.profiles.rows import Source, load, vendors

# The one place: a test fails when one of them is retired within 30 days, or is named nowhere.
LIVING: dict[str, str] = {
    "anthropic": "anthropic/claude-sonnet-4-6",
    "openai": "openai/gpt-5.4",
    "google": "google/gemini-3.8-flash",
    "deepseek": "deepseek/deepseek-flash",
}


class Retirement(Struct, frozen=True):
    """The end of one name: on which day, what the vendor recommends, and where it says so."""

    vendor: str
    name: str
    on: date
    instead: str
    source: Source

    def has_ended(self, day: date) -> bool:
        """Whether requests fail on this day."""
        return day >= self.on


def retirement(name: str) -> Retirement | None:
    """The announced end of a model by any of its names; `None` where none is known."""
    family = vendor_of(name)
    if family is None:
        return None
    listed = load(family.name)
    known = known_name(family.name, name) or bare(name)
    found = listed.retired.get(known)
    if found is None:
        return None
    return Retirement(family.name, known, found.on, found.instead, listed.sources[found.source])


def retirements() -> list[Retirement]:
    """All announced ends, the earliest first."""
    found: list[Retirement] = []
    for vendor in vendors():
        listed = load(vendor)
        for name, each in listed.retired.items():
            source = listed.sources[each.source]
            found.append(Retirement(vendor, name, each.on, each.instead, source))
    return sorted(found, key=lambda each: (each.on, each.name))
