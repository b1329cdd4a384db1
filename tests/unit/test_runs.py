"""Runs of a few signs end where they end, however long they are and wherever one looks."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall._support.runs import after_run, before_run
from polycall.gateway.passthrough.request import read_fields
from polycall.gateway.passthrough.slow_reading import read_slowly

SIGNS = [b" ", b" \t\r\n", b"\\"]


@given(st.text(" \t\n\\ab", max_size=30), st.sampled_from([0, 4095, 4096, 9000]), st.data())
def test_law_a_run_ends_as_one_sign_after_the_other_says(text: str, long: int, data: Any) -> None:
    body = text.encode() + b" " * long + text.encode()
    place = data.draw(st.integers(0, len(body)))
    for signs in SIGNS:
        end = place
        while end < len(body) and body[end] in signs:
            end += 1
        assert after_run(body, place, signs) == end
        start = place
        while start and body[start - 1] in signs:
            start -= 1
        assert before_run(body, place, signs) == start


LONG = 14_000_000
BODIES = {
    "before a value": b'{"model":"m","input":"x","metadata":%b1}' % (b" " * LONG),
    "before the object": b"%b" % (b"\n" * LONG) + b'{"model":"m","input":"x"}',
    "after a name": b'{"model":"m","input"%b:"x"}' % (b"\r\n" * (LONG // 2)),
    "after the object": b'{"model":"m","input":"x"}' + b"\t" * LONG,
    "backslashes": b'{"model":"m","input":"%bu0041"}' % (b"\\\\" * (LONG // 2)),
}


@pytest.mark.parametrize("case", BODIES)
def test_a20_long_runs_take_little_of_the_processor(case: str) -> None:
    """One sign after the other, they took a second."""
    began = time.process_time()
    fields = read_fields(BODIES[case], "openai-responses")
    assert time.process_time() - began < 0.8
    assert fields.value("model") == "m"


@pytest.mark.parametrize("case", [name for name in BODIES if name != "backslashes"])
def test_a20_so_they_do_for_the_slow_reader(case: str) -> None:
    began = time.process_time()
    assert bytes(read_slowly(BODIES[case])["model"]) == b'"m"'
    assert time.process_time() - began < 0.6
