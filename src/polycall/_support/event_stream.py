"""AWS's event-stream framing: messages of headers and a payload, each with two CRC-32 sums.

The format is of the Smithy specification ("Amazon Event Stream", read 2026-11-29).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from itertools import chain

from msgspec import Struct

from polycall.errors import ProtocolError, TruncatedError

CONTENT_TYPE = "application/vnd.amazon.eventstream"
MESSAGE_BYTES_MAX = 17 * 1024 * 1024  # of an event of 12 MiB in base64
_HEADERS_BYTES_MAX = 128 * 1024
_PRELUDE = struct.Struct(">III")
_SUM = struct.Struct(">I")
_STRING = 7
# Bytes of the value of each type of header that has a fixed length; 6 and 7 say theirs.
_FIXED = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}


class EventMessage(Struct, frozen=True):
    """One message; headers that are no text are left out."""

    headers: dict[str, str]
    payload: bytes


class EventStreamReader:
    """Bytes in, messages out, however they are cut; `ProtocolError` for a wrong sum."""

    def __init__(self, message_bytes_max: int = MESSAGE_BYTES_MAX) -> None:
        self._buffer = bytearray()
        self._message_bytes_max = message_bytes_max

    @property
    def held_bytes(self) -> int:
        """The bytes held of the present message."""
        return len(self._buffer)

    def feed(self, chunk: bytes) -> Iterator[EventMessage]:
        """All messages that are complete with this chunk, one at a time."""
        self._buffer += chunk
        return iter(self._next, None)  # which holds none of them, as a loop's variable would

    def close(self) -> None:
        """The bytes have ended; `TruncatedError` inside of a message."""
        if self._buffer:
            raise TruncatedError(f"the event stream ended inside a message ({len(self._buffer)} B)")

    def _next(self) -> EventMessage | None:
        buffer = self._buffer
        if len(buffer) < _PRELUDE.size:
            return None
        total, headers_size, prelude_sum = _PRELUDE.unpack_from(buffer)
        if zlib.crc32(memoryview(buffer)[:8]) != prelude_sum:
            raise ProtocolError("an event-stream message has a wrong sum over its lengths")
        is_long = headers_size > _HEADERS_BYTES_MAX or total > self._message_bytes_max
        if is_long or total < 16 + headers_size:
            raise ProtocolError(f"an event-stream message of {total} bytes is not taken")
        if len(buffer) < total:
            return None
        end = _PRELUDE.size + headers_size
        with memoryview(buffer) as view:  # of which each part is copied once
            (message_sum,) = _SUM.unpack_from(view, total - 4)
            if zlib.crc32(view[: total - 4]) != message_sum:
                raise ProtocolError("an event-stream message has a wrong sum")
            headers, payload = bytes(view[_PRELUDE.size : end]), bytes(view[end : total - 4])
        del buffer[:total]
        return EventMessage(_read_headers(headers), payload)


def _read_headers(data: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    place = 0
    try:
        while place < len(data):
            size = data[place]
            name = data[place + 1 : place + 1 + size].decode()
            kind = data[place + 1 + size]
            place += 2 + size
            if kind in _FIXED:
                place += _FIXED[kind]
                continue
            (size,) = struct.unpack_from(">H", data, place)
            if kind == _STRING:
                headers[name] = data[place + 2 : place + 2 + size].decode()
            elif kind != 6:
                raise ProtocolError(f"an event-stream header has the unknown type {kind}")
            place += 2 + size
    except (IndexError, struct.error, UnicodeDecodeError):
        raise ProtocolError("the headers of an event-stream message cannot be read") from None
    return headers


def encode_message(headers: Mapping[str, str], *payload: bytes) -> bytes:
    """One message, whose payload may be in pieces: each is copied once."""
    return _encoded(headers, sum(map(len, payload)), payload)


def _encoded(headers: Mapping[str, str], size_bytes: int, payload: Iterable[bytes]) -> bytes:
    pieces: list[bytes] = []
    for name, value in headers.items():
        key, text = name.encode(), value.encode()
        pieces.append(bytes((len(key),)) + key + struct.pack(">BH", _STRING, len(text)) + text)
    head = b"".join(pieces)
    lengths = struct.pack(">II", 16 + len(head) + size_bytes, len(head))
    message = BytesIO()  # gives what it has without a second copy of it
    message_sum = 0
    for piece in chain((lengths, _SUM.pack(zlib.crc32(lengths)), head), payload):
        message_sum = zlib.crc32(piece, message_sum)
        message.write(piece)
    message.write(_SUM.pack(message_sum))
    return message.getvalue()


def event(kind: str, *payload: bytes) -> bytes:
    """An event of a service that speaks JSON."""
    return event_of(kind, sum(map(len, payload)), payload)


def event_of(kind: str, size_bytes: int, payload: Iterable[bytes]) -> bytes:
    """The same of a payload of this size, which is made while it is written."""
    return _encoded(
        {":event-type": kind, ":content-type": "application/json", ":message-type": "event"},
        size_bytes,
        payload,
    )


def exception(kind: str, payload: bytes) -> bytes:
    """An exception that ends a stream."""
    return encode_message(
        {
            ":exception-type": kind,
            ":content-type": "application/json",
            ":message-type": "exception",
        },
        payload,
    )
