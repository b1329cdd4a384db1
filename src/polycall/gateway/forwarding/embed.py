"""Embeddings and rerankings: from a client of any wire to a provider of any."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from msgspec.structs import replace

from polycall._support import jsontext
from polycall.embeddings.calls import WIRES, embed, native_url, post, wire_for
from polycall.embeddings.cohere import rerank_answer, rerank_request, rerank_units
from polycall.embeddings.types import EmbeddingRequest, Embeddings
from polycall.errors import MalformedRequestError
from polycall.exchange import BODY_BYTES_MAX, ERROR_BYTES_MAX, error_from
from polycall.gateway.forwarding.routes import SideRoute
from polycall.gateway.forwarding.side_requests import SideRequest
from polycall.gateway.generation.attempts import AttemptRunner, WholeAnswer
from polycall.gateway.generation.client_request import Attempt
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.passthrough.request import read_fields
from polycall.gateway.services import GatewayServices
from polycall.ir import JSON, Usage
from polycall.providers.credentials import credential_for
from polycall.providers.places import headers_for
from polycall.transport.base import Deadlines, HTTPRequest, send

_USAGE_BYTES_MAX = 64 * 1024
_NUMBER_BYTES = 10  # of a vector, as JSON has them


class _Answer(msgspec.Struct):
    """The fields of an answer that are read; nothing else of it is kept, whatever its size."""

    usage: msgspec.Raw = msgspec.Raw(b"null")


_usage_decoder = msgspec.json.Decoder(_Answer)


class EmbeddingAsked(SideRequest):
    """A client's request for embeddings."""

    def __init__(self, route: SideRoute, body: bytes) -> None:
        fields = self.fields = read_fields(body, route.wire)
        self.wire = route.wire
        if route.wire == "bedrock":  # whose body shows which model's format it has
            self.wire = "titan" if "inputText" in fields else "bedrock-cohere"
        request = WIRES[self.wire].parse_request(fields.decoded(), route.model)
        if not request.model:
            raise MalformedRequestError("expected the name of a model", path="model")
        self.request: EmbeddingRequest = request
        super().__init__(request.model, len(body))


class RerankAsked(SideRequest):
    """A client's request for a reranking."""

    def __init__(self, route: SideRoute, body: bytes) -> None:
        fields = read_fields(body, "rerank")
        self.body: JSON = fields.decoded()
        model: Any = route.model or self.body.get("model")
        if not isinstance(model, str) or not model:
            raise MalformedRequestError("expected the name of a model", path="model")
        rerank_request(self.body, model, form="")  # what is wrong with it is said here
        super().__init__(model, len(body))


class SideRunner(AttemptRunner):
    """The attempts of one request for embeddings or a reranking."""

    def __init__(
        self,
        asked: EmbeddingAsked | RerankAsked,
        gateway_request: GatewayRequest,
        services: GatewayServices,
    ) -> None:
        super().__init__(asked, gateway_request, services)
        self._asked = asked

    async def _send(self, attempt: Attempt) -> WholeAnswer:
        self._gateway_request.heard_at = time.monotonic()
        left_s = max(self._gateway_request.ends_at - self._gateway_request.heard_at, 0.001)
        deadlines = Deadlines(self._server.connect_s, self._server.read_s, left_s)
        asked = self._asked
        if isinstance(asked, RerankAsked):
            return await self._rerank(attempt, asked, deadlines)
        wire = wire_for(attempt.target.provider, attempt.target.model)
        if wire == asked.wire and asked.wire == "openai":
            return await self._pass(attempt, asked, deadlines)
        target = attempt.target
        request = replace(asked.request, model=target.model)
        found = await embed(
            self._services.transport, deadlines, target.provider, target.key, request
        )
        numbers = sum(map(len, found.vectors))
        body = await self._services.heavy.run(
            asked.owner_id, _NUMBER_BYTES * numbers, _rendered, asked, found
        )
        usage = Usage(input_tokens=found.input_tokens or 0)
        self.attempt = replace(attempt, warnings=found.warnings)
        return WholeAnswer(self.attempt, _NO_HTTP, None, body, usage)

    async def _pass(
        self, attempt: Attempt, asked: EmbeddingAsked, deadlines: Deadlines
    ) -> WholeAnswer:
        """One wire on both sides: nothing is read but the usage."""
        target = attempt.target
        fields = asked.fields
        assert fields is not None  # it was read from them
        if "model" in fields:
            body = fields.with_values({"model": target.model})
        else:
            body = fields.rebuilt((), {"model": target.model})
        request = HTTPRequest(
            native_url(target.provider) + "/embeddings",
            headers_for(target.provider, target.key, stream=False),
            body,
            credential=credential_for(target.provider, target.key),
        )
        http = await send(self._services.transport, request, deadlines)
        try:
            is_good = http.status == 200
            data = await http.read(size_bytes_max=BODY_BYTES_MAX if is_good else ERROR_BYTES_MAX)
        finally:
            await http.close()
        if http.status != 200:
            raise error_from(attempt.dialect, http, data, target.model)
        provider = f"provider {target.provider.name}"
        usage = await self._services.heavy.run(provider, len(data), usage_in, data)
        return WholeAnswer(attempt, http, None, data, usage)

    async def _rerank(
        self, attempt: Attempt, asked: RerankAsked, deadlines: Deadlines
    ) -> WholeAnswer:
        target = attempt.target
        provider = target.provider
        form = provider.embeddings_wire if provider.embeddings_wire in _RERANKS else ""
        path, body = rerank_request(asked.body, target.model, form=form)
        transport = self._services.transport
        answer, tokens = await post(
            *(transport, deadlines, provider, target.key, path, body, target.model),
            read=lambda read: (
                jsontext.encode_bytes(rerank_answer(read, asked.body, asked.model)),
                rerank_units(read),
            ),
        )
        usage = Usage(input_tokens=answer[1] or tokens or 0)
        return WholeAnswer(attempt, _NO_HTTP, None, answer[0], usage)


def _rendered(asked: EmbeddingAsked, found: Embeddings) -> bytes:
    return jsontext.encode_bytes(WIRES[asked.wire].render_response(found, asked.request))


_RERANKS = ("cohere", "bedrock")
_NO_HTTP: Any = None  # the answer has been read


def usage_in(data: bytes) -> Usage:
    """The usage of a whole answer in JSON, by any of OpenAI's names; nothing where it has none."""
    try:
        raw = _usage_decoder.decode(data).usage
        is_short = len(memoryview(raw)) <= _USAGE_BYTES_MAX
        found: Any = msgspec.json.decode(raw) if is_short else None
    except (msgspec.DecodeError, msgspec.ValidationError):
        return Usage()
    if not isinstance(found, dict):
        return Usage()
    wire: JSON = found  # pyright: ignore[reportUnknownVariableType]

    def first(*names: str) -> int:
        counts = (wire.get(name) for name in names)
        return next((n for n in counts if isinstance(n, int) and not isinstance(n, bool)), 0)

    output = first("output_tokens", "completion_tokens")
    given = first("input_tokens", "prompt_tokens") or first("total_tokens") - output
    return Usage(input_tokens=max(given, 0), output_tokens=max(output, 0))
