"""Server-sent events, JSON arrays (Gemini) and lines of JSON from bytes, however they are cut.

Lines end with LF, CR or CRLF and nothing else: `str.splitlines` also splits at U+2028, U+0085
and others, which are legal inside JSON strings.  Bytes are split before they are decoded, so a
character cut between two reads stays whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from polycall._support.json_weight import LONG_BYTES, HeavyJSONError, check_weight
from polycall._support.piece_buffer import PieceBuffer
from polycall.errors import ProtocolError, TruncatedError

EVENT_BYTES_MAX = 12 * 1024 * 1024  # while it is read and passed on, there are four of it


def too_large(what: str, bytes_max: int) -> ProtocolError:
    """The error for a part of a stream, and what an operator can do."""
    return ProtocolError(
        f"{what} is larger than {bytes_max} bytes; `answer_bytes_max` of its provider allows more"
    )


class Frame(Struct, frozen=True):
    """One event: its name (`""` where the wire gave none) and the joined data lines."""

    event: str
    data: str


class SSEDecoder:
    """Bytes in, frames out.

    An event without data is none (comments, keep-alives, a lone `event:`).  `close` gives the
    last event where the stream ends without its blank line, as many servers do.
    """

    def __init__(self, *, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._event_bytes_max = event_bytes_max
        self._line_begun = PieceBuffer()  # an unfinished line
        self._after_cr = False  # the last byte seen was CR: an LF that follows belongs to it
        self._first = True
        self._event = ""
        self._data: list[bytes | memoryview] = []
        self._size = 0  # bytes of the event in hand, finished lines and pieces

    @property
    def held_bytes(self) -> int:
        """The bytes held of the present event."""
        return self._size

    def feed(self, chunk: bytes) -> Iterable[Frame]:
        """All events that are complete with this chunk, one at a time.

        One at a time, so that the events before a broken one are not lost with it.
        """
        is_odd = self._after_cr or len(chunk) > LONG_BYTES
        if is_odd or (self._first and (self._line_begun.size or chunk[:1] in b"\xef")):
            return self._lines(chunk)
        # Most servers write events with the same line ends, and most reads end with an event.
        self._first = False
        gap = b"\n\n" if chunk.find(b"\r") < 0 else b"\r\n\r\n"
        if self._line_begun.size or self._data or self._event:
            return self._rest_and_blocks(chunk, gap)
        if chunk.endswith(gap):
            blocks = chunk[: -len(gap)].split(gap)
            if len(blocks) == 1 and (frame := self._plain(blocks[0])) is not None:
                return (frame,)
            return self._blocks(blocks, gap)
        return self._rest_and_blocks(chunk, gap)

    @staticmethod
    def _plain(block: bytes) -> Frame | None:
        """The frame of a block that is one data line, or an event line before it."""
        name, _, line = block.rpartition(b"\n")
        # `in` takes bytes for a number first, and makes an error of it.
        if line[:6] != b"data: " or block.find(b"\r") >= 0:
            return None
        try:
            if not name:
                return Frame("", line[6:].decode())
            if name[:7] == b"event: " and name.find(b"\n") < 0:
                return Frame(name[7:].decode(), line[6:].decode())
        except UnicodeDecodeError:
            pass  # said where lines are read
        return None

    def _rest_and_blocks(self, chunk: bytes, gap: bytes) -> Iterator[Frame]:
        """The rest of an event that has begun, whole ones, and the beginning of another."""
        if self._line_begun.size or self._data or self._event:
            end = chunk.find(gap)
            if end < 0:
                yield from self._lines(chunk)
                return
            yield from self._lines(chunk[: end + len(gap)])
            chunk = chunk[end + len(gap) :]
        end = chunk.rfind(gap)
        if end >= 0:
            yield from self._blocks(chunk[:end].split(gap), gap)
            chunk = chunk[end + len(gap) :]
        if chunk:
            yield from self._lines(chunk)

    def _blocks(self, blocks: list[bytes], gap: bytes) -> Iterator[Frame]:
        for block in blocks:
            if (plain := self._plain(block)) is not None:
                yield plain
            else:
                yield from self._lines(block + gap)

    def _lines(self, chunk: bytes) -> Iterator[Frame]:
        if self._after_cr and chunk[:1] == b"\n":
            chunk = chunk[1:]
            self._after_cr = False
        if not chunk:
            return
        self._after_cr = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        place = 0
        if len(chunk) > LONG_BYTES:  # as its lines may be, which are not copied
            while (end := chunk.find(b"\n", place)) >= 0:
                if end - place <= LONG_BYTES or self._line_begun.size or self._first:
                    yield from self._line(chunk[place:end])
                else:
                    self._take_long(memoryview(chunk)[place:end])
                place = end + 1
            rest = chunk[place:]
        else:
            *lines, rest = chunk.split(b"\n")
            for line in lines:
                if self._line_begun.size:
                    yield from self._line(line)
                elif line:
                    self._take_line(line)
                elif (frame := self._end_event()) is not None:
                    yield frame
                    del frame  # it may be long
        if rest:
            self._line_begun.add(rest)
            self._grow(len(rest))

    def _line(self, line: bytes) -> Iterator[Frame]:
        if self._line_begun.size:
            line = self._joined(line)
        if len(line) > LONG_BYTES and not self._first:
            self._take_long(memoryview(line))
        elif line:
            self._take_line(line)
        elif (frame := self._end_event()) is not None:
            yield frame

    def _joined(self, end: bytes) -> bytes:
        """The line that came in pieces, which counts once it is known what it is."""
        self._size -= self._line_begun.size
        return self._line_begun.take(end)

    def close(self) -> Iterator[Frame]:
        """The event in hand, if the stream ended without its blank line."""
        if self._line_begun.size:
            self._take_line(self._joined(b""))
        if (frame := self._end_event()) is not None:
            yield frame

    def _take_line(self, line: bytes) -> None:
        if self._first:
            self._first = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            self._grow(len(line))
        elif line.startswith(b"event:"):
            self._event = text_of(line[6:]).removeprefix(" ")
        # Anything else is a comment, `id:`, `retry:` or a field the standard says to ignore.

    def _take_long(self, line: memoryview) -> None:
        """The same for a long line, which is not copied."""
        begin = bytes(line[:6])
        if begin[:5] == b"data:":
            self._data.append(line[6:] if begin[5:] == b" " else line[5:])
            self._grow(len(line))

    def _end_event(self) -> Frame | None:
        event, data = self._event, self._data
        self._event, self._data, self._size = "", [], 0
        if not data:
            return None
        return Frame(event, text_of(data[0] if len(data) == 1 else b"\n".join(data)))

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > self._event_bytes_max:
            raise too_large("an event", self._event_bytes_max)


class JSONArrayDecoder:
    """The elements of a JSON array that arrives in pieces, each as a frame.

    Gemini streams so without `alt=sse`: `[{...}\\n,\\r\\n{...}]`.
    """

    def __init__(self, *, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._event_bytes_max = event_bytes_max
        self._buffer = bytearray()
        self._scanned = 0
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._start = -1

    @property
    def held_bytes(self) -> int:
        """The bytes held of the present element."""
        return len(self._buffer)

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """All elements that are complete with this chunk, one at a time."""
        self._buffer += chunk
        buffer = self._buffer
        position = self._scanned
        while position < len(buffer):
            byte = buffer[position]
            if self._in_string:
                if self._escaped:
                    self._escaped = False
                elif byte == 0x5C:
                    self._escaped = True
                elif byte == 0x22:
                    self._in_string = False
            elif byte == 0x22:
                self._in_string = True
            elif byte == 0x7B:
                if self._depth == 0:
                    self._start = position
                self._depth += 1
            elif byte == 0x7D:
                self._depth -= 1
                if self._depth == 0:
                    element = bytes(buffer[self._start : position + 1])
                    del buffer[: position + 1]
                    self._scanned = position = 0
                    yield Frame("", text_of(element))
                    continue
                elif self._depth < 0:
                    raise ProtocolError("a closing brace without an opening one in a JSON array")
            position += 1
        self._scanned = len(buffer)
        if len(buffer) > self._event_bytes_max:
            raise too_large("an element", self._event_bytes_max)

    def close(self) -> Iterator[Frame]:
        """Nothing: an element that is not closed is not an element."""
        if self._depth:
            raise TruncatedError("the JSON array ended inside an element")
        return iter(())


class LinesDecoder:
    """Lines, each as a frame: what Ollama streams.  Lines of spaces are none."""

    def __init__(self, *, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._event_bytes_max = event_bytes_max
        self._rest = PieceBuffer()

    @property
    def held_bytes(self) -> int:
        """The bytes held of the present line."""
        return self._rest.size

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """All lines that are complete with this chunk, one at a time."""
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            whole = self._rest.take(line) if self._rest.size else line
            if whole.strip():
                yield Frame("", text_of(whole))
        if rest:
            self._rest.add(rest)
            if self._rest.size > self._event_bytes_max:
                raise too_large("a line", self._event_bytes_max)

    def close(self) -> Iterator[Frame]:
        """The last line, where nothing ends it."""
        whole = self._rest.take()
        if whole.strip():
            yield Frame("", text_of(whole))


class ObjectLinesDecoder(LinesDecoder):
    """Lines of which each is a JSON object, from a server that should send events.

    One object alone is a whole answer, on one line or on many, and no frame.
    """

    def __init__(self, *, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        super().__init__(event_bytes_max=event_bytes_max)
        self._held: Frame | None = None  # the first, until a second one shows that they are many
        self._is_whole = False
        self._is_many = False

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """The lines from the second on, and the first before it."""
        if not self._is_whole:
            yield from self._sorted(super().feed(chunk))

    def close(self) -> Iterator[Frame]:
        """The last line; nothing where the lines are one object."""
        if not self._is_whole:
            yield from self._sorted(super().close())

    def _sorted(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            if self._is_many:
                yield frame
            elif self._held is None:
                self._held = frame
                self._is_whole = not frame.data.rstrip().endswith("}")
            elif frame.data.lstrip()[:1] in ("{", "["):  # an object, or [DONE]
                self._is_many = True
                yield self._held
                yield frame
            else:
                self._is_whole = True
            if self._is_whole:
                return


def text_of(data: bytes | memoryview) -> str:
    """The text of an event; `ProtocolError` where it is none, or takes too much to read."""
    try:
        if len(data) > LONG_BYTES:
            check_weight(data)
        return str(data, "utf-8")
    except HeavyJSONError as error:
        raise ProtocolError(f"an event is too heavy: {error}") from None
    except UnicodeDecodeError as error:
        raise ProtocolError(
            f"an event is not UTF-8: byte {error.start} of {len(data)} is {data[error.start]:#04x}"
        ) from None


def encode_sse(data: bytes, event: str = "") -> bytes:
    """One event.  `data` must hold no line break, as compact JSON never does."""
    if len(data) > LONG_BYTES:  # is copied once
        head = b"event: " + event.encode() + b"\ndata: " if event else b"data: "
        return b"".join((head, data, b"\n\n"))
    if event:
        return b"event: " + event.encode() + b"\ndata: " + data + b"\n\n"
    return b"data: " + data + b"\n\n"
