"""One run as observers see it: itself, its steps, and what its model is asked.

`SpeakerClient` asks each model by the client of the agent that holds the conversation.

It stands behind the journal, so that what is answered from there is not seen again.  A run gives
its events from a generator, so nothing here is ever current while one is handed out.
"""

from __future__ import annotations

from decimal import Decimal

from polycall.agents.context import RunState
from polycall.agents.journal import Journal
from polycall.instrumentation import (
    RunFinished,
    RunStarted,
    StepStarted,
    TraceContext,
    Watched,
    Watcher,
    watcher,
)
from polycall.ir import Message, Request, Response, ToolCall, ToolResult, Usage
from polycall.loop import Execute, LoopEvent, RunEnd, StepEnd
from polycall.streams import Stream, watched_answer, watched_stream


class WatchedRun:
    """A run from its first request to its end, as a model client that tells of each request."""

    def __init__(self, by: Watcher, run: Watched, state: RunState) -> None:
        self._by = by
        self._run = run
        self._state = state
        self._next = StepStarted(0, "")
        self._step: Watched | None = None

    @classmethod
    def begun(
        cls, agent: str, model: str, state: RunState, messages: list[Message]
    ) -> WatchedRun | None:
        """A run that begins now; none where nobody watches."""
        by = watcher()
        if by is None:
            return None
        root = state.root
        is_first = state.depth == 0
        run = by.begin(
            RunStarted(
                agent=agent,
                model=model,
                run_id=root.run_id,
                messages=messages,
                carried=root.carried if is_first else {},
                earlier=_earlier(root.journal) if is_first else [],
            )
        )
        if root.journal is not None and is_first:
            root.journal.carried = run.carried()
        return cls(by, run, state)

    def step(self, number: int, agent: str) -> None:
        """A step is about to begin; it has, once something is done that is not known already."""
        self._next = StepStarted(number, agent)

    def heard(self, event: LoopEvent) -> None:
        """A step, or the run, may be over."""
        if isinstance(event, StepEnd | RunEnd):
            self._end_step()
        if isinstance(event, RunEnd):
            answer = event.steps[-1].response.message if event.steps else None
            self._run.tell(RunFinished(event.reason, self._state.usage, self._state.cost, answer))
            self._run.end()

    def stop(self, error: BaseException) -> None:
        """The run is over before its end."""
        self._end_step(error)
        self._run.end(error)

    def executing(self, execute: Execute) -> Execute:
        """The function that runs the calls of a step, each in a task of its own."""

        async def run(call: ToolCall) -> ToolResult:
            with self._begun_step().current():
                return await execute(call)

        return run

    async def generate_request(self, request: Request) -> Response:
        """The client's answer."""
        client = self._state.client
        return await watched_answer(request, client.generate_request, self._begun_step)

    def stream_request(self, request: Request) -> Stream:
        """The same as events."""
        client = self._state.client
        return watched_stream(request, client.stream_request, self._begun_step)

    def cost(self, model: str, usage: Usage) -> Decimal | None:
        """The cost, by the client's prices."""
        return self._state.client.cost(model, usage)

    def _end_step(self, error: BaseException | None = None) -> None:
        step, self._step = self._step, None
        if step is not None:
            step.end(error)

    def _begun_step(self) -> Watched:
        if self._step is None:
            self._step = self._by.begin(self._next, self._run)
        return self._step


def _earlier(journal: Journal | None) -> list[TraceContext]:
    """The traces of this run before it continued here, each once."""
    entries = journal.entries.values() if journal is not None else ()
    known = {tuple(sorted(entry.carried.items())): entry.carried for entry in entries}
    return [carried for carried in known.values() if carried]


class SpeakerClient:
    """The client of a run: after a handoff, requests and prices are those of the target's own.

    An agent without a client of its own asks by that of the run, as a delegate does.
    """

    def __init__(self, state: RunState) -> None:
        self._state = state

    async def generate_request(self, request: Request) -> Response:
        """The answer of the speaker's client."""
        return await self._state.client.generate_request(request)

    def stream_request(self, request: Request) -> Stream:
        """The same as events."""
        return self._state.client.stream_request(request)

    def cost(self, model: str, usage: Usage) -> Decimal | None:
        """The cost, by the prices of the current agent's client."""
        return self._state.client.cost(model, usage)
