"""Approvals whose answer comes by another HTTP request."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from polycall.agents import ApprovalRequest, PausedRun
from polycall.errors import RequestError


class Verdict(Struct, frozen=True):
    """What a person said to an approval."""

    allowed: bool
    reason: str = ""


class Approvals:
    """Requests of runs that go on in this process, until each is answered.

    Give it to the function that streams a run; a later request answers by `answer`.  An id is
    that of the approval event.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, ApprovalRequest] = {}

    def add(self, request: ApprovalRequest) -> None:
        """Keep a request until it is answered."""
        self._waiting[request.call_id] = request

    def answer(self, approval_id: str, verdict: Verdict) -> None:
        """Answer a request; `RequestError` where none of this id waits."""
        request = self._waiting.pop(approval_id, None)
        if request is None:
            known = ", ".join(map(repr, self._waiting)) or "none"
            raise RequestError(f"no approval {approval_id!r} waits here; waiting: {known}")
        if verdict.allowed:
            request.allow()
        else:
            request.deny(verdict.reason)

    def drop(self, request: ApprovalRequest) -> None:
        """Refuse a request whose reader has left."""
        if self._waiting.pop(request.call_id, None) is not None:
            request.deny("the person who was asked has left")


def decide(paused: PausedRun, verdicts: Mapping[str, Verdict]) -> None:
    """Decide a paused run's approvals as a browser did; ids that it does not have are refused."""
    for approval_id, verdict in verdicts.items():
        if verdict.allowed:
            paused.allow(approval_id)
        else:
            paused.deny(approval_id, verdict.reason)
