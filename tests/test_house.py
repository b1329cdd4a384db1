"""The house rules that a machine can check: sizes, and what the project says of itself."""

from __future__ import annotations

import ast
import functools
import gc
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from bench import mutants

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70

# File or `file:function`, and why it is longer.
EXCEPTIONS: dict[str, str] = {}


@functools.cache
def tree_of(path: Path) -> ast.Module:
    # A collection of garbage in the middle of it makes Python 3.11 lose count of its depth.
    gc.disable()
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    finally:
        gc.enable()


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT / "src" / "polycall"))


def test_files_are_short() -> None:
    long = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    too_long = {name: n for name, n in long.items() if n > FILE_LINES_MAX}
    assert not set(too_long) - set(EXCEPTIONS), too_long


def test_functions_are_short() -> None:
    too_long: dict[str, int] = {}
    for path in SOURCES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    too_long[f"{name_of(path)}:{node.name}"] = length
    assert not set(too_long) - set(EXCEPTIONS), too_long


def test_every_module_says_what_it_is_for() -> None:
    silent = [name_of(path) for path in SOURCES if not ast.get_docstring(tree_of(path))]
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


# Names that were given up for standard terms, by where they may not return.  A name is looked for
# as a whole word; plain English words are looked for among definitions alone.
GIVEN_UP_WORDS = (
    *("Watchman", "Journey", "Conductor", "PauseDesk", "TableDesk", "AgentProfile", "Pourable"),
    *("Restorer", "BlockPiece", "GrowingItem", "FreshKeys", "Joiner"),
    *("http1_answer", "dear_wishes", "let_go", "restore_names", "restore_response_names"),
    *("call_names", "count_messages", "Flight"),
)
GIVEN_UP_DEFINITIONS = frozenset(
    {"Asked", "Desk", "Stop", "Plain", "Board", "Seat", "Carried", "Calling", "Witness", "Tape"}
    | {"Begun", "Ended", "Decision", "Shared", "DivergenceError", "RunState", "Account"}
)
GIVEN_UP_FILES = (
    *("gateway/flight.py", "gateway/asked.py", "gateway/journey.py", "gateway/board.py"),
    *("gateway/upkeep.py", "gateway/passing.py", "gateway/observe.py", "gateway/whole.py"),
    *("gateway/calling.py", "gateway/counts.py", "gateway/counting.py", "gateway/spans.py"),
    *("gateway/fresh.py", "gateway/threads.py", "gateway/arrays.py", "gateway/items.py"),
    *("gateway/programs/manners.py", "gateway/programs/shown.py", "gateway/programs/offered.py"),
    *("gateway/programs/answers.py", "gateway/programs/exchange.py", "agents/conduct.py"),
    *("agents/asking.py", "agents/recorder.py", "agents/profile.py", "agents/words.py"),
    *("agents/written", "sandbox/desk.py", "program/nested.py", "http1_answer.py", "pauses.py"),
    *("repeated.py", "restore.py", "history.py", "watching.py", "sim/lexicon.py", "sim/pieces.py"),
    *("sim/fill.py", "durable/desk.py"),
)
KEPT_NAMES = {
    "Flight": "tests/tools/test_docstrings.py has docstrings about flights",
    "DivergenceError": "the sandbox's public error; that of agents is RunDivergenceError",
    "RunState": "one class, of agents",
    "Account": "an account of a benchmark's invented bank",
    "Plain": "a test's class without fields that pydantic knows",
}
KEPT_DEFINITIONS = {"DivergenceError", "RunState", "Account", "Plain"}


def test_names_that_were_given_up_stay_away() -> None:
    assert {*KEPT_DEFINITIONS, "Flight"} == set(KEPT_NAMES)
    words = re.compile(rf"\b({'|'.join(GIVEN_UP_WORDS)})\b")
    texts = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *SOURCES]
    texts += [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)]
    found = [
        f"{path.relative_to(ROOT)}: {match[1]}"
        for path in texts
        for match in words.finditer(path.read_text(encoding="utf-8"))
        if (path.name, match[1]) != ("test_docstrings.py", "Flight")
    ]
    assert found == []


def test_no_class_has_a_name_that_was_given_up() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in [*SOURCES, *(ROOT / "tests").rglob("*.py")]
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ClassDef)
        and node.name.lstrip("_") in GIVEN_UP_DEFINITIONS - KEPT_DEFINITIONS
    ]
    assert found == []


def test_no_file_has_a_name_that_was_given_up() -> None:
    assert [name for name in GIVEN_UP_FILES if (ROOT / "src" / "polycall" / name).exists()] == []


# Words that readers stumble over, and what to write instead.
REFUSED_WORDS = {
    "whoever": "name the actor",
    "beside": "alongside, next to",
    "goes on": "continues",
    "go on": "continue",
    "gone on": "continued",
    "is none": "say what it is",
    "are none": "say what it is",
    "is away": "is unreachable",
    "are away": "are unreachable",
    "nowhere seen": "never returned",
    "told": "reported",
}
_REFUSED = re.compile(rf"(?<![-\w])({'|'.join(REFUSED_WORDS)})(?![-\w])", re.IGNORECASE)


def test_no_page_has_a_word_that_was_given_up() -> None:
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
    found: list[str] = []
    for page in [*pages, *(ROOT / "docs").rglob("*.md")]:
        # A line in a listing is code; in a table or a text, what stands in backticks is.
        text = re.sub(r"^```.*?^```", _blank, page.read_text("utf-8"), flags=re.M | re.S)
        text = re.sub(r"`[^`]*`", _blank, text)
        for match in _REFUSED.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            place = f"{page.relative_to(ROOT)}:{line}"
            found.append(f"{place}: {match[1]!r}: {REFUSED_WORDS[match[1].lower()]}")
    assert found == []


def _blank(match: re.Match[str]) -> str:
    return "\n" * match[0].count("\n")


# What a simulated vendor writes.
KEPT_MESSAGES = {"sim/vendors/gemini.py"}


def test_no_message_has_a_word_that_was_given_up() -> None:
    """Errors, warnings and help texts: strings of several words that are not docstrings."""
    found: list[str] = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or id(node) in statements:
                continue
            if isinstance(node.value, str) and " " in node.value and _REFUSED.search(node.value):
                found.append(f"{name_of(path)}:{node.lineno}: {node.value!r}")
    assert [each for each in found if each.partition(":")[0] not in KEPT_MESSAGES] == []


# In comments and docstrings "alongside" may be too long a word, and "there is none" is English.
_REFUSED_IN_SOURCE = re.compile(
    r"(?<![-\w])(whoever|goes on|go on|gone on|is away|are away|nowhere seen)(?![-\w])",
    re.IGNORECASE,
)
_OF_QUESTIONS = re.compile(r"(What|How|Where|Who|Whom|Whose|Of|By)\b")


def test_no_comment_and_no_docstring_has_a_word_that_was_given_up() -> None:
    """A sentence names its actor, and says things by their usual words."""
    found = [
        f"{name_of(path)}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if _REFUSED_IN_SOURCE.search(line) and name_of(path) not in KEPT_MESSAGES
    ]
    assert found == []


def test_docstrings_say_what_a_thing_is_and_ask_nothing() -> None:
    """`The price of an answer`, not `What an answer costs`."""
    found = [
        f"{name_of(path)}:{getattr(node, 'lineno', 1)}"
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and _OF_QUESTIONS.match(ast.get_docstring(node) or "")
    ]
    assert found == []


def test_the_map_of_mutants_names_code_and_tests_that_are_there() -> None:
    data = tomllib.loads(mutants.MAP.read_text("utf-8"))
    assert len(mutants.known(data["known"])) == len(data["known"])
    tests = [each for row in data["known"] for each in row["tests"]]
    tests += [each for named in data["places"].values() for each in named]
    missing = [each for each in tests if not (ROOT / each.partition("::")[0]).exists()]
    missing += [each for each in data["places"] if not (ROOT / mutants.PACKAGE / each).exists()]
    assert missing == []
