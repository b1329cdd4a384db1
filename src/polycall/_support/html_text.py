"""A few elements of HTML, with everything in them escaped: for notebooks."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any


def cut(text: str, length: int = 2000) -> str:
    """The text, escaped, and not endless."""
    shown = text if len(text) <= length else f"{text[:length]}… ({len(text) - length} more)"
    return html.escape(shown.encode("utf-8", "replace").decode())


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Names and values as a table."""
    rows = "".join(
        f'<tr><th style="text-align:left">{cut(name)}</th>'
        f'<td style="text-align:left">{cut(str(value))}</td></tr>'
        for name, value in pairs
        if value not in (None, "")
    )
    return f"<table>{rows}</table>"


def folded(summary: str, inner: str) -> str:
    """A part that opens on a click; `inner` is HTML."""
    return f"<details><summary>{cut(summary, 200)}</summary>{inner}</details>"


def preformatted(text: str) -> str:
    """Text with its lines."""
    return f'<pre style="white-space:pre-wrap">{cut(text)}</pre>'


def tool_html(name: str, description: str, parameters: dict[str, Any]) -> str:
    """A tool: what it is for, and its schema, folded."""
    schema = preformatted(json.dumps(parameters, indent=1, ensure_ascii=False))
    return facts([("tool", name), ("description", description)]) + folded("parameters", schema)
