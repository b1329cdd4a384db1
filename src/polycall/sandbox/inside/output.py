"""The output of a program: the head goes to the host at once, the tail when the run ends.

Between the two whatever passes the limit is counted and dropped, so that a flood costs neither
the host nor the journal anything.  The whole text stays in the jail, up to a bound, as `_stdout`.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from .channel import Channel
from .clock import real_monotonic

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
else:
    ReadableBuffer = bytes

_KEPT_BYTES = 4_000_000
_PIECE_BYTES = 16_000
# The first writes of a run are sent at once, so that a program that then hangs has been heard.
_EAGER_WRITES = 64
_QUIET_S = 0.02


class Output(io.BufferedIOBase):
    """One stream of a run: `stdout` or `stderr`."""

    def __init__(self, channel: Channel, name: str) -> None:
        self._channel = channel
        self.stream = name
        self.start(0)

    def start(self, limit_bytes: int) -> None:
        """Begins a run."""
        self._head_bytes = limit_bytes // 2
        self._tail_bytes = limit_bytes - self._head_bytes
        self._head_sent = 0
        self._pending = bytearray()
        self._tail = bytearray()
        self._total = 0
        self._writes = 0
        self._flushed_at = 0.0
        self.whole = bytearray()
        self._open = limit_bytes > 0

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Stays open: a program that closes its `sys.stdout` must not silence the next run."""

    def write(self, data: ReadableBuffer, /) -> int:
        piece = bytes(data)
        if not self._open:
            return len(piece)
        size = len(piece)
        self._total += size
        self.whole += piece[: _KEPT_BYTES - len(self.whole)]
        room = self._head_bytes - self._head_sent - len(self._pending)
        if room > 0:
            self._pending += piece[:room]
            piece = piece[room:]
            self._send_if_due()
        if piece:
            self._tail += piece
            if len(self._tail) > 4 * self._tail_bytes + _PIECE_BYTES:
                del self._tail[: -self._tail_bytes]
        return size

    def _send_if_due(self) -> None:
        self._writes += 1
        if self._writes > _EAGER_WRITES and len(self._pending) < _PIECE_BYTES:
            if real_monotonic() - self._flushed_at < _QUIET_S:
                return
            self._flushed_at = real_monotonic()
        self.send()
        self._channel.flush()

    def send(self) -> None:
        """Puts what is pending of the head before the host."""
        if self._pending:
            text = self._pending.decode("utf-8", "backslashreplace")
            self._head_sent += len(self._pending)
            self._pending.clear()
            self._channel.put({"type": "output", "stream": self.stream, "text": text})

    def finish(self) -> int:
        """Sends the rest and says how many bytes were dropped between head and tail."""
        self.send()
        # A thread that outlives the run has no one to print to.
        self._open = False
        kept = bytes(self._tail[-self._tail_bytes :]) if self._tail_bytes else b""
        dropped = self._total - self._head_sent - len(kept)
        if kept:
            # A cut in the middle of a character leaves bytes that belong to no character.
            text = kept.decode("utf-8", "ignore" if dropped else "backslashreplace")
            self._channel.put(
                {"type": "output", "stream": self.stream, "text": text, "dropped": dropped}
            )
        return dropped


def text_stream(output: Output) -> io.TextIOWrapper:
    """A file as programs expect it: `write`, `buffer`, `encoding`, `reconfigure` and the rest."""
    return io.TextIOWrapper(
        output,  # pyright: ignore[reportArgumentType]  # a name is asked for only in errors
        encoding="utf-8",
        errors="backslashreplace",
        newline="\n",
        line_buffering=True,
    )
