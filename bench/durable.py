"""Durable runs: killed at random, counted and timed: `python -m bench durable`.

`kills` kills a process at a random moment of a run with six steps and four background tasks, and
looks whether the run finished all the same, whether a step that was recorded was begun again, and
whether a result was lost.  With SQLite there is one process, which is started again; with Postgres
there are three, and nobody helps.  `rates` measures steps and tasks a second beside a bare loop,
and a bound of five over three processes.  The Postgres is one of Debian's packages, started here.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.durable_worker import agents
from polycall.durable import Durable, Runs
from polycall.ir import ToolResult

_DEADLINE_S = 60.0
_ROOT = Path(__file__).parents[1]


class Worker:
    """One process of the fleet."""

    def __init__(self, url: str, folder: Path, run_id: str = "") -> None:
        words = ["-m", "bench.durable_worker", url, str(folder), *([run_id] if run_id else [])]
        self._process = subprocess.Popen(
            [sys.executable, *words], stdout=subprocess.PIPE, text=True, cwd=_ROOT
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ready(self) -> None:
        """Wait until it works."""
        self._said("ready")

    def done(self) -> None:
        """Wait until its run is over."""
        self._said("done")

    def _said(self, word: str) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line == f"{word}\n", f"the worker ended with {self._process.wait()}"

    def signal(self, number: int) -> None:
        """Send a signal to it."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it without a word."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def wait(self) -> int:
        """Its exit status, when it has ended by itself."""
        status = self._process.wait(_DEADLINE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return status


def lines(path: Path) -> list[list[Any]]:
    """What the workers wrote."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def verdict(runs: Runs, run_id: str, folder: Path) -> dict[str, Any]:
    """What became of a run: whether it finished, what was repeated, what was lost."""
    result = await asyncio.wait_for(runs.result(run_id), _DEADLINE_S)
    recorded: dict[str, float] = {}
    names: list[str] = []
    workflows = [run_id, *(task.id for task in await runs.tasks(run_id))]
    for workflow in workflows:
        for step in await runs.client.list_workflow_steps_async(workflow):
            name = step["function_name"]
            names.append(f"{workflow}/{name}")
            if workflow == run_id:
                recorded[f"{run_id}/{name}"] = (step["completed_at_epoch_ms"] or 0) / 1000
    effects = [line for line in lines(folder / "effects.jsonl") if line[3].startswith(run_id + "/")]
    begun = [line for line in effects if line[2] == "begin"]
    keys = {line[3] for line in begun}
    # A call of `render` is recorded when the task is begun; the task's own end is what counts.
    ended: dict[str, float] = {}
    for task in await runs.tasks(run_id):
        steps = await runs.client.list_workflow_steps_async(task.id)
        number = task.arguments["number"]
        ended[f"{run_id}/call/1/p{number}"] = (steps[-1]["completed_at_epoch_ms"] or 0) / 1000
    done_at = {**recorded, **ended}
    told = [
        part.text
        for message in result.history.messages
        for part in message.parts
        if isinstance(part, ToolResult)
    ] + [message.text for message in result.history.messages if message.role == "user"]
    wanted = [f"picture {n}" for n in range(4)]
    wanted += [f"noted {word}" for word in ("one", "two", "three", "four")]
    return {
        "finished": result.text == "all is drawn",
        "steps": len(recorded),
        "begun": len(begun),
        "again": len(begun) - len(keys),
        "repeated": sum(line[0] > done_at[line[3]] + 0.002 for line in begun)
        + len(names)
        - len(set(names)),
        "lost": sum(not any(word in text for text in told) for word in wanted) + 8 - len(keys),
    }


async def killed_on_sqlite(count: int, seed: int) -> list[dict[str, Any]]:
    """One process; killed once in each run, and started again."""
    chance = random.Random(seed)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = f"sqlite:///{folder / 'runs.db'}"
        run_s = 0.0
        for number in range(-1, count):
            run_id = f"run{number}"
            worker = Worker(url, folder, run_id)
            worker.ready()
            began = time.monotonic()
            if number < 0:
                # The first one is left in peace, to see how long a run takes.
                worker.done()
                run_s = time.monotonic() - began
                assert worker.wait() == 0
                continue
            moment = chance.uniform(0, run_s)
            await asyncio.sleep(moment)
            worker.kill()
            began = time.monotonic()
            again = Worker(url, folder, run_id)
            again.ready()
            again.done()
            took = time.monotonic() - began
            assert again.wait() == 0
            async with Runs(url) as runs:
                found = await verdict(runs, run_id, folder)
            rows.append({"kill": number + 1, "at_s": moment, "then_s": took, **found})
    return rows


async def killed_on_postgres(url: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Three processes; one that works for the run is killed, and another one joins later."""
    chance = random.Random(seed)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, fleet(url, Path(name)) as workers:
        async with Runs(url, poll_s=0.05) as runs:
            began = time.monotonic()
            await (await runs.start("artist", "draw", run_id="undisturbed")).result()
            run_s = time.monotonic() - began
            for number in range(count):
                run_id = f"run{number}"
                began = time.monotonic()
                await runs.start("artist", "draw", run_id=run_id)
                moment = chance.uniform(0, run_s)
                await asyncio.sleep(moment)
                holders = [(await runs.show(run_id)).executor]
                holders += [task.executor for task in await runs.tasks(run_id)]
                pids = [int(each.split(":")[1]) for each in holders if each]
                victim = next((w for w in workers if w.pid in pids[:1]), chance.choice(workers))
                if chance.random() < 0.4 and len(pids) > 1:
                    pid = chance.choice(pids[1:])
                    victim = next((w for w in workers if w.pid == pid), victim)
                victim.kill()
                found = await verdict(runs, run_id, Path(name))
                took = time.monotonic() - began - moment
                rows.append({"kill": number + 1, "at_s": moment, "then_s": took, **found})
                workers[workers.index(victim)] = made = Worker(url, Path(name))
                made.ready()
    return rows


@contextmanager
def fleet(url: str, folder: Path, size: int = 3) -> Iterator[list[Worker]]:
    """So many processes; whatever is left of them is killed at the end."""
    workers: list[Worker] = []
    try:
        for _ in range(size):
            workers.append(Worker(url, folder))
        for worker in workers:
            worker.ready()
        yield workers
    finally:
        for worker in workers:
            worker.signal(signal.SIGCONT)
            worker.kill()


async def rates(url: str, *, steps: int, tasks: int) -> dict[str, float]:
    """Steps and tasks a second in one process, and the price of a step over a bare loop."""
    with tempfile.TemporaryDirectory() as name:
        made = agents(Path(name))
        stepper = next(each for each in made if each.name == "stepper")
        began = time.perf_counter()
        await stepper.run(str(steps))
        bare_s = time.perf_counter() - began
        async with Durable(url, agents=made, poll_s=0.05, tasks_max=50) as durable:
            handle = await durable.start("stepper", "2")
            await handle.result()
            began = time.perf_counter()
            await (await durable.start("stepper", str(steps))).result()
            steps_s = time.perf_counter() - began
            began = time.perf_counter()
            await (await durable.start("racer", str(tasks))).result()
            tasks_s = time.perf_counter() - began
    return {
        "steps/s": steps / steps_s,
        "bare steps/s": steps / bare_s,
        "ms more a step": 1000 * (steps_s - bare_s) / steps,
        "tasks/s": tasks / tasks_s,
    }


async def bounded(url: str, count: int) -> dict[str, float]:
    """Tasks over three processes with a bound of five: how many ran at a time, at most."""
    with tempfile.TemporaryDirectory() as name, fleet(url, Path(name)):
        async with Runs(url) as runs:
            began = time.perf_counter()
            result = await (await runs.start("counter", str(count))).result()
            took = time.perf_counter() - began
        assert result.text == "counted"
        busy = lines(Path(name) / "busy.jsonl")
    edges = sorted([(began_at, 1) for _, _, _, began_at in busy] + [(end, -1) for end, *_ in busy])
    now = most = 0
    for _, change in edges:
        now += change
        most = max(most, now)
    return {
        "tasks": len(busy),
        "different": len({line[2] for line in busy}),
        "processes": len({line[1] for line in busy}),
        "at a time": most,
        "tasks/s": count / took,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as Markdown."""
    out = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    for row in rows:
        cells = [f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()]
        out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out)


def main() -> None:
    """Print all tables."""
    count = int(os.environ.get("POLYCALL_KILLS", "20"))
    from tests.servers import postgres  # noqa: PLC0415 - which needs pytest

    print(f"## SQLite, one process, {count} kills\n")
    print(table(asyncio.run(killed_on_sqlite(count, seed=1))), "\n", flush=True)
    with postgres() as server:
        print(f"## Postgres, three processes, {count} kills\n")
        print(table(asyncio.run(killed_on_postgres(server.database(), count, seed=2))), "\n")
        print("## Rates\n", flush=True)
        with tempfile.TemporaryDirectory() as name:
            sqlite = asyncio.run(rates(f"sqlite:///{name}/r.db", steps=400, tasks=200))
        other = asyncio.run(rates(server.database(), steps=400, tasks=200))
        print(table([{"database": "SQLite", **sqlite}, {"database": "Postgres", **other}]), "\n")
        print("## 1,000 tasks, three processes, five at a time\n", flush=True)
        print(table([asyncio.run(bounded(server.database(), 1000))]))


if __name__ == "__main__":
    main()
