"""The events of all steps as one answer.

The model may take several turns before the client gets its answer.  The client sees their text and
reasoning one after the other, of its own tools' calls those that it has to run, and one end.
"""

from __future__ import annotations

import time

from msgspec.structs import replace

from polycall.ir import (
    Event,
    FinishReason,
    Metadata,
    Opaque,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    ResponseEnd,
    ResponseStart,
    ToolCall,
    Usage,
)


class MergedAnswer:
    """Takes the events of the steps, gives the client's."""

    def __init__(self, dialect: str, answer_id: str, model: str) -> None:
        self._dialect = dialect  # the client's; pieces of another vendor's wire mean nothing to it
        self._own_start = ResponseStart(answer_id, model, int(time.time()))
        self._started = False
        self._parts = 0
        self._hidden = False  # the open part is not for the client
        self.usage = Usage()

    def step(self, event: Event) -> list[Event]:
        """What the client sees of an event of a step; calls are shown by who runs them."""
        match event:
            case ResponseStart():
                return self._start(event)
            case PartStart(part=ToolCall()):
                self._hidden = True
                return []
            case PartStart(part=Opaque(dialect=dialect)) if dialect != self._dialect:
                self._hidden = True
                return []
            case PartStart():
                self._hidden = False
                return [replace(event, index=self._parts)]
            case PartDelta() | PartEnd() if self._hidden:
                return []
            case PartDelta():
                return [replace(event, index=self._parts)]
            case PartEnd():
                self._parts += 1
                return [replace(event, index=self._parts - 1)]
            case ResponseEnd():
                self.usage += event.usage
                return []

    def parts(self, parts: list[Part]) -> list[Event]:
        """Whole parts of our own."""
        if not parts:
            return []
        events: list[Event] = self._start(self._own_start)
        for part in parts:
            bare = replace(part, arguments_json="") if isinstance(part, ToolCall) else part
            events.append(PartStart(self._parts, bare))
            if isinstance(part, ToolCall):
                events.append(PartDelta(self._parts, part.arguments_json))
            events.append(PartEnd(self._parts))
            self._parts += 1
        return events

    def end(self, reason: FinishReason, raw: str, metadata: Metadata) -> list[Event]:
        """The end of the answer."""
        events: list[Event] = self._start(self._own_start)
        return [*events, ResponseEnd(reason, raw, self.usage, metadata)]

    def _start(self, event: ResponseStart) -> list[Event]:
        if self._started:
            return []
        self._started = True
        # What it says of usage is of the first step alone.
        return [replace(event, usage=Usage(), metadata={})]
