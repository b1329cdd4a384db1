"""An agent with some of its settings changed: for one run, or for tests."""

from __future__ import annotations

import copy
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from polycall.errors import RequestError

if TYPE_CHECKING:
    from polycall.agents.agent import Agent

AgentT = TypeVar("AgentT", bound="Agent[Any, Any]")


def changed(agent: AgentT, changes: dict[str, Any]) -> AgentT:
    """A copy of the agent with these settings instead; the handoffs are the same."""
    made: Any = copy_of(agent)
    fresh = _made_of(agent, changes)
    for name in _touched(changes):
        setattr(made, name, getattr(fresh, name))
    return made


def copy_of(agent: AgentT) -> AgentT:
    """A copy that stands for the agent where others hand over to it."""
    made = copy.copy(agent)
    made.made_from = agent.made_from or agent
    return made


@contextmanager
def overridden(agent: AgentT, changes: dict[str, Any]) -> Generator[AgentT]:
    """The agent itself, with these settings meanwhile."""
    fresh = _made_of(agent, changes)
    before = {name: getattr(agent, name) for name in _touched(changes)}
    for name in before:
        setattr(agent, name, getattr(fresh, name))
    try:
        yield agent
    finally:
        for name, value in before.items():
            setattr(agent, name, value)


def _made_of(agent: Agent[Any, Any], changes: dict[str, Any]) -> Agent[Any, Any]:
    """An agent of these settings, and of those that they are checked against."""
    for fixed in ("name", "output"):
        if fixed in changes:
            raise RequestError(f"{fixed} cannot be changed; make another Agent")
    given: dict[str, Any] = {
        "model": agent.model,
        "calling": agent.calling,
        "memory": agent.memory,
        "tools": agent.tools_given,
        **changes,
    }
    own = {name: value for name, value in agent.settings.items() if name not in given}
    return type(agent)(**own, **given)


def _touched(changes: dict[str, Any]) -> set[str]:
    """The attributes that the settings are kept in."""
    own = {
        *("model", "description", "instructions", "output_attempts", "argument_attempts"),
        *("calling", "sandbox", "native", "memory", "compaction", "limits", "handoffs_max"),
        *("depth_max", "hooks", "client", "handoffs"),
    }
    touched = {name if name in own else "settings" for name in changes if name != "tools"}
    if not changes.keys().isdisjoint(("tools", "memory", "calling")):
        touched |= {"tools_given", "toolsets"}
    return touched
