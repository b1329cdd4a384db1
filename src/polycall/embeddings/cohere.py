"""Cohere's `/v2/embed`, and rerankings as Cohere and those after it write them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from polycall.embeddings.types import (
    EmbeddingRequest,
    Embeddings,
    as_base64,
    purpose_of,
    read_inputs,
    read_vector,
    texts_of,
)
from polycall.errors import MalformedRequestError, ProtocolError
from polycall.ir import JSON
from polycall.translation.wire import Losses, request_reader, response_reader

_TYPE_OF = {
    "query": "search_query",
    "document": "search_document",
    "classification": "classification",
    "clustering": "clustering",
    "similarity": "clustering",
}


class CohereEmbeddings:
    """Cohere's."""

    inputs_max = 96

    def parse_request(self, body: JSON, model: str = "") -> EmbeddingRequest:
        """A Cohere client's request."""
        types = request_reader.get_array(body, "embedding_types", "")
        if unknown := [each for each in types if each not in ("float", "base64")]:
            raise MalformedRequestError(
                f"vectors of 'float' or 'base64' are made here, not {unknown[0]!r}",
                path="embedding_types",
            )
        return EmbeddingRequest(
            model=model or request_reader.string(body.get("model"), "model"),
            inputs=read_inputs(body.get("texts"), "texts"),
            dimensions=request_reader.get_int(body, "output_dimension", ""),
            encoding="base64" if types == ["base64"] else "float",
            purpose=purpose_of(body.get("input_type")),
            types=types,
        )

    def render_request(self, request: EmbeddingRequest, losses: Losses) -> tuple[str, JSON]:
        """The request for Cohere, which must be told what the vectors are for."""
        if not request.purpose:
            losses.emulate("input_type", "sent as 'search_document', since one is needed")
        body: JSON = {
            "model": request.model,
            "texts": texts_of(request, losses),
            "input_type": _TYPE_OF.get(request.purpose, "search_document"),
            "embedding_types": ["float"],
        }
        if request.dimensions is not None:
            body["output_dimension"] = request.dimensions
        return "/v2/embed", body

    def parse_response(self, body: JSON) -> Embeddings:
        """Vectors by their type."""
        by_type = response_reader.get_object(body, "embeddings", "")
        found: Any = by_type.get("float") or by_type.get("base64")
        if not isinstance(found, list):
            raise ProtocolError("the answer holds no vectors", path="embeddings")
        items: list[Any] = found  # pyright: ignore[reportUnknownVariableType]
        vectors = [read_vector(each, f"embeddings.float[{i}]") for i, each in enumerate(items)]
        return Embeddings(vectors, _billed(body, "input_tokens"))

    def render_response(self, found: Embeddings, request: EmbeddingRequest) -> JSON:
        """The answer for a Cohere client."""
        texts = [each for each in request.inputs if isinstance(each, str)]
        vectors: JSON = {"float": found.vectors}
        if request.encoding == "base64":
            vectors = {"base64": [as_base64(vector) for vector in found.vectors]}
        meta = {"api_version": {"version": "2"}}
        if found.input_tokens is not None:
            meta["billed_units"] = {"input_tokens": found.input_tokens}  # pyright: ignore[reportArgumentType]
        return {"id": "embed", "embeddings": vectors, "texts": texts, "meta": meta}


def _billed(body: JSON, unit: str) -> int | None:
    meta = response_reader.get_object(body, "meta", "")
    units = response_reader.get_object(meta, "billed_units", "meta")
    return response_reader.get_int(units, unit, "meta.billed_units")


def rerank_request(body: JSON, model: str, *, form: str) -> tuple[str, JSON]:
    """Path and body of a reranking for `cohere`, for models on `bedrock`, or for those like Cohere.

    Documents may be texts or objects with a text; all take texts.
    """
    reader = request_reader
    documents: list[str] = []
    for index, each in enumerate(reader.array(body.get("documents"), "documents")):
        path = f"documents[{index}]"
        text: Any = each if isinstance(each, str) else reader.object(each, path).get("text")
        documents.append(reader.string(text, path))
    rendered: JSON = {
        **{key: each for key, each in body.items() if each is not None},
        "model": model,
        "query": reader.string(body.get("query"), "query"),
        "documents": documents,
    }
    if form:
        rendered.pop("return_documents", None)
    if form == "bedrock":
        del rendered["model"]
        if "cohere" in model:  # docs.aws.amazon.com/bedrock, model-parameters-rerank (2026-11-29)
            rendered["api_version"] = 2
        return f"/model/{quote(model, safe='')}/invoke", rendered
    return ("/v2/rerank" if form == "cohere" else "/rerank"), rendered


def rerank_answer(answer: JSON, asked: JSON, model: str) -> JSON:
    """The answer as all rerankers' clients read it: `results`, best first."""
    reader = response_reader
    found: Any = answer.get("results", answer.get("data"))
    results: list[JSON] = []
    documents: list[Any] = asked["documents"]
    for index, item in enumerate(reader.array(found, "results")):
        result = dict(reader.object(item, f"results[{index}]"))
        result.setdefault("relevance_score", result.pop("score", None))
        place: Any = result.get("index")
        if asked.get("return_documents") and isinstance(place, int) and place < len(documents):
            each: Any = documents[place]
            result.setdefault("document", each if isinstance(each, dict) else {"text": each})
        results.append(result)
    return {**{k: v for k, v in answer.items() if k != "data"}, "model": model, "results": results}


def rerank_units(answer: JSON) -> int | None:
    """Tokens or searches that a reranking is billed by, where the answer says so."""
    usage: Any = answer.get("usage")
    if isinstance(usage, dict):
        total: Any = usage.get("total_tokens")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return total if isinstance(total, int) else None
    return _billed(answer, "input_tokens")
