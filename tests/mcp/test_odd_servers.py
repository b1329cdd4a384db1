"""Servers whose lists are odd: what is legal works, and what is not is left out alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from polycall.mcp import StdioServer, connect
from tests.mcp.support import call, said

SERVER = str(Path(__file__).with_name("odd_server.py"))
LEGAL = ["Tool", "a.b/c-d", "blocks", "tool", "trees", "t" * 128, "도구"]


@pytest.mark.parametrize("words", [[], ["handshake"]])
async def test_what_is_odd_and_legal_works_and_the_rest_is_left_out(
    words: list[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list as the data of a result is legal in the newest revision alone."""
    monkeypatch.setattr("polycall.mcp.pieces._told", set[tuple[str, str]]())
    server = StdioServer("odd", command=[sys.executable, SERVER, *words])
    own = [*LEGAL, *([] if words else ["list"])]
    async with connect(server) as tools:
        assert set(tools.tools) == {f"odd_{name}" for name in own}
        for name in ("Tool", "tool", "a.b/c-d", "도구", "t" * 128):
            assert await said(tools, f"odd_{name}", x="é") == f'{name} {{"x": "\\u00e9"}}'
        trees = await call(tools, "odd_trees", tree={"x": 1, "next": {"x": 3}})
        assert trees.text == '{"tree":{"x":1,"next":{"x":2}}}'
        bad = await call(tools, "odd_trees", tree={"x": 1, "next": {"x": "one"}})
        assert bad.is_error
        if not words:
            assert await said(tools, "odd_list") == '[1,null,"x"]'
        others = tools.servers["odd"].others
        assert [each.name for each in await others.prompts()] == ["p"]
        assert [each.name for each in await others.resources()] == ["urn"]
        assert [each.name for each in await others.templates()] == ["t"]
    for name in ("no_schema", "odd_hints", "'7'", "no tool", "[1]", "five", "'none'"):
        assert caplog.text.count(f"{name}") >= 1
