"""Error bodies, both ways."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.dialects import gemini
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
    TruncatedError,
    UnsupportedError,
    UpstreamConnectionError,
    UpstreamError,
    UpstreamTimeoutError,
)

RPC = "type.googleapis.com/google.rpc."


def body(code: int, status: str, message: str = "m", *details: dict[str, Any]) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message, "status": status}
    return {"error": {**error, "details": list(details)} if details else error}


def info(reason: str) -> dict[str, Any]:
    return {"@type": f"{RPC}ErrorInfo", "reason": reason}


@pytest.mark.parametrize(
    ("status", "wire", "kind"),
    [
        (400, body(400, "INVALID_ARGUMENT"), InvalidRequestError),
        (400, body(400, "INVALID_ARGUMENT", "m", info("API_KEY_INVALID")), AuthenticationError),
        (401, body(401, "UNAUTHENTICATED"), AuthenticationError),
        (403, body(403, "PERMISSION_DENIED"), PermissionDeniedError),
        (403, body(403, "PERMISSION_DENIED", "m", info("BILLING_DISABLED")), BillingError),
        (404, body(404, "NOT_FOUND"), NotFoundError),
        (429, body(429, "RESOURCE_EXHAUSTED"), RateLimitError),
        (500, body(500, "INTERNAL"), ServerError),
        (503, body(503, "UNAVAILABLE"), OverloadedError),
        (504, body(504, "DEADLINE_EXCEEDED"), UpstreamTimeoutError),
        (200, body(503, "UNAVAILABLE"), OverloadedError),
        (200, {"error": {"message": "m", "status": "PERMISSION_DENIED"}}, PermissionDeniedError),
        (
            400,
            body(
                400,
                "INVALID_ARGUMENT",
                "The input token count (2000000) exceeds the maximum number of tokens allowed",
            ),
            RequestTooLargeError,
        ),
    ],
)
def test_kinds_of_errors(status: int, wire: dict[str, Any], kind: type[UpstreamError]) -> None:
    error = gemini.parse_error(status, wire)
    assert type(error) is kind
    assert error.message == wire["error"]["message"]
    assert isinstance(error, UpstreamError)
    assert error.type == wire["error"]["status"]
    assert error.body == wire


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [("13s", 13.0), ("34.4s", 34.4), ({"seconds": 2, "nanos": 500000000}, 2.5), ("soon", None)],
)
def test_the_delay_before_a_retry(delay: Any, seconds: float | None) -> None:
    detail = {"@type": f"{RPC}RetryInfo", "retryDelay": delay}
    error = gemini.parse_error(429, [body(429, "RESOURCE_EXHAUSTED", "m", detail)])
    assert isinstance(error, RateLimitError)
    assert (error.retry_after_s, error.message) == (seconds, "m")


def test_the_field_at_fault() -> None:
    violations = [{"field": "contents[1]", "description": "missing"}]
    detail = {"@type": f"{RPC}BadRequest", "fieldViolations": violations}
    error = gemini.parse_error(400, body(400, "INVALID_ARGUMENT", "m", detail))
    assert isinstance(error, InvalidRequestError)
    assert error.param == "contents[1]"


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        ("<html>bad gateway</html>", "<html>bad gateway</html>"),
        (b"caf\xe9", "caf\ufffd"),
        (None, "the provider answered with status 502"),
        ([], "the provider answered with status 502"),
        ({"error": "text"}, "text"),
        ({"error": 3}, '{"error":3}'),
        ({"message": "flat"}, "flat"),
        ({"error": {"message": "m", "details": 3, "code": True}}, "m"),
        ({"error": {"message": "m", "details": [3, {"@type": 3}]}}, "m"),
    ],
)
def test_bodies_of_any_shape(wire: Any, message: str) -> None:
    error = gemini.parse_error(502, wire)
    assert type(error) is ServerError
    assert error.message == message


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (UnsupportedError("no", feature="x"), 400, "INVALID_ARGUMENT"),
        (ProtocolError("no"), 502, "UNAVAILABLE"),
        (TruncatedError("no"), 502, "UNAVAILABLE"),
        (PolycallError("no"), 500, "INTERNAL"),
        (AuthenticationError("no"), 401, "UNAUTHENTICATED"),
        (InvalidRequestError("no", status=422), 422, "INVALID_ARGUMENT"),
        (OverloadedError("no", status=529), 503, "UNAVAILABLE"),
        (UpstreamTimeoutError("no"), 504, "DEADLINE_EXCEEDED"),
        (UpstreamConnectionError("no"), 502, "UNAVAILABLE"),
        (ServerError("no", status=520), 520, "INTERNAL"),
        (NotFoundError("no", body={"error": {"code": "model_not_found"}}), 404, "NOT_FOUND"),
    ],
)
def test_errors_for_a_client(error: PolycallError, status: int, name: str) -> None:
    wanted = {"error": {"code": status, "message": "no", "status": name}}
    assert gemini.render_error(error) == (status, wanted)


def test_details_for_a_client() -> None:
    status, wire = gemini.render_error(MalformedRequestError("no", path="contents[0]"))
    violation = {"field": "contents[0]", "description": "no"}
    assert (status, wire["error"]["details"]) == (
        400,
        [{"@type": f"{RPC}BadRequest", "fieldViolations": [violation]}],
    )
    _, wire = gemini.render_error(RateLimitError("no", retry_after_s=1.5))
    assert wire["error"]["details"] == [{"@type": f"{RPC}RetryInfo", "retryDelay": "1.5s"}]


@pytest.mark.parametrize(
    ("error", "status", "name", "reason"),
    [
        (BillingError("no"), 429, "RESOURCE_EXHAUSTED", "BILLING_DISABLED"),
        (RequestTooLargeError("no", status=413), 400, "INVALID_ARGUMENT", "REQUEST_TOO_LARGE"),
    ],
)
def test_errors_without_a_status_of_their_own_have_a_reason(
    error: PolycallError, status: int, name: str, reason: str
) -> None:
    detail = {"@type": f"{RPC}ErrorInfo", "reason": reason, "domain": "polycall"}
    rendered = gemini.render_error(error)
    assert rendered == (status, body(status, name, "no", detail))
    assert type(gemini.parse_error(*rendered)) is type(error)


def test_its_own_body_goes_back_as_it_came() -> None:
    wire = body(429, "RESOURCE_EXHAUSTED", "m", info("RATE_LIMIT_EXCEEDED"))
    assert gemini.render_error(gemini.parse_error(429, wire)) == (429, wire)
    assert gemini.render_error(gemini.parse_error(429, [wire])) == (429, wire)
