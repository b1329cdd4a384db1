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


# Words of servers (read on 2026-11-29), and the numbers that Claude Code reads.
OVERFLOWS = {
    "This model's maximum prompt length is 131072 but the request contains 537812 tokens.": (
        "537812 tokens > 131072"  # xAI
    ),
    "Invalid request: Your request exceeded model token limit: 262144 (requested: 262500)": (
        "262500 tokens > 262144"  # Moonshot
    ),
    "Prompt exceeds max length": "",  # Z.ai, 1261
    "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]": "",
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000 "
    "`inputs` tokens and 512 `max_new_tokens`": "9000 tokens > 8193",  # Together
    "Input validation error: `inputs` must have less than 1024 tokens. Given: 1500": (
        "1500 tokens > 1024"  # TGI
    ),
    "Input length 140000 exceeds maximum allowed 131072 tokens": "140000 tokens > 131072",
    "Please reduce the length of the messages or completion.": "",  # Groq
    "Input token length too long": "",  # Moonshot
    "prompt token count of 135000 exceeds the limit of 128000": "135000 tokens > 128000",
}


@pytest.mark.parametrize("words", OVERFLOWS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_c1_an_overflow_has_what_each_client_looks_for(dialect: str, words: str) -> None:
    error = DIALECTS[dialect].parse_error(400, {"error": {"message": words, "code": "odd"}})
    status, body = DIALECTS["anthropic"].render_error(error)
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")
    numbers = OVERFLOWS[words]
    head = f"prompt is too long: {numbers} maximum" if numbers else "prompt is too long: "
    assert body["error"]["message"].startswith(head)
    for name in ("openai-chat", "openai-responses"):
        status, body = DIALECTS[name].render_error(error)
        assert (status, body["error"]["code"]) == (400, "context_length_exceeded")
        assert body["error"]["message"] == words


def test_c1_a_relatives_own_body_is_put_right_too() -> None:
    words = "invalid params, context window exceeds limit (2013)"
    body = {"type": "error", "error": {"type": "bad_request_error", "message": words}}
    status, shown = DIALECTS["anthropic"].render_error(DIALECTS["anthropic"].parse_error(400, body))
    assert (status, shown["error"]["type"]) == (400, "invalid_request_error")
    assert shown["error"]["message"] == f"prompt is too long: {words}"


@pytest.mark.parametrize("field", ["messages[0].name", "user", "metadata.run", "tools[0].name"])
@pytest.mark.parametrize("with_param", [True, False])
def test_c1_a_name_that_is_too_long_is_no_overflow(field: str, *, with_param: bool) -> None:
    words = f"Invalid '{field}': string too long. Expected a string with maximum length 64"
    fields = {"message": words, "code": "string_above_max_length"}
    more = {"param": field} if with_param else {}
    for name in ("openai-chat", "openai-responses"):
        error = DIALECTS[name].parse_error(400, {"error": {**fields, **more}})
        assert type(error) is InvalidRequestError
        assert DIALECTS[name].render_error(error)[1]["error"]["code"] == fields["code"]


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
        *OVERFLOWS,
    ],
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_context_overflow_is_told_by_its_words_in_every_dialect(
    dialect: str, message: str
) -> None:
    body = {"error": {"message": message}}
    assert type(DIALECTS[dialect].parse_error(400, body)) is RequestTooLargeError


@pytest.mark.parametrize("status", [200, 402, 404, 429, 500, 503])
def test_the_kind_that_a_body_names_and_its_words_outweigh_a_relatives_status(status: int) -> None:
    """It would be asked again, of every target, and cannot be answered."""
    words = "prompt is too long: 210000 tokens > 200000 maximum"
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": words}}
    found = DIALECTS["anthropic"].parse_error(status, body)
    assert (type(found), found.should_retry) == (RequestTooLargeError, False)


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens: 9000 > 8192, which is the maximum allowed",
        "the number of tools exceeds the maximum of 128",
        "The maximum tokens you requested exceeds the model limit of 8192.",
        "max_tokens is too large: 200000. This model supports at most 16384 completion tokens",
        "thinking.budget_tokens: 40000 must be less than max_tokens 32000",
        "the prompt has an image that is too large: 9000 pixels",
        "tools: the list is too long, 128 is the most",
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
