"""Requests of Gemini clients, and requests for Gemini servers."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.dialects import gemini
from polycall.errors import MalformedRequestError, UnsupportedError
from polycall.ir import (
    JSON,
    Media,
    Message,
    Opaque,
    Part,
    Reasoning,
    ReasoningConfig,
    Request,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Warning,
)
from polycall.quirks import Quirks
from polycall.wire import ToolName

SENTINEL = "skip_thought_signature_validator"
WEATHER = Tool("get_weather", "Current weather", {"type": "object", "properties": {}})


def ask(*messages: Message, **fields: Any) -> Request:
    return Request("gemini-2.5-flash", [Message("user", [Text("hi")]), *messages], **fields)


def contents(request: Request, **quirks: Any) -> list[JSON]:
    return gemini.render_request(request, quirks=Quirks(**quirks)).body["contents"]


def same(body: JSON) -> JSON:
    """The body after parsing and rendering, which must cost nothing."""
    wire = gemini.render_request(gemini.parse_request(body))
    assert wire.warnings == []
    return wire.body


def turn(*parts: JSON, role: str = "user") -> JSON:
    return {"role": role, "parts": list(parts)}


def call(name: str, args: JSON, call_id: str = "", **beside: Any) -> JSON:
    wire: JSON = {"id": call_id} if call_id else {}
    return {"functionCall": {**wire, "name": name, "args": args}, **beside}


def result(name: str, response: JSON, call_id: str = "", **more: Any) -> JSON:
    wire: JSON = {"id": call_id} if call_id else {}
    return {"functionResponse": {**wire, "name": name, "response": response, **more}}


# ---------------------------------------------------------------------------------------------
# Paths


@pytest.mark.parametrize(
    ("path", "model", "stream"),
    [
        ("/v1beta/models/gemini-2.5-flash:generateContent", "gemini-2.5-flash", False),
        (
            "/v1beta/models/google/gemini-2.5-flash:streamGenerateContent?alt=sse&key=k",
            "google/gemini-2.5-flash",
            True,
        ),
        ("/v1/models/models/gemini:generateContent", "gemini", False),
        ("/models/a%2Fb%3Ac:streamGenerateContent", "a/b:c", True),
        ("/v1beta1/publishers/google/models/gemini-3:generateContent", "gemini-3", False),
        (
            "/v1/projects/p/locations/global/publishers/google/models/g:streamGenerateContent",
            "g",
            True,
        ),
        ("/v1/models/x/accounts/y/models/z:generateContent", "x/accounts/y/models/z", False),
        ("/v1beta/models/llama3:8b:generateContent", "llama3:8b", False),
        ("/v1beta/tunedModels/mine:generateContent", "tunedModels/mine", False),
        ("", "from-body", False),
    ],
)
def test_the_path_names_model_and_method(path: str, model: str, stream: bool) -> None:
    body = {"model": "models/from-body", "contents": []}
    request = gemini.parse_request(body, path=path)
    assert (request.model, request.stream) == (model, stream)


@pytest.mark.parametrize(
    ("model", "stream", "path"),
    [
        ("gemini-3", False, "/v1beta/models/gemini-3:generateContent"),
        ("gemini-3", True, "/v1beta/models/gemini-3:streamGenerateContent?alt=sse"),
        ("a b/c?", False, "/v1beta/models/a%20b/c%3F:generateContent"),
        ("tunedModels/x", False, "/v1beta/tunedModels/x:generateContent"),
        (
            "publishers/google/models/g",
            False,
            "/v1beta1/publishers/google/models/g:generateContent",
        ),
    ],
)
def test_a_request_knows_its_path(model: str, stream: bool, path: str) -> None:
    request = Request(model, [Message("user", [Text("hi")])], stream=stream)
    assert gemini.render_request(request).path == path


def test_routes_cover_both_versions_and_methods() -> None:
    assert set(gemini.ROUTES) == {
        "/v1beta/models/{model}:generateContent",
        "/v1beta/models/{model}:streamGenerateContent",
        "/v1/models/{model}:generateContent",
        "/v1/models/{model}:streamGenerateContent",
    }


# ---------------------------------------------------------------------------------------------
# Whole requests


def test_every_field_finds_its_place() -> None:
    body = {
        "contents": [turn({"text": "hi"})],
        "systemInstruction": {"parts": [{"text": "be brief"}], "role": "user"},
        "tools": [{"googleSearch": {}}],
        "toolConfig": {
            "functionCallingConfig": {"mode": "ANY", "streamFunctionCallArguments": True},
            "includeServerSideToolInvocations": True,
        },
        "generationConfig": {
            "temperature": 0.5,
            "topP": 0.9,
            "topK": 40.0,
            "candidateCount": 2,
            "maxOutputTokens": 10,
            "stopSequences": ["x"],
            "seed": 1,
            "presencePenalty": 0.1,
            "frequencyPenalty": 0.2,
            "responseLogprobs": True,
            "logprobs": 3,
            "thinkingConfig": {"includeThoughts": True, "thinkingBudget": -1},
            "responseModalities": ["TEXT"],
        },
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "cachedContent": "cachedContents/1",
        "labels": {"my_team": "a_b"},
        "serviceTier": "flex",
        "store": True,
    }
    request = gemini.parse_request(body)
    assert request == Request(
        model="",
        messages=[
            Message("system", [Text("be brief")], metadata={"gemini": {"role": "user"}}),
            Message("user", [Text("hi")]),
        ],
        tools=[
            Tool(
                "googleSearch",
                kind="hosted",
                metadata={"gemini": {"group": 0, "definition": {"googleSearch": {}}}},
            )
        ],
        tool_choice=ToolChoice("required"),
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        candidates=2,
        max_output_tokens=10,
        stop=["x"],
        seed=1,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        logprobs=3,
        reasoning=ReasoningConfig(budget_tokens=-1, include_text=True, metadata={"gemini": {}}),
        service_tier="flex",
        provider_options={
            "gemini": {
                "toolConfig": {
                    "functionCallingConfig": {"streamFunctionCallArguments": True},
                    "includeServerSideToolInvocations": True,
                },
                "generationConfig": {"responseModalities": ["TEXT"]},
                "safetySettings": body["safetySettings"],
                "cachedContent": "cachedContents/1",
                "labels": {"my_team": "a_b"},
                "store": True,
            }
        },
    )
    assert gemini.render_request(request).body == body


def test_snake_case_is_read_at_every_level_and_the_users_keys_are_left_alone() -> None:
    body = {
        "system_instruction": {"parts": [{"text": "s"}]},
        "contents": [
            turn({"text": "a"}),
            turn(
                {
                    "function_call": {"name": "f", "args": {"a_b": {"c_d": 1}}},
                    "thought_signature": "c2ln",
                },
                role="model",
            ),
            turn(
                {
                    "function_response": {
                        "name": "f",
                        "response": {"x_y": 1},
                        "will_continue": True,
                        "parts": [{"inline_data": {"mime_type": "image/png", "data": "-_8"}}],
                    }
                }
            ),
        ],
        "tools": [
            {
                "function_declarations": [
                    {
                        "name": "f",
                        "parameters_json_schema": {
                            "type": "object",
                            "properties": {"a_b": {"type": "object"}},
                        },
                    }
                ]
            }
        ],
        "tool_config": {
            "function_calling_config": {"allowed_function_names": ["f"], "mode": "any"}
        },
        "generation_config": {
            "max_output_tokens": 5,
            "response_mime_type": "application/json",
            "response_json_schema": {"type": "object", "properties": {"a_b": {}}},
            "thinking_config": {"include_thoughts": True, "thinking_level": "low"},
            "speech_config": {"voice_config": {"prebuilt_voice_config": {"voice_name": "Kore"}}},
        },
    }
    assert same(body) == {
        "systemInstruction": {"parts": [{"text": "s"}]},
        "contents": [
            turn({"text": "a"}),
            turn(call("f", {"a_b": {"c_d": 1}}, thoughtSignature="c2ln"), role="model"),
            turn(
                result(
                    "f",
                    {"x_y": 1},
                    parts=[{"inlineData": {"mimeType": "image/png", "data": "+/8="}}],
                    willContinue=True,
                )
            ),
        ],
        "tools": [
            {
                "functionDeclarations": [
                    {
                        "name": "f",
                        "parametersJsonSchema": {
                            "type": "object",
                            "properties": {"a_b": {"type": "object"}},
                        },
                    }
                ]
            }
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "generationConfig": {
            "maxOutputTokens": 5,
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object", "properties": {"a_b": {}}},
            "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "LOW"},
            "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
        },
    }


def test_parsing_changes_nothing_in_the_body() -> None:
    body: JSON = {"contents": [{"parts": [{"inline_data": {"mime_type": "a/b", "data": "_w"}}]}]}
    gemini.parse_request(body)
    assert body == {"contents": [{"parts": [{"inline_data": {"mime_type": "a/b", "data": "_w"}}]}]}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"contents": 1}, "contents"),
        ({"contents": [1]}, "contents[0]"),
        ({"contents": [{"role": "system", "parts": []}]}, "contents[0].role"),
        ({"contents": [{"parts": [3]}]}, "contents[0].parts[0]"),
        ({"contents": [turn({"text": 5})]}, "contents[0].parts[0].text"),
        (
            {"contents": [turn({"functionCall": {"args": {}}}, role="model")]},
            "contents[0].parts[0].functionCall.name",
        ),
        (
            {"contents": [turn({"functionResponse": {"name": "f", "response": "x"}})]},
            "contents[0].parts[0].functionResponse.response",
        ),
        ({"tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
        (
            {"tools": [{"functionDeclarations": [{"name": "f", "parameters": 3}]}]},
            "tools[0].functionDeclarations[0].parameters",
        ),
        (
            {"toolConfig": {"functionCallingConfig": {"mode": "MAYBE"}}},
            "toolConfig.functionCallingConfig.mode",
        ),
        ({"generationConfig": {"topK": "3"}}, "generationConfig.topK"),
        ({"generationConfig": {"stopSequences": [3]}}, "generationConfig.stopSequences[0]"),
        ({"systemInstruction": [1]}, "systemInstruction"),
    ],
)
def test_what_is_no_request_is_refused_with_its_path(body: JSON, path: str) -> None:
    with pytest.raises(MalformedRequestError) as caught:
        gemini.parse_request(body)
    assert caught.value.path == path


# ---------------------------------------------------------------------------------------------
# Parts


@pytest.mark.parametrize(
    ("wire", "part"),
    [
        ({"text": "a"}, Text("a")),
        ({"text": ""}, Text("", {"gemini": {}})),
        (
            {"text": "", "thoughtSignature": "c2ln"},
            Text("", {"gemini": {"thoughtSignature": "c2ln"}}),
        ),
        ({"text": "a", "thought": True}, Reasoning("a", {"gemini": {}})),
        (
            {"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "mediaResolution": {"n": 1}},
            Media(
                "image",
                "image/png",
                data="AAAA",
                metadata={"gemini": {"mediaResolution": {"n": 1}}},
            ),
        ),
        (
            {"inlineData": {"mimeType": "text/plain", "data": "YQ==", "displayName": "a.txt"}},
            Media(
                "document",
                "text/plain",
                data="YQ==",
                filename="a.txt",
                metadata={"gemini": {"inner": {"displayName": "a.txt"}}},
            ),
        ),
        (
            {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://b/v"}, "videoMetadata": {}},
            Media("video", "video/mp4", url="gs://b/v", metadata={"gemini": {"videoMetadata": {}}}),
        ),
        (
            {"fileData": {"fileUri": "https://youtu.be/x"}},
            Media("video", url="https://youtu.be/x", metadata={"gemini": {}}),
        ),
        (
            {
                "fileData": {
                    "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/a",
                    "mimeType": "application/pdf",
                }
            },
            Media(
                "document",
                "application/pdf",
                file_id="https://generativelanguage.googleapis.com/v1beta/files/a",
                metadata={"gemini": {}},
            ),
        ),
        (
            {"executableCode": {"code": "1", "language": "PYTHON"}, "thoughtSignature": "c2ln"},
            Opaque(
                "gemini",
                "executableCode",
                {"executableCode": {"code": "1", "language": "PYTHON"}, "thoughtSignature": "c2ln"},
            ),
        ),
        ({"newThing": {"aB": 1}}, Opaque("gemini", "newThing", {"newThing": {"aB": 1}})),
        (
            {"videoMetadata": {"fps": 1}},
            Opaque("gemini", "videoMetadata", {"videoMetadata": {"fps": 1}}),
        ),
        (
            {"thought": True, "inlineData": {"mimeType": "image/png", "data": "AAAA"}},
            Opaque(
                "gemini",
                "inlineData",
                {"thought": True, "inlineData": {"mimeType": "image/png", "data": "AAAA"}},
            ),
        ),
    ],
)
def test_parts_of_every_kind(wire: JSON, part: Part) -> None:
    body = {"contents": [turn(wire)]}
    assert gemini.parse_request(body).messages == [Message("user", [part])]
    assert same(body) == body


@pytest.mark.parametrize("data", ["-_8", "+/8=", "-_8=", "+/8"])
def test_base64_of_either_alphabet_becomes_standard(data: str) -> None:
    body = {"contents": [turn({"inlineData": {"mimeType": "image/png", "data": data}})]}
    (message,) = gemini.parse_request(body).messages
    assert message.parts == [Media("image", "image/png", data="+/8=", metadata={"gemini": {}})]


def test_media_of_other_dialects() -> None:
    message = Message(
        "user",
        [
            Media("image", "image/png", data="AAAA", filename="a.png"),
            Media("document", url="https://x.example/a.pdf"),
            Media("document", "text/plain", text="words"),
        ],
    )
    wire = gemini.render_request(Request("m", [message]))
    assert wire.body["contents"] == [
        turn(
            {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
            {"fileData": {"mimeType": "application/pdf", "fileUri": "https://x.example/a.pdf"}},
            {"text": "words"},
        )
    ]
    assert wire.warnings == [Warning("emulated", "document", "a text document is sent as text")]
    stored = Message("user", [Media("image", file_id="file-1")])
    with pytest.raises(UnsupportedError):
        gemini.render_request(Request("m", [stored]))


# ---------------------------------------------------------------------------------------------
# Turns, calls and results


def test_roles_are_kept_as_written() -> None:
    body = {
        "contents": [
            {"parts": [{"text": "a"}]},
            turn(call("f", {}), role="model"),
            turn(result("f", {"output": "1"}), role="function"),
            turn({"text": "b"}, role="tool"),
        ]
    }
    assert same(body) == body


def test_system_messages_that_come_late_are_user_text() -> None:
    request = Request(
        "m",
        [
            Message("system", [Text("a")]),
            Message("system", [Text("b")]),
            Message("user", [Text("c")]),
            Message("system", [Text("d")]),
        ],
    )
    wire = gemini.render_request(request)
    assert wire.body == {
        "contents": [turn({"text": "c"}), turn({"text": "d"})],
        "systemInstruction": {"parts": [{"text": "a"}, {"text": "b"}]},
    }
    assert [(item.kind, item.feature) for item in wire.warnings] == [("emulated", "system")]


def test_a_request_without_anything_to_say_gets_a_blank_turn() -> None:
    wire = gemini.render_request(Request("m", [Message("system", [Text("a")])]))
    assert wire.body["contents"] == [turn({"text": " "})]
    assert [(item.kind, item.feature) for item in wire.warnings] == [("adjusted", "messages")]
    empty = Request("m", [Message("user", [Text("")]), Message("user", [Text("b")])])
    assert contents(empty) == [turn({"text": "b"})]


def test_chunks_that_googles_chat_keeps_apart_are_one_turn() -> None:
    body = {
        "contents": [
            turn({"text": "hi"}),
            turn({"text": "I thi", "thought": True}, role="model"),
            turn({"text": "nk", "thought": True}, role="model"),
            turn({"text": "Let me"}, role="model"),
            turn({"text": " look"}, role="model"),
            turn(call("f", {}, "1"), role="model"),
            turn({"text": ""}, role="model"),
            turn(result("f", {"output": "x"}, "1")),
        ]
    }
    own: dict[str, JSON] = {"gemini": {}}
    assert gemini.parse_request(body).messages[1:] == [
        Message(
            "assistant",
            [Reasoning("I think", own), Text("Let me look"), ToolCall("1", "f", metadata=own)],
        ),
        Message("tool", [ToolResult("1", [Text("x")], name="f", metadata=own)]),
    ]


def test_results_are_matched_by_id_then_by_name_and_order() -> None:
    body = {
        "contents": [
            turn({"text": "hi"}),
            turn(call("f", {"a": 1}), call("g", {}, "9"), call("f", {"a": 2}), role="model"),
            turn(result("g", {"output": "g"}, "9"), result("f", {"output": "1"}), {"text": "and"}),
            turn(result("f", {"output": "2"})),
        ]
    }
    _, calls, results, text = gemini.parse_request(body).messages
    first, middle, last = calls.tool_calls
    assert middle.id == "9"
    assert len({first.id, middle.id, last.id}) == 3
    assert [part.call_id for part in results.parts if isinstance(part, ToolResult)] == [
        "9",
        first.id,
        last.id,
    ]
    assert text.parts == [Text("and")]
    # In the order of the calls, in one content, with the text that stood beside them behind.
    assert same(body)["contents"][2:] == [
        turn(
            result("f", {"output": "1"}),
            result("g", {"output": "g"}, "9"),
            result("f", {"output": "2"}),
            {"text": "and"},
        )
    ]


def test_equal_calls_without_ids_in_one_history_get_different_ids() -> None:
    pair = [turn(call("now", {}), role="model"), turn(result("now", {"output": "1"}))]
    body = {"contents": [turn({"text": "hi"}), *pair, *pair]}
    request = gemini.parse_request(body)
    ids = [item.id for message in request.messages for item in message.tool_calls]
    answered = [
        part.call_id
        for message in request.messages
        for part in message.parts
        if isinstance(part, ToolResult)
    ]
    assert len(set(ids)) == 2
    assert answered == ids
    assert gemini.parse_request(body) == request
    assert same(body) == body


@pytest.mark.parametrize(
    ("response", "text", "is_error"),
    [
        ({"output": "18C"}, "18C", False),
        ({"output": {"c": 18.0}}, '{"c":18.0}', False),
        ({"output": '{"c":18}'}, '{"c":18}', False),
        ({"output": None}, "null", False),
        ({"error": "timeout"}, "timeout", True),
        ({"error": {"code": 1}}, '{"code":1}', True),
        ({"result": "x"}, '{"result":"x"}', False),
        ({"output": "a", "more": 1}, '{"output":"a","more":1}', False),
    ],
)
def test_results_keep_their_shape(response: JSON, text: str, is_error: bool) -> None:
    body = {
        "contents": [
            turn({"text": "hi"}),
            turn(call("f", {}, "1"), role="model"),
            turn(result("f", response, "1", scheduling="SILENT", willContinue=False)),
        ]
    }
    (part,) = gemini.parse_request(body).messages[2].parts
    assert isinstance(part, ToolResult)
    assert (part.text, part.is_error) == (text, is_error)
    rendered = same(body)
    if response == {"output": None}:
        response = {"output": "null"}
    assert rendered["contents"][2] == turn(
        result("f", response, "1", scheduling="SILENT", willContinue=False)
    )


def test_an_empty_result_stays_an_object() -> None:
    body = {
        "contents": [
            turn({"text": "hi"}),
            turn(call("f", {}), role="model"),
            turn(result("f", {})),
        ]
    }
    assert same(body) == body


def test_orphans_are_repaired_and_told() -> None:
    request = ask(
        Message("assistant", [ToolCall("1", "f"), ToolCall("2", "g")]),
        Message("tool", [ToolResult("2", [Text("b")])]),
        Message("user", [Text("go on")]),
        Message("tool", [ToolResult("8", [Text("lost")])]),
        Message("assistant", [ToolCall("3", "f")]),
    )
    wire = gemini.render_request(request, quirks=Quirks(signature_sentinel=False))
    assert wire.body["contents"][1:] == [
        turn(call("f", {}, "1"), call("g", {}, "2"), role="model"),
        turn(
            result("f", {"error": "no result: the call was interrupted"}, "1"),
            result("g", {"output": "b"}, "2"),
        ),
        turn({"text": "go on"}),
        turn(call("f", {}, "3"), role="model"),
    ]
    assert [(item.kind, item.feature) for item in wire.warnings] == [
        ("emulated", "orphan_tool_call"),
        ("unsupported", "orphan_tool_result"),
    ]


def test_arguments_that_are_no_object_are_wrapped() -> None:
    wire = gemini.render_request(
        ask(Message("assistant", [ToolCall("1", "f", '{"a":')])),
        quirks=Quirks(signature_sentinel=False),
    )
    assert wire.body["contents"][1] == turn(
        call("f", {"invalid_arguments_json": '{"a":'}, "1"), role="model"
    )
    assert [(item.kind, item.feature) for item in wire.warnings] == [("adjusted", "arguments")]


def test_ids_can_be_left_out() -> None:
    request = ask(
        Message("assistant", [ToolCall("toolu_1", "f")]),
        Message("tool", [ToolResult("toolu_1", [Text("a")])]),
    )
    quirks: JSON = {"call_ids": False, "signature_sentinel": False}
    assert contents(request, **quirks)[1:] == [
        turn(call("f", {}), role="model"),
        turn(result("f", {"output": "a"})),
    ]


def test_C01_results_stand_directly_behind_their_calls() -> None:
    request = ask(
        Message("assistant", [ToolCall("1", "f")]),
        Message("user", [Text("wait")]),
        Message("tool", [ToolResult("1", [Text("a")])]),
    )
    wire = gemini.render_request(request, quirks=Quirks(signature_sentinel=False))
    assert wire.body["contents"][1:] == [
        turn(call("f", {}, "1"), role="model"),
        turn(result("f", {"output": "a"}, "1")),
        turn({"text": "wait"}),
    ]
    assert wire.warnings == []


def test_C03_parallel_results_share_one_content() -> None:
    request = ask(
        Message("assistant", [ToolCall("1", "f"), ToolCall("2", "f")]),
        Message("tool", [ToolResult("2", [Text("b")])]),
        Message("tool", [ToolResult("1", [Text("a")])]),
    )
    assert contents(request)[2:] == [
        turn(result("f", {"output": "a"}, "1"), result("f", {"output": "b"}, "2"))
    ]


def test_C04_media_in_results_never_break_the_count() -> None:
    image = Media("image", "image/png", data="AAAA")
    request = ask(
        Message("assistant", [ToolCall("1", "f"), ToolCall("2", "g")]),
        Message("tool", [ToolResult("1", [Text("a"), image]), ToolResult("2", [Text("b")])]),
    )
    blob = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    assert contents(request)[2:] == [
        turn(result("f", {"output": "a"}, "1", parts=[blob]), result("g", {"output": "b"}, "2"))
    ]
    wire = gemini.render_request(request, quirks=Quirks(result_media=False))
    assert wire.body["contents"][2:] == [
        turn(
            result("f", {"output": "a\n[image attached below]"}, "1"),
            result("g", {"output": "b"}, "2"),
        ),
        turn(blob),
    ]
    assert ("emulated", "tool_result.media") in [(w.kind, w.feature) for w in wire.warnings]


def test_C20_a_history_of_another_provider_is_told_whole() -> None:
    request = ask(
        Message(
            "assistant",
            [
                Reasoning("hm", {"anthropic": {"signature": "s"}}),
                Text("one moment"),
                ToolCall("toolu_1", "f", '{"a":1}'),
            ],
        ),
        Message("tool", [ToolResult("toolu_1", [Text("boom")], is_error=True)]),
    )
    wire = gemini.render_request(request)
    assert wire.body["contents"][1:] == [
        turn(
            {"text": "one moment"},
            call("f", {"a": 1}, "toolu_1", thoughtSignature=SENTINEL),
            role="model",
        ),
        turn(result("f", {"error": "boom"}, "toolu_1")),
    ]
    assert [(item.kind, item.feature) for item in wire.warnings] == [
        ("dropped_state", "reasoning"),
        ("emulated", "thought_signature"),
    ]


# ---------------------------------------------------------------------------------------------
# Signatures


def test_G03_and_G05_signatures_return_exactly_where_they_arrived() -> None:
    body = {
        "contents": [
            turn({"text": "hi"}),
            turn(
                {"text": "hm", "thought": True},
                call("f", {"a": 1}, "1", thoughtSignature="Zmly_-c3Q"),
                call("f", {"a": 2}, "2"),
                role="model",
            ),
            turn(result("f", {"output": "x"}, "1"), result("f", {"output": "y"}, "2")),
            turn({"text": "so"}, {"text": "", "thoughtSignature": "bGFzdA=="}, role="model"),
        ]
    }
    assert same(body) == body


def test_G04_only_the_first_unsigned_call_of_a_foreign_turn_gets_the_sentinel() -> None:
    request = ask(
        Message("assistant", [ToolCall("1", "f"), ToolCall("2", "f")]),
        Message("tool", [ToolResult("1"), ToolResult("2")]),
        Message("assistant", [ToolCall("3", "f")]),
        Message("tool", [ToolResult("3")]),
    )
    assert contents(request)[1] == turn(
        call("f", {}, "1", thoughtSignature=SENTINEL), call("f", {}, "2"), role="model"
    )
    assert contents(request)[3] == turn(call("f", {}, "3", thoughtSignature=SENTINEL), role="model")
    wire = gemini.render_request(request, quirks=Quirks(signature_sentinel=False))
    assert SENTINEL not in str(wire.body)
    assert wire.warnings == []


@pytest.mark.parametrize("name", ["G01", "G02"])
def test_a_carried_signature_is_replayed(name: str) -> None:
    carried = ToolCall("1", name, metadata={"gemini": {"thoughtSignature": "c2ln"}})
    request = ask(Message("assistant", [carried]), Message("tool", [ToolResult("1")]))
    wire = gemini.render_request(request)
    assert wire.body["contents"][1] == turn(
        call(name, {}, "1", thoughtSignature="c2ln"), role="model"
    )
    assert wire.warnings == []


# ---------------------------------------------------------------------------------------------
# Tools


def declarations(request: Request, **quirks: Any) -> list[JSON]:
    wire = gemini.render_request(request, quirks=Quirks(**quirks))
    return wire.body["tools"][0]["functionDeclarations"]


def test_tools_of_every_kind_come_back_as_written() -> None:
    body = {
        "contents": [turn({"text": "hi"})],
        "tools": [
            {"googleSearch": {}, "urlContext": {}},
            {
                "functionDeclarations": [
                    {
                        "name": "a.b:c",
                        "description": "d",
                        "parameters": {
                            "type": "OBJECT",
                            "properties": {"n": {"type": "INTEGER", "nullable": True}},
                        },
                        "response": {"type": "STRING"},
                        "behavior": "NON_BLOCKING",
                    },
                    {"name": "plain"},
                    {
                        "name": "json",
                        "parametersJsonSchema": {"type": "object", "const": {}},
                        "responseJsonSchema": {"type": "array"},
                    },
                ],
                "codeExecution": {},
            },
            {"functionDeclarations": [{"name": "other"}]},
        ],
    }
    assert same(body) == body
    tools = gemini.parse_request(body).tools
    assert [tool.name for tool in tools] == [
        "googleSearch",
        "urlContext",
        "a.b:c",
        "plain",
        "json",
        "codeExecution",
        "other",
    ]
    assert tools[2].parameters == {
        "type": "object",
        "properties": {"n": {"type": ["integer", "null"]}},
    }
    assert tools[2].output_schema == {"type": "string"}
    assert tools[3].parameters is None
    assert tools[4].output_schema == {"type": "array"}


def test_tools_of_other_dialects() -> None:
    request = ask(
        tools=[
            Tool(
                "f",
                "does",
                {"type": "object", "properties": {"a": {"const": "x"}}},
                output_schema={"type": "string"},
                examples=[{"a": "x"}],
                defer_loading=True,
                allowed_callers=["direct", "code"],
            ),
            Tool("g"),
            Tool("sql", "queries", kind="custom", grammar={"syntax": "lark", "definition": "s: A"}),
        ],
        parallel_tool_calls=False,
        end_user="u",
    )
    wire = gemini.render_request(request)
    assert wire.body["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "f",
                    "description": 'does\n\nExamples of arguments:\n{"a":"x"}',
                    "parametersJsonSchema": {
                        "type": "object",
                        "properties": {"a": {"type": "string", "enum": ["x"]}},
                    },
                    "responseJsonSchema": {"type": "string"},
                },
                {"name": "g"},
                {
                    "name": "sql",
                    "description": "queries\n\nThe input must match this lark grammar:\ns: A",
                    "parametersJsonSchema": {
                        "type": "object",
                        "properties": {"input": {"type": "string"}},
                        "required": ["input"],
                    },
                },
            ]
        }
    ]
    assert {(item.kind, item.feature) for item in wire.warnings} == {
        ("emulated", "examples"),
        ("unsupported", "defer_loading"),
        ("unsupported", "allowed_callers"),
        ("emulated", "custom_tool"),
        ("emulated", "parallel_tool_calls"),
        ("unsupported", "end_user"),
    }


def test_hosted_tools_of_other_providers_are_refused() -> None:
    tool = Tool("web_search", kind="hosted", metadata={"anthropic": {"definition": {}}})
    with pytest.raises(UnsupportedError) as caught:
        gemini.render_request(ask(tools=[tool]))
    assert caught.value.feature == "web_search"
    wire = gemini.render_request(ask(tools=[tool], lossy=True))
    assert "tools" not in wire.body
    assert [(item.kind, item.feature) for item in wire.warnings] == [("unsupported", "web_search")]


def test_names_that_google_refuses_get_aliases_everywhere() -> None:
    long = "x" * 70
    request = ask(
        Message("assistant", [ToolCall("1", "a.b/c", namespace="ns")]),
        Message("tool", [ToolResult("1", [Text("r")])]),
        tools=[Tool("a.b/c", namespace="ns"), Tool(long)],
        tool_choice=ToolChoice("required", [long]),
    )
    wire = gemini.render_request(request)
    first, second = (tool["name"] for tool in wire.body["tools"][0]["functionDeclarations"])
    assert wire.aliases == {first: ToolName("a.b/c", "ns"), second: ToolName(long)}
    assert len(second) == 64
    assert wire.body["contents"][1]["parts"][0]["functionCall"]["name"] == first
    assert wire.body["contents"][2]["parts"][0]["functionResponse"]["name"] == first
    config = wire.body["toolConfig"]["functionCallingConfig"]
    assert config == {"mode": "ANY", "allowedFunctionNames": [second]}


def keys_in(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {*value, *(key for item in value.values() for key in keys_in(item))}
    if isinstance(value, list):
        return {key for item in value for key in keys_in(item)}
    return set()


AWKWARD: JSON = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "x",
    "type": "object",
    "additionalProperties": True,
    "properties": {
        "a": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "propertyNames": {"pattern": "^a"},
        },
        "n": {"type": ["string", "null"]},
        "i": {"type": "integer", "enum": [1, 2]},
        "e": {"enum": ["x", "y"]},
        "r": {"$ref": "#/$defs/R"},
    },
    "$defs": {"R": {"type": "object", "properties": {"b": {"type": "string"}}}},
}


@pytest.mark.parametrize("name", ["A01", "A02", "A03", "A08", "A09", "A11"])
def test_schemas_in_googles_own_spelling_use_only_its_keywords(name: str) -> None:
    (declaration,) = declarations(ask(tools=[Tool(name, "", AWKWARD)]), schema_spelling="openapi")
    found = keys_in(declaration["parameters"])
    banned = {"additionalProperties", "$schema", "$id", "propertyNames", "$ref", "$defs", "const"}
    assert not found & banned
    properties = declaration["parameters"]["properties"]
    assert properties["n"] == {"type": "string", "nullable": True}
    assert "enum" not in properties["i"]
    assert properties["i"]["type"] == "integer"
    assert properties["e"] == {"type": "string", "enum": ["x", "y"]}
    assert properties["r"]["properties"] == {"b": {"type": "string"}}


def test_A03_references_are_sent_where_json_schema_is_taken() -> None:
    (declaration,) = declarations(ask(tools=[Tool("f", "", AWKWARD)]))
    schema = declaration["parametersJsonSchema"]
    assert schema["properties"]["r"] == {"$ref": "#/$defs/R"}
    assert schema["$defs"] == AWKWARD["$defs"]
    assert not keys_in(schema) & {"$schema", "propertyNames"}


@pytest.mark.parametrize("parameters", [{}, {"type": "object"}, {"properties": {}}])
def test_A12_tools_without_parameters_are_objects(parameters: JSON) -> None:
    (declaration,) = declarations(ask(tools=[Tool("f", "", parameters)]))
    assert declaration["parametersJsonSchema"] == {"type": "object", "properties": {}}


def test_A17_references_inside_a_result_are_text() -> None:
    text = '{"$ref":"#/x","$defs":{"x":{"$ref":"image.png"}}}'
    request = ask(
        Message("assistant", [ToolCall("1", "f")]),
        Message("tool", [ToolResult("1", [Text(text)])]),
    )
    assert contents(request)[2] == turn(result("f", {"output": text}, "1"))


def test_A21_functions_and_search_are_both_sent() -> None:
    search = Tool(
        "googleSearch", kind="hosted", metadata={"gemini": {"definition": {"googleSearch": {}}}}
    )
    wire = gemini.render_request(ask(tools=[WEATHER, search]))
    assert [sorted(entry) for entry in wire.body["tools"]] == [
        ["functionDeclarations"],
        ["googleSearch"],
    ]


def test_strict_tools_ask_for_validated_calls() -> None:
    request = ask(tools=[Tool("f", strict=True)])
    wire = gemini.render_request(request)
    assert wire.body["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}
    assert [(item.kind, item.feature) for item in wire.warnings] == [("emulated", "strict")]
    wire = gemini.render_request(request, quirks=Quirks(strict_tools=False))
    assert "toolConfig" not in wire.body
    assert [(item.kind, item.feature) for item in wire.warnings] == [("unsupported", "strict")]


@pytest.mark.parametrize(
    ("config", "choice"),
    [
        ({"mode": "AUTO"}, ToolChoice("auto")),
        ({"mode": "NONE"}, ToolChoice("none")),
        ({"mode": "ANY"}, ToolChoice("required")),
        ({"mode": "ANY", "allowedFunctionNames": ["f"]}, ToolChoice("tool", ["f"])),
        ({"mode": "ANY", "allowedFunctionNames": ["f", "g"]}, ToolChoice("required", ["f", "g"])),
        (
            {"mode": "VALIDATED", "allowedFunctionNames": ["f"]},
            ToolChoice("auto", ["f"], {"gemini": {"mode": "VALIDATED"}}),
        ),
        (
            {"mode": "AUTO", "allowedFunctionNames": ["f"]},
            ToolChoice("auto", ["f"], {"gemini": {"mode": "AUTO"}}),
        ),
    ],
)
def test_choices_both_ways(config: JSON, choice: ToolChoice) -> None:
    body = {
        "contents": [turn({"text": "hi"})],
        "tools": [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}],
        "toolConfig": {"functionCallingConfig": config},
    }
    assert gemini.parse_request(body).tool_choice == choice
    assert same(body) == body


def test_choices_of_other_dialects() -> None:
    tools = [Tool("f"), Tool("g")]

    def chosen(choice: ToolChoice, **quirks: Any) -> JSON:
        request = ask(tools=tools, tool_choice=choice)
        return gemini.render_request(request, quirks=Quirks(**quirks)).body

    calling = "functionCallingConfig"
    body = chosen(ToolChoice("auto", ["f"]))
    assert body["toolConfig"][calling] == {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}
    modes = frozenset({"auto", "none", "required", "tool"})
    body = chosen(ToolChoice("required", ["g"]), tool_choices=modes)
    assert body["toolConfig"][calling] == {"mode": "ANY"}
    assert body["tools"] == [{"functionDeclarations": [{"name": "g"}]}]
    with pytest.raises(UnsupportedError):
        chosen(ToolChoice("required"), tool_choices=frozenset({"auto", "none"}))
    with pytest.raises(UnsupportedError):
        chosen(ToolChoice("hosted", metadata={"openai-chat": {}}))
    plain = gemini.render_request(ask(tool_choice=ToolChoice("auto")))
    assert "toolConfig" not in plain.body


# ---------------------------------------------------------------------------------------------
# Generation config


def config(request: Request, **quirks: Any) -> JSON:
    return gemini.render_request(request, quirks=Quirks(**quirks)).body.get("generationConfig", {})


@pytest.mark.parametrize(
    ("reasoning", "unit", "thinking"),
    [
        (ReasoningConfig(effort="none"), "level", {"thinkingBudget": 0}),
        (ReasoningConfig(effort="low"), "level", {"thinkingLevel": "LOW"}),
        (ReasoningConfig(effort="max"), "level", {"thinkingLevel": "XHIGH"}),
        (ReasoningConfig(effort="medium"), "budget", {"thinkingBudget": 8192}),
        (ReasoningConfig(budget_tokens=5), "level", {"thinkingBudget": 5}),
        (ReasoningConfig(effort="high", budget_tokens=5), "level", {"thinkingLevel": "HIGH"}),
        (ReasoningConfig(effort="high", budget_tokens=5), "budget", {"thinkingBudget": 5}),
        (ReasoningConfig(include_text=True), "level", {"includeThoughts": True}),
    ],
)
def test_reasoning_of_other_dialects(reasoning: ReasoningConfig, unit: str, thinking: JSON) -> None:
    assert config(ask(reasoning=reasoning), thinking_unit=unit) == {"thinkingConfig": thinking}


def test_response_formats_of_other_dialects() -> None:
    schema = {"type": "object", "properties": {"a": {"const": 1}}}
    wanted = ask(response_format=ResponseFormat("json_schema", schema, "n", "told"))
    assert config(wanted) == {
        "responseMimeType": "application/json",
        "responseJsonSchema": {
            "type": "object",
            "properties": {"a": {"type": "integer", "enum": [1]}},
            "description": "told",
        },
    }
    assert config(wanted, response_formats=frozenset({"json"})) == {
        "responseMimeType": "application/json"
    }
    assert config(wanted, response_formats=frozenset()) == {}
    assert config(ask(response_format=ResponseFormat("text"))) == {}
    assert config(ask(response_format=ResponseFormat("json"))) == {
        "responseMimeType": "application/json"
    }


@pytest.mark.parametrize(
    "wire",
    [
        {"responseMimeType": "text/plain"},
        {"responseMimeType": "application/json"},
        {"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT"}},
        {"responseMimeType": "application/json", "responseJsonSchema": {"const": 1}},
        {"responseSchema": {"type": "STRING"}},
        {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["a"]}},
        {"responseLogprobs": True},
        {"responseLogprobs": False, "logprobs": 2},
        {"thinkingConfig": {"thinkingLevel": "NEW_LEVEL"}},
    ],
)
def test_generation_configs_come_back_as_written(wire: JSON) -> None:
    body = {"contents": [turn({"text": "hi"})], "generationConfig": wire}
    assert same(body) == body


def test_what_the_model_refuses_is_left_out_and_told() -> None:
    request = ask(temperature=0.5, seed=1, service_tier="flex", logprobs=2)
    refused = frozenset({"temperature", "seed", "service_tier", "logprobs"})
    wire = gemini.render_request(request, quirks=Quirks(refused=refused))
    assert wire.body == {"contents": [turn({"text": "hi"})]}
    assert {item.feature for item in wire.warnings} == refused


@pytest.mark.parametrize(
    ("tier", "sent"),
    [("auto", None), ("default", "standard"), ("priority", "priority"), ("scale", None)],
)
def test_service_tiers(tier: str, sent: str | None) -> None:
    wire = gemini.render_request(ask(service_tier=tier))
    assert wire.body.get("serviceTier") == sent
    assert bool(wire.warnings) == (tier == "scale")


def test_options_that_the_target_does_not_know() -> None:
    body = {"contents": [turn({"text": "hi"})], "store": True, "labels": {"a": "b"}}
    request = gemini.parse_request(body)
    wire = gemini.render_request(request, quirks=Quirks(options=frozenset({"labels"})))
    assert wire.body == {"contents": [turn({"text": "hi"})], "labels": {"a": "b"}}
    assert [(item.kind, item.feature) for item in wire.warnings] == [("unsupported", "store")]
