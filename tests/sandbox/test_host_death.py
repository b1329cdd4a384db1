"""A host that dies takes its jails with it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from .contain import started_at
from .support import REPOSITORY, python_path, usable

HOST = """
import asyncio
from polycall.sandbox import Limits, Sandbox

async def main():
    async with Sandbox({tier!r}, Limits(wall_s=60, cpu_s=4), pool=2) as sandbox:
        sessions = [sandbox.session() for _ in range(3)]
        programs = ("while True: pass", "import time; time.sleep(50)", "await hang()")
        runs = [s.run(p, {{"hang": lambda: asyncio.sleep(60)}}) for s, p in zip(sessions, programs)]
        done = asyncio.gather(*runs)
        await asyncio.sleep(1.5)
        print("up", flush=True)
        await done

asyncio.run(main())
"""


def below(pid: int) -> set[tuple[int, str]]:
    found: set[tuple[int, str]] = set()
    for task in Path(f"/proc/{pid}/task").glob("*"):
        for child in map(int, (task / "children").read_text().split()):
            found |= {(child, started_at(child))} | below(child)
    return found


@pytest.mark.parametrize("tier", ["jail", "monty"])
async def test_kill_9_of_the_host_leaves_nothing(tier: str):
    await usable(tier)
    host = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        HOST.format(tier=tier),
        stdout=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": python_path()},
    )
    assert host.stdout is not None
    assert await host.stdout.readline() == b"up\n"
    processes = below(host.pid)
    assert len(processes) >= 3
    host.send_signal(signal.SIGKILL)
    await host.wait()
    # A worker of monty looks up at the end of its turn, which `cpu_s` bounds.
    deadline = time.monotonic() + (5 if tier == "jail" else 15)
    left = processes
    while left and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        left = {(pid, began) for pid, began in processes if started_at(pid) == began}
    assert left == set()
