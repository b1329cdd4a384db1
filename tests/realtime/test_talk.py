"""One talk on each voice: what is heard, said, called, interrupted and kept."""

from __future__ import annotations

import pytest

from polycall import tool
from polycall.ir import ToolCall
from polycall.realtime import Talk
from polycall.sim.realtime import VoiceScript
from polycall.sim.script import Call, Turn
from polycall.testing import ScriptedModel
from tests.realtime.harness import GEMINI, LIVE, OPENAI, Caller, agent_of, hold


@tool
async def hours(day: str) -> str:
    """The opening hours of a day."""
    return f"{day}: from 9 to 17"


async def one_question(talk: Talk, caller: Caller) -> None:
    await caller.wait(300)
    await caller.say(900)
    await caller.wait(9000)


@pytest.mark.parametrize("voice", [OPENAI, GEMINI])
def test_a_question_a_call_and_an_answer(voice: str) -> None:
    script = VoiceScript.of(
        [Turn("One moment.", calls=[Call("hours", {"day": "Monday"})]), Turn("From 9 to 17.")],
        heard=["When are you open on Monday?"],
    )
    outcome = hold(voice, agent_of(hours), script, one_question)
    print(outcome.events)
    assert outcome.heard == ["When are you open on Monday?"]
    assert outcome.said == ["One moment.", "From 9 to 17."]
    assert outcome.record.refusals == []
    assert outcome.record.answers == [call_id for call_id, _ in outcome.record.issued]
    assert [message.role for message in outcome.run.messages] == [
        "user",
        "assistant",
        "assistant",
        "tool",
        "assistant",
    ]
    assert outcome.end.reason == "hang_up"
    assert outcome.left_tasks == 0
    assert outcome.run.cost is not None
    assert outcome.run.cost > 0


def test_a_voice_that_delegates_has_the_agent_behind_it() -> None:
    model = ScriptedModel(
        [[ToolCall("c1", "hours", '{"day": "Monday"}')], "We are open from 9 to 17."]
    )
    script = VoiceScript.of(
        [Turn("Let me look.", calls=[Call("ask")])], heard=["When are you open on Monday?"]
    )
    agent = agent_of(hours, client=model)
    outcome = hold(LIVE, agent, script, one_question)
    assert outcome.heard == ["When are you open on Monday?"]
    assert " ".join(outcome.said) == "Let me look. We are open from 9 to 17."
    assert outcome.record.refusals == []
    assert outcome.record.answers == [call_id for call_id, _ in outcome.record.issued]
    assert [message.role for message in outcome.run.messages][:2] == ["user", "assistant"]
    assert outcome.run.voice_usage.active_s == outcome.record.usage[-1][1]["seconds"]
    assert outcome.end.reason == "hang_up"
    assert outcome.left_tasks == 0
