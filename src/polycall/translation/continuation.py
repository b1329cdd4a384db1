"""Answers that a provider gives in several rounds, as one.

Gemini may break off with `CONTINUATION` and a token to continue; Google's own SDK asks again with
the token, and nobody else knows what it is.  (Anthropic's `pause_turn` is another thing: the caller
has asked for Anthropic's own tools, and continues by giving back what was said.)
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from polycall.ir import Event, PartDelta, PartEnd, PartStart, Request, ResponseEnd, Usage

ROUNDS_MAX = 32


class Continuation:
    """Events of one round after another in, those of the whole answer out.

    `take` gives the token of a round that was broken off to the code that asks with it again.
    After `ROUNDS_MAX` rounds the pause is the answer's end.
    """

    def __init__(self) -> None:
        self._token = ""
        self._rounds = 1
        self._before = 0  # parts of the rounds before this one
        self._parts = 0  # parts of this one
        self._last: Event | None = None  # of the first round
        self._usage = Usage()

    def feed(self, events: list[Event]) -> list[Event]:
        """The events as part of the whole."""
        if self._rounds > 1:
            return [joined for event in events for joined in self._joined(event)]
        if not events:
            return events
        last = events[-1]
        if not isinstance(last, ResponseEnd):
            # Nearly all go this way: they are not looked at.
            self._last = last
            return events
        if last.finish_reason != "pause":
            return events
        for event in (self._last, *events):
            if isinstance(event, PartStart | PartDelta | PartEnd):
                self._parts = event.index + 1
        return [*events[:-1], *self._end(last)]

    def take(self) -> str:
        """The token to continue, once; empty where the answer is whole."""
        token, self._token = self._token, ""
        return token

    def _joined(self, event: Event) -> list[Event]:
        match event:
            case PartStart() | PartDelta() | PartEnd():
                self._parts = event.index + 1
                return [replace(event, index=event.index + self._before)]
            case ResponseEnd():
                return self._end(event)
            case _:
                return []

    def _end(self, event: ResponseEnd) -> list[Event]:
        usage = event.usage if self._rounds == 1 else self._usage + event.usage
        token = _token_of(event)
        if not token or self._rounds == ROUNDS_MAX:
            return [replace(event, usage=usage)]
        self._token = token
        self._rounds += 1
        self._before += self._parts
        self._parts = 0
        self._usage = usage
        return []


def resumed(request: Request, token: str) -> Request:
    """The request that has the provider continue."""
    own = {**request.provider_options.get("gemini", {}), "continuationToken": token}
    return replace(request, provider_options={**request.provider_options, "gemini": own})


def _token_of(end: ResponseEnd) -> str:
    if end.raw_finish_reason != "CONTINUATION":
        return ""
    candidate: Any = end.metadata.get("gemini", {}).get("candidate")
    token: Any = candidate.get("continuationToken") if isinstance(candidate, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return token if isinstance(token, str) else ""
