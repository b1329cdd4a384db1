"""What a client says of other vendors' features: refused where wanted, nothing where not."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.dialects import anthropic, gemini, openai_chat, openai_responses
from polycall.errors import UnsupportedError

MESSAGES = [{"role": "user", "content": "hi"}]
CHAT = {"model": "m", "messages": MESSAGES}
CLAUDE = {**CHAT, "max_tokens": 5}
RESPONSES = {"model": "m", "input": "hi"}


@pytest.mark.parametrize(
    ("source", "body", "nothing", "something"),
    [
        (openai_responses, RESPONSES, {"background": False}, {"background": True}),
        (openai_chat, CHAT, {"modalities": ["text"]}, {"modalities": ["text", "audio"]}),
        (anthropic, CLAUDE, {"mcp_servers": []}, {"mcp_servers": [{"type": "url", "url": "x"}]}),
    ],
)
def test_a_default_is_no_wish(
    source: Any, body: dict[str, Any], nothing: dict[str, Any], something: dict[str, Any]
) -> None:
    assert gemini.render_request(source.parse_request({**body, **nothing})).warnings == []
    with pytest.raises(UnsupportedError, match=next(iter(something))):
        gemini.render_request(source.parse_request({**body, **something}))
