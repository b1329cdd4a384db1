"""Requests that no honest client sends: each is refused in words, and nothing breaks."""

from __future__ import annotations

from typing import Any

import mcp_types as types
import pytest
from mcp import MCPError

from polycall.gateway.mcp import handlers
from polycall.gateway.mcp.pages import page_of


def nested(depth: int) -> Any:
    node: Any = 1
    for _ in range(depth):
        node = [node]
    return node


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"a": nested(150)}, ""),
        ({"a": nested(500)}, "nested more than 200 deep"),
        ({"a": [{"b": nested(300)}, 1]}, "nested more than 200 deep"),
        ({"a": "\ud83d"}, "half of a character"),
    ],
)
def test_arguments_that_cannot_be_sent_are_refused_in_words(
    arguments: dict[str, Any], words: str
) -> None:
    params = types.CallToolRequestParams(name="x", arguments=arguments)
    text = handlers._arguments_json  # pyright: ignore[reportPrivateUsage]
    if words:
        with pytest.raises(ValueError, match=words):
            text(params)
    else:
        assert text(params).startswith('{"a":[[')


@pytest.mark.parametrize("cursor", ["%%%", "", "\ud800", "_____w==", "nothing of ours"])
def test_a_cursor_that_is_not_ours_is_refused(cursor: str) -> None:
    params = types.PaginatedRequestParams(cursor=cursor)
    with pytest.raises(MCPError, match="the cursor is not ours"):
        page_of(["a", "b"], params, str)


def test_a_cursor_of_ours_leads_on() -> None:
    names = [f"{number:04}" for number in range(600)]
    found: list[str] = []
    params = None
    for _ in range(3):
        page, cursor = page_of(names, params, str)
        found += page
        params = types.PaginatedRequestParams(cursor=cursor)
    assert found == names
    assert cursor is None
