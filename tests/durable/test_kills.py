"""Processes are killed, stopped and started again; no run is lost and no step done twice.

`POLYCALL_KILLS=20` is the long form; `python -m bench durable` prints what happens.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from bench.durable import bounded, fleet, killed_on_postgres, killed_on_sqlite, table, verdict

from polycall.durable import Runs

from ..servers import Postgres

KILLS = int(os.environ.get("POLYCALL_KILLS", "3"))
GOOD = {"finished": True, "steps": 15, "repeated": 0, "lost": 0}


def check(rows: list[dict[str, object]]) -> None:
    print(table(rows))
    for row in rows:
        assert {key: row[key] for key in GOOD} == GOOD


@pytest.mark.slow
async def test_one_process_on_sqlite_is_killed_and_started_again() -> None:
    check(await killed_on_sqlite(KILLS, seed=KILLS))


@pytest.mark.slow
async def test_three_processes_on_postgres_take_over_by_themselves(server: Postgres) -> None:
    check(await killed_on_postgres(server.database(), KILLS, seed=KILLS))


@pytest.mark.slow
async def test_a_process_that_is_only_slow_does_nothing_twice(
    server: Postgres, tmp_path: Path
) -> None:
    url = server.database()
    with fleet(url, tmp_path, size=2) as workers:
        async with Runs(url, poll_s=0.05) as runs:
            await runs.start("artist", "draw", run_id="run")
            await asyncio.sleep(0.45)
            holder = int((await runs.show("run")).executor.split(":")[1])
            slow = next(worker for worker in workers if worker.pid == holder)
            slow.signal(signal.SIGSTOP)
            found = await verdict(runs, "run", tmp_path)
            # It wakes up with steps in its hands that another one has done meanwhile.
            slow.signal(signal.SIGCONT)
            await asyncio.sleep(1.5)
            assert await verdict(runs, "run", tmp_path) == found
            assert {key: found[key] for key in GOOD} == GOOD
            assert (await runs.show("run")).executor.split(":")[1] != str(holder)
            # And is one of the fleet again.
            executors = runs.database.rows("select pid from polycall_executors")
            assert {row["pid"] for row in executors} == {worker.pid for worker in workers}


@pytest.mark.slow
async def test_a_bound_holds_over_three_processes(server: Postgres) -> None:
    found = await bounded(server.database(), 60)
    assert (found["tasks"], found["different"], found["processes"]) == (60, 60, 3)
    assert found["at a time"] <= 5
