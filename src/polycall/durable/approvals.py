"""Approvals that are asked in the database, and answered from any process."""

from __future__ import annotations

import asyncio
from typing import cast

from polycall._support import jsontext
from polycall.agents.approval_backend import Answer, ApprovalRequest
from polycall.agents.pausing import EXPIRED, Approval, ApprovalDecision, approval_key, asked
from polycall.durable.database import Database
from polycall.durable.records import decoded
from polycall.errors import RequestError
from polycall.loop import emit


class DatabaseApprovalBackend:
    """The desk of one run: it waits, and a run that begins again waits on."""

    def __init__(
        self, database: Database, run_id: str, *, ttl_s: float | None, poll_s: float
    ) -> None:
        self._database = database
        self._run_id = run_id
        self._ttl_s = ttl_s
        self._poll_s = poll_s
        self._grants: list[str] = []

    @property
    def grants(self) -> list[str]:
        """The permissions that were given for always."""
        return self._grants

    async def load(self) -> None:
        """Read what was allowed for always before."""
        made = await self._database.patiently(approvals, self._database, self._run_id)
        for approval, decision in made:
            if decision is not None and decision.always:
                self._grants.append(approval.grant)

    async def answer(self, request: ApprovalRequest) -> Answer:
        """The decision, when there is one."""
        key = approval_key(request)
        patiently = self._database.patiently
        # The code that reads the events learns what to decide about.
        await emit(await patiently(self._ask, request))
        # The answer may be given in any process, so there is nothing here that could wake this one.
        while (decision := await patiently(self._decision, key)) is None:  # noqa: ASYNC110
            await asyncio.sleep(self._poll_s)
        request.always = request.always or decision.always
        return decision.answer(request)

    def _ask(self, request: ApprovalRequest) -> Approval:
        now = float(self._database.rows(f"select {self._database.now} as now")[0]["now"])
        approval = asked(request, now, self._ttl_s)
        self._database.change(
            "insert into polycall_approvals (run_id, id, request, expires) "
            "values (:run_id, :id, :request, :expires) on conflict do nothing",
            run_id=self._run_id,
            id=approval.id,
            request=jsontext.encode(approval),
            expires=approval.expires_at,
        )
        return approval

    def _decision(self, key: str) -> ApprovalDecision | None:
        row = self._database.rows(
            "select decision, "  # noqa: S608 - our own constant
            f"coalesce(expires <= {self._database.now}, false) as is_late "
            "from polycall_approvals where run_id = :run_id and id = :id",
            run_id=self._run_id,
            id=key,
        )[0]
        if row["decision"]:
            return cast("ApprovalDecision", decoded(row["decision"], ApprovalDecision))
        if row["is_late"]:
            # Nobody's answer in time is an answer too, and stays one: it is read at the next look.
            self._database.change(
                "update polycall_approvals set decision = :decision "
                "where run_id = :run_id and id = :id and decision is null",
                decision=jsontext.encode(EXPIRED),
                run_id=self._run_id,
                id=key,
            )
        return None


def approvals(
    database: Database, run_id: str = ""
) -> list[tuple[Approval, ApprovalDecision | None]]:
    """All approvals of a run, in the order in which they were asked."""
    rows = database.rows(
        "select request, decision from polycall_approvals where run_id = :run_id", run_id=run_id
    )
    found: list[tuple[Approval, ApprovalDecision | None]] = [
        (
            decoded(row["request"], Approval),
            decoded(row["decision"], ApprovalDecision) if row["decision"] else None,
        )
        for row in rows
    ]
    return sorted(found, key=lambda pair: pair[0].asked_at)


def waiting(database: Database) -> dict[str, list[Approval]]:
    """The approvals that wait for a decision, by run."""
    rows = database.rows(
        "select run_id, request from polycall_approvals where decision is null "  # noqa: S608 - our own constant
        f"and (expires is null or expires > {database.now})"
    )
    found: dict[str, list[Approval]] = {}
    for row in rows:
        found.setdefault(row["run_id"], []).append(decoded(row["request"], Approval))
    return found


def decide(database: Database, run_id: str, approval_id: str, decision: ApprovalDecision) -> None:
    """Answer an approval; `RequestError` where it is not open."""
    changed = database.change(
        "update polycall_approvals set decision = :decision where run_id = :run_id and id = :id "  # noqa: S608 - our own constant
        f"and decision is null and (expires is null or expires > {database.now})",
        decision=jsontext.encode(decision),
        run_id=run_id,
        id=approval_id,
    )
    if changed == 0:
        open_ones = [approval.id for approval, made in approvals(database, run_id) if made is None]
        raise RequestError(
            f"run {run_id!r} has no open approval {approval_id!r}; open: "
            + (", ".join(open_ones) or "none")
        )
