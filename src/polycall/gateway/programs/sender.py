"""Sends an answer as its events come, or whole at their end, as the client asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from msgspec.structs import replace

from polycall import jsontext
from polycall.dialects import openai_responses
from polycall.errors import PolycallError, TruncatedError
from polycall.fold import Folder
from polycall.gateway.answer import HEARTBEATS, Account, own_id, stream_headers
from polycall.gateway.arrays import ArrayEncoder
from polycall.gateway.asked import Asked, Desk
from polycall.gateway.flight import Flight
from polycall.gateway.replies import base_headers, dated, send_json
from polycall.ir import Event, ResponseEnd, ResponseStart, Warning
from polycall.wire import Encoder

# Who answered, and what was lost on the way.
Source = Callable[[], tuple[str, list[Warning]]]


class Sender:
    """For one request.  Errors after the status are told inside of the stream."""

    def __init__(
        self, asked: Asked, flight: Flight, desk: Desk, account: Account, source: Source
    ) -> None:
        self._asked = asked
        self._flight = flight
        self._desk = desk
        self._account = account
        self._is_kept = asked.wants_items(desk)
        self._source = source
        self._folder = Folder()
        encoder: Encoder = asked.dialect.StreamEncoder(asked.request)
        self._encoder = ArrayEncoder(encoder) if asked.wants_array else encoder

    @asynccontextmanager
    async def sending(self) -> AsyncGenerator[None]:
        """While the answer is made; heartbeats go out where the client's protocol has some."""
        flight = self._flight
        if self._asked.streams:
            flight.is_streaming = True
            if self._asked.dialect.NAME in HEARTBEATS:
                flight.beat = self._beat
        try:
            yield
        except asyncio.CancelledError as cancelled:
            await self._fail(flight.reason_or_raise(cancelled))
        except PolycallError as error:
            await self._fail(error)
        finally:
            flight.beat = None

    async def send(self, events: list[Event]) -> None:
        """A few events more."""
        if not events:
            return
        if not self._account.first_at:
            self._account.first_at = time.monotonic()
        if isinstance(first := events[0], ResponseStart):
            first = replace(first, id=own_id(self._flight)) if self._is_kept else first
            events = [dated(first), *events[1:]]
        if not self._asked.streams:
            for event in events:
                self._folder.feed(event)
            return
        if not self._flight.started:
            await self._start()
        data = b"".join([self._encoder.feed(event) for event in events])
        if self._is_kept and isinstance(events[-1], ResponseEnd):
            # Before the client can come back with what it refers to.
            assert isinstance(self._encoder, openai_responses.StreamEncoder)
            await self._asked.keep(self._desk, own_id(self._flight), self._encoder.output)
        if data:
            await self._flight.send_body(data, more=True)

    async def finish(self, events: list[Event]) -> None:
        """The last events."""
        await self.send(events)
        if self._asked.streams:
            await self._flight.send_body(self._encoder.close())
            return
        model, warnings = self._source()
        headers = base_headers(self._flight, model, warnings)
        if self._account.cost is not None:
            headers.append((b"polycall-cost-usd", f"{self._account.cost:f}".encode()))
        body = self._asked.dialect.render_response(self._folder.result(), self._asked.request)
        if self._is_kept:
            await self._asked.keep(self._desk, body["id"], body["output"])
        await send_json(self._flight, 200, jsontext.encode_bytes(body), headers)

    async def _start(self) -> None:
        model, warnings = self._source()
        headers = stream_headers(self._asked) + base_headers(self._flight, model, warnings)
        await self._flight.send_start(200, headers)

    async def _beat(self) -> None:
        if not self._flight.started:
            await self._start()
        await self._flight.send_body(HEARTBEATS[self._asked.dialect.NAME], more=True)

    async def _fail(self, error: Exception) -> None:
        if not self._flight.started or not isinstance(error, PolycallError):
            raise error
        self._account.outcome = "truncated" if isinstance(error, TruncatedError) else "error"
        await self._flight.send_body(self._encoder.fail(error))
