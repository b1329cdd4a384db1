"""Vectors of an embedder, compared by brute force: enough to a hundred thousand of them."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from polycall.errors import RequestError

_SPREAD_MIN = 0.05  # of a few rows it says nothing


def numpy_module() -> Any:
    """numpy, which only embedders need; `RequestError` where it is not installed."""
    try:
        return importlib.import_module("numpy")
    except ModuleNotFoundError:
        raise RequestError("an embedder needs numpy; install 'polycall[retrieval]'") from None


def unit_rows(vectors: Sequence[Sequence[float]], count: int) -> Any:
    """`count` vectors as rows of a matrix, each made as long as one."""
    numpy = numpy_module()
    matrix = numpy.asarray(vectors, dtype=numpy.float32)
    if matrix.ndim != 2 or len(matrix) != count:
        raise RequestError(
            f"the embedder gave {matrix.shape} numbers for {count} texts; it must give one vector "
            "for each text"
        )
    lengths = numpy.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix / numpy.maximum(lengths, 1e-12)


def nearest_rows(matrix: Any, vector: Sequence[float], limit: int) -> dict[int, float]:
    """The rows nearest to `vector`, from 1 for the nearest down to 0 for the last of them.

    Embedders differ in how far apart they put things, so only the order and the relative distance
    count.
    """
    numpy = numpy_module()
    if not len(matrix):
        return {}
    scores = matrix @ numpy.asarray(vector, dtype=numpy.float32)
    order = numpy.argsort(-scores, kind="stable")[:limit]
    first, last = float(scores[order[0]]), float(scores[order[-1]])
    spread = (first - last) or 1.0
    return {int(place): (float(scores[place]) - last) / spread for place in order}


def nearness(matrix: Any, vector: Sequence[float]) -> Any:
    """The nearness of each row to a vector, computed in this thread alone.

    Threads of a linear algebra library take longer to meet than a few thousand rows take.
    """
    numpy = numpy_module()
    return numpy.einsum("ij,j->i", matrix, unit_rows([vector], 1)[0])


def nearest(scores: Any, limit: int) -> list[int]:
    """The places of the highest scores, in no order."""
    if len(scores) <= limit:
        return list(range(len(scores)))
    return [int(place) for place in numpy_module().argpartition(-scores, limit)[:limit]]


def spread_of(matrix: Any) -> float:
    """The spread of the nearness of two rows, over pairs in a fixed order.

    Embedders differ in how far apart they put things: this is the measure of one embedder's.
    """
    numpy = numpy_module()
    order = numpy.random.default_rng(0).permutation(len(matrix))
    pairs = (matrix[order] * matrix[numpy.roll(order, 1)]).sum(axis=1)
    return max(float(pairs.std()), _SPREAD_MIN)
