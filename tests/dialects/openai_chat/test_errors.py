"""Errors: every shape in, OpenAI's shape out."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.dialects.openai_chat import parse_error, render_error
from polycall.errors import (
    AuthenticationError,
    BillingError,
    InvalidRequestError,
    MalformedRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    PolycallError,
    ProtocolError,
    RateLimitError,
    RequestError,
    RequestTooLargeError,
    ServerError,
    UnsupportedError,
    UpstreamConnectionError,
    UpstreamError,
    UpstreamTimeoutError,
)


def nested(message: str = "m", **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, nested(code="context_length_exceeded"), RequestTooLargeError),
        (400, nested("This model's maximum context length is 8 tokens"), RequestTooLargeError),
        (400, nested("request exceeds the available context size"), RequestTooLargeError),
        (413, nested(), RequestTooLargeError),
        (400, nested(type="invalid_request_error"), InvalidRequestError),
        (422, nested(code="invalid_parameters"), InvalidRequestError),
        (401, nested(type="invalid_request_error", code="invalid_api_key"), AuthenticationError),
        (400, nested(code="invalid_api_key"), AuthenticationError),
        (402, nested("Insufficient Balance"), BillingError),
        (429, nested(type="insufficient_quota", code="insufficient_quota"), BillingError),
        (429, nested(type="tokens", code="rate_limit_exceeded"), RateLimitError),
        (429, nested(type="requests"), RateLimitError),
        (400, nested(type="requests"), InvalidRequestError),
        (403, nested(), PermissionDeniedError),
        (404, nested(code="model_not_found"), NotFoundError),
        (408, nested(), UpstreamTimeoutError),
        (500, nested(type="server_error"), ServerError),
        (502, "<html>bad gateway</html>", ServerError),
        (503, nested(), OverloadedError),
        (504, b"", UpstreamTimeoutError),
        (418, None, InvalidRequestError),
    ],
)
def test_the_class_of_an_error(status: int, body: Any, expected: type[UpstreamError]) -> None:
    error = parse_error(status, body)
    assert type(error) is expected
    assert error.status == status
    assert error.message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (nested("m"), "m"),
        ({"message": "m", "type": "x"}, "m"),
        ({"detail": "m"}, "m"),
        ({"detail": [{"loc": ["body"], "msg": "m"}]}, '[{"loc":["body"],"msg":"m"}]'),
        ({"error": "m"}, "m"),
        ({"error": "Bad Request", "message": "m"}, "m"),
        ([nested("m")], "m"),
        ("m", "m"),
        (b" m \n", "m"),
        ('{"error": {"message": "m"}}', "m"),
        ('{"error": broken', '{"error": broken'),
        ({"other": 1}, '{"other":1}'),
        (None, "the provider answered with status 400"),
        ([], "the provider answered with status 400"),
        ({"error": None}, '{"error":null}'),
    ],
)
def test_the_message_is_found(body: Any, message: str) -> None:
    assert parse_error(400, body).message == message


def test_the_providers_own_words_are_kept() -> None:
    body = {**nested("m", type="t", code=7, param="messages"), "request_id": "r"}
    error = parse_error(400, body)
    assert (error.type, error.code, error.param, error.request_id) == ("t", "7", "messages", "r")
    assert error.body is body
    assert parse_error(400, '{"error": {"message": "m"}}').body == nested("m")


def test_a_long_page_is_cut() -> None:
    assert len(parse_error(502, "x" * 100_000).message) == 2_000


def openai_body(message: str, kind: str, code: str | None, param: str | None = None) -> Any:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (InvalidRequestError("m"), 400, "invalid_request_error", None),
        (AuthenticationError("m"), 401, "invalid_request_error", "invalid_api_key"),
        (BillingError("m"), 402, "insufficient_quota", "insufficient_quota"),
        (PermissionDeniedError("m"), 403, "invalid_request_error", "permission_denied"),
        (NotFoundError("m"), 404, "invalid_request_error", "model_not_found"),
        (RequestTooLargeError("m"), 400, "invalid_request_error", "context_length_exceeded"),
        (
            RequestTooLargeError("m", status=413),
            413,
            "invalid_request_error",
            "context_length_exceeded",
        ),
        (RateLimitError("m"), 429, "rate_limit_error", "rate_limit_exceeded"),
        (ServerError("m", status=200), 500, "server_error", None),
        (OverloadedError("m", status=529), 503, "server_error", "service_unavailable"),
        (UpstreamTimeoutError("m"), 504, "server_error", "timeout"),
        (UpstreamConnectionError("m"), 502, "server_error", "upstream_unreachable"),
        (RequestError("m"), 400, "invalid_request_error", None),
        (MalformedRequestError("m"), 400, "invalid_request_error", None),
        (ProtocolError("m"), 502, "server_error", "bad_upstream_response"),
        (PolycallError("m"), 502, "server_error", "bad_upstream_response"),
    ],
)
def test_errors_in_openais_words(
    error: PolycallError, status: int, kind: str, code: str | None
) -> None:
    assert render_error(error) == (status, openai_body("m", kind, code))


def test_an_unsupported_feature_is_named() -> None:
    error = UnsupportedError("n is not possible", feature="n", path="n")
    expected = openai_body(
        "n: n is not possible", "invalid_request_error", "unsupported_parameter", "n"
    )
    assert render_error(error) == (400, expected)


def test_a_body_of_this_dialect_is_given_back_unchanged() -> None:
    body = nested("m", type="t", code="c", misalignment={"error_type": "x"})
    assert render_error(parse_error(429, body)) == (429, body)


@pytest.mark.parametrize(
    "body",
    [
        {"type": "error", "error": {"type": "overloaded_error", "message": "m"}},
        {"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}},
        {"error": "m"},
        {"error": {"type": "x"}},
        "m",
    ],
)
def test_a_body_of_another_dialect_is_not(body: Any) -> None:
    error = InvalidRequestError("m", status=400, body=body)
    assert render_error(error) == (400, openai_body("m", "invalid_request_error", None))
