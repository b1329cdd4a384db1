"""Values cross as plain data; what is too large is cut in its structure."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall.sandbox.inside import plain

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner, max_size=6),
    max_leaves=30,
)


@given(JSON)
def test_plain_data_is_left_as_it_is(value: Any):
    same = json.loads(json.dumps(value))
    assert plain.arguments(same, size_bytes=10**7) == same
    assert plain.result(same, size_bytes=10**7) == same
    assert plain.shown(same, size_bytes=10**7) == (same, [])


@given(JSON, st.integers(min_value=200, max_value=2_000))
def test_a_shown_value_keeps_its_bound(value: Any, size: int):
    shown, cuts = plain.shown(value, size_bytes=size)
    assert len(json.dumps(shown)) <= size
    assert cuts or shown == json.loads(json.dumps(value))


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (list(range(10**6)), 5_000),
        ({str(n): [n] * 100 for n in range(5_000)}, 5_000),
        ([["x" * 10_000] * 50] * 50, 20_000),
        ("é" * 10**6, 3_000),
    ],
)
def test_large_values_keep_head_and_tail(value: Any, size: int):
    shown, cuts = plain.shown(value, size_bytes=size)
    assert len(json.dumps(shown)) <= size
    assert cuts
    assert type(shown) is type(value)


def test_cycles_depth_and_odd_values_are_shown():
    loop: list[Any] = []
    loop.append(loop)
    shown, cuts = plain.shown(loop, size_bytes=10_000)
    assert "nested deeper" in json.dumps(shown, ensure_ascii=False)
    assert cuts

    class Rude:
        def __repr__(self) -> str:
            raise KeyError("no")

    assert plain.shown(Rude(), size_bytes=100) == ("<Rude, whose repr raised KeyError>", [])
    assert plain.shown(10**5_000, size_bytes=100) == ("<integer of 16610 bits>", [])
    assert plain.shown({(1, 2): math.inf}, size_bytes=100) == ({"(1, 2)": math.inf}, [])


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (object(), plain.NotPlainError, "x: 'object' is not plain data"),
        ({"a": [0, {1, object}]}, plain.NotPlainError, r"x\['a'\]\[1\]"),
        ({(1, 2): 3}, plain.NotPlainError, "x: a key of type 'tuple'"),
        ("x" * 200, plain.TooLargeError, "^$"),
    ],
)
def test_arguments_are_strict(value: Any, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        plain.arguments(value, size_bytes=100, path="x")


def test_results_too_deep_or_too_large_are_refused():
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    with pytest.raises(plain.NotPlainError, match="nested deeper"):
        plain.result(deep, size_bytes=10_000)
    with pytest.raises(plain.TooLargeError):
        plain.result(["x"] * 1_000, size_bytes=100)
    assert plain.result({1: (2, {3})}, size_bytes=100) == {"1": [2, [3]]}
