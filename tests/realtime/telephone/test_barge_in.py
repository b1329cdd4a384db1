"""A hundred barge-ins through a bad network: what the voice is told was heard, was heard."""

from __future__ import annotations

import random

from polycall.sim.realtime import VoiceScript
from polycall.sim.script import Turn
from polycall.sim.telephone import Caller, LineFaults
from tests.realtime.harness import agent_of
from tests.realtime.telephone.harness import exchange, one_call, said


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
