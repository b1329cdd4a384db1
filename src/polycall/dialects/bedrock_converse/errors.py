"""Errors, both ways: `{"message", "__type"}`, and exceptions inside of a stream.

AWS says the type in a header; clients take it from the body as well, where `__type` says it.
"""

from __future__ import annotations

import re
from typing import Any

from polycall.errors import (
    AuthenticationError,
    BillingError,
    InvalidRequestError,
    ModelOutputError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    PolycallError,
    ProtocolError,
    RateLimitError,
    RequestError,
    RequestTooLargeError,
    ServerError,
    UpstreamConnectionError,
    UpstreamError,
    UpstreamTimeoutError,
    error_class_for_status,
)
from polycall.ir import JSON
from polycall.translation.error_bodies import (
    decoded,
    error_fields,
    error_message,
    is_overflow,
    nearest,
    word,
)
from polycall.translation.failures import blamed

# botocore 1.44's exceptions of the runtime, and those of AWS's door.
_CLASSES: dict[str, type[UpstreamError]] = {
    "accessdeniedexception": PermissionDeniedError,
    "conflictexception": InvalidRequestError,
    "expiredtokenexception": AuthenticationError,
    "incompletesignatureexception": AuthenticationError,
    "internalserverexception": ServerError,
    "invalidsignatureexception": AuthenticationError,
    "missingauthenticationtokenexception": AuthenticationError,
    "modelerrorexception": ServerError,
    "modelnotreadyexception": OverloadedError,
    "modelstreamerrorexception": ServerError,
    "modeltimeoutexception": UpstreamTimeoutError,
    "resourcenotfoundexception": NotFoundError,
    "servicequotaexceededexception": RateLimitError,
    "serviceunavailableexception": OverloadedError,
    "throttlingexception": RateLimitError,
    "unrecognizedclientexception": AuthenticationError,
    "validationexception": InvalidRequestError,
}
_WIRE: dict[type[UpstreamError], tuple[int, str]] = {
    InvalidRequestError: (400, "ValidationException"),
    AuthenticationError: (403, "UnrecognizedClientException"),
    BillingError: (400, "ServiceQuotaExceededException"),
    PermissionDeniedError: (403, "AccessDeniedException"),
    NotFoundError: (404, "ResourceNotFoundException"),
    RequestTooLargeError: (400, "ValidationException"),
    RateLimitError: (429, "ThrottlingException"),
    OverloadedError: (503, "ServiceUnavailableException"),
    UpstreamTimeoutError: (408, "ModelTimeoutException"),
    ModelOutputError: (424, "ModelErrorException"),
    UpstreamConnectionError: (503, "ServiceUnavailableException"),
    ServerError: (500, "InternalServerException"),
}
_IN_STREAM = frozenset(
    {
        "internalServerException",
        "modelStreamErrorException",
        "validationException",
        "throttlingException",
        "serviceUnavailableException",
    }
)
_NO_KEY = re.compile(
    r"security token|signature (expired|not yet current)|does not match the signature"
    r"|authentication (failed|token)|bearer token|api key",
    re.IGNORECASE,
)


def is_error(body: JSON) -> bool:
    """Whether a body is an error, whatever its status was."""
    return "output" not in body and ("__type" in body or "message" in body or "Message" in body)


def parse_error(status: int, body: Any, kind: str = "") -> UpstreamError:
    """The error that a provider answered with; `kind` is the type where a stream says it."""
    read = decoded(body)
    fields = error_fields(read)
    kind = kind or word(fields.get("__type")) or word(fields.get("code"))
    kind = kind.rpartition("#")[2].partition(":")[0]
    message = error_message(fields, read, status)
    known = _CLASSES.get(kind.lower())
    if known is None:
        known = error_class_for_status(status) if status >= 400 else ServerError
        if status == 424:
            known = ServerError
    if known is PermissionDeniedError and _NO_KEY.search(message):
        known = AuthenticationError
    if known is InvalidRequestError and is_overflow(message):
        known = RequestTooLargeError
    return blamed(known, fields, kind, message)(message, status=status, type=kind, body=body)


def render_error(error: PolycallError) -> tuple[int, JSON]:
    """Status and body for a client of this dialect."""
    status, kind = _status_and_type(error)
    message = str(error)
    if isinstance(error, UpstreamError):
        body: Any = error.body
        if isinstance(body, dict) and "__type" in body and isinstance(body.get("message"), str):  # pyright: ignore[reportUnknownMemberType]
            return (error.status if (error.status or 0) >= 400 else status) or status, body  # pyright: ignore[reportUnknownVariableType]
        if isinstance(error, RequestTooLargeError) and not message.startswith("Input is too long"):
            message = f"Input is too long for requested model: {message}"
    return status, {"message": message, "__type": kind}


def _status_and_type(error: PolycallError) -> tuple[int, str]:
    if isinstance(error, UpstreamError):
        return nearest(error, _WIRE) or (500, "InternalServerException")
    if isinstance(error, RequestError):
        return 400, "ValidationException"
    if isinstance(error, ProtocolError):
        return 424, "ModelErrorException"
    return 500, "InternalServerException"


def stream_exception(error: PolycallError) -> tuple[str, JSON]:
    """The exception that ends a stream, and its payload."""
    _, body = render_error(error)
    kind = str(body["__type"])
    kind = kind[:1].lower() + kind[1:]
    if kind not in _IN_STREAM:
        kind = (
            "modelStreamErrorException" if kind.startswith("model") else "internalServerException"
        )
    return kind, {"message": body["message"]}
