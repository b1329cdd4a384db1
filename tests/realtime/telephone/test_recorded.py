"""Our bridge and our callers beside messages that others have recorded: no difference in kind.

`recorded.json` has each with its source.  A kind is an event with its fields and the JSON type of
each.
"""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from polycall.realtime.events import Digit, Heard
from polycall.realtime.telephone import twilio
from polycall.sim.realtime import VoiceScript
from polycall.sim.script import Turn
from polycall.sim.telephone import RelayCaller, StreamFrames, read_twiml
from tests.realtime.harness import agent_of
from tests.realtime.telephone.harness import Exchange, exchange, on_fast_clock, said
from tests.realtime.telephone.test_relay import called, phone_of

JSON = dict[str, Any]

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text(encoding="utf-8"))
STREAMS = [(each["source"], each["frames"]) for each in RECORDED["media_streams"]]
RELAYS = [(each["source"], each["frames"]) for each in RECORDED["conversation_relay"]]
# What was seen in some recordings and not in others.
_OPTIONAL = {
    ("start", "start.customParameters", "object"),
    ("dtmf", "dtmf.duration", "string"),
    ("dtmf", "dtmf.track", "string"),
    ("interrupt", "durationUntilInterruptMs", "string"),
    ("interrupt", "durationUntilInterruptMs", "number"),
}
# Twilio sends these only where its options ask for them; they mean nothing for the call.
_UNASKED = {"info", "error"}


def kinds(frames: list[JSON], name: str) -> set[tuple[str, str, str]]:
    """The fields of each event, and their types; parameters are the application's own."""
    return {(str(frame[name]), *field) for frame in frames for field in _fields(frame)}


def _fields(value: JSON, path: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, each in value.items():
        here = f"{path}{key}"
        found.append((here, _type(each)))
        if isinstance(each, dict) and key != "customParameters":
            found += _fields(each, f"{here}.")
    return found


def _type(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case dict():
            return "object"
        case list():
            return "list"
        case _:
            return "string"


def filled(frame: JSON, stream_id: str = "MZ0", sound: bytes = b"\xff" * 160) -> str:
    """The frame with sound in it, and of this stream."""
    made = {**frame, "streamSid": stream_id} if "streamSid" in frame else dict(frame)
    if "media" in made:
        made["media"] = {**made["media"], "payload": base64.b64encode(sound).decode()}
    return json.dumps(made)


@pytest.mark.parametrize(("source", "frames"), STREAMS, ids=range(len(STREAMS)))
def test_what_others_have_recorded_is_read(source: str, frames: list[JSON]) -> None:
    for frame in frames:
        read = twilio.parse_frame(filled(frame))
        match frame["event"]:
            case "start":
                given = frame["start"].get("customParameters", {})
                assert read == twilio.Start("MZ0", "CA0", given), source
            case "media" if frame["media"]["track"] == "inbound":
                part = frame["media"]
                place = float(part["timestamp"]), int(part["chunk"])
                assert read == twilio.Media(b"\xff" * 160, *place), source
            case "mark":
                assert read == twilio.MarkReached(frame["mark"]["name"]), source
            case "dtmf":
                assert read == twilio.DigitPressed(frame["dtmf"]["digit"]), source
            case "stop":
                assert read == twilio.Stopped(), source
            case _:
                assert isinstance(read, twilio.Ignored), source


def test_the_simulated_caller_sends_the_kinds_of_frames_that_were_recorded() -> None:
    frames = StreamFrames("CA0", "MZ0")
    ours = [
        frames.connected(),
        frames.start({"token": "x"}),
        frames.media(b"\xff" * 160, 1, 57),
        frames.mark("m"),
        frames.digit("5"),
        frames.stop(),
    ]
    theirs = kinds([frame for _, each in STREAMS for frame in each], "event")
    assert kinds([json.loads(frame) for frame in ours], "event") ^ theirs <= _OPTIONAL


def test_the_simulated_webhook_has_the_fields_that_were_recorded() -> None:
    async def work(made: Exchange) -> None:
        forms: list[JSON] = []
        caller = made.caller()

        async def post(url: str, form: JSON, headers: JSON) -> tuple[int, str]:
            forms.append(form)
            return 200, ""

        made.line.post = post  # type: ignore[method-assign]
        await caller.post()
        assert sorted(forms[0]) == RECORDED["webhook"]["fields"]
        assert "" in forms[0].values()  # blank fields are signed too

    on_fast_clock(work, exchange(agent_of(), VoiceScript.of([])))


def test_a_recorded_call_goes_through_the_bridge() -> None:
    """The longest recording, with its gaps of time, and the keys and marks of the others."""
    frames = {frame["event"]: frame for _, each in STREAMS for frame in each}
    recorded = next(each for source, each in STREAMS if "Bun" in source)

    async def work(made: Exchange) -> None:
        caller = made.caller()
        url, parameters = read_twiml((await caller.post())[1])
        link = await caller.open(url)
        await link.send(filled(recorded[0]))
        start = {**recorded[1]["start"], "callSid": caller.call_id, "streamSid": "MZ0"}
        await link.send(filled({**recorded[1], "start": {**start, "customParameters": parameters}}))
        first, later = (json.loads(filled(frame)) for frame in recorded[2:4])
        for chunk in range(1, 400):
            part = {**first["media"], "chunk": str(chunk)}
            # 72 chunks later there are 2 ms less than 72 times 20.
            part["timestamp"] = str(155 + (chunk - 1) * 20 - chunk // 36)
            sound = said(20) if 30 < chunk < 70 else b"\xff" * 160
            if chunk == 73:
                part = later["media"]
            await link.send(filled({**first, "media": part}, sound=sound))
            if chunk == 100:
                await link.send(filled(frames["dtmf"]))
                await link.send(filled(frames["mark"]))
            await asyncio.sleep(0.02)
        await link.send(filled(recorded[4]))

    script = VoiceScript.of([Turn("Yes.")], heard=["Hello"])
    made = on_fast_clock(work, exchange(agent_of(), script))
    call = made.calls[1]
    assert call.ended_by == "stop"
    assert (call.inbound.padded_ms, call.inbound.dropped_ms) == (0, 0)
    assert [event.text for event in made.of(Heard)] == ["Hello"]
    assert [event.digit for event in made.of(Digit)] == ["1"]


# ConversationRelay ------------------------------------------------------------------------------


def test_the_simulated_relay_sends_the_kinds_of_messages_that_were_recorded() -> None:
    sent: list[JSON] = []
    phone, _ = phone_of()
    whole = RelayCaller.open

    async def open_(self: RelayCaller, url: str) -> Any:
        link = await whole(self, url)
        send = link.send

        async def kept(frame: Any) -> None:
            sent.append(json.loads(frame))
            await send(frame)

        link.send = kept  # type: ignore[method-assign]
        return link

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RelayCaller, "open", open_)
        called(phone, lambda c: c.tell("Tell a story.").wait(2).tell("Stop.").key("5").leave())
    theirs = [frame for _, each in RELAYS for frame in each if frame["type"] not in _UNASKED]
    assert kinds(sent, "type") ^ kinds(theirs, "type") <= _OPTIONAL


@pytest.mark.parametrize(("source", "frames"), RELAYS, ids=range(len(RELAYS)))
def test_what_others_have_recorded_of_a_relay_is_answered(source: str, frames: list[JSON]) -> None:
    phone, calls = phone_of()
    answers: list[JSON] = []

    async def relay(self: RelayCaller) -> Any:
        self.relayed.status, twiml = await self.post()
        url, parameters = read_twiml(twiml)
        link = await self.open(url)
        setup = {**frames[0], "callSid": self.call_id, "customParameters": parameters}
        for frame in [setup, *frames[1:]]:
            await link.send(json.dumps(frame))
            await asyncio.sleep(1)
        await link.send(json.dumps({"type": "prompt", "voicePrompt": "Hi?", "last": True}))
        await asyncio.sleep(2)
        while not answers or answers[-1]["token"] != "Yes?":
            answers.append(json.loads(await link.receive()))
        await link.close()
        return self.relayed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RelayCaller, "relay", relay)
        called(phone, lambda c: c)
    assert {answer["type"] for answer in answers} == {"text"}
    assert calls[0].ended_by == "stop", source
