"""The agent of a talk: what it may be, what the voice learns of it, and how its calls run."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from msgspec.structs import replace

from polycall.agents import Agent, Guarded
from polycall.agents.approval import AskingToolset
from polycall.agents.approval_backend import Approve
from polycall.agents.context import AgentContext, Frame, RunRoot, RunState
from polycall.agents.events import HandoffEvent
from polycall.agents.guard import InputCheck
from polycall.agents.handoff import apply_transfer, group_of, handoff_tools, handover_note
from polycall.agents.history import History
from polycall.agents.offer import definitions
from polycall.agents.spec import AgentSpec
from polycall.agents.tasks import task_tools
from polycall.client import ModelClient
from polycall.errors import RequestError
from polycall.instrumentation import RunFinished, RunStarted, Watched, watcher
from polycall.ir import Tool, ToolCall, ToolResult, Warning
from polycall.realtime.calls import Manners
from polycall.tools import AbstractToolset, Executor, Toolset
from polycall.tools.context import call_key
from polycall.tools.toolset import CombinedToolset
from polycall.voices.capabilities import Voice
from polycall.voices.protocol import OfferedTool, OpenSession

_LATE_S = 24 * 3600.0
# What a voice that delegates reads of the agent's tools; its instructions are short.
_TOOLS_SHOWN_MAX = 40
_ABOUT_LENGTH_MAX = 200

Report: TypeAlias = Callable[[float, str], Awaitable[None]]


async def _unread(progress: float, message: str) -> None:
    """Stands for the call that nothing runs in."""


# Executors are shared by calls, and each call reports for itself.
_reporter: ContextVar[Report] = ContextVar("polycall_talk_reporter", default=_unread)


async def _report(progress: float, message: str) -> None:
    await _reporter.get()(progress, message)


def check_agent(agent: Any, voice: Voice) -> tuple[Agent[Any, Any], list[InputCheck]]:
    """The agent and the checks in front of it; `RequestError` for what no talk can do."""
    checks: list[InputCheck] = []
    if isinstance(agent, Guarded):
        guarded = cast("Guarded[Any]", agent)
        if guarded.outputs:
            raise RequestError(
                "outputs of a Guarded agent are checked before anybody reads them, and a voice is "
                "heard while it speaks; use inputs, or tools with needs_approval"
            )
        checks, agent = list(guarded.inputs), guarded.agent
    if not isinstance(agent, Agent):
        raise RequestError(
            f"a talk is with an Agent, or a Guarded one, not {type(agent).__name__!r}; it lives "
            "with its connection: begin with history=, keep talk.run.history afterwards, and "
            "start work that must outlive it from a tool"
        )
    known = cast("Agent[Any, Any]", agent)
    if known.output.format is not None:
        raise RequestError("a voice speaks; an agent with output= other than str cannot talk")
    if known.calling != "direct" and voice.replies != "continuous":
        raise RequestError(
            f"a voice calls tools directly; calling={known.calling!r} is for text models"
        )
    return known, checks


def unsupported(agent: Agent[Any, Any], voice: Voice) -> list[Warning]:
    """The parts of the agent that this voice cannot do."""
    if voice.replies == "continuous":
        silent = [name for name, each in manners_of(agent).items() if each.silence is not None]
        why = "this voice decides for itself when it speaks"
        return [Warning("unsupported", "stay_silent", f"{name!r}: {why}") for name in silent]
    found = [
        Warning("unsupported", name, "a voice does not take this setting")
        for name in agent.settings
    ]
    if agent.compaction is not None:
        found.append(Warning("unsupported", "compaction", "the vendor shortens a talk by itself"))
    if agent.hooks:
        found.append(Warning("unsupported", "hooks", "read the events of the talk instead"))
    late = [name for name, each in manners_of(agent).items() if each.background]
    if voice.late == "waits" and late:
        detail = f"this voice waits for {', '.join(late)} and says nothing meanwhile"
        found.append(Warning("emulated", "background", detail))
    return found


def _delegation(rule: str, tools: Sequence[Tool]) -> str:
    """When a voice that cannot call tools is to ask the agent behind it."""
    if not rule:
        return ""
    lines = [
        f"- it needs {tool.name}: {tool.description.partition(chr(10))[0][:_ABOUT_LENGTH_MAX]}"
        for tool in tools[:_TOOLS_SHOWN_MAX]
    ]
    rest = "- it needs facts, figures or actions that you have not been given"
    return "\n".join([rule, *lines, rest])


def manners_of(agent: AgentSpec[Any]) -> dict[str, Manners]:
    """The manners for the calls of an agent's tools, by tool."""
    return {each.name: Manners.of(each) for toolset in agent.toolsets for each in toolset}


@dataclass
class AgentSide:
    """The agents of one talk, as one run: who speaks, what was opened, what was allowed."""

    agent: Agent[Any, Any]
    history: History
    deps: Any = None
    user: str = ""
    group: dict[str, AgentSpec[Any]] = field(init=False)
    state: RunState = field(init=False)
    speakers: list[str] = field(default_factory=list[str])
    _injected: dict[str, str] = field(default_factory=dict[str, str])
    _executors: dict[tuple[str, ...], tuple[Executor, Executor]] = field(
        default_factory=dict[tuple[str, ...], tuple[Executor, Executor]]
    )
    _slots: dict[str, asyncio.Semaphore] = field(default_factory=dict[str, asyncio.Semaphore])
    _watched: Watched | None = None

    def begin(self, client: ModelClient, approve: Approve, variables: dict[str, Any]) -> None:
        """The talk begins."""
        self.group = group_of(self.agent)
        missing = [each.agent for each in self.history.frames if each.agent not in self.group]
        if missing:
            raise RequestError(
                f"the history is held by {missing[0]!r}, which {self.agent.name!r} cannot reach; "
                f"known: {', '.join(self.group)}"
            )
        root = RunRoot(
            client=client,
            approve=approve,
            user=self.user,
            run_id=f"talk_{secrets.token_hex(8)}",
            allowed=set(self.history.allowed),
        )
        self.state = RunState(
            root=root,
            frames=list(self.history.frames) or [Frame(self.agent.name)],
            variables={**self.history.variables, **variables},
            opened=dict.fromkeys(self.history.opened),
            handoffs_max=self.agent.handoffs_max,
            limits=self.agent.limits,
        )
        by = watcher()
        if by is not None:
            messages = self.history.messages
            about = RunStarted(self.agent.name, self.agent.model, root.run_id, messages)
            self._watched = by.begin(about)

    def end(self, ended: RunFinished) -> None:
        """The talk is over."""
        if self._watched is not None:
            self._watched.tell(ended)
            self._watched.end()

    @property
    def speaker(self) -> AgentSpec[Any]:
        """The agent that holds the conversation."""
        return self.group[self.state.frames[-1].agent]

    def manners(self) -> dict[str, Manners]:
        """The manners for the present agent's calls."""
        return manners_of(self.speaker)

    async def session(self, template: OpenSession, voice: Voice) -> OpenSession:
        """The session for the voice, with the present agent's instructions and tools."""
        agent, context = self.speaker, self._context()
        delegates = voice.replies == "continuous"
        if not delegates and self.speakers[-1:] != [agent.name]:
            self.speakers.append(agent.name)
        told = [await agent.instructions_for(context), handover_note(self.state.frames[-1])]
        if agent.memory is not None:
            if agent.name not in self._injected:
                seen = list(template.history)
                self._injected[agent.name] = await agent.memory.injected(context, seen)
            told.append(self._injected[agent.name])
        words = "\n\n".join(part for part in told if part)
        if delegates:
            # What is to be done is the agent's: the voice has no tools, and reads when to delegate.
            parts = [words, _delegation(voice.delegation, definitions(self._toolsets(), context))]
            return replace(template, instructions="\n\n".join(part for part in parts if part))
        manners = self.manners()
        shown = definitions(self._toolsets(), context)
        offered = [*shown, *(each.definition for each in self._handoffs())]
        tools = [
            OfferedTool(
                each.name,
                each.description,
                each.parameters or {"type": "object", "properties": {}},
                manners.get(each.name, Manners()).background,
            )
            for each in offered
        ]
        return replace(template, instructions=words, tools=tools)

    async def execute(self, call: ToolCall, *, is_late: bool, report: Report) -> ToolResult:
        """Run a call through the one path of all calls; `report` hears how far it is."""
        call_key.set(f"{self.state.root.run_id}/call/{call.id}")
        current = self._watched.current() if self._watched is not None else nullcontext()
        with current:
            _reporter.set(report)
            in_time, late = self._executor()
            if not is_late:
                return await in_time(call)
            slot = self._slot(call.name, late.toolset)
            async with slot or nullcontext():
                return await late(call)

    def transfer(self, place: int) -> HandoffEvent | None:
        """Apply the handoff that a call asked for, if one did."""
        asked = self.state.transfer
        apply_transfer(self.state, place)
        return asked

    def _toolsets(self) -> list[AbstractToolset]:
        # A talk tells how tasks end by itself; there are none to look after.
        return [each for each in self.speaker.toolsets if each is not task_tools()]

    def _handoffs(self) -> list[Any]:
        return handoff_tools(self.speaker, self.state.frames, self.group)

    def _context(self) -> AgentContext[Any]:
        agent = self.speaker
        return AgentContext(
            deps=self.deps,
            model=agent.model,
            agent=agent.name,
            variables=self.state.variables,
            run=self.state,
            reporter=_report,
        )

    def _executor(self) -> tuple[Executor, Executor]:
        handoffs = self._handoffs()
        key = (self.speaker.name, *(each.name for each in handoffs))
        if key not in self._executors:
            everything = AskingToolset(CombinedToolset([*self._toolsets(), Toolset(handoffs)]))
            context = self._context()
            late = Executor(everything, context, deadline_s=_LATE_S)
            self._executors[key] = (Executor(everything, context), late)
        return self._executors[key]

    def _slot(self, name: str, toolset: AbstractToolset) -> asyncio.Semaphore | None:
        bound = toolset[name].concurrency if name in toolset else None
        if bound is None:
            return None
        return self._slots.setdefault(name, asyncio.Semaphore(bound))
