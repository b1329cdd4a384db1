"""The agent: instructions, a model, tools, and whom it may hand over to."""

from __future__ import annotations

import dataclasses
import inspect
import math
import secrets
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any, Self

from msgspec import to_builtins
from msgspec.structs import replace
from typing_extensions import TypeForm, Unpack

from polycall.agents.approval_backend import Approve
from polycall.agents.changing import changed, copy_of, overridden
from polycall.agents.checks import (
    SETTINGS,
    check_approve,
    check_callers,
    check_limits,
    check_names,
    check_no_session,
    check_no_stand_in,
    check_open,
    check_parts,
    check_seconds,
    check_tasks,
    check_words,
    checked_count,
    checked_hooks,
    checked_instructions,
    checked_settings,
    checked_text,
    listed,
    model_names,
    open_to_programs,
)
from polycall.agents.context import AgentContext, Frame, RunRoot, RunState, copied
from polycall.agents.handoff import group_of
from polycall.agents.history import load_history
from polycall.agents.journal import Journal, check_variables, current_place
from polycall.agents.offer import ToolSource, gather
from polycall.agents.options import DepsT, Prompt, ResumeOptions, RunOptions, messages_of
from polycall.agents.output import OutputT, OutputType
from polycall.agents.pausing import PausedApprovalBackend, PausedRun, Start
from polycall.agents.run import (
    AgentEvent,
    AgentStream,
    Run,
    keep_on,
    leave_unless_told,
    new_events,
    partial_run,
)
from polycall.agents.runner import AgentRunner
from polycall.agents.spec import AgentSpec, Handoff, Hook, Instructions, in_tool_name
from polycall.agents.synchronous import Synchronous, default_client
from polycall.agents.tasks import LocalTasks, left_tasks, with_tasks
from polycall.client import ModelClient
from polycall.errors import RequestError, ToolError
from polycall.ir import JSON, Message
from polycall.loop import Limits, Suspended, emit, is_heard
from polycall.settings import Settings, kept_fields
from polycall.tools import FunctionTool, ToolContext, tool_from_schema

if TYPE_CHECKING:
    from polycall.agents.approval_backend import ApprovalBackend
    from polycall.agents.compaction import Compaction
    from polycall.agents.memory import Memory
    from polycall.agents.task import TaskRunner
    from polycall.program.records import Calling
    from polycall.sandbox import Sandbox

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


class Agent(Synchronous[DepsT, OutputT], AgentSpec[OutputT]):
    """A model with instructions and tools.

    `model` is `"provider/name"`; several in a list are tried in order.  `tools` are functions,
    tools, toolsets and other agents (which then work as delegates).  `handoffs` are agents that may
    take the conversation over.  `output` is the type of the answer; answers that do not fit are
    asked for again, `output_attempts` times in all.  In `argument_attempts` steps in a row a tool's
    arguments may not fit; then it is closed to the model.  `calling` says how tools marked for
    `"code"` are reached: by calls, by programs in a `sandbox` (one is opened for each run where
    none is given), or as a rule decides; with `"code"`, functions and tools that do not say who may
    call them are open to programs as well; with `native` the model's vendor runs the programs,
    where it can.
    With `compaction` the model is sent the end of a conversation that has become too long, also in
    the middle of a run.
    `settings` are those of `polycall.settings.Settings`, such as `effort` and `temperature`.
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
        output: TypeForm[OutputT] = str,  # pyright: ignore[reportArgumentType] - its default
        output_attempts: int = 3,
        argument_attempts: int = 3,
        calling: Calling = "direct",
        sandbox: Sandbox | None = None,
        native: bool = False,
        memory: Memory | None = None,
        compaction: Compaction | None = None,
        limits: Limits | None = None,
        handoffs_max: int = 8,
        depth_max: int = 5,
        hooks: Iterable[Hook] = (),
        client: ModelClient | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        if not settings.keys() <= SETTINGS:
            own = inspect.signature(Agent.__init__).parameters.keys() - {"self", "settings"}
            check_names(settings, own | SETTINGS, "an agent")
        self.model = model_names(model)
        self.name = checked_text(name, "name")
        self.description = checked_text(description, "description")
        self.instructions = checked_instructions(instructions)
        self.output: OutputType[OutputT] = OutputType(output or str)
        self.output_attempts = checked_count(output_attempts, "output_attempts")
        self.argument_attempts = checked_count(argument_attempts, "argument_attempts")
        self.calling: Calling = _checked_calling(calling)
        self.sandbox = sandbox
        self.native = native
        self.memory = memory
        check_parts(memory, compaction, limits, client)
        self.compaction = compaction
        self.limits = limits or Limits()
        self.handoffs_max = checked_count(handoffs_max, "handoffs_max", least=0)
        self.depth_max = checked_count(depth_max, "depth_max", least=0)
        self.hooks = checked_hooks(hooks)
        self.client = client
        self.tools_given: list[ToolSource | Agent[Any, Any]] = listed(tools, "tools")
        sources = [each.as_tool() if isinstance(each, Agent) else each for each in self.tools_given]
        for each in sources:
            check_no_stand_in(each)
        if calling == "code":
            sources = [open_to_programs(each) for each in sources]
        if memory is not None:
            sources.append(memory.toolset)
        self.toolsets = with_tasks(gather(sources))
        self.settings = checked_settings(settings, self.toolsets, "an agent")
        if calling == "direct" and "provider_options" not in settings:
            check_callers(self.toolsets)
        if calling == "code":
            check_open(self.toolsets)
        if native and calling == "direct":
            raise RequestError("native= is about programs; write calling='code' or 'auto'")
        self.handoffs: list[Handoff] = []
        self.hand_to(*listed(handoffs, "handoffs"))

    def hand_to(self, *targets: Handoff | Agent[Any, Any]) -> None:
        """Add agents to hand over to; two agents that know each other cannot be made at once."""
        for target in targets:
            match target:
                case Handoff():
                    self.handoffs.append(target)
                case Agent():
                    self.handoffs.append(Handoff(target))
                case _:
                    check_no_stand_in(target)
                    raise RequestError(f"an agent hands over to agents, not to {target!r}")

    def _repr_html_(self) -> str:
        """In a notebook: what it is made of."""
        from polycall.agents.notebook import agent_html  # noqa: PLC0415 - for notebooks

        return agent_html(self)

    def changed(self, **changes: Any) -> Self:
        """A copy with other settings, such as `model`, `tools`, `client` or `temperature`.

        For one run: `agent.changed(model="...").run(...)`.
        """
        return changed(self, changes)

    def override(self, **changes: Any) -> AbstractContextManager[Self]:
        """Other settings while a `with` block lasts, no matter who runs this agent: for tests."""
        return overridden(self, changes)

    async def run(self, prompt: Prompt, **options: Unpack[RunOptions[DepsT]]) -> Run[OutputT]:
        """Answer `prompt`; a limit that ends the run is a result, and no exception.

        Options, described in `polycall.agents.RunOptions`: `history`, `deps`, `variables`, `user`,
        `approve`, `approval_ttl_s`, `limits`, `model`, `settings`, `tasks`.
        """
        async with self._stream(prompt, options, streams=False) as stream:
            async for _ in stream:
                pass
        return stream.run

    def stream(self, prompt: Prompt, **options: Unpack[RunOptions[DepsT]]) -> AgentStream[OutputT]:
        """`run` as events, while they come, with its options.

        Without `approve`, approvals come as events too, and the code that reads them answers.
        """
        return self._stream(prompt, options, streams=True)

    async def resume(
        self, paused: PausedRun, **options: Unpack[ResumeOptions[DepsT]]
    ) -> Run[OutputT]:
        """Continue a run that waited for people, here or in another process.

        What was done is not done again.  Where an approval is still open the run pauses again,
        or the call is refused once its time is over.  A session's run is its own to resume:
        `RequestError` here.
        """
        check_no_session(paused)
        async with self._resumed(paused, options, streams=paused.start.streams) as stream:
            async for _ in stream:
                pass
        return stream.run

    def resume_stream(
        self, paused: PausedRun, **options: Unpack[ResumeOptions[DepsT]]
    ) -> AgentStream[OutputT]:
        """`resume` as events; those of what was done before the pause do not come again."""
        return new_events(self._resumed(paused, options, streams=True), paused)

    def _resumed(
        self, paused: PausedRun, options: ResumeOptions[DepsT], *, streams: bool
    ) -> AgentStream[OutputT]:
        check_names(options, ResumeOptions.__annotations__, "a resumed run")
        check_limits(options.get("limits"))
        check_seconds(options.get("approval_ttl_s"), "approval_ttl_s")
        check_no_session(paused)
        start = paused.start
        agent = self._varied(start.model, kept_fields(start.settings))
        return agent.follow(
            start,
            journal=Journal(start.run_id, paused.entries),
            approvals=PausedApprovalBackend(
                paused, ttl_s=options.get("approval_ttl_s", start.approval_ttl_s)
            ),
            deps=options.get("deps"),
            limits=options.get("limits") or start.limits,
            stream=streams,
        )

    def follow(
        self,
        start: Start,
        *,
        journal: Journal | None = None,
        approvals: ApprovalBackend | None = None,
        tasks: TaskRunner | None = None,
        leaves_tasks: bool = False,
        approve: Approve | None = None,
        deps: Any = None,
        limits: Limits | None = None,
        stream: bool = False,
    ) -> AgentStream[OutputT]:
        """A run from a beginning that is plain data, along what its journal knows.

        What `run`, `resume` and durable runs are made of.
        """
        if start.agent != self.name:
            raise RequestError(
                f"the run is of the agent {start.agent!r}, and this is {self.name!r}"
            )
        frames = self._frames(start.frames)
        if journal is not None:
            check_variables(start.variables)

        async def events() -> AsyncGenerator[AgentEvent | Run[OutputT]]:
            root = RunRoot(
                client=self.client or await default_client(),
                approve=approve,
                asks_by_event=stream and approve is None,
                user=start.user,
                run_id=start.run_id,
                approvals=approvals,
                allowed={*start.allowed, *(approvals.grants if approvals is not None else ())},
                journal=journal,
                tasks=tasks or (left_tasks() if leaves_tasks or start.tasks else None),
                carried=start.carried,
            )
            state = RunState(
                root=root,
                frames=frames,
                variables=copied(start.variables),
                opened=dict.fromkeys(start.opened),
                tasks=dict(start.tasks),
                injected=dict(start.began),
                shortened=dict(start.shortened),
                leaves_tasks=leaves_tasks,
                handoffs_max=self.handoffs_max,
                limits=limits or self.limits,
            )
            runner = AgentRunner(self, state, deps)
            begun.append((runner, root))
            running = self._conducted(runner, list(start.messages), stream=stream)
            try:
                async with aclosing(running) as inner:
                    async for event in inner:
                        yield _with_pause(event, start, root) if isinstance(event, Run) else event
            except BaseException as error:
                run = partial_run(error)
                if run is not None:
                    keep_on(error, _with_pause(run, start, root))
                raise

        begun: list[tuple[AgentRunner[OutputT], RunRoot]] = []

        def so_far() -> Run[OutputT] | None:
            return _with_pause(begun[0][0].partial(), start, begun[0][1]) if begun else None

        return AgentStream(events(), so_far, self.output)

    async def _conducted(
        self, runner: AgentRunner[OutputT], messages: list[Message], *, stream: bool
    ) -> AsyncGenerator[AgentEvent | Run[OutputT]]:
        """The run's events; its tasks end with it, where they are of this process."""
        root = runner.state.root
        async with AsyncExitStack() as closing:
            if root.tasks is None:
                root.tasks = local = LocalTasks(root.journal)
                closing.push_async_callback(local.close)
            async with aclosing(runner.events(messages, stream=stream)) as events:
                async for event in events:
                    yield event

    def as_tool(self, *, name: str = "", description: str = "") -> FunctionTool[..., Any]:
        """The agent as a tool: it gets a task, works in a context of its own, and answers.

        What it may spend is bounded by what the run that calls it has left.
        """

        about = description or self.description or f"Give a task to {self.name}."
        made = tool_from_schema(name or in_tool_name(self.name), about, _TASK, Delegate(self))
        # What it does is bounded by its own limits, and may wait for a person.
        return dataclasses.replace(made, has_steps=True, deadline_s=math.inf)

    def _stream(
        self, prompt: Prompt, options: RunOptions[DepsT], *, streams: bool
    ) -> AgentStream[OutputT]:
        check_names(options, RunOptions.__annotations__, "a run")
        check_limits(options.get("limits"))
        check_words(options)
        history = load_history(options.get("history") or [])
        user = options.get("user", "")
        run_id = f"run_{secrets.token_hex(8)}"
        start = Start.of(self.name, run_id, history, messages_of(prompt), user)
        if prompt == "" and not start.messages:
            raise RequestError("there is nothing to answer: prompt and history are empty")
        start = replace(start, variables={**history.variables, **options.get("variables", {})})
        approve = options.get("approve")
        check_approve(approve)
        pauses = approve == "pause"
        leaves = check_tasks(options.get("tasks", "wait"), pauses=pauses)
        model, settings = options.get("model"), options.get("settings") or {}
        fields = checked_settings(settings, self.toolsets, "a run's settings")
        start = replace(
            start,
            model="" if model is None else model_names(model),
            settings=to_builtins(fields),
            limits=options.get("limits"),
            approval_ttl_s=options.get("approval_ttl_s"),
        )
        return self._varied(start.model, fields).follow(
            start,
            journal=Journal(run_id) if pauses else None,
            approvals=PausedApprovalBackend(ttl_s=start.approval_ttl_s) if pauses else None,
            leaves_tasks=leaves,
            approve=None if approve == "pause" else approve,
            deps=options.get("deps"),
            limits=start.limits,
            stream=streams,
        )

    def _varied(self, model: str, fields: dict[str, Any]) -> Agent[DepsT, OutputT]:
        """This agent, or for one run the same with another model and further settings."""
        if not model and not fields:
            return self
        varied = copy_of(self)
        varied.model = model or self.model
        varied.settings = {**self.settings, **fields}
        return varied

    def _frames(self, frames: list[Frame]) -> list[Frame]:
        """The agents that hold the conversation: as the history says, or this agent."""
        known = group_of(self)
        missing = [frame.agent for frame in frames if frame.agent not in known]
        if missing:
            raise RequestError(
                f"the history is held by {missing[0]!r}, which {self.name!r} cannot reach; "
                f"known: {', '.join(known)}"
            )
        return list(frames) or [Frame(self.name)]

    async def delegated(self, task: str, context: ToolContext[Any]) -> Any:
        """Do a task for the code that calls this agent as a tool."""
        parent, path = None, ()
        place = current_place()
        if isinstance(context, AgentContext):
            parent, path = context.run, (*context.run.path, context.agent)
        depth = parent.depth + 1 if parent else 1
        if parent is not None and depth > self.depth_max:
            raise ToolError(f"{self.name!r} would be the {depth}th agent in a row; do it yourself")
        if not isinstance(context, AgentContext) or parent is None:
            root = RunRoot(client=self.client or await default_client())
        else:
            above = parent.client_of(context.agent)
            root = dataclasses.replace(
                parent.root,
                client=self.client or above,
                # In a background task nobody would hear of an approval.
                asks_by_event=parent.root.asks_by_event and is_heard(),
            )
        state = RunState(
            root=root,
            frames=[Frame(self.name)],
            variables=copied(parent.variables) if parent else {},
            depth=depth,
            path=path,
            handoffs_max=self.handoffs_max,
            limits=self.limits,
            above=parent,
            scope=f"{place.key}/" if place is not None else "",
        )
        streams = parent is not None and parent.streams
        runner = AgentRunner(self, state, context.deps)
        running = self._conducted(runner, messages_of(task), stream=streams)
        try:
            async with AgentStream(running) as events:
                async for event in events:
                    await emit(event)
        except Exception as error:
            leave_unless_told(error)
            raise
        finally:
            if place is not None:
                place.spend(state.usage, state.cost)
        run = events.run
        if run.reason == "paused":
            raise Suspended
        if not run.has_output:
            raise ToolError(f"{self.name!r} ended by {run.reason!r} without an answer: {run.text}")
        return run.value


class Delegate:
    """The handler of a tool that is an agent."""

    def __init__(self, agent: Agent[Any, Any]) -> None:
        self.agent = agent

    async def __call__(self, arguments: JSON, context: ToolContext[Any]) -> Any:
        return await self.agent.delegated(arguments["task"], context)


def everyone(agents: Iterable[Agent[Any, Any]]) -> dict[str, Agent[Any, Any]]:
    """These agents and all that they can hand over or give tasks to, by name."""
    found: dict[str, Agent[Any, Any]] = {}
    waiting = list(agents)
    while waiting:
        agent = waiting.pop(0)
        known = found.setdefault(agent.name, agent)
        if known is not agent:
            raise RequestError(f"two agents are named {agent.name!r}; their names must differ")
        tools = [each for toolset in agent.toolsets for each in toolset]
        others = [each.function.agent for each in tools if isinstance(each.function, Delegate)]
        targets = [handoff.agent for handoff in agent.handoffs]
        others += [each for each in targets if isinstance(each, Agent)]
        waiting += [each for each in others if found.get(each.name) is not each]
    return found


def _with_pause(run: Run[OutputT], start: Start, root: RunRoot) -> Run[OutputT]:
    """A run that has not reached its end, with all that is needed to continue, if it can."""
    if run.reason not in ("paused", "error", "stopped") or not isinstance(
        root.approvals, PausedApprovalBackend
    ):
        return run
    assert root.journal is not None
    return dataclasses.replace(run, paused=root.approvals.paused(start, root.journal.entries))


def _checked_calling(calling: Calling) -> Calling:
    if calling not in ("direct", "code", "auto"):
        raise RequestError(f"calling is 'direct', 'code' or 'auto', not {calling!r}")
    return calling
