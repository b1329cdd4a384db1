"""Calls from inside a program: the same path as direct calls, and data instead of text.

The program's functions stand for tools.  Each call becomes a `ToolCall` of the program and goes to
the executor like any other; what comes back is what the tool returned, parsed.
"""

from __future__ import annotations

import asyncio
import builtins
import contextvars
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import msgspec

from polycall._support import jsontext
from polycall.errors import ToolError
from polycall.ir import JSON, Media, Opaque, Text, ToolCall, ToolResult
from polycall.loop import Execute, emit
from polycall.program.catalogue import Catalogue
from polycall.program.records import NestedCall, PendingCall, ProgramRun
from polycall.program.stubs import Signature
from polycall.sandbox import Call, Pause
from polycall.tools import ToolContext, WrappedToolset
from polycall.tools.results import result_parts


class ResultCapture(WrappedToolset):
    """Sees what tools return and raise, which a result no longer tells.

    A result is text for a model, and to that text `"7"` and `7` are the same.
    """

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self._values: dict[str, Any] = {}
        self._errors: dict[str, Exception] = {}
        self._paused: set[str] = set()

    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        if context.call is None:
            return await super().run(name, arguments, context)
        call_id = context.call.id
        try:
            value = await super().run(name, arguments, context)
        except Pause:
            self._paused.add(call_id)
            return "the result comes later"
        except Exception as error:
            if context.call.caller != "direct":
                self._errors[call_id] = error
            raise
        if context.call.caller != "direct":
            self._values[call_id] = value
        return value

    def take_pause(self, call_id: str) -> bool:
        """Whether the tool said that its result comes later; asked once for each call."""
        is_paused = call_id in self._paused
        self._paused.discard(call_id)
        return is_paused

    def take_data(self, result: ToolResult) -> Any:
        """The tool's result as data; raises its exception as a `ToolError`."""
        value = self._values.pop(result.call_id, None)
        error = self._errors.pop(result.call_id, None)
        if result.is_error:
            raise raised(result.text, error)
        return result.text if isinstance(value, str) else data_of(result, value)

    def forget(self, call_id: str) -> None:
        """Nobody will ask about this call."""
        self._values.pop(call_id, None)
        self._errors.pop(call_id, None)


def data_of(result: ToolResult, value: Any = None) -> Any:
    """A result as plain data.  Text that is JSON is parsed; other text stays text."""
    parts = result.content
    if any(isinstance(part, Media | Opaque) for part in parts) or len(parts) > 1:
        return [msgspec.to_builtins(part) for part in parts]
    is_text = isinstance(value, ToolResult | Text) or value is None
    try:
        data: Any = jsontext.decode(result.text)
    except ValueError:
        return result.text
    # What came as text may look like a number by accident, hardly like an object.
    is_data = not is_text or data is None or isinstance(data, dict | list)
    return data if is_data else result.text  # pyright: ignore[reportUnknownVariableType]


def raised(text: str, error: Exception | None) -> Exception:
    """A failure as the program shall see it: also a built-in error, where the tool raised one."""
    name = type(error).__name__ if error is not None else ""
    if not isinstance(getattr(builtins, name, None), type) or not text.startswith(name):
        return ToolError(text)
    # The sandbox makes a `ToolError` of it that is an error of this name too.
    kind: Callable[[str], Exception] = type(name, (ToolError,), {})
    return kind(text.removeprefix(name).removeprefix(": "))


@dataclass(eq=False, repr=False)
class Nested:
    """The functions of one program, and the record of its calls."""

    run: ProgramRun
    execute: Execute
    capture: ResultCapture
    catalogue: Catalogue
    _: KW_ONLY
    observe: Callable[[ToolResult], None] = lambda _: None

    def __post_init__(self) -> None:
        self._context = contextvars.copy_context()
        self._made = 0
        self._paused: list[tuple[str, tuple[Any, ...], dict[str, Any], ToolCall]] = []
        self._known: list[PendingCall] = []
        self._answers: Mapping[str, Any] = {}

    def go_on(self, made: int, pending: Sequence[PendingCall], answers: Mapping[str, Any]) -> None:
        """Continue a resumed run with the calls that were made, and answers to pending ones."""
        self._made = made
        self._known = list(pending)
        self._answers = answers

    def functions(self) -> dict[str, Callable[..., Awaitable[Any]]]:
        """The functions that the program can await, by name."""
        tools = {
            name: self._function(signature) for name, signature in self.catalogue.signatures.items()
        }
        return {**tools, **self.catalogue.helpers()}

    def pending(self, calls: Sequence[Call]) -> list[PendingCall]:
        """The calls whose result comes later, with the numbers that the journal gave them."""
        left = list(self._paused)
        found: list[PendingCall] = []
        for made in calls:
            wanted = (made.name, made.args, made.kwargs)
            place = next((i for i, each in enumerate(left) if each[:3] == wanted), None)
            if made.outcome == "pending" and place is not None:
                call = left.pop(place)[3]
                found.append(PendingCall(call.id, made.id, call.name, call.arguments_json))
        return found

    def add_replayed(self, calls: Sequence[Call]) -> None:
        """Put the calls whose results came from the journal into the record, before the others."""
        known = {each.call.id for each in self.run.calls}
        replayed: list[NestedCall] = []
        for made in calls:
            signature = self.catalogue.signatures.get(made.name)
            if not made.replayed or signature is None or self._id(made.id) in known:
                continue
            text = jsontext.encode(signature.arguments(made.args, made.kwargs))
            call = ToolCall(self._id(made.id), signature.tool, text, caller=self.run.id)
            answer = ToolError(made.error) if made.outcome == "error" else made.value
            result = None if made.outcome in ("cancelled", "pending") else _given(call, answer)
            replayed.append(NestedCall(call, result))
        self.run.calls[:0] = replayed

    def _id(self, number: int) -> str:
        # Every vendor takes these letters in the id of a call.
        return f"{self.run.id}_{number}"

    def _function(self, signature: Signature) -> Callable[..., Awaitable[Any]]:
        async def function(*args: Any, **kwargs: Any) -> Any:
            call = self._call(signature.tool, signature.arguments(args, kwargs))
            work = asyncio.create_task(_outcome(self._answered(call)), context=self._context.copy())
            try:
                answer, error = await work
            except Pause:
                self._paused.append((signature.function, args, kwargs, call))
                raise
            if error is not None:
                raise error
            return answer

        function.__name__ = signature.function
        return function

    def _call(self, tool: str, arguments: JSON) -> ToolCall:
        text = jsontext.encode(arguments)
        for place, known in enumerate(self._known):
            if (known.name, known.arguments_json) == (tool, text):
                return ToolCall(self._known.pop(place).id, tool, text, caller=self.run.id)
        self._made += 1
        return ToolCall(self._id(self._made), tool, text, caller=self.run.id)

    async def _answered(self, call: ToolCall) -> Any:
        place = len(self.run.calls)
        self.run.calls.append(NestedCall(call))
        started = time.monotonic()
        if call.id in self._answers:
            result = _given(call, self._answers[call.id])
        else:
            result = await self.execute(call)
            if self.capture.take_pause(call.id):
                raise Pause
        self.run.calls[place] = NestedCall(call, result, time.monotonic() - started)
        self.observe(result)
        await emit(self.run.calls[place])
        if call.id in self._answers:
            if result.is_error:
                raise ToolError(result.text)
            answer = self._answers[call.id]
            return answer if isinstance(answer, str) else data_of(result, answer)
        return self.capture.take_data(result)


async def _outcome(answering: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    """A task that raised `SystemExit` would end the event loop, not the run."""
    try:
        return await answering, None
    except (KeyboardInterrupt, SystemExit) as error:
        return None, error


def _given(call: ToolCall, answer: Any) -> ToolResult:
    """An answer from outside as the result that the tool would have had."""
    match answer:
        case ToolResult():
            return ToolResult(call.id, answer.content, is_error=answer.is_error, name=call.name)
        case Exception():
            return ToolResult(call.id, [Text(str(answer))], is_error=True, name=call.name)
        case _:
            return ToolResult(call.id, result_parts(answer), name=call.name)
