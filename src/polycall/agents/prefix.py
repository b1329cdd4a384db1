"""Whether each request of a run begins as the one before it, and what it costs where not.

Vendors read a prompt that begins as an earlier one from a cache, for about a tenth of the price.
Agents that hand a conversation to each other keep its beginning where the model and the client are
the same and the whole history goes along: the instructions and tools of the agent that takes over
are added at the end.  Models that check their prefix keep their reasoning then, and caches hold.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from polycall.agents.compaction import size_of
from polycall.agents.context import Frame
from polycall.agents.handoff import filter_of
from polycall.agents.spec import AgentSpec
from polycall.client import ModelClient
from polycall.ir import Message, Request, Tool, Usage, Warning
from polycall.translation.opened import opened_in

# Below this most vendors cache nothing.
TOKENS_MIN = 1024
Group = dict[str, AgentSpec[Any]]
Shown = Callable[[AgentSpec[Any], list[Frame]], list[Tool]]


class PrefixWatch:
    """Compares the requests of one run, a model at a time."""

    def __init__(self) -> None:
        self._before: dict[str, Request] = {}
        self._tokens: dict[str, int] = {}  # of the last request to a model
        self.warnings: list[Warning] = []

    def asking(self, request: Request, client: ModelClient, *, tools_may_grow: bool) -> None:
        """A request that goes out now; `tools_may_grow` at the end without a new beginning."""
        before = self._before.get(request.model)
        tokens = self._tokens.pop(request.model, 0)
        self._before[request.model] = request
        if before is None or tokens < TOKENS_MIN:
            return
        why, same = _difference(before, request, tools_may_grow=tools_may_grow)
        lost = round(tokens * (1 - same))
        if why and lost >= TOKENS_MIN:
            cost = _lost_cost(request.model, client, lost)
            price = "" if cost is None else f", which costs about ${cost:.6f} more"
            detail = f"{why}: about {lost} tokens are read anew instead of from the cache{price}"
            self.warnings.append(Warning("adjusted", "prompt_prefix", detail))

    def answered(self, request_model: str, usage: Usage) -> None:
        """Note the tokens that the vendor counted for it."""
        self._tokens[request_model] = usage.input_tokens


def _difference(before: Request, now: Request, *, tools_may_grow: bool) -> tuple[str, float]:
    """Why the beginning is another, empty where it is not; and the share that is the same."""
    known = before.tools
    if now.tools != known and not (tools_may_grow and now.tools[: len(known)] == known):
        return "the tools changed", 0.0
    pairs = zip(before.messages, now.messages, strict=False)
    same = 0
    for old, new in pairs:
        if old is not new and (old.role, old.parts) != (new.role, new.parts):
            break
        same += 1
    if same == len(before.messages):
        return "", 1.0
    sizes = [size_of(message) for message in before.messages]
    share = sum(sizes[:same]) / max(sum(sizes), 1)
    is_system = before.messages[same].role == "system" and same == 0
    return ("the instructions changed" if is_system else "an earlier message changed"), share


def _lost_cost(model: str, client: ModelClient, tokens: int) -> Decimal | None:
    name = model.split(",", 1)[0].strip()
    fresh = client.cost(name, Usage(input_tokens=tokens, output_tokens=1))
    cached = client.cost(name, Usage(input_tokens=tokens, output_tokens=1, cached_tokens=tokens))
    return None if fresh is None or cached is None else fresh - cached


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

    First those of the agent that began, then what results have opened, of any agent, then
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
