"""What breaks where features meet: each kind by name, on each voice where it applies."""

from __future__ import annotations

import asyncio
import copy
import json
import random
from typing import Any

import pytest
from msgspec.structs import replace

from polycall import Agent, tool
from polycall.agents import ApprovalRequest, Guarded, Handoff
from polycall.errors import RequestError
from polycall.ir import Message, Text, ToolCall
from polycall.loop import CallEnd, CallStart
from polycall.realtime import Dropped, End, Heard, Talk, UnknownFrames
from polycall.realtime.approving import ANSWER_S, VoiceApprovals, verdict
from polycall.realtime.machine import TalkMachine
from polycall.realtime.played import ClockPlayed
from polycall.realtime.talk_state import Send, Spending
from polycall.sim.realtime import VoiceFaults, VoiceScript, run_fast
from polycall.sim.script import Call, Turn
from polycall.testing import FunctionModel
from polycall.voices.audio import AudioFormat
from polycall.voices.capabilities import voice_for
from polycall.voices.codecs import make_codec
from polycall.voices.protocol import CallReady, HeardText, OpenSession, SendResult
from tests.realtime.faulty_talks import FaultyTalk
from tests.realtime.harness import GEMINI, LIVE, OPENAI, THINKING, Caller, agent_of, hold
from tests.realtime.test_forty_cases import LONG, fast, late, saying

BLOCKING = "google/gemini-3.1-flash-live-preview"
TURNS = pytest.mark.parametrize("voice", [OPENAI, GEMINI])
ran: list[str] = []


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


@tool
async def spend() -> str:
    """Spend money."""
    ran.append("spend")
    return "spent"


@tool(needs_approval=True)
async def pay(amount: int = 5) -> str:
    """Pay."""
    ran.append(f"pay {amount}")
    return f"{amount} paid"


def spending() -> FunctionModel:
    return FunctionModel(lambda request: [ToolCall("s", "spend", "{}")])


# What fails, fails aloud ------------------------------------------------------------------------


def _raises(messages: Any) -> str | None:
    raise ValueError("the guard is broken")


async def _raises_late(messages: Any) -> str | None:
    await asyncio.sleep(0.2)
    raise ValueError("the guard is broken")


@pytest.mark.parametrize("voice", [OPENAI, GEMINI, LIVE])
@pytest.mark.parametrize("guard", [_raises, _raises_late])
def test_a_guard_that_fails_lets_nothing_through(voice: str, guard: Any) -> None:
    script = VoiceScript.of([Turn(calls=[Call("spend")]), Turn("Done.")])
    guarded = Guarded(agent_of(spend, client=spending()), inputs=[guard])
    with pytest.raises(ValueError, match="the guard is broken"):
        hold(voice, guarded, script, saying(("say", 600), ("wait", 6000)))
    assert ran == []


@pytest.mark.parametrize("voice", [OPENAI, GEMINI, LIVE])
def test_a_guard_that_says_no_while_a_call_waits_for_it_stops_the_call(voice: str) -> None:
    async def slow_no(messages: Any) -> str:
        await asyncio.sleep(1)
        return "no"

    script = VoiceScript.of([Turn(calls=[Call("spend")]), Turn("Done.")])
    guarded = Guarded(agent_of(spend, client=spending()), inputs=[slow_no])
    outcome = hold(voice, guarded, script, saying(("say", 600), ("wait", 6000)))
    assert outcome.end.reason == "guardrail"
    assert ran == []


@TURNS
def test_words_that_nobody_wrote_down_make_no_guarded_call_run(voice: str) -> None:
    """The vendor's text of the caller never comes."""

    async def drive(talk: Talk, caller: Caller) -> None:
        feed = talk._machine.signal
        talk._machine.signal = lambda each: None if isinstance(each, HeardText) else feed(each)  # type: ignore[method-assign]
        await saying(("say", 600), ("wait", 9000))(talk, caller)

    script = VoiceScript.of([Turn(calls=[Call("spend")]), Turn("I cannot.")])
    guarded = Guarded(agent_of(spend), inputs=[lambda messages: None])
    outcome = hold(voice, guarded, script, drive)
    (end,) = outcome.of(CallEnd)
    assert "could not be checked" in end.result.text
    assert outcome.said == ["I cannot."]
    assert ran == []


def _no_words(context: Any) -> str:
    raise ValueError("no instructions")


@pytest.mark.parametrize("voice", [OPENAI, GEMINI, LIVE])
def test_what_fails_in_a_part_of_a_talk_ends_it_and_is_raised_to_its_reader(voice: str) -> None:
    smith = Agent("openai/gpt-5.4", name="smith", instructions=_no_words)
    call = ToolCall("t", "transfer_to_smith", '{"reason": "x"}')
    desk = agent_of(name="desk", handoffs=[Handoff(smith)], client=FunctionModel(lambda _: [call]))
    script = VoiceScript.of([Turn(calls=[Call("transfer_to_smith", {"reason": "x"})])])
    ends: list[Any] = []

    async def drive(talk: Talk, caller: Caller) -> None:
        await saying(("say", 600), ("wait", 3000))(talk, caller)
        ends.extend(event for event in talk._events if isinstance(event, End))

    with pytest.raises(ValueError, match="no instructions"):
        hold(voice, desk, script, drive)


def test_a_reader_that_waits_while_a_part_fails_sees_the_end_before_the_error() -> None:
    seen: list[Any] = []

    async def held() -> None:
        from tests.realtime.harness import Socket, open_link

        async def connect(url: str, headers: dict[str, str]) -> Socket:
            link, _ = open_link(url, VoiceScript.of([]))
            return Socket(link, [])

        guarded = Guarded(agent_of(), inputs=[_raises])
        async with Talk(guarded, voice=OPENAI, connect=connect) as talk:
            asyncio.get_running_loop().call_later(1, talk._post, lambda: talk._emit(Heard("x")))
            async for event in talk:
                seen.append(event)

    with pytest.raises(ValueError, match="the guard is broken"):
        run_fast(held())
    assert seen[-1] == End("failed", "ValueError")


# A vendor that says things twice, late, or without end -------------------------------------------


def test_what_a_vendor_says_twice_counts_once_and_stops_nothing() -> None:
    async def drive(talk: Talk, caller: Caller) -> None:
        await saying(("say", 600), ("wait", 2500), ("say", 600), ("wait", 4000))(talk, caller)
        again = [
            frame
            for frame in talk._socket._came  # type: ignore[union-attr]
            if json.loads(frame)["type"] in ("response.created", "response.done")
            or "audio.delta" in str(frame)
        ]
        for frame in list(again):
            talk._post(lambda frame=frame: talk._came_again(frame))  # type: ignore[attr-defined]
        talk.say("Still here.")
        await caller.wait(4000)

    def came_again(self: Talk, frame: Any) -> None:
        for signal in self._codec.decode(frame):
            self._machine.signal(signal)

    script = VoiceScript.of([Turn(LONG, calls=[Call("fast")]), Turn("Yes?"), Turn("Still here.")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Talk, "_came_again", came_again, raising=False)
        outcome = hold(OPENAI, agent_of(fast), script, drive)
    assert outcome.said[-1] == "Still here."
    used = [usage for _, usage in outcome.record.usage if "input_tokens" in usage]
    assert outcome.run.usage.input_tokens == sum(each["input_tokens"] for each in used)
    assert outcome.of(CallStart) == []


def test_unknown_frames_that_nobody_reads_are_one_event() -> None:
    talk = Talk(agent_of(), voice=OPENAI)
    for count in range(1, 1000):
        talk._show(UnknownFrames("session.weather", count))
    assert list(talk._events) == [UnknownFrames("session.weather", 999)]


# The end ----------------------------------------------------------------------------------------


def test_hanging_up_in_a_reply_still_counts_what_it_used() -> None:
    script = VoiceScript.of([Turn(LONG)])
    outcome = hold(OPENAI, agent_of(), script, saying(("say", 600), ("wait", 1500)))
    used = [usage for _, usage in outcome.record.usage if "input_tokens" in usage]
    assert len(used) == 1
    assert outcome.run.usage.input_tokens == used[0]["input_tokens"] > 0
    assert outcome.end_s < 1
    assert outcome.run.warnings == []


@pytest.mark.parametrize("reset_at_s", [[], [2.0]])
def test_a_reply_whose_usage_never_came_is_a_warning(reset_at_s: list[float]) -> None:
    script = VoiceScript.of([Turn(LONG)], faults=VoiceFaults(reset_at_s=list(reset_at_s)))
    voice = OPENAI if reset_at_s else GEMINI
    outcome = hold(voice, agent_of(), script, saying(("say", 600), ("wait", 1800)))
    assert [warning.feature for warning in outcome.run.warnings] == ["usage"]


# A voice that waits for its calls ---------------------------------------------------------------


def test_a_voice_that_waits_for_a_call_gets_the_sound_when_it_has_its_result() -> None:
    @tool
    async def work() -> str:
        """Work for a while."""
        await asyncio.sleep(4)
        return "done"

    script = VoiceScript.of([Turn(calls=[Call("work")]), Turn("It is done."), Turn("Sure.")])
    # The caller speaks while the call runs.
    drive = saying(("say", 600), ("wait", 2000), ("say", 600), ("wait", 9000))
    outcome = hold(BLOCKING, agent_of(work), script, drive)
    assert outcome.record.refusals == []
    assert outcome.record.sessions == 1
    assert outcome.of(Dropped) == []
    assert outcome.said[-1] == "Sure."
    assert len(outcome.heard) == 2


def test_sound_for_a_voice_that_waits_long_is_bounded_and_said_to_be_lost() -> None:
    script = VoiceScript.of([Turn(calls=[Call("late")]), Turn("It came late.")])
    drive = saying(("say", 600), ("wait", 22_000))
    outcome = hold(BLOCKING, agent_of(late(seconds=15)), script, drive)
    lost_ms = sum(event.ms for event in outcome.of(Dropped))
    assert 4000 <= lost_ms <= 5500
    assert outcome.record.sessions == 1


# Approval by voice ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "Yes.",
        "yeah, sure",
        "Um, okay, go ahead",
        "Please do.",
        "That's right.",
        "Go ahead",
        "네",
        "네, 그렇게 해 주세요",
        "좋아요!",
        "はい、お願いします",
        "好的",
        "Ja, gerne",
        "Sí, claro 👍",
    ],
)
def test_clear_words_agree(words: str) -> None:
    assert verdict(words) is True


@pytest.mark.parametrize(
    "words",
    [
        "No.",
        "I don't think so",
        "Yes, no, stop",
        "No, please",
        "I'd say you shouldn't",
        "not now",
        "아니요",
        "네 하지 마세요",
        "안 돼요",
        "いいえ",
        "不要",
        "Nein danke",
        "yes, I haven't decided",
    ],
)
def test_a_word_that_refuses_outweighs(words: str) -> None:
    assert verdict(words) is False


@pytest.mark.parametrize(
    "words",
    [
        "",
        "👍",
        "Please repeat that.",
        "Are you sure?",
        "Right, how much is it",
        "What is right?",
        "Okay, but for five people",
        "Yes, if it is cheap",
        "Sure, hold on",
        "correct me if I err",
        "네? 얼마예요",
        "네 그런데 내일로",
        "The okay button",
        "예약해 주세요",
        "yes?",
        "Ja, aber morgen",
    ],
)
def test_a_question_a_condition_or_something_else_agrees_to_nothing(words: str) -> None:
    assert verdict(words) is None


@pytest.mark.parametrize("voice", [OPENAI, GEMINI, THINKING, LIVE])
@pytest.mark.parametrize(("words", "paid"), [("Yes.", ["pay 5"]), ("No.", []), ("Hm, 5?", [])])
def test_the_caller_answers_what_the_voice_asked(voice: str, words: str, paid: list[str]) -> None:
    asked = [False]

    def brain(request: Any) -> Any:
        asked[0], first = True, not asked[0]
        return [ToolCall("c", "pay", "{}")] if first else "So be it."

    turns = [Turn(calls=[Call("pay")]), Turn("May I pay five?"), Turn("I see."), Turn("Done.")]
    script = VoiceScript.of(turns, heard=["Pay.", words])
    agent = agent_of(pay, client=FunctionModel(brain))
    drive = saying(("say", 600), ("wait", 6000), ("say", 600), ("wait", 9000))
    outcome = hold(voice, agent, script, drive, approve="voice")
    assert ran == paid
    assert not outcome.record.refusals
    if words != "Hm, 5?" and voice != LIVE:
        assert outcome.of(CallEnd)[0].result.is_error is not bool(paid)


def test_words_before_the_voice_has_asked_answer_nothing() -> None:
    """The caller goes on speaking after the request, and says yes to something else."""
    turns = [Turn(calls=[Call("pay")]), Turn("May I pay five?"), Turn("I see."), Turn("Done.")]
    script = VoiceScript.of(turns, heard=["Pay.", "Yes.", "No."])
    # The call comes 0.2 s after the first words have ended; the question is not spoken yet.
    drive = saying(("say", 600), ("wait", 700), ("say", 600), ("wait", 6000), ("say", 600))
    outcome = hold(
        OPENAI, agent_of(pay), script, both(drive, saying(("wait", 6000))), approve="voice"
    )
    assert ran == []
    assert outcome.of(CallEnd)[0].result.is_error


def both(*drives: Any) -> Any:
    async def drive(talk: Talk, caller: Caller) -> None:
        for each in drives:
            await each(talk, caller)

    return drive


def test_a_question_that_a_reconnection_falls_into_is_asked_in_the_new_session() -> None:
    @tool
    async def first() -> str:
        """Take a second, and nobody is connected at its end."""
        await asyncio.sleep(1)
        return "done"

    async def drive(talk: Talk, caller: Caller) -> None:
        await caller.wait(200)
        await caller.say(600)
        await caller.wait(700)
        talk._post(lambda: talk._machine._reconnect("a test", planned=False))
        await caller.wait(6000)

    turns = [Turn(calls=[Call("pay")]), Turn("May I?")]
    script = VoiceScript.of(turns, heard=["Pay."])
    outcome = hold(OPENAI, agent_of(pay, first), script, drive, approve="voice")
    asked = [body["response"].get("instructions", "") for body in outcome.sent("response.create")]
    assert any("may pay be done" in words for words in asked)
    assert outcome.record.sessions == 2


def test_a_voice_that_waits_for_its_calls_says_that_it_cannot_ask() -> None:
    script = VoiceScript.of([Turn(calls=[Call("pay")]), Turn("I cannot.")])
    drive = saying(("say", 600), ("wait", 6000))
    outcome = hold(BLOCKING, agent_of(pay), script, drive, approve="voice")
    (end,) = outcome.of(CallEnd)
    assert "cannot ask the caller" in end.result.text
    assert [warning.feature for warning in outcome.run.warnings] == ["approve"]
    assert ran == []


def requests(*names: str) -> list[ApprovalRequest]:
    return [
        ApprovalRequest(tool=name, arguments={}, call_id=name, agents=("host",)) for name in names
    ]


def test_questions_come_one_at_a_time_and_an_old_one_takes_no_answer() -> None:
    put: list[str] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        approvals = VoiceApprovals()

        async def ask(request: ApprovalRequest) -> Any:
            async def say(words: str) -> None:
                put.append(request.tool)

            return await approvals.ask(request, say)

        gone, first, second, third = [
            asyncio.create_task(ask(each)) for each in requests("gone", "a", "b", "c")
        ]
        await asyncio.sleep(1)
        assert put == ["gone"]
        gone.cancel()  # its call was cancelled, or out of time
        await asyncio.sleep(1)
        assert put == ["gone", "a"]
        assert approvals.heard("Yes.")
        assert not approvals.heard("Yes.")  # the next question is not put yet
        await asyncio.sleep(1)
        assert (await first, put) == (True, ["gone", "a", "b"])
        assert approvals.heard("No.")
        assert await second == "the caller refused"
        began_s = loop.time()
        assert "did not say yes or no" in str(await third)
        assert loop.time() - began_s == pytest.approx(ANSWER_S)
        assert not approvals.heard("Yes.")

    run_fast(work())


# What a vendor takes ----------------------------------------------------------------------------

KOREAN = "예약이 확인되었습니다. 저녁 일곱 시에 네 분 자리를 준비하겠습니다. "
LONG_TEXTS = [KOREAN * 60, "x" * 5000, "👋🏽 " * 900, "One word more. " * 400, "안" * 3000]


@pytest.mark.parametrize("text", LONG_TEXTS, ids=range(5))
def test_a_long_answer_in_any_script_is_said_whole(text: str) -> None:
    script = VoiceScript.of([Turn(calls=[Call("a")])])
    agent = agent_of(client=FunctionModel(lambda request: text))
    outcome = hold(LIVE, agent, script, saying(("say", 600), ("wait", 3000)))
    assert outcome.record.refusals == []
    pieces = [body["content"] for body in outcome.sent("session.commentary.append")]
    assert "".join(pieces).strip() == text.strip()
    assert len(pieces) > 1
    assert all(" " not in text or piece.endswith(" ") for piece in pieces[:-1])


def test_a_long_history_is_shortened_and_said_to_be() -> None:
    history = [Message("user", [Text(f"{place} {KOREAN}")]) for place in range(300)]
    script = VoiceScript.of([Turn("Yes.")])
    outcome = hold(LIVE, agent_of(), script, saying(("say", 600), ("wait", 3000)), history=history)
    assert outcome.record.refusals == []
    assert outcome.said == ["Yes."]
    (start,) = outcome.sent("session.start")
    assert start["session"]["input"][-1]["content"][0]["text"].startswith("299 ")
    assert 100 < len(start["session"]["input"]) <= 128
    assert [warning.feature for warning in outcome.run.warnings] == ["history"]
    assert len([m for m in outcome.run.messages if m.role == "user"]) == 301


@pytest.mark.parametrize("voice", [OPENAI, LIVE])
def test_a_session_that_the_vendor_refuses_ends_the_talk_with_its_words(voice: str) -> None:
    """A format of another vendor: to go on in a session of other settings would be noise."""
    wrong = (AudioFormat("pcm16", 11025),)
    known = voice_for(*voice.split("/"))
    voices = replace(known, input_formats=wrong, output_formats=wrong)
    script = VoiceScript.of([Turn("Yes.")])
    drive = saying(("say", 600), ("wait", 3000))
    outcome = hold(voice, agent_of(), script, drive, capabilities=voices, judged=False)
    assert outcome.end.reason == "refused"
    assert "11025" in outcome.end.detail
    assert outcome.record.sessions == 1
    assert outcome.said == []


def test_calls_without_ids_are_all_run_and_answered_by_name() -> None:
    codec = make_codec(voice_for("google", "gemini-3.8-live"))
    calls = [{"name": "fast", "args": {"name": "a"}}, {"name": "fast", "args": {}}]
    signals = codec.decode(json.dumps({"toolCall": {"functionCalls": calls}}))
    ids = [each.call.id for each in signals if isinstance(each, CallReady)]
    assert len(set(ids)) == 2
    (frame,) = codec.encode(SendResult(ids[1], "fast", "done"))
    (result,) = json.loads(frame)["toolResponse"]["functionResponses"]
    assert "id" not in result
    assert result["name"] == "fast"


# The application --------------------------------------------------------------------------------


def test_a_talk_that_is_not_open_says_so() -> None:
    talk = Talk(agent_of(), voice=OPENAI)
    for use in (talk.say, talk.write, talk.press):
        with pytest.raises(RequestError, match="not open yet"):
            use("1")
    with pytest.raises(RequestError, match="not open yet"):
        talk.listen(b"")
    with pytest.raises(RequestError, match="not open yet"):
        talk.hang_up()


def test_a_talk_is_held_once() -> None:
    outcome = hold(OPENAI, agent_of(), VoiceScript.of([]), saying(("wait", 100)))
    with pytest.raises(RequestError, match="held once"):
        run_fast(outcome.talk.__aenter__())


def test_what_the_caller_types_passes_the_guards_as_well() -> None:
    def no_cards(messages: list[Message]) -> str | None:
        return "a card number" if "4242" in messages[-1].text else None

    async def drive(talk: Talk, caller: Caller) -> None:
        talk.write("My card is 4242.")
        await caller.wait(3000)

    script = VoiceScript.of([Turn(calls=[Call("spend")])])
    outcome = hold(OPENAI, Guarded(agent_of(spend), inputs=[no_cards]), script, drive)
    assert outcome.end.reason == "guardrail"
    assert ran == []


def test_a_voice_that_delegates_reads_when() -> None:
    for voice, words in ((LIVE, "Delegate"), ("openai/gpt-live-1", "Write <|SpawnThinking|>")):
        outcome = hold(voice, agent_of(spend), VoiceScript.of([]), saying(("wait", 500)))
        (start,) = outcome.sent("session.start")
        told = start["session"]["instructions"].splitlines()
        assert told[0] == "Be brief."
        assert f"{words} to" in "\n".join(told)
        assert "- it needs spend: Spend money." in told


# A vendor without manners ------------------------------------------------------------------------


class Torrent:
    """A connection on which something always comes, at once."""

    def __init__(self) -> None:
        self.frames = [{"type": "session.created"}, {"type": "session.updated"}]

    async def send(self, frame: str) -> None:
        pass

    async def receive(self) -> str:
        sound = {"type": "response.output_audio.delta", "item_id": "i", "delta": "AAAA" * 4000}
        return json.dumps(self.frames.pop(0) if self.frames else sound)

    async def close(self) -> None:
        pass


async def test_a_vendor_that_never_pauses_stops_neither_the_clock_nor_others() -> None:
    async def connect(url: str, headers: dict[str, str]) -> Torrent:
        return Torrent()

    beats: list[float] = []

    async def beat() -> None:
        while True:
            beats.append(asyncio.get_running_loop().time())
            await asyncio.sleep(0.02)

    beating = asyncio.create_task(beat())
    async with asyncio.timeout(20):
        async with Talk(agent_of(), voice=OPENAI, connect=connect, talk_s_max=0.5) as talk:
            await asyncio.sleep(1)  # nobody reads
            assert talk._sound_bytes <= 32 * 2**20
            seen = [event async for event in talk]
    beating.cancel()
    assert seen[-1] == End("time")
    assert len(beats) > 10


_ODD = [None, True, -1, 2**70, 1.5, "", "x", "안녕👋", [], {}, [[]], [None], {"a": 1}, "9" * 500]


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner: Any = enumerate(value) if isinstance(value, list) else ()
    inner = value.items() if isinstance(value, dict) else inner
    return [at, *(place for key, each in inner for place in _places(each, (*at, key)))]


def _changed(frame: Any, chance: random.Random) -> Any:
    made = copy.deepcopy(frame)
    place = chance.choice(_places(made)[1:] or [()])
    owner = made
    for key in place[:-1]:
        owner = owner[key]
    if place:
        owner[place[-1]] = chance.choice(_ODD)
    return made


@pytest.mark.parametrize("voice", [OPENAI, GEMINI, LIVE])
def test_frames_with_other_values_in_them_raise_nothing(voice: str) -> None:
    chance, known = random.Random(voice), voice_for(*voice.split("/"))
    came = [json.loads(frame) for frame in FaultyTalk(voice, 0).hold().came]
    sounds = {"input_format": known.input_formats[0], "output_format": known.output_formats[0]}
    for _ in range(12):
        codec, session = make_codec(known), OpenSession("m", "", **sounds)
        options: dict[str, Any] = {"played": ClockPlayed(lambda: 1.0), "now_s": lambda: 1.0}
        options |= {"manners": {}, "spending": Spending(known.price, None)}
        machine = TalkMachine(known, session, **options)
        machine.connected()
        for frame in came:
            text = json.dumps(_changed(frame, chance) if chance.random() < 0.3 else frame)
            for signal in codec.decode(text):
                machine.signal(signal)
            for action in machine.actions:
                if isinstance(action, Send):
                    codec.encode(action.command)
            machine.actions.clear()
        machine.history()
