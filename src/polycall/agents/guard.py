"""Guardrails: checks around an agent that can stop a run, with a reason that programs can read."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any, Generic, TypeAlias

from msgspec import structs
from typing_extensions import Unpack

from polycall.agents.agent import Agent
from polycall.agents.checks import check_runnable, listed
from polycall.agents.history import History, load_history
from polycall.agents.options import Prompt, ResumeOptions, RunOptions, messages_of
from polycall.agents.output import OutputError, OutputT
from polycall.agents.pausing import PausedRun
from polycall.agents.run import AgentEvent, AgentStream, Run, Stopped, keep_on
from polycall.agents.synchronous import Synchronous
from polycall.ir import Message, Text, ToolResult, Usage

# What is wrong, in words; `None` where nothing is.
Verdict: TypeAlias = "str | Awaitable[str | None] | None"
InputCheck: TypeAlias = Callable[[list[Message]], Verdict]
OutputCheck: TypeAlias = "Callable[[Run[Any]], Verdict]"


class Guarded(Synchronous[Any, OutputT], Generic[OutputT]):
    """An agent behind checks.

    `inputs` see the new messages before any model does, `outputs` the run before the caller does,
    finished or cut off by a limit; each says what is wrong, or `None`.  The first that does stops
    the run: it ends by `guardrail`, `run.stopped` says which check and why, and `run.text` is
    empty.  Its history is the one that it was given, with the calls that tools have answered
    meanwhile: what was refused is not sent again, and what was done is not forgotten.
    """

    def __init__(
        self,
        agent: Agent[Any, OutputT],
        *,
        inputs: Iterable[InputCheck] = (),
        outputs: Iterable[OutputCheck] = (),
    ) -> None:
        check_runnable(agent, "a Guarded")
        self.agent = agent
        self.inputs = listed(inputs, "inputs")
        self.outputs = listed(outputs, "outputs")

    def __repr__(self) -> str:
        """In a line: what it guards, and by which checks."""
        names = ", ".join(map(_name, [*self.inputs, *self.outputs]))
        return f"Guarded({self.agent!r}, {names or 'no checks'})"

    async def run(self, prompt: Prompt, **options: Unpack[RunOptions[Any]]) -> Run[OutputT]:
        """`agent.run` between the checks."""
        history = load_history(options.get("history") or [])
        stopped = await self._stopped(prompt, history)
        return stopped or await self._judged(await self.agent.run(prompt, **options), history)

    def stream(self, prompt: Prompt, **options: Unpack[RunOptions[Any]]) -> AgentStream[OutputT]:
        """`agent.stream` between the checks.

        Its events are seen before the outputs are judged: `stream.run` says whether the run was
        stopped.  Where nothing may be seen that a check would refuse, use `run`.
        """
        history = load_history(options.get("history") or [])
        inner = self.agent.stream(prompt, **options)

        async def events() -> AsyncGenerator[AgentEvent | Run[OutputT]]:
            stopped = await self._stopped(prompt, history)
            if stopped is not None:
                yield stopped
                return
            async with inner as stream:
                async for event in stream:
                    yield event
            yield await self._judged(stream.run, history)

        return AgentStream(events(), inner.so_far, self.agent.output)

    async def _stopped(self, prompt: Prompt, history: History) -> Run[OutputT] | None:
        """The run that an input check stops before it begins, if one does."""
        for check in self.inputs:
            reason = await _said(check(messages_of(prompt)))
            if reason is not None:
                return Run(
                    reason="guardrail",
                    steps=[],
                    usage=Usage(),
                    cost=Decimal(0),
                    history=history,
                    agents=[],
                    value=None,
                    stopped=Stopped("input", _name(check), reason),
                )
        return None

    async def resume(
        self, paused: PausedRun, **options: Unpack[ResumeOptions[Any]]
    ) -> Run[OutputT]:
        """`agent.resume`, and the checks of what comes out of it."""
        run = await self.agent.resume(paused, **options)
        return await self._judged(run, paused.start.history)

    def resume_stream(
        self, paused: PausedRun, **options: Unpack[ResumeOptions[Any]]
    ) -> AgentStream[OutputT]:
        """`resume` as events, which are seen before the outputs are judged."""
        inner = self.agent.resume_stream(paused, **options)

        async def events() -> AsyncGenerator[AgentEvent | Run[OutputT]]:
            async with inner as stream:
                async for event in stream:
                    yield event
            yield await self._judged(stream.run, paused.start.history)

        return AgentStream(events(), inner.so_far, self.agent.output)

    async def _judged(self, run: Run[OutputT], history: History) -> Run[OutputT]:
        for check in self.outputs:
            if run.reason != "finished" and (run.reason == "paused" or not run.text):
                break
            try:
                reason = await _reason(check, run)
            except BaseException as error:
                keep_on(error, run)
                raise
            if reason is not None:
                stopped = Stopped("output", _name(check), reason)
                kept = _without_answer(run, history)
                return replace(run, reason="guardrail", history=kept, value=None, stopped=stopped)
        return run


def _without_answer(run: Run[Any], before: History) -> History:
    """The history without the refused answer: `before` if no tool was called, else up to the last
    result.

    Text that stands alongside the last calls goes where it is the answer that was refused.
    """
    messages = run.history.messages
    acted = [
        place
        for place, message in enumerate(messages)
        if place >= len(before.messages)
        and any(isinstance(part, ToolResult) for part in message.parts)
    ]
    if not acted:
        return before
    kept = list(messages[: acted[-1] + 1])
    for place in range(len(kept) - 1, len(before.messages) - 1, -1):
        if kept[place].role == "assistant":
            # A limit may end the run between the calls and what would follow them.
            if run.steps and kept[place].text == run.steps[-1].response.text:
                parts = [part for part in kept[place].parts if not isinstance(part, Text)]
                kept[place] = structs.replace(kept[place], parts=parts)
            break
    return structs.replace(run.history, messages=kept)


async def _reason(check: OutputCheck, run: Run[Any]) -> str | None:
    """Why the check stops the run; also a check that needs the output that is not there."""
    try:
        return await _said(check(run))
    except OutputError:
        if run.has_output:
            raise
        return f"the run ended by {run.reason!r}, and the check needs its output"


async def _said(verdict: Verdict) -> str | None:
    return await verdict if inspect.isawaitable(verdict) else verdict


def _name(check: Callable[..., Any]) -> str:
    return getattr(check, "__name__", type(check).__name__)
