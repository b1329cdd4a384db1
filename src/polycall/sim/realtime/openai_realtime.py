"""OpenAI Realtime as its server is: one response at a time, and strict about its fields."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from polycall.sim.realtime.record import JSON, object_at, objects_at
from polycall.sim.realtime.script import GENERATION_SPEED, MS_PER_CHARACTER
from polycall.sim.realtime.session import VoiceSession
from polycall.sim.realtime.sound import SoundFormat, decoded, encoded
from polycall.sim.script import Call, Turn
from polycall.sim.shape_files import ShapeFile

_PIECE_MS = 200.0
_SHAPES = ShapeFile("realtime")
_SESSION_FIELDS = _SHAPES.names("openai_session")
_AUDIO_FIELDS = {side: _SHAPES.names(f"openai_{side}") for side in ("input", "output")}
_RESPONSE_FIELDS = _SHAPES.names("openai_response")


class _RefusedError(Exception):
    """A client event that the vendor refuses."""

    def __init__(self, message: str, *, code: str = "invalid_value", param: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.param = param


class OpenAIRealtimeSession(VoiceSession):
    """One connection."""

    async def opened(self) -> None:
        self.items: dict[str, JSON] = {}
        self.last_item: str | None = None
        self.audio_items: dict[str, float] = {}
        self.calls: set[str] = set()
        self.answered: set[str] = set()
        self.restored: set[str] = set()
        self.tools: list[JSON] = []
        self.response: str = ""
        self.cancel_reason = ""
        self.done = asyncio.Event()
        self.done.set()
        self.wants_transcript = False
        self.creates = self.interrupts = True
        self.voice_is_fixed = False
        self.speech_item = ""
        session: JSON = {"type": "realtime", "model": self.model}
        await self.event("session.created", session=session)

    async def expire(self) -> None:
        await self.error("Your session hit the maximum duration of 60 minutes.", "session_expired")
        await self.link.close(1001, "session expired")

    async def event(self, kind: str, **fields: Any) -> None:
        """Send an event."""
        await self.send({"type": kind, "event_id": self.new_id("event"), **fields})
        if self.faults.unknown_frames and self.faults.random.random() < 0.05:
            await self.send({"type": "session.weather", "event_id": self.new_id("event")})

    async def error(
        self, message: str, code: str, *, event_id: str | None = None, param: str | None = None
    ) -> None:
        """Send an error."""
        self.record.refusals.append(f"{code}: {message}")
        error: JSON = {"type": "invalid_request_error", "code": code, "message": message}
        await self.event("error", error={**error, "param": param, "event_id": event_id})

    async def handle(self, body: JSON) -> None:
        event_id = body.get("event_id")
        handlers: dict[str, Callable[[JSON], Awaitable[None]]] = {
            "session.update": self.update,
            "input_audio_buffer.append": self.append,
            "input_audio_buffer.commit": self.commit,
            "input_audio_buffer.clear": self.clear,
            "conversation.item.create": self.create_item,
            "conversation.item.delete": self.delete_item,
            "conversation.item.truncate": self.truncate,
            "conversation.item.retrieve": self.retrieve,
            "response.create": self.create_response,
            "response.cancel": self.cancel_response,
        }
        handler = handlers.get(str(body.get("type")))
        try:
            await (handler or self.unknown)(body)
        except _RefusedError as error:
            hidden = self.faults.null_event_ids
            named = None if hidden else event_id
            await self.error(str(error), error.code, event_id=named, param=error.param or None)

    async def unknown(self, body: JSON) -> None:
        raise _RefusedError(f"Invalid value: '{body.get('type')}'.", param="type")

    async def update(self, body: JSON) -> None:
        session = object_at(body, "session")
        if session.get("type") != "realtime":
            raise _RefusedError("Missing required parameter: 'session.type'.", param="session.type")
        for field in session:
            if field not in _SESSION_FIELDS:
                raise _unknown(f"session.{field}")
        if "model" in session and session["model"] != self.model:
            raise _RefusedError("Cannot update a conversation's model.", param="session.model")
        audio = object_at(session, "audio")
        for side, settings in audio.items():
            for field in settings:
                if field not in _AUDIO_FIELDS.get(side, frozenset()):
                    raise _unknown(f"session.audio.{side}.{field}")
            if settings.get("format"):
                self._format(side, settings["format"])
        sent = object_at(audio, "input")
        if "transcription" in sent:
            self.wants_transcript = sent["transcription"] is not None
        if "turn_detection" in sent:
            detection = object_at(sent, "turn_detection")
            self.creates = bool(detection) and detection.get("create_response", True)
            self.interrupts = bool(detection) and detection.get("interrupt_response", True)
        tools = objects_at(session, "tools")
        for place, tool in enumerate(tools):
            if "strict" in tool:
                raise _unknown(f"session.tools[{place}].strict")
        if "tools" in session:
            self.tools = tools
        await self.event("session.updated", session={"model": self.model, **session})

    def _format(self, side: str, wanted: JSON) -> None:
        kind, rate = wanted.get("type"), wanted.get("rate", 24000)
        if kind == "audio/pcm" and rate != 24000:
            raise _RefusedError(f"Invalid value: {rate}. Supported: 24000.", param="format.rate")
        if kind not in ("audio/pcm", "audio/pcmu", "audio/pcma"):
            raise _RefusedError(f"Invalid value: '{kind}'.", param="format.type")
        made = SoundFormat(str(kind), 24000 if kind == "audio/pcm" else 8000)
        if side == "input":
            self.input = made
        else:
            self.output = made

    async def append(self, body: JSON) -> None:
        data = decoded(body.get("audio"))
        if data is None:
            raise _RefusedError("Invalid 'audio'. Expected base64.", param="audio")
        match self.detector.feed(self.input, data):
            case "start":
                self.speech_item = self.new_id("item")
                at_ms = int(self.detector.position_ms)
                self.record.speech.append((self.now_s, True))
                await self.event(
                    "input_audio_buffer.speech_started",
                    audio_start_ms=at_ms,
                    item_id=self.speech_item,
                )
                if self.response and self.interrupts:
                    self.cancel_reason = "turn_detected"
            case "stop":
                at_ms = int(self.detector.position_ms)
                item_id = self.speech_item
                self.record.speech.append((self.now_s, False))
                await self.event(
                    "input_audio_buffer.speech_stopped", audio_end_ms=at_ms, item_id=item_id
                )
                await self.heard(item_id)
            case _:
                pass

    async def commit(self, body: JSON) -> None:
        if self.detector.position_ms < 100:
            raise _RefusedError("buffer too small", code="input_audio_buffer_commit_empty")
        await self.heard(self.new_id("item"))

    async def clear(self, body: JSON) -> None:
        await self.event("input_audio_buffer.cleared")

    async def heard(self, item_id: str) -> None:
        """The caller's turn is over: an item, its text a little later, and perhaps a response."""
        previous = self.last_item
        await self.event("input_audio_buffer.committed", item_id=item_id, previous_item_id=previous)
        content = [{"type": "input_audio", "transcript": None}]
        item: JSON = {"id": item_id, "type": "message", "role": "user", "content": content}
        await self.add_item({**item, "object": "realtime.item", "status": "completed"})
        if self.wants_transcript:
            self.start(self.transcribe(item_id, self.script.next_heard()))
        if self.creates:
            self.start(self.respond({}, by_client=False))

    async def transcribe(self, item_id: str, text: str) -> None:
        await self.sleep(150)
        place: JSON = {"item_id": item_id, "content_index": 0}
        kind = "conversation.item.input_audio_transcription"
        await self.event(f"{kind}.delta", **place, delta=text)
        usage = {"type": "duration", "seconds": round(self.detector.position_ms / 1000, 1)}
        self.record.usage.append((self.number, {"transcription": usage}))
        await self.event(f"{kind}.completed", **place, transcript=text, usage=usage)

    async def add_item(self, item: JSON, *, is_done: bool = True) -> None:
        previous, self.last_item = self.last_item, item["id"]
        self.items[item["id"]] = item
        fields: JSON = {"previous_item_id": previous, "item": item}
        await self.event("conversation.item.added", **fields)
        if is_done:
            await self.event("conversation.item.done", **fields)

    async def create_item(self, body: JSON) -> None:
        given = object_at(body, "item")
        if not given:
            raise _RefusedError("Missing required parameter: 'item'.", param="item")
        item: JSON = {"id": self.new_id("item"), "object": "realtime.item", **given}
        match item.get("type"):
            case "function_call":
                self.calls.add(item["call_id"])
                self.restored.add(item["call_id"])
            case "function_call_output":
                call_id = item.get("call_id")
                if call_id not in self.calls:
                    raise _RefusedError(f"No tool call found with call_id '{call_id}'.")
                if call_id in self.answered:
                    raise _RefusedError(f"Tool call '{call_id}' has an output already.")
                if not isinstance(item.get("output"), str):
                    raise _RefusedError("Invalid type: expected a string.", param="item.output")
                self.answered.add(str(call_id))
                kept = self.record.restored if call_id in self.restored else self.record.answers
                kept.append(str(call_id))
            case "message":
                for part in objects_at(item, "content"):
                    kinds = ("output_text",) if item["role"] == "assistant" else ("input_text",)
                    if part.get("type") not in (*kinds, "input_audio", "input_image"):
                        kind = part.get("type")
                        raise _RefusedError(f"Invalid value: '{kind}'.", param="item.content")
            case other:
                raise _RefusedError(f"Invalid value: '{other}'.", param="item.type")
        await self.add_item({**item, "status": "completed"})

    async def delete_item(self, body: JSON) -> None:
        item_id = str(body.get("item_id"))
        if item_id not in self.items:
            raise _RefusedError(f"Item with id '{item_id}' not found.", code="item_not_found")
        del self.items[item_id]
        self.record.deletions.append(item_id)
        await self.event("conversation.item.deleted", item_id=item_id)

    async def retrieve(self, body: JSON) -> None:
        item_id = str(body.get("item_id"))
        if item_id not in self.items:
            raise _RefusedError(f"Item with id '{item_id}' not found.", code="item_not_found")
        await self.event("conversation.item.retrieved", item=self.items[item_id])

    async def truncate(self, body: JSON) -> None:
        item_id, end_ms = str(body.get("item_id")), body.get("audio_end_ms")
        if item_id not in self.audio_items:
            raise _RefusedError("Only model output audio messages can be truncated.")
        length = self.audio_items[item_id]
        if not isinstance(end_ms, int) or end_ms < 0 or body.get("content_index") != 0:
            raise _RefusedError("Invalid value.", param="audio_end_ms")
        if end_ms > length:
            words = f"Audio content of {int(length)}ms is already shorter than {end_ms}ms"
            raise _RefusedError(words)
        self.record.truncations.append((item_id, end_ms))
        place: JSON = {"item_id": item_id, "content_index": 0, "audio_end_ms": end_ms}
        await self.event("conversation.item.truncated", **place)

    async def create_response(self, body: JSON) -> None:
        asked = object_at(body, "response")
        for field in asked:
            if field not in _RESPONSE_FIELDS:
                raise _unknown(f"response.{field}")
        self.record.requests.append(self.now_s)
        if self.response:
            raise _RefusedError(
                f"Conversation already has an active response in progress: {self.response}. "
                "Wait until the response is finished before creating a new one.",
                code="conversation_already_has_active_response",
            )
        self._begin()
        self.start(self.respond(asked, by_client=True))

    async def cancel_response(self, body: JSON) -> None:
        if not self.response:
            words = "Cancellation failed: no active response found"
            raise _RefusedError(words, code="response_cancel_not_active")
        self.cancel_reason = "client_cancelled"

    def _begin(self) -> None:
        self.response, self.cancel_reason = self.new_id("resp"), ""
        self.done.clear()
        self.record.active_most = max(self.record.active_most, 1)

    async def respond(self, asked: JSON, *, by_client: bool) -> None:
        """One response from its first event to its last."""
        if not by_client:
            while self.response:
                await self.done.wait()
            self._begin()
        await self.sleep(120)
        turn = self.script.next_turn()
        metadata = asked.get("metadata")
        head: JSON = {"id": self.response, "object": "realtime.response", "metadata": metadata}
        if not (self.faults.without_created and self.cancel_reason):
            await self.event("response.created", response={**head, "status": "in_progress"})
        said_ms = 0.0
        output: list[JSON] = []
        if turn.text and not self.cancel_reason:
            item, said_ms = await self.speak(turn.text)
            output.append(item)
        for call in turn.calls:
            if self.cancel_reason:
                break
            output.append(await self.call(call))
        status, details = "completed", None
        if self.cancel_reason:
            status, details = "cancelled", {"type": "cancelled", "reason": self.cancel_reason}
        elif turn.finish == "length" or (turn.calls and self.faults.incomplete_calls):
            status, details = "incomplete", {"type": "incomplete", "reason": "max_output_tokens"}
        elif turn.error is not None:
            code = turn.error.message or "server_error"
            details = {"type": "failed", "error": {"type": "server_error", "code": code}}
            status = "failed"
        if status == "completed":
            self._runnable(turn, output)
        else:
            self.faults.incomplete_calls = False
        usage = self.usage(turn, said_ms)
        self.record.usage.append((self.number, usage))
        done: JSON = {**head, "status": status, "status_details": details, "output": output}
        # What comes next may begin only when this has been said.
        await self.event("response.done", response={**done, "usage": usage})
        self.response = ""
        self.done.set()

    def _runnable(self, turn: Turn, output: list[JSON]) -> None:
        for item in output:
            if item["type"] == "function_call" and item["status"] == "completed":
                self.record.runnable.add(item["call_id"])

    async def speak(self, text: str) -> tuple[JSON, float]:
        """An item of sound and its text, faster than it is spoken."""
        item_id, reply = self.new_id("item"), self.response
        item: JSON = {"id": item_id, "type": "message", "role": "assistant", "content": []}
        item = {**item, "object": "realtime.item", "status": "in_progress"}
        place: JSON = {"response_id": reply, "item_id": item_id, "output_index": 0}
        part = {**place, "content_index": 0}
        await self.event("response.output_item.added", response_id=reply, output_index=0, item=item)
        await self.add_item(item, is_done=False)
        empty = {"type": "audio", "transcript": ""}
        await self.event("response.content_part.added", **part, part=empty)
        whole_ms = len(text) * MS_PER_CHARACTER
        made_ms = 0.0
        self.audio_items[item_id] = 0.0
        said = ""
        self.record.texts[item_id] = text
        while made_ms < whole_ms and not self.cancel_reason:
            ms = min(_PIECE_MS, whole_ms - made_ms)
            made_ms += ms
            piece = text[len(said) : round(len(text) * made_ms / whole_ms)]
            said += piece
            self.audio_items[item_id] = self.record.lengths[item_id] = made_ms
            if piece:
                await self.event("response.output_audio_transcript.delta", **part, delta=piece)
            sound = encoded(self.output.tone(ms))
            await self.event("response.output_audio.delta", **part, delta=sound)
            await self.sleep(ms / GENERATION_SPEED)
        self.record.spoken.append(said)
        await self.event("response.output_audio.done", **part)
        await self.event("response.output_audio_transcript.done", **part, transcript=said)
        done = {"type": "audio", "transcript": said}
        await self.event("response.content_part.done", **part, part=done)
        status = "incomplete" if self.cancel_reason else "completed"
        content = [{"type": "output_audio", "transcript": said}]
        item = {**item, "status": status, "content": content}
        del place["item_id"]
        await self.event("response.output_item.done", **place, item=item)
        return item, made_ms

    async def call(self, call: Call) -> JSON:
        """An item of a call; whole unless the response is cancelled meanwhile."""
        item_id, call_id = self.new_id("item"), call.id or self.new_id("call")
        item: JSON = {"id": item_id, "type": "function_call", "call_id": call_id}
        item = {**item, "name": call.name, "arguments": "", "object": "realtime.item"}
        place: JSON = {"response_id": self.response, "output_index": 1}
        self.record.issued.append((call_id, call.name))
        await self.event(
            "response.output_item.added", **place, item={**item, "status": "in_progress"}
        )
        await self.add_item({**item, "status": "in_progress"}, is_done=False)
        await self.sleep(40)
        text = call.arguments_json
        part: JSON = {**place, "item_id": item_id, "call_id": call_id}
        if self.cancel_reason:
            text = text[: len(text) // 2]
        await self.event("response.function_call_arguments.delta", **part, delta=text)
        await self.event(
            "response.function_call_arguments.done", **part, name=call.name, arguments=text
        )
        cut = bool(self.cancel_reason) or self.faults.incomplete_calls
        item = {**item, "arguments": text, "status": "incomplete" if cut else "completed"}
        if not cut:
            self.calls.add(call_id)
        await self.event("response.output_item.done", **place, item=item)
        if self.faults.repeat_calls and not cut:
            await self.event("response.output_item.done", **place, item=item)
        return item

    def usage(self, turn: Turn, said_ms: float) -> JSON:
        """Tokens of a response, from what was heard and said."""
        audio = int(self.detector.position_ms / 100)
        text = 100 + 20 * len(self.items)
        cached = {"text_tokens": text // 2, "audio_tokens": audio // 2, "image_tokens": 0}
        sent: JSON = {"text_tokens": text, "audio_tokens": audio, "image_tokens": 0}
        sent |= {"cached_tokens": text // 2 + audio // 2, "cached_tokens_details": cached}
        given: JSON = {"text_tokens": len(turn.text) // 4, "audio_tokens": int(said_ms / 50)}
        input_tokens, output_tokens = text + audio, given["text_tokens"] + given["audio_tokens"]
        return {
            "total_tokens": input_tokens + output_tokens,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "input_token_details": sent,
            "output_token_details": given,
        }


def _unknown(param: str) -> _RefusedError:
    return _RefusedError(f"Unknown parameter: '{param}'.", code="unknown_parameter", param=param)
