"""One jail: the bubblewrap command, the process in it, and its certain end.

`Jail` knows nothing of runs: it moves frames, measures, and kills.  The code that starts one owns
it and must `close` it; a host that dies without doing so takes its jails with it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import platform
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import cgroups, layout, seccomp
from .bwrap import Bubblewrap
from .errors import ProtocolViolationError, SandboxError
from .frames import Frame, encode
from .limits import Limits
from .wire import Wire

NOBODY = 65_534
# What CPython and its preloaded modules map before a program runs; a bound, not a measure.
_INTERPRETER_MIB = 96
_STDERR_BYTES = 8_000
_START_S = 20.0
_CLOSE_S = 5.0


@dataclass(frozen=True)
class JailSettings:
    """All that jails of one sandbox have in common, found out once."""

    bwrap: Bubblewrap
    machine: str
    layout: layout.Layout
    cgroups: cgroups.Cgroups
    limits: Limits
    packages: tuple[layout.Mount, ...] = ()
    search: tuple[str, ...] = ()
    """Folders of the packages inside, for `sys.path`."""

    def command(self, *, channel: int, filter_file: int, info: int) -> list[str]:
        """bubblewrap's arguments; `@n` stands for the n-th of `sources()`, which begin at 1."""
        arguments = [
            *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net"),
            *("--unshare-uts", "--unshare-cgroup-try"),
            *("--uid", str(NOBODY), "--gid", str(NOBODY), "--hostname", "sandbox"),
            *("--as-pid-1", "--die-with-parent", "--new-session", "--cap-drop", "ALL"),
            *("--info-fd", str(info), "--seccomp", str(filter_file), "--clearenv"),
        ]
        for name, value in self._environment().items():
            arguments += ["--setenv", name, value]
        for number, mount in enumerate((*self.layout.mounts, *self.packages), start=1):
            arguments += ["--ro-bind", f"@{number}", mount.target]
        for folder in self.layout.hidden:
            arguments += ["--size", "4096", "--tmpfs", folder, "--remount-ro", folder]
        for device in ("null", "zero", "urandom", "random"):
            arguments += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
        arguments += ["--size", str(self.limits.files_mib << 20), "--tmpfs", "/tmp"]  # noqa: S108
        # bubblewrap's root is a writable tmpfs without a bound until it gets another size.
        arguments += ["--remount-ro", "/", "--chdir", "/tmp"]  # noqa: S108
        return [*arguments, layout.PYTHON, "-S", "-s", "-P", "-B", "-m", "inside", str(channel)]

    def sources(self) -> list[str]:
        return [mount.source for mount in (*self.layout.mounts, *self.packages)]

    def _environment(self) -> dict[str, str]:
        return {
            "HOME": "/tmp",  # noqa: S108
            "TMPDIR": "/tmp",  # noqa: S108
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "PYTHONHASHSEED": "0",
            "PYTHONPATH": layout.INSIDE,
            "LD_LIBRARY_PATH": self.layout.library_path,
            # An arena per thread would reserve 64 MiB of address space each.
            "MALLOC_ARENA_MAX": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }

    def setup_frame(self) -> Frame:
        """The frame that the process gets before it locks itself in."""
        limits = self.limits
        # Before 5.14 the kernel counts a user's processes across namespaces; there the bound on
        # address space, of which each thread's stack takes its part, is what holds.
        threads = {"RLIMIT_NPROC": limits.threads} if _kernel() >= (5, 14) else {}
        return {
            "type": "setup",
            "filter": base64.b64encode(seccomp.program_filter(self.machine)).decode("ascii"),
            "path": list(self.search),
            "limits": {
                "RLIMIT_AS": (limits.memory_mib + _INTERPRETER_MIB) << 20,
                "RLIMIT_NOFILE": limits.open_files,
                "RLIMIT_FSIZE": limits.files_mib << 20,
                **threads,
                # Not 0: a system that pipes dumps to a program heeds no limit but this one.
                "RLIMIT_CORE": 1,
                "RLIMIT_MEMLOCK": 0,
                "RLIMIT_MSGQUEUE": 0,
                "RLIMIT_SIGPENDING": 64,
            },
        }


def _kernel() -> tuple[int, ...]:
    numbers = re.match(r"(\d+)\.(\d+)", platform.release())
    return tuple(int(number) for number in numbers.groups()) if numbers else (0,)


def _ignore_frame(_: Frame) -> None:
    """A process that speaks when nobody asked is not listened to."""


class Jail:
    """A live jail.  Frames go to `on_frame`, its end is asked to `on_gone`, once."""

    def __init__(self, settings: JailSettings) -> None:
        self._settings = settings
        self.on_frame: Callable[[Frame], None] = _ignore_frame
        self.on_violation: Callable[[ProtocolViolationError], None] = lambda _: self.kill()
        self.on_fault: Callable[[Exception], None] = lambda _: self.kill()
        self.on_gone: Callable[[], None] = lambda: None
        self.group = cgroups.NO_GROUP
        self._process: subprocess.Popen[bytes] | None = None
        self._transport: asyncio.Transport | None = None
        self._child = -1
        self._child_handle = -1
        self._stderr = -1
        self._info = -1
        self._told = b""
        self.alive = False
        self.memory_peak_mib = 0.0

    async def start(self) -> None:
        """Spawns the process and waits until it has locked itself in."""
        ours, theirs = socket.socketpair()
        try:
            self._spawn(theirs)
        finally:
            theirs.close()
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[str] = loop.create_future()

        def settle(word: str) -> None:
            if not ready.done():
                ready.set_result(word)

        self.on_frame = lambda frame: settle(str(frame["type"]))
        self.on_gone = lambda: settle("gone")
        try:
            transport, _ = await loop.create_connection(
                lambda: Wire(self, self._settings.limits), sock=ours
            )
            self._transport = transport
            self.send(self._settings.setup_frame())
            async with asyncio.timeout(_START_S):
                self._check_started(await ready)
        except BaseException:
            await self.close()
            raise
        self.on_frame = _ignore_frame
        self.on_gone = lambda: None
        self.alive = True

    def _check_started(self, word: str) -> None:
        if word != "ready":
            raise SandboxError(f"the jail did not start: {self.last_words() or word}")
        if not self._adopt_child():
            raise SandboxError("bubblewrap did not say which process it made")

    def _spawn(self, theirs: socket.socket) -> None:
        settings = self._settings
        limits = settings.limits
        self.group = settings.cgroups.make(
            memory_bytes=(limits.memory_mib + _INTERPRETER_MIB + limits.files_mib) << 20,
            tasks=limits.threads + 8,
        )
        self._info, info_write = os.pipe()
        stderr_read, stderr_write = os.pipe()
        self._stderr = stderr_read
        os.set_blocking(stderr_read, False)
        os.set_blocking(self._info, False)
        with tempfile.TemporaryFile() as filter_file:
            filter_file.write(seccomp.start_filter(settings.machine))
            filter_file.seek(0)
            config: dict[str, Any] = {
                "bwrap": settings.bwrap.path,
                "libraries": settings.bwrap.libraries,
                "sources": settings.sources(),
                "cgroups": self.group.task_files,
                "user": NOBODY if os.geteuid() == 0 else None,
                "arguments": settings.command(
                    channel=theirs.fileno(), filter_file=filter_file.fileno(), info=info_write
                ),
            }
            launcher = str(Path(__file__).with_name("launch.py"))
            try:
                # Not in a thread: the kernel ends the jail with the thread that started it.
                self._process = subprocess.Popen(  # noqa: S603
                    [layout.interpreter(), "-I", "-S", launcher, json.dumps(config)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr_write,
                    pass_fds=(theirs.fileno(), filter_file.fileno(), info_write),
                    env={},
                    cwd="/",
                )
            finally:
                os.close(info_write)
                os.close(stderr_write)

    def _adopt_child(self) -> bool:
        """Takes hold of pid 1 of the jail, so that it can be killed and nothing else."""
        with contextlib.suppress(BlockingIOError):
            self._told += os.read(self._info, 4_000)
        found = re.search(rb'"child-pid": (\d+)\D', self._told)
        if found is None:
            return False
        self._child = int(found[1])
        with contextlib.suppress(ProcessLookupError):
            self._child_handle = os.pidfd_open(self._child)
        return self._child_handle >= 0

    async def _find_child(self, process: subprocess.Popen[bytes]) -> None:
        """Waits until the child is known, where a start is broken off.

        Between making it and releasing it bubblewrap must not be killed: the child would wait for
        it for ever.
        """
        deadline = time.monotonic() + _CLOSE_S
        while self._child_handle < 0 and process.poll() is None and time.monotonic() < deadline:
            if not self._adopt_child():
                await asyncio.sleep(0.002)

    def send(self, frame: Frame) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode(frame))

    @property
    def unsent_bytes(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def measure(self) -> tuple[float, float]:
        """Processor seconds used and MiB held by the program's process, by the kernel's count."""
        try:
            stat = Path(f"/proc/{self._child}/stat").read_text("ascii", "replace")
            pages = Path(f"/proc/{self._child}/statm").read_text("ascii").split()[1]
        except (OSError, IndexError):
            return 0.0, 0.0
        fields = stat.rpartition(")")[2].split()
        cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        held_mib = int(pages) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
        self.memory_peak_mib = max(self.memory_peak_mib, held_mib)
        return cpu_s, held_mib

    def files_made(self) -> int:
        """Files and folders in the program's `/tmp`; its root does not count."""
        with contextlib.suppress(OSError):
            usage = os.statvfs(f"/proc/{self._child}/root/tmp")
            return usage.f_files - usage.f_ffree - 1
        return 0

    def last_words(self) -> str:
        """The process's output on the real standard error, bounded."""
        with contextlib.suppress(OSError):
            return os.read(self._stderr, _STDERR_BYTES).decode("utf-8", "replace").strip()
        return ""

    def kill(self) -> None:
        """Ends the pid namespace, and with it every process that might be in it."""
        self.alive = False
        if self._child_handle >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._child_handle, signal.SIGKILL)

    async def close(self) -> None:
        """Kills, reaps and gives everything back.  Safe to call twice."""
        self.alive = False
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        process, self._process = self._process, None
        if process is not None:
            await self._find_child(process)
            self.kill()
            await _reaped(process)
        for name in ("_child_handle", "_stderr", "_info"):
            descriptor = getattr(self, name)
            setattr(self, name, -1)
            if descriptor >= 0:
                os.close(descriptor)
        group, self.group = self.group, cgroups.NO_GROUP
        deadline = time.monotonic() + _CLOSE_S
        # The kernel tells nobody when it lets them go.
        while not group.close() and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def _reaped(process: subprocess.Popen[bytes]) -> int:
    """Waits for the end of bubblewrap, which follows the end of the jail; kills it if it lags."""
    loop = asyncio.get_running_loop()
    if process.poll() is None:
        ended: asyncio.Future[None] = loop.create_future()
        handle = os.pidfd_open(process.pid)

        def settle() -> None:
            if not ended.done():
                ended.set_result(None)

        loop.add_reader(handle, settle)
        try:
            async with asyncio.timeout(_CLOSE_S):
                await ended
        except TimeoutError:
            process.kill()
        finally:
            loop.remove_reader(handle)
            os.close(handle)
            ended.cancel()
    return process.wait()
