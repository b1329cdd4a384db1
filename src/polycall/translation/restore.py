"""Undoing, in what comes back, what a rendering had to change in the tools.

Aliases become the tools' own names, freeform calls that travelled as functions become freeform
again, and the nulls that a stricter schema forced upon the model leave the arguments.  Where the
caller wants one call at a time and the target has no switch for that, only the first is kept.
"""

from __future__ import annotations

from msgspec.structs import replace

from polycall import schema
from polycall._support import jsontext
from polycall.fold import fold, unfold
from polycall.ir import (
    JSON,
    Event,
    PartDelta,
    PartEnd,
    PartStart,
    Request,
    Response,
    ToolCall,
)
from polycall.translation.wire import WireRequest


class RequestUndo:
    """Events of one answer in, the same events in the caller's own terms out."""

    def __init__(self, request: Request, wire: WireRequest) -> None:
        self._aliases = wire.aliases
        self._adapted = wire.adapted
        self._custom = {tool.name for tool in request.tools if tool.kind == "custom"}
        self._schema: JSON | None = None  # of the open call, where its arguments are held back
        self._held: list[str] = []
        self._one_call = request.parallel_tool_calls is False
        self._calls = 0
        self._dropped = 0  # parts left out so far; later ones move up
        self._dropping = False

    @property
    def idle(self) -> bool:
        """True where nothing was changed, and events pass as they are."""
        return not (self._aliases or self._adapted or self._custom or self._one_call)

    def feed(self, event: Event) -> list[Event]:
        """The events that stand for `event`; arguments under an adapted schema come at once."""
        if isinstance(event, PartStart | PartDelta | PartEnd):
            if isinstance(event, PartStart):
                self._dropping = self._is_surplus(event)
            if self._dropping:
                self._dropped += isinstance(event, PartEnd)
                return []
            if self._dropped:
                event = replace(event, index=event.index - self._dropped)
        match event:
            case PartStart(part=ToolCall() as call):
                self._schema = self._adapted.get(call.name)
                return [PartStart(event.index, self._own(call))]
            case PartDelta() if self._schema is not None:
                self._held.append(event.text)
                return []
            case PartEnd() if self._schema is not None:
                text = _strip_nulls("".join(self._held), self._schema)
                self._schema, self._held = None, []
                return [PartDelta(event.index, text), event] if text else [event]
            case _:
                return [event]

    def _is_surplus(self, event: PartStart) -> bool:
        if not isinstance(event.part, ToolCall):
            return False
        self._calls += 1
        return self._one_call and self._calls > 1

    def response(self, response: Response) -> Response:
        """The whole response in the caller's own terms."""
        if self.idle:
            return response
        events = [restored for event in unfold(response) for restored in self.feed(event)]
        return replace(fold(events), warnings=response.warnings)

    def _own(self, call: ToolCall) -> ToolCall:
        own = self._aliases.get(call.name)
        if own is not None:
            call = replace(call, name=own.name, namespace=own.namespace)
        if call.name in self._custom and call.kind == "function":
            call = replace(call, kind="custom")
        return call


def _strip_nulls(arguments_json: str, tool_schema: JSON) -> str:
    try:
        arguments = jsontext.decode(arguments_json)
    except ValueError:
        return arguments_json  # cut or broken: left for the caller to see
    stripped = schema.strip_nulls(arguments, tool_schema)
    return arguments_json if stripped == arguments else jsontext.encode(stripped)
