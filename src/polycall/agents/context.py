"""The state that the agents of one run share, and the part of it that tools may read."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Generic, cast

from msgspec import Struct

from polycall.agents.approval_backend import ApprovalBackend, Approve
from polycall.agents.compaction import Shortened
from polycall.agents.events import HandoffEvent
from polycall.agents.journal import Journal
from polycall.agents.task import TaskNote, TaskRunner
from polycall.client import ModelClient
from polycall.instrumentation import TraceContext
from polycall.ir import Usage
from polycall.loop import EndReason, Limits
from polycall.tools import ToolContext
from polycall.tools.context import DepsT_co


class Frame(Struct, frozen=True, omit_defaults=True):
    """An agent that holds the conversation, since the message at `start`.

    `origin` is the agent that handed it over, and `reason` why; both empty for the first one.
    """

    agent: str
    start: int = 0
    origin: str = ""
    reason: str = ""


@dataclass
class RunRoot:
    """The values that a run shares with all agents nested in it."""

    client: ModelClient
    approve: Approve | None = None
    asks_by_event: bool = False  # somebody reads the events, and answers approvals there
    user: str = ""
    run_id: str = field(default_factory=lambda: f"run_{secrets.token_hex(8)}")
    approvals: ApprovalBackend | None = (
        None  # where approvals are asked that may take longer than the process
    )
    allowed: set[str] = field(default_factory=set[str])  # "agent.tool" that need no more asking
    journal: Journal | None = None
    tasks: TaskRunner | None = None
    carried: TraceContext = field(default_factory=dict[str, str])  # of who asked for the run


def added_cost(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    """The sum of two costs; `None` where one is unknown."""
    return None if one is None or other is None else one + other


def copied(value: Any) -> Any:
    """A copy of plain JSON, for one who changes what is in it; other objects stay themselves."""
    if type(value) is dict:
        mapping = cast("dict[str, Any]", value)
        return {name: copied(each) for name, each in mapping.items()}
    return [copied(each) for each in cast("list[Any]", value)] if type(value) is list else value


@dataclass
class RunState:
    """The state of one run: the current agent, the opened tools, the amounts spent."""

    root: RunRoot
    frames: list[Frame]
    variables: dict[str, Any]
    opened: dict[str, None] = field(default_factory=dict[str, None])  # deferred tools, in order
    depth: int = 0
    path: tuple[str, ...] = ()  # the agents above this run
    handoffs: int = 0
    handoffs_max: int = 8
    transfer: HandoffEvent | None = None  # asked for in this step
    end: EndReason | None = None
    ended_with: str | None = None  # the result of the tool that has ended the run, as text or JSON
    scope: str = ""  # where this run's calls stand in the journal
    tasks: dict[str, TaskNote] = field(default_factory=dict[str, TaskNote])
    injected: dict[str, str] = field(default_factory=dict[str, str])  # memory, by agent
    shortened: dict[str, Shortened] = field(default_factory=dict[str, Shortened])  # by frame
    streams: bool = False
    leaves_tasks: bool = False  # the run may end while its tasks continue
    clients: dict[str, ModelClient] = field(default_factory=dict[str, ModelClient])  # by agent
    limits: Limits = field(default_factory=Limits)
    above: RunState | None = None  # the run that waits for this one
    # Spent by this run and by those nested in it, also while they continue; no cost where unknown.
    usage: Usage = field(default_factory=Usage)
    cost: Decimal | None = Decimal(0)

    @property
    def client(self) -> ModelClient:
        """The client of the agent that holds the conversation."""
        return self.client_of(self.frames[-1].agent)

    def client_of(self, agent: str) -> ModelClient:
        """The agent's own client, or that of the run."""
        return self.clients.get(agent, self.root.client)

    def spend(self, usage: Usage, cost: Decimal | None) -> None:
        """Count a step's price, for this run and for all above it."""
        run: RunState | None = self
        while run is not None:
            run.usage += usage
            run.cost = added_cost(run.cost, cost)
            run = run.above

    @property
    def has_cost_bound(self) -> bool:
        """Whether this run, or one above it, may cost only so much."""
        above = self.above is not None and self.above.has_cost_bound
        return self.limits.cost_usd is not None or above

    def spent(self) -> EndReason | None:
        """Which bound is reached, here or above: runs side by side share what is left."""
        limits = self.limits
        if limits.tokens is not None and self.usage.total_tokens >= limits.tokens:
            return "tokens"
        if limits.cost_usd is not None and (self.cost is None or self.cost >= limits.cost_usd):
            return "cost"
        return None if self.above is None else self.above.spent()


@dataclass(frozen=True, kw_only=True)
class AgentContext(ToolContext[DepsT_co], Generic[DepsT_co]):
    """A `ToolContext` inside an agent.

    `variables` are shared by all agents that hand the conversation to each other: tools and
    instructions may read and write them.  They must be plain JSON to be kept with the history.
    """

    agent: str
    variables: dict[str, Any]
    run: RunState

    @property
    def user(self) -> str:
        """The user that the run is for; empty where none was named."""
        return self.run.root.user
