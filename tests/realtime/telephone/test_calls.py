"""Whole calls through the bridge, in memory and on the fast clock."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from polycall.agents import Guarded
from polycall.loop import CallEnd
from polycall.realtime import Heard, Interrupted, Said, stay_silent
from polycall.realtime.events import Digit, End
from polycall.realtime.telephone import digits_tool, hang_up_tool
from polycall.realtime.telephone.sound import Inbound
from polycall.sim.realtime import VoiceFaults, VoiceScript
from polycall.sim.script import Call, Turn
from polycall.sim.telephone import LineFaults
from polycall.voices.audio import PCMU
from tests.realtime.harness import OPENAI, agent_of
from tests.realtime.telephone.harness import (
    Exchange,
    book,
    charge,
    exchange,
    hours,
    on_fast_clock,
    one_call,
    said,
)


def test_a_call_is_answered_heard_and_hung_up() -> None:
    script = VoiceScript.of([Turn("Hello, what can I do for you?")], heard=["Good evening."])
    made = exchange(agent_of(), script)
    caller = one_call(
        made,
        lambda c: c.say(said(800)).wait_for_speech(1000).wait_for_silence().hang_up(),
        LineFaults(latency_ms=20),
    )
    record = caller.record
    assert (record.status, record.answered, record.wrong_frames) == (200, True, [])
    assert [event.text for event in made.of(Heard)] == ["Good evening."]
    assert [event.text for event in made.of(Said)] == ["Hello, what can I do for you?"]
    spoken_ms = 60 * len("Hello, what can I do for you?")
    loud = sum(1 for byte in record.heard if byte != 0xFF) / 8
    assert abs(loud - spoken_ms) <= 20
    assert made.connections == 1
    assert made.calls[1].ended_by == "stop"
    # A mark behind every delta, and all of them have come back.
    assert len(record.marks) == record.media_frames + 1 > 3  # and one that measures the way
    assert made.of(End)[0].reason == "hang_up"
    assert made.closed_s[0] - record.ended_s <= 1.0


def test_the_whole_script_of_a_call() -> None:
    """A fast tool, a slow one, silence twice, a barge-in, a digit, an approval, hang-up."""
    turns = [
        Turn("Let me see.", calls=[Call("hours", {"day": "Friday"})]),
        Turn("We are open from 12 to 23."),
        Turn("I ask the kitchen.", calls=[Call("book", {"people": 4, "day": "Friday"})]),
        Turn(calls=[Call("stay_silent")]),
        Turn(calls=[Call("stay_silent")]),
        Turn("Your table is booked, and I tell you so at great length. " * 3),
        Turn("You pressed five."),
        Turn("I charge 20.", calls=[Call("charge", {"amount": 20})]),
        Turn("May I charge 20?"),
        Turn("It is charged."),
    ]
    heard = ["When?", "A table.", "Er.", "Hm.", "Stop.", "Charge it.", "Yes.", "Bye."]
    made = exchange(
        agent_of(hours, book, charge, stay_silent()), VoiceScript.of(turns, heard=heard)
    )
    caller = one_call(
        made,
        lambda c: (
            c.say(said(800))
            .pause(5)
            .say(said(800))
            .pause(2.5)
            .say(said(300))
            .pause(1)
            .say(said(300))
            .wait_for_speech(900)
            .say(said(600))
            .pause(2)
            .press("5")
            .pause(4)
            .say(said(600))
            .pause(5)
            .say(said(500))
            .pause(5)
            .hang_up()
        ),
    )
    names = [end.call.name for end in made.of(CallEnd)]
    assert names == ["hours", "stay_silent", "stay_silent", "book", "charge"]
    assert [digit.digit for digit in made.of(Digit)] == ["5"]
    [cut] = made.of(Interrupted)
    # What was heard before the item that was cut off was heard whole.
    lengths = made.script.record.lengths
    before = list(lengths)[: list(lengths).index(cut.item_id)]
    heard_ms = caller.record.cleared[0][1] - sum(lengths[item] for item in before)
    assert abs(cut.heard_ms - heard_ms) <= 60
    assert abs(made.script.record.truncations[0][1] - heard_ms) <= 60
    assert made.of(CallEnd)[-1].result.text == "20 charged"
    answers = made.script.record.answers
    assert len(answers) == len(set(answers)) == 5


def test_the_greeting_is_said_first() -> None:
    made = exchange(agent_of(), VoiceScript.of([Turn("Good day.")]), greeting="Good day.")
    caller = one_call(made, lambda c: c.wait_for_speech(400).hang_up())
    assert [event.text for event in made.of(Said)] == ["Good day."]
    assert caller.record.media_frames > 0


def test_digits_are_read_by_a_tool_and_hanging_up_is_one() -> None:
    turns = [
        Turn("Type your number.", calls=[Call("read_digits", {"count": 4})]),
        Turn("Thank you, goodbye.", calls=[Call("hang_up")]),
    ]
    made = exchange(agent_of(digits_tool(), hang_up_tool()), VoiceScript.of(turns))
    caller = one_call(made, lambda c: c.say(said(500)).pause(4).press("42#").pause(60))
    read, gone = made.of(CallEnd)[:2]
    assert read.result.text == "the caller typed 42"
    assert gone.call.name == "hang_up"
    assert made.of(Digit) == []
    assert made.calls[1].ended_by == "talk"
    # The last words were heard to their end.
    words_ms = 60 * (len("Type your number.") + len("Thank you, goodbye."))
    loud = sum(1 for byte in caller.record.heard if byte != 0xFF) / 8
    assert abs(loud - words_ms) <= 40
    assert made.closed_s[0] - caller.record.ended_s <= 1.0


@pytest.mark.parametrize("end", ["vanish", "hang_up"])
def test_case_38_a_call_that_ends_in_any_way_leaves_no_voice_connected(end: str) -> None:
    turns = [Turn("I ask the kitchen.", calls=[Call("book", {"people": 4, "day": "Friday"})])]
    made = exchange(agent_of(book), VoiceScript.of(turns))
    caller = one_call(made, lambda c: getattr(c.say(said(800)).pause(2), end)())
    assert made.closed_s[0] - caller.record.ended_s <= 1.0
    assert made.of(End)[0].reason == "hang_up"
    assert "ended before" in made.of(CallEnd)[0].result.text


def test_case_35_a_gap_is_filled_and_a_stall_in_speech_ends_the_turn() -> None:
    script = VoiceScript.of([Turn("First."), Turn("Second.")], heard=["One.", "Two."])
    made = exchange(agent_of(), script)
    one_call(
        made,
        lambda c: c.say(said(600)).stall(3).pause(2).hang_up(),
    )
    # The stall began within speech: silence was put in its place, and the turn ended.
    assert [event.text for event in made.of(Heard)] == ["One."]
    began_s, ended_s = (at_s for at_s, _ in script.record.speech[:2])
    assert ended_s - began_s <= 0.6 + 1.1
    assert abs(made.calls[1].inbound.padded_ms - 3000) <= 60


def test_case_35_packets_that_are_lost_are_filled_with_silence() -> None:
    made = exchange(agent_of(), VoiceScript.of([Turn("Yes.")]))
    one_call(made, lambda c: c.pause(20).hang_up(), LineFaults(loss=0.2, jitter_ms=30, seed=3))
    inbound = made.calls[1].inbound
    assert 2000 < inbound.padded_ms < 6000
    assert inbound.dropped_ms == 0
    sound_ms = sum(
        len(body["audio"]) * 3 / 4 / 8
        for _, body in made.script.record.received
        if body["type"] == "input_audio_buffer.append"
    )
    assert abs(sound_ms - 20_000) <= 200


def test_case_35_a_stream_without_sound_ends_after_30_seconds() -> None:
    made = exchange(agent_of(), VoiceScript.of([Turn("Yes.")]))
    caller = one_call(made, lambda c: c.pause(1).stall(60))
    assert made.calls[1].ended_by == "no media"
    assert 30 <= caller.record.ended_s - caller.record.began_s - 1 <= 31


def test_a_voice_that_is_lost_for_good_ends_its_call_alone() -> None:
    script = VoiceScript.of(
        [Turn("One."), Turn("Two."), Turn("Three.")],
        faults=VoiceFaults(reset_at_s=[0.3]),
    )
    made = exchange(agent_of(), script, voice=OPENAI)

    def fail(call: object, event: object) -> None:
        made.saw(call, event)  # type: ignore[arg-type]
        if isinstance(event, Heard) and getattr(call, "number", 0) == 1:
            raise RuntimeError("the application fails")

    made.phone._on_event = fail  # type: ignore[assignment]
    records = []

    async def work(each: object) -> None:
        first, second = made.caller(), made.caller()
        first.say(said(600)).pause(30)
        second.pause(1).say(said(600)).wait_for_speech(100).wait_for_silence().hang_up()
        records.extend(await asyncio.gather(first.call(), second.call()))

    on_fast_clock(work, made)
    assert records[0].ended_s - records[0].began_s < 3
    assert made.calls[2].ended_by == "stop"
    assert [event.text for event in made.of(Said, 2)] != []


@pytest.mark.parametrize("part", ["inbound", "guard"])
def test_what_fails_in_a_call_is_logged_by_its_place_and_moves_no_other(
    part: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of ours in the bridge, and one of the application's in a guard."""
    whole = Inbound.media

    def media(self: Inbound, data: bytes, *place: Any) -> bytes:
        if PCMU.is_loud(data):
            raise RuntimeError("sound of +15005550006")
        return whole(self, data, *place)

    def guard(messages: Any) -> None:
        raise RuntimeError("words of +15005550006")

    async def work(made: Exchange) -> None:
        quiet = asyncio.create_task(made.caller().pause(12).hang_up().call())
        await asyncio.sleep(0.5)
        await made.caller().pause(1).say(said(600)).pause(60).call()
        assert (await quiet).answered

    agent = agent_of() if part == "inbound" else Guarded(agent_of(), inputs=[guard])
    with pytest.MonkeyPatch.context() as patch:
        if part == "inbound":
            patch.setattr(Inbound, "media", media)
        made = on_fast_clock(work, exchange(agent, VoiceScript.of([Turn("Yes.")])))
    assert made.calls[1].ended_by == "stop"
    failed = [record.getMessage() for record in caplog.records if "failed" in record.getMessage()]
    assert failed == [failed[0]]
    assert "call 2 failed: RuntimeError at test_calls.py" in failed[0]
    assert "15005550006" not in caplog.text
