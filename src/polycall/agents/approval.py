"""Calls that a person must agree to: asked at the top of a run, however deep the call is."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from polycall.agents.context import AgentContext, Answer
from polycall.errors import ToolError
from polycall.ir import JSON
from polycall.loop import emit
from polycall.tools import AbstractToolset, ToolContext, WrappedToolset


class ApprovalRequest:
    """A call that waits for a yes or a no.

    `agents` are the agents above the call, the outermost first, and the one that makes it.  The
    first answer counts.
    """

    def __init__(
        self, *, tool: str, arguments: JSON, call_id: str, agents: tuple[str, ...], why: str = ""
    ) -> None:
        self.tool = tool
        self.arguments = arguments
        self.call_id = call_id
        self.agents = agents
        self.why = why
        self._answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def allow(self) -> None:
        """Let the call run."""
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
    )
    if root.approve is not None:
        answer = root.approve(request)
        if inspect.isawaitable(answer):
            answer = await answer
    elif root.asks_by_event:
        await emit(request)
        answer = await request.wait()
    else:
        answer = "there is nobody to ask"
    if answer is not True:
        reason = f": {answer}" if answer else ""
        raise ToolError(f"the call of {tool!r} was not approved{reason}; nothing was run")


class AskingToolset(WrappedToolset):
    """Tools of which those with `needs_approval` run only where somebody agrees."""

    def __init__(self, inner: AbstractToolset) -> None:
        super().__init__(inner)

    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        if self[name].needs_approval:
            await ask(context, name, arguments)
        return await super().run(name, arguments, context)
