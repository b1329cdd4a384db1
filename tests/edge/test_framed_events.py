"""Events that a provider wraps in AWS's framing: unwrapped away from the loop, in little memory."""

from __future__ import annotations

import base64
import json
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench.answer_wires import WIRES
from bench.door_upstream import Upstream

from polycall._support import event_stream
from polycall._support.event_stream import EventMessage, EventStreamReader
from polycall._support.json_weight import LONG_BYTES
from polycall.errors import ProtocolError
from polycall.ir import JSON
from polycall.providers.unframed import unframed
from polycall.transport.base import HTTPResponse
from tests.edge.test_doors import serving
from tests.edge.test_loop_time import stream

SIZE = 3 * LONG_BYTES
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\n"


def framed(event: bytes) -> bytes:
    """An event of the vendor's, as AWS wraps it."""
    return event_stream.event("chunk", b'{"bytes":"%b"}' % base64.b64encode(event))


def events(place: int, change: Callable[[JSON], None]) -> list[bytes]:
    """Those of a whole answer, one of them changed."""
    found: list[Any] = json.loads(json.dumps(WIRES["anthropic"].events))
    change(found[place])
    return [framed(json.dumps(each).encode()) for each in found]


def long_text(event: JSON) -> None:
    event["delta"]["text"] = "x" * SIZE


def long_usage(event: JSON) -> None:
    event["usage"]["other"] = "x" * SIZE


CASES: dict[str, tuple[int, Callable[[JSON], None]]] = {
    "a text": (2, long_text),
    "a usage": (11, long_usage),
}


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
@pytest.mark.parametrize("case", CASES)
async def test_a20_a_long_framed_event_is_unwrapped_in_a_thread(
    tmp_path: Path, case: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream, loop = Upstream(), threading.current_thread()
    on_loop, elsewhere = [0], [0]
    feed = EventStreamReader.feed

    def noted(self: EventStreamReader, chunk: bytes) -> Any:
        found = on_loop if threading.current_thread() is loop else elsewhere
        found.append(self.held_bytes + len(chunk))
        return feed(self, chunk)

    monkeypatch.setattr(EventStreamReader, "feed", noted)
    body = b"".join(events(*CASES[case]))
    upstream.paths["/model/"] = HEAD + b"content-length: %d\r\n\r\n%b" % (len(body), body)
    config = (
        '[server]\nattempts = 1\n[providers.p]\nlike = "bedrock-invoke"\nregion = "r"\n'
        f'base_url = "{upstream.url.removesuffix("/v1")}"\napi_key = "sk-aaaaaaaa"\n'
    )
    said = [{"role": "user", "content": "x"}]
    asked = {"model": "p/m", "max_tokens": 9, "stream": True, "messages": said}
    async with serving(tmp_path, config) as served:
        status, data = await stream(served, path, asked)
    assert status == 200, data[:300]
    assert b"error" not in data[-2000:]
    assert (len(data) > SIZE) == (case == "a text" or path == "/v1/messages")
    assert max(elsewhere) >= SIZE
    assert max(on_loop) <= LONG_BYTES


class Answer:
    """What a provider gave, in one piece."""

    status = 200
    headers = {"content-type": event_stream.CONTENT_TYPE}  # noqa: RUF012

    def __init__(self, data: bytes) -> None:
        self.data = data

    async def read(self, *, size_bytes_max: int) -> bytes:
        return self.data


async def unwrapped(data: bytes) -> bytes:
    http: HTTPResponse = unframed(Answer(data), "text/event-stream")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return await http.read(size_bytes_max=len(data))


VALUES = b"[%b1]" % (b"[]," * (SIZE // 3))
HEAVY = {
    "an event of small values": framed(b'{"a":%b,"type":"ping"}' % VALUES),
    "small values beside an event": event_stream.event(
        "chunk", b'{"a":%b,"bytes":"%b"}' % (VALUES, base64.b64encode(b'{"type":"ping"}'))
    ),
    "an exception of small values": event_stream.exception(
        "throttlingException", b'{"a":%b,"message":"slow down"}' % VALUES
    ),
}


@pytest.mark.parametrize("case", HEAVY)
async def test_a17_a_framed_event_makes_no_values_of_what_nobody_reads(case: str) -> None:
    tracemalloc.start()
    data = await unwrapped(HEAVY[case])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert data.startswith(b"event: error" if "exception" in case else b"event: ping")
    assert peak < 6 * SIZE


ODD = {
    "half of a character": (framed(b'{"type":"ping","a":"\\ud83d"}'), b"event: ping\n"),
    "a number for a type": (framed(b'{"type":5}'), b"event: 5\n"),
    "an event of another kind": (event_stream.event("other", b"{}"), b""),
    "an exception without words": (
        event_stream.exception("throttlingException", b"{}"),
        b'event: error\ndata: {"type":"error","error":{"type":"rate_limit_error",'
        b'"message":"throttlingException"}}\n\n',
    ),
    "an exception that is not JSON": (
        event_stream.exception("otherException", b"<html>"),
        b'event: error\ndata: {"type":"error","error":{"type":"api_error",'
        b'"message":"otherException"}}\n\n',
    ),
}


@pytest.mark.parametrize("case", ODD)
async def test_an_odd_framed_event_is_unwrapped(case: str) -> None:
    data, start = ODD[case]
    found = await unwrapped(data)
    assert found.startswith(start)
    assert bool(found) == bool(start)


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b"[]", b'{"bytes":5}', b'{"bytes":"e"}', b'{"bytes":"e30="}', b'{"bytes":"WzFd"}'],
)
async def test_a_chunk_without_an_event_is_a_fault(payload: bytes) -> None:
    with pytest.raises(ProtocolError, match="a chunk holds no event"):
        await unwrapped(event_stream.event("chunk", payload))


def test_a_message_is_copied_once() -> None:
    reader, data = EventStreamReader(), event_stream.event("chunk", b"x" * SIZE)
    tracemalloc.start()
    found = list(reader.feed(data))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    headers = {
        ":event-type": "chunk",
        ":content-type": "application/json",
        ":message-type": "event",
    }
    assert found == [EventMessage(headers, b"x" * SIZE)]
    assert peak < 2.3 * SIZE  # as it came, and what is given
