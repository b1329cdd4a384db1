"""Each promise of the pages about security and operation names tests that exist."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("SECURITY.md", "docs/sandbox.md", "docs/operation.md")


@cache
def names_of_tests() -> frozenset[str]:
    return frozenset(
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
    )


@pytest.mark.parametrize("page", PAGES)
def test_the_tests_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    rows = re.findall(
        r"^\| (?!Promise|-)(.+?) \| (.+?) \|$", text.partition("| Promise |")[2], re.MULTILINE
    )
    assert rows
    for promise, named in rows:
        found = re.findall(r"`(test_\w+)`", named)
        assert found, promise
        assert [name for name in found if name not in names_of_tests()] == [], promise
