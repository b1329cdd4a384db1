"""OpenAI's embeddings, and those of Mistral and Ollama, which are near them."""

from __future__ import annotations

from typing import Any

from polycall.embeddings.types import (
    EmbeddingRequest,
    Embeddings,
    Encoding,
    as_base64,
    purpose_of,
    read_inputs,
    read_vector,
    texts_of,
)
from polycall.errors import ProtocolError
from polycall.ir import JSON
from polycall.translation.wire import Losses, request_reader, response_reader


class OpenAIEmbeddings:
    """`POST /embeddings`: `input`, `dimensions`, `encoding_format`.

    Mistral's `output_dimension` is read too, since its clients send it to the same path, and the
    `input_type` of Cohere and of those after it.
    """

    inputs_max = 2048
    _dimension = "dimensions"

    def parse_request(self, body: JSON, model: str = "") -> EmbeddingRequest:
        """An OpenAI client's request."""
        reader = request_reader
        encoding = reader.get_choice(body, "encoding_format", "", ("float", "base64"))
        kind: Encoding = "base64" if encoding == "base64" else "float"
        dimensions = reader.get_int(body, "dimensions", "")
        if dimensions is None:
            dimensions = reader.get_int(body, "output_dimension", "")
        return EmbeddingRequest(
            model=model or reader.string(body.get("model"), "model"),
            inputs=read_inputs(body.get("input"), "input"),
            dimensions=dimensions,
            encoding=kind,
            purpose=purpose_of(body.get("input_type")),
            end_user=reader.get_string(body, "user", ""),
        )

    def render_request(self, request: EmbeddingRequest, losses: Losses) -> tuple[str, JSON]:
        """The request for an OpenAI server."""
        body: JSON = {"model": request.model, "input": request.inputs}
        if request.dimensions is not None:
            body[self._dimension] = request.dimensions
        if request.purpose:
            losses.drop("input_type", "the vendor has no such field")
        # Half the bytes of numbers as text, and a tenth of the time to read them.
        body["encoding_format"] = "base64"
        return "/embeddings", body

    def parse_response(self, body: JSON) -> Embeddings:
        """A list of vectors, each with its index."""
        reader = response_reader
        items = [reader.object(item, "data") for item in reader.array(body.get("data"), "data")]
        items.sort(key=lambda item: item.get("index") if isinstance(item.get("index"), int) else 0)  # pyright: ignore[reportArgumentType, reportReturnType]
        usage = reader.get_object(body, "usage", "")
        tokens = reader.get_int(usage, "prompt_tokens", "usage")
        if tokens is None:
            tokens = reader.get_int(usage, "total_tokens", "usage")
        vectors = [read_vector(each.get("embedding"), f"data[{i}]") for i, each in enumerate(items)]
        return Embeddings(vectors, tokens)

    def render_response(self, found: Embeddings, request: EmbeddingRequest) -> JSON:
        """The answer for an OpenAI client."""
        is_base64 = request.encoding == "base64"
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": as_base64(vector) if is_base64 else vector,
            }
            for index, vector in enumerate(found.vectors)
        ]
        tokens = found.input_tokens or 0
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "data": data, "model": request.model, "usage": usage}


class MistralEmbeddings(OpenAIEmbeddings):
    """Mistral's, where the dimension is `output_dimension` (docs.mistral.ai, read 2026-11-29)."""

    inputs_max = 512
    _dimension = "output_dimension"

    def render_request(self, request: EmbeddingRequest, losses: Losses) -> tuple[str, JSON]:
        """The request for Mistral: numbers as text, which all of its models give."""
        path, body = super().render_request(request, losses)
        body["input"] = texts_of(request, losses)
        body["encoding_format"] = "float"
        return path, body


class OllamaEmbeddings:
    """`POST /api/embed`, and the older `/api/embeddings` with one `prompt`."""

    inputs_max = 512

    def parse_request(self, body: JSON, model: str = "") -> EmbeddingRequest:
        """An Ollama client's request."""
        is_one = "input" not in body and "prompt" in body
        return EmbeddingRequest(
            model=model or request_reader.string(body.get("model"), "model"),
            inputs=read_inputs(body.get("prompt") if is_one else body.get("input"), "input"),
            dimensions=request_reader.get_int(body, "dimensions", ""),
            is_one=is_one,
        )

    def render_request(self, request: EmbeddingRequest, losses: Losses) -> tuple[str, JSON]:
        """The request for an Ollama server."""
        body: JSON = {"model": request.model, "input": texts_of(request, losses)}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        if request.purpose:
            losses.drop("input_type", "the vendor has no such field")
        return "/api/embed", body

    def parse_response(self, body: JSON) -> Embeddings:
        """Vectors in the order of the inputs."""
        vectors: Any = body.get("embeddings")
        if not isinstance(vectors, list):
            raise ProtocolError("the answer holds no vectors", path="embeddings")
        items: list[Any] = vectors  # pyright: ignore[reportUnknownVariableType]
        return Embeddings(
            [read_vector(each, f"embeddings[{i}]") for i, each in enumerate(items)],
            response_reader.get_int(body, "prompt_eval_count", ""),
        )

    def render_response(self, found: Embeddings, request: EmbeddingRequest) -> JSON:
        """The answer for an Ollama client."""
        if request.is_one:
            return {"embedding": found.vectors[0]}
        return {
            "model": request.model,
            "embeddings": found.vectors,
            "total_duration": 0,
            "load_duration": 0,
            "prompt_eval_count": found.input_tokens or 0,
        }
