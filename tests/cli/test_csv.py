"""A table for spreadsheets: names that clients choose are words in every one of them."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from pathlib import Path

import pytest

from polycall.cli.text import cleaned
from polycall.cli.usage import write_csv
from polycall.gateway.store.usage import UsageRow

FORMULAS = [
    *("=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", " =1", "\n=1", "\u3000=1", "\ufeff=1"),
    *("\u200b=1", "＝1", "＋1", "－1", "＠SUM(1)", "﹢1"),
    *("\u00ad=1", "\u200e=1", "\u202a=1", "\x00=1", "\u2062=1", "\ufe0f=1"),
    *("\u00ad \u200f\u2067+1", "\U000e0061=1"),
]
WORDS = ["김민수", "a=b", "", "'quoted'", "x-1", "openai/gpt-5"]


def written(folder: Path, names: list[str]) -> bytes:
    rows = [UsageRow((name,), 1, 0, 0, 0, 0, 0, 0, 0, Decimal(0), 0) for name in names]
    write_csv(["key"], rows, str(folder / "out.csv"))
    return (folder / "out.csv").read_bytes()


@pytest.mark.parametrize("name", FORMULAS, ids=ascii)
def test_no_cell_is_taken_for_a_formula_in_any_width_or_after_space(
    tmp_path: Path, name: str
) -> None:
    (_, row) = csv.reader(io.StringIO(written(tmp_path, [name]).decode("utf-8-sig"), newline=""))
    assert row[0] == f"'{name}"


def test_a_name_stays_one_cell_whatever_ends_a_cell(tmp_path: Path) -> None:
    """A semicolon does in half of Europe, a tab where text is pasted."""
    for sign in (";", "\t", "|"):
        line = written(tmp_path, [f"a{sign}=1"]).decode("utf-8-sig").splitlines()[1]
        (row,) = csv.reader(io.StringIO(line), delimiter=sign)
        assert not any(cell.startswith("=") for cell in row)


def test_words_stay_as_they_are(tmp_path: Path) -> None:
    table = csv.reader(io.StringIO(written(tmp_path, WORDS).decode("utf-8-sig")))
    assert [row[0] for row in table] == ["key", *WORDS]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a22_a_table_on_a_terminal_does_not_steer_it(
    *, is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a file or a pipe it has the names as they are."""
    data = io.BytesIO()
    out = io.TextIOWrapper(data, encoding="utf-8", newline="")
    monkeypatch.setattr(out, "isatty", lambda: is_terminal)
    monkeypatch.setattr("sys.stdout", out)
    name = "\x1b[2J\u202eevil\x9b"
    rows = [UsageRow((name,), 1, 0, 0, 0, 0, 0, 0, 0, Decimal(0), 0)]
    with cleaned():
        write_csv(["key"], rows, "-")
    out.flush()
    text = data.getvalue().decode()
    assert ("\x1b" in text, "\u202e" in text, "\x9b" in text) == (not is_terminal,) * 3
    assert ("\\u001b[2J" in text) == is_terminal
