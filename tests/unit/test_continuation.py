"""An answer in several rounds: one stream of events, and the usage of all rounds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from polycall.exchange import AnswerDecoder, Exchange, prepare
from polycall.fold import fold
from polycall.ir import (
    Event,
    Message,
    PartDelta,
    PartEnd,
    PartStart,
    Request,
    ResponseEnd,
    ResponseStart,
    Text,
)
from polycall.providers.catalogue import CATALOGUE
from polycall.translation.continuation import Continuation

# Input, output and cached tokens of each round: no two sums of these are the same.
ROUNDS = [(1000, 3, 100), (200, 50, 20), (7, 900, 5)]


def chunk(number: int, *, is_last: bool) -> bytes:
    before, after, cached = ROUNDS[number]
    candidate: dict[str, Any] = {
        "content": {"role": "model", "parts": [{"text": f"part {number}; "}]},
        "finishReason": "STOP" if is_last else "CONTINUATION",
    }
    if not is_last:
        candidate["continuationToken"] = f"token-{number}"
    usage = {
        "promptTokenCount": before,
        "candidatesTokenCount": after,
        "cachedContentTokenCount": cached,
        "totalTokenCount": before + after,
    }
    body = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m"}
    return b"data: " + json.dumps(body).encode() + b"\r\n\r\n"


def exchange() -> Exchange:
    request = Request("m", [Message("user", [Text("go")])], stream=True)
    return prepare(request, CATALOGUE["google"], "m", "key")


def test_the_usage_is_the_sum_of_all_rounds() -> None:
    decoder, events = AnswerDecoder(exchange()), list[Event]()
    for number in range(3):
        events += decoder.feed(chunk(number, is_last=number == 2))
        events += decoder.close()
        assert (decoder.again() is None) == (number == 2)
    answer = fold(events)
    assert answer.text == "part 0; part 1; part 2; "
    usage = answer.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (1207, 953, 125)


@pytest.mark.parametrize("sizes", [[6], [5, 1], [1] * 6, [4, 2], [2, 3, 1]])
def test_parts_are_counted_on_however_the_first_round_came(sizes: list[int]) -> None:
    candidate = {"candidate": {"continuationToken": "more"}}
    pause = ResponseEnd("pause", "CONTINUATION", metadata={"gemini": candidate})
    first: list[Event] = [ResponseStart(), PartStart(0, Text("")), PartDelta(0, "a")]
    first += [PartDelta(0, "b"), PartEnd(0), pause]
    joined, events = Continuation(), list[Event]()
    for size in sizes:
        events += joined.feed(first[:size])
        first = first[size:]
    assert joined.take() == "more"
    rest: list[Event] = [ResponseStart(), PartStart(0, Text("")), PartEnd(0), ResponseEnd("stop")]
    events += joined.feed(rest)
    assert [event.index for event in events if isinstance(event, PartStart)] == [0, 1]
    assert [type(event) for event in events].count(ResponseEnd) == 1


def test_the_usage_so_far_counts_the_rounds_that_are_over() -> None:
    decoder = AnswerDecoder(exchange())
    seen: list[tuple[int | None, int | None]] = []
    for number in range(3):
        decoder.feed(chunk(number, is_last=number == 2))
        seen.append((decoder.usage.input_tokens, decoder.usage.output_tokens))
        decoder.close()
        decoder.again()
    assert seen == [(1000, 3), (1200, 53), (1207, 953)]
