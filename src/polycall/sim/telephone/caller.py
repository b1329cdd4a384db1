"""A simulated caller on a simulated telephone network: signs, speaks, listens, presses keys."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from polycall.sim.realtime.link import Link, LinkClosedError
from polycall.sim.realtime.record import Frame, object_at
from polycall.sim.realtime.sound import decoded
from polycall.sim.telephone.frames import FRAME_BYTES, FRAME_MS, StreamFrames, read_twiml, sign
from polycall.sim.telephone.line import Line, LineRefusedError
from polycall.sim.telephone.playback import Playback

_QUIET = b"\xff" * FRAME_BYTES
_CALLED = "+15005550001"
# The first packet comes so long after the stream began; recordings have 57 to 171 ms.
_FIRST_MS = 102


@dataclass
class LineFaults:
    """The faults of a bad network; the same each time for the same seed.

    `loss` is the share of the caller's packets that are lost; `jitter_ms` how late a frame may be,
    each way; `latency_ms` how late every frame is.
    """

    loss: float = 0.0
    jitter_ms: float = 0.0
    latency_ms: float = 0.0
    seed: int = 0


@dataclass
class PhoneRecord:
    """The record of a call.

    `status` is that of the POST, and `refused` that of a refused WebSocket; `cleared` has, for each
    `clear`, its moment and the milliseconds that were heard since the one before; `marks` the
    names of those that came back played, `cleared_marks` of those that a `clear` gave back.
    """

    status: int = 0
    refused: int = 0
    answered: bool = False
    began_s: float = 0.0
    ended_s: float = 0.0
    close_code: int = 0
    cleared: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    marks: list[str] = field(default_factory=list[str])
    cleared_marks: list[str] = field(default_factory=list[str])
    heard: bytes = b""
    said: bytes = b""  # by the caller, from the beginning on
    media_frames: int = 0
    wrong_frames: list[str] = field(default_factory=list[str])


@dataclass
class _Step:
    kind: str
    data: bytes = b""
    number: float = 0.0
    text: str = ""


class Caller:
    """A caller with a script.  Each step begins when the one before has ended.

        caller = Caller(WebLine("127.0.0.1:8080"), voice_url=url, auth_token=token)
        record = await caller.say(sound).wait_for_speech(800).say(sound).press("5").hang_up().call()

    Sound is μ-law of 8000 Hz; between the steps the line is silent, not dead.
    """

    def __init__(
        self,
        line: Line,
        *,
        voice_url: str,
        auth_token: str,
        number: str = "+15005550006",
        faults: LineFaults | None = None,
    ) -> None:
        self._line = line
        self._voice_url = voice_url
        self._auth_token = auth_token
        self._faults = faults or LineFaults()
        self._steps: list[_Step] = []
        self.call_id = "CA" + secrets.token_hex(16)
        self.number = number
        self.record = PhoneRecord()

    def say(self, sound: bytes) -> Caller:
        """Speak; the next step begins when it is said."""
        return self._then("say", data=sound)

    def pause(self, seconds: float) -> Caller:
        """Be silent for so long."""
        return self._then("pause", number=seconds)

    def wait_for_speech(self, ms: float) -> Caller:
        """Wait until so much more was heard."""
        return self._then("wait_for_speech", number=ms)

    def wait_for_silence(self, ms: float = 500) -> Caller:
        """Wait until nothing was heard for so long."""
        return self._then("wait_for_silence", number=ms)

    def press(self, digits: str) -> Caller:
        """Press keys, five a second."""
        return self._then("press", text=digits)

    def stall(self, seconds: float) -> Caller:
        """Send nothing at all for so long, as a network that is gone."""
        return self._then("stall", number=seconds)

    def frame(self, text: str) -> Caller:
        """Send a frame as it is written."""
        return self._then("frame", text=text)

    def hang_up(self) -> Caller:
        """Say `stop` and close."""
        return self._then("hang_up")

    def vanish(self) -> Caller:
        """Break the connection without a word."""
        return self._then("vanish")

    def _then(self, kind: str, **fields: Any) -> Caller:
        self._steps.append(_Step(kind, **fields))
        return self

    async def post(self) -> tuple[int, str]:
        """Announce the call, signed; the status and the TwiML."""
        form = {"AccountSid": "AC" + "0" * 32, "ApiVersion": "2010-04-01", "CallSid": self.call_id}
        form |= {"CallStatus": "ringing", "Direction": "inbound"}
        sides = {"From": self.number, "Caller": self.number, "To": _CALLED, "Called": _CALLED}
        for side, number in sides.items():
            # Of most numbers Twilio knows the country alone, and signs the blank fields as well.
            places = {"City": "", "Country": "US", "State": "", "Zip": ""}
            form[side] = number
            form |= {f"{side}{name}": value for name, value in places.items()}
        headers = {"X-Twilio-Signature": sign(self._auth_token, self._voice_url, form)}
        return await self._line.post(self._voice_url, form, headers)

    async def open(self, url: str) -> Link:
        """Open the stream, signed."""
        return await self._line.connect(url, {"X-Twilio-Signature": sign(self._auth_token, url)})

    async def call(self) -> PhoneRecord:
        """Call, and act by the script; without `hang_up`, until the telephone ends the call."""
        record = self.record
        record.status, twiml = await self.post()
        if record.status != 200:
            return record
        url, parameters = read_twiml(twiml)
        if not url:
            return record
        try:
            link = await self.open(url)
        except LineRefusedError as error:
            record.refused = error.status
            return record
        record.answered = True
        frames = StreamFrames(self.call_id, "MZ" + secrets.token_hex(16))
        stream = _Stream(link, frames, record, self._faults)
        await stream.run(parameters, self._steps)
        return record


class _Stream:
    """One stream of a caller, from `connected` to its end."""

    def __init__(
        self, link: Link, frames: StreamFrames, record: PhoneRecord, faults: LineFaults
    ) -> None:
        self._link = link
        self._frames = frames
        self._record = record
        self._faults = faults
        self._chance = random.Random(faults.seed)  # noqa: S311 - the same each time
        self._loop = asyncio.get_running_loop()
        self._playback = Playback(self._loop.time)
        self._up: asyncio.Queue[tuple[float, str]] = asyncio.Queue()
        self._down: asyncio.Queue[tuple[float, Frame]] = asyncio.Queue()
        self._up_s = self._down_s = 0.0
        self._changed = asyncio.Event()
        self._mouth: list[bytes] = []
        self._spoken = bytearray()
        self._is_stalled = False
        self._said = asyncio.Event()

    async def run(self, parameters: dict[str, str], steps: list[_Step]) -> None:
        record = self._record
        record.began_s = self._loop.time()
        self._send(self._frames.connected())
        self._send(self._frames.start(parameters))
        work = [self._carry(), self._speak(), self._listen(), self._hear(), self._give_marks()]
        tasks = [asyncio.create_task(each) for each in work]
        acting = asyncio.create_task(self._act(steps))
        try:
            await asyncio.wait([acting, tasks[2]], return_when=asyncio.FIRST_COMPLETED)
            if acting.done():
                acting.result()
            if not tasks[2].done():
                await asyncio.wait([tasks[2]])
        finally:
            for task in [acting, *tasks]:
                task.cancel()
            await asyncio.gather(acting, *tasks, return_exceptions=True)
            record.ended_s = self._loop.time()
            record.said = bytes(self._spoken)
            record.heard = self._playback.recording(record.began_s)
            with contextlib.suppress(LinkClosedError):
                await self._link.close()

    def _late_s(self, before_s: float) -> float:
        """When a frame arrives that is sent now; frames do not overtake each other."""
        late_ms = self._faults.latency_ms + self._chance.uniform(0, self._faults.jitter_ms)
        return max(self._loop.time() + late_ms / 1000, before_s)

    def _send(self, frame: str) -> None:
        self._up_s = self._late_s(self._up_s)
        self._up.put_nowait((self._up_s, frame))

    async def _carry(self) -> None:
        """Frames to the telephone, each when it arrives."""
        with contextlib.suppress(LinkClosedError):
            while True:
                at_s, frame = await self._up.get()
                await asyncio.sleep(max(at_s - self._loop.time(), 0))
                await self._link.send(frame)

    async def _listen(self) -> None:
        """Frames of the telephone, up to its end."""
        try:
            while True:
                frame = await self._link.receive()
                self._down_s = self._late_s(self._down_s)
                self._down.put_nowait((self._down_s, frame))
        except LinkClosedError as error:
            self._record.close_code = error.code

    async def _hear(self) -> None:
        while True:
            at_s, frame = await self._down.get()
            await asyncio.sleep(max(at_s - self._loop.time(), 0))
            self._came(frame)
            self._changed.set()

    def _came(self, frame: Frame) -> None:
        record, playback = self._record, self._playback
        try:
            body: Any = json.loads(frame)
        except ValueError:
            body = {}
        kind = body.get("event")
        if not isinstance(frame, str) or body.get("streamSid") != self._frames.stream_id:
            record.wrong_frames.append(str(frame)[:200])
        elif kind == "media" and (data := decoded(object_at(body, "media").get("payload"))):
            record.media_frames += 1
            playback.add(data)
        elif kind == "mark" and (name := object_at(body, "mark").get("name")):
            playback.mark(str(name))
        elif kind == "clear":
            heard_ms, marks = playback.clear()
            record.cleared.append((self._loop.time(), heard_ms))
            record.cleared_marks += marks
            for each in marks:
                self._send(self._frames.mark(each))
        else:
            record.wrong_frames.append(frame[:200])

    async def _give_marks(self) -> None:
        """Give marks back, each when its sound was played."""
        while True:
            for name in self._playback.due_marks():
                self._record.marks.append(name)
                self._send(self._frames.mark(name))
            at_s = self._playback.next_mark_s()
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if at_s is None else at_s - self._loop.time()):
                    await self._changed.wait()

    async def _speak(self) -> None:
        """A packet each 20 ms: speech where there is some, silence else; some are lost."""
        began_s, chunk = self._loop.time(), 0
        while True:
            chunk += 1
            data = self._mouth.pop(0) if self._mouth else _QUIET
            self._spoken += data
            if not self._mouth:
                self._said.set()
            if not self._is_stalled and self._chance.random() >= self._faults.loss:
                # As recorded: not quite 20 ms from one packet to the next.
                at_ms = _FIRST_MS + (chunk - 1) * FRAME_MS - chunk % 3
                self._send(self._frames.media(data, chunk, at_ms))
            await asyncio.sleep(max(began_s + chunk * FRAME_MS / 1000 - self._loop.time(), 0))

    async def _act(self, steps: list[_Step]) -> None:
        actions: dict[str, Callable[[_Step], Any]] = {
            "say": self._say,
            "pause": lambda step: asyncio.sleep(step.number),
            "wait_for_speech": self._wait_for_speech,
            "wait_for_silence": self._wait_for_silence,
            "press": self._press,
            "stall": self._stall,
            "frame": self._raw,
            "hang_up": self._hang_up,
            "vanish": lambda _: self._link.close(1006),
        }
        for step in steps:
            await actions[step.kind](step)

    async def _say(self, step: _Step) -> None:
        pieces = [step.data[at : at + FRAME_BYTES] for at in range(0, len(step.data), FRAME_BYTES)]
        self._mouth += [piece.ljust(FRAME_BYTES, b"\xff") for piece in pieces]
        self._said.clear()
        await self._said.wait()

    async def _wait_for_speech(self, step: _Step) -> None:
        from_ms = self._playback.heard_ms()
        while True:
            heard_ms = self._playback.heard_ms()
            from_ms = min(from_ms, heard_ms)  # less than before: there was a clear
            left_ms = from_ms + step.number - heard_ms
            if left_ms <= 0.5:
                return
            await asyncio.sleep(left_ms / 1000 if self._playback.is_playing else 0.005)

    async def _wait_for_silence(self, step: _Step) -> None:
        quiet_s = self._loop.time()
        while (self._loop.time() - quiet_s) * 1000 < step.number:
            await asyncio.sleep(0.02)
            if self._playback.is_playing:
                quiet_s = self._loop.time()

    async def _press(self, step: _Step) -> None:
        for digit in step.text:
            self._send(self._frames.digit(digit))
            await asyncio.sleep(0.2)

    async def _stall(self, step: _Step) -> None:
        self._is_stalled = True
        await asyncio.sleep(step.number)
        self._is_stalled = False

    async def _raw(self, step: _Step) -> None:
        self._send(step.text)

    async def _hang_up(self, _: _Step) -> None:
        self._send(self._frames.stop())
        await asyncio.sleep(max(self._up_s - self._loop.time(), 0) + 0.02)
        await self._link.close()
