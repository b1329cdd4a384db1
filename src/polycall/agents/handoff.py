"""Handing a conversation to another agent, and back."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from polycall.agents.context import AgentContext, Frame, RunState
from polycall.agents.events import HandoffEvent
from polycall.agents.history import is_users, whole
from polycall.agents.spec import AgentSpec, Handoff, HistoryFilter, in_tool_name
from polycall.errors import RequestError, ToolError
from polycall.instrumentation import HandedOver, watching
from polycall.ir import JSON, Message, Text
from polycall.loop import emit
from polycall.tools import FunctionTool, ToolContext, tool_from_schema

_REASON: JSON = {
    "type": "object",
    "properties": {"reason": {"type": "string", "description": "why, in one sentence"}},
    "required": ["reason"],
}


def group_of(root: AgentSpec[Any]) -> dict[str, AgentSpec[Any]]:
    """All agents that can be reached by handoffs, by name, the first one first."""
    found: dict[str, AgentSpec[Any]] = {root.name: root}
    waiting = [root]
    while waiting:
        for handoff in waiting.pop(0).handoffs:
            other = handoff.agent
            if other.name not in found:
                found[other.name] = other
                waiting.append(other)
            elif found[other.name] is not other and not _is_varied(root, other):
                raise RequestError(
                    f"two agents are named {other.name!r}, and a handoff could not tell them "
                    "apart; give each a name="
                )
    return found


def _is_varied(root: AgentSpec[Any], other: AgentSpec[Any]) -> bool:
    """Whether the agent that runs is the other one with changed settings, and stands for it."""
    return root.name == other.name and root.made_from is (other.made_from or other)


def visible(
    messages: list[Message], frames: list[Frame], group: dict[str, AgentSpec[Any]]
) -> list[Message]:
    """The conversation as the agent of the last frame may see it."""
    seen: list[Message] = []
    start = 0
    for frame in frames:
        seen = _filtered([*seen, *messages[start : frame.start]], filter_of(frame, group))
        start = frame.start
    return [*seen, *messages[start:]]


def filter_of(frame: Frame, group: dict[str, AgentSpec[Any]]) -> HistoryFilter:
    """The filter for the part of the earlier conversation that the agent of a frame may see."""
    handoff = _handoff_of(frame, group)
    return handoff.history if handoff else "all"


def _handoff_of(frame: Frame, group: dict[str, AgentSpec[Any]]) -> Handoff | None:
    """The handoff by which a frame came to be; none for the first frame."""
    origin = group.get(frame.origin)
    for handoff in origin.handoffs if origin else ():
        if handoff.agent.name == frame.agent:
            return handoff
    return None


def _filtered(messages: list[Message], kept: HistoryFilter) -> list[Message]:
    if kept == "all":
        return messages
    if kept == "said":
        return _said(messages)
    if kept == "last":
        users = [message for message in messages if is_users(message)]
        return users[-1:]
    return whole(kept(list(messages)))


def _said(messages: list[Message]) -> list[Message]:
    kept: list[Message] = []
    for message in messages:
        if is_users(message):
            kept.append(message)
        elif message.role == "assistant" and message.text:
            kept.append(replace(message, parts=[Text(message.text)], metadata={}))
    return kept


def handoff_tools(
    agent: AgentSpec[Any], frames: list[Frame], group: dict[str, AgentSpec[Any]]
) -> list[FunctionTool[..., Any]]:
    """The tools by which this agent can give the conversation to another one, or back."""
    tools = [_transfer_tool(handoff) for handoff in agent.handoffs]
    handoff = _handoff_of(frames[-1], group)
    if len(frames) > 1 and handoff is not None and handoff.returns:
        tools.append(_return_tool(frames[-2].agent))
    return tools


def _transfer_tool(handoff: Handoff) -> FunctionTool[..., Any]:
    target = handoff.agent

    async def transfer(arguments: JSON, context: ToolContext[Any]) -> str:
        return await _request(context, target.name, arguments["reason"], is_return=False)

    about = handoff.description or target.description
    description = f"Hand the conversation to {target.name}." + (f" {about}" if about else "")
    return tool_from_schema(handoff.tool_name, description, _REASON, transfer)


def _return_tool(parent: str) -> FunctionTool[..., Any]:
    async def give_back(arguments: JSON, context: ToolContext[Any]) -> str:
        return await _request(context, parent, arguments["reason"], is_return=True)

    description = f"Give the conversation back to {parent}, when your part of it is done."
    return tool_from_schema("return_to_" + in_tool_name(parent), description, _REASON, give_back)


async def _request(context: ToolContext[Any], target: str, reason: str, *, is_return: bool) -> str:
    if not isinstance(context, AgentContext):
        raise ToolError("a handoff is only possible inside an agent's run")
    state = context.run
    if state.transfer is not None:
        raise ToolError(f"the conversation goes to {state.transfer.target} already")
    if state.handoffs >= state.handoffs_max:
        state.end = "handoffs"
        raise ToolError(f"there were {state.handoffs} handoffs already, which is the bound")
    state.handoffs += 1
    state.transfer = HandoffEvent(context.agent, target, reason, is_return)
    with watching(HandedOver(context.agent, target, reason, is_return)):
        await emit(state.transfer)
    return f"{target} takes over: {reason}"


def apply_transfer(state: RunState, place: int) -> None:
    """Let the agent that was asked for hold the conversation from the message at `place` on."""
    state.frames = frames_after(state, place)
    state.transfer = None


def frames_after(state: RunState, place: int) -> list[Frame]:
    """The agents that hold the conversation after the requested transfer, if there was one."""
    asked = state.transfer
    if asked is None:
        return list(state.frames)
    if asked.is_return:
        return state.frames[:-1]
    return [*state.frames, Frame(asked.target, place, asked.origin, asked.reason)]


def handover_note(frame: Frame) -> str:
    """The note that tells an agent how it came to hold the conversation."""
    if not frame.origin:
        return ""
    return f"{frame.origin} handed this conversation to you. Reason: {frame.reason}"
