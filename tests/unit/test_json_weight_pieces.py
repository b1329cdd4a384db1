"""JSON is weighed as its pieces come, wherever they are cut."""

from __future__ import annotations

import json
import random
import sys

import pytest

from polycall._support.json_weight import HeavyJSONError, PieceWeight, check_weight

HEAVY = b'{"a":"x","b":[' + b"[]," * 200_000 + b"1]}"
LIGHT = json.dumps({"a": '[{,"\\' * 150_000, "b": [1]}).encode()


def weighed(data: bytes, seed: int, *, of_events: bool) -> None:
    weight, rng, place = PieceWeight(of_events=of_events), random.Random(seed), 0
    while place < len(data):
        size = rng.choice([1, 2, 7, 50_000])
        weight.feed(data[place : place + size])
        place += size


@pytest.mark.parametrize("seed", range(3))
def test_s16_pieces_weigh_what_the_whole_does(seed: int) -> None:
    check_weight(LIGHT)
    with pytest.raises(HeavyJSONError):
        check_weight(HEAVY)
    for of_events, head in ((False, b""), (True, b"event: message\ndata: ")):
        weighed(head + LIGHT, seed, of_events=of_events)
        with pytest.raises(HeavyJSONError):
            weighed(head + HEAVY, seed, of_events=of_events)


@pytest.mark.parametrize("gap", [b"\n\n", b"\r\n\r\n"])
def test_s16_each_event_is_weighed_by_itself(gap: bytes) -> None:
    event = b"data: [" + b"[]," * 40_000 + b"1]" + gap
    weight = PieceWeight(of_events=True)
    for _ in range(5):
        weight.feed(event)
    with pytest.raises(HeavyJSONError):
        weighed(event * 5, 1, of_events=False)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize(
    "before", [b': "', b'id: "', b'event: a"b', b'retry: "', b'"', b'da"ta: x', b'data: "\\', b"\\"]
)
def test_what_is_no_data_of_an_event_hides_no_weight(before: bytes, end: bytes) -> None:
    first = before + end + (end if before.startswith(b"data") else b"")
    weight = PieceWeight(of_events=True)
    with pytest.raises(HeavyJSONError):
        for piece in (first, b"data: ", HEAVY, end, end):
            weight.feed(piece)
    notes = b": " + b"[]," * 200_000 + end + b"id: " + b"[]," * 200_000 + end
    weighed(notes + b'data: {"a":[]}' + end + end, 0, of_events=True)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 3, 14, 1_000])
def test_an_events_end_in_pieces_ends_its_weight(
    size: int, end: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polycall._support.json_weight.OBJECTS_MAX", 10)
    weight = PieceWeight(of_events=True)
    stream = (b'data: {"a":[{}]}' + end + b"data:[]" + end + end) * 20
    for place in range(0, len(stream), size):
        weight.feed(stream[place : place + size])
    with pytest.raises(HeavyJSONError):
        weight.feed((b"data: [[]]" + end) * 6)


PIECES = {
    "short texts": b'{"a":"b"},' * 6_000,
    "escaped texts": rb'"\"\\",' * 8_000,
    "numbers": b"1," * 30_000,
    "a text": b'"' + b"x" * 60_000 + b'",',
}


@pytest.mark.parametrize("case", PIECES)
def test_a_piece_takes_few_steps_whatever_is_in_it(case: str) -> None:
    weight, steps = PieceWeight(), 0
    weight.feed(b"[")

    def step(_frame: object, event: str, _argument: object) -> None:
        nonlocal steps
        steps += event in ("call", "c_call")

    sys.setprofile(step)
    try:
        weight.feed(PIECES[case])
    finally:
        sys.setprofile(None)
    assert steps < 40


@pytest.mark.parametrize(("objects_max", "values_max"), [(9, 1_000), (1_000, 9)])
def test_a_weight_has_the_bounds_that_it_was_given(objects_max: int, values_max: int) -> None:
    weight = PieceWeight(objects_max=objects_max, values_max=values_max)
    weight.feed(b'[{},"{}{}{},,,,,,,,,",{},1,2,3,{},')
    with pytest.raises(
        HeavyJSONError, match=f"more than {objects_max} lists and objects or {values_max}"
    ):
        weight.feed(b"{},[{},{},{},[]],{},")
