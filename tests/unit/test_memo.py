"""What a function gave before is given again, for as many values as there is room for."""

from __future__ import annotations

import pytest

from polycall._support.memo import Memo


def test_a_function_is_asked_once_for_each_value() -> None:
    asked: list[int] = []

    def made(value: int) -> str:
        asked.append(value)
        return str(value)

    memo = Memo(made)
    assert [memo[value] for value in (1, 2, 1, 2, 1)] == ["1", "2", "1", "2", "1"]
    assert asked == [1, 2]


def test_few_values_are_kept_however_many_come() -> None:
    memo = Memo(str, 10)
    for value in range(1000):
        assert memo[value] == str(value)
        assert len(memo) <= 10


def test_a_failure_is_not_kept() -> None:
    is_good = False

    def made(value: str) -> int:
        if not is_good:
            raise ValueError(value)
        return len(value)

    memo = Memo(made)
    with pytest.raises(ValueError, match="abc"):
        memo["abc"]
    is_good = True
    assert memo["abc"] == 3
