"""Every limit ends a run, or is an error in it, and the host is none the worse."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from polycall.sandbox import Limits, RuntimeUnavailableError, Sandbox, Session

from .support import TOOLS

LIMITS = Limits(
    wall_s=2.0,
    cpu_s=0.4,
    memory_mib=64,
    calls=20,
    concurrent_calls=4,
    argument_bytes=2_000,
    result_bytes=5_000,
    files_mib=1,
    open_files=64,
    threads=8,
)


@pytest.fixture
async def small() -> AsyncIterator[Session]:
    sandbox = Sandbox("jail", LIMITS, pool=0)
    try:
        await sandbox.__aenter__()
    except RuntimeUnavailableError as error:
        pytest.skip(f"no jail here: {error}")
    try:
        async with sandbox.session() as session:
            yield session
    finally:
        await sandbox.close()


async def test_wall_clock(small: Session):
    began = time.monotonic()
    result = await small.run("print('before', flush=True)\nimport time\ntime.sleep(60)")
    assert (result.status, result.stdout) == ("timeout", "before\n")
    assert str(result.error) == "Timeout: ran longer than 2 s"
    assert time.monotonic() - began < 3.5


async def test_processor_time(small: Session):
    result = await small.run("while True: pass")
    assert (result.status, str(result.error)) == (
        "timeout",
        "Timeout: used more than 0.4 s of processor",
    )


async def test_the_session_goes_on_after_a_timeout_with_its_state(small: Session):
    await small.run("kept = await add(41)", TOOLS)
    assert (await small.run("lost = 1\nwhile True: pass")).status == "timeout"
    result = await small.run("[kept, 'lost' in globals()]", TOOLS)
    assert (result.status, result.value) == ("finished", [42, False])


@pytest.mark.parametrize(
    "code",
    [
        "b'a' * (1 << 31)",
        "rows = []\nwhile True:\n    rows.append('x' * 100_000)",
        "import mmap\nmaps = []\nwhile True:\n    maps.append(mmap.mmap(-1, 1 << 24))",
    ],
)
async def test_memory(small: Session, code: str):
    result = await small.run(code)
    assert result.status in {"failed", "killed"}
    assert result.error is not None
    assert result.error.type in {"MemoryError", "MemoryLimit", "OSError"}
    assert result.memory_mib < 64 + 96
    assert (await small.run("1")).value == 1


async def test_written_files(small: Session):
    code = """
import errno
def fill(path, size):
    try:
        with open(path, "wb") as file:
            file.write(b"x" * size)
    except OSError as error:
        return errno.errorcode[error.errno]
own = [fill("/tmp/a", 700_000), fill("/tmp/b", 700_000)]
own + [fill(path, 1) for path in ("/x", "/dev/shm", "/jail/x")]
"""
    result = await small.run(code)
    assert result.value == [None, "ENOSPC", "EROFS", "EROFS", "EROFS"]


async def test_calls(small: Session):
    code = """
made = 0
try:
    while True:
        await add(made)
        made += 1
except ToolError as error:
    print(error)
made
"""
    result = await small.run(code, TOOLS)
    assert (result.value, len(result.calls)) == (20, 20)
    assert result.stdout == "add: the limit on calls of a run is reached\n"


async def test_concurrent_calls(small: Session):
    most = working = 0

    async def work() -> None:
        nonlocal most, working
        working += 1
        most = max(most, working)
        await TOOLS["wait_ms"](5)
        working -= 1

    code = "import asyncio\nawait asyncio.gather(*(work() for _ in range(20)))"
    result = await small.run(code, {"work": work})
    assert (result.status, most) == ("finished", 4)


async def test_arguments(small: Session):
    result = await small.run("await add('x' * 3_000)", TOOLS)
    assert result.error is not None
    assert str(result.error) == "ToolError: add: arguments of more than 2000 bytes"


async def test_results(small: Session):
    result = await small.run("await large()", {"large": lambda: "x" * 6_000})
    assert str(result.error) == "ValueError: large gave a result of more than 5000 bytes"


async def test_threads(small: Session):
    code = """
import threading, time
try:
    while True:
        threading.Thread(target=time.sleep, args=(0.5,), daemon=True).start()
except RuntimeError as error:
    print(error)
threading.active_count() <= 8
"""
    result = await small.run(code)
    assert (result.stdout, result.value) == ("can't start new thread\n", True)


async def test_open_files(small: Session):
    code = """
files = []
try:
    while True:
        files.append(open("/dev/null"))
except OSError as error:
    print(error.errno)
len(files) < 64
"""
    result = await small.run(code)
    assert (result.stdout, result.value) == ("24\n", True)


async def test_no_other_program_and_no_process(small: Session):
    code = """
import os, subprocess
refused = []
for attempt in (
    lambda: subprocess.run(["/python/bin/python3", "-c", "1"]),
    os.fork,
    lambda: os.execv("/python/bin/python3", ["python3"]),
    lambda: __import__("resource").setrlimit(0, (1, 1)),
):
    try:
        attempt()
    except (PermissionError, ValueError):
        refused.append(True)
refused
"""
    assert (await small.run(code)).value == [True] * 4


@pytest.mark.parametrize("field", ["wall_s", "calls", "memory_mib"])
def test_a_limit_of_nothing_is_refused(field: str):
    with pytest.raises(ValueError, match=f"Limits.{field} must be more than 0"):
        Limits(**{field: 0})
