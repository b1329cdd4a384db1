"""Long questions about the ledger, answered by another process.

A thread would share the interpreter with the loop: requests would wait for searches.  The process
is started with the first question, reads only, ends after minutes without one, and is started anew
where it died.  Each administrator may have a few questions waiting; they take turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import inspect
import os
import struct
import sys
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar, get_args, get_type_hints

import msgspec

from polycall import errors
from polycall.errors import PolycallError, RateLimitError, StoreError
from polycall.gateway.store.base import Operation, Reader, SlowQueryError

T = TypeVar("T")
P = ParamSpec("P")

QUESTIONS_MAX = 8  # of one administrator that wait
ALL_MAX = 64
QUESTION_S = 10.0
PAUSE_S = 0.02  # after each: one who asks without end takes little from requests
_LENGTH = struct.Struct("!I")
HEAD_BYTES = _LENGTH.size
_INTERRUPT_S = 2.0  # until an interrupted question has to end
_DYING_S = 2.0  # until a process whose pipe has ended has to end
# What the interpreter and a database's driver need; the rest may be providers' keys.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SYSTEMROOT")
_ENVIRONMENT_HEADS = ("PG", "LC_", "PYTHON", "SSL_")


class _Question(NamedTuple):
    data: bytes
    result: Any  # its type
    done: asyncio.Future[Any]


class ReadingProcess:
    """Asks another process what a reader finds.  `close` ends it."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._waiting: OrderedDict[str, deque[_Question]] = OrderedDict()
        self._working: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._number = 0

    async def ask(
        self, of: str, question: Callable[P, Operation[T]], *given: P.args, **named: P.kwargs
    ) -> T:
        """Ask the other process for the operation's result; `of` is the asker.

        Raises `SlowQueryError` after ten seconds of reading, `RateLimitError` for one who asks
        while too many of their questions wait, and `StoreError` where the database does not answer.
        """
        data = msgspec.msgpack.encode((_name(question), given, named))
        own = self._waiting.get(of, ())
        if len(own) >= QUESTIONS_MAX or sum(map(len, self._waiting.values())) >= ALL_MAX:
            raise RateLimitError(
                f"{len(own)} of your questions about the ledger wait already; ask again later",
                retry_after_s=1.0,
                should_retry=False,
            )
        asked = _Question(data, result_type(question), asyncio.get_running_loop().create_future())
        self._waiting.setdefault(of, deque()).append(asked)
        if self._working is None or self._working.done():
            self._working = asyncio.ensure_future(self._work())
        try:
            return await asked.done
        finally:
            self._drop(of, asked)

    async def close(self) -> None:
        """Answer nothing more, and end the process."""
        if self._working is not None:
            self._working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._working
        await self._end_process()

    def _drop(self, of: str, question: _Question) -> None:
        """Let it wait no longer: who asked has left, or has the answer."""
        waiting = self._waiting.get(of, deque())
        if question in waiting:
            waiting.remove(question)
            if not waiting:
                del self._waiting[of]

    async def _work(self) -> None:
        try:
            while self._waiting:
                # Who comes first goes to the end: one with many questions delays no other's first.
                of, questions = next(iter(self._waiting.items()))
                question = questions.popleft()
                self._waiting.move_to_end(of)
                if not questions:
                    del self._waiting[of]
                await self._settle(question)
                await asyncio.sleep(PAUSE_S)
        finally:
            for questions in self._waiting.values():
                for question in questions:
                    _fail(question, StoreError("the gateway ends; ask the next one"))
            self._waiting.clear()

    async def _settle(self, question: _Question) -> None:
        try:
            if not question.done.done():
                result = await self._answer(question)
                if not question.done.done():
                    question.done.set_result(result)
        except PolycallError as error:
            _fail(question, error)
        except BaseException:
            _fail(question, StoreError("the gateway ends; ask the next one"))
            raise

    async def _answer(self, question: _Question) -> Any:
        died = ""
        for _ in range(2):  # it may have died, or ended for want of questions
            try:
                process = self._process or await self._start_process()
                return await self._exchange(process, question)
            except (OSError, asyncio.IncompleteReadError) as error:
                code = await self._end_process(_DYING_S)
                died = f"it ended with status {code}" if code is not None else str(error)
        raise StoreError(f"the process that reads the ledger does not answer: {died}")

    async def _exchange(self, process: asyncio.subprocess.Process, question: _Question) -> Any:
        assert process.stdin is not None
        self._number += 1
        process.stdin.write(framed((self._number, question.data)))
        reply = asyncio.ensure_future(_reply(process))
        try:
            await asyncio.wait(
                {reply, question.done},
                timeout=QUESTION_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if reply.done():
                return _result(reply.result(), self._number, question.result)
            process.stdin.write(framed((self._number, None)))
            await asyncio.wait({reply}, timeout=_INTERRUPT_S)
            if not reply.done():
                await self._end_process()
            raise SlowQueryError
        finally:
            reply.cancel()

    async def _start_process(self) -> asyncio.subprocess.Process:
        environment = {
            name: value
            for name, value in os.environ.items()
            if name in _ENVIRONMENT or name.startswith(_ENVIRONMENT_HEADS)
        }
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        # Not `-m` alone, which looks for modules in the working directory first.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "polycall.gateway.store.reader_main"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
        )
        assert process.stdin is not None
        process.stdin.write(framed(self._reader.address))
        self._process = process
        return process

    async def _end_process(self, dying_s: float = 0.0) -> int | None:
        """End it, however it is; gives its status, and `None` where there was none.

        One that is ending by itself is left to it for `dying_s`: its own status tells more.
        """
        process, self._process = self._process, None
        if process is None:
            return None
        if dying_s:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(dying_s):
                    return await process.wait()
        with contextlib.suppress(ProcessLookupError):
            process.kill()  # it only reads
        assert process.stdin is not None
        process.stdin.close()
        return await process.wait()


async def _reply(process: asyncio.subprocess.Process) -> Any:
    assert process.stdout is not None
    length = frame_length(await process.stdout.readexactly(HEAD_BYTES))
    return msgspec.msgpack.decode(await process.stdout.readexactly(length))


def _result(reply: Any, number: int, kind: Any) -> Any:
    answered, is_well, value = reply
    assert answered == number, "questions are asked one after the other"
    if is_well:
        return msgspec.convert(value, kind)
    name, words = value
    error: Any = SlowQueryError if name == SlowQueryError.__name__ else getattr(errors, name)
    raise error(words)


def _fail(question: _Question, error: Exception) -> None:
    if not question.done.done():
        question.done.set_exception(error)


# What goes through the pipes.  Messages are values and never code: a question is a function's name.


def framed(value: object) -> bytes:
    """The bytes of a message."""
    data = msgspec.msgpack.encode(value)
    return _LENGTH.pack(len(data)) + data


def frame_length(head: bytes) -> int:
    """The number of bytes that follow these four."""
    return _LENGTH.unpack(head)[0]


def operation_of(data: bytes) -> Operation[Any]:
    """The operation that a question names, with its arguments as their types say."""
    name, given, named = msgspec.msgpack.decode(data)
    module, _, function = name.partition(":")
    try:
        question = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError):
        question = None
    if not inspect.isgeneratorfunction(question):  # to call one runs nothing of it
        raise StoreError(f"{name[:100]!r} is no question about the ledger")
    types = get_type_hints(question)
    bound = inspect.signature(question).bind(*given, **named)
    for each, value in bound.arguments.items():
        bound.arguments[each] = msgspec.convert(value, types[each])
    return question(*bound.args, **bound.kwargs)


@functools.cache
def result_type(question: Callable[..., Operation[Any]]) -> Any:
    """The type of what a question's operation gives."""
    return get_args(get_type_hints(question)["return"])[-1]


def _name(question: Callable[..., Operation[Any]]) -> str:
    return f"{question.__module__}:{question.__qualname__}"
