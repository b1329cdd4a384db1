"""Stands before the models and the tools of a run: answers from its journal, or adds to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable
from decimal import Decimal
from typing import Any

from polycall._support import jsontext
from polycall.agents.compaction import Shortened
from polycall.agents.context import RunState
from polycall.agents.journal import (
    Change,
    Entry,
    Journal,
    NoJournal,
    Place,
    RunDivergenceError,
    current_place,
    encoded,
    enter,
)
from polycall.agents.task import TaskNote
from polycall.client import ModelClient
from polycall.errors import ToolError
from polycall.instrumentation import forget
from polycall.ir import JSON, Event, Message, Request, Response, Text, ToolCall, ToolResult, Usage
from polycall.loop import Execute, Suspended
from polycall.streams import Stream
from polycall.tools import ToolContext, WrappedToolset
from polycall.tools.context import call_key
from polycall.tools.results import result_parts


class NoMarks:
    """Marks for runs without a journal: variables may be anything, and changes are not compared."""

    def change(self, state: RunState) -> Change:
        return Change()


class JournalingModel:
    """Stands before the model and the tools of a loop: answers from the journal, or adds to it.

    Without a journal it only says where each call stands; no model is asked through it.
    """

    def __init__(self, state: RunState) -> None:
        self.client: ModelClient = state.root.client
        self._journal = state.root.journal or NoJournal(state.root.run_id)
        self._state = state
        self._number = 0
        self._injected: dict[str, str] = {}
        self._shortened: dict[str, Shortened] = {}
        self._added: list[Message] = []
        self._told: dict[str, TaskNote] = {}

    def ahead(self, number: int) -> Entry | None:
        """The model's answer to a step that is to come, where it is known already."""
        return self._journal.entries.get(self._model_key(number))

    def tell(self, added: list[Message], reported: dict[str, TaskNote]) -> None:
        """The next answer is to these messages too, of tasks that have ended."""
        self._added, self._told = added, reported

    def add(self, added: list[Message]) -> None:
        """The next answer is to these messages as well."""
        self._added = [*self._added, *added]

    def cost(self, model: str, usage: Usage) -> Decimal | None:
        """The cost, by the client's prices."""
        return self.client.cost(model, usage)

    async def generate_request(self, request: Request) -> Response:
        """The answer that is known, or a new one."""
        key = self._next_key()
        entry = self._known_answer(key)
        if entry is None:

            async def work() -> Entry:
                return self._answered(await self.client.generate_request(request))

            entry = await self._journal.perform(key, work)
        return _response(entry)

    async def summary(self, number: int, request: Request) -> Response:
        """The vendor's summary of what was said before a step: known, or a new one."""
        key = f"{self._state.scope}summary/{number}"
        name = self._state.frames[-1].agent
        entry = self._journal.known(key, name)
        if entry is None:

            async def work() -> Entry:
                response = await self.client.generate_request(request)
                return Entry(name, response=response, carried=self._journal.carried)

            entry = await self._journal.perform(key, work)
        return _response(entry)

    def stream_request(self, request: Request) -> Stream:
        """The same as events."""
        key = self._next_key()
        entry = self._known_answer(key)
        if entry is not None:
            return Stream.of(_response(entry))
        inner = self.client.stream_request(request)
        return Stream(self._kept(key, inner), inner.warnings)

    async def _kept(self, key: str, inner: Stream) -> AsyncGenerator[Event]:
        async with inner:
            async for event in inner:
                yield event

        async def work() -> Entry:
            return self._answered(inner.response)

        await self._journal.perform(key, work)

    def executing(
        self, number: int, execute: Execute, has_steps: Callable[[ToolCall], bool]
    ) -> Execute:
        """The function that runs the calls of a step through the journal."""
        seen: Counter[str] = Counter()

        async def run(call: ToolCall) -> ToolResult:
            seen[call.id] += 1
            again = f"+{seen[call.id]}" if seen[call.id] > 1 else ""
            key = f"{self._state.scope}call/{number}/{call.id}{again}"
            entry = self._journal.known(key, call.name)
            if entry is None:
                entry = await self._executed(key, call, execute, has_steps=has_steps(call))
            else:
                self._apply(entry)
            return _result(entry)

        return run

    async def _executed(
        self, key: str, call: ToolCall, execute: Execute, *, has_steps: bool
    ) -> Entry:
        place, before = Place(key), self._marks()
        enter(place)
        call_key.set(f"{self._journal.run_id}/{key}")

        async def work() -> Entry:
            result = await execute(call)
            if place.is_suspended:
                raise Suspended
            return Entry(
                call.name,
                result=result,
                change=before.change(self._state),
                usage=place.usage,
                cost=place.cost,
                carried=self._journal.carried,
            )

        return await self._journal.perform(key, work, has_steps=has_steps)

    def _marks(self) -> StateMarks | NoMarks:
        return StateMarks(self._state) if self._journal.is_kept else NoMarks()

    def _apply(self, entry: Entry) -> None:
        state, change = self._state, entry.change
        state.variables.update(change.variables)
        for name in change.removed:
            state.variables.pop(name, None)
        state.opened.update(dict.fromkeys(change.opened))
        state.transfer = change.transfer or state.transfer
        state.handoffs = max(state.handoffs, change.handoffs)
        state.end = change.end or state.end
        if change.ended_with is not None:
            state.ended_with = change.ended_with
        state.tasks.update(change.tasks)
        state.spend(entry.usage, entry.cost)

    def _known_answer(self, key: str) -> Entry | None:
        entry = self._journal.known(key, self._state.frames[-1].agent)
        if entry is not None:
            self._state.injected.update(entry.change.injected)
        return entry

    def _answered(self, response: Response) -> Entry:
        # What memory put into the prompt, and what stands for messages that are not sent any more,
        # stays there when the run continues elsewhere.
        injected = dict(self._state.injected.items() - self._injected.items())
        shortened = {
            key: made
            for key, made in self._state.shortened.items()
            if self._shortened.get(key) != made
        }
        self._injected.update(injected)
        self._shortened.update(shortened)
        name = self._state.frames[-1].agent
        change = Change(injected=injected, shortened=shortened, tasks=self._told)
        entry = Entry(
            name,
            response=response,
            change=change,
            added=self._added,
            carried=self._journal.carried,
        )
        self._added, self._told = [], {}
        return entry

    def _next_key(self) -> str:
        self._number += 1
        return self._model_key(self._number)

    def _model_key(self, number: int) -> str:
        return f"{self._state.scope}model/{number}"


class JournalingToolset(WrappedToolset):
    """Tools whose calls by programs go through the journal; a model's calls do so elsewhere."""

    def __init__(self, inner: Any, journal: Journal) -> None:
        super().__init__(inner)
        self._journal = journal

    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        place, call = current_place(), context.call
        if place is None or call is None or call.caller == "direct":
            return await super().run(name, arguments, context)
        base = place.inner_key(call)
        place.made[base] += 1
        key = f"{base}:{place.made[base]}"
        entry = self._journal.known(key, name)
        if entry is None:

            async def work() -> Entry:
                inner = Place(key)
                enter(inner)
                try:
                    return await self._called(name, arguments, context)
                finally:
                    place.spend(inner.usage, inner.cost)

            entry = await self._journal.perform(key, work, has_steps=self[name].has_steps)
        else:
            forget()
        return _value(entry)

    async def _called(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Entry:
        try:
            value = await super().run(name, arguments, context)
        except ToolError as error:
            result = ToolResult("", [Text(str(error))], is_error=True)
            return Entry(name, result=result, carried=self._journal.carried)
        return Entry(
            name,
            result=ToolResult("", result_parts(value)),
            is_text=isinstance(value, str),
            carried=self._journal.carried,
        )


def _value(entry: Entry) -> Any:
    """The value that the tool returned, as a program would receive it."""
    result = _result(entry)
    if result.is_error:
        raise ToolError(result.text)
    match result.content:
        case [Text(text=text)]:
            return text if entry.is_text else jsontext.decode(text)
        case _:
            return result


class StateMarks:
    """A copy of a run's state from before a call."""

    def __init__(self, state: RunState) -> None:
        self._variables = {name: encoded(name, value) for name, value in state.variables.items()}
        self._opened = set(state.opened)
        self._transfer = state.transfer
        self._handoffs = state.handoffs
        self._tasks = dict(state.tasks)

    def change(self, state: RunState) -> Change:
        """The difference to the state before.

        Parallel calls may share a difference: it is the same.
        """
        return Change(
            variables={
                name: value
                for name, value in state.variables.items()
                if self._variables.get(name) != encoded(name, value)
            },
            removed=[name for name in self._variables if name not in state.variables],
            opened=[name for name in state.opened if name not in self._opened],
            transfer=state.transfer if state.transfer != self._transfer else None,
            handoffs=state.handoffs if state.handoffs != self._handoffs else 0,
            end=state.end,
            ended_with=state.ended_with,
            tasks={
                task_id: note
                for task_id, note in state.tasks.items()
                if self._tasks.get(task_id) != note
            },
        )


def _response(entry: Entry) -> Response:
    if entry.response is None:
        raise RunDivergenceError(
            f"the journal has no answer of {entry.name!r} where it has an entry"
        )
    return entry.response


def _result(entry: Entry) -> ToolResult:
    if entry.result is None:
        raise RunDivergenceError(
            f"the journal has no result of {entry.name!r} where it has an entry"
        )
    return entry.result
