"""Frames between host and program, from the host's side: the bounds are kept here.

A frame is four bytes of length, big-endian, and that many bytes of JSON, an object with a `type`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from .errors import ProtocolViolationError

Frame = dict[str, Any]


def encode(frame: Mapping[str, Any]) -> bytes:
    """The bytes of a frame to the program's process."""
    body = json.dumps(frame, separators=(",", ":")).encode("ascii")
    return len(body).to_bytes(4, "big") + body


class FrameReader:
    """Cuts the untrusted bytes of a program's process into frames.

    Holds at most one frame: its length is checked before the first byte of it is kept.
    """

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        self._buffer += data
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


def _parse(body: bytes) -> Frame:
    try:
        frame: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolViolationError(f"a frame that is not JSON: {type(error).__name__}") from None
    if not isinstance(frame, dict):
        raise ProtocolViolationError("a frame that is not an object")
    frame = cast(Frame, frame)
    if not isinstance(frame.get("type"), str):
        raise ProtocolViolationError("a frame without a type")
    return frame
