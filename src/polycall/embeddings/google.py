"""Google's `embedContent` and `batchEmbedContents`, and Vertex's `predict`."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from polycall.embeddings.types import (
    EmbeddingRequest,
    Embeddings,
    Purpose,
    read_vector,
    texts_of,
)
from polycall.errors import MalformedRequestError
from polycall.ir import JSON
from polycall.translation.wire import Losses, request_reader, response_reader

# ai.google.dev/api/embeddings, `TaskType` (read 2026-11-29).
TASKS: dict[str, Purpose] = {
    "RETRIEVAL_QUERY": "query",
    "RETRIEVAL_DOCUMENT": "document",
    "SEMANTIC_SIMILARITY": "similarity",
    "CLASSIFICATION": "classification",
    "CLUSTERING": "clustering",
}
_TASK_OF = {purpose: task for task, purpose in TASKS.items()}


class GoogleEmbeddings:
    """Google's Gemini API."""

    inputs_max = 100

    def parse_request(self, body: JSON, model: str = "") -> EmbeddingRequest:
        """A Google client's request, for one vector or for several."""
        requests: Any = body.get("requests")
        is_one = requests is None
        items = [body] if is_one else request_reader.array(requests, "requests")
        texts: list[str | list[int]] = []
        dimensions: set[int | None] = set()
        tasks: set[str] = set()
        for index, item in enumerate(items):
            path = "" if is_one else f"requests[{index}]"
            each = request_reader.object(item, path)
            texts.append(_text(each.get("content"), path))
            config = request_reader.get_object(each, "embedContentConfig", path) or each
            size = request_reader.get_int(config, "outputDimensionality", path)
            if size is None:
                size = request_reader.get_int(config, "output_dimensionality", path)
            dimensions.add(size)
            tasks.add(str(config.get("taskType", config.get("task_type")) or ""))
        if len(dimensions) > 1 or len(tasks) > 1:
            raise MalformedRequestError(
                "all requests of a batch must have one task type and one dimension"
            )
        if not texts:
            raise MalformedRequestError("expected at least one content", path="requests")
        task = tasks.pop()
        return EmbeddingRequest(
            model=model or str(body.get("model", "")).removeprefix("models/"),
            inputs=texts,
            dimensions=dimensions.pop(),
            purpose=TASKS.get(task, ""),
            is_one=is_one,
        )

    def render_request(self, request: EmbeddingRequest, losses: Losses) -> tuple[str, JSON]:
        """The request for Google: always a batch."""
        name = request.model
        more: JSON = {}
        if request.dimensions is not None:
            more["outputDimensionality"] = request.dimensions
        if request.purpose:
            more["taskType"] = _TASK_OF[request.purpose]
        requests = [
            {"model": f"models/{name}", "content": {"parts": [{"text": text}]}, **more}
            for text in texts_of(request, losses)
        ]
        path = f"/v1beta/models/{quote(name, safe='')}:batchEmbedContents"
        return path, {"requests": requests}

    def parse_response(self, body: JSON) -> Embeddings:
        """Vectors in the order of the requests."""
        reader = response_reader
        items = reader.array(body.get("embeddings"), "embeddings")
        vectors = [
            read_vector(reader.object(item, "embeddings").get("values"), f"embeddings[{i}]")
            for i, item in enumerate(items)
        ]
        usage = reader.get_object(body, "usageMetadata", "")
        return Embeddings(vectors, reader.get_int(usage, "promptTokenCount", "usageMetadata"))

    def render_response(self, found: Embeddings, request: EmbeddingRequest) -> JSON:
        """The answer for a Google client."""
        vectors = [{"values": vector} for vector in found.vectors]
        body: JSON = {"embedding": vectors[0]} if request.is_one else {"embeddings": vectors}
        if found.input_tokens is not None:
            body["usageMetadata"] = {"promptTokenCount": found.input_tokens}
        return body


def _text(content: Any, path: str) -> str:
    where = f"{path}.content" if path else "content"
    wire = request_reader.object(content, where)
    parts: Any = wire.get("parts")
    items: list[Any] = parts if isinstance(parts, list) else [parts]  # pyright: ignore[reportUnknownVariableType]
    texts: list[str] = []
    for index, part in enumerate(items):
        inner = request_reader.object(part, f"{where}.parts[{index}]")
        texts.append(request_reader.string(inner.get("text"), f"{where}.parts[{index}].text"))
    return "".join(texts)


class VertexEmbeddings(GoogleEmbeddings):
    """Vertex's `predict` for text embeddings (cloud.google.com, read 2026-11-29)."""

    inputs_max = 1  # Gemini's model takes one text a request there

    def parse_request(self, body: JSON, model: str = "") -> EmbeddingRequest:
        """The request of a client of Vertex's."""
        reader = request_reader
        texts: list[str | list[int]] = []
        tasks: set[str] = set()
        for index, item in enumerate(reader.array(body.get("instances"), "instances")):
            path = f"instances[{index}]"
            each = reader.object(item, path)
            texts.append(reader.string(each.get("content"), f"{path}.content"))
            tasks.add(reader.get_string(each, "task_type", path))
        if not texts:
            raise MalformedRequestError("expected at least one instance", path="instances")
        if len(tasks) > 1:
            raise MalformedRequestError("all instances must have one task type", path="instances")
        parameters = reader.get_object(body, "parameters", "")
        return EmbeddingRequest(
            model=model,
            inputs=texts,
            dimensions=reader.get_int(parameters, "outputDimensionality", "parameters"),
            purpose=TASKS.get(tasks.pop(), ""),
        )

    def render_response(self, found: Embeddings, request: EmbeddingRequest) -> JSON:
        """The answer for a client of Vertex's; the tokens stand with the first vector."""
        del request
        counts = [found.input_tokens or 0, *([0] * (len(found.vectors) - 1))]
        predictions = [
            {"embeddings": {"values": vector, "statistics": {"token_count": count}}}
            for vector, count in zip(found.vectors, counts, strict=True)
        ]
        return {"predictions": predictions}

    def render_request(self, request: EmbeddingRequest, losses: Losses) -> tuple[str, JSON]:
        """The request for Vertex."""
        task: JSON = {"task_type": _TASK_OF[request.purpose]} if request.purpose else {}
        body: JSON = {"instances": [{"content": t, **task} for t in texts_of(request, losses)]}
        if request.dimensions is not None:
            body["parameters"] = {"outputDimensionality": request.dimensions}
        return f"/models/{quote(request.model, safe='')}:predict", body

    def parse_response(self, body: JSON) -> Embeddings:
        """Predictions in the order of the instances."""
        reader = response_reader
        vectors: list[list[float]] = []
        tokens = 0
        for index, item in enumerate(reader.array(body.get("predictions"), "predictions")):
            path = f"predictions[{index}]"
            inner = reader.get_object(reader.object(item, path), "embeddings", path)
            vectors.append(read_vector(inner.get("values"), path))
            statistics = reader.get_object(inner, "statistics", path)
            tokens += int(reader.get_float(statistics, "token_count", path) or 0)
        return Embeddings(vectors, tokens or None)
