"""Gemini Live as its server is: it speaks by itself, and closes where something is not allowed."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import Any

from polycall.sim.realtime.record import JSON, object_at, objects_at
from polycall.sim.realtime.script import GENERATION_SPEED, MS_PER_CHARACTER
from polycall.sim.realtime.session import VoiceSession
from polycall.sim.realtime.sound import SoundFormat, decoded, encoded
from polycall.sim.script import Turn
from polycall.sim.shape_files import ShapeFile

_PIECE_MS = 200.0
# Sound that was sent before the client could know of a call.
_ON_ITS_WAY_S = 0.5
_UNDERSCORE = re.compile(r"_([a-z])")
_SHAPES = ShapeFile("realtime")
_SETUP = _SHAPES.names("gemini_setup")
_RESULT = _SHAPES.names("gemini_result")


@dataclass(frozen=True)
class GeminiRules:
    """The rules of a model.  `behavior`: how functions are declared by default."""

    behavior: str = "NON_BLOCKING"
    may_block: bool = True
    may_not_block: bool = True
    schedules: bool = True


def rules_for(model: str, *, is_vertex: bool = False) -> GeminiRules:
    """The rules of a model's name."""
    if is_vertex or "3.1-flash-live" in model:
        return GeminiRules("BLOCKING", may_not_block=False, schedules=False)
    if "extended-thinking" in model:
        return GeminiRules(may_block=False, schedules=False)
    if "2.5" in model:
        return GeminiRules("BLOCKING")
    return GeminiRules()


def camel(value: Any, *, keeps: bool = False) -> Any:
    """The value with its keys in camel case; what belongs to functions stays as it is."""
    if isinstance(value, list):
        return [camel(each, keeps=keeps) for each in value]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(value, dict):
        return value
    made: JSON = {}
    for key, each in value.items():  # pyright: ignore[reportUnknownVariableType]
        name = _UNDERSCORE.sub(lambda found: found[1].upper(), str(key))  # pyright: ignore[reportUnknownArgumentType]
        inner = name in ("response", "parametersJsonSchema", "args", "responseJsonSchema")
        made[name] = each if inner else camel(each)
    return made


@dataclass
class _Handles:
    """The handles that later connections may resume from, over all sessions of a script."""

    known: dict[str, int] = field(default_factory=dict[str, int])


class GeminiLiveSession(VoiceSession):
    """One connection."""

    is_vertex = False

    async def opened(self) -> None:
        self.input, self.output = SoundFormat(rate=16000), SoundFormat(rate=24000)
        self.rules = rules_for(self.model, is_vertex=self.is_vertex)
        self.is_set_up = False
        self.behaviors: dict[str, str] = {}
        self.pending: dict[str, str] = {}
        self.called_s = 0.0
        self.turn: asyncio.Task[Any] | None = None
        self.is_interrupted = self.follows = False
        self.results: asyncio.Queue[None] = asyncio.Queue()

    @property
    def sends_bytes(self) -> bool:
        return self.faults.binary_frames

    async def handle(self, body: JSON) -> None:
        message = camel(body)
        if len(message) != 1:
            await self.close(1007, "a message has exactly one field")
        key, value = next(iter(message.items()))
        if key == "setup":
            await self.setup(value)
            return
        if not self.is_set_up:
            await self.close(1007, "the first message is setup")
        match key:
            case "realtimeInput":
                await self.realtime(value)
            case "clientContent":
                await self.content(value)
            case "toolResponse":
                await self.tool_response(value)
            case "contextUpdate":
                for tool in objects_at(object_at(value, "tools"), "tools"):
                    self.declare(tool)
            case _:
                await self.close(1007, f"Unknown name {key!r}")

    async def setup(self, setup: JSON) -> None:
        if self.is_set_up:
            await self.close(1007, "setup comes once")
        for key in setup:
            if key not in _SETUP:
                await self.close(1007, f"Unknown name {key!r} at 'setup'")
        self.model = str(setup.get("model", "")).removeprefix("models/")
        if not self.model:
            await self.close(1008, "a model is needed")
        self.rules = rules_for(self.model, is_vertex=self.is_vertex)
        for tool in objects_at(setup, "tools"):
            self.declare(tool)
        for name, behavior in self.behaviors.items():
            allowed = self.rules.may_not_block if behavior == "NON_BLOCKING" else True
            if not allowed or (behavior == "BLOCKING" and not self.rules.may_block):
                await self.close(1007, f"{name}: {behavior} functions are not supported")
        handle = object_at(setup, "sessionResumption").get("handle")
        known: _Handles = self.record.__dict__.setdefault("handles", _Handles())
        if handle and (self.faults.refuse_resume or handle not in known.known):
            self.faults.refuse_resume = False
            await self.close(1007, "the session cannot be resumed")
        self.is_set_up = True
        await self.send({"setupComplete": {"sessionId": self.new_id("session")}})
        await self.offer_handle(can_resume=True)

    def declare(self, tool: JSON) -> None:
        """Functions that may be called from now on."""
        for each in objects_at(tool, "functionDeclarations"):
            self.behaviors[each["name"]] = each.get("behavior") or self.rules.behavior

    async def offer_handle(self, *, can_resume: bool) -> None:
        """Say whether, and from what, a later connection may continue."""
        update: JSON = {"resumable": can_resume}
        if can_resume:
            handle = self.new_id("handle")
            known: _Handles = self.record.__dict__.setdefault("handles", _Handles())
            known.known[handle] = self.number
            update["newHandle"] = handle
        await self.send({"sessionResumptionUpdate": update})

    async def go_away(self) -> None:
        await self.send({"goAway": {"timeLeft": f"{self.faults.go_away_left_s:g}s"}})

    async def realtime(self, value: JSON) -> None:
        if "text" in value:
            await self.interrupt()
            self.begin()
        sound = value.get("audio")
        if not sound:
            return
        blocks = any(self.behaviors.get(name) == "BLOCKING" for name in self.pending.values())
        if blocks and self.now_s > self.called_s + _ON_ITS_WAY_S:
            await self.close(1008, "audio while a blocking function is pending")
        if sound.get("mimeType") != "audio/pcm;rate=16000":
            await self.close(1007, f"unsupported mime type {sound.get('mimeType')!r}")
        data = decoded(sound.get("data"))
        if data is None:
            await self.close(1007, "data is base64")
        match self.detector.feed(self.input, data or b""):
            case "start":
                self.record.speech.append((self.now_s, True))
                offset = f"{self.detector.position_ms / 1000:.3f}s"
                started = {"voiceActivityType": "ACTIVITY_START", "audioOffset": offset}
                await self.send({"voiceActivity": started})
                await self.interrupt()
            case "stop":
                self.record.speech.append((self.now_s, False))
                offset = f"{self.detector.position_ms / 1000:.3f}s"
                ended = {"voiceActivityType": "ACTIVITY_END", "audioOffset": offset}
                await self.send({"voiceActivity": ended})
                text = self.script.next_heard()
                for piece in (text[: len(text) // 2], text[len(text) // 2 :]):
                    await self.send({"serverContent": {"inputTranscription": {"text": piece}}})
                self.begin()
            case _:
                pass

    async def content(self, value: JSON) -> None:
        await self.interrupt()
        turns = objects_at(value, "turns")
        is_history = bool(turns) and any(turn.get("role") == "model" for turn in turns)
        if value.get("turnComplete", True) and not is_history:
            self.begin()

    async def tool_response(self, value: JSON) -> None:
        for each in objects_at(value, "functionResponses"):
            unknown = set(each) - _RESULT
            if unknown or not each.get("id"):
                await self.close(1007, f"Invalid function response: {sorted(unknown) or 'no id'}")
            if each.get("scheduling") and not self.rules.schedules:
                await self.close(1007, "scheduling is not supported")
            call_id = each["id"]
            if call_id not in self.pending:
                # One from before a resume, or that was cancelled: it changes nothing.
                self.record.refusals.append(f"ignored result of {call_id}")
                continue
            if each.get("willContinue"):
                await self.continued(str(each.get("scheduling") or "WHEN_IDLE"))
                continue
            name = self.pending.pop(call_id)
            self.record.answers.append(call_id)
            await self.answered(name, str(each.get("scheduling") or "WHEN_IDLE"))
        if not self.pending:
            await self.offer_handle(can_resume=True)

    async def answered(self, name: str, scheduling: str) -> None:
        """A function has given its result: when it is spoken about."""
        if self.behaviors.get(name, self.rules.behavior) == "BLOCKING":
            if not self.pending:
                self.results.put_nowait(None)
        elif scheduling == "SILENT":
            return
        elif scheduling == "INTERRUPT":
            await self.interrupt()
            self.begin()
        else:
            self.start(self.when_idle())

    async def continued(self, scheduling: str) -> None:
        """A function has given a part of its result, and says more later."""
        if scheduling == "INTERRUPT":
            await self.interrupt()
        if scheduling != "SILENT":
            self.start(self.when_idle(is_part=True))

    async def when_idle(self, *, is_part: bool = False) -> None:
        """Speak when nobody does; several results are one turn."""
        while self.turn is not None or self.detector.is_speaking:
            await self.sleep(50)
        if is_part or not self.pending:
            self.begin()

    def begin(self) -> None:
        """A turn of the model begins, where none is under way, or after one that was cut off."""
        self.follows = self.turn is not None and self.is_interrupted
        if self.turn is None:
            self.record.active_most = max(self.record.active_most, 1)
            self.is_interrupted = False
            self.turn = self.start(self.take_turn())

    async def interrupt(self) -> None:
        """The caller speaks: what the model does is cut off."""
        if self.turn is None or self.is_interrupted:
            return
        self.is_interrupted = True
        await self.send({"serverContent": {"interrupted": True}})
        blocking = [
            call_id
            for call_id, name in self.pending.items()
            if self.behaviors.get(name, self.rules.behavior) == "BLOCKING"
        ]
        gone = list(self.pending) if self.faults.cancel_calls else blocking
        if gone:
            for call_id in gone:
                del self.pending[call_id]
                self.record.cancelled.add(call_id)
            await self.send({"toolCallCancellation": {"ids": gone}})
            self.results.put_nowait(None)

    async def take_turn(self) -> None:
        """One turn: sound, then calls; blocking ones are waited for."""
        await self.sleep(120)
        turn = self.script.next_turn()
        said_ms = await self.speak(turn.text) if turn.text else 0.0
        if turn.calls and not self.is_interrupted:
            await self.call(turn)
        if not self.is_interrupted:
            await self.send({"serverContent": {"generationComplete": True}})
        usage = self.usage(said_ms)
        self.record.usage.append((self.number, usage))
        self.turn = None
        done: JSON = {"serverContent": {"turnComplete": True}, "usageMetadata": usage}
        await self.send(done)
        if self.follows:
            self.begin()

    async def speak(self, text: str) -> float:
        """Sound in pieces, and its text, in no fixed order."""
        whole_ms, made_ms, said = len(text) * MS_PER_CHARACTER, 0.0, ""
        key = f"turn {len(self.record.spoken)}"
        while made_ms < whole_ms and not self.is_interrupted:
            ms = min(_PIECE_MS, whole_ms - made_ms)
            made_ms += ms
            piece = text[len(said) : round(len(text) * made_ms / whole_ms)]
            said += piece
            blob = {"mimeType": "audio/pcm;rate=24000", "data": encoded(self.output.tone(ms))}
            parts = [{"inlineData": blob}]
            await self.send({"serverContent": {"modelTurn": {"role": "model", "parts": parts}}})
            if piece:
                await self.send({"serverContent": {"outputTranscription": {"text": piece}}})
            self.record.lengths[key] = made_ms
            await self.sleep(ms / GENERATION_SPEED)
        self.record.spoken.append(said)
        self.record.texts[key] = text
        return made_ms

    async def call(self, turn: Turn) -> None:
        """All calls of the turn at once."""
        calls: list[JSON] = []
        for each in turn.calls:
            call_id = each.id or self.new_id("call")
            arguments: JSON = json.loads(each.arguments_json) if each.raw_arguments is None else {}
            calls.append({"id": call_id, "name": each.name, "args": arguments})
            self.pending[call_id] = each.name
            self.record.issued.append((call_id, each.name))
            self.record.runnable.add(call_id)
        await self.offer_handle(can_resume=False)
        self.called_s = self.now_s
        await self.send({"toolCall": {"functionCalls": calls}})
        if self.faults.repeat_calls:
            await self.send({"toolCall": {"functionCalls": calls}})
        behaviors = [self.behaviors.get(each.name, self.rules.behavior) for each in turn.calls]
        if "BLOCKING" in behaviors:
            await self.results.get()
            if not self.is_interrupted:
                following = self.script.next_turn()
                if following.text:
                    await self.speak(following.text)

    def usage(self, said_ms: float) -> JSON:
        """Tokens of a turn, from what was heard and said."""
        audio, said = int(self.detector.position_ms / 40), int(said_ms / 40)
        return {
            "promptTokenCount": 200 + audio,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 200},
                {"modality": "AUDIO", "tokenCount": audio},
            ],
            "responseTokenCount": said,
            "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": said}],
            "totalTokenCount": 200 + audio + said,
        }
