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
