"""A provider's `answer_bytes_max` stands for all bounds of its answers' size."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from polycall.config import parse_config
from polycall.errors import ConfigError, ProtocolError
from polycall.exchange import AnswerDecoder, prepare
from polycall.gateway.passthrough.mended_stream import MendedObserver
from polycall.gateway.passthrough.stream import Observer
from polycall.ir import Message, Request, Text
from polycall.providers.dialects import DIALECTS
from polycall.providers.provider import Provider

MEBIBYTE = 2**20
CHAT = DIALECTS["openai-chat"]


def row(answer_bytes_max: int | None) -> Provider:
    """A server of that bound."""
    return Provider(
        "up", "openai-chat", "http://up", needs_key=False, answer_bytes_max=answer_bytes_max
    )


def pieces(size: int) -> Iterator[bytes]:
    """A stream with one event that has so many bytes of text, as a picture would be."""
    part = {"index": 0, "delta": {"content": "x" * size}, "finish_reason": "stop"}
    event = {"id": "1", "object": "chat.completion.chunk", "model": "m", "choices": [part]}
    data = b"data: " + json.dumps(event).encode() + b"\n\ndata: [DONE]\n\n"
    for start in range(0, len(data), MEBIBYTE):
        yield data[start : start + MEBIBYTE]


def translated(provider: Provider, size: int) -> int:
    decoder = AnswerDecoder(
        prepare(Request(model="m", messages=[Message("user", [Text("hi")])]), provider, "m", "k")
    )
    count = sum(len(decoder.feed(each)) for each in pieces(size))
    return count + len(decoder.close())


def passed(provider: Provider, size: int) -> int:
    observer = Observer(
        CHAT, hides_usage=False, is_sse=True, event_bytes_max=provider.event_bytes_max
    )
    count = sum(len(observer.feed(each)) for each in pieces(size))
    if observer.error is not None:
        raise observer.error
    return count


def mended(provider: Provider, size: int) -> int:
    observer = MendedObserver(
        CHAT,
        hides_usage=False,
        is_sse=True,
        sends_usage=False,
        event_bytes_max=provider.event_bytes_max,
    )
    count = sum(len(observer.feed(each)) for each in pieces(size))
    if observer.error is not None:
        raise observer.error
    return count


@pytest.mark.parametrize("way", [translated, passed, mended])
def test_a_large_event_comes_through_where_its_provider_may_send_one(
    way: Callable[[Provider, int], int],
) -> None:
    assert way(row(3 * MEBIBYTE), 2 * MEBIBYTE)
    with pytest.raises(ProtocolError, match="an event is larger than 1048576 bytes; `answer_bytes"):
        way(row(MEBIBYTE), 2 * MEBIBYTE)


def test_bounds_without_and_with_the_option() -> None:
    plain, large, small = row(None), row(64 * MEBIBYTE), row(MEBIBYTE)
    bounds = [
        [each.whole_bytes_max, each.event_bytes_max, each.stream_bytes_max]
        for each in (plain, large, small)
    ]
    assert bounds == [
        [22 * MEBIBYTE, 12 * MEBIBYTE, 32 * MEBIBYTE],
        [64 * MEBIBYTE, 64 * MEBIBYTE, 64 * MEBIBYTE],
        [MEBIBYTE, MEBIBYTE, 32 * MEBIBYTE],
    ]


@pytest.mark.parametrize("wrong", ["0", "-1", "300_000_000", "1000"])
def test_a_bound_that_makes_no_sense_is_a_mistake_in_the_configuration(wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"answer_bytes_max.*must be from 1048576 to 268435456"):
        parse_config(f'[providers.openai]\napi_key = "k"\nanswer_bytes_max = {wrong}\n')


def test_the_configuration_says_it_for_one_provider() -> None:
    config = parse_config('[providers.openai]\napi_key = "k"\nanswer_bytes_max = 50_000_000\n')
    stated = {name: each.answer_bytes_max for name, each in config.providers.items()}
    assert stated.pop("openai") == 50_000_000
    assert set(stated.values()) == {None}
