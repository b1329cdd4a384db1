"""What models, providers and clients write is read in time that is in proportion to its length.

Each text made a pattern try every cut of it: those of 16 KiB would have taken minutes or hours.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from polycall._support.fences import inside_fence
from polycall.agents.growing import _NUMBER_AT_END  # pyright: ignore[reportPrivateUsage]
from polycall.agents.typed import SchemaOutput
from polycall.profiles.names import bare
from polycall.tools import relaxed
from polycall.tools.relaxed import read_relaxed
from polycall.translation.failures import overflow_words

OUTPUT = SchemaOutput({"type": "object", "properties": {"a": {"type": "integer"}}})
CASES: dict[str, tuple[Callable[[str], Any], str]] = {
    "an answer's fence": (OUTPUT.parse, "```json\n" + "\n" * 2_000 + "x"),
    "a call's fence": (read_relaxed, "```json\n" + "\n" * 2_000 + "x"),
    "spaces in a call": (read_relaxed, "{" + " " * 60_000 + "x"),
    "tokens at the end of a call": (read_relaxed, "x" + " <|a|>" * 12_000 + "y"),
    "tokens of a call": (read_relaxed, "{}" + " <|a|>" * 12_000),
    "a number that grows": (lambda text: _NUMBER_AT_END.sub("", text), "1" * 30_000 + "x"),
    "numbers in an error": (overflow_words, "1," * 8_000),
    "a long number in an error": (overflow_words, "max " + "1" * 16_000),
    "a model's name": (bare, "x" + ":a" * 20_000 + "!"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_long_text_is_read_at_once(case: str) -> None:
    read, text = CASES[case]
    began_at = time.process_time()
    try:
        read(text)
    except ValueError as error:
        assert "too deep" not in str(error)
        assert "digits" not in str(error)
    assert time.process_time() - began_at < 0.7


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('```json\n{"a": 1}\n```', '{"a": 1}'),
        ('  ```\n\n  {"a": 1}  \n\n```\n', '  {"a": 1}'),
        ('```json \n{"a": "```"}```', '{"a": "```"}'),
        ("```\n```", ""),
        ("```\n``", None),
        ("``````", None),
        ('```json {"a": 1}\n```', None),
        ('{"a": 1}\n```', None),
        ("", None),
    ],
)
def test_what_stands_in_a_fence(text: str, found: str | None) -> None:
    assert inside_fence(text, relaxed._FENCE) == found  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    "end", ["", "<|eot|>", " <|a|>\n<|b c|> ", "<｜end▁of▁sentence｜>", "\n<|" + "x" * 40 + "|>"]
)
def test_tokens_at_the_end_of_a_call_are_taken_off(end: str) -> None:
    assert read_relaxed(" {'a': 1} " + end) == {"a": 1}
    assert read_relaxed("```json\n{'a': '<|eot|>'}\n```" + end) == {"a": "<|eot|>"}


def test_what_is_no_token_stays() -> None:
    for end in ("<||>", "<|" + "x" * 41 + "|>", "<a>", "|>"):
        with pytest.raises(ValueError, match=r"."):
            read_relaxed("{'a': 1} " + end)


@pytest.mark.parametrize(
    ("name", "found"),
    [("m:free", "m"), ("m:a:b-c_1", "m"), ("m:1", "m"), ("m:a!", "m:a!"), ("m:a!:b", "m:a!")],
)
def test_the_variant_of_a_model(name: str, found: str) -> None:
    assert bare(name) == found
