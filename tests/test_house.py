"""The house rules that a machine can check: sizes, and what the project says of itself."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70

# File or `file:function`, and why it is longer.
EXCEPTIONS: dict[str, str] = {}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT / "src" / "polycall"))


def test_files_are_short() -> None:
    long = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    too_long = {name: n for name, n in long.items() if n > FILE_LINES_MAX}
    assert not set(too_long) - set(EXCEPTIONS), too_long


def test_functions_are_short() -> None:
    too_long: dict[str, int] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    too_long[f"{name_of(path)}:{node.name}"] = length
    assert not set(too_long) - set(EXCEPTIONS), too_long


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        name_of(path)
        for path in SOURCES
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_decisions_are_numbered_once() -> None:
    numbers = [path.name[:4] for path in (ROOT / "docs" / "adr").glob("*.md")]
    assert sorted(numbers) == sorted(set(numbers))


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_no_secret_and_no_path_of_a_machine_is_tracked() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    bad = re.compile(r"(?<![\w.}])/(root|home/\w+|work)/|BEGIN (RSA|OPENSSH) PRIVATE KEY")
    found = [
        name
        for name in listed.stdout.split("\0")
        if name
        and name != "tests/test_house.py"
        and (ROOT / name).is_file()
        and bad.search((ROOT / name).read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []
