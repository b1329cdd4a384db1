"""Approvals whose answer comes by another HTTP request."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Protocol

import msgspec
from msgspec import Struct
from typing_extensions import TypeVar

from polycall._support import jsontext
from polycall.agents import Approval, ApprovalRequest, PausedRun
from polycall.errors import RequestError

StreamT_co = TypeVar("StreamT_co", covariant=True)


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


class DurableRuns(Protocol[StreamT_co]):
    """`Durable`, or `Runs` of its database."""

    async def approvals(self, run_id: str) -> list[Approval]: ...

    async def allow(self, run_id: str, approval_id: str) -> None: ...

    async def deny(self, run_id: str, approval_id: str, reason: str = "") -> None: ...

    def handle(self, run_id: str) -> DurableHandle[StreamT_co]: ...


class DurableHandle(Protocol[StreamT_co]):
    """A run of it."""

    def stream(self, *, after: int = 0) -> StreamT_co: ...


async def answer_durable(
    runs: DurableRuns[StreamT_co], verdicts: Mapping[str, Verdict]
) -> tuple[str, StreamT_co]:
    """Answer what a durable run waits for; its id, and its events after the question.

    For answers to `on_approval="interrupt"`.  The first answer counts; a later one only reads on.
    `RequestError` where the ids are not those that such an answer gave.
    """
    run_id, position = "", 0
    for asked, verdict in verdicts.items():
        run_id, position, approval_id = _of_durable_id(asked)
        if approval_id not in [each.id for each in await runs.approvals(run_id)]:
            continue
        if verdict.allowed:
            await runs.allow(run_id, approval_id)
        else:
            await runs.deny(run_id, approval_id, verdict.reason)
    if not run_id:
        raise RequestError("there is no answer to an approval in this request")
    return run_id, runs.handle(run_id).stream(after=position)


def durable_id(run_id: str, position: int, approval_id: str) -> str:
    """By which a browser answers an approval: it tells where the run's events go on."""
    text = jsontext.encode([run_id, position, approval_id])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _of_durable_id(asked: str) -> tuple[str, int, str]:
    try:
        data = base64.urlsafe_b64decode(asked + "=" * (-len(asked) % 4))
        return msgspec.json.decode(data, type=tuple[str, int, str])
    except (ValueError, msgspec.MsgspecError):
        raise RequestError(f"{asked[:80]!r} is no approval of a durable run") from None


def decide(paused: PausedRun, verdicts: Mapping[str, Verdict]) -> None:
    """Decide a paused run's approvals as a browser did; ids that it does not have are refused."""
    for approval_id, verdict in verdicts.items():
        if verdict.allowed:
            paused.allow(approval_id)
        else:
            paused.deny(approval_id, verdict.reason)
