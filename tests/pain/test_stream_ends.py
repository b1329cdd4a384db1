"""Streams that are cut, broken or odd: PAIN B25 to B34, by their numbers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from polycall.client import Client
from polycall.errors import OverloadedError, ProtocolError, ServerError, TruncatedError
from polycall.fold import fold
from polycall.ir import (
    PartDelta,
    PartEnd,
    PartStart,
    Response,
    Text,
    ToolCall,
)
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.provider import Provider
from polycall.sim import Simulation
from polycall.transport.base import Retry
from tests import sdk
from tests.pain.bodies import (
    BODIES,
    CALLS,
    CHAT_USAGE,
    STREAMS,
    call_events,
    chat_chunk,
    function_call,
    gemini_chunk,
    piece,
    tool_block,
)
from tests.pain.reading import (
    CLIENTS,
    FRAGMENTS,
    GROWING,
    events_of,
    written,
)
from tests.pain.wires import (
    ALL_PAIRS,
    ANTHROPIC,
    CHAT,
    GEMINI,
    NAMES,
    RESPONSES,
    chat_sse,
    dialect,
    gemini_sse,
    named_sse,
    stream,
)


@ALL_PAIRS
def test_B25_a_stream_cut_at_every_byte_says_the_same(client: str, upstream: str) -> None:
    data = STREAMS[upstream]
    cut = [data[n : n + 1] for n in range(len(data))]
    assert b"".join(stream(upstream, client, cut)) == b"".join(stream(upstream, client, data))
    assert "서울 🗼" in written(upstream, client, data)


@ALL_PAIRS
@pytest.mark.parametrize("line", ["\n", "\r\n", "\r"])
def test_B26_line_ends_and_cuts_do_not_matter(client: str, upstream: str, line: str) -> None:
    text = STREAMS[upstream].decode().replace("\r\n", "\n").replace("\n", line)
    data = f": comment{line}{line}{text}".encode()
    chance = random.Random(7)
    places = sorted(chance.choices(range(len(data)), k=40))
    edges = zip([0, *places], [*places, len(data)], strict=True)
    cut = [data[start:end] for start, end in edges]
    assert b"".join(stream(upstream, client, cut)) == b"".join(
        stream(upstream, client, STREAMS[upstream])
    )


@pytest.mark.parametrize("upstream", NAMES)
def test_B26_an_event_of_several_data_lines_is_one(upstream: str) -> None:
    broken = STREAMS[upstream].replace(b',"', b',\ndata: "')
    assert broken != STREAMS[upstream]
    assert fold(events_of(upstream, broken)) == fold(events_of(upstream, STREAMS[upstream]))


@pytest.fixture(scope="module")
def simulation() -> Iterator[Simulation]:
    with Simulation() as running:
        yield running


@pytest.mark.parametrize("vendor", ["openai", "anthropic", "google", "deepseek"])
async def test_B27_a_first_event_that_is_an_error_is_never_an_answer(
    simulation: Simulation, vendor: str
) -> None:
    row = CATALOGUE[vendor]
    provider = Provider(
        name=vendor,
        dialect=row.dialect,
        base_url=simulation.base_url(vendor),
        auth=row.auth,
        headers=row.headers,
        quirks=row.quirks,
    )
    before = simulation.received
    retry = Retry(attempts=2, base_s=0.01)
    async with Client(providers=[provider], keys={vendor: "k"}, retry=retry) as client:
        with pytest.raises((OverloadedError, ServerError)):
            async for _ in client.stream(f"{vendor}/fault-error-first", "x", max_output_tokens=9):
                pass
    assert simulation.received - before == 2


FAILED_FIRST = {
    CHAT: chat_sse({"error": {"message": "busy", "type": "server_error", "code": 503}}, done=False),
    RESPONSES: named_sse(
        {"type": "error", "code": "server_is_overloaded", "message": "busy", "param": None}
    ),
    ANTHROPIC: named_sse(
        {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    ),
    GEMINI: gemini_sse({"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}),
}


@pytest.mark.parametrize("upstream", NAMES)
def test_B28_an_error_before_the_first_event_leaves_the_status_open(upstream: str) -> None:
    decoder = dialect(upstream).StreamDecoder()
    assert decoder.feed(FAILED_FIRST[upstream]) == []
    with pytest.raises(OverloadedError, match="busy"):
        decoder.close()
    assert isinstance(decoder.error, OverloadedError)


@ALL_PAIRS
def test_B29_a_failure_in_mid_stream_is_told_in_the_clients_protocol(
    client: str, upstream: str
) -> None:
    text = STREAMS[upstream][: len(STREAMS[upstream]) // 2]
    text = text[: text.rfind(b"\n\n" if upstream != GEMINI else b"\r\n\r\n")] + b"\r\n\r\n"
    decoder, encoder = dialect(upstream).StreamDecoder(), dialect(client).StreamEncoder()
    events = decoder.feed(text + FAILED_FIRST[upstream])
    assert events
    assert isinstance(decoder.error, OverloadedError)
    data = b"".join([*(encoder.feed(event) for event in events), encoder.fail(decoder.error)])
    with pytest.raises(
        (
            openai.APIError,
            anthropic.APIError,
            RuntimeError,  # Responses: "Didn't receive a `response.completed` event"
            sdk.genai.errors.APIError,
        )
    ):
        sdk.read_stream(client, data)
    again = dialect(client).StreamDecoder()
    again.feed(data)
    with pytest.raises((OverloadedError, ServerError), match="busy"):
        again.close()


@CLIENTS
def test_B30_null_usage_and_chunks_without_choices_change_nothing(client: str) -> None:
    data = chat_sse(
        chat_chunk(None, usage=None),
        chat_chunk({"role": "assistant"}, usage=None),
        chat_chunk({"content": "x"}, usage=None),
        {**chat_chunk(), "choices": None},
        chat_chunk({}, "stop", usage=CHAT_USAGE),
        chat_chunk(None, usage=None),
    )
    response = fold(events_of(client, written(CHAT, client, data).encode()))
    assert response.text == "x"
    usage = response.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (100, 50, 40)


CUT = {
    CHAT: chat_sse(piece(0, '{"a": "he', id="c1", type="function", name="f"), done=False),
    RESPONSES: named_sse(
        {"type": "response.created", "response": {"id": "resp_1", "model": "m", "output": []}},
        *call_events(0, function_call("c1", "f", ""), ['{"a": "he'])[:2],
    ),
    ANTHROPIC: named_sse(
        {"type": "message_start", "message": {"id": "msg_1", "model": "m", "content": []}},
        *tool_block(0, "c1", "f", '{"a": "he')[:3],
    ),
    GEMINI: gemini_sse(gemini_chunk({"functionCall": {"name": "f", "willContinue": True}})),
}


@ALL_PAIRS
def test_B31_a_stream_cut_in_its_arguments_is_no_answer(client: str, upstream: str) -> None:
    decoder, encoder = dialect(upstream).StreamDecoder(), dialect(client).StreamEncoder()
    data = b"".join(encoder.feed(event) for event in decoder.feed(CUT[upstream]))
    with pytest.raises(TruncatedError):
        decoder.close()
    data += encoder.fail(TruncatedError("the stream ended early"))
    again = dialect(client).StreamDecoder()
    events = again.feed(data)
    assert not any(isinstance(event, PartEnd) for event in events)  # no call is complete
    with pytest.raises((ServerError, ProtocolError)):
        again.close()


@pytest.mark.parametrize("upstream", GROWING)
def test_B32_a_call_is_not_complete_before_its_arguments(upstream: str) -> None:
    head, growing = GROWING[upstream]
    decoder = dialect(upstream).StreamDecoder()
    (start,) = [event for event in decoder.feed(head) if isinstance(event, PartStart)]
    assert isinstance(start.part, ToolCall)
    assert start.part.arguments_json == ""
    events = [event for data in growing for event in decoder.feed(data)]
    assert [type(event) for event in events] == [PartDelta] * len(FRAGMENTS)


def test_B33_null_and_empty_content_beside_calls_are_told_as_they_were() -> None:
    """The form returns to Chat; no other wire shows a text that is not there."""
    call = piece(0, "{}", id="c1", type="function", name="f")
    for form in (None, ""):
        data = chat_sse(
            chat_chunk({"role": "assistant", "content": form}), call, chat_chunk({}, "tool_calls")
        )
        response = fold(events_of(CHAT, data))
        assert dialect(CHAT).render_response(response)["choices"][0]["message"]["content"] == form
        assert [type(part) for part in response.message.parts] == [ToolCall]
        for client in (RESPONSES, ANTHROPIC, GEMINI):
            again = fold(events_of(client, written(CHAT, client, data).encode()))
            assert not [p for p in again.message.parts if isinstance(p, Text) and p.text]


def said(response: Response) -> tuple[Any, ...]:
    """What an answer says, whatever its ids and its vendor's extras."""
    usage = response.usage
    return (
        response.text,
        [(call.id, call.name, call.arguments) for call in response.tool_calls],
        response.finish_reason,
        (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens),
    )


@ALL_PAIRS
def test_B34_a_stream_and_a_body_say_the_same_to_every_client(client: str, upstream: str) -> None:
    source, target = dialect(upstream), dialect(client)
    body = target.render_response(source.parse_response(BODIES[upstream]))
    whole = target.parse_response(body)
    streamed = fold(events_of(client, written(upstream, client, STREAMS[upstream]).encode()))
    assert said(whole) == said(streamed)
    assert said(whole) == (
        "Looking.",
        [("c1", *CALLS[0]), ("c2", *CALLS[1])],
        "tool_calls",
        (100, 50, 40, 20),
    )
