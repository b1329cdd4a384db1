"""Messages to input steps."""

from __future__ import annotations

from polycall import ir
from polycall._support import jsontext
from polycall.dialects.gemini_interactions.content import call_step, content_of, thought_step
from polycall.dialects.gemini_interactions.names import NAME
from polycall.ir import JSON
from polycall.translation.calls import note_call
from polycall.translation.foreign_words import is_office_file, result_media
from polycall.translation.quirks import Quirks
from polycall.translation.wire import Losses, ToolNames

_NO_RESULT = "no result: the call was interrupted"


class MessagesRenderer:
    """Renders the input of one request; `is_own` is one that came in this dialect."""

    def __init__(
        self, losses: Losses, names: ToolNames, quirks: Quirks, *, is_own: bool = False
    ) -> None:
        self._is_own = is_own
        self._losses = losses
        self._names = names
        self._quirks = quirks
        self._called: dict[str, str] = {}
        self._open: dict[str, str] = {}  # calls without a result: the name of each

    def instruction(self, messages: list[ir.Message]) -> str:
        """`system_instruction`: the leading system messages."""
        texts: list[str] = []
        for message in messages:
            for part in message.parts:
                if isinstance(part, ir.Text):
                    texts.append(part.text)
                else:
                    self._losses.refuse("system", "only text is taken there", path="messages")
        return "\n\n".join(texts)

    def steps(self, messages: list[ir.Message]) -> list[JSON]:
        """The steps of all others."""
        steps: list[JSON] = []
        for message in messages:
            if message.role != "tool":
                steps.extend(self._interrupted())
            if message.name:
                self._losses.drop("messages.name", "this wire has no names of participants")
            match message.role:
                case "assistant":
                    steps.extend(self._assistant(message))
                case "tool":
                    steps.extend(
                        self._result(part)
                        for part in message.parts
                        if isinstance(part, ir.ToolResult)
                    )
                case "system":
                    self._losses.emulate("messages.system", "a late one is sent as a user's")
                    text = f"<system>\n{message.text}\n</system>"
                    steps.append({"type": "user_input", "content": [_text(text)]})
                case "user":
                    content = [c for part in message.parts if (c := self._content(part))]
                    if content:
                        steps.append({"type": "user_input", "content": content})
        if messages and messages[-1].role == "tool":
            steps.extend(self._interrupted())  # of a last turn's calls some have results
        return steps

    def _interrupted(self) -> list[JSON]:
        """Results for the calls that have none: a conversation without them is refused."""
        steps: list[JSON] = []
        for call_id, name in self._open.items():
            self._losses.emulate("orphan_tool_call", f"{call_id!r} has no result; one says so")
            step = {"type": "function_result", "call_id": call_id, "name": name}
            steps.append({**step, "result": _NO_RESULT, "is_error": True})
        self._open.clear()
        return steps

    def _assistant(self, message: ir.Message) -> list[JSON]:
        steps: list[JSON] = []
        for part in message.parts:
            match part:
                case ir.Reasoning():
                    if part.metadata.get(NAME):
                        steps.append(thought_step(part))
                    else:
                        detail = "without a signature of this wire's"
                        self._losses.drop_state("reasoning", detail)
                case ir.ToolCall():
                    steps.append(self._call(part))
                case ir.Opaque():
                    steps.append(dict(part.data))
                case _:
                    if (content := self._content(part)) is not None:
                        _show(steps, content, is_apart=_begins_step(part))
        return steps

    def _call(self, call: ir.ToolCall) -> JSON:
        note_call(call, self._losses)
        name = self._names.wire_name(call.name, call.namespace)
        self._called[call.id] = name
        if not self._is_own:
            self._open[call.id] = name
        return call_step(call, name)

    def _result(self, result: ir.ToolResult) -> JSON:
        own = result.metadata.get(NAME, {})
        self._open.pop(result.call_id, None)
        step: JSON = {"type": "function_result", "call_id": result.call_id}
        name = self._called.get(result.call_id) or result.name
        if name:
            step["name"] = name
        step["result"] = self._result_value(result, own.get("shape", ""))
        if result.is_error:
            step["is_error"] = True
        return {**step, **own.get("fields", {})}

    def _result_value(self, result: ir.ToolResult, shape: str) -> object:
        parts = result.content
        if shape == "json":
            try:
                return jsontext.decode(result.text)
            except ValueError:
                pass
        if len(parts) == 1 and isinstance(parts[0], ir.Text) and shape != "list":
            return parts[0].text
        if not parts and shape != "list":
            return ""
        contents: list[JSON] = []
        for part in parts:
            if isinstance(part, ir.Opaque):
                contents.append(dict(part.data))
            elif isinstance(part, ir.Text):
                contents.append(self._content(part) or _text(part.text))
            else:
                contents.append(self._result_media(part))
        return contents

    def _result_media(self, part: ir.Media) -> JSON:
        def render(losses: Losses) -> JSON | None:
            content = content_of(part)
            if isinstance(content, str):
                losses.refuse(part.kind, content)
                return None
            return content

        shown = result_media(part, self._losses, render, is_office_file)
        return _text(shown) if isinstance(shown, str) else shown

    def _content(self, part: ir.Part) -> JSON | None:
        match part:
            case ir.Text():
                content = content_of(part)
                return content if isinstance(content, dict) else None
            case ir.Refusal():
                self._losses.emulate("refusal", "sent as text")
                return _text(part.text) if part.text else None
            case ir.Media():
                content = content_of(part)
                if isinstance(content, str):
                    self._losses.refuse(part.kind, content, path="messages")
                    return None
                return content
            case ir.Opaque():
                return dict(part.data)
            case ir.Reasoning() | ir.ToolCall():
                self._losses.drop("messages", "only assistants think and call tools")
                return None
            case ir.ToolResult():
                return None


def _text(text: str) -> JSON:
    return {"type": "text", "text": text}


def _begins_step(part: ir.Part) -> bool:
    return isinstance(part, ir.Text | ir.Media) and bool(part.metadata.get(NAME, {}).get("step"))


def _show(steps: list[JSON], content: JSON, *, is_apart: bool) -> None:
    last = steps[-1] if steps else None
    if last is not None and last["type"] == "model_output" and not is_apart:
        last["content"].append(content)
    else:
        steps.append({"type": "model_output", "content": [content]})
