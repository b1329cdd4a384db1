"""Errors, in every shape, both ways."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.dialects.openai_responses import parse_error, render_error
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
    RequestTooLargeError,
    ServerError,
    UnsupportedError,
    UpstreamError,
    UpstreamTimeoutError,
)


def own(message: str, kind: str = "", code: Any = None, param: Any = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


@pytest.mark.parametrize(
    ("status", "body", "error", "code", "message"),
    [
        (400, own("x", "invalid_request_error"), InvalidRequestError, "", "x"),
        (
            400,
            own("x", code="context_length_exceeded"),
            RequestTooLargeError,
            "context_length_exceeded",
            "x",
        ),
        (401, own("x", code="invalid_api_key"), AuthenticationError, "invalid_api_key", "x"),
        (403, own("x"), PermissionDeniedError, "", "x"),
        (400, own("x", code="model_not_found"), NotFoundError, "model_not_found", "x"),
        (429, own("x", code="insufficient_quota"), BillingError, "insufficient_quota", "x"),
        (
            429,
            own("x", "tokens", "rate_limit_exceeded"),
            RateLimitError,
            "rate_limit_exceeded",
            "x",
        ),
        (500, own("x", "server_error", "server_error"), ServerError, "server_error", "x"),
        (504, own("x", "server_error"), UpstreamTimeoutError, "", "x"),
        (503, own("x", code="server_error"), OverloadedError, "server_error", "x"),
        (
            400,
            {"code": "invalid-argument", "error": "bad key"},
            InvalidRequestError,
            "invalid-argument",
            "bad key",
        ),
        (401, {"detail": "no token"}, AuthenticationError, "", "no token"),
        (422, {"detail": [{"loc": ["body"]}]}, InvalidRequestError, "", '[{"loc":["body"]}]'),
        (400, {"message": "flat", "code": 7}, InvalidRequestError, "7", "flat"),
        (404, [own("in a list")], NotFoundError, "", "in a list"),
        (502, "<html>Bad gateway</html>", ServerError, "", "<html>Bad gateway</html>"),
        (502, b"\xff not text", ServerError, "", "\ufffd not text"),
        (500, '{"error": {"message": "as text"}}', ServerError, "", "as text"),
        (503, None, OverloadedError, "", "the provider answered with status 503"),
        (503, "", OverloadedError, "", "the provider answered with status 503"),
        (500, {"error": {"code": True}}, ServerError, "", '{"error":{"code":true}}'),
        (418, 7, InvalidRequestError, "", "7"),
    ],
)
def test_any_shape_is_read(
    status: int, body: Any, error: type[UpstreamError], code: str, message: str
) -> None:
    found = parse_error(status, body)
    assert (type(found), found.status, found.code, found.message) == (error, status, code, message)


@pytest.mark.parametrize(
    ("inner", "error"),
    [
        ({"code": "server_error"}, ServerError),
        ({"code": "rate_limit_exceeded"}, RateLimitError),
        ({"code": "invalid_prompt"}, InvalidRequestError),
        ({"code": "unsupported_image_media_type"}, InvalidRequestError),
        ({"code": 429}, RateLimitError),
        ({"type": "invalid_request_error"}, InvalidRequestError),
        ({}, ServerError),
    ],
)
def test_without_a_status_the_code_decides(inner: Any, error: type[UpstreamError]) -> None:
    found = parse_error(0, {"error": {"message": "x", **inner}})
    assert (type(found), found.status) == (error, None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Please try again in 1.5s.", 1.5),
        ("try again in 20ms", 0.02),
        ("try again in 6m", 360.0),
        ("try again later", None),
    ],
)
def test_a_hint_when_to_retry(text: str, seconds: float | None) -> None:
    assert parse_error(429, own(text)).retry_after_s == seconds


def test_an_own_body_goes_back_unchanged() -> None:
    body = own("x", "invalid_request_error", "model_not_found", "model")
    body["error"]["misalignment"] = {"error_type": "other"}
    assert render_error(parse_error(400, body)) == (400, body)


@pytest.mark.parametrize(
    ("error", "status", "kind", "code", "param"),
    [
        (InvalidRequestError("x", param="p"), 400, "invalid_request_error", None, "p"),
        (AuthenticationError("x"), 401, "invalid_request_error", "invalid_api_key", None),
        (BillingError("x", status=402), 429, "insufficient_quota", "insufficient_quota", None),
        (
            RequestTooLargeError("x", status=413),
            413,
            "invalid_request_error",
            "context_length_exceeded",
            None,
        ),
        (RateLimitError("x"), 429, "rate_limit_error", "rate_limit_exceeded", None),
        (OverloadedError("x", status=529, code="c"), 503, "server_error", "c", None),
        (UpstreamError("x"), 500, "server_error", "server_error", None),
        (
            ServerError("x", body={"error": {"code": 500, "message": "g", "status": "INTERNAL"}}),
            500,
            "server_error",
            "server_error",
            None,
        ),
        (
            ServerError("x", body={"type": "error", "error": {"message": "a"}}),
            500,
            "server_error",
            "server_error",
            None,
        ),
        (
            UnsupportedError("x", feature="n"),
            400,
            "invalid_request_error",
            "unsupported_parameter",
            "n",
        ),
        (MalformedRequestError("x"), 400, "invalid_request_error", None, None),
        (ProtocolError("x"), 502, "server_error", "upstream_protocol_error", None),
        (PolycallError("x"), 500, "server_error", "server_error", None),
    ],
)
def test_any_error_is_told(
    error: PolycallError, status: int, kind: str, code: str | None, param: str | None
) -> None:
    assert render_error(error) == (
        status,
        {"error": {"message": "x", "type": kind, "param": param, "code": code}},
    )
