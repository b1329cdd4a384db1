"""Frames between the program's process and the host, from the inside.

A frame is four bytes of length, big-endian, and that many bytes of JSON.  Frames to the host are
collected and leave in one write when the turn passes to it.
"""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

Frame = dict[str, Any]

_BATCH_BYTES = 64_000
_RECEIVED_BYTES = 16_384
_encoded = json.JSONEncoder(separators=(",", ":")).encode  # `json.dumps` makes one for each frame


class HostGone(SystemExit):
    """The host closed the channel; the process has no reason to live on."""


class Channel:
    """The one connection to the host, blocking.  The process owns it until it ends."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._outgoing = bytearray()
        self._incoming = b""  # of the next frame, and of those after it
        # Threads of the program may print.
        self._lock = threading.RLock()

    def fileno(self) -> int:
        return self._connection.fileno()

    def put(self, frame: Frame) -> None:
        """Collects a frame; it leaves with the next `flush`."""
        body = _encoded(frame).encode("ascii")
        with self._lock:
            self._outgoing += len(body).to_bytes(4, "big")
            self._outgoing += body
            if len(self._outgoing) > _BATCH_BYTES:
                self.flush()

    def flush(self) -> None:
        with self._lock:
            if self._outgoing:
                waiting, self._outgoing = self._outgoing, bytearray()
                self._connection.sendall(waiting)

    @property
    def has_frame(self) -> bool:
        """Whether some of a frame came with the one before: no wait for the channel tells of it."""
        return bool(self._incoming)

    def read(self) -> Frame:
        """The next frame of the host; waits for it."""
        while len(self._incoming) < 4:
            self._incoming += self._received(_RECEIVED_BYTES)
        end = 4 + int.from_bytes(self._incoming[:4], "big")
        if len(self._incoming) < end:
            pieces, missing = [self._incoming], end - len(self._incoming)
            while missing > 0:
                pieces.append(self._received(max(missing, _RECEIVED_BYTES)))
                missing -= len(pieces[-1])
            self._incoming = b"".join(pieces)
        frame = json.loads(self._incoming[4:end].decode("ascii"))
        self._incoming = self._incoming[end:]
        return frame

    def _received(self, size: int) -> bytes:
        data = self._connection.recv(size)
        if not data:
            raise HostGone(0)
        return data
