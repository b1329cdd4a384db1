"""The page on voices: its timeline is that of this talk, and its voices that of the table."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from polycall import ToolContext, tool
from polycall.loop import CallEnd
from polycall.realtime import stay_silent
from polycall.sim.realtime import VoiceScript
from polycall.sim.script import Call, Turn
from polycall.testing import FunctionModel
from tests.realtime.harness import GEMINI, LIVE, OPENAI, THINKING, Outcome, agent_of, hold
from tests.realtime.test_forty_cases import saying
from tests.realtime.timeline import timeline

PICTURE = Path(__file__).parents[2] / "docs" / "voice.svg"


@tool(background=True, tell="when_idle")
async def book(people: int, day: str, context: ToolContext) -> str:
    """Book a table."""
    await asyncio.sleep(5)
    return f"a table for {people} on {day} is booked"


@tool
async def hours(day: str) -> str:
    """The opening hours."""
    await asyncio.sleep(0.4)
    return "from 12 to 23"


def talk(voice: str) -> Outcome:
    """The same script for each voice: a fast call, a late one, silence, a barge-in."""
    turns = [
        Turn("Let me see.", calls=[Call("hours", {"day": "Friday"})]),
        Turn("We are open from 12 to 23."),
        Turn("I ask the kitchen.", calls=[Call("book", {"people": 4, "day": "Friday"})]),
        Turn(calls=[Call("stay_silent")]),
        Turn("Your table for four is booked. " * 4),
        Turn("You are welcome."),
    ]
    heard = ["When are you open?", "A table for four.", "Hm.", "Thank you, that is all."]
    script = VoiceScript.of(turns, heard=heard)
    steps = [("say", 900), ("wait", 4500), ("say", 900), ("wait", 2600), ("say", 400)]
    drive = saying(*steps, ("wait", 7000), ("say", 700), ("wait", 3000))
    model = FunctionModel(lambda request: "It is done.")
    return hold(voice, agent_of(book, hours, stay_silent(), client=model), script, drive)


def test_the_timeline_of_the_page_is_of_a_talk() -> None:
    """Write it anew with `POLYCALL_DRAW=1`."""
    outcome = talk(OPENAI)
    assert [end.call.name for end in outcome.of(CallEnd)] == ["hours", "stay_silent", "book"]
    assert len(outcome.interrupted) == 1
    drawn = timeline(outcome, "a talk of a caller with a simulated voice")
    if os.environ.get("POLYCALL_DRAW"):
        PICTURE.write_text(drawn, encoding="utf-8")
    assert PICTURE.read_text(encoding="utf-8") == drawn


@pytest.mark.parametrize(
    ("voice", "features"),
    [
        (OPENAI, []),
        (GEMINI, []),
        (THINKING, ["stay_silent", "tell"]),
        (LIVE, ["stay_silent"]),
    ],
)
def test_what_a_voice_could_not_do_is_in_its_warnings(voice: str, features: list[str]) -> None:
    assert sorted(each.feature for each in talk(voice).run.warnings) == features
