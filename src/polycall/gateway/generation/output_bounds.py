"""The amount of output that a request asks for, in any protocol's fields."""

from __future__ import annotations

import math
from typing import Any

from polycall.gateway.passthrough.control_fields import number_of
from polycall.gateway.passthrough.request import Fields

_FIELDS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
# Where Gemini, Converse and Ollama say it.
_PLACES = (
    *(("generationConfig", name) for name in ("maxOutputTokens", "max_output_tokens")),
    *(("generation_config", name) for name in ("maxOutputTokens", "max_output_tokens")),
    *(("inferenceConfig", "maxTokens"), ("options", "num_predict")),
)
_CANDIDATE_PLACES = tuple(
    (place, name)
    for place in ("generationConfig", "generation_config")
    for name in ("candidateCount", "candidate_count")
)


def output_tokens_max(fields: Fields) -> int | None:
    """The number of output tokens that a request allows; `None` where it does not say."""
    values = [fields.value(name) for name in _FIELDS]
    values += [_inner(fields, place, name) for place, name in _PLACES]
    numbers = [number for value in values if (number := number_of(value)) is not None]
    return max((math.ceil(number) for number in numbers if number > 0), default=None)


def candidates_max(fields: Fields) -> int:
    """The number of answers that a request asks for."""
    values = [fields.value("n"), fields.value("best_of")]
    values += [_inner(fields, place, name) for place, name in _CANDIDATE_PLACES]
    return max([1, *(math.ceil(number_of(value) or 1) for value in values)])


def _inner(fields: Fields, place: str, name: str) -> Any:
    found: Any = fields.value(place)
    return found.get(name) if isinstance(found, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
