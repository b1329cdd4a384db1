"""Runs escape attempts and looks at the machine afterwards; prints a report as JSON.

    python -m tests.sandbox.contain TIER FOLDER [--at-once N] [--wall S]

A program of its own, so that the tests can run it as another user and look at it from outside.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polycall.sandbox import Limits, RunResult, Sandbox, Session

CANARY = Path("/tmp/ptc_canary")
STATUSES = {"finished", "failed", "timeout", "killed", "crashed"}


async def echo(value: Any) -> Any:
    return value


async def slow_tool(ms: int) -> int:
    await asyncio.sleep(ms / 1000)
    return ms


FUNCTIONS = {"echo": echo, "slow_tool": slow_tool}


@contextlib.contextmanager
def bait(secret: str) -> Iterator[list[str]]:
    """Sets out what an attempt would like to have; gives the list of connections made."""
    CANARY.mkdir(exist_ok=True)
    with contextlib.suppress(PermissionError):
        CANARY.chmod(0o777)
    (CANARY / "canary.txt").write_text(f"{secret}\n")
    os.environ["PTC_SECRET"] = secret
    made: list[str] = []
    with contextlib.ExitStack() as open_sockets:
        for address in (("127.0.0.1", 48123), "\0ptc_canary_abstract"):
            family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
            listener = open_sockets.enter_context(socket.socket(family))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(100)
            listener.setblocking(False)
            asyncio.get_running_loop().add_reader(listener, _accept, listener, made)
        yield made
        (CANARY / "canary.txt").unlink()


def _accept(listener: socket.socket, made: list[str]) -> None:
    with contextlib.suppress(BlockingIOError):
        connection, _ = listener.accept()
        made.append(str(listener.getsockname()))
        connection.close()


class Descendants:
    """All processes below this one, seen while they live; others on the machine do not count."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, str]] = set()

    async def watch(self) -> None:
        while True:
            self._look(os.getpid())
            await asyncio.sleep(0.01)

    def _look(self, pid: int) -> None:
        for task in Path(f"/proc/{pid}/task").glob("*"):
            with contextlib.suppress(OSError):
                for child in (task / "children").read_text().split():
                    self._seen.add((int(child), started_at(int(child))))
                    self._look(int(child))

    def left(self) -> list[int]:
        return [pid for pid, at in self._seen if at and started_at(pid) == at]


def started_at(pid: int) -> str:
    """When a process began, which with its number names it; empty where there is none."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    return ""


def problems_of(result: RunResult, secret: str, limits: Limits, took_s: float) -> list[str]:
    """What of a run's outcome shows that it was not contained."""
    text = f"{result.stdout}{result.stderr}{result.value!r}{result.error}{result.calls!r}"
    problems: list[str] = []
    if secret in text:
        problems.append("the secret came out")
    if "ESCAPED" in result.stdout:
        problems.append(f"says it escaped: {result.stdout[:200]!r}")
    if result.status not in STATUSES:
        problems.append(f"ended as {result.status!r}")
    if len(result.stdout.encode()) > limits.stdout_bytes + 1_000:
        problems.append(f"{len(result.stdout)} characters of output")
    if took_s > limits.wall_s + 3:
        problems.append(f"took {took_s:.1f} s")
    if "\x1b" in text or "\0" in result.stdout:
        problems.append("control characters in the output")
    return problems


async def attempt(
    sandbox: Sandbox, path: Path, secret: str, at_once: asyncio.Semaphore
) -> dict[str, Any]:
    code = path.read_text("utf-8")
    async with at_once:
        began = time.monotonic()
        async with sandbox.session() as session:
            result = await session.run(code, FUNCTIONS)
            took_s = time.monotonic() - began
            problems = problems_of(result, secret, sandbox.limits, took_s)
        problems += await works_after(sandbox.session())
    return {
        "name": path.stem,
        "status": result.status,
        "problems": problems,
        "took_s": round(took_s, 2),
        "error": str(result.error or "")[:150],
    }


async def works_after(session: Session) -> list[str]:
    async with session:
        result = await session.run("print(await echo(20) + 1)", FUNCTIONS)
    works = result.status == "finished" and result.stdout == "21\n"
    return [] if works else [f"the next session does not work: {result}"]


def files_in_tmp() -> set[str]:
    # Our own folder for such files, since others on this machine make some of ours as well.
    evil = {name for name in os.listdir("/tmp") if "evil" in name}
    return evil | set(os.listdir(tempfile.gettempdir()))


async def report(tier: str, folder: Path, at_once: int, wall_s: float) -> dict[str, Any]:
    secret = f"CANARY-{os.urandom(8).hex()}"
    limits = Limits(wall_s=wall_s, cpu_s=wall_s + 2, memory_mib=128, stdout_bytes=20_000)
    files = files_in_tmp()
    paths = sorted(folder.glob("*.py"))
    async with Sandbox(tier, limits, pool=0):  # pyright: ignore[reportArgumentType]
        """What a tier keeps for the life of the process is there before it is counted."""
    descendants = Descendants()
    watching = asyncio.create_task(descendants.watch())
    with bait(secret) as connections:
        descriptors = len(os.listdir("/proc/self/fd"))
        async with Sandbox(tier, limits) as sandbox:  # pyright: ignore[reportArgumentType]
            gate = asyncio.Semaphore(at_once)
            attempts = await asyncio.gather(
                *(attempt(sandbox, path, secret, gate) for path in paths)
            )
        await asyncio.sleep(0.1)
        left = len(os.listdir("/proc/self/fd")) - descriptors
    watching.cancel()
    return {
        "user": os.getuid(),
        "tier": tier,
        "attempts": attempts,
        "connections": connections,
        "pwned": (CANARY / "pwned").exists(),
        "processes_left": descendants.left(),
        "descriptors_left": left,
        "files_left": sorted(files_in_tmp() - files),
        "host_peak_mib": _peak_mib(),
    }


def _peak_mib() -> int:
    """The peak of this process alone: the usual call counts what its parent held at the fork."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) // 1024
    raise AssertionError("the kernel tells no peak")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tier")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--wall", type=float, default=1.5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="polycall-contain-") as folder:
        tempfile.tempdir = folder
        found = asyncio.run(report(args.tier, args.folder, args.at_once, args.wall))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
