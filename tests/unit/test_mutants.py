"""`bench.mutants`: what was found holds for the code that it was found of, and for no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bench.mutants import PACKAGE, Mutant, Result, Results, Run

MUTANT = Mutant(f"{PACKAGE}/a.py", 1, 0, 1, "1", "2", ("tests/test_a.py",))
FILES = [f"{PACKAGE}/a.py", f"{PACKAGE}/data/b.toml", "tests/conftest.py", "tests/test_a.py"]


@pytest.mark.parametrize("changed", [*FILES, f"{PACKAGE}/new.py", "tests/helper.py"])
def test_a_result_is_forgotten_when_anything_changes_that_it_depends_on(
    tmp_path: Path, changed: str
) -> None:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    kept = tmp_path / "kept.jsonl"
    Results(kept, tmp_path).add(MUTANT, Result("", 1.0))
    (tmp_path / "tests" / "test_other.py").write_text("1")
    assert Results(kept, tmp_path).get(MUTANT) == Result("", 1.0)
    (tmp_path / changed).write_text("2")
    assert Results(kept, tmp_path).get(MUTANT) is None


def test_a_mutant_that_no_test_ran_against_is_reported_and_not_a_survivor(tmp_path: Path) -> None:
    class Nothing:
        """A copy of the tree where pytest finds no test."""

        def killer(self, *_: object) -> str:
            return "pytest ended with status 5"

        def failure(self, *_: object) -> str:
            return "pytest ended with status 5"

    copies: Any = [Nothing()]
    results = Results(tmp_path / "kept.jsonl", tmp_path)
    run = Run(copies, results)
    (tmp_path / PACKAGE).mkdir(parents=True)
    (tmp_path / MUTANT.file).write_text("1")
    (tmp_path / "tests").mkdir()
    (tmp_path / MUTANT.tests[0]).write_text("")
    assert [result.killer for _, result in run.mutants([MUTANT])] == [""]
    run.close()
    assert run.broken == set(MUTANT.tests)
    assert results.get(MUTANT) is None
