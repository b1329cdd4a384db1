"""Long frames of a WebSocket, which are gathered alongside their reader.

Who reads frames keeps the pieces of one until its end, joins them and unmasks a copy: three times
the room of the frame, and all of that in one go.  Here pieces are unmasked as they come, and kept
in one place; the reader has a short frame for the long one.  A long fragment is passed on in
fragments.
"""

from __future__ import annotations

import secrets
from collections import deque

from aiohttp._websocket.helpers import websocket_mask

from polycall._support.piece_buffer import PieceBuffer

SPLIT_BYTES = 512 * 1024  # what is shorter passes as it is
_FINAL, _CONTROL, _MASKED = 0x80, 0x08, 0x80
_WHOLE = (0x81, 0x82)  # the first byte of a message of one frame: text, and bytes
_LENGTH = {126: 2, 127: 8}  # bytes that say how long the frame is


class FrameSplitter:
    """Splits one client's bytes after its handshake into frames.

    A frame that is not masked, or longer than `bytes_max`, is left to the reader to refuse.  A
    frame that is the `token`, which no client knows, stands for the first of the `long` ones.
    """

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.token = secrets.token_bytes(16)
        self.long: deque[bytes] = deque()
        self._gathered = PieceBuffer()
        self._held = b""  # the beginning of a head, or what of a payload has no whole mask yet
        self._left = 0  # bytes of the frame's payload that have not come
        self._first = -1  # what the next fragment's head begins with; -1 in a frame that passes
        self._final = 0
        self._mask = b""

    @property
    def is_gathering(self) -> bool:
        """Whether the beginning of a long frame is kept."""
        return bool(self._gathered.size)

    def drop(self) -> None:
        """Keep no frame any more that has not come whole: its rest never comes."""
        self._gathered = PieceBuffer()

    def feed(self, data: bytes) -> bytes:
        """The bytes for the reader."""
        if self._held:
            data, self._held = self._held + data, b""
        found: list[bytes] = []
        passed = place = 0
        size = len(data)
        while place < size:
            if self._left:
                end = min(size, place + self._left)
                if self._first >= 0:
                    found += self._fragment(data[place:end])
                    passed = end  # its own bytes have another head now
                else:
                    self._left -= end - place
                place = end
            elif not (head := self._head(data, place)):
                break
            else:
                if self._first >= 0:
                    found.append(data[passed:place])
                    passed = place + head
                place += head
        if place < size:
            self._held = data[place:]
        if not passed:
            return data[:place]
        return b"".join((*found, data[passed:place]))

    def _head(self, data: bytes, place: int) -> int:
        """The length of the next frame's head; 0 where it has not come whole."""
        if len(data) < place + 2:
            return 0
        first, second = data[place], data[place + 1]
        length = second & 0x7F
        more = _LENGTH.get(length, 0)
        size = 2 + more + (4 if second & _MASKED else 0)
        if len(data) < place + size:
            return 0
        if more:
            length = int.from_bytes(data[place + 2 : place + 2 + more], "big")
        is_long = SPLIT_BYTES < length < self.bytes_max
        self._left, self._first = length, -1
        if is_long and second & _MASKED and not first & _CONTROL:
            self._first, self._final = first & ~_FINAL, first & _FINAL
            self._mask = data[place + size - 4 : place + size]
        return size

    def _fragment(self, piece: bytes) -> list[bytes]:
        """A fragment with so much of the payload, but for what is no whole mask long."""
        self._left -= len(piece)
        if self._left:
            most = len(piece) & ~3
            self._held, piece = piece[most:], piece[:most]
            self._left += len(self._held)
            if not piece:
                return []
        if self._first | self._final in _WHOLE:
            return self._gather(piece)
        first = self._first if self._left else self._first | self._final
        self._first = 0
        return [bytes((first, _MASKED | 127)), len(piece).to_bytes(8, "big"), self._mask, piece]

    def _gather(self, piece: bytes) -> list[bytes]:
        """Keep so much of a message; at its end, the frame that stands for it."""
        plain = bytearray(piece)
        websocket_mask(self._mask, plain)
        self._gathered.add(plain)
        if self._left:
            return []
        self.long.append(self._gathered.take())
        head = bytes((self._first | self._final, _MASKED | len(self.token)))
        return [head, bytes(4), self.token]  # masked by zeros, which change nothing
