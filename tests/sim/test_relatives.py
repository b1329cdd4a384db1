"""Vendors and hosts of Chat with rules of their own, through OpenAI's SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from polycall.sim import Call, Simulation, Turn
from polycall.sim.vendors.relatives import RELATIVES

USER: Any = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulation]:
    with Simulation() as simulation:
        yield simulation


def client(sim: Simulation, name: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=sim.base_url(name), api_key="any", max_retries=0)


@pytest.mark.parametrize("name", RELATIVES)
@pytest.mark.parametrize("stream", [False, True])
def test_each_answers_with_its_reasoning_and_calls(
    sim: Simulation, name: str, *, stream: bool
) -> None:
    sim.script(name, "m", [Turn(calls=[Call("f", {"a": 1})], reasoning="§")])
    tools: Any = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    with client(sim, name) as sdk:
        asked: Any = {"model": "m", "messages": USER, "tools": tools, "stream": stream}
        answer = sdk.chat.completions.create(**asked)
        text = str(list(answer)) if stream else answer.model_dump_json()
    assert "reasoning" in text
    assert "§" in text
    assert "tool_calls" in text


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("xai", {"model": "grok-4.6", "presence_penalty": 0}, "presencePenalty"),
        ("xai", {"model": "grok-4-0709"}, "does not exist"),
        ("mistral", {"model": "mistral-large-2512", "store": False}, "Extra inputs"),
        ("moonshot", {"model": "kimi-k3", "temperature": 0.2}, "only 1 is allowed"),
        ("zai", {"model": "glm-5.3", "reasoning_effort": "medium"}, "low, high, or max"),
        ("minimax", {"model": "MiniMax-M3", "temperature": 0}, "temperature"),
        ("groq", {"model": "qwen/qwen3.8-27b", "reasoning_effort": "high"}, "`none` or `default`"),
        ("cerebras", {"model": "gpt-oss-120b", "reasoning_effort": "none"}, "'low', 'medium'"),
        (
            "openrouter",
            {"model": "google/gemini-3.8-flash", "extra_body": {"reasoning": {"enabled": False}}},
            "mandatory",
        ),
    ],
)
def test_each_refuses_by_its_own_rules(
    sim: Simulation, name: str, body: dict[str, Any], words: str
) -> None:
    with client(sim, name) as sdk, pytest.raises(openai.APIStatusError, match=words):
        sdk.chat.completions.create(messages=USER, **body)
