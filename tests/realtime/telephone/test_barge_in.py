"""A hundred barge-ins through a bad network: what the voice is told was heard, was heard."""

from __future__ import annotations

import random

import pytest

from polycall.ir import Text
from polycall.realtime import Interrupted
from polycall.sim.realtime import VoiceScript
from polycall.sim.script import Turn
from polycall.sim.telephone import Caller, LineFaults
from polycall.testing import FunctionModel
from tests.realtime.harness import GEMINI, LIVE, agent_of
from tests.realtime.telephone.harness import exchange, one_call, said

QUIET = 0xFF


@pytest.mark.slow
def test_a_hundred_barge_ins_are_cut_where_the_caller_stopped_hearing() -> None:
    chance = random.Random(19)
    turns = [Turn("This is a long answer to a short question. " * 3) for _ in range(101)]
    made = exchange(agent_of(), VoiceScript.of(turns), call_s_max=3000)

    def script(caller: Caller) -> Caller:
        caller.say(said(500))
        for _ in range(100):
            caller.wait_for_speech(chance.uniform(300, 5000)).say(said(400))
        return caller.pause(1).hang_up()

    faults = LineFaults(latency_ms=20, jitter_ms=30, loss=0.02, seed=7)
    caller = one_call(made, script, faults)
    cleared = [heard_ms for _, heard_ms in caller.record.cleared]
    told = [ms for _, ms in made.script.record.truncations]
    assert len(cleared) == len(told) == 100
    errors = sorted(abs(ms - heard_ms) for ms, heard_ms in zip(told, cleared, strict=True))
    print("errors in ms: median", errors[50], "99th", errors[98], "most", errors[99])
    assert errors[98] <= 60
    # None of the marks that a `clear` gave back counts as heard, and nothing comes after it.
    assert caller.record.cleared_marks != []
    assert caller.record.wrong_frames == []


def test_barge_ins_of_a_voice_that_is_told_nothing() -> None:
    """Gemini never learns what was heard: the event says it, and the history keeps it."""
    pytest.importorskip("soxr", reason="soxr (polycall[voice]) is absent")
    chance = random.Random(20)
    turns = [Turn("This is a long answer to a short question. " * 3) for _ in range(31)]
    made = exchange(agent_of(), VoiceScript.of(turns), voice=GEMINI, call_s_max=3000)

    def script(caller: Caller) -> Caller:
        caller.say(said(500))
        for _ in range(30):
            caller.wait_for_speech(chance.uniform(300, 5000)).say(said(400))
        return caller.pause(1).hang_up()

    caller = one_call(made, script, LineFaults(latency_ms=20, jitter_ms=30, loss=0.02, seed=8))
    cleared = [heard_ms for _, heard_ms in caller.record.cleared]
    told = [event.heard_ms for event in made.of(Interrupted)]
    assert len(cleared) == len(told) == 30
    errors = sorted(abs(ms - heard_ms) for ms, heard_ms in zip(told, cleared, strict=True))
    print("errors in ms: median", errors[15], "most", errors[29])
    assert errors[29] <= 60
    assert caller.record.wrong_frames == []


def test_words_of_a_voice_without_turns_are_kept_as_far_as_they_were_heard() -> None:
    """GPT-Live stops by itself and sends no faster than time: its words are those of its sound."""
    chance = random.Random(21)
    words = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen."
    turns = [Turn(words) for _ in range(31)]
    model = FunctionModel(lambda request: "Done.")
    made = exchange(agent_of(client=model), VoiceScript.of(turns), voice=LIVE, call_s_max=3000)

    def script(caller: Caller) -> Caller:
        caller.say(said(500))
        for _ in range(30):
            caller.pause(chance.uniform(1.5, 4.0)).say(said(400))
        return caller.pause(8).hang_up()

    caller = one_call(made, script, LineFaults(latency_ms=20, jitter_ms=30, seed=9))
    kept = [
        part.text
        for message in made.calls[1].talk.run.history.messages
        for part in message.parts
        if message.role == "assistant" and isinstance(part, Text)
    ]
    runs = _loud_ms(caller.record.heard)
    assert len(kept) == len(runs) == 31
    assert kept[-1] == words
    for text, ms in zip(kept, runs, strict=True):
        assert words.startswith(text)
        assert abs(60 * (len(text) + 1) - ms) <= 100 + 60  # a piece of its sound, and a space
    assert caller.record.wrong_frames == []


def _loud_ms(heard: bytes) -> list[float]:
    """How long each stretch of sound was; a gap of less than 200 ms is none."""
    found: list[float] = []
    quiet = 10_000
    for byte in heard:
        if byte == QUIET:
            quiet += 1
            continue
        if quiet > 1600:
            found.append(0.0)
        found[-1] += (1 + (quiet if quiet <= 1600 else 0)) / 8
        quiet = 0
    return found
