"""Undoing, in what comes back, what a rendering had to change in the tools.

Aliases become the tools' own names, freeform calls that travelled as functions become freeform
again, and the nulls that a stricter schema forced upon the model leave the arguments.  Where the
caller wants one call at a time and the target has no switch for that, only the first is kept.
Where the target takes no stop sequences, the text ends before the first of them.  Reasoning of
models that check what stood before it is noted with that.
"""

from __future__ import annotations

from msgspec.structs import replace

from polycall import ir, schema
from polycall._support import jsontext
from polycall.fold import fold, unfold
from polycall.ir import JSON
from polycall.translation.tool_list_cache import once
from polycall.translation.wire import WireRequest

_OF_PARTS = (ir.PartStart, ir.PartDelta, ir.PartEnd)


def undone(response: ir.Response, request: ir.Request, wire: WireRequest) -> ir.Response:
    """The whole response in the caller's own terms."""
    is_changed = wire.aliases or wire.adapted or wire.bound or wire.stops
    if is_changed or request.parallel_tool_calls is False:
        return RequestUndo(request, wire).response(response)
    customs = once(request.tools, _custom_in)
    return RequestUndo(request, wire).response(response) if customs else response


def _custom_in(tools: list[ir.Tool]) -> set[str]:
    return {tool.name for tool in tools if tool.kind == "custom"}


class RequestUndo:
    """Events of one answer in, the same events in the caller's own terms out."""

    def __init__(self, request: ir.Request, wire: WireRequest) -> None:
        self._aliases = wire.aliases
        self._adapted = wire.adapted
        self._custom = once(request.tools, _custom_in)
        self._schema: JSON | None = None  # of the open call, where its arguments are held back
        self._held: list[str] = []
        self._bound = wire.bound
        self._in_reasoning = False
        self._one_call = request.parallel_tool_calls is False
        self._calls = 0
        self._dropped = 0  # parts left out so far; later ones move up
        self._dropping = False
        self._cutter = StopCutter(wire.stops) if wire.stops else None

    @property
    def idle(self) -> bool:
        """True where nothing was changed, and events pass as they are."""
        changes = self._aliases or self._adapted or self._custom or self._one_call or self._bound
        return not (changes or self._cutter)

    def feed(self, event: ir.Event) -> list[ir.Event]:
        """The events that stand for `event`."""
        if self._cutter is None:
            return self._restored(event)
        return [restored for cut in self._cutter.feed(event) for restored in self._restored(cut)]

    def _restored(self, event: ir.Event) -> list[ir.Event]:
        """The events that stand for `event`; arguments under an adapted schema come at once."""
        if isinstance(event, _OF_PARTS):
            if isinstance(event, ir.PartStart):
                self._dropping = self._is_surplus(event)
            if self._dropping:
                self._dropped += isinstance(event, ir.PartEnd)
                return []
            if self._dropped:
                event = replace(event, index=event.index - self._dropped)
            if self._bound:
                event = self._with_bound(event)
        match event:
            case ir.PartStart(part=ir.ToolCall() as call):
                self._schema = self._adapted.get(call.name)
                return [ir.PartStart(event.index, self._own(call))]
            case ir.PartDelta() if self._schema is not None:
                self._held.append(event.text)
                return []
            case ir.PartEnd() if self._schema is not None:
                text = _strip_nulls("".join(self._held), self._schema)
                self._schema, self._held = None, []
                return [ir.PartDelta(event.index, text), event] if text else [event]
            case _:
                return [event]

    def _with_bound(self, event: ir.PartStart | ir.PartDelta | ir.PartEnd) -> ir.Event:
        if isinstance(event, ir.PartStart):
            part = event.part
            is_summary = isinstance(part, ir.Opaque) and part.kind == "compaction"
            self._in_reasoning = is_summary or isinstance(part, ir.Reasoning)
        elif isinstance(event, ir.PartEnd) and self._in_reasoning:
            return replace(event, metadata=ir.merge_metadata(event.metadata, self._bound))
        return event

    def _is_surplus(self, event: ir.PartStart) -> bool:
        if not isinstance(event.part, ir.ToolCall):
            return False
        self._calls += 1
        return self._one_call and self._calls > 1

    def response(self, response: ir.Response) -> ir.Response:
        """The whole response in the caller's own terms."""
        if self.idle:
            return response
        events = [restored for event in unfold(response) for restored in self.feed(event)]
        return replace(fold(events), warnings=response.warnings)

    def _own(self, call: ir.ToolCall) -> ir.ToolCall:
        own = self._aliases.get(call.name)
        if own is not None:
            call = replace(call, name=own.name, namespace=own.namespace)
        if call.name in self._custom and call.kind == "function":
            call = replace(call, kind="custom")
        return call


class StopCutter:
    """Ends an answer's text before the first stop sequence; what comes after it is left out."""

    def __init__(self, stops: list[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""  # the end of the open text, which may be the beginning of a stop sequence
        self._in_text = False
        self._is_over = False

    def feed(self, event: ir.Event) -> list[ir.Event]:
        """The events that are left; an end is a normal one where the text was cut."""
        if self._is_over:
            if isinstance(event, ir.ResponseEnd):
                # Vendors that take stop sequences have this word for it.
                return [replace(event, finish_reason="stop", raw_finish_reason="stop_sequence")]
            return []
        match event:
            case ir.PartStart():
                self._in_text = isinstance(event.part, ir.Text)
                return [event]
            case ir.PartDelta() if self._in_text:
                return self._cut(event.index, self._held + event.text)
            case ir.PartEnd() if self._held:
                held, self._held = self._held, ""
                return [ir.PartDelta(event.index, held), event]
            case _:
                return [event]

    def _cut(self, index: int, text: str) -> list[ir.Event]:
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self._is_over, self._held = True, ""
            text = text[: min(places)]
            shown: list[ir.Event] = [ir.PartDelta(index, text)] if text else []
            return [*shown, ir.PartEnd(index)]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :] if keep else ""
        text = text[: len(text) - keep]
        return [ir.PartDelta(index, text)] if text else []


def _overlap(text: str, stop: str) -> int:
    """The number of characters at the end of `text` that begin `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)


def _strip_nulls(arguments_json: str, tool_schema: JSON) -> str:
    try:
        arguments = jsontext.decode(arguments_json)
    except ValueError:
        return arguments_json  # cut or broken: left for the caller to see
    stripped = schema.strip_nulls(arguments, tool_schema)
    return arguments_json if stripped == arguments else jsontext.encode(stripped)
