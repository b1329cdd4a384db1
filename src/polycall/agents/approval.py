"""Calls that a person must agree to: asked at the top of a run, however deep the call is."""

from __future__ import annotations

import inspect
from typing import Any

from polycall.agents.approval_backend import Answer, ApprovalRequest, call_digest
from polycall.agents.context import AgentContext, RunRoot
from polycall.errors import ToolError
from polycall.ir import JSON
from polycall.loop import emit
from polycall.tools import AbstractToolset, ToolContext, WrappedToolset


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
    if call_digest(tool, arguments, request.agents) != request.digest:
        raise ToolError(
            f"the arguments of {tool!r} changed while a person was asked; nothing was run"
        )
    if request.always:
        root.allowed.add(request.grant)


async def _answer(root: RunRoot, request: ApprovalRequest) -> Answer:
    if root.approvals is not None:
        return await root.approvals.answer(request)
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

    def asks(self, name: str) -> bool:
        return True

    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        if self[name].needs_approval:
            await ask(context, name, arguments)
        return await super().run(name, arguments, context)
