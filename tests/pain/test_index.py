"""Every case has a test of its name, or a word why not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
LIMITATIONS = TESTS.parent / "docs" / "limitations"

SCHEMAS = [f"A{number:02}" for number in range(1, 25)]
STREAMS = [f"B{number:02}" for number in range(1, 35)]
HISTORY = [f"C{number:02}" for number in range(1, 21)]
ARGUMENTS = [f"D{number:02}" for number in range(1, 11)]
WITHOUT_TOOLS = [f"E{number:02}" for number in range(1, 8)]
CHOICES = [f"F{number:02}" for number in range(1, 7)]
REASONING = [f"G{number:02}" for number in range(1, 13)]
MONEY = [f"H{number:02}" for number in range(1, 19)]
ROUTING = [f"I{number:02}" for number in range(1, 15)]
SECURITY = [f"J{number:02}" for number in range(1, 14)]
TRANSLATION = [*SCHEMAS, *STREAMS, *HISTORY, *ARGUMENTS, *WITHOUT_TOOLS, *CHOICES, *REASONING]
CASES = [*TRANSLATION, *MONEY, *ROUTING, *SECURITY]

_ID = re.compile(r"[a-z]\d\d", re.IGNORECASE)


def names_of_tests() -> Iterator[str]:
    """The names of all test functions."""
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_function and node.name.startswith("test_"):
                yield node.name


def ids_in_tests() -> set[str]:
    """The ids in those names."""
    return {
        piece.upper()
        for name in names_of_tests()
        for piece in name.split("_")
        if _ID.fullmatch(piece)
    }


def ids_in_pages() -> set[str]:
    """The ids that a page of limitations begins a line with."""
    pages = [path.read_text(encoding="utf-8") for path in LIMITATIONS.glob("*.md")]
    lines = [line for page in pages for line in page.splitlines() if line.startswith("- ")]
    heads = [line[2:].partition(":")[0] for line in lines]
    return {
        piece for head in heads for piece in head.split(", ") if re.fullmatch(r"[A-J]\d\d", piece)
    }


def test_every_case_is_tested_or_explained() -> None:
    known = ids_in_tests() | ids_in_pages()
    assert [case for case in CASES if case not in known] == []
