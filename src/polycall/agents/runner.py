"""One run of an agent: what each step of the loop asks, and what becomes of its end."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Generic

from msgspec.structs import replace

from polycall.agents.appending import BEGAN, Appended, beginnings
from polycall.agents.approval import AskingToolset
from polycall.agents.context import AgentContext, RunState, added_cost
from polycall.agents.events import ProgressEvent, TaskEvent
from polycall.agents.handoff import (
    apply_transfer,
    frames_after,
    group_of,
    handoff_tools,
    handover_note,
    visible,
)
from polycall.agents.history import OF_THE_APPLICATION, History, is_users
from polycall.agents.instrumented_run import SpeakerClient, WatchedRun
from polycall.agents.journaling import JournalingModel
from polycall.agents.offer import definitions
from polycall.agents.output import EndingToolset, OutputError, OutputT
from polycall.agents.prefix import PrefixWatch, shared_place, shown_tools
from polycall.agents.programs import AgentPrograms
from polycall.agents.run import AgentEvent, Run, keep_on, surfaced
from polycall.agents.shortening import Shortening, sums_up
from polycall.agents.task import TaskNote
from polycall.agents.task_events import with_task_events
from polycall.agents.tasks import (
    ABOUT_TASKS,
    BackgroundToolset,
    LocalTasks,
    late_results,
    runner,
    untold,
)
from polycall.client import Client
from polycall.ir import Message, Request, Response, Text, Tool, ToolCall, ToolChoice, ToolResult
from polycall.loop import (
    EndReason,
    LoopEvent,
    RunEnd,
    Step,
    StepEnd,
    Turn,
    check_price,
    emit,
    run_tools,
)
from polycall.run_progress import Progress
from polycall.tools import Executor, Toolset
from polycall.tools.toolset import CombinedToolset

if TYPE_CHECKING:
    from polycall.agents.context import Frame
    from polycall.agents.spec import AgentSpec, Hook


class AgentRunner(Generic[OutputT]):
    """Drives the loop for one run; the loop asks it before each step."""

    def __init__(self, agent: AgentSpec[OutputT], state: RunState, deps: Any) -> None:
        self.state = state
        self._agent = agent
        self._deps = deps
        self._group = group_of(agent)
        state.clients.update(
            (name, each.client) for name, each in self._group.items() if each.client is not None
        )
        # The agent that holds the conversation then hears how they end.
        self._may_have_tasks = bool(state.tasks) or any(
            isinstance(each, BackgroundToolset)
            for agent in self._group.values()
            for each in agent.toolsets
        )
        self._speakers: list[str] = []
        self._executors: dict[tuple[str, ...], Executor] = {}
        self._programs: dict[str, AgentPrograms] = {}
        self._closing = AsyncExitStack()
        self._recorder = JournalingModel(state)
        self._watched: WatchedRun | None = None
        self._value: OutputT | None = None
        self._problem = ""
        self._attempts = 0
        self._progress = Progress()
        self._appended = Appended()
        self._prefix = PrefixWatch()
        self._steps: list[Step] = []
        self._is_over = False
        self._shortening = Shortening(state.shortened)
        self._last_request: Request | None = None

    async def events(
        self, messages: list[Message], *, stream: bool
    ) -> AsyncGenerator[AgentEvent | Run[OutputT]]:
        """The run's events, and the run itself as the last."""
        agent, root = self._agent, self.state.root
        first = Request(agent.model, messages, stream=stream)
        self._shortening.task = next(filter(is_users, reversed(messages)), None)
        watched = self._watched = WatchedRun.begun(agent.name, agent.model, self.state, messages)
        asked = self._recorder.client = watched or SpeakerClient(self.state)
        client = asked if root.journal is None else self._recorder
        running = run_tools(client, first, _never, limits=self.state.limits, prepare=self._prepare)
        self.state.streams = stream
        self._progress.begin(messages)
        try:
            async with (
                self._closing,
                aclosing(running),
                aclosing(with_task_events(running, self.state)) as events,
            ):
                async for event in events:
                    await self._heard(event)
                    yield surfaced(event)
                    if isinstance(event, RunEnd):
                        self._is_over = True
                        yield self._ended(event)
        except BaseException as error:
            if not self._is_over:
                is_stop = isinstance(error, asyncio.CancelledError | GeneratorExit)
                keep_on(error, self.partial("stopped" if is_stop else "error"))
                self._count_unfinished()
            if watched is not None:
                watched.stop(error)
            raise

    def partial(self, reason: EndReason = "stopped") -> Run[OutputT]:
        """The run as far as it has come; its messages are ready to continue."""
        progress, steps, state = self._progress, list(self._steps), self.state
        usage, cost = state.usage, state.cost
        answer = progress.answer()
        if answer is not None:
            price = self._cost_of(answer)
            steps.append(Step(answer, progress.results(answer), price))
            usage, cost = usage + answer.usage, added_cost(cost, price)
        messages = progress.conversation()
        frames = frames_after(state, len(messages))
        return self._run(RunEnd(reason, messages, steps, usage, cost), frames)

    def _count_unfinished(self) -> None:
        """Count an answer that came, whatever became of its calls."""
        answer = self._progress.answer()
        if answer is not None:
            self.state.spend(answer.usage, self._cost_of(answer))

    def _cost_of(self, answer: Response) -> Decimal | None:
        return self.state.client.cost(answer.model, answer.usage)

    async def _heard(self, event: LoopEvent | TaskEvent) -> None:
        """Count what was spent, and tell those who want to know."""
        if not isinstance(event, TaskEvent):
            self._progress.heard(event)
        if isinstance(event, StepEnd):
            speaker = self._group[self._speakers[-1]]
            self._prefix.answered(speaker.model, event.step.response.usage)
            self.state.spend(event.step.response.usage, event.step.cost)
        elif isinstance(event, RunEnd) and event.reason == "paused":
            await self._settle()
            self.state.spend(event.steps[-1].response.usage, event.steps[-1].cost)
        if self._watched is not None and not isinstance(event, TaskEvent):
            self._watched.heard(event)
        for hook in self._hooks():
            done = hook(surfaced(event))
            if inspect.isawaitable(done):
                await done

    def _hooks(self) -> list[Hook]:
        """The run's own, and those of the agent that holds the conversation now, each once."""
        speaker = self._group[self.state.frames[-1].agent]
        if speaker is self._agent:
            return self._agent.hooks
        return list(dict.fromkeys([*self._agent.hooks, *speaker.hooks]))

    async def _settle(self) -> None:
        # Tasks of this process would be lost with it, and a paused run is to continue elsewhere.
        tasks = self.state.root.tasks
        if isinstance(tasks, LocalTasks):
            await tasks.settle(self.state.tasks)

    async def _prepare(self, messages: list[Message], steps: list[Step]) -> Turn | EndReason:
        state = self.state
        self._steps = steps
        self._progress.begin(messages)
        if state.end is not None:
            return state.end if state.ended_with is None else self._ended_by_tool(state.ended_with)
        apply_transfer(state, len(messages))
        is_end = bool(steps) and steps[-1].response.finish_reason == "stop"
        verdict = self._read_output(messages, steps[-1].response.text) if is_end else None
        # A vendor's program that waits for results takes nothing alongside them.
        in_program = bool(steps) and any(
            call.caller != "direct" for call in steps[-1].response.tool_calls
        )
        came_late = not in_program and await self._add_late(
            messages, len(steps) + 1, waits=verdict == "finished" and not state.leaves_tasks
        )
        if verdict is not None and not came_late:
            return verdict
        bound = state.spent()
        if bound is not None:
            return bound
        agent = self._group[state.frames[-1].agent]
        if state.has_cost_bound:
            check_price(state.root.client, agent.model)
        self._speakers.append(agent.name)
        seen = visible(messages, state.frames, self._group)
        if agent.compaction is not None:
            known = self._recorder.ahead(len(steps) + 1)
            seen = await self._shortening.sent(
                agent.compaction,
                self._frame_key(),
                seen,
                steps,
                known=None if known is None else known.change.shortened,
                keeps_all=in_program,
                by_vendor=sums_up(self.state.client, agent.model),
            )
        return await self._turn(agent, messages, seen, steps)

    async def _add_late(self, messages: list[Message], number: int, *, waits: bool) -> bool:
        """Add how tasks have ended since the model last heard of them.

        A run that would be over waits for the next one to end.
        """
        if not self.state.tasks:
            return False
        known = self._recorder.ahead(number)
        if known is not None:
            added = [each for each in known.added if each.role != "system"]
            notes = known.change.tasks
        else:
            if waits and untold(self.state):
                tasks = runner(self.state)
                await tasks.wait(untold(self.state), for_all=False, deadline_s=float("inf"))
            added, notes = await late_results(self.state)
            self._recorder.tell(added, notes)
        self.state.tasks.update(notes)
        messages.extend(added)
        if added:
            self._value = None
        return bool(added)

    def _ended_by_tool(self, text: str) -> EndReason:
        """Why the run ends, whose output is what a tool has returned."""
        try:
            self._value = self._agent.output.parse_result(text)
        except OutputError as error:
            self._problem = str(error)
            return "output"
        return "finished"

    def _read_output(self, messages: list[Message], text: str) -> EndReason | None:
        """Why the run ends; `None` where the model is asked again for an answer that fits."""
        try:
            self._value = self._agent.output.parse(text)
        except OutputError as error:
            self._problem = str(error)
            self._attempts += 1
            if self._attempts >= self._agent.output_attempts:
                return "output"
            words = f"The answer does not fit:\n{error}\nAnswer again with the whole JSON object."
            messages.append(Message("user", [Text(words)], metadata=OF_THE_APPLICATION))
            return None
        return "finished"

    async def _turn(
        self, agent: AgentSpec[Any], messages: list[Message], seen: list[Message], steps: list[Step]
    ) -> Turn | EndReason:
        state = self.state
        context = self._context_of(agent)
        system, seen = await self._instructed(agent, context, messages, seen, len(steps) + 1)
        handoffs = handoff_tools(agent, state.frames, self._group)
        request = Request(
            model=agent.model,
            messages=[*system, *seen],
            tools=self._offered(messages),
            stream=state.streams,
            response_format=self._agent.output.format,
            **self._settings(agent),
        )
        self._last_request = request
        key = (agent.name, *(each.name for each in handoffs))
        if key not in self._executors:
            everything = CombinedToolset([*agent.toolsets, Toolset(handoffs)])
            self._executors[key] = Executor(
                AskingToolset(EndingToolset(everything)),
                context,
                attempts_max=agent.argument_attempts,
            )
        turn: Turn | EndReason = Turn(request, self._executors[key])
        if agent.calling != "direct":
            turn = await self._with_programs(agent, context).turn(turn, steps)
        if not isinstance(turn, Turn):
            return turn
        number, execute = len(steps) + 1, turn.execute
        request = self._with_opened(turn.request, messages)
        request = await self._shortening.summed_up(request, partial(self._summary, number))
        turn = replace(turn, request=request)
        self._prefix.asking(turn.request, state.client, tools_may_grow=self._is_bound())
        toolset = self._executors[key].toolset

        def has_steps(call: ToolCall) -> bool:
            # What is not a tool is a program, or a mistake.
            return call.name not in toolset or toolset[call.name].has_steps

        if self._watched is not None:
            self._watched.step(number, agent.name)
            execute = self._watched.executing(execute)
        return replace(turn, execute=self._recorder.executing(number, execute, has_steps))

    async def _summary(self, number: int, request: Request) -> Response:
        """The vendor's summary before a step, which the run pays for."""
        response = await self._recorder.summary(number, request)
        self.state.spend(response.usage, self._cost_of(response))
        return response

    def _context_of(self, agent: AgentSpec[Any]) -> AgentContext[Any]:
        return AgentContext(
            deps=self._deps,
            model=agent.model,
            agent=agent.name,
            variables=self.state.variables,
            run=self.state,
            reporter=_report,
        )

    def _is_bound(self) -> bool:
        """Whether the model of this step checks what stood before its reasoning."""
        client, agent = self.state.client, self._group[self.state.frames[-1].agent]
        return isinstance(client, Client) and client.binds_prefix(agent.model)

    def _place(self) -> int:
        """The frame whose beginning is sent: the one that speaks, or one before it."""
        frames = self.state.frames
        if len(frames) == 1 or not self._is_bound():
            return len(frames) - 1
        return shared_place(frames, self._group, self.state.client_of, self._shown)

    def _shown(self, agent: AgentSpec[Any], frames: list[Frame]) -> list[Tool]:
        handoffs = handoff_tools(agent, frames, self._group)
        own = definitions(agent.toolsets, self._context_of(agent))
        return [*own, *(each.definition for each in handoffs)]

    def _offered(self, messages: list[Message]) -> list[Tool]:
        """The tools of this step; where a beginning is shared, after those that it has."""
        frames = self.state.frames
        if not self._is_bound():
            return self._shown(self._group[frames[-1].agent], frames)
        return shown_tools(frames, self._place(), self._group, messages, self._shown)

    async def _words(self, frame: Frame) -> str:
        """The instructions for the agent of a frame, without memory."""
        agent = self._group[frame.agent]
        reported = [await agent.instructions_for(self._context_of(agent)), handover_note(frame)]
        if self._may_have_tasks:
            reported.append(ABOUT_TASKS)
        return "\n\n".join(part for part in reported if part)

    async def _instructed(
        self,
        agent: AgentSpec[Any],
        context: AgentContext[Any],
        messages: list[Message],
        seen: list[Message],
        number: int,
    ) -> tuple[list[Message], list[Message]]:
        """The instructions for the beginning, and the conversation with those that came later."""
        state = self.state
        memory = ""
        if agent.memory is not None:
            if agent.name not in state.injected:
                state.injected[agent.name] = await agent.memory.injected(context, seen)
            memory = state.injected[agent.name]
        words = await self._words(state.frames[-1])
        client = state.client
        if not (isinstance(client, Client) and client.appends(agent.model)):
            words = "\n\n".join(part for part in (words, memory) if part)
            return ([Message("system", [Text(words)])] if words else []), seen
        place = self._place()
        began = state.frames[place]
        first = words if place == len(state.frames) - 1 else await self._words(began)
        if not isinstance(self._group[began.agent].instructions, str):
            # With what was injected, so that a run that continues elsewhere begins alike.
            first = state.injected.setdefault(f"{BEGAN}{self._frame_key()}", first)
        known = self._recorder.ahead(number)
        made = self._appended.instructions(first, words, memory, messages[began.start :])
        added = made if known is None else [m for m in known.added if m.role == "system"]
        if known is None:
            self._recorder.add(added)
        messages.extend(added)
        return ([Message("system", [Text(first)])] if first else []), [*seen, *added]

    def _with_opened(self, request: Request, messages: list[Message]) -> Request:
        """The request, in which the results of the last step name the tools they opened.

        Where the beginning is checked, what was shown stays.
        """
        key, before, tools = self._frame_key(), list(messages), request.tools
        if self._is_bound():
            others = [tool for each in self._programs.values() for tool in each.offerable]
            tools = self._appended.kept(key, tools, others, self.state.injected)
        self._appended.tools(key, tools, messages)
        new = {id(old): made for old, made in zip(before, messages, strict=True) if made is not old}
        seen = [new.get(id(message), message) for message in request.messages]
        return replace(request, tools=tools, messages=seen)

    def _frame_key(self) -> str:
        frame = self.state.frames[place := self._place()]
        return f"{place + 1}/{frame.agent}/{frame.start}"

    def _settings(self, agent: AgentSpec[Any]) -> dict[str, Any]:
        """The agent's settings; a tool that must be called is one for its first step.

        A model that must call a tool in each step could never answer.
        """
        choice: ToolChoice | None = agent.settings.get("tool_choice")
        if choice is None or choice.mode not in ("required", "tool", "hosted"):
            return agent.settings
        if self._speakers.count(agent.name) == 1:
            return agent.settings
        return {name: value for name, value in agent.settings.items() if name != "tool_choice"}

    def _with_programs(self, agent: AgentSpec[Any], context: AgentContext[Any]) -> AgentPrograms:
        if agent.name not in self._programs:
            self._programs[agent.name] = AgentPrograms(agent, context, self._closing)
        return self._programs[agent.name]

    def _why(self, end: RunEnd) -> str:
        """Why a run ended by its bound, where that is not plain."""
        if end.reason != "cost" or self.state.cost is not None:
            return ""
        unknown = [step.response.model for step in end.steps if step.cost is None]
        return f"the price of {', '.join(map(repr, unknown)) or 'a nested run'} is unknown"

    def _ended(self, end: RunEnd) -> Run[OutputT]:
        state = self.state
        if isinstance(state.root.tasks, LocalTasks):
            state.root.tasks.forget(state.tasks.keys() - self._left().keys())
        apply_transfer(state, len(end.messages))
        for programs in self._programs.values():
            programs.note(end.steps)
        # What agents below have spent is the run's too.
        return self._run(replace(end, usage=state.usage, cost=state.cost), state.frames)

    def _left(self) -> dict[str, TaskNote]:
        """The tasks of whose end the model has not heard."""
        return {task_id: note for task_id, note in self.state.tasks.items() if not note.is_told}

    def _run(self, end: RunEnd, frames: list[Frame]) -> Run[OutputT]:
        state = self.state
        has_output = self._value is not None or end.reason == "finished"
        return Run(
            reason=end.reason,
            steps=end.steps,
            usage=end.usage,
            cost=end.cost,
            history=History(
                messages=end.messages,
                frames=frames,
                variables=state.variables,
                opened=list(state.opened),
                allowed=sorted(state.root.allowed),
                tasks=self._left() if state.leaves_tasks else {},
                began=beginnings(state.injected),
                shortened=dict(state.shortened),
            ),
            agents=self._speakers,
            decisions=[each for one in self._programs.values() for each in one.decisions],
            programs=[each for one in self._programs.values() for each in one.programs],
            prefix_warnings=[*self._shortening.warnings, *self._prefix.warnings],
            last_request=self._last_request,
            value=self._value,
            problem="" if has_output else self._problem or self._why(end),
        )


async def _report(progress: float, message: str) -> None:
    await emit(ProgressEvent(progress, message))


async def _never(call: Any) -> ToolResult:
    """Stands for what runs calls before the first step has been prepared."""
    raise AssertionError(f"nothing was prepared to run {call.name!r}")
