"""The messages of a request, wire to middle language and back.

On the wire roles alternate, the results of a turn stand in the user message right behind it, and
each call has one.  Rendering sees to all three.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from typing import Any

from msgspec.structs import replace

from polycall import ir
from polycall.dialects.bedrock_converse.content import (
    CACHE_POINT,
    cache_points,
    call_block,
    parse_block,
    reasoning_block,
    result_text_block,
    text_block,
    with_cache_point,
)
from polycall.dialects.bedrock_converse.media import render_media
from polycall.dialects.bedrock_converse.names import (
    CALL_ID,
    CALL_ID_LENGTH,
    NAME,
    TOOL_NAME_LENGTH_MAX,
)
from polycall.ir import JSON
from polycall.translation.calls import UniqueIds, note_call
from polycall.translation.foreign_words import result_media
from polycall.translation.quirks import Quirks
from polycall.translation.wire import Losses, ToolNames
from polycall.translation.wire import request_reader as reader

NO_RESULT = "no result: the call was interrupted before it gave one"
_EMPTY_RESULT = "(empty)"
MEDIA_BELOW = "[{} attached below]"
_UNNUMBERED = 60  # of an id that has 64 at most


# ---------------------------------------------------------------------------------------------
# Wire to middle language


def parse_system(value: Any) -> list[ir.Message]:
    """The top-level `system`, one message for all blocks."""
    items = [] if value is None else reader.array(value, "system")
    parts = _parts(items, "system")
    return [ir.Message("system", parts)] if parts else []


def parse_messages(value: Any) -> list[ir.Message]:
    """The `messages` array; results become a message of their own."""
    messages: list[ir.Message] = []
    names: dict[str, str] = {}
    for index, item in enumerate(reader.array(value, "messages")):
        path = f"messages[{index}]"
        message = reader.object(item, path)
        role = reader.get_choice(message, "role", path, ("user", "assistant", "system"))
        parts = _parts(reader.get_array(message, "content", path), f"{path}.content")
        if role == "assistant":
            names.update((part.id, part.name) for part in parts if isinstance(part, ir.ToolCall))
            messages.append(ir.Message("assistant", parts))
            continue
        if role == "system":
            messages.append(ir.Message("system", parts, metadata={NAME: {"place": "messages"}}))
            continue
        results: list[ir.Part] = [
            replace(part, name=names.get(part.call_id, ""))
            for part in parts
            if isinstance(part, ir.ToolResult)
        ]
        rest: list[ir.Part] = [part for part in parts if not isinstance(part, ir.ToolResult)]
        own: JSON = {"apart": True} if messages and messages[-1].role in ("user", "tool") else {}
        metadata = {NAME: own} if own else {}
        if results:
            messages.append(ir.Message("tool", results, metadata=metadata))
        if rest or not results:
            messages.append(ir.Message("user", rest, metadata={} if results else metadata))
    return messages


def _parts(items: list[Any], path: str) -> list[ir.Part]:
    parts: list[ir.Part] = []
    for index, item in enumerate(items):
        part = parse_block(item, index, f"{path}[{index}]", reader)
        is_mark = (
            isinstance(part, ir.Opaque)
            and part.kind == CACHE_POINT
            and with_cache_point(parts, part.data)
        )
        if part is not None and not is_mark:
            parts.append(part)
    return parts


# ---------------------------------------------------------------------------------------------
# Middle language to wire


class MessagesRenderer:
    """Renders the messages of one request."""

    def __init__(self, losses: Losses, quirks: Quirks, *, is_own: bool) -> None:
        """`is_own`: what came over this wire was written for it, and the vendor judges it."""
        self._is_own = is_own
        self.names = ToolNames("[A-Za-z0-9_-]", length_max=TOOL_NAME_LENGTH_MAX)
        self.called: dict[str, str] = {}  # names on the wire of tools in the history
        self._losses = losses
        self._quirks = quirks
        self._documents: set[str] = set()
        self._wire_ids = UniqueIds(length_max=_UNNUMBERED)
        self._open: dict[str, ir.ToolCall] = {}  # calls of the last turn without a result
        self._waiting: dict[str, deque[str]] = {}  # the ids of those on the wire, by their own
        self._wire: list[JSON] = []
        self._trailing: list[JSON] = []  # media of results, which follow them

    def system(self, messages: list[ir.Message]) -> list[JSON]:
        """The top-level `system`."""
        return [block for message in messages for block in self._blocks(message)]

    def messages(self, messages: list[ir.Message]) -> list[JSON]:
        """The `messages` array."""
        for message in messages:
            self._note_name(message)
            match message.role:
                case "assistant":
                    self._assistant(message)
                case "tool":
                    self._results(message)
                case "system":
                    self._late_system(message)
                case "user":
                    self._user(message)
        if self._open and messages[-1].role == "tool" and not self._is_own:
            self._close_turn()  # of a last turn's calls some have results
        elif self._trailing:
            self._add("user", self._trailing)
        if self._wire and self._wire[0]["role"] == "assistant" and not self._is_own:
            self._losses.emulate("messages", "a user's turn is put before the first answer")
            self._wire.insert(0, {"role": "user", "content": [{"text": "..."}]})
        return self._wire

    def _add(self, role: str, blocks: list[JSON], *, apart: bool = False) -> None:
        if not blocks:
            return
        last = self._wire[-1] if self._wire else None
        if last is not None and last["role"] == role and not apart:
            last["content"] += blocks
        else:
            self._wire.append({"role": role, "content": blocks})

    def _note_name(self, message: ir.Message) -> None:
        if message.name:
            self._losses.drop("messages.name", "this wire has no names of participants")

    # Assistant turns

    def _assistant(self, message: ir.Message) -> None:
        self._close_turn()
        blocks: list[JSON] = []
        for part in message.parts:
            if isinstance(part, ir.ToolCall):
                blocks.append(self._call(part))
                blocks.extend(cache_points(part))
            elif isinstance(part, ir.Reasoning):
                if self._keeps(part):
                    blocks.append(reasoning_block(part))
                else:
                    self._losses.drop_state("reasoning", "without a signature of this wire's")
            elif isinstance(part, ir.Media) and NAME not in part.metadata:
                self._losses.emulate("assistant.media", "what the model made is in a user message")
                if (block := self._media(part)) is not None:
                    self._trailing.append(block)
            elif (block := self._block(part, "assistant")) is not None:
                blocks.append(block)
                blocks.extend(() if isinstance(part, ir.Opaque) else cache_points(part))
        self._add("assistant", blocks)

    def _keeps(self, part: ir.Reasoning) -> bool:
        own = part.metadata.get(NAME)
        if own is None:
            return False
        if own.get("signature") or "redacted" in own:
            return True
        return self._quirks.reasoning_replay in ("as_written", "with_calls", "always")

    def _call(self, call: ir.ToolCall) -> JSON:
        note_call(call, self._losses)
        wire_id = self._wire_id(call)
        self._open[wire_id] = call
        self._waiting.setdefault(call.id, deque()).append(wire_id)
        name = self.names.wire_name(call.name, call.namespace)
        self.called[name] = call.name
        return call_block(call, wire_id, name)

    def _wire_id(self, call: ir.ToolCall) -> str:
        found = call.id
        if not re.fullmatch(self._quirks.call_id_pattern or CALL_ID, found):
            digest = hashlib.sha256(found.encode("utf-8", "surrogatepass")).hexdigest()
            found = digest[: self._quirks.call_id_length or CALL_ID_LENGTH]
        unique = self._wire_ids.take(found)
        if unique != found:
            self._losses.adjust("tool_call.id", f"{call.id!r} names several calls; one is renamed")
        return unique

    # What follows a turn

    def _results(self, message: ir.Message) -> None:
        blocks: list[JSON] = []
        for part in message.parts:
            if isinstance(part, ir.ToolResult):
                wire_id = self._answered(part)
                if wire_id:
                    blocks.append(self._result(wire_id, part))
                    blocks.extend(cache_points(part))
            elif (block := self._block(part, "tool")) is not None:
                self._trailing.append(block)
        self._add("user", blocks, apart="apart" in message.metadata.get(NAME, {}))

    def _answered(self, result: ir.ToolResult) -> str:
        if waiting := self._waiting.get(result.call_id):
            wire_id = waiting.popleft()
            del self._open[wire_id]
            return wire_id
        detail = f"no call {result.call_id!r} waits for this result"
        self._losses.drop("orphan_tool_result", detail)
        return ""

    def _result(self, wire_id: str, result: ir.ToolResult) -> JSON:
        own = result.metadata.get(NAME, {})
        content: list[JSON] = []
        for part in result.content:
            block: JSON | str | None
            if isinstance(part, ir.Text):
                block = result_text_block(part) if part.text or NAME in part.metadata else None
            elif isinstance(part, ir.Media):
                block = self._result_media(part)
            else:
                block = dict(part.data)
            if block is not None:
                content.append(block)
        if not content and NAME not in result.metadata:
            content.append({"text": _EMPTY_RESULT})
        wire: JSON = {"toolUseId": wire_id, "content": content, **own.get("fields", {})}
        if result.is_error:
            wire["status"] = "error"
        elif "status" in own:
            wire["status"] = own["status"]
        return {"toolResult": wire}

    def _result_media(self, part: ir.Media) -> JSON | None:
        block = result_media(part, self._losses, lambda losses: self._media(part, losses))
        if isinstance(block, str):
            return {"text": block}
        if self._quirks.result_media and "audio" not in block:
            return block
        self._losses.emulate("tool_result.media", "shown after the results instead of inside")
        self._trailing.append(block)
        return {"text": MEDIA_BELOW.format(part.kind)}

    def _close_turn(self) -> None:
        """Give each call of the turn before a result, and what was shown behind them."""
        blocks: list[JSON] = []
        for wire_id, call in self._open.items():
            self._losses.emulate(
                "orphan_tool_call", f"the call {call.id!r} has no result; one says so"
            )
            result = {"toolUseId": wire_id, "content": [{"text": NO_RESULT}], "status": "error"}
            blocks.append({"toolResult": result})
        if blocks and self._wire and self._wire[-1]["role"] == "user":
            # Results stand before what the user said.
            last = self._wire[-1]
            last["content"] = [*blocks, *last["content"]]
        else:
            self._add("user", blocks)
        self._open, self._waiting = {}, {}
        self._add("user", self._trailing)
        self._trailing = []

    def _user(self, message: ir.Message) -> None:
        blocks = self._blocks(message)
        apart = "apart" in message.metadata.get(NAME, {})
        if self._open and blocks:
            self._close_turn()
        elif self._trailing and blocks:
            self._add("user", self._trailing)
            self._trailing = []
        self._add("user", blocks, apart=apart)

    def _late_system(self, message: ir.Message) -> None:
        blocks = self._blocks(message)
        if not blocks:
            return
        if "place" in message.metadata.get(NAME, {}):
            self._wire.append({"role": "system", "content": blocks})
            return
        if self._open:
            self._close_turn()
        self._losses.emulate("messages.system", "a late system message is sent as a user's")
        self._add("user", [{"text": f"<system>\n{message.text}\n</system>"}])

    # Parts

    def _blocks(self, message: ir.Message) -> list[JSON]:
        blocks: list[JSON] = []
        for part in message.parts:
            if (block := self._block(part, message.role)) is not None:
                blocks.append(block)
                blocks.extend(() if isinstance(part, ir.Opaque) else cache_points(part))
        return blocks

    def _block(self, part: ir.Part, role: str) -> JSON | None:
        match part:
            case ir.Text():
                is_kept = self._is_own or part.text.strip() or NAME in part.metadata
                return text_block(part) if is_kept else None
            case ir.Opaque():
                return dict(part.data)  # only this dialect's are left
            case ir.Media():
                return self._media(part)
            case ir.Refusal():
                self._losses.emulate("refusal", "sent as text")
                return {"text": part.text} if part.text else None
            case ir.Reasoning() | ir.ToolCall():
                self._losses.drop(f"messages.{role}", "only assistants think and call tools")
                return None
            case ir.ToolResult():
                return None

    def _media(self, part: ir.Media, losses: Losses | None = None) -> JSON | None:
        block = render_media(part, self._documents, is_own=self._is_own)
        if isinstance(block, str):
            (losses or self._losses).refuse(part.kind, block, path="messages")
            return None
        return block
