"""The official SDK accepts what this dialect writes, and finds the same in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic as sdk
import pytest

from polycall import errors
from polycall.dialects import anthropic
from polycall.dialects.anthropic import StreamEncoder
from polycall.fold import unfold
from polycall.ir import (
    JSON,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Response,
    Text,
    ToolCall,
    Usage,
)
from tests.origins import Handler, serving

CITATION = {
    "type": "char_location",
    "cited_text": "x",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 1,
}

NATIVE = Response(
    "msg_1",
    "claude",
    Message(
        "assistant",
        [
            Reasoning("thought", {"anthropic": {"signature": "sig=="}}),
            Reasoning("", {"anthropic": {"signature": "only"}}),
            Reasoning("", {"anthropic": {"redacted_data": "d"}}),
            Text("서울은 맑음", {"anthropic": {"citations": [CITATION]}}),
            Opaque(
                "anthropic",
                "server_tool_use",
                {
                    "type": "server_tool_use",
                    "id": "srvtoolu_1",
                    "name": "web_search",
                    "input": {"query": "q"},
                },
            ),
            ToolCall("toolu_1", "get_weather", '{"city": "서울"}'),
            ToolCall("toolu_2", "ping", "{}"),
        ],
    ),
    "tool_calls",
    "tool_use",
    Usage(
        100,
        20,
        cached_tokens=60,
        cache_write_tokens=10,
        metadata={"anthropic": {"input_tokens": 30}},
    ),
)
FOREIGN = Response(
    "chatcmpl-1",
    "gpt",
    Message(
        "assistant",
        [
            Reasoning("", {"openai-responses": {"encrypted_content": "e"}}),
            Reasoning("thought"),
            Text("", {"gemini": {"thoughtSignature": "g"}}),
            Text("Hello"),
            Refusal("but no"),
            ToolCall("functions.go:0", "go", '{"a": [1, {"b": "\\u00e9"}]}'),
            ToolCall("call_2", "now", ""),
            ToolCall("call_3", "now", "null"),
        ],
    ),
    "tool_calls",
    "tool_calls",
    Usage(100, 20, cached_tokens=60, reasoning_tokens=3),
)
PLAIN = Response("x", "m", Message("assistant", [Text("Hi")]), "stop", "stop", Usage(5, 1))
EMPTY = Response("x", "m", Message("assistant", []), "content_filter", "SAFETY", Usage(5, 0))

Answer = tuple[int, str, bytes]
Server = Callable[[Answer], sdk.Anthropic]


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Server, list[JSON]]]:
    """A client whose server gives one prepared answer, and what the client sent."""
    answers: list[Answer] = []
    requests: list[JSON] = []

    class Prepared(Handler):
        def do_POST(self) -> None:
            requests.append(json.loads(self.read()))
            status, kind, data = answers[-1]
            self.answer(data, status, kind)

    with (
        serving(Prepared) as url,
        sdk.Anthropic(api_key="test", base_url=url, max_retries=0) as client,
    ):

        def serve(answer: Answer) -> sdk.Anthropic:
            answers.append(answer)
            return client

        yield serve, requests


ASK: Any = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}


def stream_of(response: Response) -> bytes:
    encoder = StreamEncoder()
    return b"".join(map(encoder.feed, unfold(response))) + encoder.close()


def shown(message: Any) -> JSON:
    """A message of the SDK as the wire would have it."""
    return without_nulls(json.loads(message.to_json(exclude_unset=False)))


def expected(response: Response) -> JSON:
    return without_nulls(anthropic.render_response(response))


def without_nulls(value: Any) -> Any:
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return value


@pytest.mark.parametrize("response", [NATIVE, FOREIGN, PLAIN, EMPTY])
def test_a_body(served: tuple[Server, list[JSON]], response: Response) -> None:
    data = json.dumps(anthropic.render_response(response)).encode()
    message = served[0]((200, "application/json", data)).messages.create(**ASK)
    assert isinstance(message, sdk.types.Message)
    assert shown(message) == expected(response)


@pytest.mark.parametrize("response", [NATIVE, FOREIGN, PLAIN, EMPTY])
def test_a_stream_with_the_helper(served: tuple[Server, list[JSON]], response: Response) -> None:
    client = served[0]((200, "text/event-stream", stream_of(response)))
    with client.messages.stream(**ASK) as stream:
        texts = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert texts == "".join(
        part.text for part in response.message.parts if isinstance(part, Text | Refusal)
    )
    assert shown(message) == expected(response)
    used = [block for block in message.content if block.type == "tool_use"]
    assert [block.input for block in used] == [call.arguments for call in response.tool_calls]


def test_a_plain_stream(served: tuple[Server, list[JSON]]) -> None:
    client = served[0]((200, "text/event-stream", stream_of(NATIVE)))
    kinds = [event.type for event in client.messages.create(**ASK, stream=True)]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 7


@pytest.mark.parametrize(
    ("error", "expected_class"),
    [
        (errors.InvalidRequestError("bad"), sdk.BadRequestError),
        (errors.AuthenticationError("who"), sdk.AuthenticationError),
        (errors.PermissionDeniedError("no"), sdk.PermissionDeniedError),
        (errors.NotFoundError("none"), sdk.NotFoundError),
        (errors.RateLimitError("slow"), sdk.RateLimitError),
        (errors.OverloadedError("busy"), sdk.APIStatusError),
        (errors.UnsupportedError("no", feature="seed"), sdk.BadRequestError),
    ],
)
def test_errors(
    served: tuple[Server, list[JSON]],
    error: errors.PolycallError,
    expected_class: type[sdk.APIStatusError],
) -> None:
    status, body = anthropic.render_error(error)
    client = served[0]((status, "application/json", json.dumps(body).encode()))
    with pytest.raises(expected_class) as caught:
        client.messages.create(**ASK)
    assert (caught.value.status_code, caught.value.body) == (status, body)


def test_a_failure_in_mid_stream(served: tuple[Server, list[JSON]]) -> None:
    encoder = StreamEncoder()
    begun = b"".join(map(encoder.feed, list(unfold(PLAIN))[:3]))
    failed = encoder.fail(errors.OverloadedError("busy"))
    client = served[0]((200, "text/event-stream", begun + failed))
    with (
        pytest.raises(sdk.APIStatusError, match="busy"),
        client.messages.stream(**ASK) as stream,
    ):
        stream.until_done()


def test_a_conversation_of_the_sdks_own_objects(served: tuple[Server, list[JSON]]) -> None:
    """What the SDK sends back for an answer is what the answer was."""
    client = served[0]((200, "text/event-stream", stream_of(NATIVE)))
    with client.messages.stream(**ASK) as stream:
        message = stream.get_final_message()
    history: Any = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": message.content},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": call.id, "content": "done"}
                for call in NATIVE.tool_calls
            ],
        },
    ]
    data = json.dumps(anthropic.render_response(PLAIN)).encode()
    served[0]((200, "application/json", data)).messages.create(**{**ASK, "messages": history})
    wire = anthropic.render_request(anthropic.parse_request(served[1][-1]))
    assert wire.warnings == []
    sent = wire.body["messages"][1]["content"]
    assert [block["type"] for block in sent] == [
        "thinking",
        "thinking",
        "redacted_thinking",
        "text",
        "server_tool_use",
        "tool_use",
        "tool_use",
    ]
    assert (sent[0]["signature"], sent[1]["signature"], sent[2]["data"]) == ("sig==", "only", "d")
