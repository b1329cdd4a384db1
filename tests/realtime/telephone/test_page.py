"""The page on the telephone: one scripted call by each kind of voice, drawn and recorded."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest

from polycall.ir import ToolCall
from polycall.loop import CallEnd
from polycall.realtime import stay_silent
from polycall.realtime.events import Audio, Digit, End, Heard, Interrupted, Said
from polycall.sim.realtime import VoiceScript
from polycall.sim.script import Call, Turn
from polycall.sim.telephone import Caller, LineFaults
from polycall.testing import FunctionModel
from polycall.voices.audio import decode_mulaw, encode_mulaw
from tests.realtime.harness import GEMINI, LIVE, OPENAI, agent_of
from tests.realtime.telephone.harness import Exchange, book, charge, exchange, hours, one_call, said
from tests.realtime.timeline import draw

DOCS = Path(__file__).parents[3] / "docs"
LONG = "Your table is booked, and I tell you so at great length. " * 3
RECORDING_BYTES_MAX = 300_000


TABLE = {"people": 4, "day": "Friday"}
TURNS = [
    Turn("Let me see.", calls=[Call("hours", {"day": "Friday"})]),
    Turn("We are open from 12 to 23."),
    Turn("I ask the kitchen.", calls=[Call("book", TABLE)]),
    Turn(calls=[Call("stay_silent")]),
    Turn(calls=[Call("stay_silent")]),
    Turn(LONG),
    Turn("You are welcome."),
    Turn("You pressed five."),
    Turn("I charge 20.", calls=[Call("charge", {"amount": 20})]),
    Turn("May I charge 20?"),
    Turn("It is charged."),
]
HEARD = [
    "When are you open?",
    "A table for four.",
    "Er.",
    "Hm.",
    "Thank you.",
    "Charge it.",
    "Yes.",
]

# A voice that delegates: what is called is the agent's, and silence needs no tool.
DELEGATED = [
    Turn("Let me see.", calls=[Call("work")]),
    Turn("I ask the kitchen.", calls=[Call("work")]),
    Turn("Yes?"),
    Turn("Go on."),
    Turn("You are welcome."),
    Turn("One moment.", calls=[Call("work")]),
    Turn("I do it."),
]


def brain(request: Any) -> Any:
    """The agent behind GPT-Live."""
    last = str(request.messages[-1])
    answers = {
        "is booked": LONG,
        "from 12": "We are open from 12 to 23.",
        "20 charged": "It is charged.",
        "When": [ToolCall("hours_1", "hours", '{"day": "Friday"}')],
        "A table": [ToolCall("book_1", "book", '{"people": 4, "day": "Friday"}')],
        "Charge": [ToolCall("charge_1", "charge", '{"amount": 20}')],
    }
    return next((answer for words, answer in answers.items() if words in last), "One moment.")


def acts(caller: Caller) -> Caller:
    """A question, a wish, two half sentences, a barge-in, a digit, a charge, a yes."""
    caller.say(said(800)).pause(4.5).say(said(800)).pause(2.2).say(said(300)).pause(1)
    caller.say(said(300)).pause(4.4).say(said(600)).pause(2.2).press("5").pause(2.2)
    return caller.say(said(600)).pause(4.5).say(said(500)).pause(3).hang_up()


def call(voice: str) -> tuple[Exchange, Caller]:
    turns = DELEGATED if voice == LIVE else TURNS
    agent = agent_of(hours, book, charge, stay_silent(), client=FunctionModel(brain))
    made = exchange(agent, VoiceScript.of(turns, heard=HEARD), voice=voice)
    return made, one_call(made, acts, LineFaults(latency_ms=20, jitter_ms=10, seed=5))


@pytest.mark.parametrize("voice", [OPENAI, GEMINI, LIVE])
def test_one_script_on_each_kind_of_voice(voice: str) -> None:
    if voice == GEMINI:
        pytest.importorskip("soxr", reason="soxr (polycall[voice]) is absent")
    made, caller = call(voice)
    assert [event.text for event in made.of(Heard)] == HEARD
    assert [digit.digit for digit in made.of(Digit)] == ["5"]
    ended = [end.call.name for end in made.of(CallEnd)]
    silences = [] if voice == LIVE else ["stay_silent", "stay_silent"]
    # The agent behind GPT-Live is told at once that `book` has begun; the others are told the end.
    late = ["book", "charge"]
    assert ended == (["hours", *late] if voice == LIVE else ["hours", *silences, *late])
    assert made.of(CallEnd)[-1].result.text == "20 charged"
    assert "It is charged." in " ".join(event.text for event in made.of(Said))
    # What was said while the table was being booked shows that the talk went on meanwhile.
    booked = next(
        at for at, event in made.moments if isinstance(event, Said) and "booked" in event.text
    )
    asked = next(
        at for at, event in made.moments if isinstance(event, Heard) and "table" in event.text
    )
    between = [
        event for at, event in made.moments if asked < at < booked and isinstance(event, Heard)
    ]
    assert len(between) >= 2
    # The long answer was cut off, and the history has the beginning of it.
    told = str(made.calls[1].talk.run.history.messages)
    assert "Your table is" in told
    assert LONG.strip() not in told
    if voice != LIVE:
        (cut,) = made.of(Interrupted)
        assert len(caller.record.cleared) == 1
        assert 0 < cut.heard_ms < 60 * len(LONG)
    assert made.of(End)[0].reason == "hang_up"
    assert caller.record.wrong_frames == []
    answers = made.script.record.answers
    assert len(answers) == len(set(answers)) == len(made.script.record.issued)
    assert made.script.record.refusals == []


def test_the_picture_and_the_recording_of_the_page_are_of_that_call() -> None:
    """Make them anew with `POLYCALL_DRAW=1`."""
    made, caller = call(OPENAI)
    began = caller.record.began_s
    picture = draw(
        "a telephone call to an agent",
        [(at, event) for at, event in made.moments if not isinstance(event, Audio)],
        began,
        spans=[(began + start, began + end) for start, end in _loud(caller.record.said)],
        played=_loud(caller.record.heard),
    )
    recording = _wav(_mixed(caller.record.said, caller.record.heard))
    assert len(recording) <= RECORDING_BYTES_MAX
    if os.environ.get("POLYCALL_DRAW"):
        (DOCS / "telephone.svg").write_text(picture, encoding="utf-8")
        (DOCS / "telephone.wav").write_bytes(recording)
    assert (DOCS / "telephone.svg").read_text(encoding="utf-8") == picture
    assert (DOCS / "telephone.wav").read_bytes() == recording


def _loud(sound: bytes) -> list[tuple[float, float]]:
    """When something is heard, in seconds; pauses of less than 200 ms are none."""
    found: list[list[float]] = []
    for place in range(0, len(sound), 160):
        if set(sound[place : place + 160]) - {0xFF}:
            start = place / 8000
            if found and start - found[-1][1] < 0.2:
                found[-1][1] = start + 0.02
            else:
                found.append([start, start + 0.02])
    return [(start, end) for start, end in found]


def _mixed(first: bytes, second: bytes) -> bytes:
    """Both sides as one, in \u03bc-law; the caller at a quarter of the loudness."""
    size = max(len(first), len(second))
    pairs = (decode_mulaw(side.ljust(size, b"\xff")) for side in (first, second))
    one, two = (struct.unpack(f"<{size}h", pcm) for pcm in pairs)
    mixed = [max(-32768, min(32767, a // 4 + b)) for a, b in zip(one, two, strict=True)]
    return encode_mulaw(struct.pack(f"<{size}h", *mixed))


def _wav(sound: bytes) -> bytes:
    """A WAV file of \u03bc-law, 8000 Hz, which players and browsers take."""
    form = struct.pack("<HHIIHHH", 7, 1, 8000, 8000, 1, 8, 0)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(sound))
    return b"RIFF" + struct.pack("<I", 4 + len(chunks) + len(sound)) + b"WAVE" + chunks + sound
