"""The host's end of a channel to the process that runs programs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Protocol, cast

from .errors import ProtocolViolationError
from .frames import Credit, Frame, FrameReader
from .limits import Limits

# How long frames are taken before the loop does something else.
_SLICE_S = 0.005


class Peer(Protocol):
    """Hears what comes over a channel."""

    on_frame: Callable[[Frame], None]
    on_violation: Callable[[ProtocolViolationError], None]
    on_fault: Callable[[Exception], None]
    on_gone: Callable[[], None]


class Wire(asyncio.Protocol):
    """The host's end of the channel: bytes to frames, and the end of either.

    A process can write frames faster than the host reads them.  So the host takes them for a
    moment, lets everything else have its turn, and reads no further meanwhile: what waits, waits
    in the channel, which the process cannot fill beyond its end.
    """

    def __init__(self, peer: Peer, limits: Limits) -> None:
        self._peer = peer
        self._reader = FrameReader(limits.frame_bytes)
        self._credit = Credit(limits.frames_per_s)
        self._transport: asyncio.Transport | None = None
        self._later: asyncio.Handle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._take(self._reader.feed(data))

    def _take(self, frames: Iterator[Frame]) -> None:
        ends_at = time.perf_counter() + _SLICE_S
        try:
            # A frame that is held up is in the reader still.
            while (wait_s := self._credit.take()) == 0 and time.perf_counter() < ends_at:
                frame = next(frames, None)
                if frame is None:
                    self._resume()
                    return
                self._peer.on_frame(frame)
        except ProtocolViolationError as violation:
            self._peer.on_violation(violation)
            return
        except Exception as fault:  # noqa: BLE001 - such as a journal's, whose disk is full
            self._peer.on_fault(fault)
            return
        self._pause(wait_s)

    def _pause(self, wait_s: float) -> None:
        loop = asyncio.get_running_loop()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
            # Longer than the slice: a process has half of the loop at most.
            self._later = loop.call_later(max(wait_s, _SLICE_S), self._again)

    def _again(self) -> None:
        self._later = None
        self._take(self._reader.feed(b""))

    def _resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._later is not None:
            self._later.cancel()
        self._peer.on_gone()
