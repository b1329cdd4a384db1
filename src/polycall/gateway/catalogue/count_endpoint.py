"""The routes that count tokens.  They never cause a generation."""

from __future__ import annotations

import base64
from functools import partial
from typing import Any

from msgspec.structs import replace

from polycall._support import jsontext
from polycall._support.json_weight import HeavyJSONError, check_weight
from polycall.errors import (
    MalformedRequestError,
    PolycallError,
    RequestTooLargeError,
    UpstreamError,
)
from polycall.exchange import ERROR_BYTES_MAX, error_from, prepare
from polycall.gateway.accounts.keys import Keys
from polycall.gateway.accounts.limits import KeyLimits
from polycall.gateway.catalogue.token_counts import (
    count_request,
    estimate,
    read_count,
    render_count,
)
from polycall.gateway.generation.endpoints import Endpoint
from polycall.gateway.generation.generations import check_allowed
from polycall.gateway.generation.named_resources import check_body
from polycall.gateway.http.bodies import read_body
from polycall.gateway.http.replies import Headers, header_value, send_json
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.passthrough.control_fields import check_names
from polycall.gateway.passthrough.request import PASSED_HEADERS
from polycall.gateway.processes.heavy_work import check_items
from polycall.gateway.processes.memory_guard import MemoryGuard
from polycall.gateway.programs.dispatch import ProgramDispatch
from polycall.gateway.routing.router import Target
from polycall.gateway.services import GatewayServices
from polycall.ir import JSON, Request
from polycall.providers.dialects import DIALECTS
from polycall.providers.places import address, headers_for, joined_headers
from polycall.providers.provider import DialectName
from polycall.translation.wire import request_reader
from polycall.transport.base import Deadlines, HTTPRequest, send

_ESTIMATE = (b"polycall-token-count", b"estimate")
_BY_PROVIDER = (b"polycall-token-count", b"provider")
# Bedrock's words for a model whose tokens it does not count (docs.aws.amazon.com/bedrock,
# "Monitor your token usage by counting tokens", read 2026-11-29: some models only).
_NO_COUNT = "support counting tokens"


class CountEndpoint:
    """Serves every route that counts."""

    def __init__(
        self,
        services: GatewayServices,
        keys: Keys,
        limits: KeyLimits,
        calling: ProgramDispatch,
        memory: MemoryGuard,
    ) -> None:
        self._services = services
        self._memory = memory
        self._dispatch = calling
        self._keys = keys
        self._limits = limits

    async def serve(self, gateway_request: GatewayRequest, endpoint: Endpoint) -> None:
        """Count by the provider where it can, else by estimate; the headers say which."""
        owner = self._keys.owner(
            gateway_request.headers, gateway_request.query, gateway_request.address
        )
        await self._limits.count_request(owner)
        data = await read_body(gateway_request, self._services.server, self._memory)
        run = partial(self._services.heavy.run, owner.id, len(data))
        answers, (endpoint, body) = endpoint.dialect.NAME, await run(_asked, endpoint, data)
        body = await self._services.items.resolved(
            owner.id, body, self._services.server.body_bytes_max
        )
        check_items(body)
        parse = endpoint.dialect.parse_request
        request = await run(parse, body, path=gateway_request.path)
        if endpoint.names:
            request = replace(request, model=endpoint.model)
        check_allowed(owner, request.model)
        target = next(iter(self._services.router.route(request.model)))
        carried = await self._services.carrier.extract(request, owner.id)
        request = await self._dispatch.offered(
            carried.request,
            data,
            gateway_request,
            self._services,
            owner=owner.id,
            target=target,
            dialect=endpoint.dialect.NAME,
        )
        request, _ = carried.holding(request).for_target(target.provider.name, target.model)
        del data, body, carried
        asked = await run(_counting, target, request, gateway_request.headers)
        tokens = None
        if asked is not None:
            sent = asked[1].body
            await check_body(owner.id, target.provider.name, asked[0], sent, self._services)
            tokens = await self._by_provider(target, *asked)
        source = _ESTIMATE if tokens is None else _BY_PROVIDER
        if tokens is None:
            tokens = await run(estimate, request)
        answer = render_count(answers, tokens)
        headers: Headers = [
            (b"polycall-request-id", gateway_request.id.encode()),
            (b"polycall-model", header_value(target.name)),
            source,
        ]
        await send_json(gateway_request, 200, jsontext.encode_bytes(answer), headers)

    async def _by_provider(
        self, target: Target, name: DialectName, sent: HTTPRequest, reads: str
    ) -> int | None:
        """The provider's own count; `None` where it does not count after all."""
        server = self._services.server
        deadlines = Deadlines(server.connect_s, min(server.read_s, 30.0), 30.0)
        http = await send(self._services.transport, sent, deadlines)
        try:
            data = await http.read(size_bytes_max=ERROR_BYTES_MAX)
        finally:
            await http.close()
        if http.status in (404, 405, 501):
            return None
        if http.status != 200:
            error: PolycallError = error_from(DIALECTS[name], http, data, target.model)
            if (isinstance(error, UpstreamError) and error.should_retry) or _NO_COUNT in str(error):
                return None  # better an estimate that says so than no answer
            raise error
        try:
            check_weight(data)
            answer: JSON = jsontext.decode(data)
        except ValueError:
            return None
        return read_count(reads, answer)


def _counting(
    target: Target, request: Request, given: dict[bytes, bytes]
) -> tuple[DialectName, HTTPRequest, str] | None:
    """The request for a provider's own count, and what says it; `None` without such a route."""
    name = target.provider.dialect_for(with_tools=bool(request.tools))
    exchange = prepare(request, target.provider, target.model, target.key, name)
    asked = {
        header.decode(): given[header].decode("latin-1")
        for header in PASSED_HEADERS
        if header in given and name == "anthropic"
    }
    headers = joined_headers(headers_for(target.provider, target.key, stream=False), asked)
    headers = joined_headers(headers, exchange.wire.headers)
    counted = count_request(
        target.provider.hosting, name, target.model, exchange.wire.body, headers
    )
    if counted is None:
        return None
    sent = HTTPRequest(
        address(target.provider, counted.path),
        counted.headers,
        jsontext.encode_bytes(counted.body),
        credential=exchange.http.credential,
    )
    return name, sent, counted.reads


def _asked(endpoint: Endpoint, data: bytes) -> tuple[Endpoint, JSON]:
    """The request to count, and its dialect."""
    fields = _object(endpoint, data)
    if endpoint.dialect.NAME == "bedrock-converse":
        return _bedrock_asked(endpoint, fields)
    # The whole request may stand inside, with its tools and system instruction.
    inner: Any = fields.get("generateContentRequest") or fields.get("generate_content_request")
    if endpoint.dialect.NAME == "gemini" and isinstance(inner, dict):
        return endpoint, inner  # pyright: ignore[reportUnknownVariableType]
    return endpoint, fields


def _bedrock_asked(endpoint: Endpoint, fields: JSON) -> tuple[Endpoint, JSON]:
    """Bedrock's union: a Converse body, or the bytes of one for Claude."""
    given = request_reader.get_object(fields, "input", "")
    if "converse" in given:
        return endpoint, request_reader.get_object(given, "converse", "input")
    invoked = request_reader.get_object(given, "invokeModel", "input")
    text = request_reader.string(invoked.get("body"), "input.invokeModel.body")
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        path = "input.invokeModel.body"
        raise MalformedRequestError("expected base64 of the body", path=path) from None
    endpoint = replace(endpoint, dialect=DIALECTS["anthropic"])
    body = {"model": endpoint.model, **_object(endpoint, data)}
    for name in ("anthropic_version", "anthropic_beta"):  # which count nothing
        body.pop(name, None)
    return endpoint, body


def _object(endpoint: Endpoint, data: bytes) -> JSON:
    try:
        check_weight(data)  # of what stands in base64 nothing was counted yet
        body: Any = jsontext.decode(data)
    except HeavyJSONError as error:
        raise RequestTooLargeError(f"the body is too heavy: {error}", status=413) from None
    except ValueError as error:
        raise MalformedRequestError(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise MalformedRequestError("the body must be a JSON object")
    check_names(body, endpoint.dialect.NAME)  # pyright: ignore[reportUnknownArgumentType]
    return body  # pyright: ignore[reportUnknownVariableType]
