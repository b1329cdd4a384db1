"""A trace in a few lines, for a terminal; two side by side, step by step, where they part."""

from __future__ import annotations

import html
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


_COLUMN = 58


def _rows(one: Trace, other: Trace) -> Iterator[tuple[str, str, str]]:
    """For each message: `=` or `≠`, and each run's version of it."""
    for place in range(max(len(one.messages), len(other.messages))):
        pair = [
            trace.messages[place] if place < len(trace.messages) else None for trace in (one, other)
        ]
        left, right = ("" if each is None else f"{each.role}: {text_of(each)}" for each in pair)
        yield ("=" if left == right else "≠", left, right)


def _facts(trace: Trace) -> list[tuple[str, str]]:
    models = dict.fromkeys(step.model for step in trace.steps if step.model)
    return [
        ("models", ", ".join(models)),
        ("end", trace.reason),
        ("steps", f"{len(trace.steps)}"),
        ("tokens", f"{trace.usage.input_tokens} → {trace.usage.output_tokens}"),
        ("cost", "unknown" if trace.cost is None else f"${trace.cost}"),
    ]


def diff_lines(one: Trace, other: Trace) -> Iterator[str]:
    """The two runs in two columns; `≠` marks where they differ."""
    for (name, left), (_, right) in zip(_facts(one), _facts(other), strict=True):
        yield f"{name:<8}{clipped(left, _COLUMN):<{_COLUMN}}  {clipped(right, _COLUMN)}"
    for mark, left, right in _rows(one, other):
        yield f"{mark:<8}{clipped(left, _COLUMN):<{_COLUMN}}  {clipped(right, _COLUMN)}"


_STYLE = """:root{color-scheme:light dark}body{font:14px/1.5 system-ui,sans-serif;margin:16px}
table{border-collapse:collapse;width:100%;table-layout:fixed}col.mark{width:5em}
th,td{border:1px solid #8888;padding:4px 8px;vertical-align:top;text-align:left}
th,td{white-space:pre-wrap;overflow-wrap:anywhere}
.other{outline:2px solid #b35900;outline-offset:-2px}"""


def diff_html(one: Trace, other: Trace, names: tuple[str, str]) -> str:
    """The two runs as one HTML page without a script."""
    heads = "".join(f"<th scope=col>{html.escape(name)}</th>" for name in names)
    rows = [
        f"<tr><th scope=row>{name}</th><td>{html.escape(left)}</td>"
        f"<td>{html.escape(right)}</td></tr>"
        for (name, left), (_, right) in zip(_facts(one), _facts(other), strict=True)
    ]
    for mark, left, right in _rows(one, other):
        place = "same" if mark == "=" else "other"
        rows.append(
            f"<tr class={place}><th scope=row>{'same' if mark == '=' else 'differs'}</th>"
            f"<td>{html.escape(left)}</td><td>{html.escape(right)}</td></tr>"
        )
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(' and '.join(names))}</title><style>{_STYLE}</style></head><body>"
        f"<table><colgroup><col class=mark><col><col></colgroup><thead><tr><th></th>{heads}</tr>"
        f"</thead><tbody>{''.join(rows)}</tbody></table></body></html>"
    )
