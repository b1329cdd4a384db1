"""Programs of users, and the documentation's, as three type checkers read them.

In `programs/`, `right_*` have no error; in `wrong_*` each line that ends with `# wrong` has one,
and no other line.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).with_name("programs")
NAMES = sorted(path.stem for path in PROGRAMS.glob("*.py"))
# Errors as (file, line), the first line being 1.
Errors = set[tuple[str, int]]
_LINE = re.compile(r"^(?P<path>[^:]+\.py):(?P<line>\d+):(?:\d+:)? error")

# What one checker does not find, with the reason.  Each is tried to be still so.
MISSED: dict[str, Errors] = {
    "pyright": set(),
    "mypy": set(),
    # ty 0.0.108 does not look at names and values that `**options: Unpack[TypedDict]` takes.
    "ty": {
        ("wrong_33_options.py", 4),
        ("wrong_33_options.py", 9),
        ("wrong_34_settings.py", 8),
        ("wrong_39_durable.py", 7),
    },
}


def pyright(folder: Path, work: Path, **rules: str) -> Errors:
    """What pyright says in strict mode."""
    shutil.copytree(folder, work / "read")  # what it reads must lie beside its settings
    settings = {
        "include": ["read"],
        "typeCheckingMode": "strict",
        "extraPaths": [str(ROOT / "src"), "read"],
        **rules,
    }
    (work / "pyrightconfig.json").write_text(json.dumps(settings))
    words = ["-p", str(work), "--outputjson", "--pythonpath", sys.executable]
    done = _run("pyright", *words)
    found = json.loads(done)["generalDiagnostics"]
    return {
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1)
        for each in found
        if each["severity"] == "error"
    }


def mypy(folder: Path, work: Path, *more: str) -> Errors:
    """What mypy says in strict mode, of these files alone."""
    words = ["--strict", "--no-error-summary", "--follow-imports=silent", "--python-version=3.11"]
    words += [f"--cache-dir={work / 'cache'}"]
    return _lines(_run("mypy", *words, *more, *map(str, sorted(folder.glob("*.py")))))


def ty(folder: Path, work: Path) -> Errors:
    """What ty says."""
    del work
    words = ["check", "--output-format=concise", f"--python={sys.prefix}"]
    return _lines(_run("ty", *words, f"--extra-search-path={ROOT / 'src'}", str(folder)))


CHECKERS: dict[str, Callable[[Path, Path], Errors]] = {"pyright": pyright, "mypy": mypy, "ty": ty}


def _run(name: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", name, *words],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT / "src")},
    )
    assert done.returncode in (0, 1), done.stderr + done.stdout
    return done.stdout


def _lines(output: str) -> Errors:
    found = [match for line in output.splitlines() if (match := _LINE.match(line))]
    return {(Path(match["path"]).name, int(match["line"])) for match in found}


def marked() -> Errors:
    """The lines that are wrong."""
    return {
        (path.name, number)
        for path in PROGRAMS.glob("*.py")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if line.endswith("# wrong")
    }


def test_there_are_forty_right_ones_and_wrong_ones() -> None:
    assert len(NAMES) >= 40
    assert {name for name, _ in marked()} == {f"{name}.py" for name in NAMES if "wrong" in name}


@pytest.mark.parametrize(
    "checker",
    [
        "ty",
        pytest.param("mypy", marks=pytest.mark.slow),
        pytest.param("pyright", marks=pytest.mark.slow),
    ],
)
def test_l10_right_programs_pass_and_each_wrong_line_is_found(checker: str, tmp_path: Path) -> None:
    found = CHECKERS[checker](PROGRAMS, tmp_path)
    assert sorted(found - marked()) == []
    assert sorted(marked() - found) == sorted(MISSED[checker])
