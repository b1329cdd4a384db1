"""The record of one request's usage, attempts and end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from polycall.errors import PolycallError, TruncatedError
from polycall.gateway.generation.attempt import Attempt
from polycall.gateway.generation.attempts import AttemptRunner, FailedAttempt
from polycall.gateway.observability.attempt_report import words_of
from polycall.gateway.routing.router import Target
from polycall.ir import Usage


class RequestUsage(Struct, eq=False):
    """The usage of one request, filled in as it runs."""

    usage: Usage = Usage()
    is_estimate: bool = False
    calls: int = 0
    steps: int = 0  # events or frames of a stream so far: about a token each
    has_ended: bool = False  # the usage is of a whole answer
    attempt: Attempt | None = None
    attempts: int = 0
    is_under_way: bool = False  # a provider was asked, and did not refuse or fail
    lost: list[Target] = []  # attempts that gave nothing, and may cost something
    failed: list[FailedAttempt] = []
    began_at: float = 0.0  # when the last attempt began
    # Sets aside for one more answer of a model, where the client's key is limited.
    reserve: Callable[[], Awaitable[None]] | None = None
    outcome: str = "ok"
    error: str = ""  # what went wrong, in words
    first_at: float = 0.0
    cost: Decimal | None = None
    reckoned: Usage | None = None  # whose cost was asked for, and may be unknown
    is_sum: bool = False  # of several answers, and where one has no price, the sum has none

    def note(self, runner: AttemptRunner) -> None:
        """Note the attempts."""
        self.attempt, self.attempts = runner.attempt, runner.attempts
        self.is_under_way = runner.is_under_way
        self.lost = runner.lost
        self.failed, self.began_at = runner.failed, runner.began_at

    def fail(self, error: PolycallError) -> None:
        """The answer ended by this."""
        self.outcome = "truncated" if isinstance(error, TruncatedError) else "error"
        self.error = words_of(error)

    def settle(self, estimate_input: Callable[[], int]) -> None:
        """Estimate the usage of an answer that was cut off, as far as the provider did not report
        it.
        """
        is_reported = self.has_ended and self.usage.is_reported
        if is_reported or not self.is_under_way:
            return
        self.usage = broken_off(self.usage, self.steps, estimate_input)
        self.is_estimate = True


def broken_off(reported: Usage, steps: int, estimate_input: Callable[[], int]) -> Usage:
    """The usage of an answer without an end; the reported usage is of its beginning."""
    return replace(
        reported,
        input_tokens=reported.input_tokens or estimate_input(),
        output_tokens=max(reported.output_tokens, steps),
    )
