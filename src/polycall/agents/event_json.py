"""Events of a run as typed JSON, and back: for browsers, logs and databases.

Each object has a `type`; docs/events.md has the table.
"""

from __future__ import annotations

from typing import Any

import msgspec

from polycall._support import jsontext
from polycall.agents.approval_backend import ApprovalRequest
from polycall.agents.events import HandoffEvent, ProgressEvent, Resumed, TaskEvent
from polycall.agents.pausing import Approval
from polycall.agents.run import AgentEvent
from polycall.errors import RequestError
from polycall.ir import JSON, ToolCall
from polycall.loop import CallEnd, CallStart, ModelEvent, RunEnd, StepEnd, ToolEvent

_KINDS: dict[str, Any] = {
    "model": ModelEvent,
    "call_start": CallStart,
    "call_end": CallEnd,
    "step_end": StepEnd,
    "run_end": RunEnd,
    "task": TaskEvent,
    "resumed": Resumed,
    "handoff": HandoffEvent,
    "progress": ProgressEvent,
}


def event_json(event: AgentEvent | Any, *, with_messages: bool = False) -> JSON:
    """The event as plain JSON with a `type`.

    The conversation, which `StepEnd` and `RunEnd` hold whole, is left out without
    `with_messages`: a stream would repeat it at each step.  What a tool says by `emit` is
    `{"type": "custom", "value": ...}`, in its own JSON or, where it has none, in words.
    """
    match event:
        case ApprovalRequest():
            return {
                "type": "approval",
                "id": event.call_id,
                "tool": event.tool,
                "arguments": event.arguments,
                "agents": list(event.agents),
                **({"why": event.why} if event.why else {}),
            }
        case Approval():
            return {"type": "approval", **_plain(event)}
        case ToolEvent():
            inner = event_json(event.event, with_messages=with_messages)
            return {
                "type": "tool",
                "step": event.step,
                "call": _plain(event.call),
                "event": inner,
            }
        case StepEnd() | RunEnd() if not with_messages:
            data = _plain(event)
            data.pop("messages")
            data.pop("steps", None)
            return data
        case (
            ModelEvent()
            | CallStart()
            | CallEnd()
            | StepEnd()
            | RunEnd()
            | TaskEvent()
            | Resumed()
            | HandoffEvent()
            | ProgressEvent()
        ):
            return _plain(event)
        case _:
            return {"type": "custom", "value": _custom(event)}


def event_of(data: JSON) -> Any:
    """The event that `event_json` wrote; `RequestError` where it wrote none.

    An approval comes as `Approval`, whichever it was.  A custom event gives its JSON value.
    Messages that were left out are empty lists.
    """
    kind = data.get("type")
    try:
        if kind == "tool":
            call = msgspec.convert(data["call"], ToolCall)
            return ToolEvent(int(data["step"]), call, event_of(data["event"]))
        if kind == "custom":
            return data["value"]
        if kind == "approval":
            return msgspec.convert({"asked_at": 0.0, **data}, Approval)
        if kind in ("step_end", "run_end"):
            return msgspec.convert({"messages": [], "steps": [], **data}, _KINDS[kind])
        return msgspec.convert(data, _KINDS[str(kind)])
    except KeyError as error:
        raise RequestError(
            f"this is not an event of a run: {error} in {str(data)[:200]!r}"
        ) from None
    except msgspec.ValidationError as error:
        raise RequestError(f"this is not an event of a run: {error}") from None


def _plain(value: Any) -> JSON:
    return msgspec.to_builtins(value, str_keys=True)


def _custom(value: Any) -> Any:
    try:
        return jsontext.decode(jsontext.encode(value))
    except (TypeError, ValueError):
        return str(value)
