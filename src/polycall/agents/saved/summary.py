"""A trace in a few lines, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from polycall.agents.saved.trace import Trace, text_of

_WIDTH = 100


def summary_lines(trace: Trace) -> Iterator[str]:
    """The run, and a line for each step and for what is below it."""
    cost = "unknown" if trace.cost is None else f"${trace.cost}"
    usage = trace.usage
    yield (
        f"{trace.agent or 'run'}: {trace.reason}, {len(trace.steps)} steps, "
        f"{usage.input_tokens} → {usage.output_tokens} tokens, cost {cost}"
    )
    if trace.is_cut:
        yield "texts were shortened: this file can be looked at, and not replayed"
    below: dict[str, int] = {}
    for nested in trace.nested:
        below[nested.path[0]] = below.get(nested.path[0], 0) + 1
    ends = [step.at for step in trace.steps[1:]] + [len(trace.messages)]
    for step, end in zip(trace.steps, ends, strict=True):
        message = trace.messages[step.at]
        yield f"{step.number:>5}  {step.agent}  {clipped(text_of(message))}"
        for call in message.tool_calls:
            if call.id in below:
                yield f"         {call.name}: {below[call.id]} steps of the agent below"
        for answer in trace.messages[step.at + 1 : end]:
            yield f"         {answer.role}: {clipped(text_of(answer))}"
    for program in trace.programs:
        yield f"program  {program['status']}  {len(program['calls'])} calls"


def clipped(text: str, width: int = _WIDTH) -> str:
    """One line of a text."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
