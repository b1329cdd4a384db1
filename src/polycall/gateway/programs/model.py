"""The providers behind the router, as the loop wants a model: routes, fallback, one account."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from decimal import Decimal

from msgspec.structs import replace

from polycall.client import Stream
from polycall.exchange import prepare
from polycall.gateway.answer import Account, broken_off
from polycall.gateway.asked import Asked, Attempt, Desk, refuse_losses
from polycall.gateway.calls import in_events, in_parts
from polycall.gateway.carrier import Carried
from polycall.gateway.counting import estimate
from polycall.gateway.flight import Flight
from polycall.gateway.journey import Journey
from polycall.gateway.routing import Stop
from polycall.history import marked, portable
from polycall.ir import (
    Event,
    Request,
    Response,
    ResponseEnd,
    ToolChoice,
    Usage,
    Warning,
)


class Step:
    """What one step of the loop asks, as a journey takes it: always translated."""

    def __init__(self, asked: Asked, carried: Carried, request: Request) -> None:
        self.model = asked.model
        self.streams = request.stream
        self._is_strict = asked.is_strict
        self._carried = carried
        self._request = request

    def plan(self, stops: list[Stop]) -> None:
        """Every stop gets its own rendering in any case."""

    async def attempt(self, stop: Stop, desk: Desk) -> Attempt:
        """The request for one stop."""
        stop = desk.as_learned(stop)
        provider = stop.provider
        name = provider.dialect_for(stop.model, with_tools=True)
        request, warnings = self._carried.holding(self._request).for_target(
            provider.name, stop.model
        )
        request = replace(request, messages=portable(request.messages, stop.name))
        request = await desk.with_media(request, name)
        exchange = prepare(request, provider, stop.model, stop.key, name)
        warnings = [*warnings, *exchange.wire.warnings]
        if self._is_strict:
            refuse_losses(warnings)
        return Attempt(stop, exchange.dialect, exchange.http, exchange, warnings)


class RoutedModel:
    """A `ModelClient` for one request of a client; `account` has the sum of its steps."""

    def __init__(
        self, asked: Asked, carried: Carried, flight: Flight, desk: Desk, account: Account
    ) -> None:
        self._asked = asked
        self._carried = carried
        self._flight = flight
        self._desk = desk
        self._account = account
        self._steps = 0
        self._costs: list[Decimal | None] = []
        self.warnings: list[Warning] = []

    async def generate_request(self, request: Request) -> Response:
        """One whole answer."""
        await self._reserve()
        journey = self._journey(request)
        with self._noting(journey, request):
            plain = await journey.plain()
        assert plain.response is not None
        self._account.calls += in_parts(plain.response.message.parts)
        self._count(plain.attempt, plain.usage)
        return marked(plain.response, plain.attempt.stop.name)

    def stream_request(self, request: Request) -> Stream:
        """One answer as its events."""
        return _StepStream(self, request)

    def cost(self, model: str, usage: Usage) -> Decimal | None:
        """What the last step cost; the loop asks after each."""
        del model, usage
        return self._costs[-1] if self._costs else None

    @property
    def stop_name(self) -> str:
        """Who answered last."""
        attempt = self._account.attempt
        return "" if attempt is None else attempt.stop.name

    async def events(self, request: Request) -> AsyncGenerator[Event]:
        """The events of one step."""
        await self._reserve()
        journey = self._journey(request)
        with self._noting(journey, request):
            streaming = await journey.streaming()
        decoder = streaming.decoder
        assert decoder is not None
        usage: Usage | None = None
        steps = 0
        try:
            self._account.calls += in_events(streaming.events)
            for event in streaming.events:
                usage = _usage(event) or usage
                yield event
            is_over = streaming.is_finished
            while not is_over or await streaming.asks_again(self._flight, self._desk):
                is_over = True
                async for chunk in streaming.chunks():
                    self._flight.heard_at = time.monotonic()
                    events = decoder.feed(chunk)
                    self._account.calls += in_events(events)
                    steps += len(events)
                    for event in events:
                        usage = _usage(event) or usage
                        yield event
                    if decoder.error is not None:
                        raise decoder.error
                for event in decoder.close():
                    usage = _usage(event) or usage
                    yield event
        finally:
            if usage is None:
                self._count_broken_off(streaming.attempt, request, decoder.usage, steps)
            else:
                self._count(streaming.attempt, usage)
            await streaming.http.close()

    async def _reserve(self) -> None:
        # The first step is what the request reserved for itself.
        if self._steps and self._account.reserve is not None:
            await self._account.reserve()

    def _journey(self, request: Request) -> Journey:
        choice = request.tool_choice
        if self._steps and choice is not None and choice.mode in ("required", "tool"):
            # It was for the answer to the client; asked again each step, there would be no end.
            request = replace(request, tool_choice=ToolChoice("auto"))
        self._steps += 1
        return Journey(Step(self._asked, self._carried, request), self._flight, self._desk)

    @contextmanager
    def _noting(self, journey: Journey, request: Request) -> Generator[None]:
        """While a model is asked: what was attempted, and what it cost to leave it."""
        try:
            yield
        except BaseException:
            if journey.attempt is not None and journey.is_under_way:
                self._count_broken_off(journey.attempt, request, Usage(), 0)
            raise
        finally:
            self._note(journey)

    def _note(self, journey: Journey) -> None:
        account = self._account
        account.is_under_way = account.is_under_way or journey.is_under_way
        account.attempts += journey.attempts
        account.attempt = journey.attempt or account.attempt
        if journey.attempt is not None:
            known = self.warnings
            known.extend(each for each in journey.attempt.warnings if each not in known)

    def _count_broken_off(
        self, attempt: Attempt, request: Request, told: Usage, steps: int
    ) -> None:
        self._account.is_estimate = True
        self._count(attempt, broken_off(told, steps, lambda: estimate(request)))

    def _count(self, attempt: Attempt, usage: Usage) -> None:
        account = self._account
        account.usage += usage
        account.has_ended = True
        cost = self._desk.costs.known(attempt.stop.provider, attempt.stop.model, usage)
        self._costs.append(cost)
        known = [each for each in self._costs if each is not None]
        account.cost = sum(known, Decimal(0)) if known == self._costs else None
        account.is_sum = len(self._costs) > 1


def _usage(event: Event) -> Usage | None:
    return event.usage if isinstance(event, ResponseEnd) else None


class _StepStream(Stream):
    """A step's stream; its answer is marked with who gave it, as histories need."""

    def __init__(self, model: RoutedModel, request: Request) -> None:
        super().__init__(model.events(request), [])
        self._model = model

    @property
    def response(self) -> Response:
        return marked(super().response, self._model.stop_name)
