"""AG-UI 1.0 (`@ag-ui/core` 1.0.0, read 2026-11-29): events out, `RunAgentInput` in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

from msgspec import Struct

from polycall.agents import TaskEvent
from polycall.agents.event_json import event_json
from polycall.errors import RequestError
from polycall.ir import JSON, Message, Part, Reasoning, Text, ToolCall, ToolResult
from polycall.web.events import Encoder, Waiting, call_of_approval, is_shown
from polycall.web.parts import user_message
from polycall.web.responses import Approvals, Events, OnApproval, OnLeave, Verdict, encoded


class AGUIRequest(Struct, frozen=True):
    """A client's request: the new message of a thread, or answers to approvals."""

    thread_id: str
    run_id: str
    prompt: Message
    verdicts: dict[str, Verdict] = {}
    state: Any = None


def read_ag_ui(body: Any) -> AGUIRequest:
    """Read a `RunAgentInput`; `RequestError` where it is none.

    Of the messages only the last one, the user's, is taken: what was said before is the server's to
    keep, since a client could have written anything there.
    """
    data = cast("JSON", body) if isinstance(body, dict) else {}
    thread, run, messages = data.get("threadId"), data.get("runId"), data.get("messages")
    if not (isinstance(thread, str) and isinstance(run, str) and isinstance(messages, list)):
        raise RequestError("a RunAgentInput has threadId, runId and messages")
    verdicts: dict[str, Verdict] = {}
    for entry in cast("list[JSON]", data.get("resume") or []):
        verdicts[str(entry.get("interruptId"))] = _verdict(entry)
    return AGUIRequest(
        thread,
        run,
        user_message(cast("list[Any]", messages), "content"),
        verdicts,
        data.get("state"),
    )


def ag_ui(
    stream: Events,
    request: AGUIRequest,
    *,
    run_id: str = "",
    approvals: Approvals | None = None,
    on_leave: OnLeave = "cancel",
    on_approval: OnApproval = "event",
) -> AsyncGenerator[bytes]:
    """A run as AG-UI's events.

    `run_id` begins the ids of its parts, in place of the request's own: a run that continues after
    an approval has the same one.  A run with `approve="pause"` that waits ends by an interrupt for
    each approval; the client's next request resumes it.  `on_approval="interrupt"` does the same
    for a durable run, which `answer_durable` continues with.  Background tasks are activities, what
    tools say are custom events.
    """
    encoder = _AGUIEncoder(request, run_id or request.run_id)
    return encoded(stream, encoder, approvals=approvals, on_leave=on_leave, on_approval=on_approval)


class _AGUIEncoder(Encoder):
    def __init__(self, request: AGUIRequest, run_id: str) -> None:
        super().__init__(run_id)
        self._ids: JSON = {"threadId": request.thread_id, "runId": request.run_id}
        self._is_in_step = False

    def opened(self, part_id: str, part: Part) -> list[JSON]:
        match part:
            case Text():
                return [{"type": "TEXT_MESSAGE_START", "messageId": part_id, "role": "assistant"}]
            case Reasoning():
                return [
                    {"type": "REASONING_START", "messageId": part_id},
                    {
                        "type": "REASONING_MESSAGE_START",
                        "messageId": part_id,
                        "role": "reasoning",
                    },
                ]
            case ToolCall():
                return [
                    {"type": "TOOL_CALL_START", "toolCallId": part_id, "toolCallName": part.name}
                ]
            case _:
                return []

    def delta(self, part_id: str, part: Part, text: str) -> list[JSON]:
        match part:
            case Text():
                return [{"type": "TEXT_MESSAGE_CONTENT", "messageId": part_id, "delta": text}]
            case Reasoning():
                return [{"type": "REASONING_MESSAGE_CONTENT", "messageId": part_id, "delta": text}]
            case ToolCall():
                return [{"type": "TOOL_CALL_ARGS", "toolCallId": part_id, "delta": text}]
            case _:
                return []

    def closed(self, part_id: str, part: Part, text: str) -> list[JSON]:
        if not is_shown(part):
            return []
        match part:
            case ToolCall():
                return [{"type": "TOOL_CALL_END", "toolCallId": part_id}]
            case Reasoning():
                return [
                    {"type": "REASONING_MESSAGE_END", "messageId": part_id},
                    {"type": "REASONING_END", "messageId": part_id},
                ]
            case _:
                return [{"type": "TEXT_MESSAGE_END", "messageId": part_id}]

    def result(self, call_id: str, call: ToolCall, result: ToolResult) -> list[JSON]:
        event: JSON = {
            "type": "TOOL_CALL_RESULT",
            "messageId": f"{call_id}-result",
            "toolCallId": call_id,
            "content": result.text,
            "role": "tool",
        }
        return [{**event, "metadata": {"isError": True}} if result.is_error else event]

    def tool_event(self, call_id: str, event: JSON) -> list[JSON]:
        return self.custom("tool", {"toolCallId": call_id, "event": event})

    def task(self, event: TaskEvent) -> list[JSON]:
        content = event_json(event)["task"]
        return [
            {
                "type": "ACTIVITY_SNAPSHOT",
                "messageId": f"{self.run_id}-{event.task.id}",
                "activityType": "polycall.task",
                "content": content,
                "replace": True,
            }
        ]

    def approval(self, data: JSON) -> list[JSON]:
        return self.custom("approval", data)

    def custom(self, name: str, data: JSON) -> list[JSON]:
        return [{"type": "CUSTOM", "name": f"polycall.{name}", "value": data}]

    def step_start(self, step: int) -> list[JSON]:
        ended = self.step_end(step - 1)
        self._is_in_step = True
        return [*ended, {"type": "STEP_STARTED", "stepName": f"step {step}"}]

    def step_end(self, step: int) -> list[JSON]:
        was, self._is_in_step = self._is_in_step, False
        return [{"type": "STEP_FINISHED", "stepName": f"step {step}"}] if was else []

    def start(self) -> list[JSON]:
        return [{"type": "RUN_STARTED", **self._ids}]

    def end(self, waiting: Sequence[Waiting], reason: str) -> list[JSON]:
        finished: JSON = {"type": "RUN_FINISHED", **self._ids}
        if waiting:
            interrupts = [
                {
                    "id": each.id,
                    "reason": "approval",
                    "message": f"{each.approval.tool} needs approval",
                    "toolCallId": self.call_id(*call_of_approval(each.approval.id)),
                    "metadata": {
                        "tool": each.approval.tool,
                        "arguments": each.approval.arguments,
                    },
                }
                for each in waiting
            ]
            finished["outcome"] = {"type": "interrupt", "interrupts": interrupts}
        elif reason != "finished":
            finished["result"] = {"reason": reason}
        return [*self.step_end(self._step), finished]

    def failed(self, words: str) -> list[JSON]:
        return [{"type": "RUN_ERROR", "message": words}]


def _verdict(entry: JSON) -> Verdict:
    """An answer to an interrupt: `true`, or an object with `approved` and perhaps a `reason`."""
    payload = entry.get("payload")
    if entry.get("status") != "resolved":
        return Verdict(allowed=False, reason="the user cancelled")
    if isinstance(payload, dict):
        said = cast("JSON", payload)
        return Verdict(said.get("approved") is True, str(said.get("reason") or ""))
    return Verdict(payload is True)
