"""OpenAI Realtime, and those who speak like it: turns, and replies that the client creates.

Sources: openai 3.57.0 `types/realtime`; developers.openai.com/api/docs/guides, page
realtime-conversations (read 2026-11-29).
"""

from __future__ import annotations

from collections.abc import Sequence

from polycall._support import jsontext
from polycall.ir import JSON, Message, ToolCall, ToolResult
from polycall.voices.audio import AudioFormat
from polycall.voices.codecs.common import (
    as_base64,
    count_of,
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
    CallDropped,
    CallReady,
    CancelReply,
    CloseSession,
    Command,
    Comment,
    CreateReply,
    DeleteItem,
    DigitPressed,
    HeardText,
    ItemPlaced,
    OfferedTool,
    OpenSession,
    Ready,
    Reconfigure,
    ReplyDone,
    ReplyStarted,
    ReplyStatus,
    ResultTaken,
    SaidText,
    SendAudio,
    SendResult,
    SessionClosed,
    Signal,
    SpeechStarted,
    SpeechStopped,
    Truncate,
    UnknownFrame,
    UsageReport,
    VendorError,
)
from polycall.voices.usage import VoiceUsage

# No session of the same account would do better.
_FATAL = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "invalid_api_key",
        "account_deactivated",
        "billing_hard_limit_reached",
        "model_not_found",
    }
)
_REQUEST_KEY = "polycall_request"
_TRANSCRIPTION = {"model": "gpt-transcribe"}
_STATUSES: dict[str, ReplyStatus] = {
    "completed": "completed",
    "cancelled": "cancelled",
    "failed": "failed",
    "incomplete": "incomplete",
}
# Frames that say nothing which the others do not say.
_QUIET = frozenset(
    {
        "conversation.item.done",
        "conversation.item.retrieved",
        "conversation.item.deleted",
        "conversation.item.truncated",
        "conversation.item.input_audio_transcription.segment",
        "input_audio_buffer.cleared",
        "input_audio_buffer.timeout_triggered",
        "response.output_item.added",
        "response.content_part.added",
        "response.content_part.done",
        "response.output_audio.done",
        "response.output_text.delta",
        "response.output_text.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "rate_limits.updated",
    }
)


class OpenAIRealtimeCodec:
    """Frames of one connection.

    `is_flat`: voice and turn detection stand in the session itself.
    """

    def __init__(self, *, is_flat: bool = False) -> None:
        self._is_flat = is_flat
        self._session_id = ""
        self._is_ready = False

    def decode(self, frame: str | bytes) -> list[Signal]:
        body = load(frame)
        if body is None:
            return [UnknownFrame("no JSON object")]
        kind = text_of(body, "type")
        if kind in _QUIET:
            return []
        if kind.startswith("response."):
            return _response_signals(kind, body)
        if kind.startswith("conversation."):
            return _conversation_signals(kind, body)
        item_id = text_of(body, "item_id")
        match kind:
            case "session.created":
                self._session_id = text_of(object_of(body, "session"), "id")
                return []
            case "session.updated":
                # The first says that what was asked of the session is taken.
                was_ready, self._is_ready = self._is_ready, True
                return [] if was_ready else [Ready(self._session_id)]
            case "input_audio_buffer.speech_started":
                return [SpeechStarted(number_of(body, "audio_start_ms"), item_id)]
            case "input_audio_buffer.speech_stopped":
                return [SpeechStopped(number_of(body, "audio_end_ms"), item_id)]
            case "input_audio_buffer.committed":
                return [ItemPlaced(item_id, text_of(body, "previous_item_id") or None)]
            case "input_audio_buffer.dtmf_event_received":
                return [DigitPressed(text_of(body, "event"))]
            case "error":
                return [_error(object_of(body, "error"))]
            case _:
                return [UnknownFrame(kind)]

    def encode(self, command: Command) -> list[str]:
        return [jsontext.encode(body) for body in self._bodies(command)]

    def _bodies(self, command: Command) -> list[JSON]:
        match command:
            case OpenSession():
                update: JSON = {"type": "session.update", "session": self._session(command)}
                return [update, *_history_items(command.history)]
            case SendAudio(data):
                return [{"type": "input_audio_buffer.append", "audio": as_base64(data)}]
            case SendResult(call_id, _, output):
                item = {"type": "function_call_output", "call_id": call_id, "output": output}
                return [_create_item(item)]
            case CreateReply(request_id, instructions):
                response: JSON = {"metadata": {_REQUEST_KEY: request_id}}
                if instructions:
                    response["instructions"] = instructions
                create: JSON = {"type": "response.create", "event_id": request_id}
                return [{**create, "response": response}]
            case CancelReply(reply_id):
                named = {"response_id": reply_id} if reply_id else {}
                return [{"type": "response.cancel", **named}]
            case Truncate(item_id, heard_ms):
                place: JSON = {"item_id": item_id, "content_index": 0, "audio_end_ms": heard_ms}
                return [{"type": "conversation.item.truncate", **place}]
            case DeleteItem(item_id):
                return [{"type": "conversation.item.delete", "item_id": item_id}]
            case AddText(text, role):
                return [_text_item(role, text)]
            case Reconfigure(instructions, tools):
                session: JSON = {"type": "realtime", "instructions": instructions}
                session["tools"] = [_tool(each) for each in tools]
                return [{"type": "session.update", "session": session}]
            case Comment(text):
                return [_text_item("system", text)]
            case CloseSession():
                return []

    def _session(self, command: OpenSession) -> JSON:
        detection = {"type": "server_vad", "create_response": True, "interrupt_response": True}
        sound_in: JSON = {"format": _format(command.input_format), "transcription": _TRANSCRIPTION}
        sound_out: JSON = {"format": _format(command.output_format)}
        session: JSON = {
            "type": "realtime",
            "instructions": command.instructions,
            "output_modalities": ["audio"],
            "audio": {"input": sound_in, "output": sound_out},
            "tools": [_tool(each) for each in command.tools],
            "tool_choice": "auto",
        }
        if self._is_flat:
            session["turn_detection"] = detection
            if command.speaker:
                session["voice"] = command.speaker
        else:
            sound_in["turn_detection"] = detection
            if command.speaker:
                sound_out["voice"] = command.speaker
        return session


def _response_signals(kind: str, body: JSON) -> list[Signal]:
    item_id, reply_id = text_of(body, "item_id"), text_of(body, "response_id")
    match kind:
        case "response.created":
            response = object_of(body, "response")
            asked = text_of(object_of(response, "metadata"), _REQUEST_KEY)
            return [ReplyStarted(text_of(response, "id"), asked)]
        case "response.output_audio.delta":
            data = sound_of(body.get("delta"))
            if data is None:
                return [UnknownFrame(kind)]
            return [AudioDelta(item_id, data, reply_id)]
        case "response.output_audio_transcript.delta":
            return [SaidText(item_id, text_of(body, "delta"), reply_id=reply_id)]
        case "response.output_audio_transcript.done":
            whole = text_of(body, "transcript")
            return [SaidText(item_id, whole, is_final=True, reply_id=reply_id)]
        case "response.output_item.done":
            return _item_signals(object_of(body, "item"), reply_id)
        case "response.done":
            return _done(object_of(body, "response"))
        case _:
            return [UnknownFrame(kind)]


def _item_signals(item: JSON, reply_id: str) -> list[Signal]:
    """A call may run only where its item says that it is complete."""
    if item.get("type") != "function_call":
        return []
    call_id, name, item_id = text_of(item, "call_id"), text_of(item, "name"), text_of(item, "id")
    status = text_of(item, "status")
    if status != "completed":
        return [CallDropped(call_id, name, status or "without a status")]
    call = ToolCall(call_id, name, text_of(item, "arguments"))
    return [CallReady(call, reply_id, item_id)]


def _conversation_signals(kind: str, body: JSON) -> list[Signal]:
    item_id = text_of(body, "item_id")
    match kind.removeprefix("conversation.item."):
        case "added" | "created":
            item = object_of(body, "item")
            if item.get("type") == "function_call_output":
                return [ResultTaken(text_of(item, "call_id"))]
            if item.get("type") != "message" or item.get("role") == "system":
                return []
            return [ItemPlaced(text_of(item, "id"), text_of(body, "previous_item_id") or None)]
        case "input_audio_transcription.delta":
            return [HeardText(item_id, text_of(body, "delta"))]
        case "input_audio_transcription.updated":
            return [HeardText(item_id, text_of(body, "transcript"), is_whole=True)]
        case "input_audio_transcription.completed":
            heard = HeardText(item_id, text_of(body, "transcript"), is_final=True)
            used = _transcription_usage(object_of(body, "usage"))
            return [heard] if used is None else [heard, UsageReport(used)]
        case "input_audio_transcription.failed":
            return [HeardText(item_id, "", is_final=True)]
        case _:
            return [UnknownFrame(kind)]


def _done(response: JSON) -> list[Signal]:
    details = object_of(response, "status_details")
    reason = text_of(details, "reason") or text_of(object_of(details, "error"), "code")
    status = _STATUSES.get(text_of(response, "status"), "failed")
    usage = response.get("usage")
    used = _usage(object_of(response, "usage")) if usage is not None else None
    done = ReplyDone(text_of(response, "id"), status, reason, used)
    if reason in _FATAL:
        return [done, VendorError("fatal", reason, f"the reply failed: {reason}")]
    return [done]


def _usage(usage: JSON) -> VoiceUsage:
    sent, given = object_of(usage, "input_token_details"), object_of(usage, "output_token_details")
    cached = object_of(sent, "cached_tokens_details")
    audio, image = count_of(sent, "audio_tokens"), count_of(sent, "image_tokens")
    said = count_of(given, "audio_tokens")
    cached_audio, cached_image = count_of(cached, "audio_tokens"), count_of(cached, "image_tokens")
    # The totals hold where a detail is missing; what has no kind is text.
    return VoiceUsage(
        text_tokens=max(count_of(usage, "input_tokens") - audio - image, 0),
        audio_tokens=audio,
        image_tokens=image,
        cached_text_tokens=max(count_of(sent, "cached_tokens") - cached_audio - cached_image, 0),
        cached_audio_tokens=cached_audio,
        cached_image_tokens=cached_image,
        output_text_tokens=max(count_of(usage, "output_tokens") - said, 0),
        output_audio_tokens=said,
    )


def _transcription_usage(usage: JSON) -> VoiceUsage | None:
    match usage.get("type"):
        case "duration":
            return VoiceUsage(transcription_s=number_of(usage, "seconds"))
        case "tokens":
            return VoiceUsage(
                transcription_input_tokens=count_of(usage, "input_tokens"),
                transcription_output_tokens=count_of(usage, "output_tokens"),
            )
        case _:
            return None


def _error(error: JSON) -> Signal:
    code, message = text_of(error, "code"), text_of(error, "message")
    event_id = text_of(error, "event_id")
    if code == "session_expired":
        return SessionClosed(code, can_renew=True)
    if code == "conversation_already_has_active_response":
        return VendorError("reply_active", code, message, event_id)
    if code in _FATAL or text_of(error, "type") in _FATAL:
        return VendorError("fatal", code or text_of(error, "type"), message, event_id)
    if code == "response_cancel_not_active" or message.startswith("Cancellation failed"):
        return VendorError("nothing_active", code, message, event_id)
    if "already shorter than" in message:
        return VendorError("truncation", code, message, event_id)
    return VendorError("", code, message, event_id)


def _tool(each: OfferedTool) -> JSON:
    # There is no `strict` here.
    made: JSON = {"type": "function", "name": each.name, "description": each.description}
    return {**made, "parameters": each.parameters}


def _format(sound: AudioFormat) -> JSON:
    match sound.encoding:
        case "pcm16":
            return {"type": "audio/pcm", "rate": sound.rate_hz}
        case encoding:
            return {"type": f"audio/{encoding}"}


def _create_item(item: JSON) -> JSON:
    return {"type": "conversation.item.create", "item": item}


def _text_item(role: str, text: str) -> JSON:
    kind = "output_text" if role == "assistant" else "input_text"
    content = [{"type": kind, "text": text}]
    return _create_item({"type": "message", "role": role, "content": content})


def _history_items(messages: Sequence[Message]) -> list[JSON]:
    """The earlier conversation as items; calls with their results, and none without."""
    answered = {
        part.call_id
        for message in messages
        for part in message.parts
        if isinstance(part, ToolResult)
    }
    items: list[JSON] = []
    for message in messages:
        text = spoken(message)
        if message.role != "tool" and text:
            items.append(_text_item(message.role, text))
        for part in message.parts:
            match part:
                case ToolCall(id=call_id) if call_id in answered:
                    call: JSON = {"type": "function_call", "call_id": call_id, "name": part.name}
                    items.append(_create_item({**call, "arguments": part.arguments_json}))
                case ToolResult(call_id=call_id):
                    output = {"call_id": call_id, "output": part.text}
                    items.append(_create_item({"type": "function_call_output", **output}))
                case _:
                    pass
    return items
