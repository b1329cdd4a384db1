"""Tools that end the run: what they returned becomes its output."""

from __future__ import annotations

from typing import Any

from polycall.agents.context import AgentContext
from polycall.ir import JSON, Text
from polycall.tools import EndRun, ToolContext, WrappedToolset
from polycall.tools.results import result_parts


class EndingToolset(WrappedToolset):
    """Tools of which those that return `EndRun` end the run of the agent that called them."""

    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        value = await super().run(name, arguments, context)
        if not isinstance(value, EndRun):
            return value
        if isinstance(context, AgentContext):
            parts = result_parts(value.result)
            texts = [part.text for part in parts if isinstance(part, Text)]
            context.run.end, context.run.ended_with = "finished", "".join(texts)
        return value.result
