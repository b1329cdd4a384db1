"""Tools that come again are looked at and written once, and nobody changes what others have."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from polycall.exchange import prepare
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.dialects import DIALECTS
from polycall.translation.tool_list_cache import KnownList, ToolListCache, once


def _tool(number: int, **more: Any) -> dict[str, Any]:
    return {"name": f"f{number}", "input_schema": {"type": "object"}, **more}


MARK = {"cache_control": {"type": "ephemeral"}}
SAID: dict[str, Any] = {
    "model": "m",
    "max_tokens": 10,
    "system": [{"type": "text", "text": "be brief", **MARK}],
    "messages": [{"role": "user", "content": [{"type": "text", "text": "hi", **MARK}]}],
    "tools": [_tool(number, **MARK) for number in range(6)],
}


def _sent(tools: list[Any], provider: str, more: dict[str, Any] | None = None) -> dict[str, Any]:
    body = {**deepcopy(SAID), "tools": tools, **(more or {})}
    request = DIALECTS["anthropic"].parse_request(body)
    return json.loads(prepare(request, CATALOGUE[provider], "claude-x", "key").http.body)


@pytest.mark.parametrize("provider", ["anthropic", "google", "openai"])
def test_a_list_that_comes_again_is_sent_as_one_that_does_not(provider: str) -> None:
    known = ToolListCache(deepcopy(SAID["tools"]))
    for _ in range(3):
        assert _sent(known, provider) == _sent(deepcopy(SAID["tools"]), provider)
    assert known == SAID["tools"]


def test_marks_beyond_four_are_taken_from_this_request_alone() -> None:
    known = ToolListCache(deepcopy(SAID["tools"]))
    many = {"messages": [{"role": "user", "content": SAID["messages"][0]["content"] * 3}]}
    for more, left in ((None, 2), (many, 1), (None, 2)):
        sent = _sent(known, "anthropic", more)
        assert sum("cache_control" in tool for tool in sent["tools"]) == left
        assert "cache_control" in sent["tools"][-1]


def test_text_that_no_utf8_has_is_written_all_the_same() -> None:
    known = ToolListCache([_tool(1, description="cut \ud83d")])
    for _ in range(2):
        assert _sent(known, "anthropic")["tools"][0]["description"] == "cut \ud83d"


def test_a_known_list_is_asked_once_and_another_each_time() -> None:
    asked: list[int] = []

    def look(items: list[Any]) -> int:
        asked.append(len(items))
        return len(items)

    assert [once(items, look) for items in (KnownList([1, 2]), [1])] == [2, 1]
    known = KnownList([])
    assert [once(known, look), once(known, look)] == [0, 0]
    assert asked == [2, 1, 0]
