"""One client for every model: `generate` for a whole answer, `stream` for its events.

The client chooses provider, dialect and key, sends, retries while nothing has been received, and
gives back the middle language.  It runs no tools: `loop.py` does.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing
from decimal import Decimal
from typing import Any, Protocol, TypeAlias, runtime_checkable
from urllib.parse import quote

from msgspec import Struct
from msgspec.structs import replace

from polycall import jsontext
from polycall.blocking import Portal
from polycall.errors import PolycallError, ProtocolError, RequestError, UpstreamError
from polycall.fold import Folder
from polycall.ir import Event, Message, Request, Response, Text, Tool, Usage, Warning
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.dialects import DIALECTS
from polycall.providers.prices import cost_usd
from polycall.providers.provider import Provider
from polycall.restore import Restorer
from polycall.transport import (
    AiohttpTransport,
    Deadlines,
    HTTPRequest,
    HTTPResponse,
    Retry,
    Transport,
    add_retry_hints,
)
from polycall.wire import Dialect, WireRequest

BODY_BYTES_MAX = 64 * 1024 * 1024
ERROR_BYTES_MAX = 1024 * 1024


@runtime_checkable
class HasDefinition(Protocol):
    """A tool with code behind it, such as `@tool` makes."""

    @property
    def definition(self) -> Tool:
        """What the model sees."""
        ...


Prompt: TypeAlias = str | list[Message]
ToolLike: TypeAlias = Tool | HasDefinition


class Exchange(Struct, frozen=True):
    """One request, ready for one provider."""

    request: Request
    provider: Provider
    model: str  # the provider's own name for it
    dialect: Dialect
    wire: WireRequest
    http: HTTPRequest


class Client:
    """Talks to every provider of the catalogue, and to any other that is given.

    `providers` adds to or replaces rows of the catalogue.  `keys` maps provider names to keys;
    the rest come from the environment.  Close it, or use it as a context manager: it owns a pool
    of connections.
    """

    def __init__(
        self,
        *,
        providers: Iterable[Provider] = (),
        keys: Mapping[str, str] | None = None,
        transport: Transport | None = None,
        deadlines: Deadlines | None = None,
        retry: Retry | None = None,
    ) -> None:
        self.providers = {**CATALOGUE, **{provider.name: provider for provider in providers}}
        self._keys = dict(keys or {})
        self._transport = transport or AiohttpTransport()
        self._deadlines = deadlines or Deadlines()
        self._retry = retry or Retry()
        self._portal: Portal | None = None

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def generate(
        self, model: str, prompt: Prompt, *, tools: Iterable[ToolLike] = (), **settings: Any
    ) -> Response:
        """The model's whole answer.

        `model` is `"provider/name"`.  `settings` are fields of `ir.Request`.  Raises
        `RequestError` before anything is sent, `UpstreamError` or `ProtocolError` after.
        """
        request = self.request(model, prompt, tools=tools, **settings)
        exchange = self.prepare(replace(request, stream=False))
        ends_at = time.monotonic() + self._deadlines.total_s
        attempt = 1
        while True:
            try:
                return await self._generate_once(exchange, ends_at)
            except UpstreamError as error:
                await self._wait_or_raise(error, attempt, ends_at)
            attempt += 1

    def stream(
        self, model: str, prompt: Prompt, *, tools: Iterable[ToolLike] = (), **settings: Any
    ) -> Stream:
        """The model's answer as it comes: an iterator of events that also folds them."""
        request = self.request(model, prompt, tools=tools, **settings)
        exchange = self.prepare(replace(request, stream=True))
        return Stream(self._events(exchange), exchange.wire.warnings)

    def generate_sync(
        self, model: str, prompt: Prompt, *, tools: Iterable[ToolLike] = (), **settings: Any
    ) -> Response:
        """`generate` for code without an event loop."""
        return self._blocking().run(self.generate(model, prompt, tools=tools, **settings))

    def stream_sync(
        self, model: str, prompt: Prompt, *, tools: Iterable[ToolLike] = (), **settings: Any
    ) -> Iterator[Event]:
        """`stream` for code without an event loop."""
        stream = self.stream(model, prompt, tools=tools, **settings)
        return self._blocking().iterate(stream)

    def close_sync(self) -> None:
        """`close` for code that used the synchronous methods."""
        if self._portal is not None:
            self._portal.run(self.close())
            self._portal.close()
            self._portal = None

    def cost(self, model: str, usage: Usage) -> Decimal | None:
        """US dollars for `usage`; `None` where the price is unknown."""
        provider, name = self.resolve(model)
        return cost_usd(provider, name, usage)

    def request(
        self, model: str, prompt: Prompt, *, tools: Iterable[ToolLike] = (), **settings: Any
    ) -> Request:
        """The `ir.Request` that the other methods would send."""
        messages = [Message("user", [Text(prompt)])] if isinstance(prompt, str) else prompt
        try:
            return Request(
                model=model,
                messages=messages,
                tools=[tool if isinstance(tool, Tool) else tool.definition for tool in tools],
                **settings,
            )
        except TypeError as error:
            raise RequestError(f"a setting is not a field of Request: {error}") from None

    def resolve(self, model: str) -> tuple[Provider, str]:
        """The provider and its own name for the model, from `"provider/name"`."""
        prefix, slash, name = model.partition("/")
        if not slash or not prefix or not name:
            raise RequestError(
                f"the model {model!r} does not say its provider; write 'provider/model', such as "
                "'anthropic/claude-sonnet-4.6'"
            )
        provider = self.providers.get(prefix)
        if provider is None:
            known = ", ".join(sorted(self.providers))
            raise RequestError(f"no provider is called {prefix!r}; known: {known}")
        return provider, name

    def prepare(self, request: Request) -> Exchange:
        """Everything but the sending: dialect, body, address, headers."""
        provider, model = self.resolve(request.model)
        in_play = bool(request.tools) or any(message.tool_calls for message in request.messages)
        dialect = DIALECTS[provider.dialect_for(model, with_tools=in_play)]
        wire = dialect.render_request(
            replace(request, model=model), quirks=provider.quirks_for(model)
        )
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream" if request.stream else "application/json",
            **provider.headers,
            **wire.headers,
            **provider.auth_headers(self._key(provider)),
        }
        http = HTTPRequest(
            url=provider.base_url.rstrip("/") + quote(wire.path, safe="/:?=&@%-_.~"),
            headers=headers,
            body=jsontext.encode_bytes(wire.body),
        )
        return Exchange(request, provider, model, dialect, wire, http)

    def _key(self, provider: Provider) -> str:
        key = self._keys.get(provider.name, "")
        for variable in provider.key_variables:
            key = key or os.environ.get(variable, "")
        if not key and provider.needs_key:
            raise RequestError(
                f"no key for provider {provider.name!r}; set "
                f"{' or '.join(provider.key_variables) or 'it in the configuration'}"
            )
        return key

    async def _generate_once(self, exchange: Exchange, ends_at: float) -> Response:
        http = await self._open(exchange, ends_at)
        try:
            data = await http.read(size_bytes_max=BODY_BYTES_MAX)
        finally:
            await http.close()
        body = _decode_body(data)
        try:
            response = exchange.dialect.parse_response(body)
        except UpstreamError as error:  # an error body behind a status of 200
            add_retry_hints(error, http.headers)
            raise
        response = Restorer(exchange.request, exchange.wire).response(response)
        return replace(response, warnings=[*exchange.wire.warnings, *response.warnings])

    async def _events(self, exchange: Exchange) -> AsyncGenerator[Event]:
        ends_at = time.monotonic() + self._deadlines.total_s
        attempt = 1
        while True:
            started = False
            try:
                async with aclosing(self._events_once(exchange, ends_at)) as events:
                    async for event in events:
                        started = True
                        yield event
            except UpstreamError as error:
                # What the caller has seen cannot be taken back.
                if started:
                    raise
                await self._wait_or_raise(error, attempt, ends_at)
            else:
                return
            attempt += 1

    async def _events_once(self, exchange: Exchange, ends_at: float) -> AsyncGenerator[Event]:
        http = await self._open(exchange, ends_at)
        decoder = exchange.dialect.StreamDecoder()
        restorer = Restorer(exchange.request, exchange.wire)
        try:
            async for chunk in http.chunks():
                for event in decoder.feed(chunk):
                    for restored in restorer.feed(event):
                        yield restored
                if decoder.error is not None:
                    raise decoder.error
            for event in decoder.close():
                for restored in restorer.feed(event):
                    yield restored
        finally:
            await http.close()

    async def _open(self, exchange: Exchange, ends_at: float) -> HTTPResponse:
        left_s = max(ends_at - time.monotonic(), 0.001)
        deadlines = replace(self._deadlines, total_s=left_s)
        http = await self._transport.open(exchange.http, deadlines)
        if http.status == 200:
            return http
        try:
            data = await http.read(size_bytes_max=ERROR_BYTES_MAX)
        finally:
            await http.close()
        raise error_from(exchange.dialect, http, data)

    async def _wait_or_raise(self, error: UpstreamError, attempt: int, ends_at: float) -> None:
        wait_s = self._retry.wait_s(error, attempt)
        if wait_s is None or time.monotonic() + wait_s >= ends_at:
            raise error
        await asyncio.sleep(wait_s)

    def _blocking(self) -> Portal:
        if self._portal is None:
            self._portal = Portal()
        return self._portal


class Stream:
    """The events of one answer, as they come.

    `warnings` is known at once, `response` once the last event has passed.  `aclose` (or leaving
    the `async with`) cuts the connection, so that the provider stops.
    """

    def __init__(self, events: AsyncGenerator[Event], warnings: list[Warning]) -> None:
        self._events = events
        self._folder = Folder()
        self.warnings = warnings

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Event:
        event = await anext(self._events)
        self._folder.feed(event)
        return event

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
        return replace(self._folder.result(), warnings=self.warnings)


def error_from(dialect: Dialect, http: HTTPResponse, data: bytes) -> PolycallError:
    """The typed error behind an HTTP status, with the headers' hints."""
    try:
        body = jsontext.decode(data)
    except ValueError:
        body = data.decode("utf-8", "replace")
    error = dialect.parse_error(http.status, body)
    if isinstance(error, UpstreamError):
        add_retry_hints(error, http.headers)
    return error


def _decode_body(data: bytes) -> dict[str, Any]:
    try:
        body = jsontext.decode(data)
    except ValueError as error:
        raise ProtocolError(f"the answer is not JSON ({error}): {data[:80]!r}") from None
    if isinstance(body, list) and len(body) == 1:  # pyright: ignore[reportUnknownArgumentType]
        body = body[0]  # Gemini wraps some answers so  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(body, dict):
        raise ProtocolError(f"the answer is not a JSON object: {data[:80]!r}")
    return body  # pyright: ignore[reportUnknownVariableType]
