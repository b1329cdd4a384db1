"""Talks with faults, one for each seed and voice, and the laws that hold for all of them."""

from __future__ import annotations

import asyncio
import json
import random
from decimal import Decimal
from typing import Any

from polycall import Agent, ToolContext, tool
from polycall.ir import ToolCall
from polycall.loop import CallEnd, CallStart
from polycall.realtime import (
    Audio,
    CallDiscarded,
    Interrupted,
    Reconnected,
    Talk,
    stay_silent,
)
from polycall.sim.realtime import VoiceScript
from polycall.sim.script import Call, Turn
from polycall.testing import FunctionModel
from tests.realtime.harness import GEMINI, LIVE, OPENAI, Caller, Outcome, hold

VOICES = (OPENAI, GEMINI, LIVE)
_MS_PER_CHARACTER = 60
_DELEGATED_S = 8.0
_PIECES_LOST_MAX = 35
_WORDS = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]
# What a vendor may have to refuse in a race that nobody can win, or by a fault.
_ALLOWED = (
    "conversation_already_has_active_response",
    "response_cancel_not_active",
    "session_expired",
    "1007 the session cannot be resumed",
    "ignored result of",
)


class FaultyTalk:
    """One conversation, all of it from a seed."""

    def __init__(self, voice: str, seed: int) -> None:
        self.voice = voice
        self.seed = seed
        self.chance = random.Random(f"{voice}/{seed}")
        self.done: list[str] = []

    def agent(self) -> Agent[Any, Any]:
        done = self.done

        def kept(context: ToolContext) -> str:
            assert context.call is not None
            done.append(context.call.id)
            return f"result of {context.call.id};"

        @tool
        async def fast(context: ToolContext) -> str:
            """Answer at once."""
            return kept(context)

        @tool
        async def slow(context: ToolContext) -> str:
            """Answer after a while."""
            words = kept(context)
            await asyncio.sleep(2)
            return words

        @tool(background=True)
        async def later(number: int, context: ToolContext) -> str:
            """Answer late, when nobody speaks."""
            words = kept(context)
            await context.report(0.5, "half")
            await asyncio.sleep(4)
            return words

        @tool(background=True, tell="interrupt")
        async def urgent(number: int, context: ToolContext) -> str:
            """Answer late, at once."""
            words = kept(context)
            await asyncio.sleep(3)
            return words

        @tool(background=True, tell="silent")
        async def quiet(number: int, context: ToolContext) -> str:
            """Answer late, and say nothing."""
            words = kept(context)
            await asyncio.sleep(3)
            return words

        chance, count = self.chance, [0]

        def brain(request: Any) -> Any:
            if request.messages[-1].role != "tool" and chance.random() < 0.6:
                count[0] += 1
                return [ToolCall(f"brain_{count[0]}", chance.choice(["fast", "slow"]), "{}")]
            return self.words(8)

        tools = [fast, slow, later, urgent, quiet, stay_silent(wait_s=3)]
        model = FunctionModel(brain)
        return Agent("openai/gpt-5.4", tools=tools, instructions="Be brief.", client=model)

    def words(self, most: int) -> str:
        return " ".join(self.chance.choices(_WORDS, k=self.chance.randint(1, most))) + "."

    def turn(self) -> Turn:
        chance = self.chance
        calls: list[Call] = []
        for _ in range(chance.choice([0, 0, 1, 1, 2, 3])):
            name = chance.choice(["fast", "slow", "later", "urgent", "quiet", "stay_silent"])
            numbered = name in ("later", "urgent", "quiet")
            calls.append(Call(name, {"number": chance.randint(1, 10**6)} if numbered else {}))
        text = self.words(30) if chance.random() < 0.8 or not calls else ""
        return Turn(text, calls=calls)

    async def drive(self, talk: Talk, caller: Caller) -> None:
        await caller.wait(self.chance.uniform(100, 800))
        for _ in range(self.chance.randint(2, 5)):
            await caller.say(self.chance.uniform(200, 1500))
            await caller.wait(self.chance.choice([100, 800, 2500, 6000]))
        await caller.wait(self.chance.choice([0, 3000, 8000]))

    def effects(self, outcome: Outcome) -> list[str]:
        """Side effects are the calls that ran."""
        events = [event.call for event in outcome.of(CallStart)]
        started = [call.id for call in events if call.name != "stay_silent"]
        if sorted(started) == sorted(self.done):
            return []
        return [f"side effects {self.done} are not the calls that ran {started}"]

    def hold(self) -> Outcome:
        script = VoiceScript.of(
            [self.turn() for _ in range(40)],
            heard=[self.words(6) for _ in range(20)],
            faults=f"seed:{self.seed}",
        )
        # The fast clock bounds nothing, so that a talk that never ends is found by its own time.
        return hold(self.voice, self.agent(), script, self.drive, s_max=300)


def violations(voice: str, seed: int, kind: type[FaultyTalk] = FaultyTalk) -> list[str]:
    """The laws that a talk breaks, in words; empty where it breaks none."""
    made = kind(voice, seed)
    try:
        outcome = made.hold()
    except Exception as error:
        return [f"{voice} seed:{seed}: {type(error).__name__}: {str(error)[:1500]}"]
    found = [
        *_calls(made, outcome),
        *_turns(outcome),
        *_heard(voice, outcome),
        *_money(voice, outcome),
        *_end(outcome),
    ]
    return [f"{voice} seed:{seed}: {words}" for words in found]


def _notes(outcome: Outcome) -> str:
    """All texts that were sent, those with which a session begins included."""
    kinds = ("conversation.item.create", "session.commentary.append", "session.start")
    bodies = [
        body
        for _, body in outcome.record.received
        if body.get("type") in kinds or "clientContent" in body
    ]
    return json.dumps(bodies)


def _calls(made: FaultyTalk, outcome: Outcome) -> list[str]:
    record = outcome.record
    found: list[str] = []
    found += made.effects(outcome)
    started = [event.call.id for event in outcome.of(CallStart)]
    found += [f"{each} ran twice" for each in set(started) if started.count(each) > 1]
    if made.voice == LIVE:
        return [*found, *_delegations(outcome)]
    found += [
        f"{each} ran, of a reply that did not end well" for each in {*started} - record.runnable
    ]
    ended = {event.call.id: event.result for event in outcome.of(CallEnd)}
    gone = {event.call_id for event in outcome.of(CallDiscarded)}
    notes = _notes(outcome)
    for call_id in started:
        if call_id in ended and ended[call_id].is_error:
            continue  # it has no words of its own by which it could be found again
        by_id = record.answers.count(call_id)
        if by_id > 1:
            found.append(f"{call_id} was answered {by_id} times")
        is_told = f"result of {call_id};" in notes
        is_over = call_id in ended and "the talk ended" in ended[call_id].text
        cancelled = call_id in record.cancelled or call_id in gone
        if not (by_id or is_told or is_over or cancelled or outcome.end.reason != "hang_up"):
            at = next(at for at, event in outcome.moments if event == _end_of(outcome, call_id))
            # What came with the hang-up had no time to be told.
            if outcome.moments[-1][0] - at > 5.0:
                found.append(f"{call_id} was never answered")
    return found


def _delegations(outcome: Outcome) -> list[str]:
    """Each is answered once: by its id, or without one where its session is over."""
    record, found = outcome.record, list[str]()
    ended = [event.call.id for event in outcome.of(CallEnd)]
    for call in (event.call for event in outcome.of(CallStart)):
        if ended.count(call.id) > 1:
            found.append(f"delegated call {call.id} ended {ended.count(call.id)} times")
    discarded = {event.call_id for event in outcome.of(CallDiscarded)}
    comments = [
        (at, body["delegation_id"])
        for at, body in record.received
        if body.get("type") == "session.commentary.append"
    ]
    for _, delegation_id in comments:
        count = [each for _, each in comments].count(delegation_id)
        if delegation_id is not None and count > 1:
            found.append(f"{delegation_id} was answered {count} times")
    over_at = outcome.moments[-1][0]
    open_late: list[tuple[float, str]] = []
    for at, body in record.sent:
        if body.get("type") != "session.delegation.created":
            continue
        delegation_id = body["delegation"]["id"]
        is_answered = delegation_id in record.answers or delegation_id in discarded
        # The agent works on one after the other, and each takes two calls at most.
        if not is_answered and over_at - at > _DELEGATED_S:
            open_late.append((at, delegation_id))
    without_id = [at for at, delegation_id in comments if delegation_id is None]
    lost = [f"{each} was never answered" for _, each in open_late]
    return found + lost[len(without_id) :]


def _end_of(outcome: Outcome, call_id: str) -> CallEnd:
    return next(event for event in outcome.of(CallEnd) if event.call.id == call_id)


def _turns(outcome: Outcome) -> list[str]:
    record, found = outcome.record, list[str]()
    for words in record.refusals:
        if not any(words.startswith(each) for each in _ALLOWED):
            found.append(f"the vendor refused: {words}")
    begin: float | None = None
    for at, is_start in record.speech:
        if is_start:
            begin = at
        elif begin is not None:
            # What was on its way when speech began could not know of it.
            asked = [each for each in record.requests if begin + 0.15 < each < at]
            found += [
                f"a reply was asked for at {each:.2f} while the caller spoke" for each in asked
            ]
            begin = None
    return found


def _heard(voice: str, outcome: Outcome) -> list[str]:
    """What the history holds was heard: a word more at most, which was being spoken."""
    played, found = outcome.talk.played, list[str]()
    if voice == LIVE:
        return _stream_heard(outcome)
    for entry in outcome.talk._machine.transcript._entries:
        if entry.role != "assistant" or entry.heard is None:
            continue
        heard_ms = played.heard_ms(entry.item_id)
        if len(entry.heard.strip()) * _MS_PER_CHARACTER > heard_ms + 250:
            found.append(f"{entry.heard!r} is kept, of which {heard_ms:.0f} ms were heard")
    return found


def _stream_heard(outcome: Outcome) -> list[str]:
    """All sound that came is passed on; words that were kept had been played, in one session."""
    came = [frame for frame in outcome.came if b"output_audio.delta" in _bytes(frame)]
    passed = [event for _, event in outcome.moments if isinstance(event, Audio)]
    # What came with the end, or with a connection's, has nobody to hear it.
    if len(came) - len(passed) > _PIECES_LOST_MAX * (1 + len(outcome.of(Reconnected))):
        return [f"{len(came)} pieces of sound came, and {len(passed)} were passed on"]
    if outcome.of(Reconnected):
        return []
    positions: list[float] = []
    added_ms, until_s = 0.0, 0.0
    for at, event in outcome.moments:
        match event:
            case Audio(data):
                ms = outcome.talk.sound_out.ms(len(data))
                added_ms += ms
                until_s = max(until_s, at) + ms / 1000
            case Interrupted():
                positions.append(added_ms - max(until_s - at, 0.0) * 1000)
                until_s = at
            case _:
                pass
    cut = [each for each in outcome.talk._machine.transcript._entries if each.heard is not None]
    if len(cut) != len(positions):
        return [f"{len(cut)} items are cut, by {len(positions)} interruptions"]
    found: list[str] = []
    for entry, position_ms in zip(cut, positions, strict=True):
        count = len((entry.heard or "").split())
        if count and entry.timed[count - 1][0] > position_ms + 1:
            found.append(f"{entry.heard!r} is kept, and {position_ms:.0f} ms were played")
    return found


def _bytes(frame: str | bytes) -> bytes:
    return frame.encode() if isinstance(frame, str) else frame


def _money(voice: str, outcome: Outcome) -> list[str]:
    """What was used is the sum of what came; frames of a connection that was left do not count."""
    bodies: list[dict[str, Any]] = [json.loads(frame) for frame in outcome.came]
    usage = outcome.run.voice_usage
    if any("about to end" in event.reason for event in outcome.of(Reconnected)):
        return []
    match voice:
        case _ if voice == OPENAI:
            done = [b["response"]["usage"] for b in bodies if b.get("type") == "response.done"]
            inputs = sum(each["input_tokens"] for each in done)
            outputs = sum(each["output_tokens"] for each in done)
        case _ if voice == GEMINI:
            done = [b["usageMetadata"] for b in bodies if "usageMetadata" in b]
            inputs = sum(each["promptTokenCount"] for each in done)
            outputs = sum(each["responseTokenCount"] for each in done)
        case _:
            last: dict[int, float] = {}
            number = 0
            for body in bodies:
                number += body.get("type") == "session.started"
                if "usage" in body:
                    last[number] = body["usage"]["seconds"]
            seconds = sum(last.values())
            if usage.active_s != seconds:
                return [f"{usage.active_s} s were counted, and {seconds} s were used"]
            price = Decimal(str(seconds)) * Decimal("0.05") / 60
            return [] if outcome.run.cost == price else [f"{outcome.run.cost} is not {price}"]
    tokens = usage.tokens
    if (tokens.input_tokens, tokens.output_tokens) != (inputs, outputs):
        counted = (tokens.input_tokens, tokens.output_tokens)
        return [f"{counted} tokens were counted, and {(inputs, outputs)} were used"]
    return []


def _end(outcome: Outcome) -> list[str]:
    found: list[str] = []
    if outcome.left_tasks:
        found.append(f"{outcome.left_tasks} tasks are left")
    if outcome.end_s > 5.0:
        found.append(f"the end came {outcome.end_s:.1f} s after the hang-up")
    texts = [event.item_id for event in outcome.events if type(event).__name__ in ("Heard", "Said")]
    found += [f"{each} was final twice" for each in set(texts) if texts.count(each) > 1]
    return found
