"""HTML of agents and runs for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polycall._support.html_text import facts, folded, preformatted
from polycall.ir import Message, ToolCall, ToolResult

if TYPE_CHECKING:
    from polycall.agents.run import Run
    from polycall.agents.spec import AgentSpec

_STEPS_MAX = 200


def run_html(run: Run[Any]) -> str:
    """A run's costs and the tree of its steps, folded."""
    usage = run.usage
    head = facts(
        [
            ("end", run.reason),
            ("waiting for", "" if run.paused is None else run.paused.waits_for),
            ("steps", len(run.steps)),
            ("input tokens", usage.input_tokens),
            ("of them cached", usage.cached_tokens or ""),
            ("output tokens", usage.output_tokens),
            ("of them reasoning", usage.reasoning_tokens or ""),
            ("cost", "unknown" if run.cost is None else f"${run.cost}"),
        ]
    )
    steps: list[str] = []
    for number, step in enumerate(run.steps[:_STEPS_MAX], 1):
        agent = run.agents[number - 1] if number <= len(run.agents) else ""
        calls = ", ".join(call.name for call in step.response.tool_calls)
        words = calls or " ".join(step.response.text.split())
        inner = _message(step.response.message) + "".join(_part(each) for each in step.results)
        steps.append(folded(f"{number} · {agent} · {words}", inner))
    left = len(run.steps) - _STEPS_MAX
    more = f"<p>and {left} more; run.save('run.html') has them all</p>" if left > 0 else ""
    return f"{head}{preformatted(run.text)}{folded('steps', ''.join(steps) + more)}"


def agent_html(agent: AgentSpec[Any]) -> str:
    """An agent's parts as a table."""
    instructions = agent.instructions
    tools = [each for toolset in agent.toolsets for each in toolset]
    return facts(
        [
            ("agent", agent.name),
            ("model", agent.model),
            ("description", agent.description),
            ("instructions", instructions if isinstance(instructions, str) else "a function"),
            ("hands over to", ", ".join(each.agent.name for each in agent.handoffs)),
        ]
    ) + folded(
        f"{len(tools)} tools", "".join(folded(t.name, preformatted(t.description)) for t in tools)
    )


def _message(message: Message) -> str:
    return "".join(_part(part) for part in message.parts)


def _part(part: object) -> str:
    match part:
        case ToolCall():
            return preformatted(f"{part.name}({part.arguments_json})")
        case ToolResult():
            word = "error" if part.is_error else "result"
            return preformatted(f"{word} of {part.name}: {part.text}")
        case _:
            return preformatted(str(getattr(part, "text", part)))
