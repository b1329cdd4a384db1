"""A20: what a long body has outside of its long texts is found without holding the interpreter."""

from __future__ import annotations

import json
import random
import re
import sys
from typing import Any

import pytest

from polycall._support import json_weight
from polycall._support.json_weight import outline

SLICE_BYTES = 128 * 1024
LONG = {
    "one text": b'{"a":"%b"}' % (b"x" * 3_000_000),
    "one escaped text": b'{"a":"%b"}' % (rb"\"\\n" * 600_000),
    "many texts": b'{"a":[%b""]}' % (b'"xyz",' * 500_000),
    "no text": b"[%b0]" % (b"0," * 1_500_000),
    "a text without an end": b'{"a":"%b' % (rb"\n" * 1_000_000),
    "a text beside each slice": b"[%b0]" % (b'"%b",' % (b"x" * (SLICE_BYTES - 3)) * 20),
}
WHOLE_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)


def outlined(body: bytes) -> bytes:
    """What `outline` says it makes, in one search."""
    return WHOLE_TEXT.sub(lambda text: text[0] if len(text[0]) <= 128 else b'""', body)


@pytest.mark.parametrize("case", LONG)
def test_a20_no_search_holds_the_interpreter_for_a_whole_body(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    class Noted:
        def __init__(self, pattern: re.Pattern[bytes]) -> None:
            self._pattern = pattern

        def match(self, data: bytes, place: int = 0, end: int = sys.maxsize) -> Any:
            sizes.append(min(end, len(data)) - place)
            return self._pattern.match(data, place, end)

        def sub(self, new: Any, data: bytes) -> bytes:
            sizes.append(len(data))
            return self._pattern.sub(new, data)

    for name in ("_TEXT", "_WHOLE", "_REST"):
        monkeypatch.setattr(json_weight, name, Noted(getattr(json_weight, name)))
    made = outline(LONG[case], 128)
    assert max(sizes) <= SLICE_BYTES
    if "without" not in case:
        assert made == outlined(LONG[case])


@pytest.mark.parametrize("seed", range(60))
def test_a20_law_an_outline_is_the_same_wherever_it_is_cut(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_weight, "_SLICE_BYTES", random.Random(seed).randrange(1, 300))
    made = random.Random(seed)
    texts = [
        "".join(made.choices('ab"\\\n é', k=made.choice([0, 3, 120, 129, 700]))) for _ in range(9)
    ]
    body = json.dumps(
        {each: [each, 1, texts] for each in texts}, ensure_ascii=seed % 2 == 0
    ).encode()
    assert outline(body, 128) == outlined(body)
