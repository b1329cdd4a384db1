"""Answers from the wire, streamed or whole: a whole body is a stream of one payload.

What makes a part: neighbouring texts of one kind (visible or thought) are one part, however they
were cut.  A text that carries anything else, a signature above all, is a part of its own, even an
empty one: Google wants a signature back exactly where it arrived, and its text unmerged.  An
empty text that carries nothing is not a part.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from polycall import ir
from polycall._support import jsontext
from polycall.dialects.gemini.content import NAME, beside_of, one_or_many, parse_call, parse_part
from polycall.dialects.gemini.errors import parse_error
from polycall.dialects.gemini.key_case import camel_keys, structural
from polycall.dialects.gemini.partial_arguments import PartialArguments
from polycall.dialects.gemini.usage import FINISH_BY_REASON, finish_of, parse_usage, reason_name
from polycall.errors import ProtocolError, TruncatedError
from polycall.fold import fold
from polycall.ir import JSON
from polycall.translation.growing import grow_text, settled
from polycall.translation.sse import Frame
from polycall.translation.stream import EventWriter, Payload, StreamDecoderBase
from polycall.translation.times import read_time
from polycall.translation.wire import response_reader as reader
from polycall.translation.wire import short_hash

_PAYLOAD_FIELDS = frozenset(
    {"candidates", "promptFeedback", "usageMetadata", "modelVersion", "responseId"}
)
_READ_FIELDS = _PAYLOAD_FIELDS | {"error"}


def parse_response(body: JSON) -> ir.Response:
    """A whole answer; an error that was sent with status 200 is raised."""
    answer = _Answer(EventWriter())
    answer.take_whole(reader.object(body, ""))
    return fold(answer.out.take())


class StreamDecoder(StreamDecoderBase):
    """SSE frames or the elements of a JSON array in, events out.

    Every chunk may name a finish reason; the last one counts, and only the end of the bytes ends
    the answer.  Without any finish reason the answer was cut, unless the prompt was blocked.
    """

    def __init__(self) -> None:
        super().__init__()
        self._answer = _Answer(self.out)

    def usage_so_far(self) -> ir.Usage:
        """Each chunk counts from the start of the answer."""
        return self._answer.read_usage()

    def _take(self, frame: Frame) -> None:
        if self._answer.take_plain(frame.data):
            return
        # Google's own SDK reads line by line: for it, each data line is a chunk.
        if "\n" in frame.data and not _is_json(frame.data):
            for line in frame.data.split("\n"):
                super()._take(Frame(frame.event, line))
        else:
            super()._take(frame)

    def on_payload(self, payload: Payload) -> None:
        """One chunk, which has the shape of a whole answer."""
        self._answer.take(payload.data)

    def on_whole_body(self, body: JSON) -> None:
        """The server did not stream."""
        self._answer.take_whole(body)

    def on_close(self) -> None:
        """The end of the bytes is the end of the answer."""
        if not self._answer.is_complete:
            raise TruncatedError("the stream ended without a finishReason")
        self._answer.end()


class _PlainPart(Struct, forbid_unknown_fields=True):
    text: str


class _PlainContent(Struct, forbid_unknown_fields=True):
    parts: list[_PlainPart]
    role: msgspec.Raw = msgspec.Raw()


class _PlainCandidate(Struct, forbid_unknown_fields=True):
    content: _PlainContent
    index: Literal[0] | None = None


class _PlainChunk(Struct, forbid_unknown_fields=True):
    """A chunk that says nothing but more of a text, as most chunks of most streams do.

    What is asked of the latest chunk alone, or not at all, is not read.
    """

    candidates: list[_PlainCandidate]
    usageMetadata: msgspec.Raw = msgspec.Raw()  # noqa: N815 - the wire's name
    modelVersion: msgspec.Raw = msgspec.Raw()  # noqa: N815
    responseId: msgspec.Raw = msgspec.Raw()  # noqa: N815


_plain_decoder = msgspec.json.Decoder(_PlainChunk)


class _Answer:
    """Payloads in, events out through `out`."""

    def __init__(self, out: EventWriter) -> None:
        self.out = out
        self._id = ""
        self._usage: Any = {}
        self._read: tuple[Any, ir.Usage] = (None, ir.Usage())
        self._reason = ""
        self._block_reason = ""
        self._had_candidate = False
        self._calls = 0
        self._partial: PartialArguments | None = None
        self._beside: JSON = {}  # what stood alongside later pieces of a call
        self._held: list[tuple[JSON, str]] = []  # what came while a call was being written
        self._candidate: JSON = {}
        self._others: dict[int, JSON] = {}
        self._top: JSON = {}

    @property
    def is_complete(self) -> bool:
        """True once the wire has said why it stopped."""
        return bool(self._reason or self._block_reason)

    def take_whole(self, body: JSON) -> None:
        """The only payload."""
        self.take(body)
        # A prompt that was blocked has feedback; an answer with neither is a failure.
        if not (self._had_candidate or "promptFeedback" in self._top):
            raise ProtocolError("this is not an answer: there are no candidates", path="candidates")
        self.end()

    def take(self, wire: JSON) -> None:
        """One payload: a whole answer, or a chunk of one."""
        body = structural(wire)
        if body.get("error"):
            raise parse_error(200, wire)
        if _PAYLOAD_FIELDS.isdisjoint(body):
            return
        # Each chunk counts anew from the start of the answer: only the last is worth reading.
        self._usage = body.get("usageMetadata") or self._usage
        if not self.out.started:
            self._start(body)
        feedback = camel_keys(reader.get_object(body, "promptFeedback", ""))
        if feedback:
            self._top["promptFeedback"] = feedback
            reason = feedback.get("blockReason")
            self._block_reason = "" if reason is None else str(reason)
        for key, value in body.items():
            if value is not None and key not in _READ_FIELDS:
                self._top[key] = value
        for position, item in enumerate(reader.get_array(body, "candidates", "")):
            path = f"candidates[{position}]"
            candidate = reader.object(item, path)
            index = reader.get_int(candidate, "index", path)
            index = position if index is None else index
            if index == 0:
                self._take_candidate(candidate, path)
            else:
                _merge_candidate(self._others.setdefault(index, {}), candidate, path)

    def take_plain(self, data: str) -> bool:
        """Take a chunk that says nothing but more of a text; false for all others."""
        if not self.out.started or self._partial is not None:
            return False
        try:
            chunk = _plain_decoder.decode(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return False  # odd in any way: it is read with care
        candidates = chunk.candidates
        if len(candidates) != 1 or len(parts := candidates[0].content.parts) != 1:
            return False
        usage = memoryview(chunk.usageMetadata)
        if bytes(usage[:2]) == b'{"':
            self._usage = chunk.usageMetadata
        elif usage:
            self._usage = jsontext.decode(usage) or self._usage
        self._had_candidate = True
        if type(self.out.open_part) is ir.Text:
            self.out.delta(parts[0].text)
        else:
            self._text(parts[0].text, is_thought=False)
        return True

    def end(self) -> None:
        """The answer is over."""
        self._end_partial(is_complete=False)
        top = self._top
        if self._candidate:
            top["candidate"] = self._candidate
        if self._others:
            top["candidates"] = [_whole(self._others[index]) for index in sorted(self._others)]
        reason = self._reason
        finish = ir.unified_finish(finish_of(reason), has_calls=self._calls > 0)
        if not self._had_candidate:
            top["no_candidate"] = True
        if not self._had_candidate or (self._block_reason and not reason):
            reason, finish = self._block_reason, "content_filter"
        elif reason and reason not in FINISH_BY_REASON:
            top["finishReason"] = reason
        metadata = {NAME: top} if top else {}
        self.out.end(ir.ResponseEnd(finish, reason, self.read_usage(), metadata))

    def _start(self, body: JSON) -> None:
        self._id = reader.get_string(body, "responseId", "")
        model = reader.get_string(body, "modelVersion", "")
        created = read_time(body.get("createTime"))
        self.out.start(ir.ResponseStart(self._id, model, created, self.read_usage()))

    def read_usage(self) -> ir.Usage:
        """The usage in the latest payload."""
        wire, usage = self._read
        if wire is not self._usage:  # a whole answer tells it once, and it is asked for twice
            if isinstance(self._usage, msgspec.Raw):
                self._usage = jsontext.decode(memoryview(self._usage))
            usage = parse_usage(self._usage, "usageMetadata", reader)
            self._read = self._usage, usage
        return usage

    def _take_candidate(self, candidate: JSON, path: str) -> None:
        self._had_candidate = True
        for key, value in candidate.items():
            if value is None or key == "index":
                continue
            if key == "finishReason":
                self._reason = reason_name(value, f"{path}.finishReason", reader) or self._reason
            elif key != "content":
                self._candidate[key] = _joined(key, self._candidate.get(key), value)
        content = candidate.get("content")
        if content is None:
            return
        path = f"{path}.content"
        parts = reader.object(content, path).get("parts")
        path = f"{path}.parts"
        for position, part in enumerate(one_or_many(parts, path, reader)):
            self._take_part(part, f"{path}[{position}]")

    def _take_part(self, wire: Any, path: str) -> None:
        part = reader.object(wire, path)
        if self._partial is not None and part.get("functionCall") is None:
            if part.get("text") != "" or "thoughtSignature" in part:
                self._held.append((part, path))
            return
        text = part.get("text")
        if type(text) is str and len(part) == 1:
            self._text(text, is_thought=False)
        elif part.get("functionCall") is not None:
            self._take_call(part, path)
        else:
            self._take_whole(part, path)

    def _text(self, text: str, *, is_thought: bool) -> None:
        """More of a text that carries nothing else."""
        if not text:
            return
        part = self.out.open_part
        if part is None or not isinstance(part, ir.Reasoning if is_thought else ir.Text):
            self.out.open(ir.Reasoning("", {NAME: {}}) if is_thought else ir.Text(""))
        self.out.delta(text)

    def _take_whole(self, wire: JSON, path: str) -> None:
        part = parse_part(wire, path, reader, self._mint)
        match part:
            case None:
                return
            case ir.Reasoning() if not part.metadata[NAME]:
                self._text(part.text, is_thought=True)
            case ir.Text() if not part.metadata.get(NAME):
                self._text(part.text, is_thought=False)
            case ir.Text():
                self._at_once(ir.Text("", part.metadata), part.text)
            case ir.Reasoning():
                self._at_once(ir.Reasoning("", part.metadata), part.text)
            case ir.ToolCall():
                self._calls += 1
                call = ir.ToolCall(part.id, part.name, "", metadata=part.metadata)
                self._at_once(call, part.arguments_json)
            case ir.Media() | ir.Opaque() | ir.ToolResult() | ir.Refusal():
                self.out.whole(part)

    def _at_once(self, part: ir.Text | ir.Reasoning | ir.ToolCall, text: str) -> None:
        self.out.open(part)
        self.out.delta(text)
        self.out.end_part()

    # Calls, whole and in pieces.

    def _mint(self, name: str, arguments_json: str) -> str:
        """An id for a call without one.

        The answer's own id keeps it apart from calls of other answers; a call in pieces gets its
        id before its arguments are known.
        """
        return "call_" + short_hash(self._id or arguments_json, str(self._calls), name)

    def _take_call(self, wire: JSON, path: str) -> None:
        call = reader.get_object(wire, "functionCall", path)
        path = f"{path}.functionCall"
        continues = call.get("willContinue") is True
        pieces = reader.get_array(call, "partialArgs", path)
        if self._partial is not None and self._is_more(call, pieces):
            self._write_pieces(pieces, path)
            self._beside.update(beside_of(wire, "functionCall"))
            if not continues:
                self._end_partial(is_complete=True)
            return
        if not call.get("name") and "args" not in call and not pieces:
            return  # the end of a call that is over already
        self._end_partial(is_complete=True)
        if not continues and not pieces:
            self._take_whole(wire, path.removesuffix(".functionCall"))
            return
        bare = {**wire, "functionCall": {**call, "args": None}}
        part = parse_call(bare, path, reader, self._mint)
        if part is None:
            return
        self._calls += 1
        self._partial = PartialArguments()
        self.out.open(ir.ToolCall(part.id, part.name, "", metadata=part.metadata))
        self._write_pieces(pieces, path)
        if not continues:
            self._end_partial(is_complete=True)

    def _is_more(self, call: JSON, pieces: list[Any]) -> bool:
        """True for a piece of the call that is open, false for the start of another."""
        name, open_part = call.get("name"), self.out.open_part
        if not name:
            return True
        if not isinstance(open_part, ir.ToolCall) or name != open_part.name or not pieces:
            return False
        return call.get("id") in (None, "", open_part.id)

    def _write_pieces(self, pieces: list[Any], path: str) -> None:
        if self._partial is None:
            return
        for position, piece in enumerate(pieces):
            piece_path = f"{path}.partialArgs[{position}]"
            self.out.delta(self._partial.add(reader.object(piece, piece_path)))

    def _end_partial(self, *, is_complete: bool) -> None:
        """The open call ends; one that was cut keeps its broken text, and never runs."""
        if self._partial is None:
            return
        if is_complete:
            self.out.delta(self._partial.close())
        self._partial = None
        beside, self._beside = self._beside, {}
        self.out.end_part({NAME: beside} if beside else None)
        held, self._held = self._held, []
        for part, path in held:
            self._take_part(part, path)


def _is_json(text: str) -> bool:
    """True for one whole JSON value."""
    try:
        jsontext.decode(text)
    except ValueError:
        return False
    return True


def _joined(key: str, old: Any, new: Any) -> Any:
    """A candidate's field over several chunks: log probabilities add up, others are replaced."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    merged: JSON = old  # pyright: ignore[reportUnknownVariableType]
    for name, value in new.items():  # pyright: ignore[reportUnknownVariableType]
        before: Any = merged.get(name)  # pyright: ignore[reportUnknownArgumentType]
        if key == "logprobsResult" and isinstance(before, list) and isinstance(value, list):
            before += value  # pyright: ignore[reportUnknownVariableType]
        else:
            merged[name] = value
    return merged


def _whole(candidate: JSON) -> JSON:
    """Another candidate, with each text in one piece."""
    content: JSON | None = candidate.get("content")
    if content is None:
        return candidate
    return {**candidate, "content": {**content, "parts": [*map(settled, content["parts"])]}}


def _merge_candidate(whole: JSON, chunk: JSON, path: str) -> None:
    """Add a chunk of another candidate, which is kept in the wire's own form."""
    for key, value in chunk.items():
        if key != "content" and value is not None:
            whole[key] = _joined(key, whole.get(key), value)
    new = reader.get_object(chunk, "content", path)
    if not new:
        return
    content: JSON = whole.setdefault("content", {})
    parts: list[JSON] = content.get("parts", [])
    path = f"{path}.content.parts"
    for position, wire in enumerate(one_or_many(new.get("parts"), path, reader)):
        part = reader.object(wire, f"{path}[{position}]")
        if parts and part.keys() == parts[-1].keys() == {"text"}:
            grow_text(parts[-1], "text", str(part["text"]))
        else:
            parts.append({**part})
    content.update(new)
    content["parts"] = parts
