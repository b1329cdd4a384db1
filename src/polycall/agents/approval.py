"""Calls that a person must agree to: asked at the top of a run, however deep the call is."""

from __future__ import annotations

import inspect
from typing import Any

from polycall._support import jsontext
from polycall.agents.approval_backend import (
    Answer,
    Answered,
    ApprovalRequest,
    Edited,
    call_digest,
)
from polycall.agents.context import AgentContext, RunRoot
from polycall.errors import ToolError
from polycall.ir import JSON, ToolResult
from polycall.loop import emit, is_heard
from polycall.tools import AbstractToolset, ToolContext, WrappedToolset
from polycall.tools.context import leaving
from polycall.tools.results import changed_result, result_parts


async def ask(
    context: ToolContext[Any], tool: str, arguments: JSON, *, why: str = ""
) -> Edited | Answered | None:
    """Ask the person who watches the run; `ToolError` where the answer is not yes.

    What a person has put instead of the model's arguments, or of running it; else `None`.
    """
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
        return None
    with context.paused():
        answer = await _answer(root, request)
    instead = answer if isinstance(answer, Edited | Answered) else None
    if instead is None and answer is not True:
        reason = f": {answer}" if answer else ""
        raise ToolError(f"the call of {tool!r} was not approved{reason}; nothing was run")
    if call_digest(tool, arguments, request.agents) != request.digest:
        raise ToolError(
            f"the arguments of {tool!r} changed while a person was asked; nothing was run"
        )
    if request.always:
        root.allowed.add(request.grant)
    return instead


async def _answer(root: RunRoot, request: ApprovalRequest) -> Answer:
    if root.approvals is not None:
        return await root.approvals.answer(request)
    if root.approve is not None:
        with leaving():
            answer = root.approve(request)
            return await answer if inspect.isawaitable(answer) else answer
    # What outlives its step is heard by nobody.
    if root.asks_by_event and is_heard():
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
        instead = None
        if self[name].needs_approval:
            instead = await ask(context, name, arguments)
        if instead is None:
            return await super().run(name, arguments, context)
        if isinstance(instead, Answered):
            if not instead.is_error:
                return instead.result
            parts = result_parts(instead.result)
            return ToolResult(context.call.id if context.call else "", parts, is_error=True)
        checked = self[name].check(jsontext.encode(instead.arguments)).arguments
        value = await super().run(name, checked, context)
        return changed_result(value, checked, context)
