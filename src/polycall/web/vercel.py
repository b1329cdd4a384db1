"""The UI message stream of Vercel's AI SDK (package `ai` 6.0.326, read 2026-11-29)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

from msgspec import Struct

from polycall.agents import TaskEvent, event_json
from polycall.errors import RequestError
from polycall.ir import JSON, Message, Part, Reasoning, Text, ToolCall, ToolResult
from polycall.web.events import Encoder, Waiting, call_of_approval
from polycall.web.parts import user_message
from polycall.web.responses import Approvals, Events, OnApproval, OnLeave, Verdict, encoded

_REASONS = {
    "finished": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "refusal": "content-filter",
    "error": "error",
    "paused": "tool-calls",
}


class VercelRequest(Struct, frozen=True):
    """A request of `useChat`: the new message of a chat, or answers to approvals."""

    chat_id: str
    prompt: Message
    message_id: str = ""  # of the assistant's message that continues
    prompt_id: str = ""  # of the user's message: the same where it is sent again
    verdicts: dict[str, Verdict] = {}


def read_vercel(body: Any) -> VercelRequest:
    """Read the body that `DefaultChatTransport` sends; `RequestError` where it is none.

    Of the messages only the user's last one, and answers to approvals in the last message, are
    taken: what was said before is the server's to keep.
    """
    data = cast("JSON", body) if isinstance(body, dict) else {}
    chat, messages = data.get("id"), data.get("messages")
    if not isinstance(chat, str) or not isinstance(messages, list):
        raise RequestError("a chat request has id and messages")
    listed = [cast("JSON", each) for each in cast("list[Any]", messages) if isinstance(each, dict)]
    last = listed[-1] if listed else {}
    verdicts: dict[str, Verdict] = {}
    if last.get("role") == "assistant":
        for part in cast("list[JSON]", last.get("parts") or []):
            answer = cast("JSON", part.get("approval") or {})
            if part.get("state") == "approval-responded" and "approved" in answer:
                said = Verdict(answer["approved"] is True, str(answer.get("reason") or ""))
                verdicts[str(answer.get("id"))] = said
    message_id = str(last.get("id") or "") if verdicts else ""
    users = [str(each.get("id") or "") for each in listed if each.get("role") == "user"]
    prompt_id = users[-1] if users else ""
    return VercelRequest(chat, user_message(listed, "parts"), message_id, prompt_id, verdicts)


def vercel(
    stream: Events,
    *,
    run_id: str,
    message_id: str = "",
    approvals: Approvals | None = None,
    on_leave: OnLeave = "cancel",
    on_approval: OnApproval = "event",
) -> AsyncGenerator[bytes]:
    """A run as a UI message stream; send it with `VERCEL_HEADERS`.

    `run_id` begins the ids of its parts: a run that continues after an approval has the same one.
    A run with `approve="pause"` that waits asks for each approval and finishes; the request that
    `useChat` then sends has the answers.  `on_approval="interrupt"` does the same for a durable
    run, which `answer_durable` continues with.  Background tasks are `data-task` parts.
    """
    encoder = _VercelEncoder(run_id, message_id or f"{run_id}-message")
    return encoded(
        stream,
        encoder,
        approvals=approvals,
        on_leave=on_leave,
        on_approval=on_approval,
        last=b"data: [DONE]\n\n",
    )


class _VercelEncoder(Encoder):
    def __init__(self, run_id: str, message_id: str) -> None:
        super().__init__(run_id)
        self._message_id = message_id
        self._is_in_step = False

    def opened(self, part_id: str, part: Part) -> list[JSON]:
        match part:
            case Text():
                return [{"type": "text-start", "id": part_id}]
            case Reasoning():
                return [{"type": "reasoning-start", "id": part_id}]
            case ToolCall():
                return [{"type": "tool-input-start", **_call(part_id, part), "dynamic": True}]
            case _:
                return []

    def delta(self, part_id: str, part: Part, text: str) -> list[JSON]:
        match part:
            case Text():
                return [{"type": "text-delta", "id": part_id, "delta": text}]
            case Reasoning():
                return [{"type": "reasoning-delta", "id": part_id, "delta": text}]
            case ToolCall():
                return [{"type": "tool-input-delta", "toolCallId": part_id, "inputTextDelta": text}]
            case _:
                return []

    def closed(self, part_id: str, part: Part, text: str) -> list[JSON]:
        match part:
            case Text():
                return [{"type": "text-end", "id": part_id}]
            case Reasoning():
                return [{"type": "reasoning-end", "id": part_id}]
            case ToolCall():
                whole = ToolCall(part.id, part.name, part.arguments_json + text)
                head = {**_call(part_id, part), "dynamic": True}
                if whole.arguments is None:
                    words = "the arguments are no JSON object"
                    error = {"input": whole.arguments_json, "errorText": words}
                    return [{"type": "tool-input-error", **head, **error}]
                return [{"type": "tool-input-available", **head, "input": whole.arguments}]
            case _:
                return []

    def result(self, call_id: str, call: ToolCall, result: ToolResult) -> list[JSON]:
        head: JSON = {"toolCallId": call_id, "dynamic": True}
        if result.is_error:
            return [{"type": "tool-output-error", **head, "errorText": result.text}]
        return [{"type": "tool-output-available", **head, "output": result.text}]

    def tool_event(self, call_id: str, event: JSON) -> list[JSON]:
        return [{"type": "data-tool", "id": f"{call_id}-said", "data": event}]

    def task(self, event: TaskEvent) -> list[JSON]:
        task = event_json(event)["task"]
        return [{"type": "data-task", "id": f"{self.run_id}-{event.task.id}", "data": task}]

    def approval(self, data: JSON) -> list[JSON]:
        return [{"type": "data-approval", "id": f"{self.run_id}-{data['id']}", "data": data}]

    def custom(self, name: str, data: JSON) -> list[JSON]:
        return [{"type": f"data-{name}", "data": data}]

    def step_start(self, step: int) -> list[JSON]:
        ended = self.step_end(step - 1)
        self._is_in_step = True
        return [*ended, {"type": "start-step"}]

    def step_end(self, step: int) -> list[JSON]:
        was, self._is_in_step = self._is_in_step, False
        return [{"type": "finish-step"}] if was else []

    def start(self) -> list[JSON]:
        return [{"type": "start", "messageId": self._message_id}]

    def end(self, waiting: Sequence[Waiting], reason: str) -> list[JSON]:
        asked: list[JSON] = [
            {
                "type": "tool-approval-request",
                "approvalId": each.id,
                "toolCallId": self.call_id(*call_of_approval(each.approval.id)),
            }
            for each in waiting
        ]
        finish: JSON = {"type": "finish", "finishReason": _REASONS.get(reason, "other")}
        return [*asked, *self.step_end(self._step), finish]

    def failed(self, words: str) -> list[JSON]:
        return [{"type": "error", "errorText": words}]


def _call(part_id: str, part: ToolCall) -> JSON:
    return {"toolCallId": part_id, "toolName": part.name}
