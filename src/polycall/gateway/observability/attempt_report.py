"""Reports of attempts for the operator: a log line for each failure, and a count of all.

Words of providers are for the log and the ledger.  A client reads of its own mistakes only: where
a provider refuses the gateway's key, the key is not the client's.
"""

from __future__ import annotations

import logging
import re

from polycall import errors
from polycall.gateway.observability.logs import redact
from polycall.gateway.observability.metrics import Metrics
from polycall.gateway.routing.router import Target

logger = logging.getLogger("polycall.attempts")

_WORDS_MAX = 500
_NOT_IN_A_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# Providers repeat what they refuse: signatures and encrypted state of a client's history.
_SEALED = re.compile(r"[A-Za-z0-9+/_=-]{32,}")
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_REFUSALS = (errors.AuthenticationError, errors.PermissionDeniedError, errors.BillingError)


class AccountRefusedError(errors.ServerError):
    """A provider refuses the gateway's own account: a bad gateway, in every client's protocol."""

    status_default = 502


def words_of(error: BaseException) -> str:
    """The error's text, in one bounded line without a key in it."""
    plain = _SEALED.sub("[redacted]", redact(str(error)))
    text = _NOT_IN_A_LINE.sub(" ", plain).strip() or type(error).__name__
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= _WORDS_MAX else text[: _WORDS_MAX - 1] + "…"


def outcome_of(error: BaseException) -> str:
    """The kind of a failure as a label: `rate_limit`, `overloaded`, `authentication`, ..."""
    return _CAPITAL.sub("_", type(error).__name__.removesuffix("Error")).lower()


def report_failure(
    request_id: str, target: Target, error: errors.PolycallError, metrics: Metrics
) -> None:
    """Log an attempt that failed, and count it."""
    status = error.status if isinstance(error, errors.UpstreamError) else None
    metrics.count_attempt(target.provider.name, outcome_of(error))
    details = {
        "request_id": request_id,
        "provider": target.provider.name,
        "model": target.model,
        "status": status,
        "error": outcome_of(error),
    }
    logger.warning(
        "request %s: %s/%s failed, status %s, %s: %s",
        request_id,
        target.provider.name,
        target.model,
        "none" if status is None else status,
        outcome_of(error),
        words_of(error),
        extra={"details": details},
    )


def for_client(
    error: errors.PolycallError, target: Target | None, request_id: str
) -> errors.PolycallError:
    """The error as the client may read it: no refusal of the gateway's own key."""
    if target is None or not isinstance(error, _REFUSALS):
        return error
    return AccountRefusedError(
        f"the gateway's account at the provider {target.provider.name!r} was refused "
        f"({outcome_of(error)}); the gateway's operator must mend that, and your key is not at "
        f"fault (the log has the reason under {request_id})",
        should_retry=False,
    )
