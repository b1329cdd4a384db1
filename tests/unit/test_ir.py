"""What the values of the middle language say of themselves."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from polycall._support import jsontext
from polycall.ir import (
    Media,
    Message,
    Text,
    ToolCall,
    ToolResult,
    Usage,
    merge_metadata,
    unified_finish,
)


@pytest.mark.parametrize("text", ["", " ", "null", '""', "{}", " {} "])
def test_D01_spellings_of_no_arguments(text: str) -> None:
    call = ToolCall("c", "f", text)
    assert call.arguments == {}
    assert call.arguments_json == text


@pytest.mark.parametrize("text", ["[]", "3", '"x"', '{"a": 1', "{'a': 1}", "nul", '{"a":NaN}'])
def test_arguments_that_are_not_an_object_are_none(text: str) -> None:
    assert ToolCall("c", "f", text).arguments is None


def test_arguments_keep_numbers_and_text() -> None:
    call = ToolCall("c", "f", '{"big": 123456789012345678901, "one": 1.0, "city": "서울 🌧️"}')
    assert call.arguments == {"big": 123456789012345678901, "one": 1.0, "city": "서울 🌧️"}
    assert call.arguments is not None
    assert type(call.arguments["one"]) is float


def test_D07_a_number_of_many_digits_does_not_raise() -> None:
    assert ToolCall("c", "f", '{"n": ' + "9" * 5000 + "}").arguments is not None


def test_nesting_too_deep_to_read_is_not_a_crash() -> None:
    assert ToolCall("c", "f", '{"a":' * 100_000).arguments is None


def test_lone_surrogates_survive_both_ways() -> None:
    call = ToolCall("c", "f", '{"half": "\\ud83d"}')
    assert call.arguments == {"half": "\ud83d"}
    assert jsontext.encode(call.arguments) == '{"half":"\\ud83d"}'
    assert jsontext.encode(Text("\ud83d")) == '{"type":"text","text":"\\ud83d"}'


@pytest.mark.parametrize("encode", [jsontext.encode_bytes, jsontext.encode_exactly])
def test_lone_surrogates_stand_beside_text_that_was_written_before(encode: Any) -> None:
    written = msgspec.Raw(b'{"n":12345678901234567890123,"a":["\xea\xb0\x80","\\ud83d"]}')
    assert encode({"half": "\ud83d", "tools": [written]}) == (
        b'{"half":"\\ud83d","tools":[{"n":12345678901234567890123,"a":["\\uac00","\\ud83d"]}]}'
    )
    with pytest.raises(TypeError, match="objects of type object is unsupported"):
        encode({"half": "\ud83d", "tools": [object()]})


def test_usage_adds() -> None:
    total = Usage(10, 5, 4, 2, 3, metadata={"gemini": {}}) + Usage(1, 1, 1, 1, 1)
    assert total == Usage(11, 6, 5, 3, 4)
    assert total.total_tokens == 17
    assert total.is_reported
    assert not Usage().is_reported


def test_merge_metadata() -> None:
    assert merge_metadata({"a": {"x": 1, "y": 1}}, {"a": {"y": 2}, "b": {}}) == {
        "a": {"x": 1, "y": 2},
        "b": {},
    }


def test_finish_reasons_follow_the_calls() -> None:
    assert unified_finish("stop", has_calls=True) == "tool_calls"
    assert unified_finish("tool_calls", has_calls=False) == "stop"
    assert unified_finish("length", has_calls=True) == "length"


def test_text_of_messages_and_results() -> None:
    message = Message("assistant", [Text("a"), ToolCall("c", "f"), Text("b")])
    assert message.text == "ab"
    assert [call.id for call in message.tool_calls] == ["c"]
    assert ToolResult("c", [Text("a"), Media("image", url="u"), Text("b")]).text == "a\nb"
