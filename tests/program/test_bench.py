"""The comparison and the tasks: what they must show, and that the page shows the same."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from polycall.cli import main
from polycall.cli.bench.cases import cases
from polycall.cli.bench.compare import Compared, chart, compare, table
from polycall.cli.bench.tasks import is_same
from polycall.cli.bench.tokens import tokenizer
from polycall.errors import RequestError
from polycall.sandbox import RuntimeUnavailableError

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "programs.md"
BENCH = REPOSITORY / "bench"
TASKS = [
    "bench",
    "tasks",
    f"--tasks={BENCH / 'programs_tasks.jsonl'}",
    f"--tools={BENCH / 'programs_tools.py'}",
    f"--script={BENCH / 'programs_script.jsonl'}",
    "--json",
]


@pytest.fixture(scope="module")
def compared() -> list[Compared]:
    """The whole comparison, once for all that is said of it."""
    try:
        return asyncio.run(compare(cases(10_000)))
    except RuntimeUnavailableError as error:
        pytest.skip(f"no sandbox here: {error}")


@pytest.mark.slow
def test_a_program_takes_under_one_percent_in_one_turn(compared: list[Compared]) -> None:
    forms = compared[0].forms
    program, parallel = forms["programmatic"], forms["parallel"]
    assert parallel.context_tokens > 500_000
    assert program.context_tokens < parallel.context_tokens / 100
    assert (program.turns, program.calls) == (1, 3)


def test_every_program_prints_what_is_right(compared: list[Compared]) -> None:
    assert [row.name for row in compared if not row.is_right] == []


def test_auto_chooses_the_cheaper_form_and_says_why(compared: list[Compared]) -> None:
    cheapest = [row.cheapest for row in compared]
    assert [row.told.form for row in compared] == cheapest
    assert [row.seen.form for row in compared] == cheapest
    assert set(cheapest) == {"code", "direct"}
    for row in compared:
        for decision in (row.told, row.seen):
            assert decision.rule == "estimate"
            assert f"{decision.direct_tokens} tokens directly" in decision.reason


def test_the_page_shows_these_figures(compared: list[Compared]) -> None:
    _, how = tokenizer()
    if how != "o200k_base":
        pytest.skip("the page was made with the tokenizer bpe-openai")
    shown, made = figures(PAGE.read_text("utf-8")), figures(table(compared, how))
    assert shown.keys() == made.keys()
    for key, values in made.items():
        # Wordings change; what the page claims must not.
        assert shown[key] == pytest.approx(values, rel=0.1), "polycall bench programs --write"


def test_the_chart_is_an_image_of_all_rows(compared: list[Compared]) -> None:
    root = ElementTree.fromstring(chart(compared))
    texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {row.name for row in compared} <= set(texts)
    assert f"{compared[0].forms['parallel'].context_tokens:,}" in texts


def figures(text: str) -> dict[tuple[str, str], list[int]]:
    """Context and billed tokens by task and form."""
    row = r"^\| (.+?) \| (sequential|parallel|programmatic) \| ([\d,]+) \| ([\d,]+) \|"
    return {
        (name, form): [int(context.replace(",", "")), int(billed.replace(",", ""))]
        for name, form, context, billed in re.findall(row, text, re.MULTILINE)
    }


@pytest.mark.usefixtures("jail")
@pytest.mark.slow
def test_the_command_prints_and_writes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options = ["bench", "programs", "--rows", "50", "--vendor", "anthropic"]
    assert main([*options, "--write", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "programs-table.md").read_text("utf-8").strip() == printed.strip()
    assert (tmp_path / "programs.svg").read_text("utf-8").startswith("<svg ")
    assert len(figures(printed)) == 17
    assert main([*options, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["is_right"] for row in rows] == [True] * 6
    assert [row["told"]["form"] for row in rows][-2:] == ["direct", "direct"]


def outcomes(capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    assert main([*TASKS, *options]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.usefixtures("jail")
def test_ten_tasks_in_three_modes(capsys: pytest.CaptureFixture[str]) -> None:
    rows = outcomes(capsys)
    by_mode = {
        mode: [row for row in rows if row["mode"] == mode] for mode in ("code", "json", "text")
    }
    assert {mode: len(found) for mode, found in by_mode.items()} == dict.fromkeys(by_mode, 10)
    successes = {mode: sum(row["success"] for row in found) for mode, found in by_mode.items()}
    assert successes == {"code": 10, "json": 9, "text": 8}
    turns = {mode: sum(row["turns"] for row in found) for mode, found in by_mode.items()}
    assert turns == {"code": 21, "json": 26, "text": 37}
    assert all(row["tokens"] > 100 and row["end"] == "finished" for row in rows)
    # A program that failed was followed by one that worked.
    assert [row["turns"] for row in by_mode["code"] if row["id"] == "t5"] == [3]


@pytest.mark.usefixtures("jail")
def test_the_summary_has_a_line_for_each_mode(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TASKS[:-1], "--modes", "code,text"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:4] for line in lines if line[1] == "all"] == [
        ["code", "all", "10", "100%"],
        ["text", "all", "10", "80%"],
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--modes", "tea"], "there is no mode 'tea'"),
        ([f"--tasks={BENCH / 'programs_script.jsonl'}"], "line 1 of programs_script.jsonl"),
        ([f"--tools={REPOSITORY / 'tests' / 'support.py'}"], "task 't1' wants tools"),
    ],
)
@pytest.mark.usefixtures("jail")
def test_mistakes_are_named(
    capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert main([*TASKS, *options]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("expected", "answer", "same"),
    [
        (417, "417", True),
        (417, "417.0", True),
        (417, "room 417", False),
        (0.1, "0.10000000001", True),
        ("Odeon", "odeon.", True),
        ("Odeon", '"Odeon"', True),
        (["a", 1], '["a", 1]', True),
        (["a", 1], '["a"]', False),
        ({"a": [1.0]}, '{"a": [1]}', True),
        ({"a": 1}, '{"b": 1}', False),
        (True, "true", True),
        (True, "1", False),
        (1, "true", False),
        ("", "", True),
        (5, "", False),
    ],
)
def test_answers_are_compared_as_what_they_are(expected: Any, answer: str, same: bool) -> None:
    assert is_same(expected, answer) is same


def test_a_tools_file_that_is_none(tmp_path: Path) -> None:
    from polycall.cli.bench.tasks import load_functions

    path = tmp_path / "tools.txt"
    path.write_text("x")
    with pytest.raises(RequestError, match="is not a Python file"):
        load_functions(path)
