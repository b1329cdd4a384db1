"""Scripted models: every kind of turn on every wire, usage, limits."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

from polycall.sim import Call, Failure, Simulation, Turn, base_url, serve
from tests.sim.conftest import KEYS, Answer, Post, request

VENDORS = ("openai", "responses", "anthropic", "google", "deepseek", "compatible")


def ask(post: Post, vendor: str, model: str, text: str = "hi", **fields: Any) -> Answer:
    messages = [{"role": "user", "content": text}]
    match vendor:
        case "responses":
            return post("openai", "/responses", {"model": model, "input": text, **fields})
        case "anthropic":
            body = {"model": model, "max_tokens": 9000, "messages": messages, **fields}
            return post("anthropic", "/v1/messages", body)
        case "google":
            body = {"contents": [{"role": "user", "parts": [{"text": text}]}], **fields}
            return post("google", f"/v1beta/models/{model}:generateContent", body)
        case _:
            body = {"model": model, "messages": messages, **fields}
            return post(vendor, "/chat/completions", body)


def reason_of(vendor: str, body: dict[str, Any]) -> str:
    match vendor:
        case "responses":
            details = body["incomplete_details"] or {}
            return f"{body['status']} {details.get('reason', '')}".strip()
        case "anthropic":
            return body["stop_reason"]
        case "google":
            return body["candidates"][0]["finishReason"]
        case _:
            return body["choices"][0]["finish_reason"]


def script(sim: Simulation, vendor: str, *turns: Turn) -> None:
    sim.script("openai" if vendor == "responses" else vendor, "scripted", turns)


REASONS = {
    "text": Turn("fine"),
    "calls": Turn(calls=[Call("f", {"a": 1})]),
    "length": Turn("cut of", finish="length"),
    "filter": Turn("", finish="content_filter"),
}
WANTED = {
    "openai": ["stop", "tool_calls", "length", "content_filter"],
    "deepseek": ["stop", "tool_calls", "length", "content_filter"],
    "compatible": ["stop", "stop", "length", "stop"],
    "responses": [
        "completed",
        "completed",
        "incomplete max_output_tokens",
        "incomplete content_filter",
    ],
    "anthropic": ["end_turn", "tool_use", "max_tokens", "refusal"],
    "google": ["STOP", "STOP", "MAX_TOKENS", "SAFETY"],
}


@pytest.mark.parametrize("vendor", VENDORS)
def test_reasons(sim: Simulation, post: Post, vendor: str) -> None:
    script(sim, vendor, *REASONS.values())
    found = [reason_of(vendor, ask(post, vendor, "scripted").json()) for _ in REASONS]
    assert found == WANTED[vendor]
    assert sim.remaining("openai" if vendor == "responses" else vendor, "scripted") == 0


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_script_that_has_run_out_says_so(sim: Simulation, post: Post, vendor: str) -> None:
    script(sim, vendor)
    answer = ask(post, vendor, "scripted")
    assert answer.status == 500
    assert "the script of 'scripted' has no turn left" in answer.json()["error"]["message"]


@pytest.mark.parametrize("vendor", VENDORS)
def test_failures(sim: Simulation, post: Post, vendor: str) -> None:
    script(sim, vendor, Turn(error=Failure(429, "slow down", retry_after_s=2)))
    answer = ask(post, vendor, "scripted")
    assert (answer.status, answer.json()["error"]["message"]) == (429, "slow down")


def test_raw_arguments_are_sent_as_they_are(sim: Simulation, post: Post) -> None:
    turn = Turn(calls=[Call("f", raw_arguments='{"a": "b', id="call_own")])
    for vendor in ("openai", "deepseek"):
        script(sim, vendor, turn)
        [call] = ask(post, vendor, "scripted").json()["choices"][0]["message"]["tool_calls"]
        assert (call["id"], call["function"]["arguments"]) == ("call_own", '{"a": "b')
    script(sim, "google", turn)
    [candidate] = ask(post, "google", "scripted").json()["candidates"]
    assert candidate["finishReason"] == "MALFORMED_FUNCTION_CALL"


def test_refusals_have_their_places(sim: Simulation, post: Post) -> None:
    turn = Turn(refusal="I would rather not")
    script(sim, "openai", turn, turn)
    message = ask(post, "openai", "scripted").json()["choices"][0]["message"]
    assert (message["refusal"], message["content"]) == ("I would rather not", None)
    [item] = ask(post, "responses", "scripted").json()["output"]
    assert item["content"] == [{"type": "refusal", "refusal": "I would rather not"}]
    script(sim, "anthropic", turn)
    body = ask(post, "anthropic", "scripted").json()
    assert (body["content"], body["stop_details"]["explanation"]) == ([], "I would rather not")


def totals(vendor: str, usage: dict[str, Any]) -> tuple[int, int, int]:
    """Input with cached, output with reasoning, reasoning: in one arithmetic."""
    match vendor:
        case "responses":
            reasoning = usage["output_tokens_details"]["reasoning_tokens"]
            return usage["input_tokens"], usage["output_tokens"], reasoning
        case "anthropic":
            cached = usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"]
            reasoning = usage["output_tokens_details"]["thinking_tokens"]
            return usage["input_tokens"] + cached, usage["output_tokens"], reasoning
        case "google":
            reasoning = usage.get("thoughtsTokenCount", 0)
            output = usage["candidatesTokenCount"] + reasoning
            assert usage["totalTokenCount"] == usage["promptTokenCount"] + output
            return usage["promptTokenCount"], output, reasoning
        case _:
            details = usage.get("completion_tokens_details") or {}
            reasoning = details.get("reasoning_tokens", 0)
            return usage["prompt_tokens"], usage["completion_tokens"], reasoning


def test_usage_is_the_same_everywhere(sim: Simulation, post: Post) -> None:
    found: dict[str, tuple[int, int, int]] = {}
    for vendor in ("openai", "responses", "anthropic", "google", "deepseek"):
        script(sim, vendor, Turn("an answer of some words", reasoning="sixteen letters!"))
        body = ask(post, vendor, "scripted", "a question").json()
        found[vendor] = totals(vendor, body["usageMetadata" if vendor == "google" else "usage"])
    assert set(found.values()) == {(7, 14, 8)}


CACHED = {
    "openai": lambda usage: usage["prompt_tokens_details"]["cached_tokens"],
    "responses": lambda usage: usage["input_tokens_details"]["cached_tokens"],
    "google": lambda usage: usage.get("cachedContentTokenCount", 0),
    "deepseek": lambda usage: usage["prompt_cache_hit_tokens"],
}


@pytest.mark.parametrize("vendor", CACHED)
def test_a_repeated_prefix_is_cached(post: Post, vendor: str) -> None:
    text = f"{vendor}: " + "a long story " * 500
    name = "usageMetadata" if vendor == "google" else "usage"
    found = [CACHED[vendor](ask(post, vendor, "sim-1", text).json()[name]) for _ in range(2)]
    assert found[0] == 0
    assert found[1] >= 1536
    assert found[1] % 128 == 0


def test_anthropic_caches_what_is_marked(post: Post) -> None:
    text = "a long story " * 500
    mark = {"cache_control": {"type": "ephemeral"}}
    usages = [ask(post, "anthropic", "sim-1", text, **mark).json()["usage"] for _ in range(2)]
    assert usages[0]["cache_creation_input_tokens"] == usages[1]["cache_read_input_tokens"] > 1024
    assert usages[0]["cache_read_input_tokens"] == usages[1]["cache_creation_input_tokens"] == 0
    unmarked = ask(post, "anthropic", "sim-1", text).json()["usage"]
    assert unmarked["cache_read_input_tokens"] == 0


def test_limits_cut_texts_and_arguments(sim: Simulation, post: Post) -> None:
    script(sim, "openai", Turn("word " * 100), Turn(calls=[Call("f", {"text": "x" * 400})]))
    body = ask(post, "openai", "scripted", max_completion_tokens=10).json()
    choice = body["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("length", "word " * 8)
    choice = ask(post, "openai", "scripted", max_completion_tokens=10).json()["choices"][0]
    [call] = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "length"
    assert call["function"]["arguments"] == '{"text":"' + "x" * 30


def test_stop_sequences(sim: Simulation, post: Post) -> None:
    script(sim, "anthropic", Turn("one STOP two"))
    body = ask(post, "anthropic", "scripted", stop_sequences=["STOP"]).json()
    assert (body["stop_reason"], body["stop_sequence"]) == ("stop_sequence", "STOP")
    assert body["content"][0]["text"] == "one "


@pytest.mark.parametrize("vendor", KEYS)
def test_models_are_listed(sim: Simulation, vendor: str) -> None:
    path = {"anthropic": "/v1/models", "google": "/v1beta/models"}.get(vendor, "/models")
    body = request("GET", sim.base_url(vendor) + path, headers=KEYS[vendor]).json()
    names = (
        [item["name"] for item in body["models"]]
        if vendor == "google"
        else [item["id"] for item in body["data"]]
    )
    assert [name.removeprefix("models/") for name in names][:3] == [
        "sim-1",
        "sim-1-mini",
        "sim-1-thinking",
    ]


def test_unknown_vendors_and_paths(sim: Simulation) -> None:
    with pytest.raises(ValueError, match="no simulated vendor 'other'; there are openai, "):
        sim.base_url("other")
    assert request("GET", sim.url + "/other/v1").status == 404
    assert request("GET", sim.base_url("openai") + "/chat/completions").status == 405
    assert request("GET", sim.base_url("openai") + "/files").status == 404
    assert request("POST", sim.base_url("anthropic") + "/v1/files").status == 404


async def test_async_use_and_recording() -> None:
    async with Simulation() as sim:
        sim.script("deepseek", "m", [Turn("hello")])
        url = sim.base_url("deepseek") + "/chat/completions"
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
        answer = request("POST", url, json.dumps(body).encode(), KEYS["deepseek"])
        assert answer.json()["choices"][0]["message"] == {"role": "assistant", "content": "hello"}
        [recorded] = sim.requests
    assert (recorded.vendor, recorded.method, recorded.body) == ("deepseek", "POST", body)
    assert recorded.path == "/deepseek/v1/chat/completions"
    assert recorded.headers["authorization"] == "(redacted)"


async def test_serving_until_cancelled() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    task = asyncio.create_task(serve(port=port))
    url = base_url(f"http://127.0.0.1:{port}", "openai") + "/models"
    for _ in range(100):
        try:
            answer = await asyncio.to_thread(request, "GET", url, headers=KEYS["openai"])
            break
        except ConnectionRefusedError:
            await asyncio.sleep(0.05)
    else:
        pytest.fail("the server did not start")
    assert answer.status == 200
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ConnectionRefusedError):
        request("GET", url)


def test_the_last_requests_are_kept_and_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polycall.sim.app.REQUESTS_MAX", 3)
    with Simulation() as sim:
        for number in range(5):
            request("GET", f"{sim.base_url('openai')}/models/{number}", headers=KEYS["openai"])
        kept = [f"/openai/v1/models/{number}" for number in (2, 3, 4)]
        assert (sim.received, [each.path for each in sim.requests]) == (5, kept)
        assert [each.path for each in sim.since(3)] == kept[1:]
        assert (sim.since(2), sim.since(5)) == (list(sim.requests), [])
        with pytest.raises(LookupError, match="4 requests came since"):
            sim.since(1)


@pytest.mark.parametrize(
    "branches", [[True], [True, {"type": "null"}], [{"type": "integer"}, False]]
)
def test_schemas_that_are_true_or_false(post: Post, branches: list[Any]) -> None:
    schema = {"type": "object", "properties": {"n": {"anyOf": branches}}, "required": ["n"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    answer = ask(post, "openai", "sim-1", response_format=wanted)
    assert answer.status == 200
    assert "n" in json.loads(answer.json()["choices"][0]["message"]["content"])
