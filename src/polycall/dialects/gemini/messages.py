"""A conversation to `contents`: turns, results matched to calls, signatures in their places."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from polycall import ir
from polycall._support import jsontext
from polycall.dialects.gemini.content import (
    NAME,
    own_of,
    render_call,
    render_media,
    wire_fields,
)
from polycall.dialects.gemini.tools import ToolsRenderer
from polycall.ir import JSON
from polycall.translation.calls import arguments_object, note_call
from polycall.translation.conversation import Beginnings, last_turn
from polycall.translation.foreign_words import file_text, is_office_file, result_media
from polycall.translation.quirks import Quirks
from polycall.translation.wire import Losses

# Google's own word for calls that another model made; it checks nothing then.
SENTINEL = "skip_thought_signature_validator"
_NO_RESULT = "no result: the call was interrupted"


def render_system(messages: Sequence[ir.Message], renderer: MessagesRenderer) -> JSON | None:
    """`systemInstruction` of the leading system messages."""
    parts = [part for message in messages for part in renderer.parts(message.parts)]
    if not parts:
        return None
    role = messages[0].metadata.get(NAME, {}).get("role")
    return {"parts": parts, "role": role} if role else {"parts": parts}


class MessagesRenderer:
    """Renders the messages of one request."""

    def __init__(self, tools: ToolsRenderer, losses: Losses, quirks: Quirks) -> None:
        self._tools = tools
        self._losses = losses
        self._quirks = quirks
        self._contents: list[JSON] = []
        self._open: list[ir.ToolCall] = []  # calls of the turn that is waiting for results
        self._is_first_call = True

    def contents(
        self, messages: Sequence[ir.Message], known: dict[Any, Any] | None = None
    ) -> list[JSON]:
        """All contents; `known` has what was made of a beginning.

        Results of a turn stand in one content directly behind it.
        """
        losses, names = self._losses, self._tools.names
        beginnings = Beginnings(known, NAME, self._quirks, is_lossy=losses.is_lossy)
        before = beginnings.of(messages)
        if before is not None:
            self._contents = before.wire.copy()
        with losses.apart() as noted, names.apart() as aliases:
            if before is not None:
                losses.repeat(before.warnings)
                aliases.update(before.aliases)
            start = end = 0 if before is None else len(before.messages)
            if beginnings.are_kept:
                end = last_turn(messages, start, known)
            if end > start:
                self._turns(messages[start:end])
                begun = messages[:end]
                beginnings.keep(begun, self._contents.copy(), [*noted], {**aliases})
            self._turns(messages[end:])
        if not self._contents:
            # A request without contents is refused, and so is an empty text.
            losses.adjust("messages", "a blank user turn, since gemini refuses none")
            self._contents.append({"role": "user", "parts": [{"text": " "}]})
        return self._contents

    def _turns(self, messages: Sequence[ir.Message]) -> None:
        for is_model, group in itertools.groupby(messages, lambda item: item.role == "assistant"):
            turns = list(group)
            if is_model:
                for message in turns:
                    self._assistant(message)
                continue
            self._is_first_call = True
            self._results(turns)
            for message in turns:
                if message.role != "tool":
                    self._user(message)

    def parts(self, parts: Sequence[ir.Part]) -> list[JSON]:
        """The wire's parts of one message, without results."""
        rendered = (self._part(part) for part in parts)
        return [wire for wire in rendered if wire is not None]

    # Turns

    def _user(self, message: ir.Message) -> None:
        own = message.metadata.get(NAME, {})
        if message.role == "system":
            self._losses.emulate("system", "a later system message is sent as user text")
            own = {}
        if message.name:
            self._losses.drop("messages.name", "gemini has no names of participants")
        parts = self.parts(message.parts)
        if not parts:
            return
        if own.get("joined") and self._contents:
            last = self._contents[-1]  # may be of a beginning, which stays as it is
            self._contents[-1] = {**last, "parts": [*last["parts"], *parts]}
        else:
            self._add(own.get("role", "user"), parts)

    def _add(self, role: str, parts: list[JSON]) -> None:
        self._contents.append({"role": role, "parts": parts} if role else {"parts": parts})

    def _assistant(self, message: ir.Message) -> None:
        parts = self.parts(message.parts)
        self._open.extend(message.tool_calls)
        if parts:
            self._add(message.metadata.get(NAME, {}).get("role", "model"), parts)

    def _part(self, part: ir.Part) -> JSON | None:
        match part:
            case ir.Text():
                own = own_of(part)
                is_said = part.text or own is not None
                return {"text": part.text, **wire_fields(own)} if is_said else None
            case ir.Reasoning():
                return self._reasoning(part)
            case ir.ToolCall():
                return self._call(part)
            case ir.Media():
                return _media_part(part, self._losses)
            case ir.Refusal():
                self._losses.emulate("refusal", "sent as text")
                return {"text": part.text} if part.text else None
            case ir.Opaque():
                return dict(part.data)  # only this dialect's are left
            case ir.ToolResult():
                return None

    def _reasoning(self, part: ir.Reasoning) -> JSON | None:
        own = own_of(part)
        if own is None:
            self._losses.drop_state("reasoning", "thoughts of another provider do not follow")
            return None
        beside = wire_fields(own)
        return {"text": part.text, "thought": True, **beside} if part.text or beside else None

    def _call(self, call: ir.ToolCall) -> JSON:
        note_call(call, self._losses)
        name = self._tools.name(call.name, call.namespace)
        wire = render_call(call, name, arguments_object(call), with_id=self._quirks.call_ids)
        is_first, self._is_first_call = self._is_first_call, False
        if is_first and own_of(call) is None and self._quirks.signature_sentinel:
            self._losses.emulate(
                "thought_signature", "a call of another model is sent with Google's skip sentinel"
            )
            wire["thoughtSignature"] = SENTINEL
        return wire

    def _result_media(self, part: ir.Media) -> JSON | str:
        # Google refuses types that it does not know, and takes plain text as a file.
        if own_of(part) is None and part.media_type != "text/plain":
            text = file_text(part)
            if text is not None:
                self._losses.emulate("tool_result.media", "a text file is sent as text")
                return text
        return result_media(
            part, self._losses, lambda losses: _media_part(part, losses), is_office_file
        )

    # Results

    def _results(self, turns: Sequence[ir.Message]) -> None:
        """One content with a result for each open call, from all messages before the next turn."""
        given: dict[str, list[ir.ToolResult]] = {}
        role = "user"
        for message in turns:
            for part in message.parts:
                if isinstance(part, ir.ToolResult):
                    given.setdefault(part.call_id, []).append(part)
                    role = message.metadata.get(NAME, {}).get("role", role)
        parts: list[JSON] = []
        media: list[JSON] = []
        for call in self._open:
            waiting = given.get(call.id)
            if waiting:
                result = waiting.pop(0)
            else:
                self._losses.emulate("orphan_tool_call", "a call without a result gets an error")
                result = ir.ToolResult(call.id, [ir.Text(_NO_RESULT)], is_error=True)
            parts.append(self._result(result, call, media))
        self._open = []
        if parts:
            self._add(role, parts)
        if media:
            self._add("user", media)
        if any(given.values()):
            self._losses.drop("orphan_tool_result", "a result without its call is left out")

    def _result(self, result: ir.ToolResult, call: ir.ToolCall, media: list[JSON]) -> JSON:
        own = result.metadata.get(NAME)
        wire: JSON = {}
        sends_id = call.id and not (call.metadata.get(NAME) or {}).get("no_id")
        if own is not None:
            sends_id = not own.get("no_id")
        if sends_id and self._quirks.call_ids:
            wire["id"] = result.call_id
        wire["name"] = self._tools.name(call.name, call.namespace)
        texts = [part.text for part in result.content if isinstance(part, ir.Text)]
        attached = self._attached(result, texts, media)
        wire["response"] = _response(texts, result.is_error, (own or {}).get("shape", ""))
        if attached:
            wire["parts"] = attached
        return {
            "functionResponse": {**wire, **(own or {}).get("inner", {})},
            **wire_fields(own),
        }

    def _attached(self, result: ir.ToolResult, texts: list[str], media: list[JSON]) -> list[JSON]:
        """The media alongside the text of a result; else they follow, and the text says so."""
        attached: list[JSON] = []
        for part in result.content:
            if isinstance(part, ir.Text):
                continue
            wire = self._result_media(part) if isinstance(part, ir.Media) else dict(part.data)
            if isinstance(wire, str):
                texts.append(wire)
            elif "text" in wire:
                texts.append(wire["text"])
            elif self._quirks.result_media:
                attached.append(wire)
            else:
                self._losses.emulate("tool_result.media", "sent in a user turn behind the results")
                kind = part.kind if isinstance(part, ir.Media) else "file"
                texts.append(f"[{kind} attached below]")
                media.append(wire)
        return attached


def _media_part(part: ir.Media, losses: Losses) -> JSON | None:
    wire = render_media(part)
    if wire is None:
        losses.refuse("file_id", "a file that is stored at another provider", path="messages")
    elif part.text and not part.data:
        losses.emulate("document", "a text document is sent as text")
    return wire


def _response(texts: list[str], is_error: bool, shape: str) -> JSON:
    """The object a result must be.

    Text stays text, even where it is JSON: a `$ref` in it would be read as the name of an
    attached file, and numbers would become doubles.
    """
    text = "\n".join(texts)
    if shape == "object":
        value: Any = _decoded(text) if text else {}
        if isinstance(value, dict):
            return value  # pyright: ignore[reportUnknownVariableType]
    key = "error" if is_error else "output"
    if shape == "value" and (value := _decoded(text)) is not None:
        return {key: value}
    return {key: text}


def _decoded(text: str) -> Any:
    if text == "null":
        return None
    try:
        return jsontext.decode(text)
    except ValueError:
        return None
