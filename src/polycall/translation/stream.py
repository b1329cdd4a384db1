"""The shared half of every stream decoder: bytes to payloads, parts to events, errors kept.

A dialect's decoder says what a payload means; this says what a stream of them is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from msgspec import Struct

from polycall import ir
from polycall._support import jsontext
from polycall.errors import PolycallError, ProtocolError
from polycall.fold import unfold
from polycall.ir import JSON
from polycall.translation.failures import check_named
from polycall.translation.sse import (
    EVENT_BYTES_MAX,
    Frame,
    JSONArrayDecoder,
    ObjectLinesDecoder,
    SSEDecoder,
)

_HEAD_BYTES_MAX = 1024 * 1024
# How a line of a stream may begin; a comment begins with a colon.
_FIELDS = (b":", b"data", b"event", b"id", b"retry", b"[", b"\xef\xbb\xbf")


class EventWriter:
    """Writes events by the grammar: one part open at a time, indexes 0, 1, 2...

    Decoders call it in the order of the wire; `take` hands over what was written.
    """

    def __init__(self) -> None:
        self._events: list[ir.Event] = []
        self._index = 0
        self.started = False
        self.ended = False
        self.open_part: ir.Part | None = None

    def start(self, event: ir.ResponseStart) -> None:
        """The response begins; later calls are ignored, since some servers begin twice."""
        if not self.started:
            check_named(event.id, event.model)
            self.started = True
            self._events.append(event)

    def open(self, part: ir.Part) -> None:
        """A part begins; one that is still open ends first."""
        self.end_part()
        self.open_part = part
        self._events.append(ir.PartStart(self._index, part))

    def delta(self, text: str) -> None:
        """More text of the open part; empty text is no event."""
        if text:
            self._events.append(ir.PartDelta(self._index, text))

    def end_part(self, metadata: ir.Metadata | None = None) -> None:
        """The open part ends, if there is one."""
        if self.open_part is not None:
            self._events.append(ir.PartEnd(self._index, metadata or {}))
            self.open_part = None
            self._index += 1

    def whole(self, part: ir.Part) -> None:
        """A part that comes at once and takes no deltas (`Media`, `Opaque`)."""
        self.open(part)
        self.end_part()

    def end(self, event: ir.ResponseEnd) -> None:
        """The response ends."""
        self.end_part()
        self.ended = True
        self._events.append(event)

    def answer(self, response: ir.Response) -> None:
        """A whole answer, from its start to its end."""
        for event in unfold(response):
            match event:
                case ir.ResponseStart():
                    self.start(event)
                case ir.PartStart():
                    self.open(event.part)
                case ir.PartDelta():
                    self.delta(event.text)
                case ir.PartEnd():
                    self.end_part(event.metadata)
                case ir.ResponseEnd():
                    self.end(event)

    def take(self) -> list[ir.Event]:
        """Take what was written since the last call."""
        events, self._events = self._events, []
        return events


class StreamEncoderBase:
    """Events of one answer in, bytes out.

    Each `on_...` method returns the bytes that its event makes, none where the wire has no place
    for it.  A dialect implements all of them, and `fail`.
    """

    def feed(self, event: ir.Event) -> bytes:
        """The bytes of one event."""
        match event:
            case ir.PartDelta():
                return self.on_delta(event.text)
            case ir.PartStart():
                return self.on_part(event.part)
            case ir.PartEnd():
                return self.on_part_end(event)
            case ir.ResponseStart():
                return self.on_start(event)
            case ir.ResponseEnd():
                return self.on_end(event)

    @property
    def repeated_bytes(self) -> int:
        """The bytes of texts that a later event may repeat."""
        return 0

    def frames(self, event: ir.Event) -> Iterator[bytes]:
        """The same as `feed`, an event of the wire at a time where several repeat a text."""
        made = [self.feed(event)]
        del event  # its text may be long, as what is made of it
        yield made.pop()

    def close(self) -> bytes:
        """The bytes after a finished answer: empty, where its end was sent."""
        return b""

    def fail(self, error: PolycallError) -> bytes:
        """The bytes that end a started answer with an error."""
        raise NotImplementedError

    def on_start(self, event: ir.ResponseStart) -> bytes:
        """The response begins."""
        raise NotImplementedError

    def on_part(self, part: ir.Part) -> bytes:
        """A part begins."""
        raise NotImplementedError

    def on_delta(self, text: str) -> bytes:
        """More text of the open part."""
        raise NotImplementedError

    def on_part_end(self, event: ir.PartEnd) -> bytes:
        """The open part ends."""
        raise NotImplementedError

    def on_end(self, event: ir.ResponseEnd) -> bytes:
        """The response ends."""
        raise NotImplementedError


class Payload(Struct, frozen=True):
    """One frame: the SSE event's name (`""` where there was none) and its JSON object."""

    event: str
    data: JSON


class Framing(Protocol):
    """Bytes in, frames out, however the bytes are cut."""

    @property
    def held_bytes(self) -> int: ...  # of a frame that is not whole
    def feed(self, chunk: bytes) -> Iterable[Frame]: ...
    def close(self) -> Iterable[Frame]: ...


class StreamDecoderBase:
    """Bytes of one answer in, events out.

    A dialect implements `on_payload`, `on_close` and `on_whole_body`, writing to `self.out`, and
    may raise any `PolycallError`: the events written before stay valid, the error is kept in
    `error` and raised by `close`.
    """

    def __init__(self) -> None:
        self.out = EventWriter()
        self.error: PolycallError | None = None
        self.event_bytes_max = EVENT_BYTES_MAX
        self._frames: Framing | None = None
        self._head = b""  # what came before the first frame: a server may answer with plain JSON
        self._any_frame = False
        self._closed = False

    @property
    def usage(self) -> ir.Usage:
        """The usage that the wire has reported so far, before any end.

        Empty where that makes no sense.
        """
        try:
            return self.usage_so_far()
        except ProtocolError:
            return ir.Usage()

    @property
    def held_bytes(self) -> int:
        """The length of the event that has begun: it is read when it ends."""
        return 0 if self._frames is None else self._frames.held_bytes

    def usage_so_far(self) -> ir.Usage:
        """Read what was reported.  A dialect that reports it before the end implements this too."""
        return ir.Usage()

    def framing(self, head: bytes) -> Framing:
        """The framing of a stream that begins with `head`."""
        match head[:1]:
            case b"[":
                return JSONArrayDecoder(event_bytes_max=self.event_bytes_max)
            case b"{":
                return ObjectLinesDecoder(event_bytes_max=self.event_bytes_max)
            case _:
                return SSEDecoder(event_bytes_max=self.event_bytes_max)

    def on_payload(self, payload: Payload) -> None:
        """Take one event of the wire."""
        raise NotImplementedError

    def on_close(self) -> None:
        """The bytes have ended: end the response, or raise `TruncatedError`."""
        raise NotImplementedError

    def on_whole_body(self, body: JSON) -> None:
        """The server answered a streaming request with one JSON body."""
        raise NotImplementedError

    def feed(self, chunk: bytes) -> list[ir.Event]:
        """The events that are known with this chunk.  Never raises: see `error`."""
        if self.error is None and chunk:
            try:
                if self._any_frame and self._frames is not None:
                    for frame in self._frames.feed(chunk):
                        self._take(frame)
                else:
                    self._feed_head(chunk)
            except PolycallError as error:
                self.error = error
        return self.out.take()

    def close(self) -> list[ir.Event]:
        """The last events; raises what went wrong."""
        if self.error is None and not self._closed:
            self._closed = True
            try:
                self._finish()
            except PolycallError as error:
                self.error = error
        if self.error is not None:
            raise self.error
        return self.out.take()

    def _feed_head(self, chunk: bytes) -> None:
        if len(self._head) < _HEAD_BYTES_MAX:
            self._head += chunk
        if self._frames is None:
            head = self._head.lstrip()
            if not head:
                return
            self._frames = self.framing(head)
            chunk = self._head
        for frame in self._frames.feed(chunk):
            self._take(frame)

    def _finish(self) -> None:
        if self._frames is not None:
            for frame in self._frames.close():
                self._take(frame)
        if not self._any_frame and self._head.lstrip()[:1] == b"{":
            self.on_whole_body(self._decode(self._head))
            return
        if not (self._any_frame or self._head.lstrip().startswith(_FIELDS) or not self._head):
            raise ProtocolError(f"the answer is not a stream of events: {self._head[:80]!r}")
        self.on_close()

    def _take(self, frame: Frame) -> None:
        self._any_frame = True
        self._head = b""
        data = frame.data
        if data[:1] == "{":
            try:
                body = jsontext.decode(data)
            except ValueError:
                pass  # below, with a message
            else:
                self.on_payload(Payload(frame.event, body))
                return
        else:
            marker = data.strip()
            if marker == "[DONE]":
                self.on_done()
            if marker in ("", "[DONE]"):
                return
        for body in self._bodies(data):
            self.on_payload(Payload(frame.event, body))

    def _bodies(self, data: str) -> list[JSON]:
        try:
            return [self._decode(data)]
        except ProtocolError:
            if "\n" not in data:
                raise
            # Some proxies lose the blank line between events: then each line is an event.
            lines = [line for line in data.split("\n") if line.strip() not in ("", "[DONE]")]
            return [self._decode(line) for line in lines]

    def on_done(self) -> None:
        """`data: [DONE]`; most dialects need nothing here."""

    @staticmethod
    def _decode(data: str | bytes) -> JSON:
        try:
            value = jsontext.decode(data)
        except ValueError as error:
            shown = data[:80]
            raise ProtocolError(f"an event is not JSON ({error}): {shown!r}") from None
        if not isinstance(value, dict):
            raise ProtocolError(f"an event is not a JSON object: {data[:80]!r}")
        return value  # pyright: ignore[reportUnknownVariableType]
