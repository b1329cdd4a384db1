"""A24: what a program gives to a tool, and a tool to a program, arrives as it is or is refused."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall.sandbox import Sandbox
from polycall.sandbox.errors import ProtocolViolationError
from polycall.sandbox.inside import plain
from polycall.sandbox.text import encodable

from ..sandbox.support import usable

REFUSED_ARGUMENTS = {
    "1 << 5000": "5001 bits",
    "[[-(7 ** 3000)]]": "bits",
    "{0.5: 1, '0.5': 2}": "two keys are '0.5'",
    "-(1 << 4000)": "4001 bits",
    "float('inf')": "inf",
    "[1, {'a': float('nan')}]": "nan",
    "-1e308 * 10": "-inf",
    "{1: 2, '1': 3}": "two keys are '1'",
    "{None: 1, 'null': 2}": "two keys are 'null'",
    "{True: 1, 'true': 2}": "two keys are 'true'",
    "{10 ** 4300: 1}": "a key: an integer of 14285 bits",
    "[{1: {-(1 << 4001): 1}}]": "a key: an integer of 4002 bits",
    "{float('inf'): 1}": "a key: inf",
    "{'a': {2.0: 1, '2.0': 2}}": "two keys are '2.0'",
}
SURROGATES = ["'a\\udc80b'", "['\\ud800']", "{'a\\udfff': 1}", "'\\ud83d\\ude00'"]


@pytest.mark.parametrize("tier", ["jail", "monty"])
async def test_a24_arguments_that_would_change_are_refused_with_their_place(tier: str) -> None:
    await usable(tier)
    seen: list[Any] = []

    async def f(value: Any) -> None:
        seen.append(value)

    async with Sandbox(tier, pool=0) as sandbox, sandbox.session() as session:  # type: ignore[arg-type]
        for code, words in REFUSED_ARGUMENTS.items():
            for call in (f"await f({code})", f"await f(value={code})"):
                result = await session.run(call, {"f": f})
                assert result.status == "failed", code
                assert result.error is not None
                assert words in result.error.message, code
        for code in SURROGATES:
            result = await session.run(f"await f({code})", {"f": f})
            assert result.status == "failed", code
        result = await session.run(
            "await f([2**3999, -0.0, 1e308, '서울\\U0001f600', {1: 2}])", {"f": f}
        )
        assert result.status == "finished"
    assert seen == [[2**3999, -0.0, 1e308, "서울\U0001f600", {"1": 2}]]


@pytest.mark.parametrize("tier", ["jail", "monty"])
async def test_a24_no_last_value_ends_the_host(tier: str) -> None:
    """Python refuses to write out an integer of more than 4,300 digits."""
    await usable(tier)
    long = "<integer of 14285 bits>"
    async with Sandbox(tier, pool=0) as sandbox, sandbox.session() as session:  # type: ignore[arg-type]
        for code, value in {
            "10 ** 4300": long,
            "{10 ** 4300: 1}": {long: 1},
            "[{'a': {10 ** 4300: {10 ** 4300}}}]": [{"a": {long: [long]}}],
        }.items():
            result = await session.run(code)
            assert (result.status, result.value) == ("finished", value), code


RESULTS: dict[str, Any] = {
    "a key that is a long integer": {10**4300: 1},
    "inf": math.inf,
    "nan in a list": [1, [math.nan]],
    "a tuple with inf": {"말": ({"x": (0.1, -math.inf)},)},
    "keys that are numbers": {0.5: "a", "0.5": "b"},
    "a long integer": {"a": 1 << 4001},
    "keys": {1: "a", "1": "b"},
    "keys inside": [{"x": {None: 1, "null": 2}}],
    "half a pair": "a\udc80b",
    "half a pair as a key": {"\ud800": 1},
}


@pytest.mark.parametrize("tier", ["jail", "monty"])
async def test_a24_results_that_would_change_are_refused_with_their_place(tier: str) -> None:
    await usable(tier)

    async def g(name: str) -> Any:
        return RESULTS[name]

    async def h() -> Any:
        return [2**3999, -0.0, "서울", {"1": 2}, (1, 2)]

    async with Sandbox(tier, pool=0) as sandbox, sandbox.session() as session:  # type: ignore[arg-type]
        for name in RESULTS:
            result = await session.run(f"await g({name!r})", {"g": g})
            assert (result.status, result.error and result.error.type) == ("failed", "TypeError"), (
                name
            )
            assert result.error is not None
            assert "g: result" in result.error.message
        result = await session.run("await h()", {"h": h})
        assert result.value == [2**3999, -0.0, "서울", {"1": 2}, [1, 2]]


@pytest.mark.parametrize("tier", ["jail", "monty"])
async def test_a24_the_last_value_says_what_it_could_not_show(tier: str) -> None:
    await usable(tier)
    code = "[1 << 5000, {1: 1, '1': 2}, -1e308 * 10]"
    async with Sandbox(tier, pool=0) as sandbox, sandbox.session() as session:  # type: ignore[arg-type]
        result = await session.run(code)
    assert result.value == ["<integer of 5001 bits>", {"1": 1, "'1'": 2}, -math.inf]
    assert result.cuts == ("value[1]: two keys are '1' in JSON",)


@pytest.mark.parametrize("value", [math.inf, [math.nan], "a\udc80", {"\ud800": 1}, -math.inf])
def test_a24_a_frame_that_no_honest_process_sends_is_a_violation(value: Any) -> None:
    with pytest.raises(ProtocolViolationError):
        encodable(value, size_max=1_000, is_exact=True)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=2) | st.integers(0, 2) | st.none(), inner, max_size=3)
    ),
    max_leaves=8,
)


def same(before: Any, after: Any) -> bool:
    """Whether it arrived: keys as JSON has them, everything else itself."""
    if isinstance(before, dict):
        table = cast("dict[Any, Any]", before)
        return len(table) == len(after) and all(
            same(value, after[plain._key(key)])  # pyright: ignore[reportPrivateUsage]
            for key, value in table.items()
        )
    if isinstance(before, list):
        items = cast("list[Any]", before)
        return len(items) == len(after) and all(map(same, items, after))
    return type(before) is type(after) and before == after


@given(values)
def test_a24_law_what_passes_is_what_was_given(value: Any) -> None:
    for passed in (
        lambda: plain.arguments(value, size_bytes=100_000),
        lambda: plain.result(value, size_bytes=100_000),
    ):
        try:
            after = passed()
        except plain.NotPlainError:
            continue
        assert same(value, after)
