"""A request that was read and rendered goes at once: nothing of it waits for the collector.

Circles of objects go only with the garbage collector, which seldom looks at old ones: until then a
process holds the messages of hundreds of requests that are over.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from polycall.exchange import prepare
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.dialects import DIALECTS

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
USE = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "call_1", "content": "fair"}
BODIES: dict[str, dict[str, Any]] = {
    "openai-chat": {
        "model": "m",
        "max_tokens": 100,
        "messages": [
            {"role": "user", "content": "how is the weather?"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "fair"},
            {"role": "tool", "tool_call_id": "nobody's", "content": "lost"},
        ],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}],
    },
    "anthropic": {
        "model": "m",
        "max_tokens": 100,
        "messages": [
            {"role": "user", "content": "how is the weather?"},
            {"role": "assistant", "content": [USE]},
            {"role": "user", "content": [RESULT]},
        ],
        "tools": [{"name": "weather", "input_schema": SCHEMA}],
    },
    "openai-responses": {
        "model": "m",
        "input": [
            {"role": "user", "content": "how is the weather?"},
            {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "fair"},
        ],
        "tools": [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}],
    },
    "gemini": {
        "contents": [
            {"role": "user", "parts": [{"text": "how is the weather?"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {}}}]},
        ],
        "tools": [{"functionDeclarations": [{"name": "weather", "parameters": SCHEMA}]}],
    },
}
TARGETS = {
    "anthropic": "claude-sonnet-4-5",
    "google": "gemini-2.5-flash",
    "openai": "gpt-5.2",
    "groq": "m",
}


def circles_of(work: Callable[[], object]) -> int:
    """How many objects wait for the garbage collector after this, once nothing is made anew."""
    work()
    gc.collect()
    gc.disable()
    try:
        work()
        return gc.collect()
    finally:
        gc.enable()


@pytest.mark.parametrize("dialect", BODIES)
def test_a_request_that_was_read_leaves_no_circle(dialect: str) -> None:
    body = BODIES[dialect]
    assert circles_of(lambda: DIALECTS[dialect].parse_request(body, path="")) == 0


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dialect", BODIES)
def test_a_request_that_was_rendered_leaves_no_circle(dialect: str, target: str) -> None:
    request = DIALECTS[dialect].parse_request(BODIES[dialect], path="")
    model = TARGETS[target]
    assert circles_of(lambda: prepare(request, CATALOGUE[target], model, "sk-x")) == 0
