"""Replies to a client besides the answer itself: headers, warnings, errors."""

from __future__ import annotations

import json
import logging
import math
import re
import time
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from msgspec.structs import replace

from polycall import errors
from polycall._support import jsontext
from polycall._support.memo import Memo
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.observability.attempt_report import AccountRefusedError
from polycall.ir import Response, ResponseStart, Warning
from polycall.translation.wire import Dialect

logger = logging.getLogger("polycall.gateway")

Headers = list[tuple[bytes, bytes]]
Dated = TypeVar("Dated", Response, ResponseStart)

WARNINGS_BYTES_MAX = 6000
_JSON = (b"content-type", b"application/json")
_NOT_IN_HEADERS = re.compile(rb"[^\x20-\x7e]")
# Statuses of HTTP itself, which no provider's protocol has words for.
_OWN_STATUSES = (405, 408, 413, 415)
_LIMIT_HEADERS = ("x-ratelimit-", "anthropic-ratelimit-")


def base_headers(gateway_request: GatewayRequest, model: str, warnings: list[Warning]) -> Headers:
    """The headers of every answer."""
    headers: Headers = [
        (b"polycall-request-id", gateway_request.id.encode()),
        *gateway_request.notes,
    ]
    if model:
        headers.append((b"polycall-model", header_value(model)))
    if warnings:
        headers.append((b"polycall-warnings", warnings_value(warnings)))
    return headers


def dated(answer: Dated) -> Dated:
    """An answer, or its first event, with a time also where its provider's protocol has none.

    To clients whose protocol has one, 0 is the year 1970.
    """
    return answer if answer.created else replace(answer, created=int(time.time()))


def upstream_headers(headers: Mapping[str, str]) -> Headers:
    """The provider's headers that a passed answer keeps."""
    return [(kept, header_value(headers[name])) for name, kept in _kept_names[tuple(headers)]]


def _kept(names: tuple[str, ...]) -> list[tuple[str, bytes]]:
    """Those of the names that are kept, and as they are sent: an answer's are those of the last."""
    kept: list[tuple[str, bytes]] = []
    for name in names:
        lower = name.lower()
        if lower.startswith(_LIMIT_HEADERS) or lower in ("request-id", "x-request-id"):
            kept.append((name, lower.encode("latin-1")))
    return kept


_kept_names = Memo(_kept)


def header_value(text: str) -> bytes:
    """Text as a header can hold it."""
    if text.isascii() and text.isprintable():
        return text.encode()
    return _NOT_IN_HEADERS.sub(b"?", text.encode("utf-8", "replace"))


def warnings_value(warnings: Iterable[Warning]) -> bytes:
    """The warnings as JSON in ASCII; what is too much for a header is counted, not cut."""
    items: list[dict[str, str]] = []
    size = 0
    left = 0
    for warning in warnings:
        item = {"kind": warning.kind, "feature": warning.feature, "detail": warning.detail}
        size += len(json.dumps(item))
        if size > WARNINGS_BYTES_MAX:
            left += 1
        else:
            items.append(item)
    if left:
        items.append({"kind": "unsupported", "feature": "more", "detail": f"{left} more warnings"})
    return json.dumps(items, separators=(",", ":")).encode()


def send_json(
    gateway_request: GatewayRequest, status: int, data: bytes, headers: Headers
) -> Coroutine[Any, Any, None]:
    """A whole JSON answer."""
    data = gateway_request.clean(data)
    if gateway_request.reshape is not None and status == 200:
        data = gateway_request.reshape.whole(data)
    said = b"\n".join([value for _, value in headers])
    if gateway_request.clean(said) is not said:  # seldom: all of them are looked through at once
        headers = [(name, gateway_request.clean(value)) for name, value in headers]
    length = (b"content-length", str(len(data)).encode())
    return gateway_request.send_whole(status, [_JSON, length, *headers], data)


def render_error(dialect: Dialect, error: errors.PolycallError) -> tuple[int, bytes]:
    """Status and body of an error, in the client's own shape."""
    status, body = dialect.render_error(error)
    return status, jsontext.encode_bytes(body)


async def send_error(
    gateway_request: GatewayRequest,
    dialect: Dialect,
    error: errors.PolycallError,
    *,
    has_retried: bool = False,
) -> int:
    """An error as the whole answer; gives its status."""
    if isinstance(error, errors.StoreError):
        logger.warning("request %s: %s", gateway_request.id, error)
        error = _store_is_away(gateway_request.id)
    status, body = render_error(dialect, error)
    is_upstream = isinstance(error, errors.UpstreamError)
    # A provider's error has a body; ours says the status that is meant.
    if is_upstream and error.body is None and error.status in _OWN_STATUSES:
        status = error.status
    if isinstance(error, AccountRefusedError):
        status = error.status_default
    headers = base_headers(gateway_request, "", [])
    headers += error_headers(error, has_retried=has_retried)
    if gateway_request.body_is_unread:
        headers.append((b"connection", b"close"))
    await send_json(gateway_request, status, body, headers)
    return status


def drop_traceback(error: BaseException | None) -> None:
    """Forget the frames that an error went through, once it was reported.

    Who had the error to raise keeps it, and its frames hold who had it, with the whole request: all
    of that would wait for the garbage collector, which comes seldom.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__context__


def error_headers(error: errors.PolycallError, *, has_retried: bool) -> Headers:
    """The headers that say when to try again after an error."""
    headers: Headers = []
    if isinstance(error, errors.UpstreamError) and error.retry_after_s is not None:
        seconds = max(0, math.ceil(error.retry_after_s))
        headers.append((b"retry-after", str(seconds).encode()))
        if not error.retry_after_s.is_integer():
            milliseconds = str(math.ceil(error.retry_after_s * 1000)).encode()
            headers.append((b"retry-after-ms", milliseconds))
    is_spent = isinstance(error, errors.RateLimitError) and not error.should_retry
    # Clients try a 5xx again by themselves, unless they learn that it is useless.
    is_lasting = isinstance(error, errors.ServerError) and not error.should_retry
    if has_retried or is_spent or is_lasting:
        headers.append((b"x-should-retry", b"false"))
    return headers


def _store_is_away(request_id: str) -> errors.OverloadedError:
    # What the database said of itself is for the operator.
    return errors.OverloadedError(
        "the gateway's store does not answer; try again "
        f"(the log has the reason under {request_id})",
        retry_after_s=1.0,
    )


def internal_error(request_id: str) -> errors.ServerError:
    """The error for our own mistakes: where to look, and nothing of the inside."""
    return errors.ServerError(
        f"the gateway failed on this request; its log has the reason under {request_id}",
        should_retry=False,
    )
