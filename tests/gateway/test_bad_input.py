"""Every value of a valid body in turn replaced by one of another type: no 500, and said where."""

from __future__ import annotations

import copy
import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from polycall.sim import Simulation
from tests.gateway.drivers import PIXEL
from tests.gateway.harness import KEY, Gateway
from tests.gateway.test_requests import shape_is

IMAGE = f"data:image/png;base64,{PIXEL}"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"name": "get_weather", "description": "The weather in a city"}
ARGUMENTS = '{"city":"서울"}'
CALL = {"id": "call_1", "type": "function"}

BODIES: dict[str, dict[str, Any]] = {
    "openai-chat": {
        "model": "",
        "messages": [
            {"role": "system", "content": "s"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "weather?"},
                    {"type": "image_url", "image_url": {"url": IMAGE, "detail": "auto"}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {**CALL, "function": {"name": "get_weather", "arguments": ARGUMENTS}}
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "3"},
            {"role": "user", "content": "and now?"},
        ],
        "tools": [{"type": "function", "function": {**TOOL, "parameters": SCHEMA}}],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "max_completion_tokens": 500,
        "reasoning_effort": "none",
        "response_format": {"type": "text"},
        "metadata": {"a": "b"},
        "seed": 3,
        "stream": False,
        "stream_options": None,
    },
    "openai-responses": {
        "model": "",
        "instructions": "s",
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "weather?"},
                    {"type": "input_image", "image_url": IMAGE, "detail": "auto"},
                ],
            },
            {"type": "function_call", "call_id": "call_1", "name": "get_weather",
             "arguments": ARGUMENTS},
            {"type": "function_call_output", "call_id": "call_1", "output": "3"},
            {"type": "message", "role": "assistant",
             "content": [{"type": "output_text", "text": "cold", "annotations": []}]},
            {"role": "user", "content": "and now?"},
        ],
        "tools": [{"type": "function", "strict": False, **TOOL, "parameters": SCHEMA}],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "max_output_tokens": 500,
        "text": {"format": {"type": "text"}},
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
        "stream": False,
    },
    "anthropic": {
        "model": "",
        "max_tokens": 2000,
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "weather?"},
                    {"type": "image",
                     "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "I look"},
                    {"type": "tool_use", "id": "toolu_1", "name": "get_weather",
                     "input": {"city": "서울"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": False,
                     "content": [{"type": "text", "text": "3"}]},
                    {"type": "text", "text": "and now?"},
                ],
            },
        ],
        "tools": [{**TOOL, "input_schema": SCHEMA}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": False},
        "stop_sequences": ["x"],
        "metadata": {"user_id": "u"},
        "thinking": {"type": "disabled"},
        "stream": False,
    },
    "gemini": {
        "systemInstruction": {"parts": [{"text": "s"}]},
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "weather?"},
                    {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
                ],
            },
            {
                "role": "model",
                "parts": [
                    {"functionCall": {"id": "c1", "name": "get_weather", "args": {"city": "x"}},
                     "thoughtSignature": "skip_thought_signature_validator"}
                ],
            },
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"id": "c1", "name": "get_weather",
                                          "response": {"output": "3"}}}
                ],
            },
            {"role": "user", "parts": [{"text": "and now?"}]},
        ],
        "tools": [{"functionDeclarations": [{**TOOL, "parametersJsonSchema": SCHEMA}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        "generationConfig": {
            "temperature": 0.5,
            "topK": 5,
            "maxOutputTokens": 500,
            "stopSequences": ["x"],
            "candidateCount": 1,
            "thinkingConfig": {"includeThoughts": False, "thinkingBudget": 100},
        },
        "safetySettings": [
            {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}
        ],
    },
}  # fmt: skip
PATHS = {
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/{}:generateContent",
}
COUNTS = {
    "openai-responses": "/v1/responses/input_tokens",
    "anthropic": "/v1/messages/count_tokens",
    "gemini": "/v1beta/models/{}:countTokens",
}
# What a counting route does not take, by the protocol whose body it is.
NOT_COUNTED = {
    "openai-responses": ("max_output_tokens", "include", "store", "stream"),
    "anthropic": ("max_tokens", "stop_sequences", "metadata", "stream"),
    "gemini": ("toolConfig", "generationConfig", "safetySettings"),
}
OTHERS: list[Any] = [None, True, 7, -1.5, "x", [], [1], {}, {"a": 1}]
# Each client's own protocol, where bodies pass through, and another, where they are translated.
TARGETS = {
    "openai-chat": ("up-chat", "up-anthropic", "up-compatible"),
    "openai-responses": ("up-responses", "up-gemini"),
    "anthropic": ("up-anthropic", "up-responses", "up-gemini"),
    "gemini": ("up-gemini", "up-deepseek", "up-anthropic"),
}
PAIRS = [(client, target) for client, targets in TARGETS.items() for target in targets]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def wrong_bodies(body: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The body with one value of another type, or without it; and where."""
    for path in places(body):
        for other in (*OTHERS, ...):
            changed: Any = copy.deepcopy(body)
            parent = changed
            for key in path[:-1]:
                parent = parent[key]
            if other is ...:
                del parent[path[-1]]
            elif type(other) is type(parent[path[-1]]):
                continue
            else:
                parent[path[-1]] = other
            yield path, changed


class Caller:
    """One kept connection; notes whether a provider was asked."""

    def __init__(
        self, gateway: Gateway, sim: Simulation, client: str, *, is_lossy: bool = False
    ) -> None:
        self._lossy = "true" if is_lossy else "false"
        self._connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
        self._sim = sim
        self._client = client

    def ask(self, path: str, body: Any, place: tuple[Any, ...] = ()) -> int:
        """The status, of an answer that is one."""
        before = self._sim.received
        fields = {"authorization": f"Bearer {KEY}", "polycall-lossy": self._lossy}
        self._connection.request("POST", path, json.dumps(body), fields)
        answer = self._connection.getresponse()
        data = answer.read()
        assert KEY.encode() not in data
        assert b"sk-provider" not in data
        if answer.status == 200:
            assert b'"error":{' not in data, (place, data)
            return 200
        assert 400 <= answer.status < 500, (place, answer.status, data)
        error = json.loads(data)
        assert shape_is(self._client, error), (place, data)
        if self._sim.received == before:
            # Ours to say: the place in the client's body, or in the middle language.
            message = error["error"]["message"]
            words = [key for key in place if isinstance(key, str)]
            assert any(word in message for word in (*words, "messages", "candidates")), (
                place,
                message,
            )
        return answer.status

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


@pytest.mark.parametrize(
    "mode",
    [
        "whole",
        pytest.param("streamed", marks=pytest.mark.slow),
        pytest.param("lossy", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(("client", "target"), PAIRS)
def test_wrong_types_anywhere(
    gateway: Gateway, sim: Simulation, client: str, target: str, mode: str
) -> None:
    model = f"{target}/sim-1"
    valid = BODIES[client]
    path = PATHS[client].format(model)
    if client != "gemini":
        valid = {**valid, "model": model, "stream": mode == "streamed"}
    elif mode == "streamed":
        path = path.replace("generateContent", "streamGenerateContent?alt=sse")
    with Caller(gateway, sim, client, is_lossy=mode == "lossy") as caller:
        assert caller.ask(path, valid) == 200
        statuses = [caller.ask(path, body, place) for place, body in wrong_bodies(valid)]
    assert statuses.count(400) > len(statuses) / 2


@pytest.mark.parametrize("target", ["up-anthropic", "up-compatible"])
@pytest.mark.parametrize("client", COUNTS)
def test_wrong_types_where_tokens_are_counted(
    gateway: Gateway, sim: Simulation, client: str, target: str
) -> None:
    model = f"{target}/sim-1"
    valid = {k: v for k, v in BODIES[client].items() if k not in NOT_COUNTED[client]}
    if client != "gemini":
        valid["model"] = model
    path = COUNTS[client].format(model)
    with Caller(gateway, sim, client) as caller:
        assert caller.ask(path, valid) == 200
        statuses = [caller.ask(path, body, place) for place, body in wrong_bodies(valid)]
        for body in ("x", 4, [], None, [valid]):
            assert caller.ask(path, body, ("object",)) == 400
    assert 400 in statuses


@pytest.mark.parametrize("headers", [{}, {"anthropic-version": "1"}, {"x-goog-api-key": KEY}])
def test_odd_questions_for_models(gateway: Gateway, headers: dict[str, str]) -> None:
    client = {"anthropic-version": "anthropic", "x-goog-api-key": "gemini"}
    shape = client.get(next(iter(headers), ""), "openai-chat")
    for name in (
        "%00",
        "%ff%fe",
        "%0d%0ax",
        "..%2f..%2fetc",
        "a" * 5000,
        "",
        "/",
        "up-chat",
        "x/y",
    ):
        answer = gateway.request("GET", f"/v1/models/{name}", headers=headers)
        assert answer.status == 404
        assert shape_is(shape, answer.json())
        assert len(answer.content) < 1000
    for query in ("supports=", "supports=%ff", "supports=,,", "limit=x", "&&=&", "pageSize=-1"):
        answer = gateway.request("GET", f"/v1/models?{query}", headers=headers)
        assert answer.status == 200


@pytest.mark.parametrize("client", ["openai-chat", "openai-responses", "anthropic"])
def test_the_name_of_a_model_has_an_end(gateway: Gateway, sim: Simulation, client: str) -> None:
    before = sim.received
    for name in ("x" * 100_000, "up-chat/" + "x" * 100_000, "up-chat/half \ud83e"):
        answer = gateway.post(PATHS[client], {**BODIES[client], "model": name})
        assert answer.status == 404
        assert shape_is(client, answer.json())
        assert len(answer.content) < 1000
    assert sim.received == before
