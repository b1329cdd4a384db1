"""One target's request, ready to be sent, and what its refusal may mean."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from polycall._support import jsontext
from polycall.errors import (
    InvalidRequestError,
    PolycallError,
    RequestTooLargeError,
    UnsupportedError,
)
from polycall.exchange import Exchange
from polycall.gateway.passthrough.request import Fields
from polycall.gateway.routing.router import Target
from polycall.ir import Usage, Warning
from polycall.profiles.corrections import Correction, Refused, corrected, read_refusal
from polycall.translation.quirks import Quirks
from polycall.translation.wire import Dialect
from polycall.transport.base import HTTPRequest

_LOSSES = frozenset({"unsupported", "adjusted", "dropped_state"})
_HELD_BYTES_MAX = 64 * 1024  # of a body whose answer has begun


class Attempt(Struct, frozen=True):
    """One target's request, ready to be sent.  `exchange` is `None` where it is passed through."""

    target: Target
    dialect: Dialect
    http: HTTPRequest
    exchange: Exchange | None = None
    warnings: list[Warning] = []
    client_asks_usage: bool = False  # it says `stream_options` itself, rightly or wrongly
    hides_usage: bool = False  # asked for usage that the client did not ask for
    mends: bool = False  # answers of a server that may write calls, and ends, in its own way
    carries: bool = False  # the answer's state has to be carried for the client
    service_tier: str = ""  # that was asked for
    passed: Fields | None = None  # what is passed on, but for what is ours
    asked: bytes = b""  # the model's name as JSON, where a passed answer names another
    named: frozenset[str] = frozenset()  # what the request names at its provider

    def refused(self, error: PolycallError) -> Refused | None:
        """The change that a refusal of this request asks for; `None` where it asks for none."""
        if self.exchange is not None:
            return self.exchange.refused(error)
        if not isinstance(error, InvalidRequestError | RequestTooLargeError):
            return None
        if not self.http.body:  # it was made when it was sent, of what is no generation
            return None
        return read_refusal(
            error,
            jsontext.decode(self.http.body),
            self.http.headers,
            provider=self.target.provider.name,
            address=self.target.provider.base_url,
            model=self.target.model,
            dialect=self.dialect.NAME,
        )

    def corrected(self, corrections: tuple[Correction, ...], *, is_strict: bool) -> Attempt:
        """A passed request with what refusals of its target asked for."""
        if not corrections:
            return self
        http = self.http
        body, headers, warnings = corrected(jsontext.decode(http.body), http.headers, corrections)
        if not warnings:
            return self
        if is_strict:
            refuse_losses(warnings)
        http = replace(http, headers=headers, body=jsontext.encode_bytes(body))
        return replace(self, http=http, passed=None, warnings=[*self.warnings, *warnings])

    def begun(self) -> Attempt:
        """The same without a long body: its answer has begun, and may take minutes."""
        if len(self.http.body) <= _HELD_BYTES_MAX:
            return self
        http = replace(self.http, body=b"")
        exchange = None if self.exchange is None else replace(self.exchange, http=http)
        return replace(self, http=http, passed=None, exchange=exchange)

    def priced(self, usage: Usage) -> Usage:
        """The usage, at the tier that was asked for where the answer does not say which it was."""
        client_request = self.service_tier or (
            self.exchange.request.service_tier if self.exchange else ""
        )
        if usage.service_tier or not client_request:
            return usage
        return replace(usage, service_tier=client_request)


def blames_usage(attempt: Attempt, error: PolycallError) -> bool:
    """Whether the error may mean that we should not have asked for a stream's usage.

    Only an answer to the same request without it can tell: what the message quotes may be the
    client's own words, and a provider whose streams tell no usage cannot be charged for.
    """
    if attempt.client_asks_usage or (attempt.exchange is None and not attempt.hides_usage):
        return False  # what the provider refuses may be the client's own words
    if attempt.target.provider.quirks.stream_usage == "never":
        return False
    return (
        isinstance(error, InvalidRequestError)
        and "stream_options" in f"{error.message} {error.param}"
        and b'"stream_options"' in attempt.http.body
    )


def refuse_losses(warnings: list[Warning]) -> None:
    """Raise for the first warning that tells of a loss."""
    for warning in warnings:
        if warning.kind in _LOSSES:
            raise UnsupportedError(
                f"{warning.feature}: {warning.detail}; the request asked for 'polycall-strict'",
                feature=warning.feature,
                path=warning.feature,
            )


def replays_reasoning(quirks: Quirks) -> bool:
    """Whether the target wants the reasoning of its earlier answers back."""
    return quirks.reasoning_carried or quirks.reasoning_replay not in ("never", "as_written")
