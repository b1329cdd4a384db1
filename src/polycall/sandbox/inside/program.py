"""Runs the programs of one session: one namespace, one loop, one run after the other."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import linecache
import mmap
import sys
import traceback
import types
from collections.abc import Coroutine
from typing import Any

from . import plain
from .channel import Channel, Frame, HostGone
from .clock import Determinism
from .loop import ProgramLoop, TurnSelector, install_nested_run, install_ordered_as_completed
from .output import Output, text_stream
from .tools import ToolError, Tools

FILE_PREFIX = "<program"
_TRACEBACK_CHARACTERS = 6_000
_FRAMES_MAX = 50
_RESERVE_BYTES = 8 << 20


class Session:
    """The state between runs."""

    def __init__(self, channel: Channel, determinism: Determinism) -> None:
        self._channel = channel
        self._clock = determinism.clock
        self._tools = Tools(channel)
        self._stdout = Output(channel, "stdout")
        self._stderr = Output(channel, "stderr")
        self._text_streams = (text_stream(self._stdout), text_stream(self._stderr))
        self._module = types.ModuleType("__main__")
        self._module.__dict__.update(
            ToolError=ToolError, __builtins__=__builtins__, exit=sys.exit, quit=sys.exit
        )
        self._tool_names: set[str] = set()
        # Given up to report an error when a program has taken all memory.
        self._reserve: mmap.mmap | None = None
        self._loop = self._new_loop()
        install_nested_run(self._new_loop)
        install_ordered_as_completed()

    def _new_loop(self) -> ProgramLoop:
        selector = TurnSelector(self._channel, self._clock, self._on_turn, self._before_wait)
        return ProgramLoop(selector, self._clock)

    def _before_wait(self) -> None:
        for stream in self._text_streams:
            stream.flush()
        self._stdout.send()
        self._stderr.send()

    def _on_turn(self, turn: Frame) -> None:
        self._clock.replaying = bool(turn["replaying"])
        self._clock.advance_to(turn["now"])
        self._tools.deliver(turn)

    def rehearse(self) -> None:
        """Goes once through what a run goes through, so that the first one is not the slow one."""
        name = f"{FILE_PREFIX} 0>"
        for code in ("async def nothing():\n    pass\nawait nothing()\n1", "1 / 0"):
            try:
                plain.shown(self._execute(*_compiled(code, name)), size_bytes=100)
            except ZeroDivisionError as error:
                _failed(error, name)
        self._module.__dict__.pop("nothing", None)
        linecache.cache.pop(name, None)

    def run(self, frame: Frame) -> None:
        """One run, from its `run` frame to its `end` frame."""
        limits = frame["limits"]
        self._clock.replaying = bool(frame["replaying"])
        self._clock.advance_to(frame["now"])
        self._tools.start(limits)
        self._stdout.start(limits["stdout_bytes"])
        self._stderr.start(limits["stderr_bytes"])
        self._bind_tools(frame["tools"])
        with contextlib.suppress(MemoryError, OSError):
            self._reserve = self._reserve or mmap.mmap(-1, _RESERVE_BYTES)
        number = frame["number"]
        name = f"{FILE_PREFIX}>" if number == 1 else f"{FILE_PREFIX} {number}>"
        sys.modules["__main__"] = self._module
        self._text_streams = (text_stream(self._stdout), text_stream(self._stderr))
        sys.stdout, sys.stderr = self._text_streams
        end = self._outcome(frame, name, limits["value_bytes"])
        with contextlib.suppress(ValueError):  # a program may have closed them
            self._before_wait()
        self._module.__dict__["_stdout"] = self._stdout.whole.decode("utf-8", "replace")
        dropped = self._stdout.finish()
        self._stderr.finish()
        if dropped:
            end["cuts"].append(f"stdout: {dropped} bytes")
        self._channel.put(end)
        self._channel.flush()

    def _bind_tools(self, tools: dict[str, str]) -> None:
        namespace = self._module.__dict__
        for name in self._tool_names - tools.keys():
            namespace.pop(name, None)
        self._tool_names = set(tools)
        for name, documentation in tools.items():
            namespace[name] = self._tools.stub(name, documentation)

    def _outcome(self, frame: Frame, name: str, value_bytes: int) -> Frame:
        try:
            # The text of the program stays in no frame that the program can look into.
            value = self._execute(*_compiled(frame.pop("code"), name))
        except HostGone:
            raise
        except SystemExit as leave:
            if leave.code in (None, 0):
                return self._finished(None, value_bytes)
            return _failed(leave, name)
        except BaseException as error:  # noqa: BLE001  # the program's error, of any kind
            self._give_reserve()
            return _failed(error, name)
        try:
            return self._finished(value, value_bytes)
        except MemoryError as error:
            self._give_reserve()
            return _failed(error, name)

    def _give_reserve(self) -> None:
        if self._reserve is not None:
            self._reserve.close()
            self._reserve = None

    def _finished(self, value: object, value_bytes: int) -> Frame:
        if inspect.iscoroutine(value):
            value.close()
            value = None
            self._stderr.write(b"the last expression is a coroutine: is an `await` missing?\n")
        if value is not None:
            self._module.__dict__["_"] = value
        shown, cuts = plain.shown(value, size_bytes=value_bytes)
        return {"type": "end", "ok": True, "value": shown, "cuts": cuts}

    def _execute(self, compiled: types.CodeType, holds_value: bool) -> object:
        namespace = self._module.__dict__
        namespace.pop("_value_of_last_expression", None)

        async def main() -> None:
            # `eval` of code with a top-level await gives a coroutine to await.
            outcome = eval(compiled, namespace)  # noqa: S307  # what this process is for
            if inspect.iscoroutine(outcome):
                await outcome

        self._drive(main())
        return namespace.pop("_value_of_last_expression", None) if holds_value else None

    def _drive(self, main: Coroutine[Any, Any, None]) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(main)
        finally:
            leftover = asyncio.all_tasks(loop)
            for task in leftover:
                task.cancel()
            if leftover:
                loop.run_until_complete(_finish_all(leftover))


async def _finish_all(tasks: set[asyncio.Task[Any]]) -> None:
    """Waits for cancelled tasks; those that swallow their cancellation end with the run's time."""
    await asyncio.gather(*tasks, return_exceptions=True)


def _compiled(code: str, name: str) -> tuple[types.CodeType, bool]:
    """The program, with the value of its last expression kept, and whether there is one."""
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    tree = ast.parse(code, name)
    last = tree.body[-1] if tree.body else None
    holds_value = isinstance(last, ast.Expr)
    if isinstance(last, ast.Expr):
        target = ast.Name(id="_value_of_last_expression", ctx=ast.Store())
        tree.body[-1] = ast.Assign(targets=[target], value=last.value)
        ast.copy_location(tree.body[-1], last)
        ast.fix_missing_locations(tree)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    return compile(tree, name, "exec", flags=flags, dont_inherit=True), holds_value


def _failed(error: BaseException, name: str) -> Frame:
    report = traceback.TracebackException.from_exception(error, limit=-_FRAMES_MAX, compact=True)
    _keep_own_lines(report, set())
    text = "".join(report.format())
    if len(text) > _TRACEBACK_CHARACTERS:
        half = _TRACEBACK_CHARACTERS // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half} characters cut …\n{text[-half:]}"
    lines = [frame.lineno for frame in report.stack if frame.filename == name]
    message = "".join(report.format_exception_only()).strip()
    described = {
        "name": type(error).__name__,
        "message": message.partition(": ")[2][:2_000] + _hint(error),
        "traceback": text,
        "line": lines[-1] if lines else getattr(error, "lineno", None),
    }
    return {"type": "end", "ok": False, "error": described, "cuts": []}


def _hint(error: BaseException) -> str:
    """A hint at a forgotten `await`: a tool's call gives its result only once it is awaited."""
    is_forgotten = isinstance(error, TypeError | AttributeError) and "coroutine" in str(error)
    return "; is an `await` missing before a tool's call?" if is_forgotten else ""


def _keep_own_lines(report: traceback.TracebackException, seen: set[int]) -> None:
    """Drops the frames of the machinery and of libraries, here and in what caused the error."""
    if id(report) in seen or len(seen) > 20:
        return
    seen.add(id(report))
    own = [frame for frame in report.stack if frame.filename.startswith(FILE_PREFIX)]
    report.stack = traceback.StackSummary.from_list(own)
    for linked in (report.__cause__, report.__context__):
        if linked is not None:
            _keep_own_lines(linked, seen)
    group: list[traceback.TracebackException] = getattr(report, "exceptions", None) or []
    for inner in group:
        _keep_own_lines(inner, seen)
