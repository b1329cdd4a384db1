"""Calls that a person must agree to: asked at the top of a run, however deep the call is."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any, Protocol

from polycall.agents.context import AgentContext, Answer, Root
from polycall.errors import ToolError
from polycall.ir import JSON
from polycall.loop import emit
from polycall.tools import AbstractToolset, ToolContext, WrappedToolset


class Desk(Protocol):
    """Where approvals are asked that may be answered by another process, or never."""

    @property
    def grants(self) -> list[str]:
        """What was allowed for always, as `ApprovalRequest.grant` says it."""
        ...

    async def answer(self, request: ApprovalRequest) -> Answer:
        """The answer; `Suspended` where the run is to stop until there is one."""
        ...


class ApprovalRequest:
    """A call that waits for a yes or a no.

    `agents` are the agents above the call, the outermost first, and the one that makes it.  The
    first answer counts.
    """

    def __init__(
        self,
        *,
        tool: str,
        arguments: JSON,
        call_id: str,
        agents: tuple[str, ...],
        why: str = "",
        is_in_program: bool = False,
    ) -> None:
        self.tool = tool
        self.arguments = arguments
        self.call_id = call_id
        self.agents = agents
        self.why = why
        self.is_in_program = is_in_program
        self.always = False
        self._answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    @property
    def grant(self) -> str:
        """What an answer for always is an answer for: this tool, called by this agent."""
        return f"{self.agents[-1]}.{self.tool}"

    def allow(self, *, always: bool = False) -> None:
        """Let the call run, and with `always` each further call of this tool by this agent."""
        if not self._answer.done():
            self.always = always
        self._settle(True)

    def deny(self, reason: str = "") -> None:
        """Refuse the call; the model reads the reason."""
        self._settle(reason or False)

    async def wait(self) -> Answer:
        """The answer, when there is one."""
        return await self._answer

    def _settle(self, answer: Answer) -> None:
        if not self._answer.done():
            self._answer.set_result(answer)

    def __repr__(self) -> str:
        path = " > ".join(self.agents)
        return f"ApprovalRequest({path}: {self.tool}, {self.arguments!r})"


async def ask(context: ToolContext[Any], tool: str, arguments: JSON, *, why: str = "") -> None:
    """Ask whoever watches the run; `ToolError` where the answer is not yes."""
    if not isinstance(context, AgentContext):
        raise ToolError(f"{tool!r} needs approval, and there is nobody to ask; nothing was run")
    root = context.run.root
    request = ApprovalRequest(
        tool=tool,
        arguments=arguments,
        call_id=context.call.id if context.call else "",
        agents=(*context.run.path, context.agent),
        why=why,
        is_in_program=context.call is not None and context.call.caller != "direct",
    )
    if request.grant in root.allowed:
        return
    with context.paused():
        answer = await _answer(root, request)
    if answer is not True:
        reason = f": {answer}" if answer else ""
        raise ToolError(f"the call of {tool!r} was not approved{reason}; nothing was run")
    if request.always:
        root.allowed.add(request.grant)


async def _answer(root: Root, request: ApprovalRequest) -> Answer:
    if root.desk is not None:
        return await root.desk.answer(request)
    if root.approve is not None:
        answer = root.approve(request)
        return await answer if inspect.isawaitable(answer) else answer
    if root.asks_by_event:
        await emit(request)
        return await request.wait()
    return "there is nobody to ask"


class AskingToolset(WrappedToolset):
    """Tools of which those with `needs_approval` run only where somebody agrees."""

    def __init__(self, inner: AbstractToolset) -> None:
        super().__init__(inner)

    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        if self[name].needs_approval:
            await ask(context, name, arguments)
        return await super().run(name, arguments, context)
