"""The bounds on what an untrusted process may send, without any process."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall.sandbox.errors import ProtocolViolationError
from polycall.sandbox.frames import FrameReader, encode
from polycall.sandbox.inside.channel import Channel, HostGone
from polycall.sandbox.inside.clock import Clock
from polycall.sandbox.inside.loop import TurnSelector
from polycall.sandbox.text import Capture, ascii_json, encodable, printable

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


def test_a_frame_may_be_as_large_as_the_bound() -> None:
    frame = {"type": "output", "text": "x" * 50}
    data = encode(frame)
    assert list(FrameReader(len(data) - 4).feed(data)) == [frame]
    with pytest.raises(ProtocolViolationError, match=f"{len(data) - 5} are allowed"):
        list(FrameReader(len(data) - 5).feed(data))


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


# What `json` writes and reads, and a faster reader may not.
ODD_TEXTS = [
    '{"type":"end","value":NaN}',
    '{"type":"end","value":[1e999,-Infinity,-0.0,1.0]}',
    '{"type":"end","value":"\\ud83d"}',
    '{"type":"end","value":123456789012345678901234567890}',
    '{"type":"a","type":"b","value":1E2}',
]


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_frames_are_read_and_written_as_json_does(text: str) -> None:
    body = text.encode()
    (frame,) = FrameReader(1_000).feed(len(body).to_bytes(4, "big") + body)
    assert repr(frame) == repr(json.loads(text))
    written = encode(frame)
    assert repr(json.loads(written[4:])) == repr(frame)


@given(JSON)
def test_text_of_plain_data_is_ascii(value: Any) -> None:
    text = ascii_json({"value": value, "half": "\ud83d"})
    assert text.isascii()
    assert json.loads(text) == {"value": value, "half": "\ud83d"}
    assert json.loads(ascii_json(value)) == value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([float("nan")], "a number that JSON does not have"),
        ([None, {"a": float("inf")}], "a number that JSON does not have"),
        (["\ud800"], "half of a surrogate pair"),
        ([10**5_000], "a number that JSON does not have"),
    ],
)
def test_what_an_honest_program_refuses_is_a_violation(value: Any, words: str) -> None:
    with pytest.raises(ProtocolViolationError, match=words):
        encodable(value, size_max=10_000, is_exact=True)


@pytest.fixture
def channel() -> Iterator[tuple[Channel, socket.socket]]:
    """A program's end, and the host's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(theirs), ours


@given(FRAMES, st.lists(st.integers(min_value=1, max_value=40), min_size=1, max_size=60))
def test_a_program_reads_frames_however_they_come(frames: list[Any], sizes: list[int]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(theirs)
        data = b"".join(encode(frame) for frame in [*frames, {"type": "x" * 40_000}])
        for number, size in enumerate(sizes):
            ours.sendall(data[:size])
            data = data[size:]
            if number == 0:
                ours.sendall(data[:100])
                data = data[100:]
        ours.sendall(data)
        assert [channel.read() for _ in frames] == frames
        assert channel.read() == {"type": "x" * 40_000}
        assert not channel.has_frame
        ours.close()
        with pytest.raises(HostGone):
            channel.read()


def test_a_turn_that_came_with_another_is_taken_without_a_wait(
    channel: tuple[Channel, socket.socket],
) -> None:
    program, host = channel
    turns: list[Any] = []
    selector = TurnSelector(program, Clock(), turns.append, lambda: None)
    host.sendall(encode({"type": "turn", "now": 1}) + encode({"type": "turn", "now": 2}))
    host.settimeout(5)
    assert selector.select(None) == []
    assert turns == [{"type": "turn", "now": 1}]
    assert selector.select(0) == []
    assert len(turns) == 1
    # Nothing more comes: it would wait for ever.
    waiting = threading.Thread(target=selector.select, daemon=True)
    waiting.start()
    waiting.join(10)
    assert not waiting.is_alive()
    assert turns == [{"type": "turn", "now": 1}, {"type": "turn", "now": 2}]
    assert len(list(FrameReader(1_000).feed(host.recv(1_000)))) == 2
    selector.close()
