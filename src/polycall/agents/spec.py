"""The specification of an agent: its model, instructions, tools, limits and handoffs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias

from polycall.agents.output import OutputT

if TYPE_CHECKING:
    from polycall.agents.compaction import Compaction
    from polycall.agents.context import AgentContext
    from polycall.agents.memory import Memory
    from polycall.agents.output import OutputType
    from polycall.agents.run import AgentEvent
    from polycall.client import ModelClient
    from polycall.ir import Message
    from polycall.loop import Limits
    from polycall.program.records import Calling
    from polycall.sandbox import Sandbox
    from polycall.tools import AbstractToolset

Instructions: TypeAlias = "str | Callable[[AgentContext[Any]], str | Awaitable[str]]"
Hook: TypeAlias = "Callable[[AgentEvent], Awaitable[None] | None]"
# What the next agent sees of the conversation before it: everything, only what was said (without
# tool calls and results), only the user's last message, or what a function gives.
HistoryFilter: TypeAlias = (
    "Literal['all', 'said', 'last'] | Callable[[list[Message]], list[Message]]"
)


_SHOWN_MAX = 10


class AgentSpec(Generic[OutputT]):
    """The part of an `Agent` that a run reads; what each field means is said there."""

    model: str
    name: str
    description: str
    instructions: Instructions
    toolsets: list[AbstractToolset]
    handoffs: list[Handoff]
    output: OutputType[OutputT]
    output_attempts: int
    argument_attempts: int
    calling: Calling
    sandbox: Sandbox | None
    native: bool
    memory: Memory | None
    compaction: Compaction | None
    limits: Limits
    handoffs_max: int
    depth_max: int
    hooks: list[Hook]
    client: ModelClient | None
    settings: dict[str, Any]
    made_from: AgentSpec[Any] | None = None  # of a copy with other settings, the first of all

    def __repr__(self) -> str:
        """In a line: who it is, and the names of what it may call."""
        tools = [name for toolset in self.toolsets for name in toolset.tools]
        shown = ", ".join([*tools[:_SHOWN_MAX], *(["…"] if len(tools) > _SHOWN_MAX else [])])
        targets = [handoff.agent.name for handoff in self.handoffs][:_SHOWN_MAX]
        hands = f", handoffs to {', '.join(targets)}" if targets else ""
        return f"Agent({self.name!r}, {self.model!r}, tools: {shown or 'none'}{hands})"

    async def instructions_for(self, context: AgentContext[Any]) -> str:
        """The instructions of this moment."""
        if isinstance(self.instructions, str):
            return self.instructions
        words = self.instructions(context)
        return words if isinstance(words, str) else await words


@dataclass(frozen=True)
class Handoff:
    """An agent that may take over, what it then sees, and whether it may give back."""

    agent: AgentSpec[Any]
    history: HistoryFilter = "all"
    returns: bool = True
    description: str = ""

    @property
    def tool_name(self) -> str:
        """The name of the tool that hands over."""
        return "transfer_to_" + in_tool_name(self.agent.name)


def in_tool_name(name: str) -> str:
    """An agent's name as a part of a tool's."""
    return "_".join(name.split())
