"""Durable runs of a database, and clients' programs that wait in the gateway."""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct, to_builtins

from polycall.admin.fields import Query, read
from polycall.errors import InvalidRequestError, NotFoundError
from polycall.gateway.store.audit_operations import record
from polycall.ir import JSON

if TYPE_CHECKING:
    from polycall.admin.administration import Call
    from polycall.durable import Runs

_STATES = ("queued", "running", "waiting", "finished", "failed", "cancelled")
_RUNS_MAX = 200


class Allow(Struct, forbid_unknown_fields=True):
    """A yes to a call, as it was looked at; with `arguments`, to a call with those."""

    approval: str
    digest: str = ""
    always: bool = False
    arguments: JSON | None = None


class Deny(Struct, forbid_unknown_fields=True):
    """A no to a call; the model reads the reason."""

    approval: str
    reason: str = ""


class RunAdministration:
    """The database of durable runs, opened with the first question.  `close` it at the end."""

    def __init__(self) -> None:
        self._runs: Runs | None = None
        self._url = ""
        self._lock = asyncio.Lock()

    async def opened(self, url: str) -> Runs:
        """The runs; `InvalidRequestError` where none are configured."""
        if not url:
            raise InvalidRequestError(
                'no database of durable runs is configured; write [admin] runs = "sqlite:///runs.db"',
                code="no_runs",
            )
        async with self._lock:
            if self._runs is None or self._url != url:
                await self._closed()
                try:
                    durable = await asyncio.to_thread(importlib.import_module, "polycall.durable")
                except ModuleNotFoundError as error:
                    raise InvalidRequestError(
                        f"{error.name} is missing; install 'polycall[durable]'", code="no_runs"
                    ) from None
                runs = cast("Runs", durable.Runs(url))
                await runs.__aenter__()
                self._runs, self._url = runs, url
            return self._runs

    async def close(self) -> None:
        """Let go of the database."""
        async with self._lock:
            await self._closed()

    async def _closed(self) -> None:
        runs, self._runs = self._runs, None
        if runs is not None:
            await runs.__aexit__(None, None, None)


async def list_runs(call: Call) -> JSON:
    """The newest runs first."""
    query = Query(call.query, frozenset({"state", "limit"}))
    state = query.text("state")
    if state and state not in _STATES:
        raise InvalidRequestError(f"state is one of {', '.join(_STATES)}, not {state!r:.100}")
    if not call.settings.runs:
        return {"runs": [], "configured": False}
    runs = await call.runs.opened(call.settings.runs)
    found = await runs.list(state=cast("Any", state or None), limit=query.count("limit", 50, 200))
    return {"runs": [_run_json(each) for each in found], "configured": True}


async def show_run(call: Call) -> JSON:
    """One run: steps, tasks, open approvals."""
    Query(call.query, frozenset())
    runs = await call.runs.opened(call.settings.runs)
    return await _shown(runs, call.names["run"])


async def allow(call: Call) -> JSON:
    """Let a call run, perhaps with other arguments."""
    fields = read(Allow, call.body)
    runs, run_id = await call.runs.opened(call.settings.runs), call.names["run"]
    detail: JSON = {"approval": fields.approval, "always": fields.always}
    detail["arguments"] = fields.arguments
    await _note(call, "run.allow", run_id, detail)
    await runs.allow(
        run_id,
        fields.approval,
        always=fields.always,
        arguments=fields.arguments,
        digest=fields.digest,
    )
    return await _shown(runs, run_id)


async def deny(call: Call) -> JSON:
    """Refuse a call."""
    fields = read(Deny, call.body)
    runs, run_id = await call.runs.opened(call.settings.runs), call.names["run"]
    detail = {"approval": fields.approval, "reason": fields.reason}
    await _note(call, "run.deny", run_id, detail)
    await runs.deny(run_id, fields.approval, fields.reason)
    return await _shown(runs, run_id)


async def cancel(call: Call) -> JSON:
    """Stop a run and its tasks."""
    runs, run_id = await call.runs.opened(call.settings.runs), call.names["run"]
    await runs.show(run_id)
    await _note(call, "run.cancel", run_id, {})
    await runs.cancel(run_id)
    return await _shown(runs, run_id)


async def resume(call: Call) -> JSON:
    """Let a run that was cancelled, or failed, continue."""
    runs, run_id = await call.runs.opened(call.settings.runs), call.names["run"]
    await runs.show(run_id)
    await _note(call, "run.resume", run_id, {})
    await runs.resume(run_id)
    return await _shown(runs, run_id)


async def _note(call: Call, action: str, target: str, detail: Mapping[str, Any]) -> None:
    """Write the act down before it is done: it is in another database than the log."""
    operation = record(call.by, action, target, detail, now=time.time())
    await call.gateway.store.change(operation)


async def _shown(runs: Runs, run_id: str) -> JSON:
    info = await runs.show(run_id)
    steps, tasks = await runs.steps(run_id), await runs.tasks(run_id)
    return {
        **_run_json(info),
        "steps": [{"name": name, "seconds": seconds} for name, seconds in steps],
        "tasks": [to_builtins(task, str_keys=True) for task in tasks],
    }


def _run_json(info: Any) -> JSON:
    shown: JSON = to_builtins(info, str_keys=True)
    shown["approvals"] = [
        {**to_builtins(each, str_keys=True), "digest": each.digest} for each in info.approvals
    ]
    return shown


# Programs of clients, in the gateway's own store


async def list_programs(call: Call) -> JSON:
    """Clients' programs, the newest first: which wait, and for which tools."""
    Query(call.query, frozenset())
    waiting = await _waiting()
    found = await waiting.programs(call.gateway.store, _RUNS_MAX)
    names = {record.row.id: record.row.name for record in (await call.gateway.store.keys())[1]}
    shown = [{**to_builtins(each), "key": names.get(each.owner, each.owner)} for each in found]
    return {"programs": shown}


async def _waiting() -> ModuleType:
    # Programs bring the sandbox along, which not every gateway needs.
    return await asyncio.to_thread(importlib.import_module, "polycall.gateway.programs.waiting")


async def cancel_program(call: Call) -> JSON:
    """Give up a program that waits; its client learns it with its next request."""
    program = call.names["program"]
    waiting = await _waiting()
    if not await waiting.cancel(call.gateway.store, program, _RUNS_MAX, call.by):
        raise NotFoundError(f"no program {program!r:.100} waits here")
    return {"status": "cancelled"}
