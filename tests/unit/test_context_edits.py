"""Anthropic's context edits, done for another vendor's model."""

from __future__ import annotations

from typing import Any

import pytest

from polycall._support import jsontext
from polycall.ir import JSON
from polycall.providers.dialects import DIALECTS
from polycall.providers.provider import DialectName

OTHERS: list[DialectName] = [name for name in DIALECTS if name != "anthropic"]
TOOL: JSON = {"name": "read", "input_schema": {"type": "object", "properties": {}}}


def body(turns: int, edits: list[Any], size: int = 400) -> JSON:
    messages: list[JSON] = [{"role": "user", "content": "go"}]
    for number in range(turns):
        text = f"R{number}-" * size
        call = {"type": "tool_use", "id": f"t{number}", "name": "read", "input": {"at": number}}
        result = {
            "type": "tool_result",
            "tool_use_id": f"t{number}",
            "content": text,
        }
        thinking = {"type": "thinking", "thinking": f"think{number}", "signature": "s"}
        messages.append({"role": "assistant", "content": [thinking, call]})
        messages.append({"role": "user", "content": [result]})
    return {
        "model": "m",
        "max_tokens": 100,
        "messages": messages,
        "tools": [TOOL],
        "context_management": {"edits": edits},
    }


def sent(target: DialectName, given: JSON) -> tuple[str, list[str]]:
    wire = DIALECTS[target].render_request(DIALECTS["anthropic"].parse_request(given))
    return jsontext.encode(wire.body), [warning.detail for warning in wire.warnings]


@pytest.mark.parametrize("target", OTHERS)
def test_old_results_are_left_out(target: DialectName) -> None:
    edit: JSON = {
        "type": "clear_tool_uses_20250919",
        "trigger": {"type": "input_tokens", "value": 1000},
        "keep": {"type": "tool_uses", "value": 2},
    }
    text, warnings = sent(target, body(6, [edit]))
    assert [f"R{number}-R" in text for number in range(6)] == [False] * 4 + [True] * 2
    assert any("4 tool calls" in warning for warning in warnings)
    assert not any("without a counterpart" in warning for warning in warnings), warnings
    assert text.count("left out to save space") == 4
    assert "context_management" not in text
    # Not before its time, not for too little, and not for tools that are excluded.
    for more in (
        {"trigger": {"type": "input_tokens", "value": 100_000}},
        {"trigger": {"type": "tool_uses", "value": 6}},
        {"clear_at_least": {"type": "input_tokens", "value": 50_000}},
        {"exclude_tools": ["read"]},
    ):
        text, _ = sent(target, body(6, [{**edit, **more}]))
        assert all(f"R{number}-R" in text for number in range(6)), more
    text, _ = sent(target, body(6, [{**edit, "clear_tool_inputs": True}]))
    assert [f'\\"at\\":{number}' in text or f'"at":{number}' in text for number in range(6)] == [
        *[False] * 4,
        *[True] * 2,
    ]


@pytest.mark.parametrize("target", OTHERS)
def test_other_edits_and_garbage_are_said(target: DialectName) -> None:
    _, warnings = sent(target, body(1, [{"type": "compact_20260112"}]))
    assert any("compact_20260112" in warning for warning in warnings)
    odd: list[Any] = [7, {}, {"type": "clear_tool_uses_20250919", "keep": 3, "trigger": None}]
    for edit in odd:
        sent(target, body(2, [edit]))


def test_at_home_the_vendor_edits() -> None:
    given = body(2, [{"type": "clear_thinking_20251015"}])
    anthropic = DIALECTS["anthropic"]
    wire = anthropic.render_request(anthropic.parse_request(given))
    assert wire.body["context_management"] == given["context_management"]


def test_old_thinking_is_left_out() -> None:
    anthropic, chat = DIALECTS["anthropic"], DIALECTS["openai-chat"]
    request = anthropic.parse_request(body(3, [{"type": "clear_thinking_20251015"}]))
    details = [each.detail for each in chat.render_request(request).warnings]
    assert any("2 turns" in detail for detail in details)
