"""Chunks put together: what is added to stays apart from the chunk that it began with."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from polycall.dialects.openai_chat.accumulate import OtherChoice, add_fields

CHUNKS: dict[str, tuple[list[Any], Any]] = {
    "an array": ([{"a": [1]}, {"a": [2]}, {"a": [3]}], {"a": [1, 2, 3]}),
    "an array in an object": ([{"a": {"b": [1]}}, {"a": {"b": [2]}}], {"a": {"b": [1, 2]}}),
    "an object in an object": (
        [{"a": {"b": {"c": 1}}}, {"a": {"b": {"d": 2, "c": 3}}}],
        {"a": {"b": {"c": 3, "d": 2}}},
    ),
    "deeper": (
        [{"a": {"b": {"c": {"d": [[1]]}}}}, {"a": {"b": {"c": {"d": [[2]], "e": []}}}}],
        {"a": {"b": {"c": {"d": [[1], [2]], "e": []}}}},
    ),
    "a later field": (
        [{"a": {}}, {"a": {"b": {"c": [1]}}}, {"a": {"b": {"c": [2]}}}],
        {"a": {"b": {"c": [1, 2]}}},
    ),
    "in the place of a text": ([{"a": "x"}, {"a": [1]}, {"a": [2]}], {"a": [1, 2]}),
}


@pytest.mark.parametrize("case", CHUNKS)
def test_chunks_stay_as_they_came(case: str) -> None:
    chunks, whole = CHUNKS[case]
    before = deepcopy(chunks)
    made: Any = {}
    for chunk in chunks:
        add_fields(made, chunk)
    assert made == whole
    assert chunks == before


def test_chunks_of_another_choice_stay_as_they_came() -> None:
    def call(name: str, arguments: str) -> Any:
        function: Any = {"name": name, "arguments": arguments, "x": {"seen": [arguments]}}
        return {"index": 0, "id": "call_1", "type": "function", "function": function}

    def chunk(text: str, arguments: str, **more: Any) -> Any:
        delta: Any = {"content": text, "audio": {"data": text, "x": {"y": [text]}}}
        delta["tool_calls"] = [call("f", arguments)]
        return {"index": 1, "delta": delta, "logprobs": {"content": [text]}, **more}

    chunks = [chunk("a", '{"b'), chunk("b", '":'), chunk("c", "1}", finish_reason="tool_calls")]
    before, choice = deepcopy(chunks), OtherChoice(1)
    for each in chunks:
        choice.add(each)
    made = choice.result()
    assert chunks == before
    message = made["message"]
    assert message["content"] == "abc"
    assert message["audio"] == {"data": "abc", "x": {"y": ["a", "b", "c"]}}
    assert message["tool_calls"][0]["function"]["arguments"] == '{"b":1}'
    assert message["tool_calls"][0]["function"]["x"] == {"seen": ['{"b', '":', "1}"]}
    assert made["logprobs"] == {"content": ["a", "b", "c"]}


def test_fields_as_deep_as_a_reader_takes_them() -> None:
    deep: Any = [1]
    for _ in range(5_000):
        deep = {"a": deep}
    made: Any = {}
    add_fields(made, deep)
    for _ in range(5_000):
        made = made["a"]
    assert made == [1]
