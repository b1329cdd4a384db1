"""The progress of a run: its messages at any moment, from its events."""

from __future__ import annotations

from polycall.errors import TruncatedError
from polycall.fold import Folder
from polycall.ir import Event, Message, PartDelta, Response, ResponseStart, Text, ToolResult
from polycall.loop import CallEnd, CallStart, LoopEvent, ModelEvent, StepEnd

_CUT_OFF = "not finished: the run ended before this call did; it may have done its work"
_NOT_RUN = "not run: the run ended before"


class Progress:
    """Follows the events of a run, and knows its messages at any moment.

    `messages` are those of whole steps, and `answer` is the one that was under way.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._folder = Folder()
        self._start: ResponseStart | None = None
        self._text = ""
        self._started: list[str] = []
        self._results: list[ToolResult] = []

    def begin(self, messages: list[Message]) -> None:
        """A step begins, with these messages before it."""
        self.messages = messages
        self._folder, self._start, self._text = Folder(), None, ""
        self._started, self._results = [], []

    def heard(self, event: LoopEvent) -> None:
        """Follow one event."""
        match event:
            case ModelEvent(event=said):
                self._said(said)
            case CallEnd(result=result):
                self._results.append(result)
            case StepEnd(messages=messages):
                self.begin(messages)
            case CallStart(call=call):
                self._started.append(call.id)
            case _:
                pass

    def answer(self) -> Response | None:
        """The answer that was under way: whole, or its text so far; `None` before its first word.

        An answer that is not whole keeps no calls: half a call is none, and nothing of it was run.
        """
        if self._start is None:
            return None
        try:
            return self._folder.result()
        except TruncatedError:
            message = Message("assistant", [Text(self._text)] if self._text else [])
            start = self._start
            return Response(start.id, start.model, message, "error", "", start.usage)

    def results(self, answer: Response) -> list[ToolResult]:
        """A result for each call of the answer; those that did not end are said to have not."""
        left = list(self._results)
        made: list[ToolResult] = []
        for call in answer.tool_calls:
            found = next((each for each in left if each.call_id == call.id), None)
            if found is not None:
                left.remove(found)
            why = _CUT_OFF if call.id in self._started else _NOT_RUN
            made.append(found or ToolResult(call.id, [Text(why)], is_error=True, name=call.name))
        return made

    def conversation(self) -> list[Message]:
        """All messages so far, ready to continue."""
        answer = self.answer()
        if answer is None or not answer.message.parts:
            return list(self.messages)
        results = self.results(answer)
        added = [Message("tool", [*results])] if results else []
        return [*self.messages, answer.message, *added]

    def _said(self, event: Event) -> None:
        self._folder.feed(event)
        if isinstance(event, ResponseStart):
            self._start, self._text = event, ""
        elif isinstance(event, PartDelta) and isinstance(self._folder.open_part, Text):
            self._text += event.text
