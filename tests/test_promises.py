"""Each promise of the pages about security and operation names tests that exist.

The tables of the pages have those that readers look for; `promises.toml` has every sentence that
promises something.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("SECURITY.md", "docs/sandbox.md", "docs/operation.md")
RULES = "docs/http.md"  # whose tables have a test in each row


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


def test_a_page_of_rules_names_tests_that_exist() -> None:
    text = (ROOT / RULES).read_text("utf-8")
    named = set(re.findall(r"`(test_\w+\*?)`", text))
    files = set(re.findall(r"`(tests/[\w/]+\.py)`", text))
    known = names_of_tests()
    assert len(named) > 15
    for name in named:
        begins = name.removesuffix("*")
        assert begins in known or (name != begins and any(k.startswith(begins) for k in known)), (
            name
        )
    assert [each for each in files if not (ROOT / each).is_file()] == []


# What a sentence that promises something seldom does without.
_STRONG = re.compile(
    r"\b(?:never|nothing|nobody|no|none|cannot|every|always|only|at once|at most|alone|all|"
    r"refuse[sd]?|bounded|encrypted|whole|exactly)\b",
    re.IGNORECASE,
)


def sentences(text: str) -> Iterator[str]:
    """The sentences of a page, without its code, tables and headings."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines = [line for line in text.splitlines() if not line.startswith(("|", "#", "    "))]
    for paragraph in re.split(r"\n\s*\n|\n(?=[-*] )", "\n".join(lines)):
        plain = " ".join(paragraph.split()).lstrip("-* ")
        yield from filter(None, re.split(r"(?<=[.;:!?])\s+(?=[A-Z`*\[])", plain))


@pytest.mark.parametrize("page", [*PAGES, RULES])
def test_each_sentence_that_promises_something_names_its_test(page: str) -> None:
    known = tomllib.loads((ROOT / "tests/promises.toml").read_text("utf-8"))[page]
    said = list(sentences((ROOT / page).read_text("utf-8")))
    beginnings = [*known["KEEPS"], *known["SAYS"]]
    strong = [each for each in said if _STRONG.search(each)]
    assert [each for each in strong if not each.startswith(tuple(beginnings))] == []
    assert [each for each in beginnings if not any(one.startswith(each) for one in said)] == []
    tests = {name for names in known["KEEPS"].values() for name in names}
    assert tests - names_of_tests() == set()
    assert all(known["KEEPS"].values())
    assert all(known["SAYS"].values())
