"""Ways to offer tools that one vendor has: searches among them, sets, changes on the way."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from msgspec.structs import replace

from polycall._support import jsontext
from polycall.dialects.anthropic.toolsets import TOOLSETS
from polycall.errors import UnsupportedError
from polycall.ir import JSON
from polycall.providers.dialects import DIALECTS
from polycall.translation.conversation import Conversation
from polycall.translation.foreign_parts import adapt_request
from polycall.translation.quirks import Quirks
from polycall.translation.wire import Losses, WireRequest

OTHERS = ["openai-chat", "openai-responses", "gemini"]


def tool(name: str, **more: Any) -> JSON:
    return {"name": name, "input_schema": {"type": "object", "properties": {}}, **more}


def sent(dialect: str, body: JSON, **quirks: Any) -> WireRequest:
    request = DIALECTS["anthropic"].parse_request({"model": "m", "max_tokens": 9, **body})
    return DIALECTS[dialect].render_request(request, quirks=Quirks(**quirks))


def changed(*changes: JSON, **more: Any) -> JSON:
    system = {"role": "system", "content": [*changes]}
    user = {"role": "user", "content": "go"}
    tools = [tool("a"), tool("b"), tool("c")]
    return {"messages": [user, system], "tools": tools, **more}


def change(kind: str, name: str) -> JSON:
    return {"type": kind, "tool": {"type": "tool_reference", "name": name}}


def choice(wire: WireRequest) -> Any:
    return wire.body.get("tool_choice")


def test_what_was_removed_is_not_chosen() -> None:
    wire = sent("openai-responses", changed(change("tool_removal", "b")))
    assert [each["name"] for each in wire.body["tools"]] == ["a", "b", "c"], "caches hit"
    assert [each["name"] for each in choice(wire)["tools"]] == ["a", "c"]
    assert choice(wire)["mode"] == "auto"
    chat = sent(
        "openai-chat", changed(change("tool_removal", "b")), tool_choices=frozenset({"auto"})
    )
    assert [each["function"]["name"] for each in chat.body["tools"]] == ["a", "c"]


def test_the_last_change_of_a_tool_counts() -> None:
    back = [change("tool_removal", "b"), change("tool_addition", "b"), change("tool_removal", "x")]
    assert choice(sent("openai-responses", changed(*back))) is None
    gone = changed(*(change("tool_removal", name) for name in "abc"))
    assert choice(sent("openai-responses", gone)) == "none"
    forced = changed(change("tool_removal", "b"), tool_choice={"type": "any"})
    assert choice(sent("openai-responses", forced))["mode"] == "required"


def test_changes_that_one_target_takes_are_there_for_the_next() -> None:
    body = {"model": "m", "max_tokens": 9, **changed(change("tool_removal", "b"))}
    request = DIALECTS["anthropic"].parse_request(body)
    request = replace(request, messages=Conversation(request.messages, {}))
    for dialect, features in (("anthropic", []), ("gemini", ["tool_changes"])):
        losses = Losses(lossy=False)
        adapt_request(request, dialect, losses)
        assert [each.feature for each in losses.warnings] == features


def test_a_forced_call_of_a_removed_tool_is_refused() -> None:
    body = changed(change("tool_removal", "b"), tool_choice={"type": "tool", "name": "b"})
    with pytest.raises(UnsupportedError, match="removed before"):
        sent("openai-responses", body)


def test_changes_before_a_compaction_come_with_its_block() -> None:
    block = {
        "type": "compaction", "content": "S", "tool_changes": [change("tool_removal", "c")]
    }  # fmt: skip
    body = changed(change("tool_removal", "a"))
    body["messages"][:0] = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [block]},
    ]
    wire = sent("openai-responses", body)
    assert [each["name"] for each in choice(wire)["tools"]] == ["b"]


@pytest.mark.parametrize("dialect", OTHERS)
def test_a_definition_in_a_message_is_a_tool_elsewhere_and_itself_on_its_wire(dialect: str) -> None:
    late = {
        "type": "tool_addition",
        "tool": {"type": "tool_definition", "definition": tool("late")},
    }
    assert '"name":"late"' in jsontext.encode(sent(dialect, changed(late)).body["tools"])
    own = sent("anthropic", changed(late))
    assert own.body["messages"][1]["content"] == [late]
    assert [each["name"] for each in own.body["tools"]] == ["a", "b", "c"]
    older = sent("anthropic", changed(late), late_system=False)
    assert [each["name"] for each in older.body["tools"]] == ["a", "b", "c", "late"]


@pytest.mark.parametrize("dialect", OTHERS)
def test_a_set_is_its_members_that_are_on(dialect: str) -> None:
    configs = {"javascript_exec": {"enabled": True}, "zoom": {"enabled": False}}
    entry = {"type": "browser_toolset_20260801", "configs": configs}
    body: JSON = {"messages": [{"role": "user", "content": "go"}], "tools": [entry, tool("a")]}
    text = jsontext.encode(sent(dialect, body).body["tools"])
    for name, is_on in (("navigate", 1), ("javascript_exec", 1), ("zoom", 0), ("file_upload", 0)):
        assert bool(is_on) is (name in text), name
    assert sent("anthropic", body).body["tools"][0] == entry


def test_the_members_and_their_fields_are_those_of_the_sdk() -> None:
    import anthropic._data.browser_toolset_members as known
    import anthropic.types.beta as types

    browser = TOOLSETS["browser"]
    assert browser.members.keys() == known.BROWSER_TOOLSET_MEMBERS.keys()
    off = {n for n, each in known.BROWSER_TOOLSET_MEMBERS.items() if not each["enabled_by_default"]}
    assert browser.off == off
    for set_name, toolset in TOOLSETS.items():
        union: Any = getattr(types, f"Beta{set_name.title()}MemberInput")
        inputs = {each.__name__: each for each in typing.get_args(union)}
        for name, (_, schema) in toolset.members.items():
            kind = inputs[f"Beta_{set_name}_{name}_input".title().replace("_", "")]
            fields = {each.alias or key: each for key, each in kind.model_fields.items()}
            assert schema["properties"].keys() == fields.keys(), name
            required = {key for key, each in fields.items() if each.is_required()}
            assert {*schema["required"]} == required, name


@pytest.mark.parametrize("dialect", [*OTHERS, "anthropic"])
def test_a_vendors_search_among_tools_is_not_needed_elsewhere(dialect: str) -> None:
    search = {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}
    tools = [search, tool("late", defer_loading=True)]
    body: JSON = {"messages": [{"role": "user", "content": "go"}], "tools": tools}
    wire = sent(dialect, body)
    assert ("tool_search_tool" in jsontext.encode(wire.body)) is (dialect == "anthropic")
    assert "late" in jsontext.encode(wire.body)
    said = {(each.kind, each.feature) for each in wire.warnings}
    assert (("emulated", "tool_search") in said) is (dialect != "anthropic")
    hosted = {"type": "tool_search", "execution": "server"}
    given = {"model": "m", "input": "go", "tools": [hosted]}
    request = DIALECTS["openai-responses"].parse_request(given)
    text = jsontext.encode(DIALECTS[dialect].render_request(request).body)
    assert ("tool_search" in text) is (dialect == "openai-responses")
