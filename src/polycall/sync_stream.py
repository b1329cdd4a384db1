"""A client's stream for code without an event loop."""

from __future__ import annotations

from typing import Protocol

from polycall._support.blocking import BlockingStream, Portal, TextStream
from polycall.ir import Event, Response, Warning


class AnswerStream(TextStream[Event], Protocol):
    """A stream of one answer's events, as a client gives it."""

    warnings: list[Warning]

    @property
    def response(self) -> Response: ...


class SyncStream(BlockingStream[Event]):
    """A client's stream for code without an event loop."""

    def __init__(self, portal: Portal, stream: AnswerStream) -> None:
        super().__init__(portal, stream)
        self._stream = stream

    @property
    def response(self) -> Response:
        """The whole answer; `TruncatedError` before its end."""
        return self._stream.response

    @property
    def warnings(self) -> list[Warning]:
        """What is not sent as it was written; known with the first event."""
        return self._stream.warnings
