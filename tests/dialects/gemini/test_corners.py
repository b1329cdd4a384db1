"""What writers of odd bodies do, one line each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from polycall.dialects import gemini
from polycall.errors import MalformedRequestError, ProtocolError, UnsupportedError
from polycall.fold import fold
from polycall.ir import (
    JSON,
    Media,
    Message,
    Opaque,
    Part,
    Reasoning,
    ReasoningConfig,
    Refusal,
    Request,
    Response,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Usage,
)
from polycall.translation.quirks import Quirks
from tests.support import decode, wire_examples

HI: JSON = {"role": "user", "parts": [{"text": "hi"}]}


def parsed(*parts: JSON, role: str = "user") -> list[Message]:
    return gemini.parse_request({"contents": [{"role": role, "parts": list(parts)}]}).messages


def rendered(*messages: Message, **options: Any) -> tuple[list[JSON], list[str]]:
    wire = gemini.render_request(Request("m", list(messages), **options))
    return wire.body["contents"], [item.feature for item in wire.warnings]


def test_every_wire_example_parses_and_comes_back() -> None:
    for name, folder in wire_examples("gemini"):
        body = read_json(folder / "request.json")
        request = gemini.parse_request(body)
        assert gemini.render_request(request).body == body, name
        if (folder / "stream.sse").exists():
            raw = (folder / "stream.sse").read_bytes()
            answer = fold(decode(gemini.StreamDecoder(), [raw]))
            assert all(made.arguments is not None for made in answer.tool_calls), name
            continue
        wire = read_json(folder / "response.json")
        if "error" in wire:
            error = gemini.parse_error(wire["error"]["code"], wire)
            assert gemini.render_error(error) == (wire["error"]["code"], wire), name
        else:
            answer = gemini.parse_response(wire)
            assert gemini.parse_response(gemini.render_response(answer)) == answer, name


def read_json(path: Path) -> JSON:
    return json.loads(path.read_text())


def test_instructions_of_any_shape() -> None:
    def system(value: Any) -> list[Message]:
        return gemini.parse_request({"systemInstruction": value, "contents": []}).messages

    assert system("be brief") == [Message("system", [Text("be brief")])]
    assert system({"parts": {"text": "a"}}) == [Message("system", [Text("a")])]
    assert system("") == system({}) == system({"parts": [{}]}) == []


def test_contents_may_be_a_string_or_one_content() -> None:
    assert gemini.parse_request({"contents": "hi"}).messages == [Message("user", [Text("hi")])]
    assert gemini.parse_request({"contents": HI}).messages == [Message("user", [Text("hi")])]


def test_what_says_nothing_is_no_part() -> None:
    assert parsed({}, {"thought": True}, {"text": None}) == []
    assert parsed({}, role="model") == [Message("assistant")]
    assert parsed(role="model") == []
    assert parsed({"functionCall": {}}, role="model") == [Message("assistant")]


@pytest.mark.parametrize("key", ["inlineData", "fileData"])
def test_media_without_anything_inside_are_kept_as_they_came(key: str) -> None:
    wire = {key: {"mimeType": "image/png"}}
    assert parsed(wire) == [Message("user", [Opaque("gemini", key, wire)])]


def test_a_bare_signature_is_an_empty_text() -> None:
    own: dict[str, JSON] = {"gemini": {"thoughtSignature": "c2ln"}}
    assert parsed({"thoughtSignature": "c2ln"}) == [Message("user", [Text("", own)])]
    bare = {"thoughtSignature": "c2ln", "thought": True}
    assert parsed(bare) == [Message("user", [Reasoning("", own)])]


def test_addresses_that_are_none() -> None:
    for url in ("https://[x", "x"):
        own = Media("file", url=url, metadata={"gemini": {}})
        assert parsed({"fileData": {"fileUri": url}}) == [Message("user", [own])]
        contents, _ = rendered(Message("user", [Media("file", url=url)]))
        assert contents[0]["parts"] == [{"fileData": {"fileUri": url}}]


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [("image", "image/png"), ("document", "application/pdf"), ("file", "application/octet-stream")],
)
def test_media_without_a_type_get_one(kind: Any, media_type: str) -> None:
    contents, _ = rendered(Message("user", [Media(kind, data="AAAA")]))
    assert contents[0]["parts"] == [{"inlineData": {"mimeType": media_type, "data": "AAAA"}}]


def test_calls_under_another_role_are_the_models() -> None:
    made = {"functionCall": {"id": "1", "name": "f"}}
    (message,) = parsed(made)
    own: JSON = {"role": "user"}
    call = ToolCall("1", "f", metadata={"gemini": {}})
    assert message == Message("assistant", [call], metadata={"gemini": own})
    assert rendered(message)[0][0]["role"] == "user"


def test_fields_inside_calls_that_are_new_are_kept() -> None:
    made = {"functionCall": {"id": "1", "name": "f", "args": {}, "newField": 1}}
    messages = parsed(made, role="model")
    assert rendered(*messages)[0][0]["parts"] == [made]
    same = {"functionCall": {"id": "1", "name": "f", "args": [1]}}
    (call,) = parsed(same, role="model")[0].tool_calls
    assert (call.arguments_json, call.arguments) == ("[1]", None)


def test_further_contents_of_one_turn_join_or_stand() -> None:
    texts: list[JSON] = [
        {"text": "a", "thought": True},
        {"text": "b"},
        {"text": "c", "thoughtSignature": "c2ln"},
        {"text": "", "thought": True},
        {"text": "d", "thought": True},
    ]
    body = {"contents": [{"role": "model", "parts": [part]} for part in texts]}
    (message,) = gemini.parse_request(body).messages
    assert message.parts == [
        Reasoning("a", {"gemini": {}}),
        Text("b"),
        Text("c", {"gemini": {"thoughtSignature": "c2ln"}}),
        Reasoning("d", {"gemini": {}}),
    ]


def test_a_result_of_no_call_is_an_orphan() -> None:
    result = {"functionResponse": {"name": "f", "response": {"output": "1"}}}
    (message,) = parsed(result)
    (part,) = message.parts
    assert isinstance(part, ToolResult)
    assert part.call_id.startswith("call_")
    assert rendered(Message("user", [Text("hi")]), message)[1] == ["orphan_tool_result"]


def test_results_of_other_dialects_with_odd_content() -> None:
    content: list[Text | Media | Opaque] = [
        Opaque("anthropic", "search_result", {}),
        Opaque("gemini", "newThing", {"newThing": 1}),
        Media("document", "text/plain", text="words"),
        Text("a"),
    ]
    call = ToolCall("1", "f", metadata={"gemini": {}})
    contents, warnings = rendered(
        Message("assistant", [call]), Message("tool", [ToolResult("1", content)])
    )
    assert contents[1]["parts"][0]["functionResponse"] == {
        "id": "1",
        "name": "f",
        "response": {"output": "[search_result]\na\nwords"},
        "parts": [{"newThing": 1}],
    }
    assert warnings == ["search_result", "document"]


def test_a_result_that_was_changed_since_is_sent_as_it_is_now() -> None:
    call = ToolCall("1", "f", metadata={"gemini": {}})
    for shape in ("object", "value"):
        own: dict[str, JSON] = {"gemini": {"shape": shape}}
        result = ToolResult("1", [Text("cut off {")], metadata=own)
        contents, _ = rendered(Message("assistant", [call]), Message("tool", [result]))
        wire = contents[1]["parts"][0]["functionResponse"]
        assert wire["response"] == {"output": "cut off {"}


def test_parts_that_a_turn_of_another_dialect_may_hold() -> None:
    parts: list[Part] = [
        Refusal("no"),
        Refusal(""),
        Opaque("anthropic", "server_tool_use", {}),
        Media("image", file_id="file-1"),
    ]
    contents, warnings = rendered(
        Message("user", [Text("hi")]), Message("assistant", parts), lossy=True
    )
    assert contents[1:] == [{"role": "model", "parts": [{"text": "no"}]}]
    assert warnings == ["server_tool_use", "refusal", "file_id"]
    only = Message("assistant", [Reasoning("hm", {"anthropic": {"signature": "s"}})])
    assert rendered(Message("user", [Text("hi")]), only) == ([HI], ["reasoning"])


def test_a_result_in_a_user_message_is_found() -> None:
    call = ToolCall("1", "f", metadata={"gemini": {}})
    mixed = Message("user", [ToolResult("1", [Text("a")]), Text("b")])
    contents, warnings = rendered(Message("assistant", [call]), mixed)
    response = {"functionResponse": {"id": "1", "name": "f", "response": {"output": "a"}}}
    assert contents[1:] == [
        {"role": "user", "parts": [response]},
        {"role": "user", "parts": [{"text": "b"}]},
    ]
    assert warnings == []


def test_choices_that_cannot_be_said() -> None:
    def config(choice: ToolChoice, **quirks: Any) -> JSON:
        request = Request("m", [], tools=[Tool("f")], tool_choice=choice, lossy=True)
        wire = gemini.render_request(request, quirks=Quirks(**quirks))
        return wire.body.get("toolConfig", {})

    every = frozenset({"auto", "none", "required", "tool", "subset", "hosted"})
    assert config(ToolChoice("hosted"), tool_choices=every) == {}
    with pytest.raises(UnsupportedError):
        gemini.render_request(
            Request("m", [], tools=[Tool("f")], tool_choice=ToolChoice("hosted")),
            quirks=Quirks(tool_choices=every),
        )
    assert config(ToolChoice("required"), tool_choices=frozenset()) == {}
    assert config(ToolChoice("none")) == {"functionCallingConfig": {"mode": "NONE"}}


def test_modes_may_be_numbers() -> None:
    body: JSON = {"toolConfig": {"functionCallingConfig": {"mode": 2}}}
    assert gemini.parse_request(body).tool_choice == ToolChoice("required", metadata={"gemini": {}})


def test_schemas_too_deep_to_read_are_refused_with_their_path() -> None:
    schema: JSON = {"type": "STRING"}
    for _ in range(2000):
        schema = {"type": "ARRAY", "items": schema}
    body = {"tools": [{"functionDeclarations": [{"name": "f", "parameters": schema}]}]}
    with pytest.raises(MalformedRequestError) as caught:
        gemini.parse_request(body)
    assert caught.value.path == "tools[0].functionDeclarations[0].parameters"


def test_freeform_tools_without_a_grammar() -> None:
    request = Request("m", [], tools=[Tool("sql", "queries", kind="custom")])
    (entry,) = gemini.render_request(request).body["tools"]
    assert entry["functionDeclarations"][0]["description"] == "queries"


def test_null_entries_of_tools_are_nothing() -> None:
    assert gemini.parse_request({"tools": [{"googleSearch": None}]}).tools == []


def test_reasoning_that_asks_for_nothing() -> None:
    wire = gemini.render_request(Request("m", [], reasoning=ReasoningConfig()))
    assert "generationConfig" not in wire.body


@pytest.mark.parametrize("path", ["/v1beta/models/gemini", "gemini"])
def test_paths_without_a_method(path: str) -> None:
    request = gemini.parse_request({"contents": []}, path=path)
    assert (request.model, request.stream) == ("gemini", False)


# Answers


def whole(*parts: JSON, **top: Any) -> JSON:
    return {"candidates": [{"content": {"parts": list(parts)}, "finishReason": "STOP"}], **top}


def test_parts_of_answers_that_say_nothing() -> None:
    assert gemini.parse_response(whole({}, {"text": ""})).message.parts == []


@pytest.mark.parametrize("created", [3, "yesterday", "9999-99-99"])
def test_times_that_are_none(created: Any) -> None:
    assert gemini.parse_response(whole({"text": "a"}, createTime=created)).created == 0


def test_pieces_of_no_call_are_a_protocol_error() -> None:
    piece = {"functionCall": {"partialArgs": [{"jsonPath": "$.a", "numberValue": 1}]}}
    with pytest.raises(ProtocolError):
        gemini.parse_response(whole(piece))


def test_a_whole_body_that_is_none_is_a_protocol_error() -> None:
    decoder = gemini.StreamDecoder()
    decoder.feed(b'{"totalTokens": 3}')
    with pytest.raises(ProtocolError):
        decoder.close()


def test_usage_with_little_in_it() -> None:
    response = Response("", "", Message("assistant"), "stop", usage=Usage(3, 4))
    assert gemini.render_response(response)["usageMetadata"] == {
        "promptTokenCount": 3,
        "candidatesTokenCount": 4,
        "totalTokenCount": 7,
    }


def test_a_result_in_an_answer_has_no_place_for_a_client() -> None:
    message = Message("assistant", [ToolResult("1", [Text("a")]), Text("b")])
    body = gemini.render_response(Response("", "", message, "stop"))
    assert body["candidates"][0]["content"]["parts"] == [{"text": "b"}]
