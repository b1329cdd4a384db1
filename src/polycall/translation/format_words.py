"""The format of an answer in words, for a prompt: where the target takes none as a field."""

from __future__ import annotations

from polycall._support import jsontext
from polycall.ir import JSON

JSON_ONLY = "Answer with one JSON object and nothing else."


def format_words(schema: JSON | None) -> str:
    """The words for an answer in JSON, and for the schema that it must match."""
    if schema is None:
        return JSON_ONLY
    return f"{JSON_ONLY} It must match this JSON Schema:\n{jsontext.encode(schema)}"
