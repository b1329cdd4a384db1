"""The conversation, outwards: the middle language's messages to the wire's, by the quirks.

Each turn's results follow their calls at once, whatever stood between; what every provider
refuses is repaired, with a warning.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from typing import Any

from polycall import ir
from polycall._support import jsontext
from polycall.dialects.openai_chat.calls import (
    object_arguments,
    render_call,
    wire_arguments,
    wire_fields,
)
from polycall.dialects.openai_chat.content import (
    kept_fields,
    render_media,
    render_text,
    thinking_part,
    wire_type,
)
from polycall.dialects.openai_chat.messages import merge_details
from polycall.dialects.openai_chat.names import NAME, REASONING_FIELDS, own
from polycall.dialects.openai_chat.tools import ToolsRenderer
from polycall.ir import JSON
from polycall.translation.conversation import Beginnings, is_closed, known_of, last_turn
from polycall.translation.efforts import is_off
from polycall.translation.foreign_words import in_words, is_rare_image, result_media
from polycall.translation.growing import joined
from polycall.translation.quirks import Quirks
from polycall.translation.wire import Losses

_MISSING_RESULT = "no result: the call was interrupted"
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class MessagesRenderer:
    """Renders the messages of one request."""

    def __init__(
        self, request: ir.Request, quirks: Quirks, tools: ToolsRenderer, losses: Losses
    ) -> None:
        self._messages = request.messages
        self._quirks = quirks
        self._thinks = not is_thinking_off(request, quirks)
        # Where it matters which user's turn is the last, a later one changes what was before.
        is_lasting = quirks.reasoning_replay != "current_turn"
        self._beginnings = Beginnings(
            known_of(request.messages) if is_lasting else None,
            f"{NAME} {self._thinks}",
            quirks,
            is_lossy=losses.is_lossy,
        )
        self._before = self._beginnings.of(request.messages)
        self._start = 0 if self._before is None else len(self._before.messages)
        self._is_settled = True  # each call has its result, and each result its call
        self._tools = tools
        self._losses = losses
        self._out: list[JSON] = [] if self._before is None else self._before.wire.copy()
        self._ids: dict[str, str] = {}
        self._id_pattern = re.compile(quirks.call_id_pattern) if quirks.call_id_pattern else None
        self._results: dict[str, list[tuple[int, ir.ToolResult]]] = defaultdict(list)
        places = () if is_lasting else range(len(self._messages) - 1, 0, -1)
        said = (
            place
            for place in range(len(self._messages) - 1, -1, -1)
            if self._messages[place].role != "tool"
        )
        self._last_said = next(said, 0)
        users = (place for place in places if self._messages[place].role == "user")
        self._last_user = next(users, 0)
        order = 0
        for message in self._messages[self._start :]:
            if message.role == "tool":
                for part in message.parts:
                    if isinstance(part, ir.ToolResult):
                        self._results[part.call_id].append((order, part))
                        order += 1

    def write(self) -> list[JSON]:
        """All messages."""
        with self._losses.apart() as noted, self._tools.names.apart() as aliases:
            if self._before is not None:
                self._losses.repeat(self._before.warnings)
                aliases.update(self._before.aliases)
            end = self._start
            if self._beginnings.are_kept:
                end = last_turn(self._messages, self._start)
            self._write(self._start, end)
            begun = self._messages[:end]
            if end > self._start and self._is_settled and is_closed(begun[self._start :]):
                self._beginnings.keep(begun, self._out.copy(), [*noted], {**aliases})
            self._write(end, len(self._messages))
            if any(self._results.values()):
                self._losses.drop("orphan_tool_result", "a result without its call is left out")
        return self._out

    def _write(self, start: int, end: int) -> None:
        for position in range(start, end):
            message = self._messages[position]
            match message.role:
                case "system":
                    self._add_plain(message, self._system_role(message), position)
                case "user":
                    self._add_plain(message, "user", position)
                case "assistant":
                    self._add_assistant(message, position)
                case "tool":
                    rest: list[ir.Part] = [
                        p for p in message.parts if not isinstance(p, ir.ToolResult)
                    ]
                    if rest:
                        self._add_plain(ir.Message("user", rest), "user", position)

    # Plain messages

    def _system_role(self, message: ir.Message) -> str:
        is_developer = own(message.metadata).get("role") == "developer"
        return "developer" if is_developer and self._quirks.developer_role else "system"

    def _add_plain(self, message: ir.Message, role: str, position: int) -> None:
        notes = own(message.metadata)
        path = f"messages[{position}]"
        content = self._content(message.parts, notes.get("content", ""), path)
        if message.parts and content == []:
            return  # all of it was left out, with warnings
        if role == "user" and not self._quirks.user_after_tool and self._after_tool():
            self._losses.emulate("messages", "an assistant turn was put before the user's")
            self._out.append({"role": "assistant", "content": "Understood."})
        body: JSON = {"role": role, "content": content}
        self._add_name(message, body)
        if "fields" in notes:
            body.update(kept_fields(notes["fields"], self._quirks, self._losses))
        self._out.append(body)

    def _after_tool(self) -> bool:
        return bool(self._out) and self._out[-1]["role"] in ("tool", "function")

    def _add_name(self, message: ir.Message, body: JSON) -> None:
        if not message.name:
            return
        if "messages.name" in self._quirks.refused:
            self._losses.drop("messages.name", "the target does not take it")
        else:
            body["name"] = message.name

    def _content(self, parts: list[ir.Part], form: str, path: str) -> Any:
        """Content as a string where it can be one, else as an array."""
        if not parts:
            return None if form == "null" else [] if form == "parts" else ""
        if len(parts) == 1 and form != "parts":
            only = parts[0]
            if isinstance(only, ir.Text) and not only.metadata:
                return only.text
        rendered: list[JSON] = []
        for position, part in enumerate(parts):
            item = self._part(part, f"{path}.content[{position}]")
            if item is not None:
                rendered.append(item)
        if rendered and all(item.keys() == {"type", "text"} for item in rendered):
            if not self._quirks.content_parts:
                return "\n".join(item["text"] for item in rendered)
            if len(rendered) == 1 and form != "parts":
                return rendered[0]["text"]
        return rendered

    def _part(self, part: ir.Part, path: str) -> JSON | None:
        match part:
            case ir.Text():
                return render_text(part, self._quirks, self._losses)
            case ir.Media():
                return render_media(part, self._quirks, self._losses, path)
            case ir.Opaque():
                return part.data  # only this dialect's are left
            case ir.Refusal():
                return {"type": "refusal", "refusal": part.text}
            case ir.Reasoning():
                self._losses.drop_state("reasoning", "reasoning outside an assistant's turn")
                return None
            case ir.ToolCall() | ir.ToolResult():
                kind = "call" if isinstance(part, ir.ToolCall) else "result"
                self._losses.drop("messages.content", f"a tool {kind} in the wrong role")
                return None

    # Assistants

    def _add_assistant(self, message: ir.Message, position: int) -> None:
        notes = own(message.metadata)
        calls = [part for part in message.parts if isinstance(part, ir.ToolCall)]
        content: list[JSON] = []
        reasoning: list[ir.Reasoning] = []
        refusals: list[str] = []
        drawn: list[JSON] = []
        seen_call = False
        for part in message.parts:
            match part:
                case ir.ToolCall():
                    seen_call = True
                case ir.Reasoning():
                    if own(part.metadata).get("field") == "thinking":
                        self._add_thinking(part, content)
                    else:
                        reasoning.append(part)
                case ir.Refusal() if own(part.metadata).get("place") != "content":
                    refusals.append(part.text)
                case ir.Media() if not own(part.metadata):
                    self._add_drawn(part, drawn, f"messages[{position}]")
                case _:
                    if seen_call:
                        self._losses.adjust("part_order", "Chat has text before calls only")
                    item = self._part(part, f"messages[{position}]")
                    if item is not None:
                        content.append(item)
        body: JSON = {"role": "assistant"}
        if message.parts and not (content or calls or refusals or reasoning or notes):
            self._add_media(drawn)  # all the rest was left out, with warnings
            return
        self._set_content(body, content, notes, has_calls=bool(calls))
        self._set_reasoning(body, reasoning, position, has_calls=bool(calls))
        self._add_name(message, body)
        if refusals:
            body["refusal"] = "".join(refusals)
        if calls:
            self._set_calls(body, calls)
        if "fields" in notes:
            body.update(kept_fields(notes["fields"], self._quirks, self._losses))
        self._out.append(body)
        self._add_results(calls, position, drawn)

    def _add_drawn(self, part: ir.Media, drawn: list[JSON], path: str) -> None:
        """Put the model's media into a user message behind its turn: Chat's answers are text."""
        if wire_type(part, self._quirks) not in self._quirks.media_parts:
            self._losses.drop("assistant.media", f"the target takes no {part.kind} parts")
            return
        item = render_media(part, self._quirks, self._losses, path)
        if item is not None:
            self._losses.emulate("assistant.media", "sent in a user message after the turn")
            drawn.append(item)

    def _add_thinking(self, part: ir.Reasoning, content: list[JSON]) -> None:
        if self._quirks.reasoning_replay == "as_written":
            content.append(own(part.metadata).get("part") or thinking_part(part.text))
        elif self._quirks.reasoning_field == "thinking":
            content.append(thinking_part(part.text))
        elif self._quirks.reasoning_replay == "never":
            self._losses.drop_state("reasoning", "the target takes no reasoning back")

    def _set_content(
        self, body: JSON, content: list[JSON], notes: JSON, *, has_calls: bool
    ) -> None:
        form = notes.get("content", "")
        if content:
            plain = all(item.keys() == {"type", "text"} for item in content)
            if plain and (form != "parts" or not self._quirks.content_parts):
                body["content"] = "".join(item["text"] for item in content)
            else:
                body["content"] = content
            return
        if form == "parts" and self._quirks.content_parts:
            body["content"] = []
            return
        if self._quirks.empty_content != "null":
            form = self._quirks.empty_content if has_calls else "empty"
        elif form not in ("null", "empty", "omit"):
            form = "null" if has_calls else "empty"
        if form != "omit":
            body["content"] = None if form == "null" else ""

    def _set_reasoning(
        self, body: JSON, parts: list[ir.Reasoning], position: int, *, has_calls: bool
    ) -> None:
        mode = self._quirks.reasoning_replay
        if mode == "as_written":
            self._echo_reasoning(body, parts)
            return
        field = self._quirks.reasoning_field
        if mode == "never" or not field:
            if any(part.text or part.metadata for part in parts):
                self._losses.drop_state("reasoning", "the target takes no reasoning back")
            return
        if mode == "with_calls" and not has_calls:
            return
        if mode == "current_turn" and position < self._last_user:
            return
        text = "".join(part.text for part in parts)
        if field == "thinking":
            if text:
                self._put_thinking(body, text)
        elif text or (self._thinks and (mode == "always" or self._quirks.reasoning_blank)):
            body[field] = text or self._quirks.reasoning_blank

    @staticmethod
    def _put_thinking(body: JSON, text: str) -> None:
        content = body.get("content")
        if isinstance(content, str):
            content = [{"type": "text", "text": content}] if content else []
        body["content"] = [thinking_part(text), *(content or [])]

    def _echo_reasoning(self, body: JSON, parts: list[ir.Reasoning]) -> None:
        """Give back, in its own fields, what came over this dialect; and nothing else."""
        details: list[Any] = []
        texts: dict[str, list[str]] = defaultdict(list)
        for part in parts:
            notes = own(part.metadata)
            if not notes:
                self._losses.drop_state("reasoning", "reasoning of another provider")
                continue
            details.extend(notes.get("details", ()))
            field = notes.get("field")
            if field in REASONING_FIELDS:
                texts[field].append(part.text)
            for name, text in notes.get("also", {}).items():
                texts[name].append(text)
        body.update(joined(texts))
        if details:
            body["reasoning_details"] = merge_details(details)

    def _set_calls(self, body: JSON, calls: list[ir.ToolCall]) -> None:
        if not self._quirks.any_arguments:
            calls = [self._with_object(call) for call in calls]
        legacy = len(calls) == 1 and own(calls[0].metadata).get("legacy")
        if legacy and self._quirks.legacy_functions:
            call = calls[0]
            name = self._tools.name(call.name, call.namespace)
            body["function_call"] = {"name": name, "arguments": wire_arguments(call)}
            return
        rendered: list[JSON] = []
        for call in calls:
            if call.caller != "direct":
                self._losses.drop("caller", "Chat has direct calls only")
            fields = kept_fields(wire_fields(call), self._quirks, self._losses)
            name = self._tools.name(call.name, call.namespace)
            custom = self._quirks.custom_tools
            rendered.append(
                render_call(call, self._call_id(call.id), name, custom=custom, fields=fields)
            )
        body["tool_calls"] = rendered

    def _with_object(self, call: ir.ToolCall) -> ir.ToolCall:
        if call.arguments is None:
            self._losses.adjust("arguments", f"those of {call.name!r} are no JSON object")
        return object_arguments(call)

    def _call_id(self, call_id: str) -> str:
        """The id on the wire; one that does not fit becomes another, always the same."""
        if self._id_pattern is None or self._id_pattern.fullmatch(call_id):
            return call_id
        known = self._ids.get(call_id)
        if known is None:
            known = fitting_id(call_id, self._quirks.call_id_length)
            if not self._id_pattern.fullmatch(known):
                known = fitting_id(call_id, 24)  # the pattern has no room for the prefix
            self._ids[call_id] = known
        return known

    # Results

    def _add_results(self, calls: list[ir.ToolCall], position: int, drawn: list[JSON]) -> None:
        found: list[tuple[int, ir.ToolResult, ir.ToolCall]] = []
        missing: list[ir.ToolCall] = []
        for call in calls:
            queue = self._results.get(call.id)
            if queue:
                found.append((*queue.pop(0), call))
            else:
                missing.append(call)
        self._is_settled = self._is_settled and not missing
        if missing and (found or position < self._last_said):
            self._losses.emulate("orphan_tool_call", "an error result was made for it")
            found.extend((1 << 62, _interrupted(call), call) for call in missing)
        media: list[JSON] = []
        for _, result, call in sorted(found, key=lambda entry: entry[0]):
            self._add_result(result, call, media)
        if media:
            self._losses.emulate("tool_result.media", "sent in a user message after the results")
        self._add_media([*media, *drawn])

    def _add_media(self, media: list[JSON]) -> None:
        if not media:
            return
        if not self._quirks.user_after_tool and self._after_tool():
            self._out.append({"role": "assistant", "content": "Understood."})
        self._out.append({"role": "user", "content": media})

    def _add_result(self, result: ir.ToolResult, call: ir.ToolCall, media: list[JSON]) -> None:
        notes = own(result.metadata)
        if own(call.metadata).get("legacy") and self._quirks.legacy_functions:
            body: JSON = {"role": "function", "name": notes.get("name") or call.name}
        else:
            body = {"role": "tool", "tool_call_id": self._call_id(call.id)}
            if "name" in notes and self._quirks.tool_message_name:
                body["name"] = notes["name"]
            elif "name" in notes and not notes.get("legacy"):
                self._losses.drop("messages.name", "the target knows no names of tools there")
        body["content"] = self._result_content(result, notes, media)
        if "fields" in notes:
            body.update(kept_fields(notes["fields"], self._quirks, self._losses))
        self._out.append(body)

    def _result_content(self, result: ir.ToolResult, notes: JSON, media: list[JSON]) -> Any:
        if not result.is_error:
            if notes.get("content") == "parts" and self._quirks.result_media:
                return self._content(list(result.content), "parts", "tool_result")
            if self._quirks.tool_message_media and any(
                isinstance(part, ir.Media) for part in result.content
            ):
                return self._mixed_result(result)
        texts: list[str] = []
        for part in result.content:
            for piece in (
                [part] if not isinstance(part, ir.Opaque) else in_words(part, self._losses)
            ):
                if isinstance(piece, ir.Text):
                    texts.append(piece.text)
                    continue
                item = self._result_media(piece)
                if isinstance(item, str):
                    texts.append(item)
                else:
                    texts.append(f"[{piece.kind} attached below]")
                    media.append(item)
        text = "\n".join(texts)
        if result.is_error:
            self._losses.emulate("is_error", "written into the result")
            return jsontext.encode({"error": text})
        return text

    def _mixed_result(self, result: ir.ToolResult) -> Any:
        """Text and media side by side, for servers whose tool messages hold both."""
        parts: list[ir.Part] = []
        for part in result.content:
            item = self._result_media(part) if isinstance(part, ir.Media) else None
            parts.append(ir.Text(item) if isinstance(item, str) else part)
        return self._content(parts, "", "tool_result")

    def _result_media(self, part: ir.Media) -> JSON | str:
        def render(losses: Losses) -> JSON | None:
            return render_media(part, self._quirks, losses, "tool_result")

        item = result_media(part, self._losses, render, is_rare_image)
        return item["text"] if not isinstance(item, str) and item["type"] == "text" else item


def is_thinking_off(request: ir.Request, quirks: Quirks) -> bool:
    """Whether the model does not think, since the caller asked it not to, and it can do so."""
    config = request.reasoning
    return config is not None and is_off(config) and not quirks.thinks_always


def fitting_id(call_id: str, length: int) -> str:
    """An id that depends on `call_id` alone: base 62, `length` long (0: a `call_` id)."""
    number = int.from_bytes(hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).digest())
    digits: list[str] = []
    for _ in range(length or 24):
        number, digit = divmod(number, 62)
        digits.append(_BASE62[digit])
    return "".join(digits) if length else "call_" + "".join(digits)


def _interrupted(call: ir.ToolCall) -> ir.ToolResult:
    return ir.ToolResult(call.id, [ir.Text(_MISSING_RESULT)], is_error=True, name=call.name)
