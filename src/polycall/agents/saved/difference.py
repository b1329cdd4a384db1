"""Two runs side by side: step by step, where they part, and what each spent."""

from __future__ import annotations

import html
from collections.abc import Iterator

from polycall.agents.saved.summary import clipped
from polycall.agents.saved.trace import Trace, text_of

_COLUMN = 58


def _rows(one: Trace, other: Trace) -> Iterator[tuple[str, str, str]]:
    """For each message: `=` or `≠`, and what each run has there."""
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
