"""Every exception polycall raises on purpose.

    PolycallError
    ├── ConfigError                a configuration file with mistakes
    ├── RequestError               the caller's fault; nothing was sent
    │   ├── MalformedRequestError  a request body without the shape of its dialect
    │   ├── UnsupportedError       the target cannot express a part of the request
    │   └── SchemaError            a JSON Schema that cannot be read
    ├── UpstreamError              the provider answered with an error, or did not answer
    │   ├── InvalidRequestError    400, 422
    │   ├── AuthenticationError    401
    │   ├── BillingError           402, or a spent quota
    │   ├── PermissionDeniedError  403
    │   ├── NotFoundError          404
    │   ├── RequestTooLargeError   413, or a context window exceeded
    │   ├── RateLimitError         429
    │   ├── ServerError            500 and other failures of the provider
    │   ├── OverloadedError        503, 529
    │   ├── ModelOutputError       the model wrote something that its provider could not use
    │   ├── UpstreamTimeoutError   408, 504, or no answer within the deadline
    │   └── UpstreamConnectionError   refused, reset, no route, TLS
    ├── ToolError                  a tool cannot run, or refuses; its message is for the model
    │   ├── ToolDefinitionError    a function or schema that no tool can be made of
    │   ├── UnknownToolError       no tool of that name
    │   ├── ToolServerError        an MCP server that is not there, ended, or talks nonsense
    │   └── ArgumentsError         arguments that the tool does not take
    ├── StoreError                 the gateway's own store does not answer
    └── ProtocolError              bytes or JSON that are not what the dialect says
        ├── MalformedRequestError  (as above: both the caller's fault and not the protocol)
        ├── UnreadableCallError    a model that writes its calls as text, and not one of them well
        └── TruncatedError         the answer stopped before its end

Messages are lower case, without a full stop, and say what, where and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar


class PolycallError(Exception):
    """Base of all.  `path` names the place in the body, such as `messages[3].parts[0]`.

    `run` is the run that it ended, as far as it came; an `agents.Run`, or `None`.
    """

    run: Any = None

    def __init__(self, message: str, *, path: str = "") -> None:
        is_placed = not path or message.startswith(f"{path}: ")
        super().__init__(message if is_placed else f"{path}: {message}")
        self.message = message
        self.path = path


class AbortRunError(PolycallError):
    """Raised by a tool, it leaves the run, which ends; the model reads nothing of it."""

    leaves_run = True


class ConfigError(PolycallError):
    """A configuration file that cannot be used.  `mistakes` has a line each, with its place."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class RequestError(PolycallError):
    """The request cannot be carried out as it is; nothing was sent."""


class UnsupportedError(RequestError):
    """The target has no counterpart for a feature, and dropping it would change the answer.

    `feature` is the field as the caller wrote it.  `Request.lossy` turns the refusal into a
    `Warning`.
    """

    def __init__(self, message: str, *, feature: str, path: str = "") -> None:
        super().__init__(message, path=path)
        self.feature = feature


class SchemaError(RequestError):
    """A JSON Schema that is none, goes too deep, or refers to what it does not contain.

    `path` is the reference at fault, where it is one.
    """


class ToolError(PolycallError):
    """A tool cannot do what it was asked.

    A handler may raise it: the model reads the message as the call's result.
    """


class ToolDefinitionError(ToolError):
    """A function or schema that no tool can be made of; raised where the tool is made."""


class UnknownToolError(ToolError):
    """No tool has the name.  `registered` lists those that there are."""

    def __init__(self, message: str, *, registered: Sequence[str] = (), path: str = "") -> None:
        super().__init__(message, path=path)
        self.registered = list(registered)


class ToolServerError(ToolError):
    """A server of tools cannot be reached, ended, or does not speak its protocol."""


class ArgumentsError(ToolError):
    """Arguments that are no JSON object or do not fit the tool's schema.  Nothing was run."""


class StoreError(PolycallError):
    """The gateway's own store does not answer, or did not take a write."""


class ProtocolError(PolycallError):
    """The other side does not speak its protocol."""


class MalformedRequestError(RequestError, ProtocolError):
    """A request body that its own dialect does not allow."""


class UnreadableCallError(ProtocolError):
    """A model that writes its calls as text was asked several times, and wrote none well."""


class TruncatedError(ProtocolError):
    """A stream that ended before its protocol says it may.  What came before is incomplete."""


class UpstreamError(PolycallError):
    """The provider refused, failed or stayed silent.

    `status` is the HTTP status, or `None` where there was none (a connection failure, an error
    inside a stream).  `type` and `code` are the provider's own words.  `retry_after_s` is the
    provider's hint in seconds.  `should_retry` is true where the same request may succeed later.
    `body` is the parsed error body, for the same dialect to give back unchanged.  `was_sent` is
    true where the provider may have the whole request, and has not said that it refuses it.
    """

    was_sent = False

    status_default: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        type: str = "",
        code: str = "",
        param: str = "",
        retry_after_s: float | None = None,
        should_retry: bool | None = None,
        request_id: str = "",
        body: Any = None,
        path: str = "",
    ) -> None:
        super().__init__(message, path=path)
        self.status = status
        self.type = type
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s
        self.should_retry = self.retryable if should_retry is None else should_retry
        self.request_id = request_id
        self.body = body


class InvalidRequestError(UpstreamError):
    """The provider refused the request as written."""

    status_default = 400


class AuthenticationError(UpstreamError):
    """The provider does not know the key."""

    status_default = 401


class BillingError(UpstreamError):
    """Unpaid, or the account's quota is spent.  Waiting does not help."""

    status_default = 402


class PermissionDeniedError(UpstreamError):
    """The key may not do this."""

    status_default = 403


class NotFoundError(UpstreamError):
    """No such model or resource."""

    status_default = 404


class RequestTooLargeError(UpstreamError):
    """More bytes or tokens than the provider takes."""

    status_default = 413


class RateLimitError(UpstreamError):
    """Too many requests or tokens for now."""

    status_default = 429
    retryable = True


class ServerError(UpstreamError):
    """The provider failed."""

    status_default = 500
    retryable = True


class ModelOutputError(ServerError):
    """The model wrote a call or an answer that its provider could not use.

    The request is not at fault and the provider is not ill: asking once more may go well.
    """

    status_default = 502


class OverloadedError(UpstreamError):
    """The provider has no room for now."""

    status_default = 503
    retryable = True


class UpstreamTimeoutError(UpstreamError):
    """No answer, or no further byte of one, within the deadline."""

    status_default = 504
    retryable = True


class UpstreamConnectionError(UpstreamError):
    """The provider was not reached, or the connection broke."""

    status_default = 502
    retryable = True


_BY_STATUS: dict[int, type[UpstreamError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    402: BillingError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: NotFoundError,
    408: UpstreamTimeoutError,
    409: ServerError,
    413: RequestTooLargeError,
    422: InvalidRequestError,
    429: RateLimitError,
    500: ServerError,
    502: ServerError,
    503: OverloadedError,
    504: UpstreamTimeoutError,
    529: OverloadedError,
}


def error_class_for_status(status: int) -> type[UpstreamError]:
    """The class for an HTTP status; any unlisted 4xx is the request's fault, 5xx the server's."""
    known = _BY_STATUS.get(status)
    if known is not None:
        return known
    return InvalidRequestError if 400 <= status < 500 else ServerError
