"""`docs/models.md`: what the current models take, a table that is made here.

Write it anew with `POLYCALL_WRITE_DOCS=1 pytest tests/profiles/test_table.py`.
"""

from __future__ import annotations

import os
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from polycall.profiles import FEATURES, Profile, Row, profile
from polycall.profiles.rows import load, vendors

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
BEGIN, END = "<!-- made by tests/profiles/test_table.py -->", "<!-- end -->"
VENDORS = ("anthropic", "openai", "google", "deepseek")
# Snapshots, tools of the vendors' own products, and models that speak or draw.
_NOT_IN_TABLE = re.compile(
    r".*-\d{8}|.*-\d{4}-\d\d-\d\d|.*-00\d|.*(audio|image|search|daybreak|cyber|rosalind|law|"
    r"computer|research|latest|customtools|gemma).*"
)
GROUPS: dict[str, tuple[str, ...]] = {
    "Thinking and sampling": (
        "thinking",
        "efforts",
        "thinking_off",
        "budget",
        "sampling",
        "penalties",
        "candidates_max",
        "logprobs",
        "seed",
    ),
    "Tools and formats": (
        "tools",
        "tool_choice",
        "tool_choice_thinking",
        "tools_with_json",
        "structured_output",
        "schema_root",
        "tool_name_length",
        "result_media",
    ),
    "Conversations and sizes": (
        "late_system",
        "prefill",
        "prefix_bound",
        "media",
        "output_tokens",
        "context_tokens",
        "cache",
        "metadata_max",
    ),
}


def day_of_data() -> date:
    """The day on which the rows were read: what has ended by then is not current."""
    return max(source.read for vendor in vendors() for source in load(vendor).sources.values())


def current() -> list[Profile]:
    day = day_of_data()
    found: list[Profile] = []
    for vendor in VENDORS:
        for name in sorted(load(vendor).known):
            made = profile(name, day=day)
            assert made is not None
            has_ended = made.retired is not None and made.retired.on <= day
            if not has_ended and not _NOT_IN_TABLE.fullmatch(name):
                found.append(made)
    return found


def shown(row: Row) -> str:
    value: Any = row.value
    match value:
        case bool():
            return "yes" if value else "no"
        case []:
            return "none"
        case list():
            return " ".join(map(str, value))
        case _:
            return str(value)


class _Notes:
    """Numbers the sources in the order in which the table comes to them."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, date], int] = {}

    def number(self, row: Row) -> int:
        key = (row.source.url, row.source.read)
        return self.numbers.setdefault(key, len(self.numbers) + 1)


def made() -> str:
    notes = _Notes()
    models = current()
    lines: list[str] = []
    for title, features in GROUPS.items():
        lines += [f"## {title}", ""]
        lines.append("| model | " + " | ".join(FEATURES[name].title for name in features) + " |")
        lines.append("|---" * (len(features) + 1) + "|")
        for each in models:
            cells = [f"{shown(each.rows[f])} [{notes.number(each.rows[f])}]" for f in features]
            lines.append(f"| `{each.name}` | " + " | ".join(cells) + " |")
        lines.append("")
    lines += ["## Announced ends", "", "| model | ends | instead | source |", "|---|---|---|---|"]
    for each in models:
        if each.retired is not None:
            source = load(each.vendor).sources[each.retired.source]
            key = (source.url, source.read)
            number = notes.numbers.setdefault(key, len(notes.numbers) + 1)
            lines.append(
                f"| `{each.name}` | {each.retired.on} | `{each.retired.instead}` | [{number}] |"
            )
    lines += ["", "## Sources", ""]
    for (url, read), number in notes.numbers.items():
        lines.append(f"{number}. <{url}>, read on {read}")
    return "\n".join(lines) + "\n"


def test_the_table_in_the_docs_is_the_one_that_the_rows_make() -> None:
    models = current()
    features = [feature for group in GROUPS.values() for feature in group]
    assert len(models) >= 60, len(models)
    assert len(features) >= 20
    missing = [(each.name, f) for each in models for f in features if f not in each.rows]
    assert missing == [], "each cell comes from a row"
    table = made()
    text = PAGE.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    assert begin, f"{PAGE} has no place for the table"
    assert end, f"{PAGE} has no place for the table"
    if os.environ.get("POLYCALL_WRITE_DOCS"):
        PAGE.write_text(f"{head}{BEGIN}\n\n{table}\n{END}{tail}", encoding="utf-8")
        text = PAGE.read_text(encoding="utf-8")
    assert table in text, "write it anew: POLYCALL_WRITE_DOCS=1"


@pytest.mark.parametrize("vendor", vendors())
def test_every_row_has_an_address_a_day_and_a_known_feature(vendor: str) -> None:
    listed = load(vendor)
    assert listed.rows
    for row in listed.rows:
        assert row.feature in FEATURES
        assert row.source.url.startswith("https://")
        assert date(2026, 1, 1) <= row.source.read
        assert row.since is None or row.until is None or row.since < row.until
    for newest in listed.newest:
        like = profile(newest.like)
        assert like is not None
        assert like.like == "", f"{newest.like} is itself in no list"


def test_a_row_ends_before_the_day_of_its_until() -> None:
    from polycall.profiles.rows import Source

    source = Source("https://example.com", date(2026, 1, 1))
    row = Row(re.compile("m"), "seed", True, source, since=None, until=date(2026, 9, 1))
    assert row.holds("m", date(2026, 8, 31))
    assert not row.holds("m", date(2026, 9, 1))
    assert not row.holds("m2", date(2026, 8, 31))
