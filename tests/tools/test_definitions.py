"""Tool definitions on the wire: the reported failures that concern all dialects."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from polycall import ir
from polycall.ir import Message, Text, ToolCall
from polycall.providers.dialects import DIALECTS
from polycall.tools import Toolset, tool, tool_from_schema
from polycall.translation.quirks import Quirks
from polycall.translation.restore import RequestUndo

PARAMETERS = {
    "type": "object",
    "properties": {"q": {"type": "string"}},
    "required": ["q"],
    "additionalProperties": False,
}


def request(tools: list[ir.Tool], **rest: Any) -> ir.Request:
    return ir.Request(
        "m", [Message("user", [Text("go")])], tools=tools, max_output_tokens=99, **rest
    )


def definitions(name: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    match name:
        case "openai-chat" | "ollama-chat":
            return [each["function"] for each in body["tools"]]
        case "bedrock-converse":
            return [each["toolSpec"] for each in body["toolConfig"]["tools"]]
        case "gemini":
            return body["tools"][0]["functionDeclarations"]
        case _:
            return body["tools"]


@pytest.mark.parametrize("name", list(DIALECTS))
def test_A13_strict_goes_where_the_target_does_not_know_it(name: Any) -> None:
    definition = ir.Tool("f", parameters=PARAMETERS, strict=True)
    wire = DIALECTS[name].render_request(request([definition]), quirks=Quirks(strict_tools=False))
    rendered = definitions(name, wire.body)[0]
    assert not rendered.get("strict")
    assert [warning.feature for warning in wire.warnings] == ["strict"]
    assert wire.adapted == {}


NAMES = [
    "a" * 70 + "_one",
    "a" * 70 + "_two",
    "files.read",
    "files/read",
    "files read",
    "파일_읽기",
    "1st",
    "plain_name",
]


@pytest.mark.parametrize("name", list(DIALECTS))
def test_A18_any_name_travels_under_an_alias_of_its_own(name: Any) -> None:
    dialect = DIALECTS[name]
    tools = [ir.Tool(each, parameters=PARAMETERS) for each in NAMES]
    asked = request(tools)
    wire = dialect.render_request(asked)
    on_wire = [each["name"] for each in definitions(name, wire.body)]
    assert len(set(on_wire)) == len(NAMES)
    assert all(len(each) <= 64 or name in ("gemini", "ollama-chat") for each in on_wire)
    assert on_wire[-1] == "plain_name"
    for own, alias in zip(NAMES, on_wire, strict=True):
        call = ToolCall("call_1", alias, '{"q": "x"}')
        answer = ir.Response("r", "m", Message("assistant", [call]), "tool_calls")
        received = dialect.parse_response(dialect.render_response(answer, asked))
        assert RequestUndo(asked, wire).response(received).tool_calls[0].name == own
    # The same in the next request, where the name stands in the history too.
    history = [*asked.messages, Message("assistant", [ToolCall("call_1", NAMES[0], "{}")])]
    again = dialect.render_request(replace(asked, messages=history))
    assert [each["name"] for each in definitions(name, again.body)] == on_wire
    assert on_wire[0] in str(again.body.get("messages", again.body))


@pytest.mark.parametrize("name", list(DIALECTS))
def test_A20_what_the_target_cannot_take_is_warned_of(name: Any) -> None:
    made = ir.Tool(
        "f",
        "Look.",
        parameters=PARAMETERS,
        examples=[{"q": "x"}],
        defer_loading=True,
        output_schema={"type": "string"},
    )
    wire = DIALECTS[name].render_request(request([made], lossy=True))
    rendered = definitions(name, wire.body)[0]
    warned = " ".join(warning.feature for warning in wire.warnings)
    for feature, slots in {
        "examples": ("input_examples", "examples"),
        "defer_loading": ("defer_loading",),
        "output_schema": ("output_schema", "responseJsonSchema"),
    }.items():
        carried = any(slot in rendered for slot in slots)
        assert carried != (feature in warned), feature
    if "input_examples" not in rendered:
        assert '{"q":"x"}' in rendered["description"]


def test_A22_no_more_cache_marks_than_the_vendor_takes() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    tools = [
        ir.Tool(f"t{number}", parameters=PARAMETERS, metadata={"anthropic": mark})
        for number in range(6)
    ]
    wire = DIALECTS["anthropic"].render_request(request(tools))
    marked = [each["name"] for each in wire.body["tools"] if "cache_control" in each]
    assert marked == ["t2", "t3", "t4", "t5"]
    assert [warning.feature for warning in wire.warnings] == ["cache_control"]


@pytest.mark.parametrize("name", list(DIALECTS))
def test_A24_tools_keep_their_order(name: Any) -> None:
    names = ["zeta", "alpha", "mid"]
    toolset = Toolset(
        tool_from_schema(each, "", PARAMETERS, lambda arguments: arguments) for each in names
    )
    whole = toolset.prefixed("x") + Toolset([tool(lambda: 1, name="last")])
    wire = DIALECTS[name].render_request(request(whole.definitions))
    expected = ["x_zeta", "x_alpha", "x_mid", "last"]
    assert [each["name"] for each in definitions(name, wire.body)] == expected
    assert DIALECTS[name].render_request(request(whole.definitions)).body == wire.body
