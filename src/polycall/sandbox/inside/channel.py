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


class HostGone(SystemExit):
    """The host closed the channel; the process has no reason to live on."""


class Channel:
    """The one connection to the host, blocking.  The process owns it until it ends."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._outgoing = bytearray()
        # Threads of the program may print.
        self._lock = threading.RLock()

    def fileno(self) -> int:
        return self._connection.fileno()

    def put(self, frame: Frame) -> None:
        """Collects a frame; it leaves with the next `flush`."""
        body = json.dumps(frame, separators=(",", ":")).encode("ascii")
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

    def read(self) -> Frame:
        """The next frame of the host; waits for it."""
        size = int.from_bytes(self._exactly(4), "big")
        return json.loads(self._exactly(size))

    def _exactly(self, size: int) -> bytearray:
        received = bytearray(size)
        view = memoryview(received)
        while view:
            count = self._connection.recv_into(view)
            if count == 0:
                raise HostGone(0)
            view = view[count:]
        return received
