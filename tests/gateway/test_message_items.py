"""What a Messages client has that others do not: kind x another vendor's model x way.

Tools that the client runs: the model calls one, the client's SDK reads the block that it waits for,
sends it back with its result, and the model reads both.  All other kinds stand in a history or in
a field: each is carried, told in words, left out with a warning, or refused by name.  (There is no
WebSocket in this protocol.)
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import anthropic
import pytest
from msgspec import Struct

from polycall.sim import Call, Simulation, Turn
from tests.gateway.harness import KEY, Gateway
from tests.gateway.test_item_matrix import PIXEL
from tests.gateway.test_responses_stored import paid, scripted

JSON = dict[str, Any]
TARGETS = ["up-responses", "up-gemini", "up-chat", "up-deepseek", "up-compatible"]
PNG = PIXEL.partition(",")[2]
PICTURE: JSON = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": PNG},
}
BETAS = [
    *("computer-use-2025-11-24", "context-management-2025-06-27", "files-api-2025-04-14"),
    *("compact-2026-01-12", "mid-conversation-tool-changes-2026-07-01", "inline-tools-2026-09-15"),
    *("mcp-client-2025-11-20", "code-execution-2025-08-25", "advanced-tool-use-2025-11-20"),
]


def function(name: str, **more: Any) -> JSON:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    return {"name": name, "description": f"About {name}.", "input_schema": schema, **more}


def text(words: str, **more: Any) -> JSON:
    return {"type": "text", "text": words, **more}


class Tool(Struct, frozen=True):
    """A tool of the client, a call of it, and its result."""

    tools: list[JSON]
    name: str
    arguments: JSON
    content: Any
    member_of: str = ""
    reads: tuple[str, ...] = ("RESULT-7",)
    is_error: bool = False


SCREEN: JSON = {"display_width_px": 800, "display_height_px": 600}
TAB: JSON = {"tab_id": "t1", "title": "TITLE-7", "url": "https://e.org/7", "active": True}
HIT: JSON = {
    "type": "search_result",
    "source": "https://e.org/hit",
    "title": "TITLE-7",
    "content": [text("RESULT-7")],
    "citations": {"enabled": False},
}
PAGE: JSON = {
    "type": "document",
    "title": "TITLE-7",
    "source": {"type": "text", "media_type": "text/plain", "data": "RESULT-7"},
}
DEFERRED = [function("ToolSearch"), function("rain", defer_loading=True)]
TOOLS: dict[str, Tool] = {
    "bash": Tool(
        [{"type": "bash_20250124", "name": "bash"}], "bash", {"command": "ls"}, "RESULT-7"
    ),
    "text_editor": Tool(
        [{"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}],
        "str_replace_based_edit_tool",
        {"command": "view", "path": "/a", "view_range": [1, -1]},
        [text("RESULT-7")],
    ),
    "memory": Tool(
        [{"type": "memory_20250818", "name": "memory"}],
        "memory",
        {"command": "create", "path": "/memories/가", "file_text": "x"},
        "RESULT-7",
        is_error=True,
    ),
    "computer, with a screenshot": Tool(
        [{"type": "computer_20251124", "name": "computer", **SCREEN}],
        "computer",
        {"action": "left_click", "coordinate": [7, 9]},
        [PICTURE, text("RESULT-7")],
        reads=(PNG, "RESULT-7"),
    ),
    "computer toolset": Tool(
        [{"type": "computer_toolset_20260801"}],
        "left_click",
        {"coordinate": [7, 9]},
        [PICTURE],
        member_of="computer",
        reads=(PNG,),
    ),
    "browser toolset": Tool(
        [{"type": "browser_toolset_20260801", "configs": {"zoom": {"enabled": False}}}],
        "left_click",
        {"target": {"type": "ref", "ref": "ref_7"}},
        [text("Clicked."), {"type": "browser_state", "tabs": [TAB]}],
        member_of="browser",
        reads=("Clicked.", "TITLE-7", "https://e.org/7"),
    ),
    "tool_reference and a deferred tool": Tool(
        DEFERRED,
        "ToolSearch",
        {"city": "select:rain"},
        [{"type": "tool_reference", "tool_name": "rain"}],
        reads=("loaded: rain", "About rain."),
    ),
    "search results": Tool(
        [function("find")],
        "find",
        {"city": "Seoul"},
        [HIT],
        reads=("TITLE-7", "https://e.org/hit", "RESULT-7"),
    ),
    "a document": Tool(
        [function("find")], "find", {}, [PAGE, PICTURE], reads=("TITLE-7", "RESULT-7", PNG)
    ),
}


class Kind(Struct, frozen=True):
    """A kind in a history or a field: what the model reads, and what is said of it."""

    body: JSON
    reads: tuple[str, ...] = ()
    misses: tuple[str, ...] = ()
    warns: tuple[str, ...] = ()
    refused: str = ""  # by this name, unless losses are allowed


def said_before(*blocks: JSON, **more: Any) -> JSON:
    messages = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [*blocks]},
        {"role": "user", "content": "ASKED-7"},
    ]
    return {"messages": messages, "tools": [function("find")], **more}


def asked_with(*blocks: JSON, **more: Any) -> JSON:
    return {"messages": [{"role": "user", "content": [text("ASKED-7"), *blocks]}], **more}


def ran(name: str, given: JSON, kind: str, content: Any) -> JSON:
    """What a tool of the vendor's left in a history."""
    used = {"type": "server_tool_use", "id": "srvtoolu_1", "name": name, "input": given}
    result = {"type": kind, "tool_use_id": "srvtoolu_1", "content": content}
    return said_before(used, result, text("ANSWER-7"))


def changed(*changes: JSON, tools: list[JSON] | None = None) -> JSON:
    offered = tools or [function("find"), function("rain")]
    system = {"role": "system", "content": [*changes]}
    return {"messages": [{"role": "user", "content": "ASKED-7"}, system], "tools": offered}


def change(kind: str, **tool: Any) -> JSON:
    return {"type": kind, "tool": tool}


WEB: JSON = {
    "type": "web_search_result",
    "url": "https://e.org/w",
    "title": "T",
    "encrypted_content": "x",
    "page_age": None,
}
CITED: JSON = {
    "type": "char_location",
    "cited_text": "x",
    "document_index": 0,
    "document_title": "D",
    "start_char_index": 0,
    "end_char_index": 1,
}
LEFT = ("server_tool_use",)


def used(call_id: str, result: str) -> list[JSON]:
    call = {"type": "tool_use", "id": call_id, "name": "find", "input": {}}
    content = {"type": "tool_result", "tool_use_id": call_id, "content": result}
    return [{"role": "assistant", "content": [call]}, {"role": "user", "content": [content]}]


OLD = [{"role": "user", "content": "go"}, *used("a", "OLD-7 " * 50), *used("b", "NEW-7")]
CLEARS: JSON = {
    "edits": [
        {
            "type": "clear_tool_uses_20250919",
            "trigger": {"type": "tool_uses", "value": 1},
            "keep": {"type": "tool_uses", "value": 1},
        }
    ]
}
KINDS: dict[str, Kind] = {
    "web search": Kind(
        ran("web_search", {"query": "q"}, "web_search_tool_result", [WEB]),
        reads=("ANSWER-7", "ASKED-7"),
        warns=(*LEFT, "web_search_tool_result"),
    ),
    "web fetch": Kind(
        ran(
            "web_fetch",
            {"url": "https://e.org"},
            "web_fetch_tool_result",
            {"type": "web_fetch_result", "url": "https://e.org", "content": PAGE},
        ),
        reads=("ANSWER-7", "ASKED-7"),
        warns=(*LEFT, "web_fetch_tool_result"),
    ),
    "code execution": Kind(
        ran(
            "code_execution",
            {"code": "1"},
            "code_execution_tool_result",
            {
                "type": "code_execution_result",
                "stdout": "1",
                "stderr": "",
                "return_code": 0,
                "content": [],
            },
        ),
        reads=("ANSWER-7", "ASKED-7"),
        warns=(*LEFT, "code_execution_tool_result"),
    ),
    "advisor": Kind(
        ran("advisor", {}, "advisor_tool_result", {"type": "advisor_result", "text": "x"}),
        reads=("ANSWER-7", "ASKED-7"),
        warns=(*LEFT, "advisor_tool_result"),
    ),
    "the vendor's tool search": Kind(
        {
            **ran(
                "tool_search_tool_regex",
                {"pattern": "r"},
                "tool_search_tool_result",
                {
                    "type": "tool_search_tool_search_result",
                    "tool_references": [{"type": "tool_reference", "tool_name": "rain"}],
                },
            ),
            "tools": [
                {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"},
                function("rain", defer_loading=True),
            ],
        },
        reads=("ANSWER-7", "About rain."),
        warns=(*LEFT, "tool_search", "tool_search_tool_result"),
    ),
    "MCP": Kind(
        said_before(
            {
                "type": "mcp_tool_use",
                "id": "mcptoolu_1",
                "name": "echo",
                "server_name": "shop",
                "input": {"a": "GIVEN-7"},
            },
            {
                "type": "mcp_tool_result",
                "tool_use_id": "mcptoolu_1",
                "is_error": False,
                "content": [text("ECHO-7")],
            },
            text("ANSWER-7"),
        ),
        reads=("GIVEN-7", "ECHO-7", "ANSWER-7"),
        warns=("mcp_tool_use", "mcp_tool_result"),
    ),
    "a fallback": Kind(
        said_before(
            {
                "type": "fallback",
                "from": {"model": "claude-fable-5"},
                "trigger": None,
                "to": {"model": "claude-opus-4-8"},
            },
            text("ANSWER-7"),
        ),
        reads=("ANSWER-7",),
        warns=("fallback",),
    ),
    "a compaction": Kind(
        said_before({"type": "compaction", "content": "SUMMARY-7"}, text("ANSWER-7")),
        reads=("SUMMARY-7", "ANSWER-7", "ASKED-7"),
        misses=('"go"',),
        warns=("compaction",),
    ),
    "a compaction that failed": Kind(
        said_before({"type": "compaction", "content": None}, text("ANSWER-7")),
        reads=("ANSWER-7", "ASKED-7"),
        refused="compaction",
    ),
    "citations": Kind(
        said_before(text("ANSWER-7", citations=[CITED])),
        reads=("ANSWER-7",),
        warns=("citations",),
    ),
    "thinking": Kind(
        said_before(
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "eHg="},
            text("ANSWER-7"),
        ),
        reads=("ANSWER-7", "ASKED-7"),
        misses=("c2ln", "eHg="),
    ),
    "a search result": Kind(
        asked_with(HIT),
        ("ASKED-7", "TITLE-7", "https://e.org/hit", "RESULT-7"),
        warns=("search_result",),
    ),
    "a document": Kind(asked_with(PAGE), ("ASKED-7", "TITLE-7", "RESULT-7")),
    "a document of blocks": Kind(
        asked_with({**PAGE, "source": {"type": "content", "content": [text("RESULT-7")]}}),
        ("ASKED-7", "TITLE-7", "RESULT-7"),
    ),
    "a picture": Kind(asked_with(PICTURE), ("ASKED-7", PNG)),
    "a stored file": Kind(
        asked_with({"type": "document", "source": {"type": "file", "file_id": "file_7"}}),
        ("ASKED-7",),
        refused="file_id",
    ),
    "a file for a container": Kind(
        asked_with({"type": "container_upload", "file_id": "file_7"}),
        ("ASKED-7",),
        refused="container_upload",
    ),
    "a container": Kind(asked_with(container="container_7"), ("ASKED-7",), refused="container"),
    "a tool removed": Kind(
        changed(change("tool_removal", type="tool_reference", name="rain")),
        reads=("ASKED-7", "'rain' is not available"),
        warns=("tool_changes",),
    ),
    "a tool removed and added": Kind(
        changed(
            change("tool_removal", type="tool_reference", name="rain"),
            change("tool_addition", type="tool_reference", name="rain"),
        ),
        reads=("ASKED-7", "About rain.", "'rain' is available"),
        warns=("tool_changes",),
    ),
    "a tool that came later": Kind(
        changed(
            change("tool_addition", type="tool_definition", definition=function("rain")),
            tools=[function("find")],
        ),
        reads=("ASKED-7", "About rain.", "'rain' is available"),
        warns=("tool_changes",),
    ),
    "a server's tools removed": Kind(
        changed(change("tool_removal", type="mcp_toolset_reference", server_name="shop")),
        reads=("ASKED-7",),
        refused="tool_removal",
    ),
    "old results cleared": Kind(
        {"messages": OLD, "tools": [function("find")], "context_management": CLEARS},
        reads=("NEW-7",),
        misses=("OLD-7",),
        warns=("context_management",),
    ),
    "an edit of tomorrow": Kind(
        asked_with(context_management={"edits": [{"type": "clear_all_20990101"}]}),
        ("ASKED-7",),
        warns=("context_management.edits",),
    ),
}
WAYS = [False, True]
# Latin squares of both run in every check.
_QUICK = {(name, TARGETS[n % 5], WAYS[n % 2]) for n, name in enumerate([*TOOLS, *KINDS])}


def cells(kinds: dict[str, Any]) -> list[Any]:
    return [
        pytest.param(*cell, marks=[] if cell in _QUICK else pytest.mark.slow)
        for cell in itertools.product(kinds, TARGETS, WAYS)
    ]


def answered(gateway: Gateway, body: JSON, *, streamed: bool, lossy: bool = False) -> Any:
    """The whole answer, as the SDK reads it, and its warnings."""
    client: Any = anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0)
    headers = {"polycall-lossy": "true"} if lossy else {}
    options = {"max_tokens": 500, "betas": BETAS, "extra_headers": headers, **body}
    with client:
        if not streamed:
            raw = client.beta.messages.with_raw_response.create(**options)
            return raw.parse(), raw.headers.get("polycall-warnings", "")
        with client.beta.messages.stream(**options) as stream:
            message = stream.get_final_message()
            return message, stream.response.headers.get("polycall-warnings", "")


def sent(sim: Simulation) -> str:
    shown = json.dumps(sim.requests[-1].body, ensure_ascii=False)
    return shown.replace("\\\\", "\\").replace('\\"', '"')


@pytest.mark.parametrize(("kind", "upstream", "streamed"), cells(TOOLS))
def test_a_tool_that_the_client_runs(
    *, gateway: Gateway, sim: Simulation, kind: str, upstream: str, streamed: bool
) -> None:
    case = TOOLS[kind]
    between = "." if upstream == "up-responses" else "__"
    name = f"{case.member_of}{between}{case.name}" if case.member_of else case.name
    turns = [Turn("I call it.", calls=[Call(name, case.arguments)]), Turn("read")]
    model = scripted(sim, upstream, f"ran-{[*TOOLS].index(kind)}-{streamed}", turns)
    body: JSON = {"model": model, "tools": case.tools}
    messages: list[JSON] = [{"role": "user", "content": "go"}]
    first, _ = answered(gateway, {**body, "messages": messages}, streamed=streamed)
    blocks = [block.to_dict() for block in first.content]
    assert [block["type"] for block in blocks] == ["text", "tool_use"]
    call = blocks[-1]
    assert (call["name"], call["input"]) == (case.name, case.arguments)
    assert call.get("toolset_name", "") == case.member_of
    assert first.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": case.content}
    if case.is_error:
        result["is_error"] = True
    messages.append({"role": "assistant", "content": blocks})
    messages.append({"role": "user", "content": [result]})
    second, _ = answered(gateway, {**body, "messages": messages}, streamed=streamed)
    assert second.content[-1].text == "read"
    for words in case.reads:
        assert words in sent(sim)
    assert {row["outcome"] for row in paid(gateway, model, 2)} == {"ok"}


@pytest.mark.parametrize(("kind", "upstream", "streamed"), cells(KINDS))
def test_what_stands_in_a_history_or_a_field(
    *, gateway: Gateway, sim: Simulation, kind: str, upstream: str, streamed: bool
) -> None:
    case = KINDS[kind]
    name = f"stands-{[*KINDS].index(kind)}-{streamed}"
    body = {"model": scripted(sim, upstream, name, [Turn("read")]), **case.body}
    if case.refused:
        with pytest.raises(anthropic.BadRequestError, match=case.refused):
            answered(gateway, body, streamed=streamed)
    message, warnings = answered(gateway, body, streamed=streamed, lossy=bool(case.refused))
    assert message.content[-1].text == "read"
    for words in case.reads:
        assert words in sent(sim)
    for words in case.misses:
        assert words not in sent(sim)
    for feature in (*case.warns, *([case.refused] if case.refused else [])):
        assert feature in warnings, warnings
