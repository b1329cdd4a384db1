"""Counts of tokens as servers write them, and as they are written for clients."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.dialects import anthropic, openai_chat, openai_responses
from polycall.dialects.anthropic.usage import render_usage
from polycall.dialects.openai_chat.usage import parse_usage
from polycall.ir import Message, Request, Text, Usage
from tests.dialects.openai_chat import chunks


@pytest.mark.parametrize(
    ("written", "counted"),
    [(7, 7), (7.0, 7), (0, 0), (-5, 0), (True, 0), ("7", 0), (None, 0), (float("nan"), 0), ([], 0)],
)
def test_what_is_not_a_count_counts_as_none(written: Any, counted: int) -> None:
    usage = parse_usage({"prompt_tokens": written, "completion_tokens": 3})
    assert (usage.input_tokens, usage.output_tokens) == (counted, 3)
    assert parse_usage({"prompt_tokens": 3, "completion_tokens": written}).output_tokens == counted


@pytest.mark.parametrize(
    ("written", "reasoning", "output"),
    [
        ({"completion_tokens_details": {"reasoning_tokens": 4}, "reasoning_tokens": 9}, 4, 5),
        ({"reasoning_tokens": 4}, 4, 5),
        ({"reasoning_tokens": 4, "completion_tokens_details": None}, 4, 5),
        ({"reasoning_tokens": 4, "total_tokens": 12}, 4, 9),  # alongside, says the total
        ({"reasoning_tokens": 4, "total_tokens": 11}, 4, 5),
    ],
)
def test_reasoning_is_counted_wherever_it_is_written(
    written: dict[str, Any], reasoning: int, output: int
) -> None:
    usage = parse_usage({"prompt_tokens": 3, "completion_tokens": 5, **written})
    assert (usage.reasoning_tokens, usage.output_tokens) == (reasoning, output)


def test_anthropic_has_both_counts_also_where_they_are_zero() -> None:
    own = Usage(metadata={anthropic.NAME: {"service_tier": "standard"}})
    assert render_usage(own) == {"service_tier": "standard", "input_tokens": 0, "output_tokens": 0}
    assert render_usage(Usage())["input_tokens"] == render_usage(Usage())["output_tokens"] == 0


def test_anthropic_has_counts_that_its_own_object_lacked() -> None:
    """Counts that were added later, as those of earlier rounds, are not lost for what was read."""
    own = {anthropic.NAME: {"service_tier": "standard", "input_tokens": 2}}
    usage = Usage(10, 4, cached_tokens=5, cache_write_tokens=1, metadata=own)
    assert render_usage(usage) == {
        "service_tier": "standard",
        "input_tokens": 4,
        "output_tokens": 4,
        "cache_read_input_tokens": 5,
        "cache_creation_input_tokens": 1,
    }


def test_fields_of_a_streamed_call_that_nobody_knows_are_kept() -> None:
    call = {
        "index": 0,
        "id": "c1",
        "type": "function",
        "function": {"name": "f", "arguments": "{}", "strictness": "high"},
        "origin": "server",
    }
    body = {"id": "1", "model": "m", "object": "chat.completion", "created": 1}
    whole_call = {key: value for key, value in call.items() if key != "index"}
    message = {"role": "assistant", "content": None, "tool_calls": [whole_call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    whole = openai_chat.parse_response({**body, "choices": [choice]})
    streamed = chunks.answer(
        chunks.chunk({"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls")
    )
    (part,) = streamed.message.tool_calls
    assert part.metadata == whole.message.tool_calls[0].metadata
    assert part.metadata[openai_chat.NAME] == {
        "function": {"strictness": "high"},
        "origin": "server",
    }


@pytest.mark.parametrize(("asked", "sent"), [(1, 16), (15, 16), (16, 16), (4000, 4000)])
def test_fewer_tokens_than_a_vendor_takes_are_raised_to_its_least(asked: int, sent: int) -> None:
    request = Request("m", [Message("user", [Text("hi")])], max_output_tokens=asked)
    wire = openai_responses.render_request(request)
    assert wire.body["max_output_tokens"] == sent
    assert [w.feature for w in wire.warnings] == (["max_output_tokens"] if sent != asked else [])
    # What a client of the vendor's own asks is the vendor's to judge.
    own = openai_responses.parse_request({"model": "m", "input": "hi", "max_output_tokens": asked})
    assert openai_responses.render_request(own).body["max_output_tokens"] == asked
