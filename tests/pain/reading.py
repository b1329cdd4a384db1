"""Streams as clients of every dialect read them, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from polycall.ir import (
    Event,
)
from tests import readers
from tests.pain.bodies import (
    call_events,
    function_call,
    piece,
    tool_block,
)
from tests.pain.wires import (
    ANTHROPIC,
    CHAT,
    GEMINI,
    NAMES,
    RESPONSES,
    chat_sse,
    dialect,
    named_sse,
    stream,
)

READERS: dict[str, Callable[[str], readers.Found]] = {
    CHAT: readers.chat_stream,
    RESPONSES: readers.responses_stream,
    ANTHROPIC: readers.anthropic_stream,
    GEMINI: readers.gemini_stream,
}
CLIENTS = pytest.mark.parametrize("client", NAMES)


def written(upstream: str, client: str, data: bytes) -> str:
    return b"".join(stream(upstream, client, data)).decode()


def found(upstream: str, client: str, data: bytes) -> list[tuple[str, Any]]:
    """Names and arguments that a client's reader finds."""
    return [(name, arguments) for _, name, arguments in ids_found(upstream, client, data)]


def ids_found(upstream: str, client: str, data: bytes) -> readers.Found:
    return READERS[client](written(upstream, client, data))


def events_of(upstream: str, data: bytes) -> list[Event]:
    decoder = dialect(upstream).StreamDecoder()
    return [*decoder.feed(data), *decoder.close()]


def chat_indexes(text: str) -> list[int]:
    """The index of every piece of a call that says its name."""
    return [
        call["index"]
        for payload in readers.payloads(text)
        for choice in payload["choices"]
        for call in choice["delta"].get("tool_calls") or []
        if call["function"].get("name")
    ]


def ending(client: str, text: str) -> Any:
    """The client's own word for why the answer ended."""
    payloads = readers.payloads(text)
    match client:
        case "openai-chat":
            reasons = [c["finish_reason"] for p in payloads for c in p["choices"]]
            assert reasons[:-1] == [None] * (len(reasons) - 1)
            return reasons[-1]
        case "openai-responses":
            return payloads[-1]["response"]["status"]
        case "anthropic":
            return next(p["delta"]["stop_reason"] for p in payloads if p["type"] == "message_delta")
        case _:
            return payloads[-1]["candidates"][0]["finishReason"]


FRAGMENTS = ['{"a":"', "one ", "two ", 'three"}']
GROWING: dict[str, tuple[bytes, list[bytes]]] = {
    CHAT: (
        chat_sse(piece(0, "", id="c1", type="function", name="f"), done=False),
        [chat_sse(piece(0, text), done=False) for text in FRAGMENTS],
    ),
    RESPONSES: (
        named_sse(*call_events(0, function_call("c1", "f", ""), [])[:1]),
        [named_sse(call_events(0, function_call("c1", "f", ""), [t])[1]) for t in FRAGMENTS],
    ),
    ANTHROPIC: (
        named_sse(*tool_block(0, "c1", "f")[:1]),
        [named_sse(tool_block(0, "c1", "f", text)[2]) for text in FRAGMENTS],
    ),
}
