"""A session: one owner's programs, in one namespace, with one journal.

A session has one process, or none: none before its first run, and none after a run that had to be
killed.  The next run then gets a fresh process in which the journal is replayed.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import platform
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from typing import Any, Self

from .errors import JournalError, ProtocolViolationError, SandboxError, SessionClosedError
from .journal import Journal, RecordedRun, check_size
from .limits import Limits
from .result import ProgramError, RunResult
from .runtime import End, Job, Process, Runtime
from .tool_call_broker import Function, Recovery, ToolCallBroker, plain_answers


async def _never(*_: Any, **__: Any) -> Any:
    """Stands for a tool whose results all come from the journal."""
    raise SandboxError("a replayed run called a tool")


class Session:
    """Made by `Sandbox.session`.  Its state ends with `close`, or when nobody used it in time."""

    def __init__(
        self,
        runtime: Runtime,
        limits: Limits,
        *,
        identity: str,
        seed: int | None = None,
        journal: Journal | None = None,
        idle_s: float = 300.0,
        on_closed: Callable[[Session], None] = lambda _: None,
    ) -> None:
        self.id = identity
        self.limits = limits
        self.journal = Journal() if journal is None else journal
        self._runtime = runtime
        self._idle_s = idle_s
        self._on_closed = on_closed
        self._lock = asyncio.Lock()
        self._process: Process | None = None
        self._closed = ""
        self._expiry: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None
        self._runs = 0
        self._last_now = 0.0
        self._seed = secrets.randbits(62) if seed is None else seed
        self._began = time.time()
        self._touch()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def seed(self) -> int:
        return self._seed

    # Its life.

    def _touch(self) -> None:
        """Moves the expiry."""
        if self._expiry is not None:
            self._expiry.cancel()
        self.expires_at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(
            seconds=self._idle_s
        )
        self._expiry = asyncio.get_running_loop().call_later(self._idle_s, self._expire)

    def _expire(self) -> None:
        if self._lock.locked():
            self._touch()
            return
        self._closed = f"session {self.id} expired: it was not used for {self._idle_s:g} s"
        self._closing = asyncio.get_running_loop().create_task(self.close())

    async def close(self) -> None:
        """Ends the session; a run that is under way is killed."""
        self._closed = self._closed or f"session {self.id} is closed"
        if self._expiry is not None:
            self._expiry.cancel()
        if self._closing is not None and self._closing is not asyncio.current_task():
            await self._closing
            return
        await self._drop_process()
        self.journal.close()
        self._on_closed(self)

    def _check_open(self) -> None:
        if self._closed:
            raise SessionClosedError(self._closed)

    # Its runs.

    async def run(self, code: str, functions: Mapping[str, Function] | None = None) -> RunResult:
        """Runs a program, in which `functions` are there to be awaited.

        Whatever the program does, the answer is a `RunResult`; one run of a session at a time.
        """
        functions = _checked_functions(functions or {})
        if len(code) > self.limits.code_chars:
            words = f"{len(code)} characters; at most {self.limits.code_chars} are run"
            return RunResult(status="failed", error=ProgramError("SyntaxError", words))
        async with self._use():
            if len(self.journal) and not self._runs:
                raise JournalError("the journal has runs already; continue with `resume`")
            process = await self._ready()
            self._begin_journal()
            self._runs += 1
            now = max(self._last_now, time.time() - self._began)
            entry = {"kind": "run", "run": self._runs, "code": code, "now": now}
            self.journal.append({**entry, "tools": sorted(functions)})
            broker = ToolCallBroker(functions, self.limits, self.journal, run=self._runs, now=now)
            job = Job(code, self._runs, self.limits, broker, now)
            return await self._finished(process, job)

    async def resume(
        self,
        journal: Journal | str,
        functions: Mapping[str, Function] | None = None,
        *,
        answers: Mapping[int, Any] | None = None,
        retry: Collection[str] = (),
    ) -> RunResult | None:
        """Brings this new session to where a journal ends, and continues from there.

        No result that the journal has is fetched again.  Where it ends inside a run, that run
        continues and its result is returned; otherwise `None`.  `answers` gives results for calls
        by their id, such as a paused one; `retry` names tools that may be called again although the
        journal does not say whether they were called before.
        """
        functions = _checked_functions(functions or {})
        recorded = await self._read(journal)
        async with self._use():
            if self._runs or self._process is not None:
                raise JournalError("only a new session can resume a journal")
            runs = await asyncio.to_thread(recorded.runs)
            self._adopt_header(recorded)
            unfinished = runs[-1] if runs and not runs[-1].is_over else None
            recovery = Recovery(answers=plain_answers(answers or {}, self.limits), retry=retry)
            if unfinished is not None:
                recovery.check(unfinished)
                self._check_tools(unfinished, recorded, functions)
            await asyncio.to_thread(self.journal.adopt, recorded)
            self._runs = len(runs)
            process = await self._ready()
            if unfinished is None:
                return None
            return await self._continued(process, unfinished, functions, recovery)

    async def _read(self, journal: Journal | str) -> Journal:
        if isinstance(journal, str):
            return await asyncio.to_thread(Journal.from_json, journal, self.limits)
        check_size(journal.size_bytes, len(journal), self.limits)
        return journal

    def _adopt_header(self, recorded: Journal) -> None:
        header = recorded.header()
        ours = (self._runtime.name, platform.python_version_tuple()[:2])
        theirs = (header["tier"], tuple(header["python"].split(".")[:2]))
        if ours != theirs:
            raise JournalError(
                f"the journal was made on tier {theirs[0]!r} under Python {'.'.join(theirs[1])}; "
                f"this is {ours[0]!r} under {'.'.join(ours[1])}"
            )
        self._seed = header["seed"]
        self._began = header["began"]

    def _check_tools(
        self, run: RecordedRun, journal: Journal, functions: Mapping[str, Function]
    ) -> None:
        missing = [name for name in _tools_of(journal, run.number) if name not in functions]
        if missing:
            raise JournalError(f"run {run.number} was given tools that are missing now: {missing}")

    async def _continued(
        self,
        process: Process,
        run: RecordedRun,
        functions: Mapping[str, Function],
        recovery: Recovery,
    ) -> RunResult:
        names = _tools_of(self.journal, run.number)
        broker = ToolCallBroker(
            {name: functions[name] for name in names},
            self.limits,
            self.journal,
            run=run.number,
            now=run.now,
            recorded=run,
            recovery=recovery,
        )
        job = Job(run.code, run.number, self.limits, broker, run.now, replaying=bool(run.turns))
        return await self._finished(process, job)

    @contextlib.asynccontextmanager
    async def _use(self) -> AsyncGenerator[None]:
        self._check_open()
        async with self._lock:
            self._check_open()
            self._touch()
            try:
                yield
            finally:
                if not self._closed:
                    self._touch()

    def _begin_journal(self) -> None:
        if not len(self.journal):
            self.journal.append(
                {
                    "kind": "session",
                    "version": 1,
                    "id": self.id,
                    "tier": self._runtime.name,
                    "python": platform.python_version(),
                    "seed": self._seed,
                    "began": self._began,
                }
            )

    async def _ready(self) -> Process:
        """The session's process; a new one is first brought to where the journal is."""
        if self._process is not None and self._process.alive:
            return self._process
        await self._drop_process()
        try:
            process = await self._runtime.open(began=self._began, seed=self._seed)
        except SandboxError:
            self._check_open()
            raise
        if self._closed:  # meanwhile
            await process.close()
        self._check_open()
        self._process = process
        if len(self.journal):
            for run in await asyncio.to_thread(self.journal.runs):
                if run.is_replayed_for_state:
                    await self._replayed(process, run)
        return process

    async def _replayed(self, process: Process, run: RecordedRun) -> None:
        names = _tools_of(self.journal, run.number)
        broker = ToolCallBroker(
            dict.fromkeys(names, _never),
            self.limits,
            self.journal,
            run=run.number,
            now=run.now,
            recorded=run,
        )
        job = Job(run.code, run.number, self.limits, broker, run.now, replaying=True)
        try:
            end = await process.run(job)
        finally:
            await broker.close()
        self._last_now = max(self._last_now, broker.now())
        if end.status != run.status:
            await self._drop_process()
            raise JournalError(
                f"run {run.number} was {run.status!r} in the journal and is now {end.status!r}"
            )

    async def _drop_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await process.close()

    async def _finished(self, process: Process, job: Job) -> RunResult:
        began = time.monotonic()
        try:
            end = await process.run(job)
        except ProtocolViolationError as violation:
            end = End("crashed", error=ProgramError("ProtocolViolationError", str(violation)))
        except SandboxError as error:
            await self._drop_process()
            if isinstance(error, JournalError):
                raise
            end = End("killed", error=ProgramError(type(error).__name__, str(error)))
        except BaseException:
            await self._drop_process()
            raise
        finally:
            await job.broker.close()
        self._last_now = max(self._last_now, job.broker.now())
        self.journal.append({"kind": "end", "run": job.number, "status": end.status})
        if not process.alive:
            await self._drop_process()
        return _result(end, job, time.monotonic() - began)


def _result(end: End, job: Job, duration_s: float) -> RunResult:
    return RunResult(
        status=end.status,
        stdout=end.stdout,
        stderr=end.stderr,
        value=end.value,
        error=end.error,
        calls=job.broker.calls,
        duration_s=duration_s,
        truncated=bool(end.cuts),
        cuts=tuple(end.cuts),
        memory_mib=end.memory_mib,
    )


def _tools_of(journal: Journal, run: int) -> list[str]:
    for entry in journal.entries:
        if entry["kind"] == "run" and entry["run"] == run:
            return list(entry["tools"])
    raise JournalError(f"run {run} does not begin")


def _checked_functions(functions: Mapping[str, Function]) -> dict[str, Function]:
    for name, function in functions.items():
        if not name.isidentifier():
            raise ValueError(f"{name!r} cannot be the name of a function in a program")
        if getattr(function, "needs_approval", False):
            raise ValueError(
                f"the tool {name!r} needs approval, and a session asks nobody; give it to an "
                "Agent with calling='code', which does"
            )
    return dict(functions)
