"""An answer in several rounds: one stream of events, and the usage of all rounds."""

from __future__ import annotations

import json
from typing import Any

from polycall.exchange import AnswerDecoder, Exchange, prepare
from polycall.fold import fold
from polycall.ir import Event, Message, Request, Text
from polycall.providers.catalogue import CATALOGUE

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


def test_the_usage_so_far_counts_the_rounds_that_are_over() -> None:
    decoder = AnswerDecoder(exchange())
    seen: list[tuple[int | None, int | None]] = []
    for number in range(3):
        decoder.feed(chunk(number, is_last=number == 2))
        seen.append((decoder.usage.input_tokens, decoder.usage.output_tokens))
        decoder.close()
        decoder.again()
    assert seen == [(1000, 3), (1200, 53), (1207, 953)]
