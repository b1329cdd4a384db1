"""The common part of the formats for browsers: the open part, ids, and the end of a run."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from polycall import ir
from polycall.agents import Approval, ApprovalRequest, Resumed, TaskEvent, event_json
from polycall.errors import PolycallError
from polycall.ir import JSON
from polycall.loop import CallEnd, ModelEvent, RunEnd, StepEnd, ToolEvent

logger = logging.getLogger("polycall.web")

_WORDS_MAX = 500


class Waiting(Struct, frozen=True):
    """A call that waits for a person, and the id by which a browser answers."""

    id: str
    approval: Approval


class Encoder(ABC):
    """Events of one run to objects of one format.  `run_id` makes ids that no other run has."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self._open: ir.Part | None = None
        self._text = ""  # of the open part
        self._id = ""
        self._step = 0

    def feed(self, event: Any) -> list[JSON]:
        """The objects that say this event."""
        match event:
            case ModelEvent(step=step, event=inner):
                return [*self._in_step(step), *self._model(inner)]
            case CallEnd(step=step, call=call, result=result):
                return self.result(self.call_id(step, call.id), call, result)
            case ToolEvent(step=step, call=call):
                return self.tool_event(self.call_id(step, call.id), event_json(event.event))
            case StepEnd():
                return [*self._closed(), *self.step_end(event.number)]
            case TaskEvent():
                return self.task(event)
            case ApprovalRequest() | Approval():
                return self.approval(event_json(event))
            case Resumed():
                return [*self._closed(), *self.custom("resumed", event_json(event))]
            case RunEnd():
                return self._closed()
            case _:
                return []

    def call_id(self, step: int, call_id: str) -> str:
        """An id of a call that no other call of the conversation has; providers repeat theirs."""
        return f"{self.run_id}-{step}-{call_id}"

    def _in_step(self, step: int) -> list[JSON]:
        if step == self._step:
            return []
        self._step = step
        return self.step_start(step)

    def _model(self, event: Any) -> list[JSON]:
        match event:
            case ir.ResponseStart():
                return self._closed()
            case ir.PartStart(index=index, part=part):
                said = self._closed()
                self._open, self._text = part, ""
                is_call = isinstance(part, ir.ToolCall)
                self._id = (
                    self.call_id(self._step, part.id)
                    if is_call
                    else f"{self.run_id}-{self._step}-{index}"
                )
                return [*said, *(self.opened(self._id, part) if is_call else [])]
            case ir.PartDelta(text=text) if text and self._open is not None:
                is_first, self._text = not self._text, self._text + text
                # An empty part is not shown.
                head = self.opened(self._id, self._open) if is_first and not _is_call(self) else []
                return [*head, *self.delta(self._id, self._open, text)]
            case ir.PartEnd():
                return self._closed()
            case _:
                return []

    def _closed(self) -> list[JSON]:
        """The end of the part that is open."""
        part, self._open = self._open, None
        if part is None or not (self._text or isinstance(part, ir.ToolCall)):
            return []
        return self.closed(self._id, part, self._text)

    @abstractmethod
    def opened(self, part_id: str, part: ir.Part) -> list[JSON]:
        """A text, a thought or a call begins."""

    @abstractmethod
    def delta(self, part_id: str, part: ir.Part, text: str) -> list[JSON]:
        """More of it."""

    @abstractmethod
    def closed(self, part_id: str, part: ir.Part, text: str) -> list[JSON]:
        """It is complete; `text` is all of it."""

    @abstractmethod
    def result(self, call_id: str, call: ir.ToolCall, result: ir.ToolResult) -> list[JSON]:
        """The result of a call."""

    @abstractmethod
    def tool_event(self, call_id: str, event: JSON) -> list[JSON]:
        """A running tool says something."""

    @abstractmethod
    def task(self, event: TaskEvent) -> list[JSON]:
        """A background task has come further."""

    @abstractmethod
    def approval(self, data: JSON) -> list[JSON]:
        """A call of a run that continues waits for a person."""

    @abstractmethod
    def custom(self, name: str, data: JSON) -> list[JSON]:
        """Something that the format has no word for."""

    @abstractmethod
    def step_start(self, step: int) -> list[JSON]:
        """A model is asked."""

    @abstractmethod
    def step_end(self, step: int) -> list[JSON]:
        """Its calls are done."""

    @abstractmethod
    def start(self) -> list[JSON]:
        """The run begins."""

    @abstractmethod
    def end(self, waiting: Sequence[Waiting], reason: str) -> list[JSON]:
        """The answer is over: by the run's end, or since it waits for people."""

    @abstractmethod
    def failed(self, words: str) -> list[JSON]:
        """The run ended by an error."""


def is_shown(part: ir.Part) -> bool:
    """Whether a part has deltas that a browser shows."""
    return isinstance(part, ir.Text | ir.Reasoning | ir.ToolCall)


def words_for_browser(error: BaseException) -> str:
    """The text of an error for a browser: our own words, without the inside of an accident."""
    if isinstance(error, PolycallError):
        return str(error)[:_WORDS_MAX]
    logger.error("a streamed run failed", exc_info=error)
    return "the run failed; the server's log has the reason"


def call_of_approval(approval_id: str) -> tuple[int, str]:
    """The step and the call that an approval of a paused run belongs to, from its id."""
    parts: list[str] = approval_id.split("/")
    if len(parts) >= 3 and parts[0] == "call" and parts[1].isdigit():
        return int(parts[1]), parts[2]
    return 0, approval_id


def flat(lists: Iterable[list[JSON]]) -> list[JSON]:
    """One list of all."""
    return [each for one in lists for each in one]


def _is_call(encoder: Encoder) -> bool:
    return isinstance(encoder._open, ir.ToolCall)  # pyright: ignore[reportPrivateUsage]
