"""The tier `monty`: pydantic-monty's interpreter, for machines without user namespaces.

It runs a part of Python, in a worker process that is not a jail: what holds is that the
interpreter has no way out.  `docs/limitations/` says what it lacks; `NOTES` tells a model.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import importlib.util
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .errors import RuntimeUnavailableError, SandboxError
from .limits import Limits
from .runtime import End, Job

if TYPE_CHECKING:
    from pydantic_monty import Monty, MontySession

T = TypeVar("T")

DISTRIBUTIONS = ("pydantic-monty", "pydantic-monty-client", "pydantic-monty-runtime")
VERSION = "1.4.0"
_WORKERS_MAX = 256
_START_S = 20.0

NOTES = """\
The interpreter knows a part of Python only. There is no class inheritance (no exceptions of your \
own), no `yield`, `del`, `async with`, `async for`, `except*` or decorated methods. Of asyncio \
there are `gather` (without return_exceptions), `sleep` and `run`, nothing else; start calls \
together by passing them to `gather`. The modules math, re, json, datetime, random, collections, \
itertools, functools, dataclasses, typing, decimal, bisect, copy, time, hashlib, base64, tomllib \
and unicodedata are there; io, statistics, operator, heapq, string, textwrap, uuid, calendar, \
zoneinfo, contextlib, enum, fractions, struct, threading and sqlite3 are not. Give `key=` a lambda \
instead of a method, and `re.sub` a string. Catch errors of tools with `except Exception`."""


class MontyWorker:
    """A worker that belongs to one session."""

    def __init__(self, runtime: MontyPool, *, began: float, seed: int) -> None:
        self._runtime = runtime
        self._began = began
        self._seed = seed
        self._pid: int | None = None
        self._handle = -1
        self._session: MontySession | None = None
        self._last: object = None
        self.alive = True

    async def open(self) -> None:
        """Checks a fresh worker out of the pool."""
        self._session = await self._runtime.in_thread(self._enter)

    def _enter(self) -> MontySession:
        limits = self._runtime.limits
        session = self._runtime.pool.checkout(
            script_name="program",
            limits={
                "max_feed_duration_secs": min(limits.cpu_s, limits.wall_s),
                "max_memory": limits.memory_mib << 20,
                "max_suspensions": 1_000_000,
            },
            os_policy={
                "datetime": "call_host",
                "sleep": "call_host",
                "random_start": {"seed": self._seed},
            },
            assert_message_annotations=False,
        )
        session.__enter__()
        self._pid = session.worker_pid
        if self._pid is not None and hasattr(os, "pidfd_open"):
            self._handle = os.pidfd_open(self._pid)
        # Classes cannot inherit there, and errors of tools arrive as built-in ones.
        session.feed_run("ToolError = Exception")
        return session

    async def run(self, job: Job) -> End:
        from .monty_run import MontyRun  # noqa: PLC0415  # pydantic-monty is optional

        if self._session is None:
            raise SandboxError("the process is not open")
        run = MontyRun(
            self._session, job, self._runtime.in_thread, began=self._began, seed=self._seed
        )
        run.last = self._last
        loop = asyncio.get_running_loop()
        wall = loop.call_later(job.limits.wall_s, self._on_wall, run)
        try:
            end = await run.outcome()
        except BaseException:
            self.kill()
            raise
        finally:
            wall.cancel()
        self._last = run.last
        if end.status not in {"finished", "failed"}:
            self.kill()
        return end

    def _on_wall(self, run: object) -> None:
        """A worker in the middle of a turn hears nothing; it is killed."""
        from .monty_run import MontyRun  # noqa: PLC0415  # pydantic-monty is optional

        assert isinstance(run, MontyRun)
        run.expire()
        self.kill()

    def kill(self) -> None:
        self.alive = False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._handle >= 0:
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            elif self._pid is not None and not hasattr(os, "pidfd_open"):
                # Not on Linux: there is only the number to go by.
                os.kill(self._pid, signal.SIGTERM)

    async def close(self) -> None:
        self.kill()
        session, self._session = self._session, None
        if session is not None:
            await self._runtime.in_thread(lambda: _leave(session))
        handle, self._handle = self._handle, -1
        self._pid = None
        if handle >= 0:
            os.close(handle)


def _leave(session: MontySession) -> None:
    from pydantic_monty import MontyError  # noqa: PLC0415  # pydantic-monty is optional

    with contextlib.suppress(MontyError, RuntimeError):
        session.__exit__(None, None, None)


class MontyPool:
    """Owns the pool of workers.

    The synchronous form in threads of our own: the asynchronous one has been seen to abort the
    host at the interpreter's exit.
    """

    name = "monty"
    notes = NOTES

    def __init__(self, *, pool: int = 2) -> None:
        self._pool_size = pool
        self._pool: Monty | None = None
        self._threads: ThreadPoolExecutor | None = None
        self.limits = Limits()

    @property
    def pool(self) -> Monty:
        if self._pool is None:
            raise SandboxError("the runtime is not started")
        return self._pool

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Does blocking work in a thread of this runtime."""
        if self._threads is None:
            raise SandboxError("the runtime is not started")
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def start(self, limits: Limits) -> None:
        self.limits = limits
        reason = missing()
        if reason:
            raise RuntimeUnavailableError(reason)
        self._threads = ThreadPoolExecutor(_WORKERS_MAX, thread_name_prefix="polycall-monty")
        try:
            async with asyncio.timeout(_START_S):
                await self.in_thread(self._enter)
        except (OSError, RuntimeError, TimeoutError) as error:
            await self.close()
            raise RuntimeUnavailableError(f"pydantic-monty did not start: {error}") from error

    def _enter(self) -> None:
        from pydantic_monty import Monty  # noqa: PLC0415  # optional, and loaded only when used

        pool = Monty(
            binary_path=_binary(),
            min_processes=max(self._pool_size, 1),
            max_processes=_WORKERS_MAX,
            checkout_timeout=_START_S,
            request_timeout=self.limits.wall_s + 1,
            max_checkouts_per_worker=1,
        )
        pool.__enter__()
        self._pool = pool

    async def open(self, *, began: float, seed: int) -> MontyWorker:
        worker = MontyWorker(self, began=began, seed=seed)
        await worker.open()
        return worker

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await self.in_thread(lambda: pool.__exit__(None, None, None))
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)


def _binary() -> Path | None:
    """The worker that belongs to the distribution, wherever `PATH` may point."""
    for file in importlib.metadata.files(DISTRIBUTIONS[-1]) or []:
        if file.name == "monty":
            return Path(str(file.locate())).resolve()
    return None


def missing() -> str:
    """Why pydantic-monty cannot be used here; empty where it can."""
    if importlib.util.find_spec("pydantic_monty") is None:
        return "pydantic-monty is not installed; install it with `pip install 'polycall[monty]'`"
    versions = {name: importlib.metadata.version(name) for name in DISTRIBUTIONS}
    if set(versions.values()) != {VERSION}:
        found = ", ".join(f"{name} {version}" for name, version in versions.items())
        return f"needs version {VERSION} of all of pydantic-monty, and finds {found}"
    return ""
