"""Messages into a request's input items.

What came from this dialect goes back as it was; what came from another is said in the shortest
form the vendor takes.  Reasoning of another provider stays behind, with a warning.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from polycall import ir
from polycall._support import jsontext
from polycall.dialects.openai_responses.content import render_content_part, render_media
from polycall.dialects.openai_responses.names import CONTENT_PREFIX, NAME, own
from polycall.dialects.openai_responses.tools import ToolsRenderer
from polycall.ir import JSON
from polycall.translation.conversation import Beginnings, is_closed, last_turn
from polycall.translation.foreign_words import is_rare_image, result_media
from polycall.translation.freeform import freeform_text
from polycall.translation.quirks import Quirks
from polycall.translation.wire import Losses, short_hash

_CALL_ID_CHARS_MAX = 64
_EMPTY_ARGUMENTS = frozenset({"", "null", '""'})
_INTERRUPTED = jsontext.encode({"error": "no result: the call was interrupted"})
_MEDIA_STUB = "[attached below]"

# With these, what the input leaves out may live at the vendor.
_REFERENCES = frozenset({"item_reference", "compaction"})


class MessagesRenderer:
    """Renders one conversation."""

    def __init__(
        self,
        messages: Sequence[ir.Message],
        tools: ToolsRenderer,
        losses: Losses,
        quirks: Quirks,
        *,
        is_stored: bool,
        is_native: bool,
        has_past: bool,
        known: dict[Any, Any] | None = None,
    ) -> None:
        """`has_past` says that the vendor holds earlier turns of the conversation.

        `known` has what was made of a beginning.
        """
        # A client of this wire refers to items, and to programs, that may come later.
        known = None if is_native or has_past else known
        key = f"{NAME} {is_stored}"
        self._beginnings = Beginnings(known, key, quirks, is_lossy=losses.is_lossy)
        self._messages = messages
        self._tools = tools
        self._losses = losses
        self._quirks = quirks
        self._is_stored = is_stored
        self._is_native = is_native
        self._items: list[JSON] = []
        self._calls: dict[str, ir.ToolCall] = {}
        self._known: set[str] = set()  # call ids that a result may answer
        self._answered: set[str] = set()
        self._programs: set[str] = set()
        self._has_past = has_past
        self._before = self._beginnings.of(messages)
        self._start = self._end = 0
        if self._before is not None:
            self._start = self._end = len(self._before.messages)
            calls, answered = self._before.state
            self._calls, self._answered = calls.copy(), answered.copy()
            self._known.update(calls)
        if self._beginnings.are_kept:
            self._end = last_turn(messages, self._start, known)
        self._survey(messages[self._start : self._end])
        self._state = ({**self._calls}, {*self._answered})
        self._survey(messages[self._end :])

    def _survey(self, messages: Sequence[ir.Message]) -> None:
        for message in messages:
            for part in message.parts:
                self._look_at(part)

    def _look_at(self, part: ir.Part) -> None:
        match part:
            case ir.ToolCall():
                self._calls[part.id] = part
                self._known.add(part.id)
            case ir.ToolResult():
                self._answered.add(part.call_id)
            case ir.Opaque() if part.dialect == NAME:
                self._known.add(str(part.data.get("call_id", "")))
                if part.kind in _REFERENCES:
                    self._has_past = True
                if part.kind == "program":
                    self._programs.add(str(part.data.get("call_id", "")))
            case _:
                pass

    def items(self) -> list[JSON]:
        """All input items, in order."""
        before, end = self._before, self._end
        with self._losses.apart() as noted, self._tools.names.apart() as aliases:
            if before is not None:
                self._items = before.wire.copy()
                self._losses.repeat(before.warnings)
                aliases.update(before.aliases)
            if end > self._start and self._is_settled():
                self._write(self._start, end)
                begun = self._messages[:end]
                self._beginnings.keep(begun, self._items.copy(), [*noted], {**aliases}, self._state)
            else:
                end = self._start
            self._write(end, len(self._messages))
        return self._items

    def _is_settled(self) -> bool:
        """Whether nothing that comes later changes what is written of the beginning."""
        new = self._messages[self._start : self._end]
        are_direct = all(call.caller == "direct" for each in new for call in each.tool_calls)
        return are_direct and not self._has_past and is_closed(new)

    def _write(self, start: int, end: int) -> None:
        pending: list[ir.ToolCall] = []
        for position in range(start, end):
            message = self._messages[position]
            path = f"messages[{position}]"
            if message.role != "tool":
                self._answer(pending)
            if message.name:
                self._losses.drop("messages.name", "messages have no author's name")
            match message.role:
                case "system" | "user":
                    self._plain(message, path)
                case "assistant":
                    self._assistant(message, path)
                    pending = [call for call in message.tool_calls if call.id not in self._answered]
                case "tool":
                    self._results(message, path)
        if end > start and self._messages[end - 1].role == "tool":
            self._answer(pending)

    # -----------------------------------------------------------------------------------------
    # Users and systems

    def _plain(self, message: ir.Message, path: str) -> None:
        notes = own(message.metadata)
        role = notes.get("role") or message.role
        if is_string_content(message.parts) and not notes.get("list"):
            text = message.parts[0]
            assert isinstance(text, ir.Text)
            self._items.append({"role": role, "content": text.text, **notes.get("fields", {})})
            return
        content: list[JSON] = []
        for position, part in enumerate(message.parts):
            where = f"{path}.parts[{position}]"
            if isinstance(part, ir.Opaque) and is_own_item(part):
                self._message_item(role, content, notes)
                content = []
                self._items.append(part.data)
                continue
            if isinstance(part, ir.Text | ir.Media | ir.Refusal | ir.Opaque):
                rendered = render_content_part(part, self._losses, where)
                if rendered is not None:
                    content.append(rendered)
        if content or not message.parts:
            self._message_item(role, content, notes)

    def _message_item(self, role: str, content: list[JSON], notes: JSON) -> None:
        if content or notes:
            self._items.append({"role": role, "content": content, **notes.get("fields", {})})

    # -----------------------------------------------------------------------------------------
    # The model

    def _assistant(self, message: ir.Message, path: str) -> None:
        keeps_ids = all(
            self._keeps(part, is_followed=position + 1 < len(message.parts))
            for position, part in enumerate(message.parts)
            if isinstance(part, ir.Reasoning)
        )
        group: list[ir.Text | ir.Refusal] = []
        for position, part in enumerate(message.parts):
            if isinstance(part, ir.Text | ir.Refusal):
                if group and "message" in own(part.metadata):
                    self._text_item(group, keeps_ids)
                    group = []
                if part.text or NAME in part.metadata:
                    group.append(part)
                continue
            if group:
                self._text_item(group, keeps_ids)
                group = []
            match part:
                case ir.Reasoning():
                    self._reasoning(part, is_followed=position + 1 < len(message.parts))
                case ir.ToolCall():
                    self._call(part, keeps_ids)
                case ir.Opaque():
                    self._items.append(part.data)
                case ir.Media():
                    self._own_media(part, f"{path}.parts[{position}]")
                case ir.ToolResult():
                    self._items.append(self._result(part, []))
        if group:
            self._text_item(group, keeps_ids)

    def _text_item(self, group: list[ir.Text | ir.Refusal], keeps_ids: bool) -> None:
        item = message_item(group)
        if not keeps_ids:
            item.pop("id", None)
        self._items.append(item)

    def _keeps(self, part: ir.Reasoning, *, is_followed: bool) -> bool:
        """Whether the vendor can take this reasoning back.

        Without storage it needs the encrypted content, and it refuses reasoning without the item
        that came of it.  A request in its own dialect is the client's affair.
        """
        if NAME not in part.metadata:
            return False
        if self._is_native:
            return True
        is_complete = self._is_stored or bool(
            own(part.metadata).get("fields", {}).get("encrypted_content")
        )
        return is_complete and is_followed

    def _reasoning(self, part: ir.Reasoning, *, is_followed: bool) -> None:
        if self._keeps(part, is_followed=is_followed):
            self._items.append(reasoning_item(part))
            return
        self._losses.drop_state("reasoning", "reasoning that this provider cannot take back")

    def _call(self, call: ir.ToolCall, keeps_ids: bool) -> None:
        item = call_item(call, is_custom=call.kind == "custom" and self._quirks.custom_tools)
        name, namespace = self._tools.name(call.name, call.namespace)
        item["name"] = name
        if namespace:
            item["namespace"] = namespace
        else:
            item.pop("namespace", None)
        item["call_id"] = self._call_id(call.id)
        if not keeps_ids:
            item.pop("id", None)
        is_foreign = NAME not in call.metadata and call.caller != "direct"
        if is_foreign and call.caller not in self._programs:
            del item["caller"]
            self._losses.drop("caller", f"{call.id!r} was made by a program")
        self._items.append(item)

    def _own_media(self, media: ir.Media, path: str) -> None:
        """Put the model's media into a user message: its own messages hold text only."""
        rendered = render_media(media, self._losses, path)
        if rendered is not None:
            detail = f"the model's {media.kind} is sent in a user message"
            self._losses.emulate("assistant.media", detail)
            self._items.append({"role": "user", "content": [rendered]})

    # -----------------------------------------------------------------------------------------
    # Tool results

    def _results(self, message: ir.Message, path: str) -> None:
        attached: list[JSON] = []
        for position, part in enumerate(message.parts):
            if isinstance(part, ir.Opaque):
                self._items.append(part.data)
            elif isinstance(part, ir.ToolResult):
                if part.call_id not in self._known and not self._has_past:
                    detail = f"a result for {part.call_id!r}, which no call has"
                    self._losses.drop("orphan_tool_result", detail)
                    continue
                self._items.append(self._result(part, attached))
            elif isinstance(part, ir.Text | ir.Media):
                where = f"{path}.parts[{position}]"
                rendered = render_content_part(part, self._losses, where)
                if rendered is not None:
                    attached.append(rendered)
        if attached:
            self._items.append({"role": "user", "content": attached})

    def _result(self, result: ir.ToolResult, attached: list[JSON]) -> JSON:
        notes = own(result.metadata)
        call = self._calls.get(result.call_id)
        is_custom = call.kind == "custom" if call is not None else bool(notes.get("custom"))
        is_custom = is_custom and self._quirks.custom_tools
        return {
            "type": "custom_tool_call_output" if is_custom else "function_call_output",
            "call_id": self._call_id(result.call_id),
            "output": self._output(result, notes, attached),
            **notes.get("fields", {}),
        }

    def _output(self, result: ir.ToolResult, notes: JSON, attached: list[JSON]) -> Any:
        content = result.content
        if result.is_error:
            self._losses.emulate("is_error", "the output is wrapped as {'error': ...}")
            wrapped = ir.Text(jsontext.encode({"error": result.text}))
            content = [wrapped, *(part for part in content if not isinstance(part, ir.Text))]
        if not content:
            return [] if notes.get("list") else ""
        if is_string_content(content) and not notes.get("list"):
            text = content[0]
            assert isinstance(text, ir.Text)
            return text.text
        rendered: list[JSON] = []
        for part in content:
            if isinstance(part, ir.Media):
                media = self._result_media(part)
                if isinstance(media, str):
                    media = {"type": "input_text", "text": media}
                elif not self._quirks.result_media:
                    detail = "media of results follow in a user message"
                    self._losses.emulate("tool_result.media", detail)
                    attached.append(media)
                    media = {"type": "input_text", "text": _MEDIA_STUB}
                rendered.append(media)
                continue
            element = render_content_part(part, self._losses, "tool_result")
            if element is not None:
                rendered.append(element)
        return rendered

    def _result_media(self, part: ir.Media) -> JSON | str:
        if NAME in part.metadata:
            media = render_media(part, self._losses, "tool_result")
            if media is not None:
                return media
        return result_media(
            part,
            self._losses,
            lambda losses: render_media(part, losses, "tool_result"),
            is_rare_image,
        )

    def _answer(self, pending: list[ir.ToolCall]) -> None:
        """Give the calls that nobody answered a result: every provider refuses a call without."""
        for call in pending:
            self._losses.emulate("orphan_tool_call", f"{call.id!r} has no result; one was made up")
            item = self._result(ir.ToolResult(call.id, [ir.Text(_INTERRUPTED)]), [])
            self._items.append(item)
        pending.clear()

    def _call_id(self, call_id: str) -> str:
        pattern, length = self._quirks.call_id_pattern, self._quirks.call_id_length
        if pattern and not re.fullmatch(pattern, call_id):
            return short_hash(call_id)[: length or None]
        if not call_id or len(call_id) > _CALL_ID_CHARS_MAX:
            return "call_" + short_hash(call_id)
        return call_id


# ---------------------------------------------------------------------------------------------
# Items of the model, the same in a request's history and in a response


def message_item(group: Sequence[ir.Text | ir.Refusal]) -> JSON:
    """The message item that a run of text parts makes."""
    first, last = group[0], group[-1]
    notes = own(first.metadata)
    item: JSON = {"role": "assistant", **notes.get("message", {})}
    is_string = notes.get("string") if "message" in notes else is_string_content(group)
    if is_string and len(group) == 1:
        item["content"] = first.text
    elif notes.get("empty") and len(group) == 1 and not first.text:
        item["content"] = []
    else:
        item["content"] = [text_part(part) for part in group]
    item.update(own(last.metadata).get("fields", {}))
    return item


def text_part(part: ir.Text | ir.Refusal) -> JSON:
    """A content part of an assistant's message."""
    notes = own(part.metadata)
    if isinstance(part, ir.Refusal):
        return {"type": "refusal", "refusal": part.text, **notes.get("part", {})}
    return {"type": notes.get("type", "output_text"), "text": part.text, **notes.get("part", {})}


def reasoning_item(part: ir.Reasoning) -> JSON:
    """The reasoning item, as it came where it came from here."""
    notes = own(part.metadata)
    item: JSON = {"type": "reasoning"}
    if "id" in notes:
        item["id"] = notes["id"]
    item.update(notes.get("fields", {}))
    if "summary" not in item:
        item["summary"] = [{"type": "summary_text", "text": part.text}] if part.text else []
    return item


def call_item(call: ir.ToolCall, *, is_custom: bool) -> JSON:
    """A `function_call` or `custom_tool_call`, with the tool's own name."""
    notes = own(call.metadata)
    item: JSON = {"call_id": call.id, "name": call.name}
    if is_custom:
        item["type"] = "custom_tool_call"
        item["input"] = custom_input(call)
    else:
        item["type"] = "function_call"
        text = call.arguments_json
        item["arguments"] = "{}" if text.strip() in _EMPTY_ARGUMENTS else text
    if "id" in notes:
        item["id"] = notes["id"]
    if call.namespace:
        item["namespace"] = call.namespace
    if call.caller != "direct":
        item["caller"] = {"type": "program", "caller_id": call.caller}
    item.update(notes.get("fields", {}))
    return item


def custom_input(call: ir.ToolCall) -> str:
    """The free text of a custom call; the raw arguments where they are not the usual object."""
    return freeform_text(call)


def is_own_item(part: ir.Part) -> bool:
    """Whether it is an item of this dialect, and not a content part."""
    return (
        isinstance(part, ir.Opaque)
        and part.dialect == NAME
        and not part.kind.startswith(CONTENT_PREFIX)
    )


def is_string_content(parts: Sequence[ir.Part]) -> bool:
    """Whether a string says all of it: one text without anything noted here."""
    if len(parts) != 1:
        return False
    part = parts[0]
    return isinstance(part, ir.Text) and NAME not in part.metadata
