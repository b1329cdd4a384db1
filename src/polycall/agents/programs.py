"""Programs inside an agent: `calling="code"` and `"auto"`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from polycall.agents.approval import AskingToolset
from polycall.agents.context import AgentContext
from polycall.agents.journaling import JournalingToolset
from polycall.agents.offer import offers
from polycall.agents.output import EndingToolset
from polycall.client import Client
from polycall.ir import Request, Tool, ToolCall, ToolResult
from polycall.loop import EndReason, Execute, Step, Turn
from polycall.tools import AbstractToolset
from polycall.tools.toolset import CombinedToolset

if TYPE_CHECKING:
    from polycall.agents.spec import AgentSpec
    from polycall.program import CallingDecision, ProgramRun, Programs
    from polycall.program.native import Native
    from polycall.sandbox import Sandbox, Session


class AgentPrograms:
    """The programs of one agent in one run; what they hold ends with the run.

    Tools that are offered by and by, and handoffs, are called directly in any case.
    """

    def __init__(
        self, agent: AgentSpec[Any], context: AgentContext[Any], closing: AsyncExitStack
    ) -> None:
        self._agent = agent
        self._context = context
        self._closing = closing
        self._inner: Programs | None = None
        plain = [each for each in agent.toolsets if not offers(each)]
        toolset: AbstractToolset = EndingToolset(CombinedToolset(plain))
        journal = context.run.root.journal
        if journal is not None:
            toolset = JournalingToolset(toolset, journal)
        self._toolset = AskingToolset(toolset)

    @property
    def decisions(self) -> list[CallingDecision]:
        """Why tools were offered as they were."""
        return self._inner.decisions if self._inner else []

    @property
    def programs(self) -> list[ProgramRun]:
        """The programs that the model wrote."""
        return self._inner.programs if self._inner else []

    @property
    def offerable(self) -> list[Tool]:
        """All tools that some step may offer, as it would offer them."""
        return [] if self._inner is None else self._inner.offer.everything()

    def note(self, steps: list[Step]) -> None:
        """Write down what the run's answers say of programs."""
        if self._inner is not None:
            self._inner.note(steps)

    async def turn(self, turn: Turn, steps: list[Step]) -> Turn | EndReason:
        """The turn with tools as they are offered now, and programs among them."""
        inner = self._inner or await self._open(turn.request)
        # An answer that was asked for again is not an end.
        so_far = steps
        while so_far and so_far[-1].response.finish_reason == "stop":
            so_far = so_far[:-1]
        made = await inner.prepare(turn.request, turn.request.messages, so_far)
        return replace(made, execute=self._either(inner, turn)) if isinstance(made, Turn) else made

    def _either(self, inner: Programs, turn: Turn) -> Execute:
        async def execute(call: ToolCall) -> ToolResult:
            is_ours = call.name in self._toolset or call.name == inner.tool.name
            return await (inner(call) if is_ours else turn.execute(call))

        return execute

    async def _open(self, request: Request) -> Programs:
        program = importlib.import_module("polycall.program")
        native = self._native()
        sandbox: Sandbox | Callable[[], Session] | None = self._agent.sandbox
        if sandbox is None:
            made: Sandbox = importlib.import_module("polycall.sandbox").Sandbox()
            if native is None or native.why_not(request, self._toolset.definitions):
                sandbox = await self._closing.enter_async_context(made)
            else:
                # Never opened: a machine that cannot have one needs none.
                sandbox = made.session
        programs: Programs = program.Programs(
            self._toolset,
            sandbox,
            calling=self._agent.calling,
            context=self._context,
            native=native or "",
            attempts_max=self._agent.argument_attempts,
        )
        self._inner = await self._closing.enter_async_context(programs)
        return self._inner

    def _native(self) -> Native | None:
        """The vendor that is to run programs, where that was asked for."""
        if not self._agent.native:
            return None
        native = importlib.import_module("polycall.program.native").Native
        client = self._context.run.client_of(self._context.agent)
        if not isinstance(client, Client):
            return native(refusal="the client does not say what its models can do")
        dialect = client.runs_programs(self._agent.model)
        why = "" if dialect else f"not every model of {self._agent.model!r} has programs of its own"
        return native(dialect, why)
