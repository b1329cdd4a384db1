"""Requests of Gemini clients, and requests for Gemini servers: paths, fields, parts."""

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
    ToolChoice,
    Warning,
)
from polycall.translation.quirks import Quirks
from tests.dialects.gemini.wire import ask, call, result, same, turn

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
        tool_choice=ToolChoice("required", metadata={"gemini": {}}),
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
        metadata={"gemini": {}},
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
