"""Frames between host and program, from the host's side: the bounds are kept here.

A frame is four bytes of length, big-endian, and that many bytes of JSON, an object with a `type`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import msgspec

from .errors import ProtocolViolationError
from .text import ascii_json

Frame = dict[str, Any]
_decoder = msgspec.json.Decoder()


def encode(frame: Mapping[str, Any]) -> bytes:
    """The bytes of a frame to the program's process."""
    if frame["type"] == "end":  # a program's value may be a number that JSON does not have
        body = json.dumps(frame, separators=(",", ":")).encode("ascii")
    else:
        body = ascii_json(frame)
    return len(body).to_bytes(4, "big") + body


class FrameReader:
    """Cuts the untrusted bytes of a program's process into frames.

    Holds at most one frame: its length is checked before the first byte of it is kept.
    """

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole with these bytes; those not taken come with the next call."""
        self._buffer += data
        return self._frames()

    def _frames(self) -> Iterator[Frame]:
        while len(self._buffer) >= 4:
            size = int.from_bytes(self._buffer[:4], "big")
            if size > self._size_max:
                raise ProtocolViolationError(
                    f"a frame of {size} bytes; {self._size_max} are allowed"
                )
            if len(self._buffer) < 4 + size:
                return
            body = bytes(self._buffer[4 : 4 + size])
            del self._buffer[: 4 + size]
            yield _parse(body)


class Credit:
    """The frames that a process may send: so many a second, and twice as many at once."""

    def __init__(self, per_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._clock = clock
        self._left = 2.0 * per_s
        self._seen = clock()

    def take(self) -> float:
        """Spend one; else the seconds until there is another."""
        now = self._clock()
        self._left = min(2.0 * self._per_s, self._left + (now - self._seen) * self._per_s)
        self._seen = now
        if self._left < 1:
            return (1 - self._left) / self._per_s
        self._left -= 1
        return 0.0


def _parse(body: bytes) -> Frame:
    try:
        frame: Any = _decoder.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        frame = _parse_slowly(body)
    if not isinstance(frame, dict):
        raise ProtocolViolationError("a frame that is not an object")
    frame = cast(Frame, frame)
    if not isinstance(frame.get("type"), str):
        raise ProtocolViolationError("a frame without a type")
    return frame


def _parse_slowly(body: bytes) -> Any:
    """Numbers that JSON does not have and halves of characters: programs print and return them."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolViolationError(f"a frame that is not JSON: {type(error).__name__}") from None
