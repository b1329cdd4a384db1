"""Requests and answers of embeddings, independent of the vendor."""

from __future__ import annotations

import array
import base64
import binascii
import sys
from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeAlias

from msgspec import Struct

from polycall.errors import MalformedRequestError, ProtocolError
from polycall.ir import JSON, Warning
from polycall.translation.wire import Losses

# What the vectors are for; Cohere must be told, Google may be.
Purpose: TypeAlias = Literal["", "query", "document", "similarity", "classification", "clustering"]
Encoding: TypeAlias = Literal["float", "base64"]


# By what vendors call them: docs.cohere.com/reference/embed, docs.voyageai.com (read 2026-11-29).
INPUT_TYPES: dict[str, Purpose] = {
    "search_query": "query",
    "search_document": "document",
    "classification": "classification",
    "clustering": "clustering",
    "query": "query",
    "document": "document",
}


def purpose_of(input_type: Any) -> Purpose:
    """The purpose of vectors, by a request's `input_type`; `""` for an unknown word."""
    return INPUT_TYPES.get(input_type, "") if isinstance(input_type, str) else ""


class EmbeddingRequest(Struct, frozen=True):
    """Texts to embed, in order.  A list of integers is a text in the model's own tokens."""

    model: str
    inputs: list[str | list[int]]
    dimensions: int | None = None
    encoding: Encoding = "float"
    purpose: Purpose = ""
    end_user: str = ""
    is_one: bool = False  # a client of Google's or Ollama's asked for one vector, not for a list
    types: list[str] = []  # of vectors, where a client of Cohere's named them


class Embeddings(Struct, frozen=True):
    """A vector for each input, in the order of the inputs."""

    vectors: list[list[float]]
    input_tokens: int | None = None
    warnings: list[Warning] = []


class EmbeddingWire(Protocol):
    """One vendor's embeddings, both ways."""

    inputs_max: int  # in one request

    def parse_request(self, body: JSON, model: str = "") -> EmbeddingRequest:
        """The request of a client of this wire; `model` where its path has it."""
        ...

    def render_request(self, request: EmbeddingRequest, losses: Losses) -> tuple[str, JSON]:
        """Path below the provider's address, and body."""
        ...

    def parse_response(self, body: JSON) -> Embeddings:
        """An answer."""
        ...

    def render_response(self, found: Embeddings, request: EmbeddingRequest) -> JSON:
        """The answer for a client of this wire."""
        ...


def texts_of(request: EmbeddingRequest, losses: Losses) -> list[str]:
    """The inputs for a wire that takes texts alone."""
    texts: list[str] = []
    for each in request.inputs:
        if isinstance(each, str):
            texts.append(each)
        else:
            losses.refuse("input", "tokens are the vendor's own; send text", path="input")
    return texts


def read_inputs(value: Any, path: str) -> list[str | list[int]]:
    """A text, a list of texts, tokens, or a list of tokens."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value:
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        if all(isinstance(each, str) for each in items):
            return items
        if all(_is_token(each) for each in items):
            return [items]
        if all(isinstance(each, list) and each and all(map(_is_token, each)) for each in items):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            return items
    raise MalformedRequestError("expected a text, or a list of texts or of tokens", path=path)


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def read_vector(value: Any, path: str) -> list[float]:
    """A vector of numbers, or base64 of 32-bit floats."""
    if isinstance(value, str):
        try:
            data = base64.b64decode(value, validate=True)
            return from_bytes(data)
        except (binascii.Error, ValueError):
            raise ProtocolError("expected base64 of 32-bit floats", path=path) from None
    if isinstance(value, list):
        numbers: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        if all(isinstance(each, int | float) for each in numbers):
            return numbers
    raise ProtocolError("expected a vector of numbers", path=path)


def from_bytes(data: bytes) -> list[float]:
    """Numbers from little-endian 32-bit floats."""
    floats = array.array("f")
    floats.frombytes(data)
    if sys.byteorder == "big":
        floats.byteswap()
    return floats.tolist()


def as_base64(vector: Sequence[float]) -> str:
    """A vector as base64 of little-endian 32-bit floats."""
    floats = array.array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode("ascii")
