"""Gemini Live: turns, and a server that speaks by itself.

It names no items, so the codec counts them: `heard_C_N` and `said_C_N` are
those of the N-th turn of the C-th connection.
Sources: google-genai 3.6.1 `types.py`, `live.py`; ai.google.dev/gemini-api/docs/live-api (read
2026-11-29).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from polycall._support import jsontext
from polycall.ir import JSON, Message, ToolCall, ToolResult
from polycall.voices.codecs.common import (
    as_base64,
    count_of,
    load,
    object_of,
    objects_of,
    sound_of,
    spoken,
    text_of,
)
from polycall.voices.protocol import (
    AddText,
    AudioDelta,
    CallReady,
    CallsCancelled,
    CancelReply,
    CloseSession,
    Command,
    Comment,
    CreateReply,
    DeleteItem,
    GoingAway,
    HeardText,
    ItemPlaced,
    OfferedTool,
    OpenSession,
    Ready,
    Reconfigure,
    ReplyDone,
    ReplyStarted,
    ResumeHandle,
    SaidText,
    SendAudio,
    SendResult,
    Signal,
    SpeechStarted,
    SpeechStopped,
    Truncate,
    TurnInterrupted,
    UnknownFrame,
    UsageReport,
)
from polycall.voices.usage import VoiceUsage

_SCHEDULES = {"when_idle": "WHEN_IDLE", "silent": "SILENT", "interrupt": "INTERRUPT"}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)s")
_REQUIRED = "Speak to the caller now. "


class GeminiLiveCodec:
    """Frames of one connection.

    `declares_background`: tools may be declared non-blocking.  `schedules`: a result may say when
    it is spoken about.
    """

    def __init__(self, *, declares_background: bool, schedules: bool, connection: int = 1) -> None:
        self._declares_background = declares_background
        self._schedules = schedules
        self._connection = connection
        self._turn = 1
        self._is_replying = False
        self._is_interrupted = False
        self._said = ""
        self._nameless: set[str] = set()

    def decode(self, frame: str | bytes) -> list[Signal]:
        body = load(frame)
        if body is None:
            return [UnknownFrame("no JSON object")]
        signals: list[Signal] = []
        known = 0
        for key, value in body.items():
            read = self._read(key, value)
            if read is not None:
                known += 1
                signals += read
        if not known:
            return [UnknownFrame(", ".join(body) or "empty")]
        return signals

    def _read(self, key: str, value: Any) -> list[Signal] | None:
        if not isinstance(value, dict):
            return None
        part: JSON = value  # pyright: ignore[reportUnknownVariableType]
        match key:
            case "setupComplete":
                return [Ready(text_of(part, "sessionId"))]
            case "serverContent":
                return self._content(part)
            case "toolCall":
                calls = [self._call(each) for each in objects_of(part, "functionCalls")]
                started = self._started()
                return [*started, *(CallReady(call, self._reply_id) for call in calls)]
            case "toolCallCancellation":
                ids: list[Any] = part.get("ids") or []
                return [CallsCancelled([each for each in ids if isinstance(each, str)])]
            case "usageMetadata":
                return [UsageReport(_usage(part))]
            case "goAway":
                found = _DURATION.fullmatch(text_of(part, "timeLeft"))
                return [GoingAway(float(found[1]) if found else 0.0)]
            case "sessionResumptionUpdate":
                can_resume = part.get("resumable") is True
                return [ResumeHandle(text_of(part, "newHandle") if can_resume else "")]
            case "voiceActivity":
                return _activity(part)
            case _:
                return None

    @property
    def _reply_id(self) -> str:
        return f"turn_{self._place}"

    @property
    def _place(self) -> str:
        return f"{self._connection}_{self._turn}"

    def _started(self) -> list[Signal]:
        if self._is_replying:
            return []
        self._is_replying = True
        return [ItemPlaced(f"heard_{self._place}"), ReplyStarted(self._reply_id)]

    def _content(self, content: JSON) -> list[Signal]:
        signals: list[Signal] = []
        said = f"said_{self._place}"
        # Words that interrupt a turn begin the next one.
        heard = f"heard_{self._connection}_{self._turn + self._is_interrupted}"
        if written := text_of(object_of(content, "inputTranscription"), "text"):
            signals.append(HeardText(heard, written))
        for part in objects_of(object_of(content, "modelTurn"), "parts"):
            signals += self._started()
            inline = object_of(part, "inlineData")
            if inline and text_of(inline, "mimeType").startswith("audio/"):
                data = sound_of(inline.get("data"))
                sound = UnknownFrame("inlineData") if data is None else None
                signals.append(sound or AudioDelta(said, data or b"", self._reply_id))
        if written := text_of(object_of(content, "outputTranscription"), "text"):
            signals += self._started()
            self._said += written
            signals.append(SaidText(said, written, reply_id=self._reply_id))
        if content.get("interrupted") is True:
            self._is_interrupted = True
            signals.append(TurnInterrupted())
        if content.get("turnComplete") is True:
            signals += self._complete(text_of(content, "turnCompleteReason"))
        return signals

    def _complete(self, reason: str) -> list[Signal]:
        signals: list[Signal] = [*self._started()]
        signals.append(HeardText(f"heard_{self._place}", "", is_final=True))
        if self._said:
            said = SaidText(f"said_{self._place}", self._said, True, self._reply_id)
            signals.append(said)
        failed = reason not in ("", "NEED_MORE_INPUT", "TURN_COMPLETE_REASON_UNSPECIFIED")
        status = "cancelled" if self._is_interrupted else "failed" if failed else "completed"
        signals.append(ReplyDone(self._reply_id, status, reason))
        self._turn += 1
        self._is_replying = self._is_interrupted = False
        self._said = ""
        return signals

    def encode(self, command: Command) -> list[str]:
        return [jsontext.encode(body) for body in self._bodies(command)]

    def _bodies(self, command: Command) -> list[JSON]:
        match command:
            case OpenSession():
                return self._setup(command)
            case SendAudio(data):
                sound = {"data": as_base64(data), "mimeType": "audio/pcm;rate=16000"}
                return [{"realtimeInput": {"audio": sound}}]
            case SendResult():
                return [{"toolResponse": {"functionResponses": [self._result(command)]}}]
            case CreateReply(_, instructions):
                # There is no word for it: a text makes it speak.
                return [_turns([_turn("user", _REQUIRED + instructions)], is_complete=True)]
            case AddText(text, _, speaks):
                return [_turns([_turn("user", text)], is_complete=speaks)]
            case Comment(text, _, is_silent):
                return [_turns([_turn("user", text)], is_complete=not is_silent)]
            case Reconfigure(instructions, tools):
                update: JSON = {"systemInstruction": _turn("user", instructions)}
                declared = [self._declared(each) for each in tools]
                update["tools"] = {"tools": [{"functionDeclarations": declared}]}
                return [{"contextUpdate": update}]
            case CancelReply() | Truncate() | DeleteItem() | CloseSession():
                return []

    def _call(self, each: JSON) -> ToolCall:
        call_id, arguments = text_of(each, "id"), jsontext.encode(object_of(each, "args"))
        if not call_id:  # its type lets them be left out: then the name alone says which it is
            call_id = f"call_{self._place}_{len(self._nameless) + 1}"
            self._nameless.add(call_id)
        return ToolCall(call_id, text_of(each, "name"), arguments)

    def _setup(self, command: OpenSession) -> list[JSON]:
        generation: JSON = {"responseModalities": ["AUDIO"]}
        if command.speaker:
            prebuilt = {"prebuiltVoiceConfig": {"voiceName": command.speaker}}
            generation["speechConfig"] = {"voiceConfig": prebuilt}
        setup: JSON = {
            "model": command.model if "/" in command.model else f"models/{command.model}",
            "generationConfig": generation,
            "inputAudioTranscription": {},
            "outputAudioTranscription": {},
            "sessionResumption": {"handle": command.handle} if command.handle else {},
            "contextWindowCompression": {"slidingWindow": {}},
        }
        if command.instructions:
            setup["systemInstruction"] = _turn("user", command.instructions)
        if command.tools:
            declared = [self._declared(each) for each in command.tools]
            setup["tools"] = [{"functionDeclarations": declared}]
        # With a handle the server knows what was said.
        turns = [] if command.handle else _history_turns(command.history)
        if not turns:
            return [{"setup": setup}]
        setup["historyConfig"] = {"initialHistoryInClientContent": True}
        return [{"setup": setup}, _turns(turns, is_complete=True)]

    def _declared(self, each: OfferedTool) -> JSON:
        declared: JSON = {"name": each.name, "description": each.description}
        declared["parametersJsonSchema"] = each.parameters
        if self._declares_background:
            declared["behavior"] = "NON_BLOCKING"
        return declared

    def _result(self, command: SendResult) -> JSON:
        key = "error" if command.is_error else "output"
        result: JSON = {"id": command.call_id, "name": command.name}
        if command.call_id in self._nameless:
            del result["id"]
        result["response"] = {key: command.output}
        if self._schedules:
            result["scheduling"] = _SCHEDULES[command.schedule or "when_idle"]
            result["willContinue"] = command.will_continue
        return result


def _activity(part: JSON) -> list[Signal]:
    found = _DURATION.fullmatch(text_of(part, "audioOffset"))
    offset_ms = 1000 * float(found[1]) if found else 0.0
    match text_of(part, "voiceActivityType"):
        case "ACTIVITY_START":
            return [SpeechStarted(offset_ms)]
        case "ACTIVITY_END":
            return [SpeechStopped(offset_ms)]
        case other:
            return [UnknownFrame(f"voiceActivity {other}")]


def _usage(usage: JSON) -> VoiceUsage:
    sent = _by_kind(usage, "promptTokensDetails")
    for kind, count in _by_kind(usage, "toolUsePromptTokensDetails").items():
        sent[kind] = sent.get(kind, 0) + count
    cached, given = _by_kind(usage, "cacheTokensDetails"), _by_kind(usage, "responseTokensDetails")
    audio, said = sent.get("AUDIO", 0), given.get("AUDIO", 0)
    image = sent.get("IMAGE", 0) + sent.get("VIDEO", 0)
    total = count_of(usage, "promptTokenCount") + count_of(usage, "toolUsePromptTokenCount")
    thoughts = count_of(usage, "thoughtsTokenCount")
    cached_audio = cached.get("AUDIO", 0)
    cached_image = cached.get("IMAGE", 0) + cached.get("VIDEO", 0)
    cached_total = count_of(usage, "cachedContentTokenCount")
    # Thoughts are billed as text that was given, and are not in the count of the response.
    return VoiceUsage(
        text_tokens=max(total - audio - image, 0),
        audio_tokens=audio,
        image_tokens=image,
        cached_text_tokens=max(cached_total - cached_audio - cached_image, 0),
        cached_audio_tokens=cached_audio,
        cached_image_tokens=cached_image,
        output_text_tokens=max(count_of(usage, "responseTokenCount") - said, 0) + thoughts,
        output_audio_tokens=said,
        reasoning_tokens=thoughts,
    )


def _by_kind(usage: JSON, key: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in objects_of(usage, key):
        kind = text_of(each, "modality")
        found[kind] = found.get(kind, 0) + count_of(each, "tokenCount")
    return found


def _turn(role: str, text: str) -> JSON:
    return {"role": role, "parts": [{"text": text}]}


def _turns(turns: list[JSON], *, is_complete: bool) -> JSON:
    return {"clientContent": {"turns": turns, "turnComplete": is_complete}}


def _history_turns(messages: Sequence[Message]) -> list[JSON]:
    """The earlier conversation as texts; calls with their results."""
    turns: list[JSON] = []
    for message in messages:
        role = "model" if message.role == "assistant" else "user"
        if message.role != "tool" and (text := spoken(message)):
            turns.append(_turn(role, text))
        for part in message.parts:
            if isinstance(part, ToolResult):
                turns.append(_turn("user", f"[{part.name or 'a tool'} gave: {part.text}]"))
    return turns
