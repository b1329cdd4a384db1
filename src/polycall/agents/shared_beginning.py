"""Agents that hand a conversation to each other and keep its beginning.

Where the model and the client are the same and the whole history goes along, the agent that takes
over begins as the conversation began: its instructions and its tools are added at the end.  Models
that check their prefix keep their reasoning then, and caches hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polycall.agents.context import Frame
from polycall.agents.handoff import filter_of
from polycall.agents.spec import AgentSpec
from polycall.client import ModelClient
from polycall.ir import Message, Tool
from polycall.translation.opened import opened_in

Group = dict[str, AgentSpec[Any]]
Shown = Callable[[AgentSpec[Any], list[Frame]], list[Tool]]


def shared_place(
    frames: list[Frame], group: Group, client_of: Callable[[str], ModelClient], shown: Shown
) -> int:
    """The place of the frame whose beginning the last frame may keep; its own where it may not."""
    place = len(frames) - 1
    known = {tool.name: tool for tool in shown(group[frames[place].agent], frames)}
    while place:
        frame, before = frames[place], frames[place - 1]
        agent, other = group[frame.agent], group[before.agent]
        is_same = agent.model == other.model and client_of(agent.name) is client_of(other.name)
        if not is_same or filter_of(frame, group) != "all":
            break
        theirs = {tool.name: tool for tool in shown(other, frames[:place])}
        if any(known.get(name, tool) != tool for name, tool in theirs.items()):
            break  # one name for two tools: a call could mean either
        known.update(theirs)
        place -= 1
    return place


def shown_tools(
    frames: list[Frame], place: int, group: Group, messages: list[Message], shown: Shown
) -> list[Tool]:
    """The tools of a conversation with a shared beginning, in the order in which they came.

    First those of the agent that began, then what results have opened, whoever's they are, then
    what is new.
    """
    own = shown(group[frames[-1].agent], frames)
    found = {tool.name: tool for tool in shown(group[frames[place].agent], frames[: place + 1])}
    opened = [name for message in messages[frames[place].start :] for name in opened_in(message)]
    if opened:
        known = {tool.name: tool for tool in own}
        for agent in group.values():
            above = Frame(agent.name)
            takers = [each.agent.name for each in agent.handoffs]
            # As it was shown when the conversation was handed to it.
            held = [[*frames, above], *([above, Frame(n, 0, agent.name)] for n in takers)]
            for each in held:
                for tool in shown(group[each[-1].agent], each):
                    known.setdefault(tool.name, tool)
        for name in opened:
            if name in known:
                found.setdefault(name, known[name])
    found.update((tool.name, tool) for tool in own)
    return list(found.values())
