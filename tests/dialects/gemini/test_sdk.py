"""Google's own SDK on both sides: it reads what we write, and we read what it writes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from polycall.dialects import gemini
from polycall.errors import OverloadedError, RateLimitError
from polycall.fold import unfold
from polycall.ir import (
    Message,
    Reasoning,
    Request,
    Response,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)
from tests.origins import Handler

ANSWER = Response(
    id="msg_1",
    model="claude",
    message=Message(
        "assistant",
        [
            Reasoning("hm", {"anthropic": {"signature": "not base64!"}}),
            Text("The weather:"),
            ToolCall("toolu_1", "get_weather", '{"city":"서울"}'),
            ToolCall("toolu_2", "now", ""),
        ],
    ),
    finish_reason="tool_calls",
    raw_finish_reason="tool_use",
    usage=Usage(10, 7, reasoning_tokens=2),
)


class Server(ThreadingHTTPServer):
    """Answers every request with one prepared answer, and remembers what was asked."""

    status = 200
    answer = b""
    asked: list[tuple[str, dict[str, Any]]]


class Answering(Handler):
    server: Server

    def do_POST(self) -> None:
        self.server.asked.append((self.path, json.loads(self.read())))
        is_stream = self.server.answer.startswith(b"data:")
        kind = "text/event-stream" if is_stream else "application/json"
        self.answer(self.server.answer, self.server.status, kind)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Answering) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def client(server: Server) -> Iterator[genai.Client]:
    address = f"http://127.0.0.1:{server.server_port}"
    with genai.Client(api_key="k", http_options=types.HttpOptions(base_url=address)) as client:
        yield client


def streamed(response: Response) -> bytes:
    encoder = gemini.StreamEncoder()
    return b"".join(encoder.feed(event) for event in unfold(response)) + encoder.close()


def test_the_sdk_reads_a_whole_answer(server: Server, client: genai.Client) -> None:
    server.answer = json.dumps(gemini.render_response(ANSWER)).encode()
    answer = client.models.generate_content(model="google/g", contents="hi")
    path, body = server.asked[0]
    request = gemini.parse_request(body, path=path)
    assert (request.model, request.stream) == ("google/g", False)
    assert request.messages == [Message("user", [Text("hi")])]
    assert answer.text == "The weather:"
    assert answer.function_calls == [
        types.FunctionCall(id="toolu_1", name="get_weather", args={"city": "서울"}),
        types.FunctionCall(id="toolu_2", name="now", args={}),
    ]
    assert answer.candidates is not None
    assert answer.candidates[0].finish_reason is types.FinishReason.STOP
    assert answer.usage_metadata == types.GenerateContentResponseUsageMetadata(
        prompt_token_count=10,
        candidates_token_count=5,
        thoughts_token_count=2,
        total_token_count=17,
    )


def test_the_sdk_reads_a_stream(server: Server, client: genai.Client) -> None:
    server.answer = streamed(ANSWER)
    chunks = list(client.models.generate_content_stream(model="g", contents="hi"))
    path, body = server.asked[0]
    assert gemini.parse_request(body, path=path).stream
    parts = [
        part
        for chunk in chunks
        for candidate in chunk.candidates or []
        for part in (candidate.content and candidate.content.parts) or []
    ]
    assert parts == [
        types.Part(text="hm", thought=True),
        types.Part(text="The weather:"),
        types.Part(
            function_call=types.FunctionCall(
                id="toolu_1", name="get_weather", args={"city": "서울"}
            )
        ),
        types.Part(function_call=types.FunctionCall(id="toolu_2", name="now", args={})),
        types.Part(text=""),
    ]
    last = chunks[-1]
    assert last.candidates is not None
    assert last.candidates[0].finish_reason is types.FinishReason.STOP
    assert last.usage_metadata is not None
    assert last.usage_metadata.total_token_count == 17


def test_the_sdk_raises_our_errors(server: Server, client: genai.Client) -> None:
    status, body = gemini.render_error(RateLimitError("slow down"))
    server.status, server.answer = status, json.dumps(body).encode()
    with pytest.raises(errors.ClientError) as caught:
        client.models.generate_content(model="g", contents="hi")
    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")


def test_the_sdk_raises_an_error_inside_a_stream(server: Server, client: genai.Client) -> None:
    encoder = gemini.StreamEncoder()
    events = list(unfold(ANSWER))[:3]
    server.answer = b"".join(map(encoder.feed, events)) + encoder.fail(OverloadedError("busy"))
    chunks = client.models.generate_content_stream(model="g", contents="hi")
    assert next(chunks).candidates is not None
    with pytest.raises(errors.ServerError) as caught:
        next(chunks)
    assert caught.value.code == 503


def test_a_chat_of_the_sdk_keeps_a_streamed_turn(server: Server, client: genai.Client) -> None:
    server.answer = streamed(ANSWER)
    chat = client.chats.create(model="g")
    for _ in chat.send_message_stream("hi"):
        pass
    server.answer = json.dumps(gemini.render_response(ANSWER)).encode()
    results = [
        types.Part(
            function_response=types.FunctionResponse(
                id=call_id, name=name, response={"output": call_id}
            )
        )
        for call_id, name in (("toolu_1", "get_weather"), ("toolu_2", "now"))
    ]
    chat.send_message(results)
    path, body = server.asked[1]
    own: dict[str, dict[str, Any]] = {"gemini": {}}
    assert gemini.parse_request(body, path=path).messages == [
        Message("user", [Text("hi")]),
        Message(
            "assistant",
            [
                Reasoning("hm", own),
                Text("The weather:"),
                ToolCall("toolu_1", "get_weather", '{"city":"서울"}', metadata=own),
                ToolCall("toolu_2", "now", metadata=own),
            ],
        ),
        Message(
            "tool",
            [
                ToolResult("toolu_1", [Text("toolu_1")], name="get_weather", metadata=own),
                ToolResult("toolu_2", [Text("toolu_2")], name="now", metadata=own),
            ],
        ),
    ]


def test_a_request_of_the_sdk_in_its_mixed_casing(server: Server, client: genai.Client) -> None:
    server.answer = json.dumps(gemini.render_response(ANSWER)).encode()
    schema = {"type": "object", "properties": {"a_b": {"type": "string"}}}
    declaration = types.FunctionDeclaration(name="f", parameters_json_schema=schema)
    client.models.generate_content(
        model="g",
        contents=[
            types.Part(inline_data=types.Blob(mime_type="image/png", data=b"\xfb\xff")),
            types.Part(text="x"),
        ],
        config=types.GenerateContentConfig(
            system_instruction="s",
            tools=[types.Tool(function_declarations=[declaration])],
            tool_config=types.ToolConfig(
                function_calling_config=types.FunctionCallingConfig(
                    mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=["f"]
                )
            ),
            thinking_config=types.ThinkingConfig(
                include_thoughts=True, thinking_level=types.ThinkingLevel.LOW
            ),
            response_json_schema=schema,
            response_mime_type="application/json",
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        ),
    )
    path, body = server.asked[0]
    request: Request = gemini.parse_request(body, path=path)
    assert [message.role for message in request.messages] == ["system", "user"]
    media, _ = request.messages[1].parts
    assert getattr(media, "data", "") == "+/8="
    assert request.tools[0].parameters == schema
    assert request.tool_choice is not None
    assert (request.tool_choice.mode, request.tool_choice.names) == ("tool", ["f"])
    assert request.reasoning is not None
    assert (request.reasoning.effort, request.reasoning.include_text) == ("low", True)
    assert request.response_format is not None
    assert request.response_format.schema == schema
    assert request.provider_options == {}
