"""M1: tools that are withdrawn and added by messages, and never by another list of tools."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from msgspec.structs import replace

from polycall.dialects.anthropic import parse_request, render_request
from polycall.dialects.anthropic.binding import BOUND, CHANGED
from polycall.ir import Message, Reasoning, Request, Text, Tool, ToolCall, ToolChoice, ToolResult
from polycall.translation.opened import with_opened
from polycall.translation.quirks import Quirks

QUIRKS = Quirks(late_system="after_user", prefix_bound=True)
TOOLS = [Tool(name, f"{name} it.", {"type": "object", "properties": {}}) for name in "abc"]
USER = Message("user", [Text("go")])


def request(*names: str, messages: list[Message] | None = None) -> Request:
    choice = ToolChoice("auto", list(names)) if names else None
    return Request("m", messages or [USER], tools=TOOLS, tool_choice=choice)


def said(body: dict[str, Any]) -> list[list[str]]:
    """What each system message removes (-) and adds (+), in order."""
    signs = {"tool_removal": "-", "tool_addition": "+"}
    return [
        [signs[block["type"]] + block["tool"]["name"] for block in message["content"]]
        for message in body["messages"]
        if message["role"] == "system"
    ]


def answered(before: Request, *, thinks: bool = True) -> list[Message]:
    """The messages after an answer to a request that was rendered like this."""
    noted = render_request(before, quirks=QUIRKS).bound["anthropic"]
    own = {"signature": f"s{len(before.messages)}", **noted}
    thinking = [Reasoning("hm", {"anthropic": own})] if thinks else []
    call = ToolCall(f"c{len(before.messages)}", "a", "{}")
    result = Message("tool", [ToolResult(call.id, [Text("1")])])
    return [*before.messages, Message("assistant", [*thinking, call]), result]


def test_m1_a_choice_of_some_tools_withdraws_the_others_and_the_list_stays() -> None:
    wire = render_request(request("a"), quirks=QUIRKS)
    assert [tool["name"] for tool in wire.body["tools"]] == ["a", "b", "c"]
    assert said(wire.body) == [["-b", "-c"]]
    assert "mid-conversation-tool-changes-2026-07-01" in wire.headers["anthropic-beta"]
    assert wire.bound["anthropic"][CHANGED] == {"removed": ["b", "c"]}
    assert [each.feature for each in wire.warnings] == ["tool_choice.allowed_tools"]


def test_m1_later_requests_begin_as_the_earlier_ones_whatever_is_chosen() -> None:
    asked = request("a")
    bodies = [render_request(asked, quirks=QUIRKS).body]
    for names in (("a", "b"), (), ("c",), ("c",)):
        asked = request(*names, messages=answered(asked))
        wire = render_request(asked, quirks=QUIRKS)
        # Nothing was left out: all that came before is what it was.
        assert not any(each.kind == "dropped_state" for each in wire.warnings)
        bodies.append(wire.body)
    assert said(bodies[-1]) == [["-b", "-c"], ["+b"], ["+c"], ["-a", "-b"]]
    for before, after in itertools.pairwise(bodies):
        assert after["tools"] == before["tools"]
        assert after["messages"][: len(before["messages"])] == before["messages"]


def test_m1_thinking_notes_are_never_sent() -> None:
    body = render_request(request(messages=answered(request("a"))), quirks=QUIRKS).body
    thinking = body["messages"][2]["content"][0]
    assert thinking == {"type": "thinking", "thinking": "hm", "signature": "s1"}
    assert BOUND not in str(body)


def test_m1_a_turn_without_thinking_has_nothing_to_keep() -> None:
    messages = answered(request("a"), thinks=False)
    assert said(render_request(request(messages=messages), quirks=QUIRKS).body) == []


def test_m1_tools_that_come_with_a_users_words_are_added_there() -> None:
    opened = {"polycall": {"opened": ["c"]}}
    messages = [*answered(request()), Message("user", [Text("more")], metadata=opened)]
    wire = render_request(request(messages=messages), quirks=QUIRKS)
    assert said(wire.body) == [["+c"]]
    assert [tool.get("defer_loading", False) for tool in wire.body["tools"]] == [False, False, True]


def test_m1_tools_that_come_with_a_failed_call_are_added_after_it() -> None:
    """A result that is an error refers to nothing."""
    messages = answered(request())
    failed = Message("tool", [ToolResult("c1", [Text("no such tool")], is_error=True)])
    messages = [*messages[:-1], with_opened(failed, ["c"])]
    wire = render_request(request(messages=messages), quirks=QUIRKS)
    assert said(wire.body) == [["+c"]]
    assert wire.body["messages"][-2]["content"][0]["is_error"] is True


@pytest.mark.parametrize(
    ("quirks", "messages"),
    [
        (replace(QUIRKS, late_system="start", prefix_bound=False), [USER]),  # takes none later
        (QUIRKS, [USER, Message("assistant", [Text("So")])]),  # a turn that goes on
    ],
)
def test_m1_where_nothing_can_be_said_later_only_those_tools_are_sent(
    quirks: Quirks, messages: list[Message]
) -> None:
    wire = render_request(request("a", messages=messages), quirks=quirks)
    assert [tool["name"] for tool in wire.body["tools"]] == ["a"]
    assert "caches miss" in wire.warnings[0].detail


def test_m1_a_tool_that_the_client_took_away_is_not_named_again() -> None:
    messages = answered(request("a"))
    fewer = replace(request(messages=messages), tools=TOOLS[:2])
    assert said(render_request(fewer, quirks=QUIRKS).body) == [["-b"], ["+b"]]


def test_m1_a_client_of_this_wire_says_itself_what_it_wants() -> None:
    body: dict[str, Any] = {
        "model": "m",
        "max_tokens": 9,
        "messages": [
            {"role": "user", "content": "go"},
            {
                "role": "system",
                "content": [
                    {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "a"}}
                ],
            },
        ],
        "tools": [{"name": "a", "input_schema": {"type": "object"}}],
    }
    assert render_request(parse_request(body), quirks=QUIRKS).body["messages"] == body["messages"]
