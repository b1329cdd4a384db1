"""The events of all steps as one answer.

The model may take several turns before the client gets its answer.  The client sees their text and
reasoning one after the other, of its own tools' calls those that it has to run, and one end.
"""

from __future__ import annotations

import time

from msgspec.structs import replace

from polycall import ir


class MergedAnswer:
    """Takes the events of the steps, gives the client's."""

    def __init__(self, dialect: str, answer_id: str, model: str) -> None:
        self._dialect = dialect  # the client's; pieces of another vendor's wire mean nothing to it
        self._own_start = ir.ResponseStart(answer_id, model, int(time.time()))
        self._started = False
        self._parts = 0
        self._hidden = False  # the open part is not for the client
        self.usage = ir.Usage()

    def step(self, event: ir.Event) -> list[ir.Event]:
        """The events that the client sees for an event of a step.

        Calls are shown by their runner.
        """
        match event:
            case ir.ResponseStart():
                return self._start(event)
            case ir.PartStart(part=ir.ToolCall()):
                self._hidden = True
                return []
            case ir.PartStart(part=ir.Opaque(dialect=dialect)) if dialect != self._dialect:
                self._hidden = True
                return []
            case ir.PartStart():
                self._hidden = False
                return [replace(event, index=self._parts)]
            case ir.PartDelta() | ir.PartEnd() if self._hidden:
                return []
            case ir.PartDelta():
                return [replace(event, index=self._parts)]
            case ir.PartEnd():
                self._parts += 1
                return [replace(event, index=self._parts - 1)]
            case ir.ResponseEnd():
                self.usage += event.usage
                return []

    def parts(self, parts: list[ir.Part]) -> list[ir.Event]:
        """The events of whole parts of our own."""
        if not parts:
            return []
        events: list[ir.Event] = self._start(self._own_start)
        for part in parts:
            bare = replace(part, arguments_json="") if isinstance(part, ir.ToolCall) else part
            events.append(ir.PartStart(self._parts, bare))
            if isinstance(part, ir.ToolCall):
                events.append(ir.PartDelta(self._parts, part.arguments_json))
            events.append(ir.PartEnd(self._parts))
            self._parts += 1
        return events

    def end(self, reason: ir.FinishReason, raw: str, metadata: ir.Metadata) -> list[ir.Event]:
        """The end of the answer."""
        events: list[ir.Event] = self._start(self._own_start)
        return [*events, ir.ResponseEnd(reason, raw, self.usage, metadata)]

    def _start(self, event: ir.ResponseStart) -> list[ir.Event]:
        if self._started:
            return []
        self._started = True
        # What it says of usage is of the first step alone.
        return [replace(event, usage=ir.Usage(), metadata={})]
