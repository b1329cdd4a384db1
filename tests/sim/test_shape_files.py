"""Shapes of requests as data: what the notation means, and that every file can be read."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from polycall.sim import shape_files
from polycall.sim.shape import ShapeError
from polycall.sim.shape_files import ShapeFile

FOLDER = files("polycall.sim") / "shapes"
# The service model of AWS, in its own words.
OTHERS = {"bedrock_converse.toml"}
NAMES = sorted(entry.name for entry in FOLDER.iterdir() if entry.name not in OTHERS)

WRITTEN = """
word = ["auto", "none"]
either = "word | part[1..2]"
texts = "{string ..3}"

[part]
"text!" = "string"
"note?" = "string"
"low, high" = "integer 1.."

[open]
"<" = ["part"]
"*" = true

[block."by kind or plain"]
"<" = ["kinds"]

[kinds]
plain = "part"
"start, end" = { at = "number -2..2" }

[tree]
children = "tree[]"
"""


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ShapeFile:
    (tmp_path / "shapes").mkdir()
    (tmp_path / "shapes" / "mine.toml").write_text(WRITTEN, "utf-8")
    monkeypatch.setattr(shape_files, "files", {"polycall.sim": tmp_path}.__getitem__)
    return ShapeFile("mine")


@pytest.mark.parametrize("name", NAMES)
def test_every_shape_of_every_file_can_be_read(name: str) -> None:
    read = ShapeFile(name.removesuffix(".toml"))
    assert [each for each in read.tables if not read[each].json_types] == []


FITTING: list[tuple[str, Any]] = [
    ("word", "auto"),
    ("either", "none"),
    ("either", [{"text": "a"}, {"text": "b", "note": None, "low": 1, "high": 2}]),
    ("texts", {"any": "abc"}),
    ("open", {"text": "a", "unknown": 1}),
    ("block", {"text": "a"}),
    ("block", {"kind": "end", "at": -2}),
    ("tree", {"children": [{"children": []}, {}]}),
]


@pytest.mark.parametrize(("name", "value"), FITTING)
def test_what_fits_is_given_back(shapes: ShapeFile, name: str, value: Any) -> None:
    assert shapes[name].read(value, (), False) == value


@pytest.mark.parametrize(
    ("name", "value", "problem", "path"),
    [
        ("word", "any", "enum", ()),
        ("either", 1, "type", ()),
        ("either", [], "length", ()),
        ("either", [{"text": "a"}] * 3, "length", ()),
        ("texts", {"any": "abcd"}, "length", ("any",)),
        ("part", {"note": None}, "missing", ("text",)),
        ("part", {"text": None}, "type", ("text",)),
        ("part", {"text": "a", "low": 0}, "range", ("low",)),
        ("part", {"text": "a", "other": 0}, "unknown", ("other",)),
        ("block", {"kind": "middle"}, "enum", ("kind",)),
        ("block", {"kind": "start", "at": 3}, "range", ("at",)),
        ("tree", {"children": [{"children": 1}]}, "type", ("children", 0, "children")),
    ],
)
def test_what_does_not_fit_is_refused(
    shapes: ShapeFile, name: str, value: Any, problem: str, path: tuple[str | int, ...]
) -> None:
    with pytest.raises(ShapeError) as refused:
        shapes[name].read(value, (), False)
    assert (refused.value.problem, refused.value.path) == (problem, path)


def test_names_of_fields_and_tags(shapes: ShapeFile) -> None:
    assert shapes.names("part") == {"text", "note", "low", "high"}
    assert shapes.names("open") == {"text", "note", "low", "high"}
    assert shapes.names("kinds") == {"plain", "start", "end"}


def test_a_name_that_the_file_does_not_have_is_an_error(shapes: ShapeFile) -> None:
    with pytest.raises(ValueError, match=r"mine\.toml: no shape is called 'parts'"):
        shapes["parts"]
