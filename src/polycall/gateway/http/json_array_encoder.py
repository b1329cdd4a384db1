"""Gemini's other way of streaming: without `alt=sse` an answer is one JSON array, in pieces."""

from __future__ import annotations

import re

from polycall.errors import PolycallError
from polycall.ir import Event
from polycall.translation.wire import Encoder

_BREAK = re.compile(rb"\r\n\r\n|\n\n")


class ArrayEncoder:
    """An encoder of server-sent events, its events as the elements of an array instead."""

    def __init__(self, encoder: Encoder, *, began: bool = False) -> None:
        """`began` says that elements were sent already, by somebody else."""
        self._encoder = encoder
        self._began = began

    def feed(self, event: Event) -> bytes:
        """The elements that the event gives."""
        return self._elements(self._encoder.feed(event))

    def close(self) -> bytes:
        """The end of the array."""
        return self._elements(self._encoder.close()) + (b"]" if self._began else b"[]")

    def fail(self, error: PolycallError) -> bytes:
        """The error as the last element."""
        return self._elements(self._encoder.fail(error)) + b"]"

    def _elements(self, data: bytes) -> bytes:
        pieces: list[bytes] = []
        for frame in _BREAK.split(data):
            element = frame.strip().removeprefix(b"data:").strip()
            if element:
                pieces.append(b",\r\n" if self._began else b"[")
                pieces.append(element)
                self._began = True
        return b"".join(pieces)
