"""Measures the tests: changes one line at a time and reports the changes that no test notices.

`bench/mutants.toml` maps places in the source to the test files that must notice a change there.
Mutants run side by side in copies of the tree, so the tree itself never changes: `make mutants`.
A run of tests has a bound of time, and each result is kept in `build/mutants.jsonl`: a run that was
cut short goes on where it stood.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

ROOT = Path(__file__).parents[1]
MAP = Path(__file__).with_suffix(".toml")
PACKAGE = "src/polycall"
SECONDS_MAX = 150.0

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

    def failure(self, tests: Iterable[str], passed_over: Iterable[str] = ()) -> str:
        """Name the first test that fails here or does not end, or nothing if all pass."""
        options = ["-x", "-v", "-m", "not slow", "--no-header", "--tb=no", "--color=no"]
        options += ["-p", "no:cacheprovider", "-p", "no:xdist"]
        options += [f"--deselect={test}" for test in passed_over]
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.folder / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
        }
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *options, *tests],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                if process.wait(SECONDS_MAX) == 0:
                    return ""
            except subprocess.TimeoutExpired:
                pass  # the test that hangs is the last one that the output names
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            output.seek(0)
            text = output.read().decode("utf-8", "replace")
        # Also where no test ran at all: that says nothing of the change.
        named = re.findall(r"^(?:ERROR )?(tests/\S+\.py(?:::\w+)*)", text, re.MULTILINE)
        return named[-1] if named else f"pytest ended with status {process.returncode}"

    def killer(self, mutant: Mutant, passed_over: Iterable[str]) -> str:
        """Name the test that notices the mutant, or nothing if the mutant survives."""
        path = self.folder / mutant.file
        source = path.read_text("utf-8")
        path.write_text(source[: mutant.start] + mutant.new + source[mutant.end :], "utf-8")
        try:
            return self.failure(mutant.tests, passed_over)
        finally:
            path.write_text(source, "utf-8")


@dataclass(frozen=True)
class Result:
    """What became of a mutant: the test that noticed it, or nothing."""

    killer: str
    took_s: float


def _digest(paths: Iterable[Path]) -> str:
    """Of what files hold and are called."""
    digest = hashlib.sha256()
    for path in sorted(set(paths)):
        if path.suffix != ".pyc":
            digest.update(f"{path} {path.stat().st_size} ".encode() + path.read_bytes())
    return digest.hexdigest()


class Results:
    """What earlier runs found, on disk, so that a run that was cut short goes on where it stood.

    A result holds for as long as the source, the tests of its place and what tests share stay the
    same.
    """

    def __init__(self, path: Path, root: Path = ROOT) -> None:
        self._path = path
        self._root = root
        self._shared = _digest(self._shared_files())
        self._lock = threading.Lock()
        self._found: dict[str, Result] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            for line in path.read_text("utf-8").splitlines():
                with contextlib.suppress(ValueError):  # the last line of a run that was killed
                    row = json.loads(line)
                    self._found[row["key"]] = Result(row["killer"], row["took_s"])

    def _shared_files(self) -> Iterator[Path]:
        yield from (path for path in (self._root / PACKAGE).rglob("*") if path.is_file())
        yield from (
            path for path in (self._root / "tests").rglob("*.py") if path.name[:5] != "test_"
        )

    def _key(self, mutant: Mutant) -> str:
        own: list[Path] = []
        for test in mutant.tests:
            path = self._root / test.partition("::")[0]
            own += path.rglob("*.py") if path.is_dir() else [path]
        words = f"{mutant} {mutant.start} {self._shared} {_digest(own)}"
        return hashlib.sha256(words.encode()).hexdigest()

    def get(self, mutant: Mutant) -> Result | None:
        return self._found.get(self._key(mutant))

    def add(self, mutant: Mutant, result: Result) -> None:
        row = {"key": self._key(mutant), "mutant": str(mutant), **asdict(result)}
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


class Run:
    """Runs mutants side by side, each in a copy that no other mutant uses at that time.

    A test that notices a mutant must pass without it.  One that does not (it is broken, flaky or
    too slow) is reported and passed over, and the mutant runs again without it.
    """

    def __init__(self, copies: list[Copy], results: Results) -> None:
        self.broken: set[str] = set()
        self._sound: set[str] = set()
        self._copies: SimpleQueue[Copy] = SimpleQueue()
        for copy in copies:
            self._copies.put(copy)
        self._pool = ThreadPoolExecutor(len(copies))
        self._results = results

    def close(self) -> None:
        """Wait for the mutants that run, and start no other."""
        self._pool.shutdown(cancel_futures=True)

    def _killer(self, copy: Copy, mutant: Mutant) -> str:
        while True:
            killer = copy.killer(mutant, self.broken)
            if not killer or killer in self._sound:
                return killer
            if killer in self.broken:
                return ""
            is_test = killer.startswith("tests/")
            if not copy.failure([killer] if is_test else mutant.tests):
                if is_test:
                    self._sound.add(killer)
                return killer
            self.broken.update([killer] if is_test else mutant.tests)
            if not is_test:
                return ""  # and the run says that these tests fail

    def _one(self, mutant: Mutant) -> Result:
        copy = self._copies.get()
        began = time.monotonic()
        try:
            result = Result(self._killer(copy, mutant), time.monotonic() - began)
        finally:
            self._copies.put(copy)
        if result.killer or self.broken.isdisjoint(mutant.tests):  # else there was no judge
            self._results.add(mutant, result)
        return result

    def mutants(self, chosen: Iterable[Mutant]) -> Iterator[tuple[Mutant, Result]]:
        running = {self._pool.submit(self._one, each): each for each in chosen}
        for future in as_completed(running):
            yield running[future], future.result()


def measured(chosen: list[Mutant], jobs: int, results: Results) -> tuple[list[Mutant], set[str]]:
    """The survivors, and the tests that fail without any change."""
    found = {each: result for each in chosen if (result := results.get(each)) is not None}
    survivors = [each for each, result in found.items() if not result.killer]
    left = [each for each in chosen if each not in found]
    if found:
        print(f"{len(found)} of {len(chosen)} mutants are known from earlier runs", flush=True)
    with contextlib.ExitStack() as stack:
        folders = [
            stack.enter_context(tempfile.TemporaryDirectory(prefix="mutants-")) for _ in range(jobs)
        ]
        run = Run([Copy(Path(folder)) for folder in folders], results)
        stack.callback(run.close)
        for number, (mutant, result) in enumerate(run.mutants(left), 1):
            word = f"killed by {result.killer}" if result.killer else "SURVIVES"
            print(f"{number:3}/{len(left)} {result.took_s:5.1f} s  {mutant}  {word}", flush=True)
            if not result.killer:
                survivors.append(mutant)
    return survivors, run.broken


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.mutants", description=__doc__)
    parser.add_argument("-n", "--number", type=int, default=60, help="seeded mutants (60)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--place", default="", help="only files whose name contains this text")
    parser.add_argument("--known", action="store_true", help="only the mutants of the map")
    parser.add_argument("--list", action="store_true", help="list the mutants, run nothing")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1, help="side by side")
    parser.add_argument(
        "--results",
        type=Path,
        default=ROOT / "build" / "mutants.jsonl",
        help="where results are kept; a run that was cut short goes on from there",
    )
    parser.add_argument("--survivors-max", type=int, default=5, metavar="N")
    options = parser.parse_args(arguments)
    data = tomllib.loads(MAP.read_text("utf-8"))
    chosen = known(data["known"])
    if not options.known:
        chosen += seeded(data["places"], options.number, options.seed)
    chosen = [each for each in chosen if options.place in each.file]
    if options.list:
        print(*chosen, sep="\n")
        return 0
    began = time.monotonic()
    survivors, broken = measured(chosen, options.jobs, Results(options.results))
    minutes = (time.monotonic() - began) / 60
    killed = len(chosen) - len(survivors)
    print(
        f"\n{len(chosen)} mutants in {minutes:.1f} min: {killed} killed, {len(survivors)} survive"
    )
    for mutant in survivors:
        print(f"  {mutant}  ({' '.join(mutant.tests)})")
    for test in sorted(broken):
        print(f"passed over, for it fails without any change: {test}")
    return 1 if broken or len(survivors) > options.survivors_max else 0


if __name__ == "__main__":
    sys.exit(main())
