"""One request for embeddings: in batches that the vendor takes, joined in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from polycall._support import jsontext
from polycall._support.json_weight import LONG_BYTES, VALUES_MAX
from polycall.embeddings.bedrock import (
    BedrockCohereEmbeddings,
    TitanEmbeddings,
    bedrock_wire,
)
from polycall.embeddings.cohere import CohereEmbeddings
from polycall.embeddings.google import GoogleEmbeddings, VertexEmbeddings
from polycall.embeddings.types import EmbeddingRequest, Embeddings, EmbeddingWire
from polycall.embeddings.wires import MistralEmbeddings, OllamaEmbeddings, OpenAIEmbeddings
from polycall.errors import PolycallError, ProtocolError, RequestError, UpstreamError
from polycall.exchange import (
    BODY_BYTES_MAX,
    ERROR_BYTES_MAX,
    check_weight,
    environment_key,
    error_from,
)
from polycall.ir import JSON
from polycall.providers.credentials import credential_for
from polycall.providers.dialects import DIALECTS
from polycall.providers.hosting import base_url
from polycall.providers.places import headers_for
from polycall.providers.provider import Provider
from polycall.translation.wire import Losses
from polycall.transport.base import Deadlines, HTTPRequest, Transport, send

T = TypeVar("T")

WIRES: dict[str, EmbeddingWire] = {
    "openai": OpenAIEmbeddings(),
    "mistral": MistralEmbeddings(),
    "ollama": OllamaEmbeddings(),
    "google": GoogleEmbeddings(),
    "vertex": VertexEmbeddings(),
    "cohere": CohereEmbeddings(),
    "titan": TitanEmbeddings(),
    "bedrock-cohere": BedrockCohereEmbeddings(),
}
# Bedrock's (docs.aws.amazon.com/bedrock, "Track token usage", read 2026-11-29).
_TOKENS_HEADER = "x-amzn-bedrock-input-token-count"
_VALUES_MAX = 8_000_000  # numbers, above all
_VALUES_MAX_EACH = 20_000  # of one text's vector: the longest known has 12,288
_AT_ONCE = 4  # batches of one request under way


def wire_for(provider: Provider, model: str) -> str:
    """The name of a model's wire for embeddings; `RequestError` where its provider has none."""
    name = provider.embeddings_wire
    if not name:
        raise RequestError(f"the provider {provider.name!r} has no embeddings that polycall knows")
    return bedrock_wire(provider.serves.get(model, model)) if name == "bedrock" else name


def native_url(provider: Provider) -> str:
    """The address below which the provider's paths alongside the chat stand."""
    return (provider.native_url or base_url(provider)).rstrip("/")


async def embed(
    transport: Transport,
    deadlines: Deadlines,
    provider: Provider,
    key: str,
    request: EmbeddingRequest,
    *,
    lossy: bool = False,
) -> Embeddings:
    """The vectors of all inputs; raises what the provider refuses, or `RequestError` before."""
    wire = WIRES[wire_for(provider, request.model)]
    losses = Losses(lossy=lossy)
    size = wire.inputs_max
    batches = [
        replace(request, inputs=request.inputs[start : start + size])
        for start in range(0, len(request.inputs), size)
    ]
    rendered = [wire.render_request(batch, losses) for batch in batches]
    room = asyncio.Semaphore(_AT_ONCE)

    async def ask(path: str, body: JSON) -> Embeddings:
        async with room:
            values_max = min(_VALUES_MAX, _VALUES_MAX_EACH * (len(request.inputs) + 1))
            found, tokens = await post(
                *(transport, deadlines, provider, key, path, body, request.model),
                read=wire.parse_response,
                values_max=values_max,
            )
            return found if found.input_tokens is not None else replace(found, input_tokens=tokens)

    found = await _together([ask(path, body) for path, body in rendered])
    for batch, part in zip(batches, found, strict=True):
        if len(part.vectors) != len(batch.inputs):
            raise ProtocolError(f"{len(part.vectors)} vectors for {len(batch.inputs)} texts")
    counts = [part.input_tokens for part in found]
    known = None if None in counts else sum(count or 0 for count in counts)
    vectors = found[0].vectors if len(found) == 1 else [v for part in found for v in part.vectors]
    return Embeddings(vectors, known, losses.warnings)


async def _together(work: list[Coroutine[Any, Any, Embeddings]]) -> list[Embeddings]:
    """All of it, in order; raises the error of the first that fails, and ends the others."""
    if len(work) == 1:
        return [await work[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except ExceptionGroup as failed:
        known, _ = failed.split(PolycallError)
        raise (known or failed).exceptions[0] from None
    return [task.result() for task in tasks]


async def embed_by_chain(
    transport: Transport,
    deadlines: Deadlines,
    targets: Sequence[tuple[Provider, str]],
    keys: Mapping[str, str],
    texts: str | list[str],
    *,
    dimensions: int | None,
) -> list[list[float]]:
    """A vector for each text by the first target that answers; keys that are not given come
    from the environment."""
    inputs: list[Any] = [texts] if isinstance(texts, str) else list(texts)
    if not inputs:
        return []
    last: UpstreamError | None = None
    for provider, model in targets:
        wire_for(provider, model)
        key = keys.get(provider.name, "") or environment_key(provider)
        request = EmbeddingRequest(model, inputs, dimensions)
        try:
            return (await embed(transport, deadlines, provider, key, request)).vectors
        except UpstreamError as error:
            last = error
            if not error.should_retry:
                break
    raise last or RequestError("no model is named")


async def post(  # noqa: PLR0917 - all that one request needs
    transport: Transport,
    deadlines: Deadlines,
    provider: Provider,
    key: str,
    path: str,
    body: JSON,
    model: str,
    *,
    read: Callable[[JSON], T],
    values_max: int = VALUES_MAX,
) -> tuple[T, int | None]:
    """One request alongside the chat: what `read` makes of its answer, and the tokens that a header
    counts.

    Raises the provider's typed error, and `ProtocolError` for more values than are wanted.
    """
    http = await send(
        transport,
        HTTPRequest(
            native_url(provider) + path,
            headers_for(provider, key, stream=False),
            jsontext.encode_bytes(body),
            credential=credential_for(provider, key),
        ),
        deadlines,
    )
    try:
        most = BODY_BYTES_MAX if http.status == 200 else ERROR_BYTES_MAX
        data = await http.read(size_bytes_max=most)
    finally:
        await http.close()
    if http.status != 200:
        raise error_from(DIALECTS[provider.dialect], http, data, model)
    counted = http.headers.get(_TOKENS_HEADER, "")
    tokens = int(counted) if counted.isdecimal() else None
    if len(data) < LONG_BYTES:
        return _read(data, read, values_max), tokens
    return await asyncio.to_thread(_read, data, read, values_max), tokens


def _read(data: bytes, read: Callable[[JSON], T], values_max: int) -> T:
    check_weight(data, values_max)
    try:
        answer: Any = jsontext.decode(data)
    except ValueError as error:
        raise ProtocolError(f"the answer is not JSON ({error}): {data[:80]!r}") from None
    if not isinstance(answer, dict):
        raise ProtocolError(f"the answer is not a JSON object: {data[:80]!r}")
    return read(answer)  # pyright: ignore[reportUnknownArgumentType]
