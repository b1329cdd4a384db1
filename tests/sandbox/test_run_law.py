"""A run ends exactly once, whatever its process sends; and its process is nobody."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polycall.sandbox import Journal, Limits, Sandbox
from polycall.sandbox.errors import ProtocolViolationError
from polycall.sandbox.jail import Jail
from polycall.sandbox.jail_run import JailRun
from polycall.sandbox.runtime import End, Job
from polycall.sandbox.tool_call_broker import ToolCallBroker

from .support import TOOLS
from .test_host_death import below

VALUES = st.none() | st.booleans() | st.integers(-2, 5) | st.text(max_size=3) | st.floats()
ANY = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=2), max_leaves=4)
FIELDS = ("id", "name", "args", "kwargs", "now", "for", "stream", "text", "dropped", "ok", "error")
HONEST: list[dict[str, Any]] = [
    {"type": "call", "id": 1, "name": "add", "args": [1], "kwargs": {}},
    {"type": "call", "id": 2, "name": "wait_ms", "args": [0], "kwargs": {}},
    {"type": "wait", "now": 0.1, "for": 0.001},
    {"type": "wait", "now": 0.2, "for": None},
    {"type": "cancel", "id": 1},
    {"type": "output", "stream": "stdout", "text": "x"},
    {"type": "end", "ok": True, "value": 1, "cuts": []},
    {"type": "end", "ok": False, "error": {"name": "E", "message": "m", "traceback": ""}},
]
FORGED = st.fixed_dictionaries(
    {"type": st.sampled_from(["call", "cancel", "wait", "output", "end", "other"])},
    optional={field: ANY | st.dictionaries(st.text(max_size=2), ANY) for field in FIELDS},
)
FRAMES = st.lists(st.sampled_from(HONEST) | FORGED, max_size=8)


class Process:
    """A jail without a process: it can be asked what a run asks, and remembers what it was told."""

    memory_peak_mib = 0.0
    unsent_bytes = 0
    alive = True

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.on_frame: Callable[[dict[str, Any]], None]
        self.on_violation: Callable[[ProtocolViolationError], None]
        self.on_gone: Callable[[], None]
        self.group = self

    def send(self, frame: dict[str, Any]) -> None:
        self.sent.append(frame)

    def measure(self) -> tuple[float, float]:
        return 0.0, 0.0

    def files_made(self) -> int:
        return 0

    def memory_kills(self) -> int:
        return 0

    def last_words(self) -> str:
        return ""

    def kill(self) -> None:
        self.alive = False


async def ended(frames: list[dict[str, Any]]) -> tuple[End, Process]:
    """A run to which a process sends these frames, and then dies."""
    process = Process()
    broker = ToolCallBroker(TOOLS, Limits(calls=3, concurrent_calls=2), Journal(), run=1, now=0.0)
    job = Job("code", 1, Limits(), broker, 0.0)
    run = asyncio.create_task(JailRun(cast(Jail, process), job).outcome())
    await asyncio.sleep(0)
    for frame in frames:
        try:
            process.on_frame(frame)
        except ProtocolViolationError as violation:
            process.on_violation(violation)
        await asyncio.sleep(0)
    process.on_gone()
    end = await asyncio.wait_for(run, 5)
    await broker.close()
    return end, process


@settings(deadline=None, max_examples=60)
@given(FRAMES)
def test_a_run_ends_once_whatever_comes(frames: list[dict[str, Any]]):
    end, process = asyncio.run(ended(frames))
    assert end.status in {"finished", "failed", "crashed"}
    # A process that broke its word, or that speaks when it has ended, is not kept.
    assert not process.alive
    assert [frame["type"] for frame in process.sent[:1]] == ["run"]
    assert all(frame["type"] == "turn" for frame in process.sent[1:])
    assert end.error is not None or end.status == "finished"


async def test_the_process_is_not_root_outside_either(jail: Sandbox):
    if os.geteuid() != 0:
        pytest.skip("only root could pass its rights on")
    async with jail.session() as session:
        await session.run("1")
        users: set[str] = set()
        for pid, _ in below(os.getpid()):
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                if "NSpid" in status and len(_line(status, "NSpid").split()) > 1:
                    users |= set(_line(status, "Uid").split())
                    assert _line(status, "CapEff").strip("0") == ""
                    assert _line(status, "NoNewPrivs") == "1"
                    assert _line(status, "Seccomp") == "2"
                    assert int(_line(status, "Seccomp_filters")) == 2
        assert users == {"65534"}


def _line(status: str, name: str) -> str:
    return next(
        line.partition(":")[2].strip()
        for line in status.splitlines()
        if line.startswith(f"{name}:")
    )
