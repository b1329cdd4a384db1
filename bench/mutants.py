"""Measures the tests: changes one line at a time and reports the changes that no test notices.

`bench/mutants.toml` maps places in the source to the test files that must notice a change there.
Each mutant runs in a copy of the tree, so the tree itself never changes: `make mutants`.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MAP = Path(__file__).with_suffix(".toml")
PACKAGE = "src/polycall"
TIMEOUT_S = 600.0

_COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
}
_ARITHMETIC: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "//"),
    ast.FloorDiv: ("//", "*"),
}
_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
_SMALL_INT_MAX = 2  # larger numbers are bounds and sizes, where one more changes nothing


@dataclass(frozen=True)
class Mutant:
    """One change: characters `start` to `end` of `file` become `new`."""

    file: str
    line: int
    start: int
    end: int
    old: str
    new: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.old!r} -> {self.new!r}"


class _Places(ast.NodeVisitor):
    """Collects `(line, start, end, new)` for every change that an operator makes."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.found: list[tuple[int, int, int, str]] = []
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line.encode()))
        self._bytes = source.encode()
        self._in_function = 0
        self._function = ""

    def _offset(self, line: int, column: int) -> int:
        return len(self._bytes[: self._starts[line - 1] + column].decode())

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or 0
        return self._offset(node.lineno, node.col_offset), self._offset(end_line, end_column)

    def _add(self, node: ast.expr | ast.stmt, start: int, end: int, new: str) -> None:
        old = self.source[start:end]
        if "\n" not in old and old != new:
            self.found.append((node.lineno, start, end, new))

    def _between(self, left: ast.expr, right: ast.expr, old: str, new: str) -> None:
        start, end = self._span(left)[1], self._span(right)[0]
        text = self.source[start:end]
        place = re.search(rf"(?<![\w]){re.escape(old)}(?![\w=])", text)
        if place is not None and "\n" not in text:
            self._add(left, start + place.start(), start + place.end(), new)

    def visit_Compare(self, node: ast.Compare) -> None:
        self.generic_visit(node)
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            self._between(left, right, *_COMPARISONS[type(operator)])
            left = right

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self.generic_visit(node)
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._between(left, right, old, new)
        # Without its last operand: a condition that was forgotten.
        kept, last = node.values[-2], node.values[-1]
        self._add(node, self._span(kept)[1], self._span(last)[1], "")

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        self.generic_visit(node)
        if isinstance(node.op, ast.Not):
            self._add(node, self._span(node)[0], self._span(node.operand)[0], "")

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self.generic_visit(node)
        is_text = any(
            isinstance(side, ast.JoinedStr | ast.List | ast.Tuple)
            or (isinstance(side, ast.Constant) and isinstance(side.value, str | bytes))
            for side in (node.left, node.right)
        )
        if type(node.op) in _ARITHMETIC and not is_text:
            self._between(node.left, node.right, *_ARITHMETIC[type(node.op)])

    def visit_Constant(self, node: ast.Constant) -> None:
        if not self._in_function:
            return
        if isinstance(node.value, bool):
            self._add(node, *self._span(node), str(not node.value))
        elif isinstance(node.value, int) and 0 <= node.value <= _SMALL_INT_MAX:
            self._add(node, *self._span(node), str(node.value + 1))

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in _CALLS:
            self._add(node, *self._span(node.func), _CALLS[node.func.id])

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.generic_visit(node)
        self._add(node, *self._span(node), "pass")

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        is_first = self._function == "__init__"  # without it nothing works at all
        is_kept = isinstance(node.targets[0], ast.Attribute | ast.Subscript)
        if self._in_function and is_kept and not is_first:
            self._add(node, *self._span(node), "pass")

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        call = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(call, ast.Call) and "logger" in ast.unparse(call.func):
            return
        self.generic_visit(node)
        if isinstance(call, ast.Call):
            self._add(node, *self._span(node), "pass")

    def visit_Continue(self, node: ast.Continue) -> None:
        self._add(node, *self._span(node), "break")

    def visit_Raise(self, node: ast.Raise) -> None:
        """Leave errors alone: their texts are not a place that matters."""

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        outer, self._function = self._function, node.name
        self._in_function += 1
        for each in node.body:
            self.visit(each)
        self._in_function -= 1
        self._function = outer

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None and self._in_function:
            self.visit(node.value)


def mutants_of(file: str, tests: tuple[str, ...]) -> list[Mutant]:
    """Every one-line change of a file under `src/polycall`."""
    path = f"{PACKAGE}/{file}"
    source = (ROOT / path).read_text("utf-8")
    places = _Places(source)
    places.visit(ast.parse(source))
    found: list[Mutant] = []
    for line, start, end, new in sorted(set(places.found)):
        old = source[start:end]
        changed = source[:start] + new + source[end:]
        try:
            ast.parse(changed)
        except SyntaxError:
            continue
        found.append(Mutant(path, line, start, end, old, new, tests))
    return found


def seeded(places: dict[str, list[str]], number: int, seed: int) -> list[Mutant]:
    """`number` mutants, spread evenly over the places; the same ones for the same seed."""
    queues: list[list[Mutant]] = []
    for file, tests in sorted(places.items()):
        queue = mutants_of(file, tuple(tests))
        random.Random(f"{seed}:{file}").shuffle(queue)
        queues.append(queue)
    random.Random(seed).shuffle(queues)
    chosen: list[Mutant] = []
    while len(chosen) < number and any(queues):
        for queue in queues:
            if queue and len(chosen) < number:
                chosen.append(queue.pop())
    return chosen


def known(rows: list[dict[str, Any]]) -> list[Mutant]:
    """The mutants that the map lists by their text; each text stands once in its file."""
    found: list[Mutant] = []
    for row in rows:
        path = f"{PACKAGE}/{row['file']}"
        source = (ROOT / path).read_text("utf-8")
        if source.count(row["old"]) != 1:
            raise SystemExit(f"{MAP.name}: {row['old']!r} does not stand once in {path}")
        start = source.index(row["old"])
        line = source.count("\n", 0, start) + 1
        end = start + len(row["old"])
        tests = tuple(row["tests"])
        found.append(Mutant(path, line, start, end, row["old"], row["new"], tests))
    return found


class Copy:
    """A copy of the tree in which mutants run, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            source, target = ROOT / name, folder / name
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)

    def passes(self, tests: tuple[str, ...]) -> bool:
        """Whether the tests pass here.  A run that takes too long does not pass."""
        options = ["-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=no"]
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.folder / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(TIMEOUT_S) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def survives(self, mutant: Mutant) -> bool:
        """Whether no test of its place notices the mutant."""
        path = self.folder / mutant.file
        source = path.read_text("utf-8")
        path.write_text(source[: mutant.start] + mutant.new + source[mutant.end :], "utf-8")
        try:
            return self.passes(mutant.tests)
        finally:
            path.write_text(source, "utf-8")


def run(mutants: list[Mutant], copy: Copy) -> Iterator[tuple[Mutant, bool, float]]:
    """Each mutant, whether it survives, and the seconds that its tests took."""
    for mutant in mutants:
        began = time.monotonic()
        survives = copy.survives(mutant)
        yield mutant, survives, time.monotonic() - began


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.mutants", description=__doc__)
    parser.add_argument("-n", "--number", type=int, default=60, help="seeded mutants (60)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--place", default="", help="only files whose name contains this text")
    parser.add_argument("--known", action="store_true", help="only the mutants of the map")
    parser.add_argument("--list", action="store_true", help="list the mutants, run nothing")
    parser.add_argument("--survivors-max", type=int, default=5, metavar="N")
    options = parser.parse_args(arguments)
    data = tomllib.loads(MAP.read_text("utf-8"))
    places = {file: tests for file, tests in data["places"].items() if options.place in file}
    rows = [row for row in data["known"] if options.place in row["file"]]
    chosen = known(rows)
    if not options.known:
        chosen += seeded(places, options.number, options.seed)
    if options.list:
        print(*chosen, sep="\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Copy(Path(folder))
        for tests in sorted({mutant.tests for mutant in chosen}):
            if not copy.passes(tests):
                print(f"without any change these tests fail: {' '.join(tests)}", file=sys.stderr)
                return 2
        survivors: list[Mutant] = []
        for number, (mutant, survives, took_s) in enumerate(run(chosen, copy), 1):
            word = "SURVIVES" if survives else "killed"
            print(f"{number:3}/{len(chosen)} {took_s:5.1f} s {word:8} {mutant}", flush=True)
            if survives:
                survivors.append(mutant)
    print(f"\n{len(chosen)} mutants, {len(survivors)} survive")
    for mutant in survivors:
        print(f"  {mutant}  ({' '.join(mutant.tests)})")
    return 1 if len(survivors) > options.survivors_max else 0


if __name__ == "__main__":
    sys.exit(main())
