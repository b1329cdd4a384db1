"""The bounds on what an untrusted process may send, without any process."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall.sandbox.errors import ProtocolViolationError
from polycall.sandbox.frames import FrameReader, encode
from polycall.sandbox.text import Capture, encodable, printable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
FRAMES = st.lists(st.fixed_dictionaries({"type": st.text(), "value": JSON}), max_size=5)


@given(FRAMES, st.lists(st.integers(min_value=1, max_value=40), min_size=1, max_size=60))
def test_frames_come_out_however_the_bytes_are_cut(frames: list[dict[str, Any]], sizes: list[int]):
    data = b"".join(encode(frame) for frame in frames)
    reader = FrameReader(1_000_000)
    seen: list[dict[str, Any]] = []
    while data:
        size = sizes[len(data) % len(sizes)]
        seen += reader.feed(data[:size])
        data = data[size:]
    assert seen == frames


@given(st.binary(max_size=300))
def test_garbage_is_a_violation_or_waits_for_more(data: bytes):
    reader = FrameReader(1_000)
    try:
        for frame in reader.feed(data):
            assert isinstance(frame["type"], str)
    except ProtocolViolationError:
        return


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not JSON: JSONDecodeError"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "not an object"),
        (b"{}", "without a type"),
        (b'{"type": 1}', "without a type"),
        (b"[" * 100_000, "not JSON: RecursionError"),
        (b'{"type": ' + b"1" * 5_000 + b"}", "not JSON: ValueError"),
    ],
)
def test_a_frame_that_is_none(body: bytes, words: str):
    with pytest.raises(ProtocolViolationError, match=words):
        list(FrameReader(1_000_000).feed(len(body).to_bytes(4, "big") + body))


def test_the_length_is_refused_before_the_body_comes():
    with pytest.raises(ProtocolViolationError, match="a frame of 1001 bytes; 1000 are allowed"):
        list(FrameReader(1_000).feed((1_001).to_bytes(4, "big")))


@given(st.text(alphabet=st.characters()))
def test_printable_text_is_harmless_and_encodable(text: str):
    shown = printable(text)
    shown.encode("utf-8")
    assert not any((ord(c) < 32 and c not in "\n\t\r") or 127 <= ord(c) < 160 for c in shown)
    if text.isprintable():
        assert shown == text


@given(JSON)
def test_plain_values_pass_unchanged(value: Any):
    same = json.loads(json.dumps(value))
    assert encodable(same, size_max=1_000_000) == same


def test_values_are_bounded_in_size_depth_and_encoding():
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(ProtocolViolationError, match="too deep"):
        encodable(deep, size_max=10_000)
    with pytest.raises(ProtocolViolationError, match="a value of 102 characters; 100 are allowed"):
        encodable("x" * 100, size_max=100)
    assert encodable({"a": "\ud800"}, size_max=100) == {"a": "?"}


def test_output_is_bounded_and_its_middle_marked():
    capture = Capture(100)
    capture.add("head", None)
    capture.add("tail", 7)
    assert capture.text() == "head\n… 7 bytes cut …\ntail"
    with pytest.raises(ProtocolViolationError, match="more output"):
        capture.add("x" * 600, None)
    with pytest.raises(ProtocolViolationError, match="not text"):
        Capture(10).add(b"x", None)
    for dropped in (-1, True, 1.5, "7"):
        with pytest.raises(ProtocolViolationError, match="not text"):
            Capture(10).add("x", dropped)
