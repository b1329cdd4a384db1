"""JSON is weighed as its pieces come, wherever they are cut."""

from __future__ import annotations

import json
import random

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
