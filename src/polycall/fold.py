"""Events to a whole response and back, with the grammar checked on the way.

`fold(events)` is what makes non-streaming a special case of streaming.  `unfold(response)` is
its inverse: the shortest stream that folds to the response.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from polycall import ir
from polycall.errors import ProtocolError, TruncatedError


class Folder:
    """Takes events one at a time; refuses those the grammar does not allow.

    The grammar: `ResponseStart (PartStart PartDelta* PartEnd)* ResponseEnd`, indexes 0, 1, 2...
    """

    def __init__(self) -> None:
        self._start: ir.ResponseStart | None = None
        self._end: ir.ResponseEnd | None = None
        self._parts: list[ir.Part] = []
        self._open: ir.Part | None = None
        self._texts: list[str] = []

    def feed(self, event: ir.Event) -> ir.Part | None:
        """Take one event; gives the finished part at its `PartEnd`."""
        match event:
            case ir.PartDelta():
                if self._open is None or event.index != len(self._parts):
                    raise self._misplaced(event)
                self._texts.append(event.text)
            case ir.PartStart():
                if self._start is None or self._end or self._open is not None:
                    raise self._misplaced(event)
                if event.index != len(self._parts):
                    raise self._misplaced(event)
                self._open = event.part
            case ir.PartEnd():
                if self._open is None or event.index != len(self._parts):
                    raise self._misplaced(event)
                part = finish_part(self._open, "".join(self._texts), event.metadata)
                self._parts.append(part)
                self._open, self._texts = None, []
                return part
            case ir.ResponseStart():
                if self._start is not None:
                    raise self._misplaced(event)
                self._start = event
            case ir.ResponseEnd():
                if self._start is None or self._end or self._open is not None:
                    raise self._misplaced(event)
                self._end = event
        return None

    def labelled(self, event: ir.Event) -> ir.Event:
        """The event that was fed last; a delta with the kind of the part that it belongs to."""
        if isinstance(event, ir.PartDelta) and event.kind is None and self._open is not None:
            return ir.PartDelta(event.index, event.text, ir.delta_kind(self._open))
        return event

    @property
    def open_part(self) -> ir.Part | None:
        """The part whose deltas come now."""
        return self._open

    def result(self) -> ir.Response:
        """The response; raises `TruncatedError` before its end has come."""
        if self._start is None or self._end is None:
            raise TruncatedError("the stream ended before the response did")
        start, end = self._start, self._end
        return ir.Response(
            id=start.id,
            model=start.model,
            created=start.created,
            message=ir.Message("assistant", self._parts),
            finish_reason=end.finish_reason,
            raw_finish_reason=end.raw_finish_reason,
            usage=end.usage,
            metadata=ir.merge_metadata(start.metadata, end.metadata),
        )

    def _misplaced(self, event: ir.Event) -> ProtocolError:
        index = getattr(event, "index", None)
        name = type(event).__name__ + ("" if index is None else f" {index}")
        if self._start is None:
            state = "before ResponseStart"
        elif self._end is not None:
            state = "after ResponseEnd"
        elif self._open is not None:
            state = f"while part {len(self._parts)} is open"
        else:
            state = f"where part {len(self._parts)} would be next"
        return ProtocolError(f"{name} is not allowed {state}")


def fold(events: Iterable[ir.Event]) -> ir.Response:
    """The response that a whole stream of events tells.

    Raises `ProtocolError` where the grammar is broken and `TruncatedError` where it stops early.
    """
    folder = Folder()
    for event in events:
        folder.feed(event)
    return folder.result()


def finish_part(part: ir.Part, text: str, metadata: ir.Metadata) -> ir.Part:
    """The part with the text of its deltas and the metadata of its end."""
    match part:
        case ir.Text() | ir.Refusal() | ir.Reasoning():
            if not text and not metadata:
                return part
            return replace(
                part,
                text=part.text + text,
                metadata=ir.merge_metadata(part.metadata, metadata),
            )
        case ir.ToolCall():
            return replace(
                part,
                arguments_json=part.arguments_json + text,
                metadata=ir.merge_metadata(part.metadata, metadata),
            )
        case ir.Media() | ir.ToolResult() | ir.Opaque():
            if text:
                raise ProtocolError(f"a part of type {type(part).__name__} takes no deltas")
            return replace(part, metadata=ir.merge_metadata(part.metadata, metadata))


def unfold(response: ir.Response) -> Iterator[ir.Event]:
    """The shortest stream of events that folds to `response` (its warnings aside)."""
    yield ir.ResponseStart(
        id=response.id,
        model=response.model,
        created=response.created,
        # At both ends: an encoder may need them early, and merging twice changes nothing.
        usage=response.usage,
        metadata=response.metadata,
    )
    for index, part in enumerate(response.message.parts):
        match part:
            case ir.Text() | ir.Refusal() | ir.Reasoning():
                yield ir.PartStart(index, replace(part, text=""))
                if part.text:
                    yield ir.PartDelta(index, part.text, ir.delta_kind(part))
            case ir.ToolCall():
                yield ir.PartStart(index, replace(part, arguments_json=""))
                if part.arguments_json:
                    yield ir.PartDelta(index, part.arguments_json, "arguments")
            case ir.Media() | ir.ToolResult() | ir.Opaque():
                yield ir.PartStart(index, part)
        yield ir.PartEnd(index)
    yield ir.ResponseEnd(
        finish_reason=response.finish_reason,
        raw_finish_reason=response.raw_finish_reason,
        usage=response.usage,
        metadata=response.metadata,
    )
