"""Embeddings by Bedrock's InvokeModel: Amazon's Titan, one text a request, and Cohere's models.

From docs.aws.amazon.com/bedrock, model-parameters-titan-embed-text, -titan-embed-mm, -embed-v3 and
-embed-v4 (read 2026-11-29).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from polycall.embeddings.cohere import CohereEmbeddings
from polycall.embeddings.types import (
    EmbeddingRequest,
    Embeddings,
    read_inputs,
    read_vector,
    texts_of,
)
from polycall.errors import ProtocolError, RequestError
from polycall.ir import JSON
from polycall.translation.wire import Losses, request_reader, response_reader


def bedrock_wire(model: str) -> str:
    """The wire of one of Bedrock's models; `RequestError` for one that is not known."""
    if "titan-embed" in model:
        return "titan"
    if "cohere.embed" in model:
        return "bedrock-cohere"
    raise RequestError(
        f"{model!r} is not a model for embeddings that polycall knows at Bedrock: Titan, Cohere; "
        "for an inference profile, name its model under 'serves' of the provider's table"
    )


def invoke_path(model: str) -> str:
    """The path of one request; a model's name may be an ARN."""
    return f"/model/{quote(model, safe='')}/invoke"


class TitanEmbeddings:
    """Titan's text embeddings, and those of texts by its multimodal model."""

    inputs_max = 1

    def parse_request(self, body: JSON, model: str = "") -> EmbeddingRequest:
        """A client's body; the model stands in the path."""
        reader = request_reader
        config = reader.get_object(body, "embeddingConfig", "")
        size = reader.get_int(config, "outputEmbeddingLength", "embeddingConfig")
        text = reader.string(body.get("inputText"), "inputText")
        return EmbeddingRequest(
            model=model,
            inputs=read_inputs(text, "inputText"),
            dimensions=reader.get_int(body, "dimensions", "") if size is None else size,
            is_one=True,
        )

    def render_request(self, request: EmbeddingRequest, losses: Losses) -> tuple[str, JSON]:
        """The request for one text."""
        (text,) = texts_of(request, losses)
        body: JSON = {"inputText": text}
        if request.dimensions is not None:
            if "titan-embed-image" in request.model:
                body["embeddingConfig"] = {"outputEmbeddingLength": request.dimensions}
            else:
                body["dimensions"] = request.dimensions
        if request.purpose:
            losses.drop("input_type", "the vendor has no such field")
        return invoke_path(request.model), body

    def parse_response(self, body: JSON) -> Embeddings:
        """One vector."""
        vector = read_vector(body.get("embedding"), "embedding")
        return Embeddings([vector], response_reader.get_int(body, "inputTextTokenCount", ""))

    def render_response(self, found: Embeddings, request: EmbeddingRequest) -> JSON:
        """The answer for a client of Titan's."""
        del request
        vector = found.vectors[0]
        return {
            "embedding": vector,
            "embeddingsByType": {"float": vector},
            "inputTextTokenCount": found.input_tokens or 0,
        }


class BedrockCohereEmbeddings(CohereEmbeddings):
    """Cohere's, without the model in the body; the tokens are counted in a header."""

    def render_request(self, request: EmbeddingRequest, losses: Losses) -> tuple[str, JSON]:
        """The request for Bedrock."""
        _, body = super().render_request(request, losses)
        del body["model"]
        return invoke_path(request.model), body

    def parse_response(self, body: JSON) -> Embeddings:
        """Vectors, by their type or in a list."""
        found: Any = body.get("embeddings")
        if not isinstance(found, list):
            return super().parse_response(body)
        items: list[Any] = found  # pyright: ignore[reportUnknownVariableType]
        if not items:
            raise ProtocolError("the answer holds no vectors", path="embeddings")
        return Embeddings([read_vector(each, f"embeddings[{i}]") for i, each in enumerate(items)])

    def render_response(self, found: Embeddings, request: EmbeddingRequest) -> JSON:
        """The answer for a client of Cohere's models on Bedrock: typed where it named a type."""
        whole = super().render_response(found, request)
        is_typed = bool(request.types)
        return {
            "id": whole["id"],
            "response_type": "embeddings_by_type" if is_typed else "embeddings_floats",
            "embeddings": whole["embeddings"] if is_typed else found.vectors,
            "texts": whole["texts"],
        }
