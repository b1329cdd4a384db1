"""A20: how many values a body may have, at every door that reads one."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from polycall._support import json_weight
from polycall._support.json_weight import OBJECTS_MAX, VALUES_MAX, JSONWeight
from polycall.errors import RequestTooLargeError
from polycall.gateway.http.values import ValueCounter
from tests.edge.test_doors import MODELS, UP, ask, serving

SMALL = {
    "lists": b"[],",
    "objects": b"{},",
    "spaced objects": b'{ "a":1},',
    "numbers": b"100001,",
    "texts": b'"ab",',
    "nested": b'[["{",[]],{"a":{}}],',
}
PLACES = {
    "/v1/chat/completions": b'{"model":"up/m","messages":[%b]}',
    "/v1/messages": b'{"model":"up/m","max_tokens":9,"messages":[],"metadata":[%b]}',
    "/v1/messages/count_tokens": b'{"model":"up/m","messages":[%b]}',
    "/v1/responses": b'{"model":"up/m","input":"x","metadata":[%b]}',
    "/v1/responses/compact": b'{"model":"up/m","input":[%b]}',
    "/v1/conversations": b'{"items":[%b]}',
    "/v1/embeddings": b'{"model":"up/m","input":[%b]}',
    "/v1/rerank": b'{"model":"up/m","query":"x","documents":[%b]}',
    "/v1/moderations": b'{"model":"up/m","input":[%b]}',
    "/model/up%%2Fm/converse": b'{"messages":[%b]}',
}


@pytest.mark.parametrize("path", PLACES)
async def test_a20_no_body_has_more_values_than_are_read(tmp_path: Path, path: str) -> None:
    async with serving(tmp_path, UP + MODELS) as served:
        for value in SMALL.values():
            body = PLACES[path] % (value * (4_000_000 // len(value))).rstrip(b",")
            began = time.process_time()
            status, _ = await ask(served, "POST", path, data=body)
            assert status == 413
            assert time.process_time() - began < 0.5


async def read(data: bytes) -> None:
    await ValueCounter().add(data)


@pytest.mark.parametrize(
    "data",
    [
        json.dumps({"a": 'if (x) { a[0], b = "q"; }\n' * 100_000}).encode(),
        b'{"a":"' + b'\\"{' * 500_000 + b'"}',
        b'{"a":"' + b"\\\\" * 1_000_000 + b'"}',
        b"[" + b'{"a":"{[,,,{[{{"},' * (OBJECTS_MAX - 2) + b"{}]",
        b"[" + b"1," * VALUES_MAX + b"1]",
    ],
)
async def test_a20_what_stands_in_texts_is_no_value(data: bytes) -> None:
    await read(data)


@pytest.mark.parametrize(
    "data",
    [
        b"[" + b'{"a":"{[,,,{[{{"},' * OBJECTS_MAX + b"{}]",
        b"[" + b"1," * VALUES_MAX + b"1,1]",
        b'{"a\\\\":[' + b'"\\\\",' * 600_000 + b"1]}",
        b'"' + b"x" * 600_000 + b'"' + b"[" * 200_000,
    ],
)
async def test_a20_values_between_texts_are_counted(data: bytes) -> None:
    with pytest.raises(RequestTooLargeError, match="lists and objects"):
        await read(data)


async def test_a20_the_parts_of_one_request_count_together() -> None:
    counter = ValueCounter()
    part = b"[" + b"[]," * 40_000 + b"1]"
    with pytest.raises(RequestTooLargeError):
        for _ in range(9):
            await counter.add(part)


def _made(source: random.Random, depth: int) -> Any:
    kind = source.random() if depth else 1.0
    if kind < 0.3:
        return [_made(source, depth - 1) for _ in range(source.randrange(4))]
    if kind < 0.6:
        names = (source.choice('a"\\{[,') + str(n) for n in range(source.randrange(4)))
        return {name: _made(source, depth - 1) for name in names}
    return source.choice([1, None, "x", "", 'q"{,[\\', "\\\\", '\\"', "\n,"])


def _counts(value: Any) -> tuple[int, int]:
    inner = value.values() if isinstance(value, dict) else value
    if not isinstance(value, list | dict):
        return 0, 0
    found = [_counts(each) for each in inner]
    commas = max(0, len(value) - 1) + sum(each[1] for each in found)
    return 1 + sum(each[0] for each in found), commas


@pytest.mark.parametrize("seed", range(100))
def test_a20_law_counted_as_parsed_wherever_it_is_cut(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = random.Random(seed)
    value = _made(source, 6)
    monkeypatch.setattr(json_weight, "_SLICE_BYTES", source.choice([2, 3, 7, 64]))
    counter = JSONWeight()
    assert all(counter._count_outside_texts(json.dumps(value).encode()))
    assert (counter._containers, counter._values) == _counts(value)


@pytest.mark.parametrize(
    ("text", "is_escaped"),
    [
        ("x" * 8_000_000 + "😀", False),
        ("x" * 6_000_000 + "😀", True),
        ("中" * 4_000_000, False),
        (["x" * 20_000 + "🇰🇷"] * 300, False),
    ],
    ids=["one emoji", "an escaped one", "Chinese", "many texts"],
)
async def test_a20_texts_are_counted_by_their_widest_character(text: Any, is_escaped: bool) -> None:
    data = json.dumps(text, ensure_ascii=is_escaped).encode()
    with pytest.raises(RequestTooLargeError, match="emoji"):
        await read(data)


@pytest.mark.parametrize(
    "text",
    [
        "x" * 5_000_000 + "😀",
        "é" * 8_000_000,
        ["中" * 100_000] * 50,
        ["x" * 7_000_000, "😀" * 500_000],
        "\\ud83d" * 900_000,
    ],
    ids=["one emoji", "accents", "Chinese", "apart", "written out"],
)
async def test_a20_narrow_texts_beside_wide_ones_are_taken(text: Any) -> None:
    await read(json.dumps(text, ensure_ascii=False).encode())


@pytest.mark.parametrize("seed", range(20))
def test_a20_law_no_text_takes_more_than_is_counted(seed: int) -> None:
    source = random.Random(seed)
    for _ in range(30):
        letters = source.sample(["a", "é", "中", "😀", "\\", '"', "\n", "u0041", "\x01"], 4)
        text = "".join(source.choices(letters, k=source.randrange(200)))
        width = 1 if max(text, default="") < "\u0100" else 2 if max(text) < "\U00010000" else 4
        for is_escaped in (False, True):
            written = json.dumps(text, ensure_ascii=is_escaped).encode()[1:]
            counted = json_weight._Text()
            counted.add(written)
            assert counted.beyond >= width * len(text) - len(written)
