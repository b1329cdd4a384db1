"""GPT-Live as its server is: it speaks and listens all the time, and delegates what is to be done.

A turn's text is spoken; a turn with calls is a delegation, whatever the calls are: what they do is
the application's.  Commentary is spoken as it is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from polycall.sim.realtime.record import JSON, object_at, objects_at
from polycall.sim.realtime.script import MS_PER_CHARACTER
from polycall.sim.realtime.session import VoiceSession
from polycall.sim.realtime.sound import SoundFormat, decoded, encoded
from polycall.sim.shape_files import ShapeFile

_PIECE_MS = 100.0
_SESSION = ShapeFile("realtime").names("gpt_live_session")
_APPENDED = {
    "session.commentary.append": "session.commentary.appended",
    "session.thinking.append": "session.thinking.appended",
    "session.instructions.append": "session.instructions.appended",
}
# Without input for so long nothing is said.
_INPUT_GAP_S = 0.6
_TOKENS_MAX = 500
_BYTES_PER_TOKEN = 3  # of Korean; English has four and more
_HISTORY_TOKENS_MAX = 8192


class GPTLiveSession(VoiceSession):
    """One connection."""

    async def opened(self) -> None:
        self.session: JSON = {}
        self.position_ms = 0.0
        self.words: deque[tuple[str, float]] = deque()
        self.delegations: set[str] = set()
        self.input_at_s = 0.0
        self.seconds = 0

    async def event(self, kind: str, **fields: Any) -> None:
        """Send an event."""
        await self.send({"type": kind, "event_id": self.new_id("event"), **fields})
        if self.faults.unknown_frames and self.faults.random.random() < 0.02:
            await self.send({"type": "session.weather", "event_id": self.new_id("event")})

    async def refuse(self, body: JSON, code: str, message: str, param: str = "") -> None:
        """Refuse a command."""
        self.record.refusals.append(f"{code}: {message}")
        named = body.get("event_id")
        error: JSON = {"type": "invalid_request_error", "code": code, "message": message}
        await self.event("error", error={**error, "param": param, "client_event_id": named})

    async def handle(self, body: JSON) -> None:
        kind = str(body.get("type"))
        if not self.session and kind != "session.start":
            await self.refuse(body, "session_not_started", "send session.start first")
            return
        allowed: dict[str, set[str]] = {
            "session.start": {"session"},
            "session.input_audio.append": {"audio"},
            "session.close": set(),
            "session.update": {"session"},
            **{each: {"content", "delegation_id"} for each in _APPENDED},
        }
        if kind not in allowed:
            await self.refuse(body, "unknown_event", f"Unknown event type '{kind}'.", "type")
            return
        for key in body:
            if key not in allowed[kind] | {"type", "event_id"}:
                await self.refuse(body, "unknown_parameter", f"Unknown parameter: '{key}'.", key)
                return
        match kind:
            case "session.start":
                await self.begin(body)
            case "session.input_audio.append":
                await self.append(body)
            case "session.close":
                await self.end("close_requested")
            case "session.update":
                await self.event("session.updated", session=self.resource())
            case _:
                await self.appended(body, kind)

    async def begin(self, body: JSON) -> None:
        session = object_at(body, "session")
        if self.session:
            await self.refuse(body, "session_started", "the session has started")
            return
        for key in session:
            if key not in _SESSION:
                where = f"session.{key}"
                await self.refuse(
                    body, "unknown_parameter", f"Unknown parameter: '{where}'.", where
                )
                return
        if "model" not in session:
            await self.refuse(body, "missing_parameter", "Missing 'session.model'.")
            return
        given = objects_at(session, "input")
        texts = [str(part.get("text")) for item in given for part in objects_at(item, "content")]
        tokens = sum(len(text.encode()) for text in texts) / _BYTES_PER_TOKEN
        if len(given) > 128 or tokens > _HISTORY_TOKENS_MAX:
            words = "at most 128 items of 8192 tokens"
            await self.refuse(body, "too_long", words, "session.input")
            return
        sound = object_at(object_at(session, "audio"), "format")
        kind, rate = sound.get("type", "audio/pcm"), sound.get("rate", 24000)
        if (kind == "audio/pcm") != (rate in (16000, 24000)) or (
            kind != "audio/pcm" and rate != 8000
        ):
            await self.refuse(body, "invalid_value", f"{kind} at {rate}", "session.audio.format")
            return
        self.input = self.output = SoundFormat(str(kind), int(rate))
        self.session = session
        self.model = str(session["model"])
        await self.event("session.started", session=self.resource())
        self.speaking = self.start(self.speak())

    def resource(self) -> JSON:
        """The session as the vendor shows it."""
        now = int(self.now_s)
        return {
            "id": f"live_{self.number}",
            "model": self.model,
            "expires_at": now + 7200,
            "status": "active",
            "store": False,
        }

    async def append(self, body: JSON) -> None:
        data = decoded(body.get("audio"))
        if data is None:
            await self.refuse(body, "invalid_value", "audio is base64", "audio")
            return
        self.input_at_s = self.now_s
        match self.detector.feed(self.input, data):
            case "start":
                self.record.speech.append((self.now_s, True))
                cut, self.words = self.words, deque()
                if cut:
                    self.record.spoken.append("".join(word for word, _ in cut) + " [cut]")
            case "stop":
                self.record.speech.append((self.now_s, False))
                await self.heard()
            case _:
                pass

    async def heard(self) -> None:
        """The caller has stopped: the words, then an answer or a delegation."""
        start = int(self.position_ms)
        for word in self.script.next_heard().split(" "):
            times: JSON = {"start_ms": start, "end_ms": start + 50}
            await self.event("session.input_transcript.delta", delta=word + " ", **times)
            start += 50
        turn = self.script.next_turn()
        if turn.text:
            self.say(turn.text)
        if turn.calls:
            delegation_id = self.new_id("delegation")
            self.delegations.add(delegation_id)
            self.record.issued.append((delegation_id, "delegation"))
            self.record.runnable.add(delegation_id)
            delegation: JSON = {"id": delegation_id, "target": "client", "type": "delegation"}
            await self.event(
                "session.delegation.created",
                delegation=delegation,
                offset_ms=int(self.position_ms),
            )

    async def appended(self, body: JSON, kind: str) -> None:
        if "delegation_id" not in body:
            await self.refuse(
                body, "missing_parameter", "'delegation_id' is needed; it may be null"
            )
            return
        content, delegation_id = body.get("content"), body["delegation_id"]
        if not isinstance(content, str) or not content:
            await self.refuse(body, "invalid_value", "content is a text", "content")
            return
        if len(content.encode()) > _TOKENS_MAX * _BYTES_PER_TOKEN:
            await self.refuse(body, "too_long", "content has at most 500 tokens", "content")
            return
        if delegation_id is not None and delegation_id not in self.delegations:
            await self.refuse(body, "unknown_delegation", f"no delegation '{delegation_id}'")
            return
        times: JSON = {"start_ms": int(self.position_ms), "end_ms": int(self.position_ms)}
        await self.event(_APPENDED[kind], **times, client_event_id=body.get("event_id"))
        if kind == "session.commentary.append":
            if delegation_id is not None:
                self.record.answers.append(delegation_id)
            self.say(content)

    def say(self, text: str) -> None:
        """Words to be spoken after those that wait."""
        for word in text.split(" "):
            self.words.append((word + " ", (len(word) + 1) * MS_PER_CHARACTER))

    async def speak(self) -> None:
        """Sound without an end, silence where nothing is to be said; usage each second."""
        left_ms = 0.0
        while True:
            await self.sleep(_PIECE_MS)
            if self.now_s - self.input_at_s > _INPUT_GAP_S:
                continue
            is_speech = left_ms > 0 or bool(self.words)
            while left_ms < _PIECE_MS and self.words:
                word, ms = self.words.popleft()
                start = int(self.position_ms + max(left_ms, 0))
                left_ms = max(left_ms, 0.0) + ms
                times: JSON = {"start_ms": start, "end_ms": int(start + ms)}
                await self.event("session.output_transcript.delta", delta=word, **times)
                self.record.spoken.append(word)
            made = self.output.tone(_PIECE_MS) if is_speech else self.output.silence(_PIECE_MS)
            left_ms = max(left_ms - _PIECE_MS, 0.0)
            await self.send({"type": "session.output_audio.delta", "delta": encoded(made)})
            self.position_ms += _PIECE_MS
            self.record.lengths[f"session {self.number}"] = self.position_ms
            if int(self.position_ms / 1000) > self.seconds:
                self.seconds = int(self.position_ms / 1000)
                await self.event("session.usage.updated", usage=self.usage())

    def usage(self) -> JSON:
        """The usage since the session began."""
        usage: JSON = {"seconds": float(self.seconds)}
        self.record.usage = [each for each in self.record.usage if each[0] != self.number]
        self.record.usage.append((self.number, usage))
        return usage

    async def expire(self) -> None:
        await self.end("expired")

    async def end(self, reason: str) -> None:
        """Close in order: nothing comes after it."""
        self.speaking.cancel()
        fields: JSON = {"session": self.resource(), "usage": self.usage(), "reason": reason}
        await self.event("session.closed", **fields)
        await asyncio.sleep(0)
        await self.link.close(1000)
