"""docs/architecture.md shows the rooms as they are; maps, indexes and CONTRIBUTING are complete."""

from __future__ import annotations

import ast
import functools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "polycall"
ARCHITECTURE = ROOT / "docs" / "architecture.md"


@functools.cache
def modules() -> list[tuple[list[str], set[str]]]:
    """Each module's path below `polycall`, and the names that it imports from `polycall`."""
    return list(_modules())


def _modules() -> Iterator[tuple[list[str], set[str]]]:
    for path in SOURCE.rglob("*.py"):
        place = list(path.relative_to(SOURCE).with_suffix("").parts)
        package = place[:-1]
        found: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    above = ["polycall", *package[: len(package) - node.level + 1]]
                    base = ".".join([*above, *filter(None, [node.module])])
                found |= {f"{base}.{name.name}" for name in node.names}
        yield place, {name[len("polycall.") :] for name in found if name.startswith("polycall.")}


def floor(line: str) -> set[str]:
    rooms = re.match(r"\w+(?: \| \w+)*", line)
    assert rooms is not None, line
    return set(rooms[0].split(" | "))


def diagram() -> tuple[list[set[str]], dict[str, set[str]]]:
    """The floors, the highest first, and the imports of the gateway's rooms."""
    (block,) = re.findall(r"^```text\n(.*?)^```", ARCHITECTURE.read_text("utf-8"), re.M | re.S)
    floors: list[set[str]] = []
    gateway: dict[str, set[str]] = {}
    for line in filter(None, block.splitlines()):
        if line.startswith("gateway."):
            room, _, imported = line.removeprefix("gateway.").partition(":")
            gateway[room] = set(imported.split())
        else:
            floors.append(floor(line))
    return floors, gateway


def test_the_diagram_has_every_room_and_its_imports_go_down() -> None:
    floors, _ = diagram()
    level = {room: number for number, floor in enumerate(floors) for room in floor}
    rooms = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert level.keys() == rooms - {"__init__", "__pycache__", "py"}
    upwards = {
        f"{place[0]} imports {other}"
        for place, imported in modules()
        if place != ["__init__"]
        for name in imported
        if (other := name.split(".")[0]) in level and other != place[0]
        if level[other] <= level[place[0]]
    }
    assert upwards == set()


def test_the_diagram_has_the_floors_that_the_import_linter_enforces() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    layers = contracts["contracts"][0]["layers"]
    floors, _ = diagram()
    assert floors == [set(layer.split(" | ")) for layer in layers]
    agents = (ROOT / "AGENTS.md").read_text("utf-8")
    (block,) = re.findall(r"^```\n(.*?)^```", agents, re.M | re.S)
    assert [floor(line) for line in block.splitlines()] == floors


def test_the_diagram_has_the_imports_between_the_gateways_rooms() -> None:
    real: dict[str, set[str]] = {}
    for place, imported in modules():
        if place[0] != "gateway" or len(place) < 2 or place[1] == "__init__":
            continue
        others = {name.split(".")[1] for name in imported if name.startswith("gateway.")}
        real.setdefault(place[1], set()).update(others - {place[1]})
    _, shown = diagram()
    expected = {room: others for room, others in real.items() if others}
    lines = [f"gateway.{room}: {' '.join(sorted(expected[room]))}" for room in sorted(expected)]
    assert shown == expected, "docs/architecture.md has to say:\n" + "\n".join(lines)


def test_the_gateways_map_has_every_room() -> None:
    text = ast.get_docstring(ast.parse((SOURCE / "gateway" / "__init__.py").read_text("utf-8")))
    rooms = {path.stem for path in (SOURCE / "gateway").iterdir()} - {"__init__", "__pycache__"}
    assert text is not None
    assert set(re.findall(r"^(\w+)(?:/|\.py)  ", text, re.M)) == rooms


def test_file_maps_in_docstrings_name_files_that_exist() -> None:
    missing: list[str] = []
    for path in SOURCE.rglob("__init__.py"):
        text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        for line in text.splitlines():
            if re.match(r"\w+(\.py|/)  +\S", line):
                named = re.findall(r"\b\w+(?:\.py\b|/(?= ))", line)
                missing += [
                    f"{path.parent.name}: {name}"
                    for name in named
                    if not (path.parent / name).exists()
                ]
    assert missing == []


def test_the_paths_that_contributing_names_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    rows = re.findall(r"^\| (an? [^|]+) \|(.*)\|$", text, re.M)
    assert len(rows) == 10
    for question, answer in rows:
        paths = re.findall(r"`((?:src|docs|tests)/[^`]*)`", answer)
        assert paths, question
        assert [path for path in paths if not (ROOT / path).exists()] == [], question
        named = re.findall(r"`(\w+)` in `([^`]*\.py)`", answer)
        gone = [name for name, path in named if name not in _defined_in(ROOT / path)]
        assert gone == [], question


def _defined_in(path: Path) -> set[str]:
    """The names of classes, functions, methods and constants of a module."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def test_the_index_of_decisions_lists_every_decision() -> None:
    folder = ROOT / "docs" / "adr"
    listed = re.findall(r"\]\((\d{4}-[^)]*\.md)\)", (folder / "README.md").read_text("utf-8"))
    assert listed == sorted(path.name for path in folder.glob("[0-9]*.md"))


def test_the_map_of_the_documentation_lists_every_page() -> None:
    docs = ROOT / "docs"
    listed = set(re.findall(r"\]\(([^)#]+\.md)", (docs / "index.md").read_text("utf-8")))
    pages = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    decisions = {page for page in pages if re.match(r"adr/\d", page)}
    assert {page for page in listed if not page.startswith("..")} == pages - decisions - {
        "index.md"
    }
