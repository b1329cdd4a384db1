"""GPT-Live: full duplex, without turns; what is to be done is delegated to the application.

Texts come as fragments with times and without ends, so the codec counts utterances: one ends after
0.8 s without a fragment, or when the other side speaks.  Sources: openai 3.57.0 `types/live`;
developers.openai.com/api/docs/guides/live, live-delegation (read 2026-11-29).
"""

from __future__ import annotations

from collections.abc import Sequence

from polycall._support import jsontext
from polycall.ir import JSON, Message
from polycall.voices.audio import AudioFormat
from polycall.voices.codecs.common import (
    as_base64,
    load,
    number_of,
    object_of,
    sound_of,
    spoken,
    text_of,
)
from polycall.voices.protocol import (
    AddText,
    AudioDelta,
    CancelReply,
    CloseSession,
    Command,
    Comment,
    CreateReply,
    Delegated,
    DeleteItem,
    HeardText,
    OpenSession,
    Ready,
    Reconfigure,
    SaidText,
    SendAudio,
    SendResult,
    SessionClosed,
    Signal,
    Truncate,
    UnknownFrame,
    UsageReport,
    VendorError,
)
from polycall.voices.usage import VoiceUsage

GAP_MS = 800.0
# 500 tokens at most, and no tokenizer here: three bytes to a token is less than they have.
_CONTENT_SIZE_MAX = 1350
_FATAL = frozenset({"insufficient_quota", "invalid_api_key", "model_not_found", "unknown_model"})
_QUIET = frozenset(
    {
        "session.commentary.appended",
        "session.thinking.appended",
        "session.instructions.appended",
        "session.input_audio.muted",
        "session.input_audio.unmuted",
        "session.updated",
        "info",
    }
)


class GPTLiveCodec:
    """Frames of one connection."""

    def __init__(self, connection: int = 1) -> None:
        self._connection = connection
        self._format = AudioFormat()
        self._position_ms: float = 0.0
        self._count = 0
        self._speaker: str = ""
        self._item_id: str = ""
        self._ended_ms = 0.0

    def decode(self, frame: str | bytes) -> list[Signal]:
        body = load(frame)
        if body is None:
            return [UnknownFrame("no JSON object")]
        kind = text_of(body, "type")
        if kind in _QUIET:
            return []
        match kind:
            case "session.started":
                return [Ready(text_of(object_of(body, "session"), "id"))]
            case "session.output_audio.delta":
                data = sound_of(body.get("delta"))
                return [UnknownFrame(kind)] if data is None else self._sound(data)
            case "session.output_transcript.delta":
                return self._text("said", body)
            case "session.input_transcript.delta":
                return self._text("heard", body)
            case "session.delegation.created":
                given = object_of(body, "delegation")
                if text_of(given, "target") != "client":
                    return [UnknownFrame(f"{kind} to {text_of(given, 'target')}")]
                return [Delegated(text_of(given, "id"), number_of(body, "offset_ms"))]
            case "session.usage.updated":
                return [UsageReport(_usage(object_of(body, "usage")), is_cumulative=True)]
            case "session.closed":
                usage = UsageReport(_usage(object_of(body, "usage")), is_cumulative=True)
                reason = text_of(body, "reason")
                can_renew = reason in ("expired", "connection_lost")
                return [*self._ended(), usage, SessionClosed(reason, can_renew)]
            case "error":
                error = object_of(body, "error")
                code = text_of(error, "code")
                event_id = text_of(error, "client_event_id")
                severity = "fatal" if code in _FATAL else ""
                return [VendorError(severity, code, text_of(error, "message"), event_id)]
            case _:
                return [UnknownFrame(kind)]

    def _sound(self, data: bytes) -> list[Signal]:
        """Sound is time: an utterance that nothing was added to has ended."""
        self._position_ms += self._format.ms(len(data))
        is_over = bool(self._item_id) and self._position_ms - self._ended_ms > GAP_MS
        return [*(self._ended() if is_over else []), AudioDelta("stream", data)]

    def _text(self, speaker: str, body: JSON) -> list[Signal]:
        start_ms, end_ms = number_of(body, "start_ms"), number_of(body, "end_ms")
        signals: list[Signal] = []
        if speaker != self._speaker or start_ms - self._ended_ms > GAP_MS:
            signals += self._ended()
            self._count += 1
            self._speaker, self._item_id = speaker, f"{speaker}_{self._connection}_{self._count}"
        self._ended_ms = end_ms
        text = text_of(body, "delta")
        if speaker == "heard":
            return [*signals, HeardText(self._item_id, text)]
        return [*signals, SaidText(self._item_id, text, start_ms=start_ms, end_ms=end_ms)]

    def _ended(self) -> list[Signal]:
        item_id, speaker = self._item_id, self._speaker
        self._item_id = self._speaker = ""
        match speaker:
            case "heard":
                return [HeardText(item_id, "", is_final=True)]
            case "said":
                return [SaidText(item_id, "", is_final=True)]
            case _:
                return []

    def encode(self, command: Command) -> list[str]:
        return [jsontext.encode(body) for body in self._bodies(command)]

    def _bodies(self, command: Command) -> list[JSON]:
        match command:
            case OpenSession():
                self._format = command.output_format
                return [{"type": "session.start", "session": _session(command)}]
            case SendAudio(data):
                return [{"type": "session.input_audio.append", "audio": as_base64(data)}]
            case Comment(text, delegation_id, is_silent):
                return _appended(text, delegation_id, "thinking" if is_silent else "commentary")
            case AddText(text, "system", False):
                return _appended(text, "", "thinking")
            case AddText(text):
                return _appended(text, "", "instructions")
            case CreateReply(_, instructions):
                return _appended(instructions, "", "instructions")
            case CloseSession():
                return [{"type": "session.close"}]
            case SendResult() | CancelReply() | Truncate() | DeleteItem() | Reconfigure():
                # Calls, turns and tools are the delegate's; none of them is here.
                return []


def _appended(text: str, delegation_id: str, channel: str) -> list[JSON]:
    """The text in pieces that are taken; each says which delegation it is for, or that none."""
    head: JSON = {"type": f"session.{channel}.append", "delegation_id": delegation_id or None}
    return [{**head, "content": piece} for piece in _pieces(text)]


def _pieces(text: str) -> list[str]:
    """The text in parts of a bounded size, cut behind words where there are some."""
    pieces: list[str] = []
    start = space = size = 0
    for place, character in enumerate(text):
        size += _size(character)
        if size > _CONTENT_SIZE_MAX:
            end = space if space > start else place
            pieces.append(text[start:end])
            start, size = end, sum(map(_size, text[end : place + 1]))
        if character.isspace():
            space = place + 1
    return [*pieces, text[start:]] if text else []


def _size(character: str) -> int:
    """Bytes; what lies outside of the usual planes, such as emoji, is several tokens."""
    return 1 if character < "\x80" else 3 if character <= "\uffff" else 9


def _session(command: OpenSession) -> JSON:
    if command.input_format != command.output_format:
        raise ValueError("this protocol has one format for both ways")
    audio: JSON = {"format": _format(command.input_format)}
    if command.speaker:
        audio["output"] = {"voice": command.speaker}
    session: JSON = {
        "model": command.model,
        "instructions": command.instructions,
        "audio": audio,
        "delegation": {"type": "client"},
    }
    if items := _items(command.history):
        session["input"] = items
    return session


def _format(sound: AudioFormat) -> JSON:
    kind = "pcm" if sound.encoding == "pcm16" else sound.encoding
    return {"type": f"audio/{kind}", "rate": sound.rate_hz}


def _items(messages: Sequence[Message]) -> list[JSON]:
    """The earlier conversation; the protocol has no calls."""
    items: list[JSON] = []
    for message in messages:
        text = spoken(message)
        if not text or message.role == "tool":
            continue
        role = "developer" if message.role == "system" else message.role
        kind = "output_text" if role == "assistant" else "input_text"
        content = [{"type": kind, "text": text}]
        items.append({"type": "message", "role": role, "content": content})
    return items


def _usage(usage: JSON) -> VoiceUsage:
    # Where only the whole is given, all of it is active.
    paused = number_of(usage, "paused_seconds")
    active = usage.get("active_seconds")
    whole = number_of(usage, "seconds") - paused
    seconds = float(active) if isinstance(active, int | float) else max(whole, 0.0)
    return VoiceUsage(active_s=seconds, paused_s=paused)
