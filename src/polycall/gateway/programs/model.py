"""The providers behind the router, as the loop wants a model: routes, fallback, one account."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from decimal import Decimal

from msgspec.structs import replace

from polycall import ir
from polycall.exchange import prepare
from polycall.gateway.catalogue.token_counts import estimate
from polycall.gateway.generation.attempt import Attempt, refuse_losses
from polycall.gateway.generation.attempts import AttemptRunner
from polycall.gateway.generation.client_request import ClientRequest
from polycall.gateway.generation.request_usage import RequestUsage, broken_off
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.passthrough.call_counter import in_events, in_parts
from polycall.gateway.routing.router import Target
from polycall.gateway.services import GatewayServices
from polycall.gateway.state.carried import CarriedRequest
from polycall.gateway.state.unknown_past import refuse_unknown_past
from polycall.streams import Stream
from polycall.translation.portable import marked, portable


class ModelStep:
    """The request of one step of the loop, as the attempts take it: always translated."""

    def __init__(
        self, client_request: ClientRequest, carried: CarriedRequest, request: ir.Request
    ) -> None:
        self.model = client_request.model
        self.streams = request.stream
        self._is_strict = client_request.is_strict
        self._carried = carried
        self._request = request
        self.owner_id = client_request.owner.id

    def plan(self, targets: list[Target]) -> None:
        """Every target gets its own rendering in any case."""

    async def attempt(self, target: Target, services: GatewayServices) -> Attempt:
        """The request for one target."""
        target = services.as_learned(target)
        provider = target.provider
        name = provider.dialect_for(with_tools=True)
        request, warnings = self._carried.holding(self._request).for_target(
            provider.name, target.model
        )
        refuse_unknown_past(request, name)
        request = replace(request, messages=portable(request.messages, target.name))
        request = await services.with_media(request, name, self.owner_id)
        corrections = services.corrections_of(target, name)
        exchange = prepare(
            request, provider, target.model, target.key, name, corrections=corrections
        )
        warnings = [*warnings, *exchange.wire.warnings]
        if self._is_strict:
            refuse_losses(warnings)
        return Attempt(target, exchange.dialect, exchange.http, exchange, warnings)


class RoutedModel:
    """A `ModelClient` for one request of a client; `account` has the sum of its steps."""

    def __init__(
        self,
        client_request: ClientRequest,
        carried: CarriedRequest,
        gateway_request: GatewayRequest,
        services: GatewayServices,
        account: RequestUsage,
    ) -> None:
        self._client_request = client_request
        self._carried = carried
        self._gateway_request = gateway_request
        self._services = services
        self._account = account
        self._steps = 0
        self._costs: list[Decimal | None] = []
        self.warnings: list[ir.Warning] = []

    async def generate_request(self, request: ir.Request) -> ir.Response:
        """One whole answer."""
        await self._reserve()
        runner = self._runner(request)
        with self._noting(runner, request):
            plain = await runner.plain()
        assert plain.response is not None
        self._account.calls += in_parts(plain.response.message.parts)
        self._count(plain.attempt, plain.usage)
        return marked(plain.response, plain.attempt.target.name)

    def stream_request(self, request: ir.Request) -> Stream:
        """One answer as its events."""
        return _StepStream(self, request)

    def cost(self, model: str, usage: ir.Usage) -> Decimal | None:
        """The cost of the last step; the loop asks after each."""
        del model, usage
        return self._costs[-1] if self._costs else None

    @property
    def stop_name(self) -> str:
        """The name of the stop that answered last."""
        attempt = self._account.attempt
        return "" if attempt is None else attempt.target.name

    async def events(self, request: ir.Request) -> AsyncGenerator[ir.Event]:
        """The events of one step."""
        await self._reserve()
        runner = self._runner(request)
        with self._noting(runner, request):
            streaming = await runner.streaming()
        decoder = streaming.decoder
        assert decoder is not None
        usage: ir.Usage | None = None
        steps = 0
        try:
            self._account.calls += in_events(streaming.events)
            for event in streaming.events:
                usage = _usage(event) or usage
                yield event
            is_over = streaming.is_finished
            while not is_over or await streaming.continues(self._gateway_request, self._services):
                is_over = True
                async for chunk in streaming.http.chunks():
                    self._gateway_request.heard_at = time.monotonic()
                    events = await streaming.read(decoder.feed, chunk)
                    self._account.calls += in_events(events)
                    steps += len(events)
                    for event in events:
                        usage = _usage(event) or usage
                        yield event
                    if decoder.error is not None:
                        raise decoder.error
                for event in await streaming.read(lambda _: decoder.close(), b""):
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

    def _runner(self, request: ir.Request) -> AttemptRunner:
        choice = request.tool_choice
        if self._steps and choice is not None and choice.mode in ("required", "tool"):
            # It was for the answer to the client; asked again each step, there would be no end.
            request = replace(request, tool_choice=ir.ToolChoice("auto"))
        self._steps += 1
        return AttemptRunner(
            ModelStep(self._client_request, self._carried, request),
            self._gateway_request,
            self._services,
        )

    @contextmanager
    def _noting(self, runner: AttemptRunner, request: ir.Request) -> Generator[None]:
        """While a model is asked: what was attempted, and what it cost to leave it."""
        try:
            yield
        except BaseException:
            if runner.attempt is not None and runner.is_under_way:
                self._count_broken_off(runner.attempt, request, ir.Usage(), 0)
            raise
        finally:
            self._note(runner)

    def _note(self, runner: AttemptRunner) -> None:
        account = self._account
        account.is_under_way = account.is_under_way or runner.is_under_way
        account.attempts += runner.attempts
        account.lost += runner.lost
        account.attempt = runner.attempt or account.attempt
        if runner.attempt is not None:
            known = self.warnings
            known.extend(each for each in runner.attempt.warnings if each not in known)

    def _count_broken_off(
        self, attempt: Attempt, request: ir.Request, reported: ir.Usage, steps: int
    ) -> None:
        self._account.is_estimate = True
        self._count(attempt, broken_off(reported, steps, lambda: estimate(request)))

    def _count(self, attempt: Attempt, usage: ir.Usage) -> None:
        account = self._account
        account.usage += usage
        account.has_ended = True
        priced = attempt.priced(usage)
        cost = self._services.costs.known(attempt.target.provider, attempt.target.model, priced)
        self._costs.append(cost)
        known = [each for each in self._costs if each is not None]
        account.cost = sum(known, Decimal(0)) if known == self._costs else None
        account.is_sum = len(self._costs) > 1


def _usage(event: ir.Event) -> ir.Usage | None:
    return event.usage if isinstance(event, ir.ResponseEnd) else None


class _StepStream(Stream):
    """A step's stream; its answer is marked with who gave it, as histories need."""

    def __init__(self, model: RoutedModel, request: ir.Request) -> None:
        super().__init__(model.events(request), [])
        self._model = model

    @property
    def response(self) -> ir.Response:
        return marked(super().response, self._model.stop_name)
