"""A20: what a long answer of an MCP server costs: no second copy of what is not passed on."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgspec
import pytest

from polycall.gateway.mcp.result_bounds import bounded, bounded_wire, is_longer
from polycall.ir import Text, ToolResult
from polycall.mcp.blocks import Block, CallResult, takes_long
from polycall.mcp.content import wire_result

SIZE = 3_000_000
RESULTS: dict[str, dict[str, Any]] = {
    "a text": {"content": [{"type": "text", "text": "x" * SIZE}]},
    "texts": {"content": [{"type": "text", "text": "x" * (SIZE // 4)}] * 4},
    "a picture": {"content": [{"type": "image", "mimeType": "image/png", "data": "A" * SIZE}]},
    "a resource": {
        "content": [{"type": "resource", "resource": {"uri": "x:y", "blob": "A" * SIZE}}]
    },
    "a structure": {"content": [], "structuredContent": {"a": [{"b": ["x" * SIZE, 1, None]}]}},
}


def raw_of(result: dict[str, Any]) -> CallResult:
    content = msgspec.convert(result["content"], list[Block])
    return CallResult(content, result.get("structuredContent"))


@pytest.mark.parametrize("case", RESULTS)
def test_a20_a_result_that_is_not_passed_on_is_not_copied(case: str) -> None:
    raw = raw_of(RESULTS[case])
    tracemalloc.start()
    assert is_longer(raw, SIZE - 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000
    assert bounded_wire(raw, SIZE - 1) is None
    # Those that only their marks make too large are found as they are written.
    assert not is_longer(raw, SIZE + 100)
    assert bounded_wire(raw, SIZE + 1_000) == wire_result(raw)


@pytest.mark.parametrize("letter", ["x", "é", "한", "😀", "\ud83d"])
@pytest.mark.parametrize("bytes_max", [0, 1, 2, 5, 100])
def test_a_text_is_cut_at_a_whole_letter(letter: str, bytes_max: int) -> None:
    whole = ToolResult("c", [Text(letter * 90)])
    size = len((letter * 90).encode("utf-8", "surrogatepass"))
    (part,) = bounded(whole, bytes_max).content
    assert isinstance(part, Text)
    if size <= bytes_max:
        assert part.text == letter * 90
        return
    kept, _, note = part.text.partition("\n... ")
    assert note == f"(cut: {size:,} bytes in all, at most {bytes_max:,} are passed on)"
    shown = "?" if letter == "\ud83d" else letter
    assert kept == shown * min(bytes_max // len(shown.encode()), 90)


def test_a20_a_cut_takes_no_more_than_it_keeps() -> None:
    whole = ToolResult("c", [Text("x" * SIZE)])
    tracemalloc.start()
    bounded(whole, 1_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50_000


LONG: dict[str, Any] = {
    "texts": {"content": [{"type": "text", "text": "x"}] * 2_000},
    "a text": {"content": [{"type": "text", "text": "x" * 5_000_000}]},
    "numbers": {"content": [], "structuredContent": {"a": [1] * 2_000}},
    "objects": {"content": [], "structuredContent": {"a": [{"b": {}}] * 500}},
}
SHORT: dict[str, Any] = {
    "a text": {"content": [{"type": "text", "text": "x" * 100_000}]},
    "numbers": {"content": [], "structuredContent": {"a": [1] * 500}},
    "nothing": {"content": []},
}


@pytest.mark.parametrize("case", LONG)
def test_a20_a_result_of_much_takes_long_to_look_through(case: str) -> None:
    assert takes_long([ToolResult("c", []), raw_of(LONG[case])])
    parts = [Text("x")] * 2_000 if case == "texts" else [Text("x" * 5_000_000)]
    assert takes_long([ToolResult("c", [*parts]), None])


@pytest.mark.parametrize("case", SHORT)
def test_a_result_of_little_is_looked_through_at_once(case: str) -> None:
    raw = raw_of(SHORT[case])
    assert not takes_long([ToolResult("c", [Text("x" * 9_000)]), raw])
