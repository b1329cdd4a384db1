"""The messages of a request, middle language to wire.

All results of a turn stand first in the user message right after it, whatever stood between; a user
message that follows them directly joins them, unless it stood apart on this wire.  Other neighbours
of one role stay apart, since the server merges them itself.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any

from polycall import ir
from polycall._support import jsontext
from polycall.dialects.anthropic.beginnings import Rendered, Slot, Turn, has_marks
from polycall.dialects.anthropic.binding import BOUND
from polycall.dialects.anthropic.content import (
    call_block,
    is_plain_text,
    reasoning_block,
    text_block,
    trim_prefill,
)
from polycall.dialects.anthropic.ids import encode_id, fit_id
from polycall.dialects.anthropic.media import render_media
from polycall.dialects.anthropic.names import NAME
from polycall.dialects.anthropic.tool_changes import ToolChanges
from polycall.ir import JSON
from polycall.translation.calls import UniqueIds
from polycall.translation.conversation import Beginnings, end_of_beginning
from polycall.translation.foreign_words import result_media
from polycall.translation.quirks import Quirks
from polycall.translation.tool_list_cache import once
from polycall.translation.wire import Losses, ToolNames

NO_RESULT = "no result: the call was interrupted before it gave one"
MEDIA_BELOW = "[{} attached below]"


class MessagesRenderer:
    """Renders the messages of one request."""

    def __init__(
        self,
        losses: Losses,
        names: ToolNames,
        quirks: Quirks,
        offered: list[ir.Tool] = [],  # noqa: B006 - it is not changed
        *,
        appends: bool = False,
    ) -> None:
        """`offered`: the tools of the request, to which results may refer.

        `appends`: changes of tools may be said after the beginning.
        """
        self._offered = once(offered, _by_name)
        self.names = names
        # A method of this object would be a circle that waits for the garbage collector.
        offered_names = partial(_offered_names, self._offered, names)
        self.changes = ToolChanges(offered_names, appends=appends)
        self.opened: set[str] = set()  # names on the wire of tools that a result has opened
        self.unmarked = 0  # messages at the beginning that have no marks for the cache
        self.bound: dict[int, str] = {}  # what thinking blocks are bound to, by their identity
        self._losses = losses
        self._quirks = quirks
        self._wire_ids = UniqueIds()
        self._drawn: list[JSON] = []  # media that the assistant of the turn in hand made

    def tool_name(self, name: str, namespace: str = "") -> str:
        """The tool's name on the wire."""
        return self.names.wire_name(name, namespace)

    def system(self, messages: list[ir.Message]) -> str | list[JSON]:
        """The top-level `system` of the leading system messages; empty where there are none."""
        if len(messages) == 1 and _is_string(messages[0]):
            return messages[0].text
        return [
            block
            for index, message in enumerate(messages)
            for block in self._blocks(message, f"messages[{index}]")
        ]

    def messages(
        self, messages: list[ir.Message], known: dict[Any, Any] | None = None
    ) -> list[JSON]:
        """The `messages` array of all others; `known` has what was made of a beginning."""
        if known is None:
            wire = list[JSON]()
            turns = self._pair(messages)
            for turn in turns:
                self._write(wire, turn, is_last=turn is turns[-1])
            trim_prefill(wire, self._losses)
            return wire
        beginnings = Beginnings(known, NAME, self._quirks, is_lossy=self._losses.is_lossy)
        before, wire, count = beginnings.of(messages), list[JSON](), 0
        end, ids = end_of_beginning(messages, known), frozenset[str]()
        with self._losses.apart() as noted, self.names.apart() as aliases:
            if before is not None and self._resumes(before.state):
                wire, count, ids = before.wire.copy(), len(before.messages), before.state.wire_ids
                self._losses.repeat(before.warnings)
                aliases.update(before.aliases)
            self.unmarked, size = len(wire), len(noted)
            turns = self._pair(messages[count:])
            # Where a result answers no call, or ids were changed, later ones may change them.
            is_clean = beginnings.are_kept and size == len(noted)
            is_before = (count + each.start <= end for each in turns if is_clean)
            last = max(sum(is_before) - 1, 0)  # turns come in order
            for place, turn in enumerate(turns):
                size = len(wire)
                is_last = place == last > 0 and is_clean and turn.is_settled
                if is_last and wire and wire[-1]["role"] != "assistant":
                    ids |= {slot.wire_id for each in turns[:place] for slot in each.slots}
                    begun, made = messages[: count + turn.start], wire.copy()
                    beginnings.keep(begun, made, [*noted], {**aliases}, self._rendered(ids))
                self._write(wire, turn, is_last=turn is turns[-1])
                is_clean = is_clean and not has_marks(wire[size:])
            trim_prefill(wire, self._losses)
        return wire

    def _rendered(self, ids: frozenset[str]) -> Rendered:
        changes, offered = self.changes, frozenset(self._offered)
        opened, withdrawn = frozenset(self.opened), frozenset(changes.withdrawn)
        bound = self.bound.copy()
        return Rendered(offered, changes.appends, ids, bound, opened, withdrawn, changes.is_said)

    def _resumes(self, before: Rendered) -> bool:
        """Continue after a beginning that was rendered with the same tools; false for any other."""
        if before.offered != self._offered.keys() or before.appends != self.changes.appends:
            return False
        self._wire_ids.taken.update(before.wire_ids)
        self.bound.update(before.bound)
        self.opened.update(before.opened)
        self.changes.withdrawn = {*before.withdrawn}
        self.changes.is_said = before.is_said
        return True

    def _write(self, wire: list[JSON], turn: Turn, *, is_last: bool) -> None:
        slots = {_said_by(slot.call): slot for slot in turn.slots}
        self.changes.replay(wire, turn.assistants)
        for message in turn.assistants:
            blocks = self._assistant(message, slots)
            if blocks:
                wire.append(_wire_message("assistant", message, blocks))
        is_open = is_last and not turn.follow
        results = [] if is_open else self._results(turn)
        self._write_follow(wire, turn, [*results, *self._drawn])
        self._drawn.clear()

    def _pair(self, messages: list[ir.Message]) -> list[Turn]:
        """Turns, with each result at the call it answers: the latest one of its id."""
        turns = [Turn([], [], [], [])]
        unanswered: dict[str, list[tuple[Turn, deque[Slot]]]] = {}
        told: set[Any] = set()  # calls of the turn
        waiting = 0
        for place, message in enumerate(messages):
            turn = turns[-1]
            if message.role == "assistant":
                if turn.follow:
                    turn = Turn([], [], [], [], place, not waiting)
                    turns.append(turn)
                    told.clear()
                turn.assistants.append(message)
                for call in message.tool_calls:
                    if (said := _said_by(call)) in told:
                        continue  # the same call, reported twice
                    told.add(said)
                    slot = Slot(call, self._wire_id(call))
                    turn.slots.append(slot)
                    waiting += 1
                    places = unanswered.setdefault(call.id, [])
                    if not places or places[-1][0] is not turn:
                        places.append((turn, deque()))
                    places[-1][1].append(slot)
                continue
            turn.follow.append(message)
            for part in message.parts:
                if isinstance(part, ir.ToolResult):
                    waiting -= self._assign(part, unanswered)
        return turns

    def _assign(
        self, result: ir.ToolResult, unanswered: dict[str, list[tuple[Turn, deque[Slot]]]]
    ) -> bool:
        """Give a result to the call it answers; false where there is none."""
        waiting = unanswered.get(result.call_id)
        if not waiting:
            self._losses.drop(
                "orphan_tool_result", f"no call {result.call_id!r} waits for this result"
            )
            return False
        turn, slots = waiting[-1]
        slot = slots.popleft()
        if not slots:
            waiting.pop()
        slot.is_answered = True
        turn.results.append((slot, result))
        return True

    def _wire_id(self, call: ir.ToolCall) -> str:
        quirks = self._quirks
        wire_id = encode_id(call.id)
        if quirks.call_id_pattern:
            wire_id = fit_id(wire_id, quirks.call_id_pattern, quirks.call_id_length)
        unique = self._wire_ids.take(wire_id)
        if unique != wire_id:
            self._losses.adjust("tool_call.id", f"{call.id!r} names several calls; one is renamed")
        return unique

    # Assistant turns

    def _assistant(self, message: ir.Message, slots: dict[Any, Slot]) -> list[JSON]:
        """The blocks of a message; a call is said where its turn says it first."""
        blocks: list[JSON] = []
        for part in message.parts:
            if isinstance(part, ir.ToolCall):
                slot = slots.pop(_said_by(part), None)
                if slot is None:
                    continue
                if part.arguments is None:
                    self._losses.adjust("arguments", f"those of {part.name!r} are not an object")
                if part.caller != "direct" and NAME not in part.metadata:
                    self._losses.drop("caller", f"{part.id!r} was made by a program")
                is_in_set = "toolset_name" in part.metadata.get(NAME, {})
                name = part.name if is_in_set else self.tool_name(part.name, part.namespace)
                blocks.append(call_block(part, slot.wire_id, name))
            elif isinstance(part, ir.Reasoning):
                if self._keeps(part):
                    blocks.append(reasoning_block(part))
                    if known := part.metadata[NAME].get(BOUND):
                        self.bound[id(blocks[-1])] = known
                else:
                    self._losses.drop_state("reasoning", "without a signature of Anthropic's")
            elif (block := self._block(part, "assistant", "messages")) is None:
                continue
            elif isinstance(part, ir.Media) and NAME not in part.metadata:
                # The vendor takes no image in an assistant's message; the user may speak of it.
                self._losses.emulate("assistant.media", "what the model made is in a user message")
                self._drawn.append(block)
            else:
                blocks.append(block)
        return blocks

    def _keeps(self, part: ir.Reasoning) -> bool:
        own = part.metadata.get(NAME)
        if own is None:
            return False
        if own.get("signature") or "redacted_data" in own:
            return True
        # What this library showed a client of another model's thoughts comes back unsigned; the
        # vendor refuses it, some relatives that sign nothing want it.
        return self._quirks.reasoning_replay in ("with_calls", "current_turn", "always")

    # What follows a turn

    def _results(self, turn: Turn) -> list[JSON]:
        blocks: list[JSON] = []
        media: list[JSON] = []
        for slot, result in turn.results:
            blocks.append(self._result(slot.wire_id, result, media))
        for slot in turn.slots:
            if not slot.is_answered:
                self._losses.emulate(
                    "orphan_tool_call", f"the call {slot.call.id!r} has no result; one says so"
                )
                result = ir.ToolResult(slot.call.id, [ir.Text(NO_RESULT)], is_error=True)
                blocks.append(self._result(slot.wire_id, result, media))
        return [*blocks, *media]

    def _result(self, wire_id: str, result: ir.ToolResult, media: list[JSON]) -> JSON:
        own = result.metadata.get(NAME, {})
        block: JSON = {"type": "tool_result", "tool_use_id": wire_id}
        parts = result.content
        if is_plain_text(parts) and own.get("content") != "blocks":
            # An empty text is refused in places; no content says the same.
            if result.text or own.get("content") == "empty":
                block["content"] = result.text
        elif parts:
            content = [
                inner for part in parts if (inner := self._result_block(part, media)) is not None
            ]
            if content:
                block["content"] = content
        self._note_opened(block, result)
        for key, value in own.items():
            if key != "content":
                block[key] = value
        if result.is_error:
            block["is_error"] = True
        return block

    def _note_opened(self, block: JSON, result: ir.ToolResult) -> None:
        """Refer to the tools that this result has opened: they are not in the beginning then."""
        if not self._quirks.prefix_bound or result.is_error:
            return
        names = self._opened(result.metadata)
        if not names:
            return
        references: list[JSON] = [{"type": "tool_reference", "tool_name": name} for name in names]
        said: str | list[JSON] = block.get("content", "")
        if isinstance(said, str):
            said = [{"type": "text", "text": said}] if said else []
        block["content"] = [*said, *references]

    def _opened(self, metadata: ir.Metadata) -> list[str]:
        """The names on the wire of the tools that came here."""
        names: list[str] = metadata.get("polycall", {}).get("opened", [])
        found = [self._offered[name] for name in names if name in self._offered]
        wire = [self.tool_name(tool.name, tool.namespace) for tool in found]
        self.opened.update(wire)
        return wire

    def _result_block(self, part: ir.Text | ir.Media | ir.Opaque, media: list[JSON]) -> JSON | None:
        if not isinstance(part, ir.Media):
            return self._block(part, "tool", "messages")
        block = result_media(part, self._losses, lambda losses: _media_block(part, losses))
        if isinstance(block, str):
            return {"type": "text", "text": block}
        if self._quirks.result_media:
            return block
        self._losses.emulate("tool_result.media", "shown after the results instead of inside")
        media.append(block)
        return {"type": "text", "text": MEDIA_BELOW.format(part.kind)}

    def _write_follow(self, wire: list[JSON], turn: Turn, results: list[JSON]) -> None:
        joined: JSON | None = None
        if results:
            joined = {"role": "user", "content": results}
            wire.append(joined)
        late: list[JSON] = []
        for message in turn.follow:
            blocks = self._blocks(message, "messages")
            if not blocks:
                continue
            if message.role == "system":
                if self._quirks.late_system == "after_user":
                    late.extend(blocks)
                    continue
                joined = None
                wire.append(self._late_system(message, blocks))
            elif joined is not None and "apart" not in message.metadata.get(NAME, {}):
                if late:
                    detail = "a late system message is sent after the user's turn"
                    self._losses.adjust("messages.system", detail)
                joined["content"].extend(blocks)
                joined.update(message.metadata.get(NAME, {}).get("extra", {}))
                joined = None
            else:
                if late:
                    detail = "a late system message is sent after the user's turn"
                    self._losses.adjust("messages.system", detail)
                wire.append(_wire_message("user", message, blocks))
        if late:
            wire.append(self._after_user(wire, late))
        came = [message for message in turn.follow if message.role != "system"]
        for message in came if self.changes.appends else []:
            self.changes.add(wire, self._opened(message.metadata))

    def _after_user(self, wire: list[JSON], blocks: list[JSON]) -> JSON:
        """The system messages of a turn, at its end; a user's where no user has spoken there."""
        if wire and wire[-1]["role"] == "user":
            return {"role": "system", "content": blocks}
        self._losses.emulate("messages.system", "a late system message is sent as a user's")
        text = "\n\n".join(block["text"] for block in blocks if block.get("type") == "text")
        return {"role": "user", "content": f"<system>\n{text}\n</system>"}

    def _late_system(self, message: ir.Message, blocks: list[JSON]) -> JSON:
        if self._quirks.late_system:
            return _wire_message("system", message, blocks)
        self._losses.emulate("messages.system", "a late system message is sent as a user's")
        return {"role": "user", "content": f"<system>\n{message.text}\n</system>"}

    # Parts

    def _blocks(self, message: ir.Message, path: str) -> list[JSON]:
        if message.name:
            self._losses.drop("messages.name", "this wire has no names of participants")
        return [
            block
            for part in message.parts
            if (block := self._block(part, message.role, path)) is not None
        ]

    def _block(self, part: ir.Part, role: str, path: str) -> JSON | None:
        """The block of a part that is neither call nor result; `None` where it is left out."""
        match part:
            case ir.Text():
                return text_block(part) if part.text else None
            case ir.Opaque():
                return dict(part.data)  # only this dialect's are left
            case ir.Media():
                return _media_block(part, self._losses, path)
            case ir.Refusal():
                self._losses.emulate("refusal", "sent as text")
                return {"type": "text", "text": part.text} if part.text else None
            case ir.Reasoning() | ir.ToolCall():
                self._losses.drop(f"messages.{role}", "only assistants think and call tools")
                return None
            case ir.ToolResult():
                return None


def _media_block(part: ir.Media, losses: Losses, path: str = "messages") -> JSON | None:
    block = render_media(part)
    if isinstance(block, str):
        losses.refuse(part.kind, block, path=path)
        return None
    return block


def _is_string(message: ir.Message) -> bool:
    own = message.metadata.get(NAME, {})
    return own.get("content") != "blocks" and is_plain_text(message.parts)


def _wire_message(role: str, message: ir.Message, blocks: list[JSON]) -> JSON:
    content: Any = blocks
    if len(blocks) == 1 and _is_string(message):
        content = blocks[0]["text"]
    own = message.metadata.get(NAME)
    if own and "extra" in own:
        return {"role": role, "content": content, **own["extra"]}
    return {"role": role, "content": content}


def _said_by(call: ir.ToolCall) -> Any:
    """The fields that tell a call from others with its id."""
    metadata = jsontext.encode(call.metadata) if call.metadata else ""
    said = call.id, call.name, call.arguments_json, call.kind, call.namespace, call.caller
    return *said, metadata


def _by_name(tools: list[ir.Tool]) -> dict[str, ir.Tool]:
    return {tool.name: tool for tool in tools}


def _offered_names(offered: dict[str, ir.Tool], names: ToolNames) -> set[str]:
    return {names.wire_name(tool.name, tool.namespace) for tool in offered.values()}
