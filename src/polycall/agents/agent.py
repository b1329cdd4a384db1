"""The agent: instructions, a model, tools, and whom it may hand over to."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias

from typing_extensions import TypedDict, TypeVar, Unpack

from polycall.agents.conduct import Conductor
from polycall.agents.context import AgentContext, Approve, Frame, Root, RunState
from polycall.agents.default import default_client, portal
from polycall.agents.handoff import Handoff, group_of
from polycall.agents.history import History, HistoryLike, load_history
from polycall.agents.offer import ToolSource, gather
from polycall.agents.output import OutputT, OutputType
from polycall.agents.run import AgentEvent, AgentStream, Run
from polycall.client import ModelClient
from polycall.errors import RequestError, ToolError
from polycall.ir import JSON, Message, Text
from polycall.loop import Limits, emit
from polycall.tools import FunctionTool, ToolContext, tool_from_schema

if TYPE_CHECKING:
    from polycall.agents.memory import Memory
    from polycall.sandbox import Sandbox

DepsT = TypeVar("DepsT", default=Any)

Instructions: TypeAlias = "str | Callable[[AgentContext[Any]], str | Awaitable[str]]"
Hook: TypeAlias = "Callable[[AgentEvent], Awaitable[None] | None]"
Prompt: TypeAlias = "str | Message | list[Message]"
Calling: TypeAlias = Literal["direct", "code", "auto"]

_TASK: JSON = {
    "type": "object",
    "properties": {
        "task": {
            "type": "string",
            "description": "what to do, with everything needed to know: nothing else is passed on",
        }
    },
    "required": ["task"],
}


class RunOptions(TypedDict, Generic[DepsT], total=False):
    """What one run may be given.

    `history` is that of an earlier run, in any of its forms.  `deps` is handed to tools by their
    context.  `variables` are shared by tools, instructions and the agents of a handoff.  `user`
    says whom memory belongs to.  `approve` is asked before calls of tools that need approval,
    nested ones included.  `limits` come instead of the agent's own.
    """

    history: HistoryLike
    deps: DepsT
    variables: JSON
    user: str
    approve: Approve
    limits: Limits


class Agent(Generic[DepsT, OutputT]):
    """A model with instructions and tools.

    `model` is `"provider/name"`; several in a list are tried in order.  `tools` are functions,
    tools, toolsets and other agents (which then work as delegates).  `handoffs` are agents that may
    take the conversation over.  `output` is the type of the answer; answers that do not fit are
    asked for again, `output_attempts` times in all.  `calling` says how tools marked for `"code"`
    are reached: by calls, by programs in a `sandbox` (one is opened for each run where none is
    given), or as a rule decides.  `settings` are further fields of
    `ir.Request`, such as `temperature`.
    """

    def __init__(
        self,
        model: str | Sequence[str],
        *,
        name: str = "agent",
        description: str = "",
        instructions: Instructions = "",
        tools: Iterable[ToolSource | Agent[Any, Any]] = (),
        handoffs: Iterable[Handoff | Agent[Any, Any]] = (),
        output: type[OutputT] | None = None,
        output_attempts: int = 3,
        calling: Calling = "direct",
        sandbox: Sandbox | None = None,
        memory: Memory | None = None,
        limits: Limits | None = None,
        handoffs_max: int = 8,
        depth_max: int = 5,
        hooks: Iterable[Hook] = (),
        client: ModelClient | None = None,
        **settings: Any,
    ) -> None:
        self.model = model if isinstance(model, str) else ",".join(model)
        self.name = name
        self.description = description
        self.instructions = instructions
        self.output: OutputType[OutputT] = OutputType(output or str)
        self.output_attempts = output_attempts
        self.calling: Calling = _checked_calling(calling)
        self.sandbox = sandbox
        self.memory = memory
        self.limits = limits or Limits()
        self.handoffs_max = handoffs_max
        self.depth_max = depth_max
        self.hooks = list(hooks)
        self.client = client
        self.settings = settings
        sources = [each.as_tool() if isinstance(each, Agent) else each for each in tools]
        if memory is not None:
            sources.append(memory.toolset)
        self.toolsets = gather(sources)
        self._handoffs = list(handoffs)

    @property
    def handoffs(self) -> list[Handoff]:
        """To whom it may hand over."""
        return [each if isinstance(each, Handoff) else Handoff(each) for each in self._handoffs]

    def hand_to(self, *targets: Handoff | Agent[Any, Any]) -> None:
        """Add agents to hand over to; two agents that know each other cannot be made at once."""
        self._handoffs.extend(targets)

    async def run(self, prompt: Prompt, **options: Unpack[RunOptions[DepsT]]) -> Run[OutputT]:
        """Answer `prompt`; a limit that ends the run is a result, and no exception."""
        async with AgentStream(self._events(prompt, options, streams=False)) as events:
            async for _ in events:
                pass
        return events.run

    def stream(self, prompt: Prompt, **options: Unpack[RunOptions[DepsT]]) -> AgentStream[OutputT]:
        """`run` as events, while they come.

        Without `approve`, approvals come as events too, and whoever reads them answers.
        """
        return AgentStream(self._events(prompt, options, streams=True))

    def run_sync(self, prompt: Prompt, **options: Unpack[RunOptions[DepsT]]) -> Run[OutputT]:
        """`run` for code without an event loop."""
        return portal().run(self.run(prompt, **options))

    def as_tool(self, *, name: str = "", description: str = "") -> FunctionTool[..., Any]:
        """The agent as a tool: it gets a task, works in a context of its own, and answers.

        What it may spend is bounded by what the run that calls it has left.
        """

        async def delegate(arguments: JSON, context: ToolContext[Any]) -> Any:
            return await self._delegated(arguments["task"], context)

        about = description or self.description or f"Give a task to {self.name}."
        return tool_from_schema(name or "_".join(self.name.split()), about, _TASK, delegate)

    async def instructions_for(self, context: AgentContext[Any]) -> str:
        """The instructions of this moment."""
        if isinstance(self.instructions, str):
            return self.instructions
        words = self.instructions(context)
        return words if isinstance(words, str) else await words

    async def _events(
        self, prompt: Prompt, options: RunOptions[DepsT], *, streams: bool
    ) -> AsyncGenerator[AgentEvent | Run[OutputT]]:
        history = load_history(options.get("history") or [])
        approve = options.get("approve")
        root = Root(
            client=self.client or await default_client(),
            approve=approve,
            asks_by_event=streams and approve is None,
            user=options.get("user", ""),
        )
        state = RunState(
            root=root,
            frames=self._frames(history),
            variables={**history.variables, **options.get("variables", {})},
            opened=dict.fromkeys(history.opened),
            handoffs_max=self.handoffs_max,
            limits=options.get("limits") or self.limits,
        )
        conductor = Conductor(self, state, options.get("deps"))
        messages = [*history.messages, *_messages(prompt)]
        async with aclosing(conductor.events(messages, stream=streams)) as events:
            async for event in events:
                yield event

    def _frames(self, history: History) -> list[Frame]:
        """Who holds the conversation: as the history says, or this agent."""
        known = group_of(self)
        missing = [frame.agent for frame in history.frames if frame.agent not in known]
        if missing:
            raise RequestError(
                f"the history is held by {missing[0]!r}, which {self.name!r} cannot reach; "
                f"known: {', '.join(known)}"
            )
        return list(history.frames) or [Frame(self.name)]

    async def _delegated(self, task: str, context: ToolContext[Any]) -> Any:
        parent, path = None, ()
        if isinstance(context, AgentContext):
            parent, path = context.run, (*context.run.path, context.agent)
        depth = parent.depth + 1 if parent else 1
        if parent is not None and depth > self.depth_max:
            raise ToolError(f"{self.name!r} would be the {depth}th agent in a row; do it yourself")
        if parent is None:
            root = Root(client=self.client or await default_client())
        else:
            root = dataclasses.replace(parent.root, client=self.client or parent.root.client)
        state = RunState(
            root=root,
            frames=[Frame(self.name)],
            variables=dict(parent.variables) if parent else {},
            depth=depth,
            path=path,
            handoffs_max=self.handoffs_max,
            limits=self.limits,
            above=parent,
        )
        conductor = Conductor(self, state, context.deps)
        streams = parent is not None and parent.streams
        async with AgentStream(conductor.events(_messages(task), stream=streams)) as events:
            async for event in events:
                await emit(event)
        run = events.run
        if run.value is None:
            raise ToolError(f"{self.name!r} ended by {run.reason!r} without an answer: {run.text}")
        return run.value


def _messages(prompt: Prompt) -> list[Message]:
    match prompt:
        case str():
            return [Message("user", [Text(prompt)])] if prompt else []
        case Message():
            return [prompt]
        case list():
            return prompt


def _checked_calling(calling: Calling) -> Calling:
    if calling not in ("direct", "code", "auto"):
        raise RequestError(f"calling is 'direct', 'code' or 'auto', not {calling!r}")
    return calling
