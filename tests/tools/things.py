"""Tools and agents of a module's own, for what is pickled."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from polycall import Agent, tool
from polycall.tools import tool_from_schema


class Answer(BaseModel):
    text: str


@tool
def weigh(thing: str, unit: Literal["g", "kg"] = "g") -> str:
    """How heavy a thing is."""
    return f"{thing}: 5 {unit}"


@tool(name="heft", needs_approval=True)
async def lift(thing: str) -> str:
    """Lift a thing."""
    return thing


async def from_schema(arguments: dict[str, str]) -> str:
    return arguments["a"]


SCHEMA = tool_from_schema("echo", "Say it.", {"type": "object"}, from_schema)
HELPER = Agent("test/h", name="helper", tools=[weigh])
AGENT = Agent("test/m", name="boss", tools=[weigh, lift, SCHEMA, HELPER], output=Answer)
AGENT.hand_to(HELPER)
HELPER.hand_to(AGENT)
