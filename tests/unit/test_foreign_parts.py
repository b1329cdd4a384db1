"""One table for foreign parts: item kind x target x direction, and the page that shows it."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest

from polycall._support import jsontext
from polycall.errors import RequestError, UnsupportedError
from polycall.fold import unfold
from polycall.ir import JSON, Media, Message, Opaque, Request, Response, Text, ToolCall, ToolResult
from polycall.providers.dialects import DIALECTS
from polycall.providers.quirks import NAMED_QUIRKS
from polycall.tools import Toolset, execute
from polycall.translation.foreign_parts import ROWS, Row, row_for
from polycall.translation.quirks import Quirks
from polycall.translation.wire import WireRequest

RESPONSES, CHAT, ANTHROPIC, GEMINI = "openai-responses", "openai-chat", "anthropic", "gemini"
ROOT = Path(__file__).parents[2]
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
    "awAAAABJRU5ErkJggg=="
)
# Each target, and how careful it must be asked.
TARGETS: dict[str, tuple[str, Quirks]] = {
    "chat": (CHAT, Quirks()),
    "compatible": (CHAT, NAMED_QUIRKS["compatible"]),
    "deepseek": (CHAT, NAMED_QUIRKS["deepseek"]),
    "vllm": (CHAT, NAMED_QUIRKS["vllm"]),
    "openrouter": (CHAT, NAMED_QUIRKS["openrouter"]),
    "responses": (RESPONSES, Quirks()),
    "anthropic": (ANTHROPIC, Quirks()),
    "gemini": (GEMINI, Quirks()),
}


def sent(client: str, target: str, body: JSON, *, lossy: bool = False) -> WireRequest:
    """What the target is sent of a client's body."""
    if lossy:
        dialect, quirks = TARGETS[target]
        request = DIALECTS[client].parse_request(body)
        request = Request(
            request.model, request.messages, request.tools, lossy=True, metadata=request.metadata
        )
        return DIALECTS[dialect].render_request(request, quirks=quirks)
    dialect, quirks = TARGETS[target]
    return DIALECTS[dialect].render_request(DIALECTS[client].parse_request(body), quirks=quirks)


def shown(wire: WireRequest) -> str:
    """The body as text without escapes of one more JSON text inside of it."""
    return jsontext.encode(wire.body).replace('\\"', '"').replace("\\\\n", "\\n")


# ---------------------------------------------------------------------------------------------
# Pairs of call and result

# Call and result of each tool that a Responses client runs, and what must be read of both.
PAIRS: dict[str, tuple[JSON, JSON, tuple[str, ...]]] = {
    "shell": (
        {"type": "shell_call", "call_id": "c", "action": {"commands": ["ls"]}},
        {
            "type": "shell_call_output",
            "call_id": "c",
            "output": [
                {"stdout": "a.txt", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}
            ],
        },
        ("commands", "ls", "a.txt"),
    ),
    "shell that failed": (
        {"type": "shell_call", "call_id": "c", "action": {"commands": ["make", "test"]}},
        {
            "type": "shell_call_output",
            "call_id": "c",
            "output": [
                {"stdout": "", "stderr": "no rule", "outcome": {"type": "exit", "exit_code": 2}},
                {"stdout": "", "stderr": "", "outcome": {"type": "timeout"}},
            ],
        },
        ("make", "no rule", "exit code 2", "timed out"),
    ),
    "apply_patch": (
        {
            "type": "apply_patch_call",
            "call_id": "c",
            "operation": {"type": "update_file", "path": "a.py", "diff": "-1\n+2"},
        },
        {
            "type": "apply_patch_call_output",
            "call_id": "c",
            "status": "failed",
            "output": "hunk 3 does not apply",
        },
        ("update_file", "a.py", "hunk 3 does not apply"),
    ),
    "local_shell": (
        {
            "type": "local_shell_call",
            "id": "lsh_1",
            "call_id": "c",
            "status": "completed",
            "action": {"type": "exec", "command": ["pwd"], "env": {}},
        },
        {"type": "local_shell_call_output", "call_id": "c", "output": '{"output":"/home"}'},
        ("pwd", "/home"),
    ),
    "computer": (
        {
            "type": "computer_call",
            "call_id": "c",
            "action": {"type": "click", "x": 7, "y": 9, "button": "left"},
            "pending_safety_checks": [],
        },
        {
            "type": "computer_call_output",
            "call_id": "c",
            "output": {
                "type": "computer_screenshot",
                "image_url": f"data:image/png;base64,{PIXEL}",
            },
        },
        ("click", PIXEL),
    ),
    "tool_search": (
        {
            "type": "tool_search_call",
            "call_id": "c",
            "execution": "client",
            "arguments": {"query": "weather"},
        },
        {
            "type": "tool_search_output",
            "call_id": "c",
            "execution": "client",
            "tools": [{"type": "function", "name": "get_weather", "parameters": {}}],
        },
        ("weather", "loaded: get_weather"),
    ),
    "one that nobody knows yet": (
        {"type": "browser_call", "call_id": "c", "action": {"open": "https://e.org"}},
        {"type": "browser_call_output", "call_id": "c", "output": {"page": "BODY"}},
        ("https://e.org", "BODY"),
    ),
}


def conversation(call: JSON, result: JSON) -> JSON:
    user = {"role": "user", "content": "go"}
    return {"model": "m", "input": [user, call, result, {"role": "user", "content": "and?"}]}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", PAIRS)
def test_t1_results_of_tools_that_a_client_runs_reach_every_target(name: str, target: str) -> None:
    call, result, words = PAIRS[name]
    body = conversation(call, result)
    wire = sent(RESPONSES, target, body)
    text = shown(wire)
    if TARGETS[target][0] == RESPONSES:
        assert wire.body["input"] == body["input"], "the same wire: as it came"
        return
    for word in words:
        assert word in text, f"{word!r} is not in {text}"
    assert call["type"] in {warning.feature for warning in wire.warnings}, "and it is said how"


@pytest.mark.parametrize("target", TARGETS)
def test_t1_a_result_is_paired_with_its_call_on_each_wire(target: str) -> None:
    call, result, _ = PAIRS["shell"]
    wire = sent(RESPONSES, target, conversation(call, result))
    body = wire.body
    match TARGETS[target][0]:
        case "openai-chat":
            assistant, tool = body["messages"][1:3]
            assert assistant["tool_calls"][0]["function"]["name"] == "shell"
            assert assistant["tool_calls"][0]["id"] == tool["tool_call_id"]
            assert tool["content"] == "a.txt"
        case "anthropic":
            assert body["messages"][1]["content"][0]["name"] == "shell"
            assert body["messages"][2]["content"][0]["content"] == "a.txt"
        case "gemini":
            response = body["contents"][2]["parts"][0]["functionResponse"]
            assert response["response"] == {"output": "a.txt"}
            assert response["name"] == "shell"
        case _:
            assert body["input"][1:3] == [call, result]


# ---------------------------------------------------------------------------------------------
# Blocks inside results

# The block, and what must be left of it.
BLOCKS: dict[str, tuple[str, JSON, tuple[str, ...]]] = {
    "search_result": (
        ANTHROPIC,
        {
            "type": "search_result",
            "source": "https://e.org/a",
            "title": "T",
            "content": [{"type": "text", "text": "BODY"}],
        },
        ("T", "https://e.org/a", "BODY"),
    ),
    "tool_reference": (
        ANTHROPIC,
        {"type": "tool_reference", "tool_name": "get_weather"},
        ("loaded: get_weather",),
    ),
    "document of text": (
        ANTHROPIC,
        {
            "type": "document",
            "title": "Report",
            "context": "of May",
            "source": {"type": "text", "media_type": "text/plain", "data": "BODY"},
        },
        ("Report", "BODY"),
    ),
    "document of blocks": (
        ANTHROPIC,
        {
            "type": "document",
            "title": "Report",
            "source": {
                "type": "content",
                "content": [
                    {"type": "text", "text": "BODY"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
                    },
                ],
            },
        },
        ("Report", "BODY"),
    ),
    "a block of tomorrow": (
        ANTHROPIC,
        {"type": "map_tile", "place": "Seoul", "zoom": 3},
        ("Seoul",),
    ),
    "resource link": (
        CHAT,
        {"type": "resource_link", "uri": "file:///a.md", "name": "a.md", "description": "notes"},
        ("file:///a.md", "a.md", "notes"),
    ),
    "resource": (
        CHAT,
        {
            "type": "resource",
            "resource": {"uri": "file:///b", "mimeType": "text/x", "text": "BODY"},
        },
        ("file:///b", "BODY"),
    ),
    "content of tomorrow": (
        RESPONSES,
        {"type": "input_table", "title": "Sums", "text": "BODY"},
        ("Sums", "BODY"),
    ),
}


def with_result(client: str, block: JSON) -> JSON:
    """A body of `client` whose last turn is a tool's result that holds `block`."""
    match client:
        case "anthropic":
            call: JSON = {"type": "tool_use", "id": "c", "name": "look", "input": {}}
            result = {"type": "tool_result", "tool_use_id": "c", "content": [block]}
            messages: list[JSON] = [
                {"role": "user", "content": "go"},
                {"role": "assistant", "content": [call]},
                {"role": "user", "content": [result]},
            ]
            return {"model": "m", "max_tokens": 9, "messages": messages}
        case "openai-chat":
            function = {"name": "look", "arguments": "{}"}
            calls = [{"id": "c", "type": "function", "function": function}]
            messages = [
                {"role": "user", "content": "go"},
                {"role": "assistant", "content": None, "tool_calls": calls},
                {"role": "tool", "tool_call_id": "c", "content": [block]},
            ]
            return {"model": "m", "messages": messages}
        case _:
            items = [
                {"role": "user", "content": "go"},
                {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": [block]},
            ]
            return {"model": "m", "input": items}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", BLOCKS)
def test_t2_text_inside_a_results_blocks_keeps_title_source_and_body(
    name: str, target: str
) -> None:
    client, block, words = BLOCKS[name]
    wire = sent(client, target, with_result(client, block))
    if TARGETS[target][0] == client == RESPONSES or (target == client == CHAT):
        assert jsontext.encode(block) in jsontext.encode(wire.body), "the same wire: as it came"
        return
    text = shown(wire)
    for word in words:
        # On its own wire a block stays a block, which names the tool in a field.
        is_carried = TARGETS[target][0] == client and word.removeprefix("loaded: ") in text
        assert word in text or is_carried, (word, text)


def test_t2_a_search_result_reads_as_title_source_and_body() -> None:
    wire = sent(ANTHROPIC, "chat", with_result(ANTHROPIC, BLOCKS["search_result"][1]))
    assert wire.body["messages"][2]["content"] == "T\nsource: https://e.org/a\nBODY"


# ---------------------------------------------------------------------------------------------
# Files that a tool gave

FILES: dict[str, tuple[Media, str]] = {
    "archive": (
        Media("file", "application/zip", "UEsDBA==", filename="a.zip"),
        "[file a.zip, application/zip, 4 bytes: not shown to this model]",
    ),
    "bytes": (
        Media("file", "application/octet-stream", "AAEC"),
        "[file, application/octet-stream, 3 bytes: not shown to this model]",
    ),
    "program": (
        Media("file", "application/wasm", "AGFzbQ==", filename="x.wasm"),
        "[file x.wasm, application/wasm, 4 bytes: not shown to this model]",
    ),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", FILES)
def test_c2_a_tools_file_is_named_in_words_and_never_fails_the_run(name: str, target: str) -> None:
    media, words = FILES[name]
    dialect, quirks = TARGETS[target]
    result = ToolResult("c", [Text("exported"), media])
    request = Request(
        "m",
        [
            Message("user", [Text("go")]),
            Message("assistant", [ToolCall("c", "export")]),
            Message("tool", [result]),
        ],
    )
    wire = DIALECTS[dialect].render_request(request, quirks=quirks)
    text = jsontext.encode(wire.body)
    assert words in text
    assert "exported" in text
    assert media.data not in text
    assert ("unsupported", "tool_result.media") in {(w.kind, w.feature) for w in wire.warnings}


OFFICE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


_CHATS = ("chat", "compatible", "deepseek", "vllm", "responses")
REFUSED_MEDIA = [
    (Media("image", "image/heic", "AAEC"), _CHATS),
    (Media("image", "image/tiff", "AAEC"), _CHATS),
    (Media("file", OFFICE, "AAEC"), ("gemini",)),
]


@pytest.mark.parametrize(
    ("target", "media", "words"),
    [
        (target, media, f"[{media.kind}, {media.media_type}, 3 bytes: not shown")
        for target in TARGETS
        for media, refusing in REFUSED_MEDIA
        if target.startswith(refusing)
    ],
)
def test_c2_types_that_a_vendor_refuses_are_named_in_words(
    target: str, media: Media, words: str
) -> None:
    dialect, quirks = TARGETS[target]
    calls = Message("assistant", [ToolCall("c", "export")])
    results = Message("tool", [ToolResult("c", [media])])
    request = Request("m", [Message("user", [Text("go")]), calls, results])
    text = jsontext.encode(DIALECTS[dialect].render_request(request, quirks=quirks).body)
    assert words in text
    assert "AAEC" not in text


def test_c2_bytes_are_data_of_media_and_other_things_are_refused() -> None:
    for data in (b"PK", bytearray(b"PK"), memoryview(b"PK")):
        assert Media("file", "application/zip", data=data).data == "UEs="  # type: ignore[arg-type]
    for wrong in (5, None, ["UEs="]):
        with pytest.raises(RequestError, match="bytes or base64"):
            Media("file", "application/zip", data=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("media_type", ["application/pdf", "image/png", "text/plain"])
async def test_c2_media_that_are_not_base64_are_an_error_of_the_tool(media_type: str) -> None:
    async def export() -> Any:
        """Export."""
        return [Text("exported"), Media("file", media_type, data="as it is!")]

    result = await execute(ToolCall("c", "export"), Toolset([export]))
    assert result.is_error
    assert f"the result has {media_type} whose data is not base64" in result.text


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("media_type", ["text/plain", "text/csv", "application/json"])
def test_c2_text_files_of_a_tool_reach_the_model_as_text(media_type: str, target: str) -> None:
    data = base64.b64encode(b"one,two").decode()
    dialect, quirks = TARGETS[target]
    result = ToolResult("c", [Media("file", media_type, data, filename="a.txt")])
    calls = Message("assistant", [ToolCall("c", "export")])
    request = Request("m", [Message("user", [Text("go")]), calls, Message("tool", [result])])
    text = jsontext.encode(DIALECTS[dialect].render_request(request, quirks=quirks).body)
    assert "one,two" in text or data in text
    if target in ("compatible", "deepseek"):
        assert "one,two" in text


@pytest.mark.parametrize("target", TARGETS)
def test_c2_sound_and_film_of_a_tool_never_fail_the_run(target: str) -> None:
    dialect, quirks = TARGETS[target]
    parts: list[Any] = [
        Media("video", "video/mp4", "AAAA"),
        Media("audio", "audio/wav", url="https://e.org/a.wav"),
        Media("image", file_id="file-of-another-vendor"),
        Media("image", "image/svg+xml", base64.b64encode(b"<svg/>").decode()),
    ]
    request = Request(
        "m",
        [
            Message("user", [Text("go")]),
            Message("assistant", [ToolCall("c", "export")]),
            Message("tool", [ToolResult("c", parts)]),
        ],
    )
    text = jsontext.encode(DIALECTS[dialect].render_request(request, quirks=quirks).body)
    assert "<svg/>" in text
    assert "not shown to this model" in text or "attached below" in text or "AAAA" in text


# ---------------------------------------------------------------------------------------------
# Every kind: request history, whole answer, stream

PLACES = {
    **dict.fromkeys(("call", "ran", "left out", "media"), "assistant"),
    "result": "tool",
}
RAN: dict[str, JSON] = {
    "mcp_call": {
        "id": "mcp_1",
        "server_label": "shop",
        "name": "buy",
        "arguments": '{"what":"BODY"}',
        "output": "sold",
    },
    "mcp_tool_use": {
        "id": "mcptoolu_1",
        "server_name": "shop",
        "name": "buy",
        "input": {"what": "BODY"},
    },
    "mcp_tool_result": {
        "tool_use_id": "mcptoolu_1",
        "is_error": False,
        "content": [{"type": "text", "text": "BODY"}],
    },
}


def sample(row: Row) -> Opaque:
    data: JSON = {"type": row.kind, "call_id": "c", "text": "BODY", "result": PIXEL}
    if row.kind == "tool_reference":
        data["tool_name"] = "BODY"
    if row.treatment == "ran":
        data = {"type": row.kind, **RAN[row.kind]}
    return Opaque(row.dialect, row.kind, data)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.dialect}:{row.kind}")
def test_t1_every_kind_in_a_history_is_carried_said_or_refused(row: Row, target: str) -> None:
    dialect, quirks = TARGETS[target]
    part = sample(row)
    role: Any = PLACES.get(row.treatment, "user")
    messages = [Message("user", [Text("go")])]
    if role == "tool":
        messages.append(Message("assistant", [ToolCall("c", row.tool)]))
    if row.kind == "mcp_tool_result" and dialect != row.dialect:
        messages.append(Message("assistant", [ToolCall("mcptoolu_1", "shop_buy")]))
    messages += [Message(role, [part]), Message("user", [Text("on")])]
    request = Request("m", messages)
    if row.treatment in ("refused", "changes") and row.dialect != dialect:
        with pytest.raises(UnsupportedError, match=row.kind.rpartition(".")[2]):
            DIALECTS[dialect].render_request(request, quirks=quirks)
        request = Request("m", messages, lossy=True)
    wire = DIALECTS[dialect].render_request(request, quirks=quirks)
    if row.dialect == dialect:
        assert jsontext.encode(part.data)[1:-1] in jsontext.encode(wire.body)
    elif row.treatment not in ("tools", "media"):
        assert wire.warnings, "never in silence"
        is_carried = row.treatment in ("call", "result", "ran", "said")
        assert not is_carried or "BODY" in shown(wire)


@pytest.mark.parametrize("client", DIALECTS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.dialect}:{row.kind}")
def test_t1_every_kind_in_an_answer_gives_the_client_a_whole_answer(row: Row, client: str) -> None:
    response = Response(
        "id", "m", Message("assistant", [Text("before"), sample(row), Text("after")]), "stop"
    )
    dialect = DIALECTS[client]
    whole = jsontext.encode(dialect.render_response(response))
    encoder = dialect.StreamEncoder()
    stream = b"".join([*map(encoder.feed, unfold(response)), encoder.close()]).decode(
        errors="replace"
    )
    for word in ("before", "after"):
        assert word in whole
        assert word in stream
    is_own = row.dialect == client and not row.kind.startswith("content.")
    if is_own and client != CHAT:
        assert "BODY" in whole
        assert "BODY" in stream


# ---------------------------------------------------------------------------------------------
# The page

_BEGIN, _END = "<!-- foreign parts: made by a test -->", "<!-- end of foreign parts -->"


def table() -> str:
    lines = ["| of | kind | other dialects |", "|---|---|---|"]
    for row in ROWS:
        words = {
            "call": f"a call of the tool `{row.tool}`",
            "result": f"the result of the tool `{row.tool}`",
            "ran": "a call and its result, both",
            "said": "text with title, source and body; images follow (`emulated`)",
            "media": "an image that the model made",
            "tools": "tools of the request",
            "left out": "left out (`unsupported`)",
            "changes": "said in words, made by the choice of tools; of a server's tools: refused",
            "refused": "refused, unless losses are allowed",
        }[row.treatment]
        lines.append(f"| {row.dialect} | `{row.kind}` | {words} |")
    unknown = [
        ("inside a tool result", row_for(Opaque("x", "new", {}), "tool_result").treatment),
        ("answers a call (`call_id`)", row_for(Opaque("x", "new", {}), "tool").treatment),
        ("in the model's turn", row_for(Opaque("x", "new", {}), "assistant").treatment),
        ("in a user's or system message", row_for(Opaque("x", "new", {}), "user").treatment),
    ]
    lines += ["", "A kind without a row, by where it stands:", "", "| place | other dialects |"]
    lines += ["|---|---|", *(f"| {place} | {treatment} |" for place, treatment in unknown)]
    return "\n".join(lines)


def test_the_page_on_translation_shows_the_table() -> None:
    """Put the table between the two marks where this fails."""
    page = (ROOT / "docs" / "translation.md").read_text(encoding="utf-8")
    found = re.search(f"{_BEGIN}\n(.*)\n{_END}", page, re.DOTALL)
    assert found is not None
    assert found.group(1) == table()
