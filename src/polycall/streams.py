"""One answer as its events come: asynchronous, for code without an event loop, and instrumented."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol

from msgspec.structs import replace

from polycall._support.blocking import BlockingStream, Portal, TextStream
from polycall.fold import Folder, unfold
from polycall.instrumentation import Watched, asking, begin_asking
from polycall.ir import Event, PartDelta, Request, Response, Warning
from polycall.translation.dropped_state import dropped_state
from polycall.translation.portable import marked


class Stream:
    """The events of one answer, as they come.

    `warnings` is known with the first event, `response` once the last one has passed.  `aclose`
    (or leaving the `async with`) cuts the connection, so that the provider stops.
    """

    def __init__(self, events: AsyncGenerator[Event], warnings: list[Warning]) -> None:
        self._events = events
        self._folder = Folder()
        self.warnings = warnings

    @classmethod
    def of(cls, response: Response) -> Stream:
        """The events of an answer that is whole already."""
        return cls(unfolded(response), response.warnings)

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Event:
        event = await anext(self._events)
        self._folder.feed(event)
        return self._folder.labelled(event)

    async def text(self) -> AsyncGenerator[str]:
        """The answer's visible text alone, as it comes: no reasoning, no arguments of calls."""
        async for event in self:
            if isinstance(event, PartDelta) and event.kind == "text":
                yield event.text

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop, and close the connection."""
        await self._events.aclose()

    @property
    def response(self) -> Response:
        """The whole answer; `TruncatedError` before its end."""
        response = self._folder.result()
        dropped = [each for each in dropped_state(response) if each not in self.warnings]
        response = replace(response, warnings=[*self.warnings, *dropped])
        return marked(response, response.model)


async def unfolded(response: Response) -> AsyncGenerator[Event]:
    for event in unfold(response):
        yield event


async def watched_answer(
    request: Request,
    ask: Callable[[Request], Awaitable[Response]],
    above: Callable[[], Watched] | None = None,
) -> Response:
    """Call `ask`, report it to the watcher, and return its answer."""
    watched = begin_asking(request, above)
    if watched is None:
        return await ask(request)
    try:
        with asking(watched):
            response = await ask(request)
        watched.tell(response)
    except BaseException as error:
        watched.end(error)
        raise
    watched.end()
    return response


def watched_stream(
    request: Request,
    ask: Callable[[Request], Stream],
    above: Callable[[], Watched] | None = None,
) -> Stream:
    """The same for an answer that comes in pieces."""
    watched = begin_asking(request, above)
    if watched is None:
        return ask(request)
    try:
        with asking(watched):
            inner = ask(request)
    except BaseException as error:
        watched.end(error)
        raise
    return Stream(_watched_events(watched, inner), inner.warnings)


async def _watched_events(watched: Watched, inner: Stream) -> AsyncGenerator[Event]:
    try:
        async with inner:
            is_first = True
            while True:
                try:
                    with asking(watched):
                        event = await anext(inner)
                except StopAsyncIteration:
                    break
                if is_first:
                    watched.first()
                    is_first = False
                yield event
        watched.tell(inner.response)
    except BaseException as error:
        watched.end(error)
        raise
    watched.end()


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
        """The parts that are not sent as they were written; known with the first event."""
        return self._stream.warnings
