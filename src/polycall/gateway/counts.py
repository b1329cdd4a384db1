"""The routes that count tokens.  They never cause a generation."""

from __future__ import annotations

from typing import Any

from polycall import jsontext
from polycall.errors import MalformedRequestError, PolycallError, UpstreamError
from polycall.exchange import BODY_BYTES_MAX, address, error_from, headers_for, prepare
from polycall.gateway.asked import Desk, Endpoint
from polycall.gateway.bodies import read_body
from polycall.gateway.calling import Calling
from polycall.gateway.counting import COUNT_PATHS, count_body, estimate, read_count, render_count
from polycall.gateway.flight import Flight
from polycall.gateway.generation import check_allowed
from polycall.gateway.keys import Keys
from polycall.gateway.limits import KeyLimits
from polycall.gateway.passing import PASSED_HEADERS
from polycall.gateway.replies import Headers, header_value, send_json, without_key
from polycall.gateway.routing import Stop
from polycall.ir import JSON, Request
from polycall.providers.dialects import DIALECTS
from polycall.transport import Deadlines, HTTPRequest

_ESTIMATE = (b"polycall-token-count", b"estimate")
_BY_PROVIDER = (b"polycall-token-count", b"provider")


class Counts:
    """Serves every route that counts."""

    def __init__(self, desk: Desk, keys: Keys, limits: KeyLimits, calling: Calling) -> None:
        self._desk = desk
        self._calling = calling
        self._keys = keys
        self._limits = limits

    async def serve(self, flight: Flight, endpoint: Endpoint) -> None:
        """Count by the provider where it can, else by estimate; the headers say which."""
        owner = self._keys.owner(flight.headers, flight.query)
        await self._limits.count_request(owner)
        data = await read_body(flight, self._desk.server)
        body = await self._desk.items.resolved(owner.id, _body(endpoint, data))
        request = endpoint.dialect.parse_request(body, path=flight.path)
        check_allowed(owner, request.model)
        stop = next(iter(self._desk.router.route(request.model)))
        carried = await self._desk.carrier.extract(request, owner.id)
        request = await self._calling.offered(
            carried.request,
            data,
            flight,
            self._desk,
            owner=owner.id,
            stop=stop,
            dialect=endpoint.dialect.NAME,
        )
        request, _ = carried.holding(request).for_target(stop.provider.name, stop.model)
        tokens = await self._by_provider(stop, request, flight)
        source = _ESTIMATE if tokens is None else _BY_PROVIDER
        if tokens is None:
            tokens = estimate(request)
        answer = render_count(endpoint.dialect.NAME, tokens)
        headers: Headers = [
            (b"polycall-request-id", flight.id.encode()),
            (b"polycall-model", header_value(stop.name)),
            source,
        ]
        await send_json(flight, 200, jsontext.encode_bytes(answer), headers)

    async def _by_provider(self, stop: Stop, request: Request, flight: Flight) -> int | None:
        """The provider's own count; `None` where it has no such route."""
        name = stop.provider.dialect_for(stop.model, with_tools=bool(request.tools))
        path = COUNT_PATHS.get(name)
        if path is None:
            return None
        exchange = prepare(request, stop.provider, stop.model, stop.key, name)
        body = count_body(name, stop.model, exchange.wire.body)
        headers = {
            **headers_for(stop.provider, stop.key, stream=False),
            **exchange.wire.headers,
        }
        for header in PASSED_HEADERS:
            if header in flight.headers and name == "anthropic":
                headers[header.decode()] = flight.headers[header].decode("latin-1")
        url = address(stop.provider, path.format(model=stop.model))
        sent = HTTPRequest(url, headers, jsontext.encode_bytes(body))
        server = self._desk.server
        deadlines = Deadlines(server.connect_s, min(server.read_s, 30.0), 30.0)
        http = await self._desk.transport.open(sent, deadlines)
        try:
            data = without_key(await http.read(size_bytes_max=BODY_BYTES_MAX), stop.key)
        finally:
            await http.close()
        if http.status in (404, 405, 501):
            return None
        if http.status != 200:
            error: PolycallError = error_from(DIALECTS[name], http, data)
            if isinstance(error, UpstreamError) and error.should_retry:
                return None  # better an estimate that says so than no answer
            raise error
        try:
            answer: JSON = jsontext.decode(data)
        except ValueError:
            return None
        return read_count(name, answer)


def _body(endpoint: Endpoint, data: bytes) -> JSON:
    try:
        body: Any = jsontext.decode(data)
    except ValueError as error:
        raise MalformedRequestError(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise MalformedRequestError("the body must be a JSON object")
    fields: JSON = body  # pyright: ignore[reportUnknownVariableType]
    if endpoint.method == "countTokens":
        # The whole request may stand inside, with its tools and system instruction.
        inner: Any = fields.get("generateContentRequest")
        inner = inner or fields.get("generate_content_request")
        if isinstance(inner, dict):
            return inner  # pyright: ignore[reportUnknownVariableType]
    return fields
