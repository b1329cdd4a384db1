"""The comparison as a table, and as a chart without any library."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from polycall.cli.bench.compare import Compared

FORMS = ("sequential", "parallel", "programmatic")
_COLOURS = {"sequential": "#b8b8b8", "parallel": "#6f8fb5", "programmatic": "#c2571a"}
_LEFT, _WIDTH, _BAR, _GAP = 250, 470, 13, 16


def table(rows: Sequence[Compared], how: str) -> str:
    """Markdown.  Seconds are of one machine, without a model's own time."""
    lines = [
        f"Tokens: {how}.",
        "",
        "| task | form | tokens in context | tokens billed | round trips | calls | bytes sent "
        "| seconds |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        for form in FORMS:
            each = row.forms.get(form)
            if each is None:
                lines.append(f"| {row.name} | {form} | cannot be done | | | | | |")
                continue
            cells = (
                each.context_tokens,
                each.billed_tokens,
                each.turns,
                each.calls,
                each.sent_bytes,
            )
            shown = " | ".join(f"{cell:,}" for cell in cells)
            lines.append(f"| {row.name} | {form} | {shown} | {each.time_s:.2f} |")
    lines += [
        "",
        "| task | cheaper | auto, with hints | auto, from what it saw | its reason (with hints) |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.name} | {row.cheapest} | {row.told.form} | {row.seen.form} | {row.told.reason} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def chart(rows: Sequence[Compared]) -> str:
    """An SVG: tokens in the context by task and form, on a logarithmic scale."""
    most = max(each.context_tokens for row in rows for each in row.forms.values())
    scale = _WIDTH / math.log10(most)
    height = 60 + len(rows) * (3 * _BAR + _GAP) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 90} {height}" '
        'font-family="sans-serif" font-size="12" role="img" '
        'aria-label="Tokens that enter the context, by task and form">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="10" y="20" font-size="14">Tokens that enter the context (logarithmic)</text>',
    ]
    for place, form in enumerate(FORMS):
        x = 10 + place * 120
        parts.append(f'<rect x="{x}" y="30" width="10" height="10" fill="{_COLOURS[form]}"/>')
        parts.append(f'<text x="{x + 15}" y="39">{form}</text>')
    y = 60
    for row in rows:
        middle = y + 1.5 * _BAR + 4
        parts.append(f'<text x="10" y="{middle:.0f}">{html.escape(row.name)}</text>')
        for form in FORMS:
            parts += _bar(row, form, y, scale)
            y += _BAR
        y += _GAP
    return "\n".join([*parts, "</svg>\n"])


def _bar(row: Compared, form: str, y: int, scale: float) -> list[str]:
    each = row.forms.get(form)
    if each is None:
        return [f'<text x="{_LEFT}" y="{y + 10}" fill="#888">cannot be done</text>']
    width = math.log10(max(each.context_tokens, 1)) * scale
    return [
        f'<rect x="{_LEFT}" y="{y}" width="{width:.0f}" height="{_BAR - 2}" '
        f'fill="{_COLOURS[form]}"/>',
        f'<text x="{_LEFT + width + 5:.0f}" y="{y + 10}">{each.context_tokens:,}</text>',
    ]
