"""Delegation by a voice: the agent works on the task as text, and the voice says the result.

The agent may be of any provider.  Its runs follow each other, each with the history of the one
before, so that handoffs, variables and approvals last as long as the talk.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from polycall.agents import Agent, Run
from polycall.agents.approval_backend import Approve
from polycall.agents.events import ProgressEvent
from polycall.agents.history import History
from polycall.errors import PolycallError
from polycall.loop import CallEnd, CallStart, ToolEvent
from polycall.realtime.calls import StaySilent
from polycall.tools.toolset import FilteredToolset


class Delegate:
    """The agent behind a voice."""

    def __init__(
        self,
        agent: Agent[Any, Any],
        history: History,
        *,
        approve: Approve,
        deps: Any,
        user: str,
        variables: dict[str, Any],
    ) -> None:
        self._agent = _without_silence(agent)
        self.history = history
        self._approve = approve
        self._deps = deps
        self._user = user
        self._variables = variables
        self._turn = asyncio.Lock()

    async def work(
        self, text: str, show: Callable[[CallStart | CallEnd | ToolEvent], None]
    ) -> tuple[str, Run[Any] | None]:
        """Do what was asked for: what to say of it, and the run; none where it failed."""
        async with self._turn:
            options: dict[str, Any] = {
                "history": self.history,
                "deps": self._deps,
                "user": self._user,
                "variables": self._variables,
                "approve": self._approve,
            }
            stream = self._agent.stream(text, **options)
            try:
                async with aclosing(stream):
                    async for event in stream:
                        if isinstance(event, CallStart | CallEnd | ToolEvent):
                            show(event)
            except PolycallError as error:
                return f"That did not work: {error.message}", None
            run: Run[Any] = stream.run
            self.history, self._variables = run.history, {}
            return run.text or f"That ended without an answer, by {run.reason!r}.", run


def progress_of(event: ToolEvent) -> str:
    """The text of a tool's progress; empty for any other event."""
    inner: Any = event.event
    while isinstance(inner, ToolEvent):
        inner = inner.event
    return inner.message if isinstance(inner, ProgressEvent) else ""


def _without_silence(agent: Agent[Any, Any]) -> Agent[Any, Any]:
    """The agent without `stay_silent`, which a voice that always listens has no use for."""
    made = copy.copy(agent)
    made.toolsets = [
        FilteredToolset(each, lambda tool: not isinstance(tool.function, StaySilent))
        if any(isinstance(tool.function, StaySilent) for tool in each)
        else each
        for each in agent.toolsets
    ]
    return made
