"""Frames from bytes, however they are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from polycall.errors import ProtocolError, TruncatedError
from polycall.translation.sse import (
    Frame,
    JSONArrayDecoder,
    ObjectLinesDecoder,
    SSEDecoder,
    encode_sse,
)


def frames(pieces: list[bytes]) -> list[Frame]:
    decoder = SSEDecoder()
    return [*(frame for piece in pieces for frame in decoder.feed(piece)), *decoder.close()]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"data: a\n\n", [Frame("", "a")]),
        (b"data:a\n\n", [Frame("", "a")]),
        (b"data:  a\n\n", [Frame("", " a")]),
        (b"event: ping\ndata: {}\n\n", [Frame("ping", "{}")]),
        (b"data: a\ndata: b\n\n", [Frame("", "a\nb")]),
        (b"data: a\r\n\r\ndata: b\r\r", [Frame("", "a"), Frame("", "b")]),
        # Whole events by their last line ends, with other ends inside.
        (b"event: ping\r\ndata: {}\r\n\r\n", [Frame("ping", "{}")]),
        (b"data: a\rdata: b\r\n\r\n", [Frame("", "a\nb")]),
        (b"data: a\r\n\r\ndata: b\r\rdata: c\r\n\r\n", [Frame("", each) for each in "abc"]),
        (b": keep-alive\n\n: x\ndata: a\n\n", [Frame("", "a")]),
        (b"event: lonely\n\ndata: a\n\n", [Frame("", "a")]),
        (b"id: 7\nretry: 10\nunknown\ndata: a\n\n", [Frame("", "a")]),
        (b"data: a", [Frame("", "a")]),
        (b"data\n\ndata:\n\n", [Frame("", "")]),
        (b"\xef\xbb\xbfdata: a\n\n", [Frame("", "a")]),
        (b"\n\n\n", []),
        (
            'data: {"t":"a\u2028b\x85c\x0bd\x0ce"}\n\n'.encode(),
            [Frame("", '{"t":"a\u2028b\x85c\x0bd\x0ce"}')],
        ),
    ],
)
def test_frames(raw: bytes, expected: list[Frame]) -> None:
    assert frames([raw]) == expected


STREAM = (
    "event: first\r\ndata: 서울 🌧️\r\ndata: 둘째 줄\r\n\r\n: 주석\rdata: é\u2028\r\r"
    "\ndata: last\n\ndata: open"
).encode()


# As most servers write, with one line end, read in one piece or in any others.
PLAIN_STREAM = (
    "\ufeffevent: first\ndata: 서울 🌧️\n\n\n: 주석\ndata: é\u2028\n\nid: 7\ndata: a\ndata: b\n\n"
    "event: lonely\n\ndata: {}\n\ndata: open"
).encode()


@given(st.lists(st.integers(0, len(PLAIN_STREAM)), max_size=20))
@example([0, 1])
@example([3])
def test_cutting_a_plain_stream_changes_nothing(places: list[int]) -> None:
    edges = [0, *sorted(places), len(PLAIN_STREAM)]
    pieces = [PLAIN_STREAM[a:b] for a, b in itertools.pairwise(edges)]
    assert frames(pieces) == [
        Frame("first", "서울 🌧️"),
        Frame("", "é\u2028"),
        Frame("", "a\nb"),
        Frame("", "{}"),
        Frame("", "open"),
    ]


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_cutting_anywhere_changes_nothing(places: list[int]) -> None:
    edges = [0, *sorted(places), len(STREAM)]
    pieces = [STREAM[a:b] for a, b in itertools.pairwise(edges)]
    assert frames(pieces) == [
        Frame("first", "서울 🌧️\n둘째 줄"),
        Frame("", "é\u2028"),
        Frame("", "last"),
        Frame("", "open"),
    ]


LINES = ["data: a", "data:b", "event: x", "event:y", ": c", "id: 1", "data:", "data: {}", "event: "]
ENDS = ["\n", "\n\n", "\n\n\n", "\r\n", "\r\n\r\n", "\r", ""]
STRETCHES = st.lists(
    st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(ENDS)), max_size=4).map(
        lambda pairs: "".join(line + end for line, end in pairs).encode()
    ),
    max_size=6,
)


@given(STRETCHES)
def test_events_that_come_whole_are_read_as_those_that_come_in_bytes(pieces: list[bytes]) -> None:
    raw = b"".join(pieces)
    assert frames(pieces) == frames([raw[i : i + 1] for i in range(len(raw))])


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (b"event: e\n", b"data: 1\n\n", [Frame("e", "1")]),
        (b"data: 1\n", b"data: 2\n\n", [Frame("", "1\n2")]),
        (b"data: 1", b"2\n\n", [Frame("", "12")]),
        (b"event: e\ndata: 1\n", b"data: 2\n\n", [Frame("e", "1\n2")]),
        (b"event: e\nda", b"ta: 1\n\n", [Frame("e", "1")]),
        (b"data: 1\r", b"\n\n", [Frame("", "1")]),
        (b"data: 1\r", b"\ndata: 2\n\n", [Frame("", "1\n2")]),
        (b": note\r", b"\ndata: 2\n\n", [Frame("", "2")]),
    ],
)
def test_what_a_piece_left_open_belongs_to_what_ends_it(
    before: bytes, after: bytes, expected: list[Frame]
) -> None:
    """Also where the second piece looks like whole events, and others came before."""
    assert frames([before, after]) == expected
    assert frames([b"data: 0\n\n", before, after]) == [Frame("", "0"), *expected]


def test_B25_one_byte_at_a_time() -> None:
    assert frames([STREAM[i : i + 1] for i in range(len(STREAM))]) == frames([STREAM])


def test_B26_events_cut_in_lines_with_crlf_and_several_data_lines() -> None:
    pieces = [b"da", b"ta: a\r", b"\nda", b"ta: b\r\n\r", b"\ndata: c\r\n", b"\r\n"]
    assert frames(pieces) == [Frame("", "a\nb"), Frame("", "c")]


def test_an_event_that_is_not_utf8_is_a_protocol_error_after_those_before_it() -> None:
    decoder = SSEDecoder()
    seen: list[Frame] = []
    with pytest.raises(ProtocolError, match="byte 0 of 1 is 0xff"):
        seen.extend(decoder.feed(b"data: a\n\n"))
        for frame in decoder.feed(b"data: b\n\ndata: \xff\n\n"):
            seen.append(frame)
    assert seen == [Frame("", "a"), Frame("", "b")]


@pytest.mark.parametrize("line", [b"data: " + b"x" * 40, b"data: xxx\n" * 10, b"x" * 40])
def test_an_event_has_a_bound(line: bytes) -> None:
    decoder = SSEDecoder(event_bytes_max=32)
    with pytest.raises(ProtocolError, match="larger than 32 bytes"):
        list(decoder.feed(line))


def test_many_small_events_are_not_bounded_together() -> None:
    decoder = SSEDecoder(event_bytes_max=32)
    assert len([f for _ in range(100) for f in decoder.feed(b"data: xxxx\n\n")]) == 100


ARRAY = '[{"a":"}{[\\"서울"}\n,\r\n{"b":{"c":[1,{"d":2}]}}\n]\n'.encode()


@given(st.lists(st.integers(0, len(ARRAY)), max_size=20))
def test_json_array_elements_however_they_are_cut(places: list[int]) -> None:
    edges = [0, *sorted(places), len(ARRAY)]
    decoder = JSONArrayDecoder()
    found = [frame.data for a, b in itertools.pairwise(edges) for frame in decoder.feed(ARRAY[a:b])]
    assert found == ['{"a":"}{[\\"서울"}', '{"b":{"c":[1,{"d":2}]}}']
    assert list(decoder.close()) == []


def test_json_array_that_stops_inside_an_element() -> None:
    decoder = JSONArrayDecoder()
    assert list(decoder.feed(b'[{"a":1},{"b":')) == [Frame("", '{"a":1}')]
    with pytest.raises(TruncatedError):
        decoder.close()


def test_json_array_with_stray_closing_brace() -> None:
    with pytest.raises(ProtocolError, match="closing brace"):
        list(JSONArrayDecoder().feed(b"[}"))


def test_json_array_element_has_a_bound() -> None:
    decoder = JSONArrayDecoder(event_bytes_max=16)
    with pytest.raises(ProtocolError, match="larger than 16 bytes"):
        list(decoder.feed(b'[{"a":"' + b"x" * 32))


def test_json_array_element_may_be_as_large_as_the_bound() -> None:
    decoder = JSONArrayDecoder(event_bytes_max=16)
    assert list(decoder.feed(b'[{"a":"'.ljust(16, b"x"))) == []
    assert len([*decoder.feed(b'"}]'), *decoder.close()]) == 1
    with pytest.raises(ProtocolError, match="larger than 16 bytes"):
        list(JSONArrayDecoder(event_bytes_max=16).feed(b'[{"a":"'.ljust(17, b"x")))


def test_encode() -> None:
    assert encode_sse(b"{}") == b"data: {}\n\n"
    assert encode_sse(b"{}", "ping") == b"event: ping\ndata: {}\n\n"


@pytest.mark.parametrize("rest", [b"data: b", b"data: b\n", b"data: b\n\n", b""])
def test_closing_again_gives_nothing(rest: bytes) -> None:
    decoder = SSEDecoder()
    seen = [*decoder.feed(b"data: a\n\n" + rest), *decoder.close()]
    assert seen == [Frame("", "a"), Frame("", "b")][: len(seen)]
    assert list(decoder.close()) == []


OBJECTS: dict[str, tuple[bytes, list[str]]] = {
    "one a line": (b'{"a":1}\n{"b":2}\n', ['{"a":1}', '{"b":2}']),
    "the last without its end": (
        b'{"a":1}\r\n\r\n{"b":"\xf0\x9f\x8c\xa7"}',
        ['{"a":1}', '{"b":"🌧"}'],
    ),
    "a mark for the end": (b'{"a":1}\n[DONE]\n', ['{"a":1}', "[DONE]"]),
    "one object": (b'{"a":1}\n', []),
    "one object on many lines": (b'{\n "a": {}\n}\n', []),
    "one object with a line that ends so": (b'{"a": {}\n}\n', []),
}


@pytest.mark.parametrize("case", OBJECTS)
def test_lines_of_objects_are_frames_and_one_object_is_none(case: str) -> None:
    raw, expected = OBJECTS[case]
    for cut in range(len(raw)):
        decoder = ObjectLinesDecoder()
        frames = [*decoder.feed(raw[:cut]), *decoder.feed(raw[cut:]), *decoder.close()]
        assert [frame.data.strip() for frame in frames] == expected, cut


def test_a_line_of_an_object_has_a_bound() -> None:
    decoder = ObjectLinesDecoder(event_bytes_max=10)
    with pytest.raises(ProtocolError, match="larger than 10"):
        list(decoder.feed(b'{"a": "' + b"x" * 10))
