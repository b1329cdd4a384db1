"""The record of one request: the ledger's row, whatever became of the request."""

from __future__ import annotations

import time
from typing import Protocol

from msgspec import to_builtins

from polycall._support import jsontext
from polycall.gateway.accounts.keys import ANYBODY
from polycall.gateway.accounts.limits import Reservation
from polycall.gateway.generation.request_usage import RequestUsage
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.observability.attempt_report import outcome_of, words_of
from polycall.gateway.store import LedgerRow
from polycall.ir import JSON, Usage

CLIENT_GONE_STATUS = 499
_COUNT_MAX = 2**53
_NO_COUNTS: tuple[int | None, ...] = (None,) * 5
_ERROR_MAX = 500
_DETAILS_MAX = 20
_DETAILS_LENGTH_MAX = 30_000


class Recorded(Protocol):
    """The fields of a row that any kind of request has."""

    @property
    def model(self) -> str: ...
    @property
    def streams(self) -> bool: ...
    def estimate_input(self) -> int: ...


class RequestRecord:
    """The values that a row is made of."""

    def __init__(self, gateway_request: GatewayRequest, client: str, worker: str) -> None:
        """`client` is the protocol that the request came in."""
        self.gateway_request = gateway_request
        self.given_again = ""  # the model of an answer from the cache
        self._worker = worker
        self._client = client
        self.account = RequestUsage()
        self.owner = ANYBODY
        self.is_known = False  # the owner is who asks
        self.client_request: Recorded | None = None
        self.hold: Reservation | None = None
        self.status = 200

    def row(self) -> LedgerRow:
        account, client_request, owner = self.account, self.client_request, self.owner
        began_at = self.gateway_request.started_at
        is_broken_off = self.status == CLIENT_GONE_STATUS or self.status < 400
        if client_request is not None and account.outcome != "ok" and is_broken_off:
            account.settle(client_request.estimate_input)
        now = time.monotonic()
        provider = model = ""
        warnings = 0
        if account.attempt is not None:
            target = account.attempt.target
            provider, model = target.provider.name, storable(target.model)
            warnings = len(account.attempt.warnings)
        tokens_in, tokens_out, cached, cache_written, reasoning = storable_counts(account.usage)
        cost, first_at, team = account.cost, account.first_at, owner.team
        # By their places: so many names would be a dict for each request.
        return LedgerRow(
            self.gateway_request.id,
            time.time(),
            owner.name,
            self._client,
            "" if client_request is None else storable(client_request.model),
            provider,
            model,
            int(client_request is not None and client_request.streams),
            self.status,
            account.outcome,
            account.attempts,
            tokens_in,
            tokens_out,
            cached,
            cache_written,
            reasoning,
            int(account.is_estimate),
            None if cost is None else f"{cost:f}",
            _milliseconds(now - began_at),
            _milliseconds(first_at - began_at) if first_at else None,
            owner.id,
            self._worker,
            account.calls,
            warnings,
            account.error and storable(account.error, _ERROR_MAX),
            "" if team is None else team.id,
            self._details() if warnings or account.failed else "",
        )

    def _details(self) -> str:
        """The further values of the row, as JSON."""
        account = self.account
        warnings = [] if account.attempt is None else account.attempt.warnings
        began_at = self.gateway_request.started_at
        details: JSON = {
            "warnings": [to_builtins(warning) for warning in warnings[:_DETAILS_MAX]],
            "attempts": [
                {
                    "target": failed.target.name,
                    "key": failed.target.key_number,
                    "began_ms": round((failed.began_at - began_at) * 1000, 2),
                    "ended_ms": round((failed.ended_at - began_at) * 1000, 2),
                    "outcome": outcome_of(failed.error),
                    "error": words_of(failed.error),
                }
                for failed in account.failed[:_DETAILS_MAX]
            ],
        }
        if account.began_at and account.is_under_way:
            details["began_ms"] = round((account.began_at - began_at) * 1000, 2)
        return storable(jsontext.encode(details), _DETAILS_LENGTH_MAX)


def _milliseconds(seconds: float) -> float:
    """With two places, as `round` gives them in ten times as long."""
    return int(seconds * 100_000 + 0.5) / 100


def storable_counts(usage: Usage) -> tuple[int | None, ...]:
    """Counts, which are the provider's word, as every database takes them."""
    if not usage.is_reported:
        return _NO_COUNTS
    numbers = (
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
    )
    if min(numbers) >= 0 and max(numbers) <= _COUNT_MAX:
        return numbers
    return tuple([storable_count(n) for n in numbers])


def storable_count(number: int) -> int:
    """A count, which is the provider's word, as every database takes it."""
    return max(0, min(number, _COUNT_MAX))


def storable(name: str, length_max: int = 300) -> str:
    """A text of the client's or the provider's, as every database takes it."""
    if not name.isascii() or "\0" in name:
        name = name.encode("utf-8", "replace").decode().replace("\0", "�")
    return name[:length_max]
