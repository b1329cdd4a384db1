"""Sends an answer as its events come, or whole at their end, as the client asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from msgspec.structs import replace

from polycall._support import jsontext
from polycall.dialects import openai_responses
from polycall.errors import PolycallError
from polycall.fold import Folder
from polycall.gateway.generation.answer import own_id, stream_headers
from polycall.gateway.generation.client_request import ClientRequest
from polycall.gateway.generation.request_usage import RequestUsage
from polycall.gateway.http.json_array_encoder import ArrayEncoder
from polycall.gateway.http.replies import base_headers, dated, send_json
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.services import GatewayServices
from polycall.ir import Event, ResponseEnd, ResponseStart, Warning
from polycall.translation.wire import Encoder

# Who answered, and what was lost on the way.
Source = Callable[[], tuple[str, list[Warning]]]


class Sender:
    """For one request.  Errors after the status are told inside of the stream."""

    def __init__(
        self,
        client_request: ClientRequest,
        gateway_request: GatewayRequest,
        services: GatewayServices,
        account: RequestUsage,
        source: Source,
    ) -> None:
        self._client_request = client_request
        self._gateway_request = gateway_request
        self._services = services
        self._account = account
        self._is_kept = client_request.earlier.wants_kept(services)
        self._source = source
        self._folder = Folder()
        self._echoed = client_request.earlier.echoed(client_request.request, is_kept=self._is_kept)
        encoder: Encoder = client_request.dialect.StreamEncoder(self._echoed)
        self._encoder = ArrayEncoder(encoder) if client_request.wants_array else encoder

    @asynccontextmanager
    async def sending(self) -> AsyncGenerator[None]:
        """While the answer is made; heartbeats go out where the client's protocol has some."""
        gateway_request = self._gateway_request
        if self._client_request.streams and self._client_request.dialect.FACTS.heartbeat:
            gateway_request.beat = self._beat
        try:
            yield
        except asyncio.CancelledError as cancelled:
            await self._fail(gateway_request.reason_or_raise(cancelled))
        except PolycallError as error:
            await self._fail(error)
        finally:
            gateway_request.beat = None

    async def send(self, events: list[Event]) -> None:
        """A few events more."""
        if not events:
            return
        if not self._account.first_at:
            self._account.first_at = time.monotonic()
        if isinstance(first := events[0], ResponseStart):
            first = replace(first, id=own_id(self._gateway_request)) if self._is_kept else first
            events = [dated(first), *events[1:]]
        if not self._client_request.streams:
            for event in events:
                self._folder.feed(event)
            return
        if not self._gateway_request.started:
            await self._start()
        data = b"".join([self._encoder.feed(event) for event in events])
        if self._is_kept and isinstance(events[-1], ResponseEnd):
            # Before the client can come back with what it refers to.
            assert isinstance(self._encoder, openai_responses.StreamEncoder)
            await self._client_request.earlier.keep(self._services, self._encoder.response)
        if data:
            await self._gateway_request.send_body(data, more=True)

    async def finish(self, events: list[Event]) -> None:
        """The last events."""
        await self.send(events)
        if self._client_request.streams:
            await self._gateway_request.send_body(self._encoder.close())
            return
        model, warnings = self._source()
        headers = base_headers(self._gateway_request, model, warnings)
        if self._account.cost is not None:
            headers.append((b"polycall-cost-usd", f"{self._account.cost:f}".encode()))
        body = self._client_request.dialect.render_response(self._folder.result(), self._echoed)
        if self._is_kept:
            await self._client_request.earlier.keep(self._services, body)
        await send_json(self._gateway_request, 200, jsontext.encode_bytes(body), headers)

    async def _start(self) -> None:
        model, warnings = self._source()
        headers = stream_headers(self._client_request) + base_headers(
            self._gateway_request, model, warnings
        )
        await self._gateway_request.send_start(200, headers)

    async def _beat(self) -> None:
        if not self._gateway_request.started:
            await self._start()
        await self._gateway_request.send_body(
            self._client_request.dialect.FACTS.heartbeat, more=True
        )

    async def _fail(self, error: Exception) -> None:
        if not self._gateway_request.started or not isinstance(error, PolycallError):
            raise error
        self._account.fail(error)
        await self._gateway_request.send_body(self._encoder.fail(error))
