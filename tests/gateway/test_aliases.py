"""Aliases by pattern, a default route, and one wording for tools that another vendor runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from polycall.config import parse_config
from polycall.errors import NotFoundError, UnsupportedError
from polycall.gateway.routing.router import TargetRouter
from polycall.ir import Message, ReasoningConfig, Request, Text, Tool
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.dialects import DIALECTS
from tests.gateway.harness import Gateway

CONFIG = """
[providers.a]
dialect = "anthropic"
base_url = "http://a"
api_key = "k"
[providers.b]
dialect = "openai-chat"
base_url = "http://b"
api_key = "k"
[models."claude-*"]
route = ["a/claude-*"]
[models."claude-haiku-*"]
route = ["b/small", "a/claude-haiku-*"]
[models."claude-haiku-4-5"]
route = ["b/exact"]
[models."b/old-*"]
route = ["b/new-*"]
"""
DEFAULT = '[models."*"]\nroute = ["b/default"]\n'


def stops(config: str, name: str) -> list[str]:
    router = TargetRouter(parse_config(config, environment={}))
    return [stop.name for stop in router.route(name)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("claude-sonnet-5-5", ["a/claude-sonnet-5-5"]),
        ("claude-haiku-5-5", ["b/small", "a/claude-haiku-5-5"]),
        ("claude-haiku-4-5", ["b/exact"]),
        ("b/old-7", ["b/new-7"]),
        ("b/other", ["b/other"]),
        ("a/claude-sonnet-5-5", ["a/claude-sonnet-5-5"]),
    ],
)
def test_c9_patterns_are_aliases(name: str, expected: list[str]) -> None:
    assert stops(CONFIG, name) == expected


@pytest.mark.parametrize("name", ["gpt-4o", "anything at all", "unknown/model"])
def test_c9_a_default_route_is_for_every_unknown_name(name: str) -> None:
    with pytest.raises(NotFoundError):
        stops(CONFIG, name)
    assert stops(CONFIG + DEFAULT, name) == ["b/default"]
    assert stops(CONFIG + DEFAULT, "b/own") == ["b/own"]


@pytest.mark.parametrize("name", ["claude-../../x", "claude-" + "x" * 400])
def test_c9_a_pattern_lets_no_bad_name_through(name: str) -> None:
    with pytest.raises(NotFoundError):
        stops(CONFIG, name)


HOSTED: dict[str, dict[str, Any]] = {
    "anthropic": {
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "x"}],
        "tools": [{"type": "web_search_20250305", "name": "web_search"}],
    },
    "openai-responses": {"input": "x", "tools": [{"type": "web_search"}]},
    "gemini": {
        "contents": [{"role": "user", "parts": [{"text": "x"}]}],
        "tools": [{"googleSearch": {}}],
    },
}


@pytest.mark.parametrize("client", HOSTED)
@pytest.mark.parametrize("target", DIALECTS)
def test_c9_hosted_tools_are_refused_in_one_wording(client: str, target: str) -> None:
    if client == target:
        return
    request = DIALECTS[client].parse_request({"model": "m", **HOSTED[client]})
    with pytest.raises(UnsupportedError) as caught:
        DIALECTS[target].render_request(request)
    words = str(caught.value)
    assert "is run by another vendor, and this model's cannot" in words
    assert "the header 'polycall-lossy: true'" in words
    assert "`lossy = true` under [server]" in words


def test_c7_openai_takes_no_effort_beside_functions_over_chat() -> None:
    def sent(model: str, **fields: Any) -> dict[str, Any]:
        request = Request(model, [Message("user", [Text("x")])], **fields)
        quirks = CATALOGUE["openai"].quirks_for(model)
        return DIALECTS["openai-chat"].render_request(request, quirks=quirks).body

    high = ReasoningConfig(effort="high")
    for model in ("gpt-5.4", "gpt-5.6-sol"):
        assert sent(model, tools=[Tool("f")], reasoning=high)["reasoning_effort"] == "none"
        assert sent(model, tools=[Tool("f")])["reasoning_effort"] == "none"
        assert sent(model, reasoning=high)["reasoning_effort"] == "high"
    # Which has no "none": it always thinks.
    assert sent("gpt-6.1-sol", reasoning=high)["reasoning_effort"] == "high"
    for fields in ({}, {"reasoning": high}):
        with pytest.raises(UnsupportedError, match="use the dialect 'openai-responses'"):
            sent("gpt-6.1-sol", tools=[Tool("f")], **fields)
    assert sent("gpt-5", tools=[Tool("f")], reasoning=high)["reasoning_effort"] == "high"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["up-anthropic/sim-1", "up-gemini/sim-1"])
def test_c9_a_translated_answer_names_the_model_that_was_asked_for(
    gateway: Gateway, model: str, *, stream: bool
) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    answer = gateway.post("/v1/chat/completions", body)
    assert answer.status == 200
    assert answer.headers["polycall-model"] == model
    if not stream:
        assert answer.json()["model"] == model
        return
    chunks = [line[6:] for line in answer.content.decode().splitlines() if line[:6] == "data: "]
    named = {json.loads(chunk)["model"] for chunk in chunks if chunk != "[DONE]"}
    assert named == {model}
