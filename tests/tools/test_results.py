"""What tools return, as parts that a model can read."""

# pyright: basic

from __future__ import annotations

import asyncio
import base64
import dataclasses
import datetime
import decimal
import enum
import io
import uuid
from array import array
from collections import ChainMap, UserList, UserString
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel

from polycall.errors import ToolError
from polycall.ir import Media, Text, ToolResult
from polycall.tools.results import media_of, result_parts

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8
DAY = datetime.date(2026, 11, 21)


class Unit(enum.Enum):
    CELSIUS = "celsius"


class Weather(BaseModel):
    city: str
    degrees: float
    unit: Unit = Unit.CELSIUS


@dataclasses.dataclass
class Point:
    x: int
    when: datetime.date = DAY


class Pair(NamedTuple):
    left: int
    right: str


class Figure:
    """Shown as an image in notebooks."""

    def _repr_png_(self) -> bytes:
        return PNG


class NoFigure:
    """Could be shown, but has nothing to show."""

    def _repr_png_(self) -> None:
        return None


class Picture:
    """Like an image of Pillow."""

    size = (1, 1)
    mode = "RGB"

    def save(self, fp: io.BytesIO, format: str) -> None:
        fp.write(PNG + format.encode())


class Opaque:
    """Nothing that JSON knows."""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ("한국어 \u2028", "한국어 \u2028"),
        (None, "null"),
        (True, "true"),
        (3, "3"),
        (2**70, str(2**70)),
        (1.5, "1.5"),
        (float("nan"), '"NaN"'),
        (float("inf"), '"Infinity"'),
        ([], "[]"),
        ({}, "{}"),
        ([1, "a", None], '[1,"a",null]'),
        ((1, 2), "[1,2]"),
        ({"a": {"b": [1]}}, '{"a":{"b":[1]}}'),
        ({1: "a"}, '{"1":"a"}'),
        ({3}, "[3]"),
        (Unit.CELSIUS, '"celsius"'),
        (DAY, '"2026-11-21"'),
        (decimal.Decimal("1.10"), '"1.10"'),
        (uuid.UUID(int=0), '"00000000-0000-0000-0000-000000000000"'),
        (Weather(city="서울", degrees=3), '{"city":"서울","degrees":3.0,"unit":"celsius"}'),
        ([Weather(city="a", degrees=1)], '[{"city":"a","degrees":1.0,"unit":"celsius"}]'),
        (Point(1), '{"x":1,"when":"2026-11-21"}'),
        ({"p": Point(1)}, '{"p":{"x":1,"when":"2026-11-21"}}'),
        (Pair(1, "b"), '[1,"b"]'),
        ({"data": b"\x00\xff"}, '{"data":"AP8="}'),
    ],
)
def test_values_become_text(value: Any, text: str) -> None:
    assert result_parts(value) == [Text(text)]


@pytest.mark.parametrize(
    ("data", "kind", "media_type"),
    [
        (PNG, "image", "image/png"),
        (b"\xff\xd8\xff\xe0", "image", "image/jpeg"),
        (b"GIF89a", "image", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image", "image/webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio", "audio/wav"),
        (b"ID3\x04", "audio", "audio/mpeg"),
        (b"\xff\xfb\x90", "audio", "audio/mpeg"),
        (b"OggS\0", "audio", "audio/ogg"),
        (b"fLaC\0", "audio", "audio/flac"),
        (b"%PDF-1.7", "document", "application/pdf"),
        (b"\0\0\0\x18ftypmp42", "video", "video/mp4"),
        (b"\xffanything", "file", "application/octet-stream"),
        (b"any\0thing", "file", "application/octet-stream"),
    ],
)
def test_bytes_become_media(data: bytes, kind: Any, media_type: str) -> None:
    expected = Media(kind, media_type=media_type, data=base64.b64encode(data).decode())
    assert media_of(data) == expected
    for value in (data, bytearray(data), memoryview(data)):
        assert result_parts(value) == [expected]


@pytest.mark.parametrize("text", ["", "total 0\n", "한국어, as a program prints it"])
def test_bytes_that_are_text_become_text(text: str) -> None:
    for value in (text.encode(), bytearray(text.encode()), memoryview(text.encode())):
        assert result_parts(value) == [Text(text)]


class Blob(BaseModel):
    data: bytes = b"\xff\xfe"


@dataclasses.dataclass
class Holder:
    blob: Blob
    parts: list[Blob]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Blob(), '{"data":"__4="}'),
        (
            Holder(Blob(), [Blob(data=b"\x80")]),
            '{"blob":{"data":"__4="},"parts":[{"data":"gA=="}]}',
        ),
        ({"a": (Blob(),)}, '{"a":[{"data":"__4="}]}'),
        (range(3), "[0,1,2]"),
        ({"a": 1}.keys(), '["a"]'),
        (
            {"a": Weather(city="b", degrees=1)}.items(),
            '[["a",{"city":"b","degrees":1.0,"unit":"celsius"}]]',
        ),
        ({"a": {"x": {"b": 2}.values()}}, '{"a":{"x":[2]}}'),
        (ChainMap({"a": 1}, {"b": 2}), '{"b":2,"a":1}'),
        (MappingProxyType({"a": range(1)}), '{"a":[0]}'),
        (UserList([1]), "[1]"),
        (UserString("a"), '"a"'),
        ({"a": [UserString("b")]}, '{"a":["b"]}'),
        (array("i", [1, 2]), "[1,2]"),
    ],
)
def test_what_is_read_like_a_list_or_a_map_is_written_like_one(value: Any, text: str) -> None:
    assert result_parts(value) == [Text(text)]


def test_pictures_become_media() -> None:
    assert result_parts(Figure()) == [media_of(PNG)]
    assert result_parts(Picture()) == [media_of(PNG + b"PNG")]


def test_parts_stay_themselves_also_beside_data() -> None:
    image = Media("image", url="https://example.org/a.png")
    assert result_parts(image) == [image]
    assert result_parts(["see:", image, {"a": 1}]) == [Text("see:"), image, Text('{"a":1}')]
    assert result_parts((PNG, Figure())) == [media_of(PNG), media_of(PNG)]
    assert result_parts([Text("a"), Text("b")]) == [Text("a"), Text("b")]
    assert result_parts(ToolResult("x", [image])) == [image]


async def _coroutine() -> int:
    return 1


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: (n for n in [1]), "the tool returned a generator, which has no value yet"),
        (lambda: iter([1]), "the tool returned a list_iterator, which has no value yet"),
        (_coroutine, "the tool returned a coroutine, which has no value yet"),
        (lambda: asyncio.get_event_loop().create_future(), "the tool returned a .*Future"),
        (Opaque, "cannot be written as JSON: an object of type 'Opaque' has no JSON form$"),
        (lambda: [Opaque()], "cannot be written as JSON: .*'Opaque'"),
        (lambda: {"a": lambda: 1}, "cannot be written as JSON: .*'function'"),
        (lambda: Figure, "cannot be written as JSON: .*'type'"),
        (NoFigure, "cannot be written as JSON: .*'NoFigure'"),
        (lambda: [Figure], "cannot be written as JSON: .*'type'"),
    ],
)
async def test_what_has_no_value_is_refused(make: Any, reason: str) -> None:
    with pytest.raises(ToolError, match=reason):
        result_parts(make())


def test_a_structure_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ToolError, match="cannot be written as JSON: "):
        result_parts(loop)
