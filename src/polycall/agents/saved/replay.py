"""A run that continues from one of its steps: with another model, or with an edited message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace as replaced

from polycall._support import jsontext
from polycall.agents.agent import Agent
from polycall.agents.history import History
from polycall.agents.run import Run
from polycall.agents.saved.trace import Trace
from polycall.client import ModelClient
from polycall.errors import RequestError, ToolError
from polycall.ir import JSON, Message, Text, Tool, ToolCall, ToolResult
from polycall.loop import Limits
from polycall.tools import FunctionTool, tool_from_schema


class Replayed:
    """The results of replayed tools: `known` calls as recorded, and `unknown` ones."""

    def __init__(self, trace: Trace) -> None:
        self.known = 0
        self.unknown: list[str] = []
        self._results = _recorded(trace)

    def tool(self, definition: Tool) -> FunctionTool[..., Any]:
        """A tool that gives what was recorded for the same arguments."""

        async def give(arguments: JSON) -> str:
            key = _key(definition.name, arguments)
            results = self._results.get(key)
            if not results:
                self.unknown.append(definition.name)
                raise ToolError("this call was not made in the recorded run: no result is known")
            self.known += 1
            # Called again, it gives the next one, and the last one from then on.
            result = results.pop(0) if len(results) > 1 else results[0]
            if result.is_error:
                raise ToolError(result.text)
            return result.text

        schema = definition.parameters or {"type": "object", "properties": {}}
        return tool_from_schema(definition.name, definition.description, schema, give)


def history_before(
    trace: Trace, number: int, edits: Mapping[int, str] | None = None
) -> list[Message]:
    """The conversation before a step; `edits` are texts by the place of their message."""
    if trace.is_cut:
        raise RequestError(
            "the file has shortened texts, and cannot be replayed; save the run as .jsonl"
        )
    messages = trace.before(number)
    for place, text in (edits or {}).items():
        if not 0 <= place < len(messages):
            raise RequestError(f"there is no message {place} before step {number}")
        kept = [part for part in messages[place].parts if not isinstance(part, Text)]
        if not kept:
            messages[place] = replaced(messages[place], parts=[Text(text)])
        elif all(isinstance(part, ToolResult) for part in kept) and len(kept) == 1:
            result = replaced(kept[0], content=[Text(text)])
            messages[place] = replaced(messages[place], parts=[result])
        else:
            raise RequestError(f"message {place} has more than one part; edit it in the .jsonl")
    return messages


async def replay(
    trace: Trace,
    number: int,
    *,
    model: str = "",
    agent: Agent[Any, Any] | None = None,
    edits: Mapping[int, str] | None = None,
    limits: Limits | None = None,
    client: ModelClient | None = None,
) -> tuple[Run[Any], Replayed]:
    """Continue from before step `number`; the run, and what its tools gave.

    With `agent`, its own tools run.  Without one, the recorded tools give what they gave to the
    same arguments, and nothing runs.
    """
    messages = history_before(trace, number, edits)
    replayed = Replayed(trace)
    if agent is None:
        used = model or next((step.model for step in trace.steps if step.number == number), "")
        if "/" not in used:
            raise RequestError(f"say which model answers: 'provider/model', not {used!r}")
        functions = [each for each in trace.tools if each.kind == "function"]
        agent = Agent[Any, Any](
            used,
            name=trace.agent or "agent",
            instructions=trace.instructions,
            tools=[replayed.tool(each) for each in functions],
            client=client,
        )
    elif model:
        agent = agent.changed(model=model)
    run = await agent.run("", history=History(messages=messages), limits=limits or agent.limits)
    return run, replayed


def _recorded(trace: Trace) -> dict[str, list[ToolResult]]:
    calls: dict[str, ToolCall] = {}
    found: dict[str, list[ToolResult]] = {}
    for message in trace.messages:
        for part in message.parts:
            if isinstance(part, ToolCall):
                calls[part.id] = part
            elif isinstance(part, ToolResult) and part.call_id in calls:
                call = calls[part.call_id]
                found.setdefault(_key(call.name, call.arguments or {}), []).append(part)
    return found


def _key(name: str, arguments: JSON) -> str:
    return jsontext.encode([name, sorted(arguments.items(), key=lambda item: item[0])])
