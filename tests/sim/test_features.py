"""What real clients send, and a simulation of their vendor has to take (C10, N4)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from polycall.sim import Simulation

from .conftest import KEYS, Post, request

SONNET = "claude-sonnet-5-5"
MANAGED = {"edits": [{"type": "clear_tool_uses_20250919"}]}
BETA = {"anthropic-beta": "context-management-2025-06-27"}
SENTINEL = "skip_thought_signature_validator"


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def anthropic(text: str = "hello", **fields: Any) -> dict[str, Any]:
    return {"model": "sim-1", "max_tokens": 2000, "messages": [user(text)], **fields}


def function(name: str, description: str = "", **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"name": name, "description": description, "parameters": schema}


def chat(messages: list[dict[str, Any]], *tools: dict[str, Any], **fields: Any) -> dict[str, Any]:
    offered = [{"type": "function", "function": tool} for tool in tools]
    more = {"tools": offered} if offered else {}
    return {"model": "sim-1", "messages": messages, **more, **fields}


@pytest.mark.parametrize("model", ["sim-1", SONNET])
def test_c10_context_management_with_its_beta_only(post: Post, model: str) -> None:
    body = anthropic(model=model, context_management=MANAGED)
    taken = post("anthropic", "/v1/messages", body, **BETA)
    assert taken.status == 200, taken.content
    assert taken.json()["context_management"] == {"applied_edits": []}
    refused = post("anthropic", "/v1/messages", body)
    assert refused.status == 400
    assert "context_management" in refused.json()["error"]["message"]


@pytest.mark.parametrize("kind", ["web_search_20250305", "web_search_20260209"])
def test_c10_a_web_search_of_the_vendor_has_a_result(post: Post, kind: str) -> None:
    tool = {"type": kind, "name": "web_search"}
    body = anthropic("Search the web for the capital of Peru", tools=[tool])
    answer = post("anthropic", "/v1/messages", body).json()
    kinds = [block["type"] for block in answer["content"]]
    assert kinds[:2] == ["server_tool_use", "web_search_tool_result"], answer
    assert answer["usage"]["server_tool_use"]["web_search_requests"] == 1
    assert answer["stop_reason"] == "end_turn"
    # The whole answer comes back in the next request.
    turns = [*body["messages"], {"role": "assistant", "content": answer["content"]}, user("more")]
    again = post("anthropic", "/v1/messages", {**body, "messages": turns})
    assert again.status == 200, again.content


@pytest.mark.parametrize("text", ["hello", "안녕"])
def test_c10_texts_have_citations_as_sdks_read_them(post: Post, text: str) -> None:
    content = post("anthropic", "/v1/messages", anthropic(text)).json()["content"]
    assert all(not block["citations"] for block in content if block["type"] == "text")


@pytest.mark.parametrize("name", ["weather", "files"])
def test_c10_responses_takes_tools_in_a_namespace(post: Post, name: str) -> None:
    inner = {"type": "function", **function("get_" + name, f"get the {name}", x={"type": "string"})}
    tool = {"type": "namespace", "name": f"mcp__{name}", "description": name, "tools": [inner]}
    body = {"model": "sim-1", "input": f"get the {name} of x", "tools": [tool]}
    output = post("openai", "/responses", body).json()["output"]
    call = next(item for item in output if item["type"] == "function_call")
    assert (call["name"], call["namespace"]) == ("get_" + name, f"mcp__{name}")
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "fine"}
    turns = [{"role": "user", "content": body["input"]}, *output, result]
    assert post("openai", "/responses", {**body, "input": turns}).status == 200


def test_c10_responses_keeps_what_was_stored(post: Post) -> None:
    tool = {"type": "function", **function("weather", "the weather", city={"type": "string"})}
    first = {"model": "sim-1", "input": "weather in Seoul", "tools": [tool]}
    answer = post("openai", "/responses", first).json()
    call = next(item for item in answer["output"] if item["type"] == "function_call")
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "snow"}
    more = {**first, "input": [result], "previous_response_id": answer["id"]}
    second = post("openai", "/responses", more)
    assert second.status == 200, second.content
    assert second.json()["previous_response_id"] == answer["id"]
    assert "snow" in str(second.json()["output"])
    unstored = post("openai", "/responses", {**first, "store": False}).json()["id"]
    for lost in (unstored, "resp_nobody_has_this"):
        refused = post("openai", "/responses", {**more, "previous_response_id": lost})
        assert refused.status == 400
        assert refused.json()["error"]["code"] == "previous_response_not_found"


@pytest.mark.parametrize("model", ["sim-1-thinking", "gemini-3.8-flash"])
@pytest.mark.parametrize(
    "sentinel", [SENTINEL, base64.b64encode(SENTINEL.encode()).decode()], ids=["raw", "base64"]
)
def test_c10_gemini_takes_the_sentinel(sim: Simulation, model: str, sentinel: str) -> None:
    called = {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": sentinel}
    result = {"functionResponse": {"name": "f", "response": {"x": 1}}}
    body: dict[str, Any] = {
        "contents": [
            {"role": "user", "parts": [{"text": "hi"}]},
            {"role": "model", "parts": [called]},
            {"role": "user", "parts": [result]},
        ],
        "tools": [{"functionDeclarations": [{"name": "f", "description": "f"}]}],
    }
    url = sim.base_url("google").removesuffix("/v1beta") + f"/v1beta/models/{model}:generateContent"

    def ask() -> int:
        return request("POST", url, encoded(body), KEYS["google"]).status

    assert ask() == 200
    called["thoughtSignature"] = base64.b64encode(b"anything else").decode()
    assert ask() == 400


def encoded(body: Any) -> bytes:
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("schema", "fits"),
    [
        ('{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}', dict),
        ('{"type":"array","items":{"type":"string"},"minItems":1}', list),
    ],
    ids=["object", "array"],
)
@pytest.mark.parametrize("tools", [(), (function("weather"),)], ids=["alone", "tools"])
def test_c10_a_schema_in_words_is_obeyed(
    post: Post, schema: str, fits: type, tools: tuple[dict[str, Any], ...]
) -> None:
    words = f"Answer with JSON that fits this JSON Schema, and nothing else:\n{schema}"
    messages = [{"role": "system", "content": words}, user("count 3 apples")]
    answer = post("openai", "/chat/completions", chat(messages, *tools)).json()
    assert isinstance(json.loads(answer["choices"][0]["message"]["content"]), fits)


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ("A joke as JSON with 'setup' and 'punchline' keys.", {"setup", "punchline"}),
        ('농담을 JSON으로, 키는 "제목"과 "내용"', {"제목", "내용"}),
        ("JSON with the fields `a`, `b` and `a`", {"a", "b"}),
    ],
)
def test_c11_keys_that_words_name_are_obeyed(post: Post, words: str, keys: set[str]) -> None:
    body = chat([user(words)])
    for more in ({}, {"response_format": {"type": "json_object"}}):
        answer = post("openai", "/chat/completions", {**body, **more}).json()
        assert json.loads(answer["choices"][0]["message"]["content"]).keys() == keys


@pytest.mark.parametrize("city", ["Seoul", "Paris"])
def test_c10_a_tool_for_code_gets_a_program(post: Post, city: str) -> None:
    stubs = (
        "Run a program. It may call:\n\n"
        'async def get_weather(city: str) -> str:\n    """The weather of a city."""\n\n'
        'async def send_mail(to: str, text: str) -> str:\n    """Send a mail."""\n'
    )
    tool = function("run_code", stubs, code={"type": "string"})
    messages = [user(f"What is the weather in {city}?")]
    choice = post("openai", "/chat/completions", chat(messages, tool)).json()["choices"][0]
    arguments = choice["message"]["tool_calls"][0]["function"]["arguments"]
    assert f"print(await get_weather(city='{city}'))" in arguments


NOTES = [
    "[task t-1 (report) completed]\nThe report on weather in Seoul is there.",
    "<task t-2 report failed>weather in Paris: no such thing",
]


@pytest.mark.parametrize("note", NOTES, ids=["brackets", "tag"])
def test_n4_the_end_of_a_task_is_no_new_request(post: Post, note: str) -> None:
    weather = function("weather", "the weather of a city", city={"type": "string"})
    call = {"id": "c1", "type": "function"}
    call["function"] = {"name": "weather", "arguments": '{"city": "Seoul"}'}  # type: ignore[assignment]
    messages = [
        user("weather in Seoul"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "started"},
        {"role": "assistant", "content": "It runs."},
        user(note),
    ]
    choice = post("openai", "/chat/completions", chat(messages, weather)).json()["choices"][0]
    assert choice["finish_reason"] == "stop", choice


@pytest.mark.parametrize("question", ["Tell me the weather in Seoul", "서울 날씨 알려줘"])
def test_c10_a_tree_is_searched_without_magic_words(post: Post, question: str) -> None:
    query = {"type": "string", "description": "what to look for"}
    search = function("search_tools", "Search for tools in a tree of tools.", query=query)
    choice = post("openai", "/chat/completions", chat([user(question)], search)).json()["choices"]
    assert choice[0]["message"]["tool_calls"][0]["function"]["name"] == "search_tools"


@pytest.mark.parametrize(
    ("vendor", "path"), [("openai", "/models"), ("anthropic", "/v1/models"), ("google", "/models")]
)
def test_m0_the_list_of_models_is_the_vendors(sim: Simulation, vendor: str, path: str) -> None:
    base = sim.base_url(vendor)
    if vendor == "google":
        base = base.removesuffix("/v1beta") + "/v1beta"
    text = request("GET", base + path, None, KEYS[vendor]).content.decode()
    expected = {
        "openai": "gpt-5.4",
        "anthropic": "claude-sonnet-4-6",
        "google": "gemini-3.8-flash",
    }
    assert f'"{expected[vendor]}"' in text.replace("models/", "")
    assert '"sim-1"' in text.replace("models/", "")
