"""A process renews its lease while it is its own, and no longer once another has claimed it."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from polycall.durable.database import Database
from polycall.durable.lease import Lease, _runs, _started


class NoWork:
    """Stands for DBOS's client where nothing is pending; the lease asks it for nothing else."""

    def list_workflows(self, **options: Any) -> list[Any]:
        assert options["status"] == "PENDING"
        return []


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    made = Database(url)
    made.create()
    yield made
    made.engine.dispose()


def lease(database: Database, name: str, lease_s: float = 60.0) -> Lease:
    client: Any = NoWork()
    made = Lease(database, client, name, lease_s=lease_s, on_lost=lambda: None)
    made._register()
    return made


def row(database: Database, name: str) -> Any:
    found = database.rows(
        "select id, seen, taken_by from polycall_executors where id = :id", id=name
    )
    return found[0]


def test_a_lease_is_renewed_until_another_process_claims_it(database: Database) -> None:
    slow, other = lease(database, "slow"), lease(database, "other")
    assert slow._renew()
    assert other._claim(row(database, "slow"))
    claimed = row(database, "slow")
    assert claimed["taken_by"] == "other"
    assert not slow._renew()
    assert row(database, "slow") == claimed


def test_of_two_that_claim_at_once_one_succeeds(database: Database) -> None:
    lease(database, "dead")
    found = row(database, "dead")
    claims = [lease(database, name)._claim(found) for name in ("a", "b")]
    assert claims == [True, False]


def test_a_claim_fails_if_the_process_renewed_meanwhile(database: Database) -> None:
    alive, other = lease(database, "alive"), lease(database, "other")
    database.change("update polycall_executors set seen = 5.0 where id = 'alive'")
    found = row(database, "alive")
    assert alive._renew()
    assert not other._claim(found)


def test_a_claim_of_a_process_that_died_meanwhile_ends_with_the_lease(database: Database) -> None:
    lease(database, "dead")
    found = row(database, "dead")
    assert lease(database, "a", lease_s=60.0)._claim(found)
    database.change("update polycall_executors set taken_at = taken_at - 30 where id = 'dead'")
    assert not lease(database, "b", lease_s=60.0)._claim(found)
    assert lease(database, "c", lease_s=20.0)._claim(found)


async def test_a_lease_that_began_now_is_not_taken_for_lost(database: Database) -> None:
    lost: list[str] = []
    client: Any = NoWork()
    mine = Lease(database, client, "mine", lease_s=60.0, on_lost=lambda: lost.append("mine"))
    await mine.begin()
    seen = row(database, "mine")["seen"]
    keeping = asyncio.ensure_future(mine.keep())
    async with asyncio.timeout(20):
        while row(database, "mine")["seen"] == seen:
            await asyncio.sleep(0.01)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    assert lost == []


class Orphans(NoWork):
    """Two workflows of a process that is gone; another takes the second one first."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str], str]] = []
        self._sys_db = SimpleNamespace(reenqueue_for_recovery=self._reenqueue)

    def list_workflows(self, **options: Any) -> list[Any]:
        # Inputs and outputs may be large, and are unpickled where they are loaded.
        assert options["load_input"] is options["load_output"] is False
        assert options["executor_id"] == "gone"
        return [SimpleNamespace(workflow_id=name) for name in ("run-1", "run-2")]

    def _reenqueue(self, name: str, executors: list[str], queue: str) -> bool:
        self.asked.append((name, executors, queue))
        return name == "run-1"


def test_of_a_gone_process_each_run_is_put_back_once(database: Database) -> None:
    orphans: Any = Orphans()
    mine = Lease(database, orphans, "mine", lease_s=60.0, on_lost=lambda: None)
    assert mine._recover("gone") == 1
    assert [name for name, *_ in orphans.asked] == ["run-1", "run-2"]
    assert {tuple(executors) for _, executors, _ in orphans.asked} == {("gone",)}


@pytest.mark.parametrize(
    ("started", "pid", "taken"),
    [("this", os.getpid(), []), ("another", os.getpid(), ["x"]), ("this", 2**22 + 1, ["x"])],
    ids=["it lives", "of an earlier start", "it is gone"],
)
def test_a_process_that_is_gone_from_this_machine_is_not_waited_for(
    database: Database, monkeypatch: pytest.MonkeyPatch, started: str, pid: int, taken: list[str]
) -> None:
    """Its number may be another process's by now: when that one began tells them apart."""
    ticks = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    name = f"host:{pid}:{ticks if started == 'this' else '1'}:x"
    lease(database, name)
    database.change("update polycall_executors set pid = :pid where id = :id", pid=pid, id=name)
    mine = lease(database, "mine")
    recovered: list[str] = []

    def recover(gone: str) -> int:
        recovered.append(gone.rpartition(":")[2])
        return 0

    monkeypatch.setattr(mine, "_recover", recover)
    mine.sweep()
    assert recovered == taken


class Pending(NoWork):
    """One workflow is pending, of a process that has no lease."""

    def list_workflows(self, **options: Any) -> list[Any]:
        return [SimpleNamespace(executor_id="nobody", workflow_id="run-1")]


def test_work_of_a_process_without_a_lease_is_taken_over_after_a_moment(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    client: Any = Pending()
    mine = Lease(database, client, "mine", lease_s=60.0, on_lost=lambda: None)
    mine._register()
    recovered: list[str] = []

    def recover(name: str) -> int:
        recovered.append(name)
        return 1

    monkeypatch.setattr(mine, "_recover", recover)
    now = [1000.0]
    monkeypatch.setattr("polycall.durable.lease.time.monotonic", lambda: now[0])
    for now[0], expected in ((1000.0, []), (1060.0, []), (1060.5, ["nobody"])):
        mine.sweep()
        assert recovered == expected


def test_a_process_that_ended_runs_no_more_though_nobody_has_waited_for_it() -> None:
    program = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    executor = f"here:{program.pid}:{_started(program.pid)}:x"
    assert _runs(program.pid, executor)
    assert not _runs(os.getpid(), executor)
    assert program.stdin is not None
    program.stdin.close()
    os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
    assert not _runs(program.pid, executor)
    program.wait()
