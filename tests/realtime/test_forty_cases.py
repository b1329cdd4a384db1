"""Forty ways in which talks go wrong elsewhere, by number, on each voice where they apply."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest
from msgspec.structs import replace

from polycall import AgentContext, tool
from polycall.ir import Text, ToolResult
from polycall.loop import CallEnd, CallStart
from polycall.realtime import (
    Audio,
    CallDiscarded,
    Heard,
    Interrupted,
    MarkedPlayed,
    Reconnected,
    Talk,
    UnknownFrames,
    stay_silent,
)
from polycall.sim.realtime import VoiceFaults, VoiceScript
from polycall.sim.script import Call, Failure, Turn
from polycall.testing import FunctionModel
from polycall.voices.capabilities import voice_for
from polycall.voices.codecs import make_codec
from polycall.voices.protocol import CallDropped, CallReady, VendorError
from tests.realtime.harness import (
    GEMINI,
    LIVE,
    OPENAI,
    THINKING,
    Caller,
    Outcome,
    agent_of,
    hold,
)

LONG = "This is a long answer that takes a while to be spoken to its very end. " * 3
TURNS = pytest.mark.parametrize("voice", [OPENAI, GEMINI])


@tool
async def fast(name: str = "x") -> str:
    """Answer at once."""
    return f"{name} is done"


@tool
async def slow(name: str = "x") -> str:
    """Answer after a while; the caller is kept waiting."""
    await asyncio.sleep(3)
    return f"{name} took long"


def late(tell: Any = "when_idle", seconds: float = 6.0) -> Any:
    """A background tool that answers after so long."""

    @tool(background=True, tell=tell, name="late")
    async def work(name: str = "x") -> str:
        """Answer much later."""
        await asyncio.sleep(seconds)
        return f"{name} came late"

    return work


def saying(*steps: tuple[str, float]) -> Any:
    """The caller speaks and waits, as told: ("say", ms) or ("wait", ms)."""

    async def drive(talk: Talk, caller: Caller) -> None:
        await caller.wait(200)
        for what, ms in steps:
            await (caller.say(ms) if what == "say" else caller.wait(ms))

    return drive


def creates(outcome: Outcome) -> int:
    return len(outcome.sent("response.create"))


def truncated(outcome: Outcome) -> list[str]:
    """What was refused, but for a cancellation that came too late."""
    return [each for each in outcome.record.refusals if "Cancellation failed" not in each]


def unanswered(outcome: Outcome) -> list[str]:
    record = outcome.record
    return [each for each in record.runnable if each not in record.answers]


# Responses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [False, True])
def test_case_01_and_02_a_reply_that_was_refused_is_asked_for_again_and_spoken_once(
    hidden: bool,
) -> None:
    """`say` while the server begins a reply of its own: 1 with the event's id, 2 without."""

    async def drive(talk: Talk, caller: Caller) -> None:
        await caller.wait(200)
        await caller.say(600)
        # The server's reply begins half a second after the caller has stopped: just now.
        await caller.wait(505)
        talk._machine._replies.turn_until_s = 0.0
        talk.say("We close soon.")
        talk._machine._replies.turn_until_s = 0.0
        await caller.wait(9000)

    script = VoiceScript.of(
        [Turn("First."), Turn("We close soon.")], faults=VoiceFaults(null_event_ids=hidden)
    )
    outcome = hold(OPENAI, agent_of(), script, drive)
    assert outcome.said == ["First.", "We close soon."]


def test_case_03_a_reply_of_the_server_that_uses_the_result_needs_no_other() -> None:
    script = VoiceScript.of([Turn(calls=[Call("slow")]), Turn("It took long."), Turn("Twice?")])
    # The caller speaks over the whole wait, and stops after the result has come.
    drive = saying(("say", 600), ("wait", 1500), ("say", 3000), ("wait", 6000))
    outcome = hold(OPENAI, agent_of(slow), script, drive)
    assert outcome.said == ["It took long."]
    assert creates(outcome) == 0
    assert unanswered(outcome) == []


@TURNS
def test_case_04_three_parallel_calls_are_one_reply(voice: str) -> None:
    calls = [Call("fast", {"name": "a"}), Call("slow", {"name": "b"}), Call("fast", {"name": "c"})]
    script = VoiceScript.of([Turn(calls=calls), Turn("All done."), Turn("Again?")])
    outcome = hold(voice, agent_of(fast, slow), script, saying(("say", 600), ("wait", 12000)))
    assert len(outcome.record.answers) == 3
    assert outcome.said == ["All done."]
    if voice == OPENAI:
        assert creates(outcome) == 1
        kinds = outcome.record.kinds()
        last = max(place for place, kind in enumerate(kinds) if kind == "conversation.item.create")
        assert kinds.index("response.create") > last


def test_case_05_a_cancellation_with_nothing_to_cancel_is_swallowed() -> None:
    codec = make_codec(voice_for("openai", "gpt-realtime-2.1"))
    words = "Cancellation failed: no active response found"
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": words}}
    (signal,) = codec.decode(json.dumps(error))
    assert isinstance(signal, VendorError)
    assert signal.kind == "nothing_active"


def test_case_06_a_reply_waits_for_the_end_of_the_one_that_was_cancelled() -> None:
    script = VoiceScript.of([Turn(LONG, calls=[]), Turn("It came late.")], heard=["Hello"])
    script.turns.appendleft(Turn("Wait.", calls=[Call("late")]))
    drive = saying(("say", 600), ("wait", 3000), ("say", 600), ("wait", 16000))
    outcome = hold(OPENAI, agent_of(late("interrupt", 4.2)), script, drive)
    kinds = [
        body["type"]
        for _, body in sorted(
            outcome.record.sent + outcome.record.received, key=lambda each: each[0]
        )
        if body["type"] in ("response.cancel", "response.done", "response.create")
    ]
    assert outcome.said[-1] == "It came late."
    at = kinds.index("response.cancel")
    assert kinds[at : at + 3] == ["response.cancel", "response.done", "response.create"]
    assert truncated(outcome) == []


def test_case_07_a_reply_that_ends_without_having_begun_leaves_the_way_free() -> None:
    script = VoiceScript.of(
        [Turn("One."), Turn("Two."), Turn("Three.")], faults=VoiceFaults(without_created=True)
    )
    drive = saying(
        ("say", 600), ("wait", 540), ("say", 600), ("wait", 4000), ("say", 600), ("wait", 4000)
    )
    outcome = hold(OPENAI, agent_of(), script, drive)
    assert outcome.said[-1] in ("Two.", "Three.")
    assert outcome.end.reason == "hang_up"


def test_case_08_a_call_of_a_cancelled_reply_never_runs() -> None:
    script = VoiceScript.of([Turn(LONG, calls=[Call("fast")]), Turn("Yes?")])
    outcome = hold(
        OPENAI,
        agent_of(fast),
        script,
        saying(("say", 600), ("wait", 1600), ("say", 600), ("wait", 5000)),
    )
    assert outcome.of(CallStart) == []
    assert outcome.record.answers == []
    assert outcome.interrupted


def test_case_08_arguments_that_are_done_in_a_reply_that_is_cancelled_afterwards() -> None:
    """The item is complete, and its reply is not: nothing runs."""
    script = VoiceScript.of(
        [Turn("I look.", calls=[Call("fast")] * 2, finish="length"), Turn("Yes?")]
    )
    outcome = hold(OPENAI, agent_of(fast), script, saying(("say", 600), ("wait", 6000)))
    assert outcome.of(CallStart) == []
    assert {event.name for event in outcome.of(CallDiscarded)} == {"fast"}


def test_case_09_a_call_whose_item_is_incomplete_is_an_event() -> None:
    codec = make_codec(voice_for("openai", "gpt-realtime-2.1"))
    item = {"type": "function_call", "call_id": "c", "name": "fast", "arguments": '{"na'}
    for status in ("incomplete", "in_progress", None):
        body = {"type": "response.output_item.done", "item": {**item, "status": status}}
        (signal,) = codec.decode(json.dumps(body))
        assert isinstance(signal, CallDropped)
    body = {"type": "response.output_item.done", "item": {**item, "status": "completed"}}
    (signal,) = codec.decode(json.dumps(body))
    assert isinstance(signal, CallReady)


@TURNS
def test_case_10_an_id_that_comes_twice_runs_once(voice: str) -> None:
    script = VoiceScript.of(
        [Turn(calls=[Call("fast")]), Turn("Done.")], faults=VoiceFaults(repeat_calls=True)
    )
    outcome = hold(voice, agent_of(fast), script, saying(("say", 600), ("wait", 6000)))
    assert len(outcome.of(CallStart)) == 1
    assert len(outcome.record.answers) == 1
    assert outcome.said == ["Done."]


@TURNS
def test_case_11_the_same_work_twice_in_the_background_is_refused_with_words(voice: str) -> None:
    script = VoiceScript.of(
        [
            Turn("I book.", calls=[Call("late", {"name": "table"})]),
            Turn("Again.", calls=[Call("late", {"name": "table"})]),
            Turn("It runs already."),
            Turn("Booked."),
        ]
    )
    drive = saying(("say", 600), ("wait", 3000), ("say", 600), ("wait", 16000))
    outcome = hold(voice, agent_of(late()), script, drive)
    assert len(outcome.of(CallStart)) == 1
    assert len(outcome.record.answers) == 2
    results = [
        part for m in outcome.run.messages for part in m.parts if isinstance(part, ToolResult)
    ]
    assert "runs already" in results[1].text


@TURNS
def test_case_12_what_does_not_fit_is_told_to_the_model_and_is_tried_again(voice: str) -> None:
    wrong = Call("fast", raw_arguments='{"name": ') if voice == OPENAI else Call("fast", {"nam": 1})
    script = VoiceScript.of(
        [Turn(calls=[wrong]), Turn(calls=[Call("fats")]), Turn(calls=[Call("fast")]), Turn("Done.")]
    )
    outcome = hold(voice, agent_of(fast), script, saying(("say", 600), ("wait", 9000)))
    ends = outcome.of(CallEnd)
    assert [end.result.is_error for end in ends] == [True, True, False]
    assert "did you mean 'fast'" in ends[1].result.text
    assert outcome.said == ["Done."]


def test_case_12_a_model_that_fails_forever_is_not_asked_forever() -> None:
    script = VoiceScript.of([Turn(calls=[Call("nothing")]) for _ in range(50)])
    outcome = hold(OPENAI, agent_of(fast), script, saying(("say", 600), ("wait", 30000)))
    assert len(outcome.of(CallEnd)) == 4


# Late results -----------------------------------------------------------------------------------


def test_case_13_a_result_after_barge_in_is_no_reply_until_the_turn_is_over() -> None:
    script = VoiceScript.of([Turn(calls=[Call("slow")]), Turn("It took long.")])
    drive = saying(("say", 600), ("wait", 2000), ("say", 4000), ("wait", 6000))
    outcome = hold(OPENAI, agent_of(slow), script, drive)
    (begin, end) = [at for at, _ in outcome.record.speech[2:4]]
    assert not [at for at in outcome.record.requests if begin <= at <= end]
    assert unanswered(outcome) == []
    assert outcome.said == ["It took long."]


@TURNS
def test_case_14_when_idle_waits_for_the_end_of_playback(voice: str) -> None:
    """The long answer is received within seconds, and takes twelve to be played."""
    script = VoiceScript.of([Turn(LONG, calls=[Call("late")]), Turn("It came late.")])
    outcome = hold(voice, agent_of(late(seconds=3)), script, saying(("say", 600), ("wait", 25000)))
    assert outcome.said == [LONG.strip(), "It came late."]
    assert outcome.interrupted == []
    if voice == OPENAI:
        (asked,) = outcome.record.requests
        sounds = [at for at, event in outcome.moments if type(event).__name__ == "Audio"]
        assert asked - sounds[0] >= len(LONG) * 60 / 1000 - 0.1


@TURNS
def test_case_15_interrupt_stops_and_speaks_at_once(voice: str) -> None:
    script = VoiceScript.of([Turn(LONG, calls=[Call("late")]), Turn("It came late.")])
    agent = agent_of(late("interrupt", seconds=3))
    outcome = hold(voice, agent, script, saying(("say", 600), ("wait", 20000)))
    assert outcome.said[-1] == "It came late."
    if voice == OPENAI:
        ((item, at_ms),) = outcome.record.truncations
        (stopped,) = outcome.interrupted
        assert abs(at_ms - stopped.heard_ms) <= 1
        assert at_ms < outcome.record.lengths[item]
        assert truncated(outcome) == []
    text = next(m.text for m in outcome.run.messages if m.role == "assistant" and m.text)
    assert LONG.startswith(text)
    assert len(text) < len(LONG) - 10 or voice == GEMINI


@TURNS
def test_case_16_silent_is_known_to_the_next_turn_and_makes_no_sound(voice: str) -> None:
    script = VoiceScript.of([Turn("I note it.", calls=[Call("late")]), Turn("Never said.")])
    agent = agent_of(late("silent", seconds=2))
    outcome = hold(voice, agent, script, saying(("say", 600), ("wait", 9000)))
    assert outcome.said == ["I note it."]
    assert len(outcome.record.answers) == 1


def test_case_17_a_call_that_said_how_far_it_is_and_fails_is_ended() -> None:
    @tool(background=True)
    async def work(context: AgentContext) -> str:
        """Work."""
        await context.report(0.5, "half")
        await asyncio.sleep(1)
        raise ValueError("broken")

    script = VoiceScript.of([Turn("I try.", calls=[Call("work")]), Turn("It failed.")])
    outcome = hold(GEMINI, agent_of(work), script, saying(("say", 600), ("wait", 9000)))
    results = [
        each
        for body in outcome.sent("toolResponse")
        for each in body["toolResponse"]["functionResponses"]
    ]
    assert [each["willContinue"] for each in results] == [True, False]
    assert results[0]["scheduling"] == "SILENT"
    assert "broken" in results[1]["response"]["error"]
    assert outcome.said == ["I try.", "It failed."]


@pytest.mark.parametrize("voice", [THINKING, "google/gemini-3.1-flash-live-preview"])
def test_case_18_scheduling_where_there_is_none_is_warned_about_once_and_never_sent(
    voice: str,
) -> None:
    script = VoiceScript.of(
        [Turn("One.", calls=[Call("late", {"name": "a"}), Call("late", {"name": "b"})])]
    )
    agent = agent_of(late("interrupt", seconds=1))
    outcome = hold(voice, agent, script, silent_wait)
    assert [each.feature for each in outcome.run.warnings].count("tell") == 1
    assert not outcome.record.refusals
    results = outcome.sent("toolResponse")[0]["toolResponse"]["functionResponses"]
    assert "scheduling" not in results[0]


async def silent_wait(talk: Talk, caller: Caller) -> None:
    """The caller speaks once, and the line is closed: blocking models take no sound meanwhile."""
    await caller.wait(200)
    await caller.say(600)
    await caller.wait(560)
    caller.is_gone = True
    await caller.wait(6000)


def test_case_19_a_call_that_the_vendor_cancels_is_stopped_and_not_answered() -> None:
    script = VoiceScript.of(
        [Turn(LONG, calls=[Call("late")]), Turn("Yes?")], faults=VoiceFaults(cancel_calls=True)
    )
    script.turns.appendleft(Turn("I look.", calls=[Call("late", {"name": "first"})]))
    drive = saying(
        ("say", 600), ("wait", 2500), ("say", 600), ("wait", 2200), ("say", 600), ("wait", 9000)
    )
    outcome = hold(GEMINI, agent_of(late(seconds=30)), script, drive)
    assert outcome.record.cancelled
    assert outcome.record.answers == []
    assert outcome.sent("toolResponse") == []
    assert next(event.reason for event in outcome.of(CallDiscarded)) == "cancelled by the vendor"
    assert outcome.left_tasks == 0


def test_case_20_a_cancellation_after_the_end_is_an_event() -> None:
    from polycall.voices.protocol import CallsCancelled

    async def drive(talk: Talk, caller: Caller) -> None:
        await saying(("say", 600), ("wait", 3000))(talk, caller)
        talk._post(lambda: talk._machine.signal(CallsCancelled(["call_1_3"])))
        await caller.wait(500)

    script = VoiceScript.of([Turn(calls=[Call("fast")]), Turn("Done.")])
    outcome = hold(GEMINI, agent_of(fast), script, drive)
    (gone,) = outcome.of(CallDiscarded)
    assert "after its end" in gone.reason
    assert len(outcome.sent("toolResponse")) == 1


@pytest.mark.parametrize("voice", [OPENAI, GEMINI])
def test_case_21_a_call_that_outlives_the_talk_is_cancelled_and_recorded(voice: str) -> None:
    script = VoiceScript.of([Turn("I look.", calls=[Call("late")])])
    outcome = hold(voice, agent_of(late(seconds=600)), script, saying(("say", 600), ("wait", 3000)))
    assert outcome.left_tasks == 0
    (end,) = outcome.of(CallEnd)
    assert end.result.is_error
    assert "ended before" in end.result.text
    assert outcome.run.messages[-1].role == "tool"


@TURNS
def test_case_22_a_tool_out_of_time_is_an_error_and_its_value_is_dropped(voice: str) -> None:
    @tool(deadline_s=1.0)
    async def hangs() -> str:
        """Never answers in time."""
        await asyncio.sleep(5)
        return "too late"

    script = VoiceScript.of([Turn(calls=[Call("hangs")]), Turn("It failed.")])
    outcome = hold(voice, agent_of(hangs), script, saying(("say", 600), ("wait", 9000)))
    (end,) = outcome.of(CallEnd)
    assert "did not finish within 1 s" in end.result.text
    assert outcome.said == ["It failed."]
    assert len(outcome.record.answers) == 1


@pytest.mark.parametrize("allowed", [True, False])
def test_case_23_an_approval_is_waited_for_while_talk_goes_on(allowed: bool) -> None:
    @tool(needs_approval=True)
    async def pay(amount: int) -> str:
        """Pay."""
        return f"{amount} paid"

    async def approve(request: Any) -> bool | str:
        await asyncio.sleep(6)
        return allowed or "too much"

    script = VoiceScript.of(
        [Turn(calls=[Call("pay", {"amount": 5})]), Turn("It waits."), Turn("Sure."), Turn("Over.")],
    )
    drive = saying(("say", 600), ("wait", 3000), ("say", 600), ("wait", 12000))
    outcome = hold(OPENAI, agent_of(pay), script, drive, approve=approve)
    (end,) = outcome.of(CallEnd)
    assert end.result.is_error is not allowed
    assert outcome.said == ["It waits.", "Sure.", "Over."]
    notes = [body["item"] for body in outcome.sent("conversation.item.create")]
    assert any("approval" in json.dumps(note) for note in notes)


@pytest.mark.parametrize(("words", "paid"), [("Yes, please do.", True), ("No, don't.", False)])
def test_case_23_the_caller_approves_aloud(words: str, paid: bool) -> None:
    done: list[int] = []

    @tool(needs_approval=True)
    async def pay(amount: int) -> str:
        """Pay."""
        done.append(amount)
        return f"{amount} paid"

    script = VoiceScript.of(
        [Turn(calls=[Call("pay", {"amount": 5})]), Turn("Shall I?"), Turn("Hm."), Turn("Over.")],
        heard=["Pay five", words],
    )
    drive = saying(("say", 600), ("wait", 4000), ("say", 600), ("wait", 9000))
    outcome = hold(OPENAI, agent_of(pay), script, drive, approve="voice")
    assert done == ([5] if paid else [])
    assert len(outcome.record.answers) == 1


# Connections ------------------------------------------------------------------------------------


def test_case_24_after_an_hour_the_conversation_goes_on_in_a_new_session() -> None:
    script = VoiceScript.of(
        [Turn("I look.", calls=[Call("late")]), Turn("It came late."), Turn("Yes.")],
        heard=["Book it", "And now?"],
        faults=VoiceFaults(expire_at_s=4.0),
    )
    drive = saying(("say", 600), ("wait", 12000), ("say", 600), ("wait", 4000))
    outcome = hold(OPENAI, agent_of(late(seconds=6)), script, drive)
    (again,) = outcome.of(Reconnected)
    assert not again.resumed
    texts = json.dumps([body for _, body in outcome.record.received])
    assert "late gave: x came late" in texts  # the call is of the old session, so it is a text
    assert outcome.record.truncations == []
    assert outcome.said == ["I look.", "It came late.", "Yes."]
    assert [each for each in outcome.record.refusals if "session_expired" not in each] == []


def test_case_24_a_session_is_renewed_before_its_end_and_nobody_notices() -> None:
    script = VoiceScript.of([Turn("One."), Turn("Two.")], heard=["Hello", "Still there?"])
    drive = saying(("say", 600), ("wait", 30_000), ("say", 600), ("wait", 4000))
    assert voice_for("openai", "gpt-realtime-2.1").renew_s == 3300
    soon = replace(voice_for("openai", "gpt-realtime-2.1"), renew_s=20)
    outcome = hold(OPENAI, agent_of(), script, drive, capabilities=soon)
    assert outcome.record.sessions == 2
    assert outcome.said == ["One.", "Two."]
    assert outcome.record.refusals == []


def test_case_25_going_away_is_resumed_when_nobody_speaks() -> None:
    script = VoiceScript.of(
        [Turn("One moment, this takes some time to say."), Turn("Two.")],
        heard=["Hello", "And?"],
        faults=VoiceFaults(go_away_at_s=[1.8], go_away_left_s=8),
    )
    drive = saying(("say", 600), ("wait", 7000), ("say", 600), ("wait", 4000))
    outcome = hold(GEMINI, agent_of(), script, drive)
    (again,) = outcome.of(Reconnected)
    assert again.resumed
    assert outcome.said == ["One moment, this takes some time to say.", "Two."]
    assert outcome.interrupted == []


def test_case_26_a_resume_that_is_refused_is_a_fresh_session_with_the_history() -> None:
    script = VoiceScript.of(
        [Turn("One."), Turn("Two.")],
        heard=["Hello", "And?"],
        faults=VoiceFaults(close_at_s=[5.0], refuse_resume=True),
    )
    drive = saying(("say", 600), ("wait", 8000), ("say", 600), ("wait", 4000))
    outcome = hold(GEMINI, agent_of(), script, drive)
    (again,) = outcome.of(Reconnected)
    assert not again.resumed
    assert outcome.said == ["One.", "Two."]
    history = outcome.sent("clientContent")[0]["clientContent"]["turns"]
    assert [turn["parts"][0]["text"] for turn in history] == ["Hello", "One."]


def test_case_27_a_call_that_a_resume_loses_is_answered_by_a_text_once() -> None:
    script = VoiceScript.of(
        [Turn("I look.", calls=[Call("late")]), Turn("It came late.")],
        faults=VoiceFaults(close_at_s=[4.0]),
    )
    outcome = hold(GEMINI, agent_of(late(seconds=6)), script, saying(("say", 600), ("wait", 14000)))
    texts = [
        part["text"]
        for body in outcome.sent("clientContent")
        for turn in body["clientContent"]["turns"]
        for part in turn["parts"]
    ]
    assert texts == ["[late gave: x came late]"]
    assert outcome.sent("toolResponse") == []
    assert outcome.said == ["I look.", "It came late."]


@pytest.mark.parametrize("voice", [OPENAI, GEMINI])
def test_case_28_a_break_in_speech_keeps_what_was_played(voice: str) -> None:
    script = VoiceScript.of([Turn(LONG), Turn("Yes.")], faults=VoiceFaults(reset_at_s=[4.0]))
    drive = saying(("say", 600), ("wait", 6000), ("say", 600), ("wait", 4000))
    outcome = hold(voice, agent_of(), script, drive)
    assert len(outcome.of(Reconnected)) == 1
    (stopped,) = outcome.interrupted
    text = next(m.text for m in outcome.run.messages if m.role == "assistant")
    assert LONG.startswith(text)
    assert 0 < len(text) * 60 <= stopped.heard_ms + 60
    assert outcome.said[-1] == "Yes."


def test_case_28_after_so_many_tries_the_talk_ends() -> None:
    script = VoiceScript.of([], faults=VoiceFaults(reset_at_s=[0.0] * 50))
    outcome = hold(OPENAI, agent_of(), script, saying(("wait", 120_000)))
    assert outcome.end.reason == "connection"
    assert outcome.record.sessions == 6


def test_case_29_a_spent_quota_ends_the_talk_without_another_try() -> None:
    script = VoiceScript.of([Turn(error=Failure(429, "insufficient_quota"))])
    outcome = hold(OPENAI, agent_of(), script, saying(("say", 600), ("wait", 9000)))
    assert (outcome.end.reason, outcome.end.detail) == ("refused", "insufficient_quota")
    assert outcome.record.sessions == 1


@pytest.mark.parametrize("voice", [OPENAI, GEMINI, LIVE])
def test_case_30_a_connection_that_says_nothing_under_speech_is_left(voice: str) -> None:
    script = VoiceScript.of([Turn("Yes.")], faults=VoiceFaults(mute_at_s=[1.0]))
    drive = saying(("wait", 2000), ("say", 18000), ("wait", 6000), ("say", 600), ("wait", 4000))
    outcome = hold(voice, agent_of(client=FunctionModel(lambda request: "Yes.")), script, drive)
    assert len(outcome.of(Reconnected)) == 1
    assert "nothing for too long" in outcome.of(Reconnected)[0].reason


# Sound ------------------------------------------------------------------------------------------


def test_case_31_truncation_is_never_beyond_what_was_received() -> None:
    class Optimist(MarkedPlayed):
        def heard_ms(self, item_id: str) -> float:
            return 10 * self.added_ms(item_id)

    async def drive(talk: Talk, caller: Caller) -> None:
        await saying(("say", 600), ("wait", 2500), ("say", 600), ("wait", 5000))(talk, caller)

    script = VoiceScript.of([Turn(LONG), Turn("Yes?")])
    played = Optimist(lambda: asyncio.get_running_loop().time())
    outcome = hold(OPENAI, agent_of(), script, drive, played=played)
    ((item, at_ms),) = outcome.record.truncations
    assert at_ms <= outcome.record.lengths[item]
    assert truncated(outcome) == []


def test_case_32_barge_in_before_anything_was_heard_deletes_what_waits() -> None:
    """Two items wait behind a line that has played nothing yet."""

    class Stuck(MarkedPlayed):
        def position_ms(self) -> float:
            return 0.0

    async def drive(talk: Talk, caller: Caller) -> None:
        await caller.wait(200)
        await caller.say(600)
        await caller.wait(3000)
        talk._machine._replies.prompt()
        talk._post(talk._machine._speak)
        await caller.wait(3000)
        await caller.say(600)
        await caller.wait(4000)

    script = VoiceScript.of([Turn("First answer."), Turn("Second answer."), Turn("Yes?")])
    played = Stuck(lambda: asyncio.get_running_loop().time())
    outcome = hold(OPENAI, agent_of(), script, drive, played=played)
    assert len(outcome.record.deletions) == 2
    assert outcome.record.truncations == []
    assert [stopped.heard_ms for stopped in outcome.interrupted] == [0.0]
    assert [m.text for m in outcome.run.messages if m.role == "assistant"] in ([], ["Yes?"])


def test_case_33_marks_that_a_clear_brings_back_were_not_heard() -> None:
    clock = [0.0]
    played = MarkedPlayed(lambda: clock[0])
    marks: list[str] = []
    for _ in range(6):
        played.add("item", 100)
        marks.append(played.mark())
    clock[0] = 0.1
    assert played.reached(marks[0])
    assert played.heard_ms("item") == 100
    played.clear()
    assert [played.reached(mark) for mark in marks[1:]] == [False] * 5
    assert played.heard_ms("item") == 100
    assert played.unheard() == []


def test_case_34_marks_that_are_unknown_late_or_repeated_are_ignored() -> None:
    clock = [0.0]
    played = MarkedPlayed(lambda: clock[0])
    played.add("a", 100)
    first = played.mark()
    played.add("b", 100)
    second = played.mark()
    clock[0] = 5.0
    assert played.heard_ms("a") == 100
    assert played.heard_ms("b") == 0  # no mark has said so, however late it is
    assert not played.reached("made up")
    assert played.reached(second)
    assert played.heard_ms("b") == 100
    assert not played.reached(first)  # it comes after a later one
    assert not played.reached(second)
    assert (played.heard_ms("a"), played.heard_ms("b")) == (100, 100)


# Speech -----------------------------------------------------------------------------------------


@TURNS
def test_case_39_silence_is_kept_bounded_and_broken_once(voice: str) -> None:
    script = VoiceScript.of(
        [
            Turn(calls=[Call("stay_silent")]),
            Turn(calls=[Call("stay_silent")]),
            Turn("Take your time."),
            Turn("Never."),
        ]
    )
    drive = saying(("say", 600), ("wait", 2000), ("say", 600), ("wait", 20000))
    outcome = hold(voice, agent_of(stay_silent(wait_s=6)), script, drive)
    assert len(outcome.record.answers) == 2
    assert outcome.said == ["Take your time."]
    if voice == OPENAI:
        (asked,) = outcome.record.requests
        assert 5.5 <= asked - outcome.record.speech[-1][0] <= 8


@TURNS
def test_case_39_speech_in_the_wait_cancels_the_prompt(voice: str) -> None:
    script = VoiceScript.of([Turn(calls=[Call("stay_silent")]), Turn("For four.")])
    drive = saying(("say", 600), ("wait", 4000), ("say", 600), ("wait", 15000))
    outcome = hold(voice, agent_of(stay_silent(wait_s=6)), script, drive)
    assert outcome.said == ["For four."]
    assert creates(outcome) == 0


def test_case_39_a_voice_that_is_always_silent_is_told_to_answer() -> None:
    script = VoiceScript.of(
        [*[Turn(calls=[Call("stay_silent")]) for _ in range(3)], Turn("Here I am."), Turn("No.")]
    )
    drive = saying(*[("say", 600), ("wait", 2000)] * 3, ("wait", 9000))
    outcome = hold(OPENAI, agent_of(stay_silent(wait_s=60, silences_max=2)), script, drive)
    assert outcome.said == ["Here I am."]


# GPT-Live (40) ----------------------------------------------------------------------------------


def brain(*answers: str, wait_s: float = 0.0) -> Any:
    left = list(answers)
    return FunctionModel(lambda request: left.pop(0) if left else "Yes.")


def test_case_40_each_delegation_is_answered_once() -> None:
    script = VoiceScript.of(
        [Turn(calls=[Call("a")]), Turn(calls=[Call("b")])], heard=["One", "Two"]
    )
    drive = saying(("say", 600), ("wait", 3000), ("say", 600), ("wait", 5000))
    outcome = hold(LIVE, agent_of(client=brain("First.", "Second.")), script, drive)
    assert outcome.record.answers == [delegation_id for delegation_id, _ in outcome.record.issued]
    assert outcome.said == ["First.", "Second."]


def test_case_40_a_result_after_the_end_is_an_event_and_no_task_is_left() -> None:
    @tool
    async def forever() -> str:
        """Never ends."""
        await asyncio.sleep(1000)
        return ""

    from polycall.ir import ToolCall

    model = FunctionModel(lambda request: [ToolCall("c", "forever", "{}")])
    script = VoiceScript.of([Turn(calls=[Call("a")])])
    outcome = hold(
        LIVE, agent_of(forever, client=model), script, saying(("say", 600), ("wait", 3000))
    )
    assert outcome.left_tasks == 0
    assert outcome.record.answers == []


def test_case_40_usage_is_what_was_said_last_and_silence_is_no_speech() -> None:
    script = VoiceScript.of([])
    outcome = hold(LIVE, agent_of(client=brain()), script, saying(("wait", 60_000)))
    assert outcome.said == []
    assert 55 <= outcome.run.voice_usage.active_s <= 61
    assert outcome.run.cost is not None
    assert float(outcome.run.cost) == pytest.approx(outcome.run.voice_usage.active_s * 0.05 / 60)


def test_case_40_after_its_end_a_session_goes_on_in_a_new_one_with_the_transcript() -> None:
    script = VoiceScript.of(
        [Turn("Good day."), Turn("Still here.")],
        heard=["Hello", "And now?"],
        faults=VoiceFaults(expire_at_s=5.0),
    )
    drive = saying(("say", 600), ("wait", 6000), ("say", 600), ("wait", 5000))
    outcome = hold(LIVE, agent_of(client=brain()), script, drive)
    assert len(outcome.of(Reconnected)) == 1
    starts = [body["session"] for body in outcome.sent("session.start")]
    assert [item["content"][0]["text"] for item in starts[1]["input"]] == ["Hello", "Good day."]
    assert outcome.said == ["Good day.", "Still here."]
    (renewed_at,) = [at for at, event in outcome.moments if isinstance(event, Reconnected)]
    after = [at for at, event in outcome.moments if isinstance(event, Audio) and at > renewed_at]
    assert len(after) > 30  # of 100 ms each, and it is heard
    seconds = [usage["seconds"] for _, usage in outcome.record.usage]
    assert len(seconds) == 2
    assert outcome.run.voice_usage.active_s == sum(seconds)


# What is the same for all -----------------------------------------------------------------------


@pytest.mark.parametrize("voice", [OPENAI, GEMINI, LIVE])
def test_case_38_hanging_up_ends_everything_within_five_seconds(voice: str) -> None:
    script = VoiceScript.of([Turn(LONG)])
    agent = agent_of(client=brain())
    outcome = hold(voice, agent, script, saying(("say", 600), ("wait", 2000)))
    assert outcome.end.reason == "hang_up"
    assert outcome.left_tasks == 0


@pytest.mark.parametrize("voice", [OPENAI, LIVE])
def test_frames_that_nobody_knows_are_counted_and_harm_nothing(voice: str) -> None:
    script = VoiceScript.of([Turn(LONG)], faults=VoiceFaults(unknown_frames=True))
    outcome = hold(voice, agent_of(client=brain()), script, saying(("say", 600), ("wait", 15000)))
    unknown = outcome.of(UnknownFrames)
    assert unknown[-1].count == len(unknown) > 0
    assert [event.kind for event in unknown] == ["session.weather"] * len(unknown)
    assert outcome.said == [LONG.strip()]


@pytest.mark.slow
def test_a_hundred_barge_ins_are_truncated_where_they_were_heard() -> None:
    """At random moments: within 60 ms of what was played, never beyond what was received."""
    chance, off = random.Random(18), list[float]()
    for _ in range(10):
        script = VoiceScript.of([Turn(LONG) for _ in range(11)])
        steps = [("say", 600), ("wait", 700)]
        for _ in range(10):
            steps += [("wait", chance.uniform(700, 9000)), ("say", 300), ("wait", 700)]
        outcome = hold(OPENAI, agent_of(), script, saying(*steps), judged=False)
        record, began = outcome.record, dict[str, float]()
        for at, event in outcome.moments:
            if isinstance(event, Audio):
                began.setdefault(event.item_id, at)
            elif isinstance(event, Interrupted):
                (at_ms,) = [ms for item, ms in record.truncations if item == event.item_id]
                assert at_ms <= record.lengths[event.item_id]
                off.append(abs(at_ms - (at - began[event.item_id]) * 1000))
        assert truncated(outcome) == []
    assert len(off) >= 100
    assert sorted(off)[98] <= 60


def test_barge_in_is_heard_as_far_as_it_was_played() -> None:
    script = VoiceScript.of([Turn(LONG), Turn("Yes?")])
    drive = saying(("say", 600), ("wait", 3000), ("say", 600), ("wait", 5000))
    outcome = hold(OPENAI, agent_of(), script, drive)
    ((_, at_ms),) = outcome.record.truncations
    (stopped,) = outcome.of(Interrupted)
    assert abs(at_ms - stopped.heard_ms) <= 1
    began = next(at for at, event in outcome.moments if isinstance(event, Audio))
    cut = next(at for at, event in outcome.moments if isinstance(event, Interrupted))
    assert abs(at_ms - (cut - began) * 1000) <= 60
    text = next(m.text for m in outcome.run.messages if m.role == "assistant")
    assert len(text) * 60 <= at_ms
    assert isinstance(outcome.events[0], Heard)
    assert Text("Yes?") in outcome.run.messages[-1].parts
