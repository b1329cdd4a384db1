"""Tokens that come late, and what a total is (PAIN H03, H18)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from polycall.providers.dialects import DIALECTS


def chunk(**fields: Any) -> bytes:
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", **fields}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def test_h03_the_end_waits_for_usage_that_comes_after_it() -> None:
    decoder = DIALECTS["openai-chat"].StreamDecoder()
    encoder = DIALECTS["anthropic"].StreamEncoder()
    delta = {"index": 0, "delta": {"role": "assistant", "content": "hi"}, "finish_reason": None}
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    before = chunk(choices=[delta]) + chunk(choices=[end])
    said = b"".join(encoder.feed(event) for event in decoder.feed(before))
    assert b"message_delta" not in said
    usage = {"prompt_tokens": 70, "completion_tokens": 3, "total_tokens": 73}
    usage["prompt_tokens_details"] = {"cached_tokens": 50}  # type: ignore[assignment]
    after = chunk(choices=[], usage=usage) + b"data: [DONE]\n\n"
    said = b"".join(encoder.feed(event) for event in [*decoder.feed(after), *decoder.close()])
    lines = [line for line in said.splitlines() if line.startswith(b"data: ")]
    last = next(json.loads(line[6:]) for line in lines if b"message_delta" in line)
    assert last["usage"] == {
        "input_tokens": 20,
        "cache_read_input_tokens": 50,
        "cache_creation_input_tokens": 0,
        "output_tokens": 3,
    }


# 100 tokens read (60 from a cache, 10 into one), 40 written (30 of them thought).
USAGES: dict[str, Any] = {
    "openai-chat": {
        "prompt_tokens": 100,
        "completion_tokens": 40,
        "total_tokens": 140,
        "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
        "completion_tokens_details": {"reasoning_tokens": 30},
    },
    "openai-responses": {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
        "output_tokens": 40,
        "output_tokens_details": {"reasoning_tokens": 30},
        "total_tokens": 140,
    },
    "anthropic": {
        "input_tokens": 30,
        "cache_read_input_tokens": 60,
        "cache_creation_input_tokens": 10,
        "output_tokens": 40,
        "output_tokens_details": {"thinking_tokens": 30},
    },
    "gemini": {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 60,
        "candidatesTokenCount": 10,
        "thoughtsTokenCount": 30,
        "totalTokenCount": 140,
    },
}


def body_of(name: str) -> dict[str, Any]:
    usage = USAGES[name]
    match name:
        case "openai-chat":
            message = {"role": "assistant", "content": "hi"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return {"id": "c", "created": 1, "model": "m", "choices": [choice], "usage": usage}
        case "openai-responses":
            return {"id": "r", "model": "m", "status": "completed", "output": [], "usage": usage}
        case "anthropic":
            return {
                "id": "m",
                "type": "message",
                "role": "assistant",
                "model": "m",
                "content": [],
                "stop_reason": "end_turn",
                "usage": usage,
            }
        case _:
            content = {"role": "model", "parts": [{"text": "hi"}]}
            candidate = {"content": content, "finishReason": "STOP"}
            return {"candidates": [candidate], "usageMetadata": usage}


@pytest.mark.parametrize("name", USAGES)
def test_h18_a_total_is_input_and_output_with_all_their_parts(name: str) -> None:
    usage = DIALECTS[name].parse_response(body_of(name)).usage  # type: ignore[index]
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (100, 40, 140)
    assert (usage.cached_tokens, usage.reasoning_tokens) == (60, 30)
