"""Bedrock's models that make vectors and rank, behind `invoke`: Titan, and Cohere's.

From docs.aws.amazon.com/bedrock, model-parameters-titan-embed-text, -embed-v3, -embed-v4, -rerank
(read 2026-11-29).  A vector is made of its text's digest, so that a test can tell which is whose.
"""

from __future__ import annotations

import hashlib
from typing import Any

from polycall._support import jsontext
from polycall.sim.clouds.aws import refuse
from polycall.sim.shape import JSON, ShapeError, path_text
from polycall.sim.shape_files import ShapeFile

_SIZES = {"amazon.titan-embed-text-v2": (256, 512, 1024), "cohere.embed-v4": (256, 512, 1024, 1536)}
_SHAPES = ShapeFile("bedrock_vectors")


def vector_of(text: str, size: int) -> list[float]:
    """A vector that only this text has, exact in 32 bits."""
    digest = hashlib.sha256(text.encode()).digest()
    return [digest[place % len(digest)] / 256 for place in range(size)]


def invoked(model: str, body: bytes) -> tuple[JSON, int] | None:
    """The answer and its input tokens; `None` for a model that makes no vectors or ranks."""
    answer = next((make for part, make in _ANSWERS.items() if part in model), None)
    if answer is None:
        return None
    try:
        fields: Any = jsontext.decode(body)
        return answer(model, fields)
    except ValueError:
        raise _invalid("Malformed input request, please reformat your input.") from None
    except ShapeError as error:
        place = path_text(error.path, brackets=False)
        words = {
            "unknown": f"extraneous key [{error.field}] is not permitted",
            "missing": f"required key [{error.field}] not found",
        }
        said = words.get(error.problem, f"{place}: expected {error.wanted}, got {error.got}")
        raise _invalid(f"Malformed input request: {said}, please reformat your input.") from None


def _invalid(words: str) -> Exception:
    return refuse("ValidationException", words, 400)


def _titan(model: str, body: Any) -> tuple[JSON, int]:
    is_second = "v2" in model
    fields: JSON = _SHAPES["titan_v2" if is_second else "titan"].read(body, (), False)
    size = _size(model, fields.get("dimensions"), 1024 if is_second else 1536)
    tokens = len(fields["inputText"].encode()) // 4 + 1
    vector = vector_of(fields["inputText"], size)
    answer: JSON = {"embedding": vector, "inputTextTokenCount": tokens}
    if is_second:
        answer["embeddingsByType"] = {"float": vector}
    return answer, tokens


def _cohere(model: str, body: Any) -> tuple[JSON, int]:
    is_fourth = "v4" in model
    fields: JSON = _SHAPES["cohere_v4" if is_fourth else "cohere_v3"].read(body, (), False)
    size = _size(model, fields.get("output_dimension"), 1536 if is_fourth else 1024)
    texts: list[str] = fields["texts"]
    vectors: list[Any] = [vector_of(text, size) for text in texts]
    is_typed = "embedding_types" in fields
    answer: JSON = {
        "id": "simulated-embeddings",
        "response_type": "embeddings_by_type" if is_typed else "embeddings_floats",
        "embeddings": {"float": vectors} if is_typed else vectors,
        "texts": texts,
    }
    return answer, sum(len(text.encode()) // 4 + 1 for text in texts)


def _rerank(model: str, body: Any) -> tuple[JSON, int]:
    kind = "rerank_cohere" if "cohere" in model else "rerank_amazon"
    fields: JSON = _SHAPES[kind].read(body, (), False)
    words = set(fields["query"].lower().split())
    scores = [
        (len(words & set(text.lower().split())) / (len(words) or 1), index)
        for index, text in enumerate(fields["documents"])
    ]
    best = sorted(scores, key=lambda each: (-each[0], each[1]))[: fields.get("top_n")]
    results = [{"index": index, "relevance_score": score} for score, index in best]
    return {"results": results}, 0


def _size(model: str, asked: int | None, usual: int) -> int:
    known = next((sizes for part, sizes in _SIZES.items() if part in model), ())
    if asked is not None and asked not in known:
        raise _invalid(f"{asked} is not a valid dimension for this model.")
    return asked or usual


_ANSWERS = {"titan-embed": _titan, "cohere.embed": _cohere, "rerank": _rerank}
