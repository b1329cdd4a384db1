"""The events of an answer whose calls stand in its text.

Text passes as it comes, up to where a call may begin; from there on it is held until it is known
to be none, or until the answer ends.  Then it is read as a whole.
"""

from __future__ import annotations

from msgspec.structs import replace

from polycall import ir
from polycall._support import jsontext
from polycall.errors import PolycallError, UnreadableCallError
from polycall.prompted.calls import Offer, Wanted
from polycall.translation.wire import short_hash

ASKED_AGAIN_MAX = 2
_RESULT = "<tool_result"


class PromptReader:
    """Events of one answer in, the same with calls out; through all attempts at the answer.

    `problem` says why the answer cannot be used; the caller then asks again and feeds the events
    of the new answer, which continue those given so far.  After `ASKED_AGAIN_MAX` times it is the
    `error`.
    """

    def __init__(self, request: ir.Request, offer: Offer) -> None:
        choice = request.tool_choice
        self.error: PolycallError | None = None
        self.problem = ""
        self.said = ""  # the text of this attempt
        self._offer = offer
        self._must_call = not offer.is_lenient and choice is not None and choice.mode in _FORCED
        self._salt = str(len(request.messages))
        self._asked = 0
        self._index = 0  # of the next part out
        self._start: ir.ResponseStart | None = None
        self._usage = ir.Usage()
        self._held: str = ""
        self._holds = False  # a call begins in what is held
        self._open: ir.Part | None = None
        self._is_text_open = False  # going out
        self._has_native = False

    def feed(self, event: ir.Event) -> list[ir.Event]:
        """Turn one event into the events that it means."""
        match event:
            case ir.ResponseStart():
                self.problem, self.said, self._held, self._holds = "", "", "", False
                if self._start is not None:
                    return []
                self._start = event
                return [event]
            case ir.PartStart(part=ir.Text()):
                self._open = event.part
                return []
            case ir.PartStart():
                self._open = event.part
                self._has_native = self._has_native or isinstance(event.part, ir.ToolCall)
                return [*self._end_text(), replace(event, index=self._index)]
            case ir.PartDelta() if isinstance(self._open, ir.Text):
                return self._text(event.text)
            case ir.PartEnd() if isinstance(self._open, ir.Text):
                return self._text_ended(event)
            case ir.PartDelta():
                return [replace(event, index=self._index)]
            case ir.PartEnd():
                self._index += 1
                return [replace(event, index=self._index - 1)]
            case ir.ResponseEnd():
                return self._ended(event)

    def _text(self, text: str) -> list[ir.Event]:
        is_start = self.said == self._held  # nothing has passed yet
        self.said += text
        self._held += text
        if self._holds:
            return []
        place, is_sure = self._offer.opening(self._held, is_start=is_start)
        passed, self._held = self._held[:place], self._held[place:]
        self._holds = bool(self._held) and is_sure
        return self._pass(passed)

    def _pass(self, text: str) -> list[ir.Event]:
        if not text:
            return []
        events: list[ir.Event] = []
        if not self._is_text_open:
            part = self._open if isinstance(self._open, ir.Text) else ir.Text("")
            self._is_text_open = True
            events.append(ir.PartStart(self._index, part))
        return [*events, ir.PartDelta(self._index, text)]

    def _text_ended(self, event: ir.PartEnd) -> list[ir.Event]:
        if self._held:
            # What may come yet decides about what is held.
            return []
        return self._end_text(event)

    def _end_text(self, event: ir.PartEnd | None = None) -> list[ir.Event]:
        if not self._is_text_open:
            return []
        self._is_text_open = False
        self._index += 1
        end = ir.PartEnd(self._index - 1)
        return [end if event is None else replace(event, index=self._index - 1)]

    def _ended(self, event: ir.ResponseEnd) -> list[ir.Event]:
        self._usage = self._usage + event.usage if self._asked else event.usage
        if event.finish_reason not in ("stop", "tool_calls"):
            # Cut off or refused: half a call is none.
            return [*self._pass(self._held), *self._end_text(), self._final(event)]
        is_start = self._held == self.said
        found = self._offer.read(self._held, is_start=is_start)
        problem = found.problem
        if self._must_call and not found.calls and not problem and not self._has_native:
            problem = "a tool must be called, and none was"
        if problem:
            return self._unusable(problem)
        words = found.text
        if found.calls:
            # A model that continues to write the results makes them up.
            words = words.partition(_RESULT)[0].rstrip()
        out = [*self._pass(words), *self._end_text()]
        for position, wanted in enumerate(found.calls):
            out += self._call(wanted, position)
        if found.calls:
            event = replace(event, finish_reason="tool_calls")
        return [*out, self._final(event)]

    def _final(self, event: ir.ResponseEnd) -> ir.ResponseEnd:
        return replace(event, usage=self._usage) if self._asked else event

    def _unusable(self, problem: str) -> list[ir.Event]:
        self._asked += 1
        if self._asked > ASKED_AGAIN_MAX:
            words = f"asked {ASKED_AGAIN_MAX + 1} times, the model wrote no call that can be read"
            self.error = UnreadableCallError(f"{words}: {problem}")
        else:
            self.problem = problem
        return self._end_text()

    def _call(self, wanted: Wanted, position: int) -> list[ir.Event]:
        tool, text = wanted.tool, jsontext.encode(wanted.arguments)
        identity = self._start.id if self._start is not None else ""
        call_id = "call_" + short_hash(identity, self._salt, str(position), tool.name, text)
        call = ir.ToolCall(call_id, tool.name, "", namespace=tool.namespace)
        index, self._index = self._index, self._index + 1
        return [ir.PartStart(index, call), ir.PartDelta(index, text), ir.PartEnd(index)]


_FORCED = ("required", "tool")
