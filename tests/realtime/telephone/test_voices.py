"""The same call through voices of all three kinds; Gemini needs soxr for its other rates."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from polycall import Agent, ToolContext, tool
from polycall.agents.events import HandoffEvent
from polycall.loop import CallEnd
from polycall.realtime import Heard, Interrupted, stay_silent
from polycall.realtime.events import Audio, Digit, End
from polycall.sim.realtime import VoiceScript
from polycall.sim.script import Call, Turn
from polycall.sim.telephone import Caller, LineFaults
from polycall.testing import FunctionModel
from tests.realtime.harness import GEMINI, LIVE, OPENAI, agent_of
from tests.realtime.telephone.harness import exchange, hours, on_fast_clock, one_call, said

XAI = "xai/grok-voice-1"
AZURE = "azure/gpt-realtime-2.1"


def voice(name: str) -> Any:
    if name != GEMINI:
        return name
    try:
        import soxr  # noqa: F401
    except ModuleNotFoundError:
        return pytest.param(name, marks=pytest.mark.skip(reason="soxr (polycall[voice]) is absent"))
    return name


@tool(background=True, tell="when_idle")
async def book(people: int, day: str, context: ToolContext) -> str:
    """Book a table."""
    await asyncio.sleep(5)
    return f"a table for {people} on {day} is booked"


def script_of(caller: Caller) -> Caller:
    caller.say(said(800)).pause(5).say(said(800)).pause(2).press("5").pause(1)
    caller.wait_for_speech(900).say(said(900)).pause(8)
    return caller.hang_up()


@pytest.mark.parametrize("name", [OPENAI, voice(GEMINI), LIVE])
def test_a_call_by_each_kind_of_voice(name: str) -> None:
    turns = [
        Turn("Let me see.", calls=[Call("hours", {"day": "Friday"})]),
        Turn("We are open from 12 to 23."),
        Turn("I ask the kitchen.", calls=[Call("book", {"people": 4, "day": "Friday"})]),
        Turn("You pressed a key, and I say so. " * 6),
        Turn("It is booked. " * 8),
        Turn("Good. " * 8),
    ]
    script = VoiceScript.of(turns, heard=["When?", "A table.", "Stop.", "Well."])
    model = FunctionModel(lambda request: "It is done.")
    made = exchange(agent_of(hours, book, stay_silent(), client=model), script, voice=name)
    caller = one_call(made, script_of, LineFaults(latency_ms=20, jitter_ms=20, loss=0.01))
    record = caller.record
    assert record.wrong_frames == []
    assert record.heard.strip(b"\xff") != b""
    assert len(made.of(Heard)) >= 2
    assert [digit.digit for digit in made.of(Digit)] == ["5"]
    assert len(made.of(Interrupted)) == len(record.cleared)
    assert made.of(End)[0].reason == "hang_up"
    if name != LIVE:  # it sends silence too, and its calls are those of the agent behind it
        assert [end.call.name for end in made.of(CallEnd)][:2] == ["hours", "book"]
        assert len(record.cleared) >= 1
    answers = script.record.answers
    assert len(answers) == len(set(answers))


@pytest.mark.parametrize("name", [OPENAI, voice(GEMINI)])
def test_a_barge_in_clears_playback_whatever_the_voice(name: str) -> None:
    script = VoiceScript.of([Turn("A long story of many words. " * 12)] * 3)
    made = exchange(agent_of(), script, voice=name)
    faults = LineFaults(latency_ms=20, jitter_ms=20)
    record = one_call(
        made, lambda c: c.say(said(800)).pause(5).say(said(900)).hang_up(), faults
    ).record
    assert len(made.of(Interrupted)) == len(record.cleared) == 1
    assert abs(made.of(Interrupted)[0].heard_ms - record.cleared[0][1]) <= 60


@pytest.mark.parametrize("name", [OPENAI, XAI, LIVE])
def test_mu_law_passes_without_a_change(name: str) -> None:
    model = FunctionModel(lambda request: "Yes.")
    made = exchange(agent_of(client=model), VoiceScript.of([Turn("Hello.")] * 3), voice=name)
    one_call(made, lambda c: c.say(said(500)).pause(3).hang_up())
    formats = str([body for _, body in made.script.record.received[:2]])
    assert "audio/pcmu" in formats or "pcmu" in formats
    sound = b"".join(event.data for event in made.of(Audio))
    assert set(sound) <= {0x10, 0x90, 0xFF}  # the simulated voice's own bytes


def test_a_handoff_goes_on_in_the_same_call() -> None:
    waiter = Agent("openai/gpt-5.4", instructions="You bring.", name="waiter")
    host = agent_of(handoffs=[waiter], name="host")
    turns = [
        Turn("I pass you on.", calls=[Call("transfer_to_waiter", {"reason": "hungry"})]),
        Turn("What may I bring?"),
    ]
    made = exchange(host, VoiceScript.of(turns))
    one_call(made, lambda c: c.say(said(600)).pause(6).hang_up())
    assert [event.target for event in made.of(HandoffEvent)] == ["waiter"]
    assert made.connections == 1


def test_twenty_calls_at_once_share_nothing() -> None:
    script = VoiceScript.of([Turn("Yes, I am here.")] * 60)
    made = exchange(agent_of(), script, calls_max=20)
    records: list[Any] = []

    async def work(each: object) -> None:
        callers = [made.caller(LineFaults(seed=seed, jitter_ms=20)) for seed in range(20)]
        for number, caller in enumerate(callers):
            caller.pause(number / 10).say(said(500)).wait_for_speech(500).wait_for_silence()
            caller.vanish() if number % 5 == 0 else caller.hang_up()
        records.extend(await asyncio.gather(*(caller.call() for caller in callers)))

    on_fast_clock(work, made)
    ended = [made.calls[number].ended_by for number in range(1, 21)]
    assert sorted(set(ended)) == ["lost", "stop"]
    assert ended.count("lost") == 4
    assert all(record.wrong_frames == [] and record.media_frames > 0 for record in records)
