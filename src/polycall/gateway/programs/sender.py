"""Sends an answer as its events come, or whole at their end, as the client asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from msgspec.structs import replace

from polycall._support import jsontext
from polycall.dialects import openai_responses
from polycall.errors import PolycallError
from polycall.fold import Folder
from polycall.gateway.generation.answer import stream_headers
from polycall.gateway.generation.client_request import ClientRequest
from polycall.gateway.generation.plain_answer import own_id
from polycall.gateway.generation.request_usage import RequestUsage
from polycall.gateway.http.framers import ArrayEncoder
from polycall.gateway.http.replies import base_headers, dated, send_json
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.services import GatewayServices
from polycall.ir import Event, ResponseEnd, ResponseStart, Warning
from polycall.translation.wire import Encoder

# Who answered, and what was lost on the way.
Source = Callable[[], tuple[str, list[Warning]]]


@dataclass(eq=False, repr=False)
class Sender:
    """Sends one request's answer.  Errors after the status go inside the stream."""

    client_request: ClientRequest
    gateway_request: GatewayRequest
    services: GatewayServices
    account: RequestUsage
    source: Source

    def __post_init__(self) -> None:
        self._is_kept = self.client_request.earlier.wants_kept(self.services)
        self._folder = Folder()
        self._echoed = self.client_request.earlier.echoed(
            self.client_request.request, is_kept=self._is_kept
        )
        encoder: Encoder = self.client_request.dialect.StreamEncoder(self._echoed)
        self._encoder = ArrayEncoder(encoder) if self.client_request.wants_array else encoder

    @asynccontextmanager
    async def sending(self) -> AsyncGenerator[None]:
        """While the answer is made; heartbeats go out where the client's protocol has some."""
        gateway_request = self.gateway_request
        if self.client_request.streams and self.client_request.dialect.FACTS.heartbeat:
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
        if not self.account.first_at:
            self.account.first_at = time.monotonic()
        if isinstance(first := events[0], ResponseStart):
            first = replace(first, id=own_id(self.gateway_request)) if self._is_kept else first
            events = [dated(first), *events[1:]]
        if not self.client_request.streams:
            for event in events:
                self._folder.feed(event)
            return
        if not self.gateway_request.started:
            await self._start()
        data = b"".join([self._encoder.feed(event) for event in events])
        if self._is_kept and isinstance(events[-1], ResponseEnd):
            # Before the client can come back with what it refers to.
            assert isinstance(self._encoder, openai_responses.StreamEncoder)
            await self.client_request.earlier.keep(self.services, self._encoder.response)
        if data:
            await self.gateway_request.send_body(data, more=True)

    async def finish(self, events: list[Event]) -> None:
        """The last events."""
        await self.send(events)
        if self.client_request.streams:
            await self.gateway_request.send_body(self._encoder.close())
            return
        model, warnings = self.source()
        headers = base_headers(self.gateway_request, model, warnings)
        if self.account.cost is not None:
            headers.append((b"polycall-cost-usd", f"{self.account.cost:f}".encode()))
        body = self.client_request.dialect.render_response(self._folder.result(), self._echoed)
        if self._is_kept:
            await self.client_request.earlier.keep(self.services, body)
        await send_json(self.gateway_request, 200, jsontext.encode_bytes(body), headers)

    async def _start(self) -> None:
        model, warnings = self.source()
        headers = stream_headers(self.client_request) + base_headers(
            self.gateway_request, model, warnings
        )
        await self.gateway_request.send_start(200, headers)

    async def _beat(self) -> None:
        if not self.gateway_request.started:
            await self._start()
        await self.gateway_request.send_body(self.client_request.dialect.FACTS.heartbeat, more=True)

    async def _fail(self, error: Exception) -> None:
        if not self.gateway_request.started or not isinstance(error, PolycallError):
            raise error
        self.account.fail(error)
        await self.gateway_request.send_body(self._encoder.fail(error))
