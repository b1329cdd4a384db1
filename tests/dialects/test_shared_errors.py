"""What a server writes when it fails is read alike, whatever wire it speaks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from polycall.errors import (
    InvalidRequestError,
    ModelOutputError,
    RequestTooLargeError,
    ServerError,
    UpstreamError,
)
from polycall.providers.dialects import DIALECTS

SHAPES: dict[str, Any] = {
    "object": {"error": {"message": "no 방 here 🙃"}},
    "flat": {"message": "no 방 here 🙃"},
    "string": {"error": "no 방 here 🙃"},
    "detail": {"detail": "no 방 here 🙃"},
    "list": [{"error": {"message": "no 방 here 🙃"}}],
    "errors": {"errors": [{"message": "no 방 here 🙃"}]},
    "text": "no  방\nhere 🙃",
    "bytes": "no 방 here 🙃".encode(),
    "JSON in a string": json.dumps({"error": {"message": "no 방 here 🙃"}}),
    "JSON in bytes": json.dumps({"message": "no 방 here 🙃"}).encode(),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_any_shape_is_read_by_every_dialect(dialect: str, shape: str) -> None:
    error = DIALECTS[dialect].parse_error(500, SHAPES[shape])
    assert (type(error), error.message, error.status) == (ServerError, "no 방 here 🙃", 500)


@pytest.mark.parametrize("body", [None, "", b"", {}, [], {"error": None}, {"errors": []}, " \n"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_error_without_words_says_its_status(dialect: str, body: Any) -> None:
    error = DIALECTS[dialect].parse_error(502, body)
    assert isinstance(error, ServerError)
    as_it_is = json.dumps(body, separators=(",", ":")) if isinstance(body, dict) else ""
    assert error.message in ("the provider answered with status 502", as_it_is)


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 8192 tokens, you requested 9000",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "Input is too long for requested model.",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        "the request exceeds the available context size, try increasing it",
        "Input Tokens Exceeded: Number of input tokens exceeds maximum length.",
        "The total number of tokens (9000) exceeds the maximum allowed.",
    ],
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_context_overflow_is_told_by_its_words_in_every_dialect(
    dialect: str, message: str
) -> None:
    body = {"error": {"message": message}}
    assert type(DIALECTS[dialect].parse_error(400, body)) is RequestTooLargeError


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens: 9000 > 8192, which is the maximum allowed",
        "the number of tools exceeds the maximum of 128",
        "The maximum tokens you requested exceeds the model limit of 8192.",
    ],
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_field_beyond_its_range_is_no_context_overflow(dialect: str, message: str) -> None:
    error = DIALECTS[dialect].parse_error(400, {"error": {"message": message}})
    assert type(error) is InvalidRequestError


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_class_without_a_row_is_rendered_as_the_one_above_it(dialect: str) -> None:
    class OwnError(ModelOutputError):
        pass

    rendered = DIALECTS[dialect].render_error(OwnError("odd"))
    above = DIALECTS[dialect].render_error(ModelOutputError("odd"))
    assert rendered == above
    status, body = rendered
    again = DIALECTS[dialect].parse_error(status, body)
    assert isinstance(again, UpstreamError)
    assert not isinstance(again, InvalidRequestError)
