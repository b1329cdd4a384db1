"""The process of monty's workers: what ends it, what does not, and what a session then gets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path
from typing import Any, cast

import pytest

from polycall.sandbox import (
    Journal,
    Limits,
    Pause,
    Sandbox,
    SandboxError,
    Session,
    SessionClosedError,
)
from polycall.sandbox import monty_runtime as of_monty
from polycall.sandbox.monty_runtime import MontyRuntime

from .support import usable

if sys.platform != "linux":
    pytest.skip("looks into /proc", allow_module_level=True)


@pytest.fixture
async def monty() -> AsyncIterator[Sandbox]:
    await usable("monty")
    async with Sandbox("monty", pool=1) as sandbox:
        yield sandbox


def _helper(sandbox: Sandbox) -> Any:
    process = cast("MontyRuntime", sandbox.runtime).process
    assert process is not None
    return process


def _workers(pid: int) -> list[int]:
    folders = Path(f"/proc/{pid}/task").iterdir()
    return [int(each) for folder in folders for each in (folder / "children").read_text().split()]


def _sockets(pid: int | str) -> dict[str, int]:
    """The sockets that a process has open, with their descriptors."""
    found: dict[str, int] = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/{pid}/fd/{name}")
            if target.startswith("socket:"):
                found[target] = int(name)
    return found


@contextlib.contextmanager
def _copied() -> Generator[None]:
    """Copies of all sockets, as a fork of this process has them."""
    copies = [os.dup(each) for each in _sockets("self").values()]
    try:
        yield
    finally:
        for each in copies:
            os.close(each)


async def test_a_closed_session_ends_though_a_fork_has_its_channel(monty: Sandbox):
    sessions = [monty.session() for _ in range(6)]
    for each in sessions:
        await each.run("1")
    helper = _helper(monty)
    assert len(_workers(helper.pid)) >= 6
    with _copied():
        for each in sessions:
            await each.close()
        async with asyncio.timeout(20):
            while len(_workers(helper.pid)) > 3:
                await asyncio.sleep(0.02)
        await monty.close()
        assert helper.returncode == 0  # by itself, not killed


async def test_no_worker_has_a_channel_of_another_session(monty: Sandbox):
    for _ in range(4):
        await monty.session().run("1")
    helper = _helper(monty)
    theirs = {
        each: sorted(_sockets(each).keys() & _sockets(helper.pid).keys())
        for each in _workers(helper.pid)
    }
    assert [each for each in theirs.values() if each] == []


def _none_left(*_: object) -> Any:
    raise OSError(errno.EMFILE, "Too many open files")


def _full(*_: object) -> Any:
    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


def _allow(pid: int, files: int) -> None:
    _, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (files, most))


Hurt = Callable[[pytest.MonkeyPatch, int], None]
FAILED: dict[str, tuple[Hurt, str]] = {  # what one session meets, and what it is told
    "no descriptors here": (
        lambda patch, _: patch.setattr(socket, "socketpair", _none_left),
        "no channel to a worker of monty: [Errno 24] Too many open files",
    ),
    "no room on the control": (
        lambda patch, _: patch.setattr(socket, "send_fds", _full),
        "no channel to a worker of monty: [Errno 11] Resource temporarily unavailable",
    ),
    "no descriptors there": (
        lambda _, pid: _allow(pid, 3),
        "the process of monty's workers has as many files open as it may",
    ),
    "no answer": (
        lambda _, pid: os.kill(pid, signal.SIGSTOP),
        "the process of monty's workers gave no worker within 0.5 s",
    ),
}


@pytest.mark.parametrize("case", FAILED)
async def test_what_one_session_lacks_ends_no_other(
    case: str, monty: Sandbox, monkeypatch: pytest.MonkeyPatch
):
    answered = asyncio.Event()

    async def waited() -> int:
        await answered.wait()
        return 7

    session, helper = monty.session(), _helper(monty)
    await session.run("kept = 1")
    run = asyncio.create_task(session.run("kept + await waited()", {"waited": waited}))
    await asyncio.sleep(0.1)
    files, _ = resource.prlimit(helper.pid, resource.RLIMIT_NOFILE)
    hurt, words = FAILED[case]
    with monkeypatch.context() as patch:
        if case == "no answer":
            patch.setattr(of_monty, "_START_S", 0.5)
        hurt(patch, helper.pid)
        with pytest.raises(SandboxError) as failure:
            await monty.session().run("2")
    _allow(helper.pid, files)
    os.kill(helper.pid, signal.SIGCONT)
    assert str(failure.value) == words
    assert (await monty.session().run("2")).value == 2
    answered.set()
    result = await run
    assert (result.status, result.value, helper.poll()) == ("finished", 8, None)


@pytest.mark.parametrize("steps", range(6))
@pytest.mark.parametrize("is_new", [True, False])
async def test_a_sandbox_closed_while_a_session_opens(monty: Sandbox, steps: int, is_new: bool):
    session = monty.session()
    if not is_new:  # its process is being started again
        await session.run("1")
        _helper(monty).kill()
        _helper(monty).wait()
        await asyncio.sleep(0.05)
    run = asyncio.create_task(session.run("1"))
    for _ in range(steps):
        await asyncio.sleep(0)
    await monty.close()
    async with asyncio.timeout(20):
        with pytest.raises(SessionClosedError):
            await run


async def test_a_process_that_cannot_be_started_again(
    monty: Sandbox, monkeypatch: pytest.MonkeyPatch
):
    _helper(monty).kill()
    _helper(monty).wait()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/nowhere/python")
        with pytest.raises(SandboxError, match="does not begin.*/nowhere/python"):
            await monty.session().run("1")
        patch.setattr(sys, "executable", "/bin/true")
        with pytest.raises(SandboxError, match="the process of '/bin/true' ended"):
            await monty.session().run("1")
    assert (await monty.session().run("1")).value == 1


class FullDisk(Journal):
    """Takes no entry of a kind."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    def append(self, entry: dict[str, Any], limits: Limits | None = None) -> None:
        if entry["kind"] == self._kind:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().append(entry, limits)


async def _paused() -> None:
    raise Pause


async def _echo(*args: Any, **kwargs: Any) -> list[Any]:
    return [len(str(args)), len(str(kwargs))]


@pytest.mark.parametrize("tier", ["jail", "monty"])
@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("call", "await echo(1)"),
        ("done", "await echo(1)"),
        ("turn", "await echo(1)"),
        ("turn", "import asyncio\nawait asyncio.sleep(0.01)"),
        ("pause", "await paused()"),
        ("end", "1"),
    ],
)
async def test_a_journal_that_cannot_be_written_is_told_of(tier: Any, kind: str, code: str):
    await usable(tier)
    async with Sandbox(tier, pool=1) as sandbox:
        session: Session = sandbox.session(journal=FullDisk(kind))
        with pytest.raises(OSError, match="No space left on device"):
            await session.run(code, {"echo": _echo, "paused": _paused})


SMALL = Limits(argument_bytes=2_000, value_bytes=2_000, stdout_bytes=500, stderr_bytes=500)
WITHIN: dict[str, tuple[Limits, str, str]] = {
    "arguments with names and without": (
        Limits(),
        "await echo('x' * 900_000, b='y' * 900_000)",
        "finished",
    ),
    "small arguments": (SMALL, "await echo('é' * 300, b=['é'] * 100)", "finished"),
    "errors printed": (
        Limits(stderr_bytes=2_000_000),
        "import sys\nfor i in range(2000): print('é' * 500, file=sys.stderr)",
        "finished",
    ),
    "a long error": (SMALL, "raise ValueError('\\U0001f600' * 20_000)", "failed"),
}


@pytest.mark.parametrize("tier", ["jail", "monty"])
@pytest.mark.parametrize("case", WITHIN)
async def test_what_limits_allow_arrives(tier: Any, case: str):
    await usable(tier)
    limits, code, status = WITHIN[case]
    async with Sandbox(tier, limits, pool=1) as sandbox, sandbox.session() as session:
        result = await session.run(code, {"echo": _echo})
        assert result.status == status, result.error
        assert (await session.run("1")).value == 1


async def test_modules_are_found_from_anywhere(monkeypatch: pytest.MonkeyPatch):
    await usable("monty")
    monkeypatch.setattr(sys, "path", ["", *(os.path.relpath(each) for each in sys.path)])
    async with Sandbox("monty", pool=1) as sandbox:
        assert (await sandbox.session().run("1 + 1")).value == 2
        variables = Path(f"/proc/{_helper(sandbox).pid}/environ").read_bytes().split(b"\0")
    (places,) = (each.partition(b"=")[2] for each in variables if each.startswith(b"PYTHONPATH="))
    wrong = [each for each in places.decode().split(os.pathsep) if not os.path.isabs(each)]
    assert wrong == []
    assert str(Path(of_monty.__file__).parents[2]) in places.decode().split(os.pathsep)


@pytest.mark.filterwarnings("ignore:unclosed transport")  # of the loop that was closed
def test_a_session_goes_on_in_another_loop():
    asyncio.run(usable("monty"))
    sandbox = Sandbox("monty", pool=1)

    async def begun() -> Session:
        await sandbox.__aenter__()
        session = sandbox.session()
        await session.run("kept = 1")
        return session

    async def continued(session: Session) -> Any:
        return (await session.run("kept += 1\nkept")).value

    session = asyncio.run(begun())
    try:
        assert [asyncio.run(continued(session)) for _ in range(2)] == [2, 3]
    finally:
        asyncio.run(sandbox.close())
        gc.collect()
