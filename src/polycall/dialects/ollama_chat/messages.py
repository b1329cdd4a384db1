"""The messages of a request, wire to middle language and back.

Results say the tool's name and, since lately, the call's id; without one they answer the calls of
the last turn in order.  A message has one text and a list of images.

The metadata of a call, `metadata["ollama-chat"]`: `fields` beside id and function, `function` for
those inside; of a message: `fields`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from polycall import ir
from polycall.dialects.ollama_chat.names import NAME
from polycall.ir import JSON
from polycall.translation.calls import (
    OpenCalls,
    arguments_object,
    arguments_text,
    note_call,
)
from polycall.translation.foreign_words import file_text, result_media
from polycall.translation.quirks import Quirks
from polycall.translation.wire import Losses, Path, Reader, short_hash, unread
from polycall.translation.wire import request_reader as reader

_READ = frozenset(
    {"role", "content", "thinking", "images", "tool_calls", "tool_name", "tool_call_id"}
)
_ROLES = ("system", "user", "assistant", "tool")


# ---------------------------------------------------------------------------------------------
# Wire to middle language


def parse_messages(value: Any) -> list[ir.Message]:
    """All messages; the results of one turn together."""
    history = _History()
    for index, item in enumerate(reader.array(value, "messages")):
        path = f"messages[{index}]"
        history.take(reader.object(item, path), path)
    return history.messages


class _History:
    """Messages in, each result matched to its call."""

    def __init__(self) -> None:
        self.messages: list[ir.Message] = []
        self._open = OpenCalls()
        self._calls = 0
        self._results: list[ir.Part] | None = None

    def take(self, wire: JSON, path: Path) -> None:
        """One message of the wire."""
        role = reader.get_choice(wire, "role", path, _ROLES)
        if role is None:
            reader.fail(f"{path}.role", "one of " + ", ".join(_ROLES), None)
        more = unread(wire, _READ)
        if role == "tool":
            self._take_result(wire, more, path)
            return
        self._results = None
        known: ir.Role = role  # pyright: ignore[reportAssignmentType]
        parts = parse_parts(wire, path, reader, self._calls)
        calls = [part for part in parts if isinstance(part, ir.ToolCall)]
        if role == "assistant":
            self._open = OpenCalls((call.id, call) for call in calls)
            self._calls += len(calls)
        self.messages.append(ir.Message(known, parts, metadata=_own(more)))

    def _take_result(self, wire: JSON, more: JSON, path: Path) -> None:
        name = reader.get_string(wire, "tool_name", path) or reader.get_string(more, "name", path)
        given = reader.get_string(wire, "tool_call_id", path)
        call = self._answered(given, name)
        content: list[ir.Text | ir.Media | ir.Opaque] = [
            part
            for part in parse_parts(wire, path, reader, self._calls)
            if isinstance(part, ir.Text | ir.Media)
        ]
        own: JSON = {"fields": more} if more else {}
        if given:
            own["id"] = True
        result = ir.ToolResult(
            call_id=given or (call.id if call is not None else "call_" + short_hash(name, path)),
            content=content,
            name=name or ("" if call is None else call.name),
            metadata={NAME: own},
        )
        if self._results is None:
            self._results = []
            self.messages.append(ir.Message("tool", self._results))
        self._results.append(result)

    def _answered(self, call_id: str, name: str) -> ir.ToolCall | None:
        if call_id:
            return self._open.with_id(call_id)
        return self._open.named(name) if name else self._open.first()


def _own(more: JSON) -> ir.Metadata:
    return {NAME: {"fields": more}} if more else {}


def parse_parts(wire: JSON, path: Path, reader: Reader, count: int) -> list[ir.Part]:
    """Thinking, text, images and calls of a message; `count` are the calls before it."""
    parts: list[ir.Part] = []
    if thinking := reader.get_string(wire, "thinking", path):
        parts.append(ir.Reasoning(thinking, {NAME: {}}))
    if text := reader.get_string(wire, "content", path):
        parts.append(ir.Text(text))
    for index, image in enumerate(reader.get_array(wire, "images", path)):
        data = reader.string(image, f"{path}.images[{index}]")
        parts.append(ir.Media("image", data=data, media_type=_image_type(data)))
    for index, item in enumerate(reader.get_array(wire, "tool_calls", path)):
        where = f"{path}.tool_calls[{index}]"
        parts.append(_parse_call(reader.object(item, where), count + index, where, reader))
    return parts


def _parse_call(wire: JSON, number: int, path: Path, reader: Reader) -> ir.ToolCall:
    function = reader.get_object(wire, "function", path)
    where = f"{path}.function"
    name = reader.get_string(function, "name", where)
    text = arguments_text(function.get("arguments"))
    own: JSON = {}
    if more := unread(wire, ("id", "function")):
        own["fields"] = more
    inner = unread(function, ("name", "arguments"))
    if inner:
        own["function"] = inner
    call_id = reader.get_string(wire, "id", path)
    if not call_id:
        own["no_id"] = True
    return ir.ToolCall(
        id=call_id or "call_" + short_hash(str(number), name, text),
        name=name,
        arguments_json=text,
        metadata={NAME: own} if own else {},
    )


_MAGIC = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
)


def _image_type(data: str) -> str:
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), "")


# ---------------------------------------------------------------------------------------------
# Middle language to wire


class MessagesRenderer:
    """Renders the messages of one request."""

    def __init__(self, losses: Losses, quirks: Quirks) -> None:
        self._losses = losses
        self._quirks = quirks

    def messages(self, messages: list[ir.Message]) -> list[JSON]:
        """The `messages` array."""
        wire: list[JSON] = []
        names: dict[str, str] = {}
        for message in messages:
            if message.name:
                self._losses.drop("messages.name", "this wire has no names of participants")
            if message.role == "tool":
                wire.extend(self._result(part, names) for part in _results(message))
                continue
            names.update((call.id, call.name) for call in message.tool_calls)
            wire.append(self._message(message))
        return wire

    def _message(self, message: ir.Message) -> JSON:
        texts: list[str] = []
        thoughts: list[str] = []
        wire: JSON = {"role": message.role}
        for part in message.parts:
            match part:
                case ir.Text() | ir.Refusal():
                    texts.append(part.text)
                case ir.Reasoning():
                    self._think(part, thoughts)
                case ir.Media():
                    self._show(part, wire, texts)
                case ir.ToolCall():
                    wire.setdefault("tool_calls", []).append(self._call(part))
                case ir.Opaque() | ir.ToolResult():
                    pass  # this dialect has no parts of its own; results stand apart
        wire["content"] = "".join(texts)
        if thoughts:
            wire["thinking"] = "".join(thoughts)
        return {**wire, **message.metadata.get(NAME, {}).get("fields", {})}

    def _think(self, part: ir.Reasoning, thoughts: list[str]) -> None:
        if NAME in part.metadata or self._quirks.reasoning_replay in ("with_calls", "always"):
            thoughts.append(part.text)
        else:
            self._losses.drop_state("reasoning", "another provider's thinking is not sent")

    def _show(self, part: ir.Media, wire: JSON, texts: list[str]) -> None:
        if part.kind == "image" and part.data:
            wire.setdefault("images", []).append(part.data)
        elif (text := file_text(part)) is not None:
            self._losses.emulate(part.kind, "a text file is sent as text")
            texts.append(text)
        else:
            self._losses.refuse(part.kind, "only images with their data are taken", path="messages")

    def _call(self, call: ir.ToolCall) -> JSON:
        note_call(call, self._losses)
        return call_wire(call)

    def _result(self, part: ir.ToolResult, names: dict[str, str]) -> JSON:
        own = part.metadata.get(NAME, {})
        texts: list[str] = []
        wire: JSON = {"role": "tool"}
        for each in part.content:
            if isinstance(each, ir.Text):
                texts.append(each.text)
            elif isinstance(each, ir.Media):
                shown = result_media(each, self._losses, partial(_image, each))
                if isinstance(shown, str):
                    texts.append(shown)
                else:
                    wire.setdefault("images", []).append(shown["image"])
        text = "\n".join(texts)
        if part.is_error:
            self._losses.emulate("is_error", "the result begins with the word 'error'")
            text = f"error: {text}"
        wire["content"] = text
        if name := part.name or names.get(part.call_id, ""):
            wire["tool_name"] = name
        if own.get("id") or NAME not in part.metadata:
            wire["tool_call_id"] = part.call_id
        return {**wire, **own.get("fields", {})}


def call_wire(call: ir.ToolCall) -> JSON:
    """A call as requests and answers have it."""
    own = call.metadata.get(NAME, {})
    function = {"name": call.name, "arguments": arguments_object(call), **own.get("function", {})}
    wire: JSON = {} if own.get("no_id") else {"id": call.id}
    return {**wire, "function": function, **own.get("fields", {})}


def _image(part: ir.Media, losses: Losses) -> JSON | None:
    del losses
    return {"image": part.data} if part.kind == "image" and part.data else None


def _results(message: ir.Message) -> list[ir.ToolResult]:
    return [part for part in message.parts if isinstance(part, ir.ToolResult)]
