"""What Gemini's wire refuses, one case a row."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.sim import Simulation
from tests.sim.conftest import KEYS, WEATHER, Post, request
from tests.sim.test_refusals_openai import PNG

USER: dict[str, Any] = {"role": "user", "parts": [{"text": "weather in Seoul"}]}
CALL: dict[str, Any] = {"functionCall": {"name": "get_weather", "args": {"city": "Seoul"}}}
RESPONSE: dict[str, Any] = {
    "functionResponse": {"name": "get_weather", "response": {"output": "18C"}}
}
PATH = "/v1beta/models/sim-1:generateContent"


def model(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "parts": list(parts)}


def declare(**fields: Any) -> dict[str, Any]:
    declaration = {"name": "get_weather", **fields}
    return {"tools": [{"functionDeclarations": [declaration]}]}


def choose(mode: str, *names: str) -> dict[str, Any]:
    config: dict[str, Any] = {"mode": mode}
    if names:
        config["allowedFunctionNames"] = list(names)
    return {"toolConfig": {"functionCallingConfig": config}}


def unknown(name: str, place: str) -> str:
    spot = f" at '{place}'" if place else ""
    return f'Invalid JSON payload received. Unknown name "{name}"{spot}: Cannot find field.'


COUNTS = (
    "Please ensure that the number of function response parts is equal to the number of function "
    "call parts of the function call turn. "
)
AFTER_CALL = (
    "Please ensure that function response turn comes immediately after a function call turn."
)
FIRST = "tools[0].function_declarations[0]"
UPPER: dict[str, Any] = {
    "type": "OBJECT",
    "properties": {"city": {"type": "STRING"}},
    "required": ["city"],
}

CASES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown field": ({"messages": []}, unknown("messages", "")),
    "unknown part field": (
        {"contents": [user({"text": "x", "mood": 1})]},
        unknown("mood", "contents[0].parts[0]"),
    ),
    "signature inside the call": (
        {"contents": [model({"functionCall": {"name": "f", "thoughtSignature": "eA=="}})]},
        unknown("thoughtSignature", "contents[0].parts[0].function_call"),
    ),
    "unknown generation field": (
        {"generationConfig": {"max_tokens": 5}},
        unknown("max_tokens", "generation_config"),
    ),
    "wrong type": (
        {"generationConfig": {"temperature": "hot"}},
        "Invalid value at 'generation_config.temperature' (expected number, got string)",
    ),
    "no contents": (
        {"contents": []},
        "* GenerateContentRequest.contents: contents is not specified",
    ),
    "no parts": (
        {"contents": [user()]},
        "* GenerateContentRequest.contents[0].parts: contents.parts must not be empty.",
    ),
    "empty part": (
        {"contents": [user({"thought": True})]},
        "* GenerateContentRequest.contents[0].parts[0].data: required oneof field 'data' must have "
        "one initialized field",
    ),
    "two kinds in one part": (
        {"contents": [user({"text": "x", **RESPONSE})]},
        "Invalid value at 'contents[0].parts[0]' (oneof), oneof field 'data' is already set. "
        "Cannot set 'functionResponse'",
    ),
    "foreign role": (
        {"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]},
        "Please use a valid role: user, model.",
    ),
    "fewer responses than calls": (
        {"contents": [USER, model(CALL, CALL), user(RESPONSE)]},
        COUNTS + "(1 of 2)",
    ),
    "no response": ({"contents": [USER, model(CALL), USER]}, COUNTS + "(0 of 1)"),
    "open call": ({"contents": [USER, model(CALL)]}, COUNTS + "(0 of 1)"),
    "more responses than calls": (
        {"contents": [USER, model(CALL), user(RESPONSE, RESPONSE)]},
        COUNTS + "(2 of 1)",
    ),
    "response without a call": ({"contents": [USER, user(RESPONSE)]}, AFTER_CALL),
    "response of another function": (
        {
            "contents": [
                USER,
                model(CALL),
                user({"functionResponse": {"name": "get_time", "response": {}}}),
            ]
        },
        "Function response 'get_time' (id None) does not match a function call of the previous "
        "turn.",
    ),
    "response that is no object": (
        {
            "contents": [
                USER,
                model(CALL),
                user({"functionResponse": {"name": "get_weather", "response": "18C"}}),
            ]
        },
        "Invalid value at 'contents[2].parts[0].function_response.response' (expected object, got "
        "string)",
    ),
    "two schemas": (
        declare(parameters=UPPER, parametersJsonSchema=WEATHER),
        f"* GenerateContentRequest.{FIRST}: only one of parameters and parametersJsonSchema may be "
        "set",
    ),
    "const": (
        declare(parameters={"type": "object", "properties": {"a": {"const": 1}}}),
        unknown("const", f"{FIRST}.parameters.properties.a"),
    ),
    "types as a list": (
        declare(parameters={"type": ["object", "null"]}),
        f"Invalid value at '{FIRST}.parameters.type' (expected string, got array)",
    ),
    "reference": (
        declare(parameters={"type": "object", "$ref": "#/$defs/A"}),
        unknown("$ref", f"{FIRST}.parameters"),
    ),
    "enum of numbers": (
        declare(parameters={"type": "object", "properties": {"a": {"enum": [1]}}}),
        f"Invalid value at '{FIRST}.parameters.properties.a.enum[0]' (expected string, got "
        "integer)",
    ),
    "enum without a type": (
        declare(parameters={"type": "object", "properties": {"a": {"enum": ["x"]}}}),
        f"* GenerateContentRequest.{FIRST}.parameters.properties[a].enum: only allowed for STRING "
        "type",
    ),
    "array without items": (
        declare(parameters={"type": "object", "properties": {"a": {"type": "array"}}}),
        f"* GenerateContentRequest.{FIRST}.parameters.properties[a].items: missing field.",
    ),
    "required but not defined": (
        declare(parameters={"type": "object", "required": ["a"]}),
        f"* GenerateContentRequest.{FIRST}.parameters.required[0]: property is not defined",
    ),
    "parameters of another type": (
        declare(parameters={"type": "string"}),
        f"* GenerateContentRequest.{FIRST}.parameters: parameters schema should be of type OBJECT.",
    ),
    "const in a JSON Schema": (
        declare(parametersJsonSchema={"type": "object", "properties": {"a": {"const": 1}}}),
        f"* GenerateContentRequest.{FIRST}.parameters_json_schema: const is not supported, use an "
        "enum of one value.",
    ),
    "tool name": (
        declare(name="1st"),
        f"* GenerateContentRequest.{FIRST}.name: Invalid function name. Must start with a letter "
        "or an underscore. Must be alphanumeric (a-z, A-Z, 0-9), underscores (_), dots (.), colons "
        "(:) or dashes (-), with a maximum length of 128.",
    ),
    "strict": (declare(strict=True), unknown("strict", FIRST)),
    "two tools of one name": (
        {"tools": [*declare()["tools"], *declare()["tools"]]},
        "Duplicate function declaration found: get_weather",
    ),
    "forced choice without tools": (
        choose("ANY"),
        "Function calling config is set without function_declarations.",
    ),
    "names with AUTO": (
        {**declare(), **choose("AUTO", "get_weather")},
        "Allowed function names should only be set when function calling mode is ANY or VALIDATED.",
    ),
    "unknown name allowed": (
        {**declare(), **choose("ANY", "get_time")},
        "allowed_function_names contains 'get_time', which is not declared.",
    ),
    "schema for plain text": (
        {"generationConfig": {"responseJsonSchema": WEATHER}},
        "* GenerateContentRequest.generation_config.response_schema: only allowed when "
        "response_mime_type is application/json",
    ),
    "two candidates": (
        {"generationConfig": {"candidateCount": 2}},
        "Multiple candidates is not enabled for this model",
    ),
    "budget and level": (
        {"generationConfig": {"thinkingConfig": {"thinkingBudget": 5, "thinkingLevel": "LOW"}}},
        "You can only set only one of thinking budget and thinking level.",
    ),
    "signature that is no base64": (
        {"contents": [model({"text": "x", "thoughtSignature": "a*b"})]},
        "Invalid value at 'contents[0].parts[0].thought_signature' (TYPE_BYTES), Base64 decoding "
        'failed for "a*b"',
    ),
    "foreign signature": (
        {"contents": [USER, model({"text": "x", "thoughtSignature": "b3BhcXVl"}), USER]},
        "Corrupted thought signature.",
    ),
    "media type": (
        {"contents": [user({"inlineData": {"mimeType": "application/zip", "data": "aGk="}})]},
        "Unsupported MIME type: application/zip",
    ),
    "image that is none": (
        {"contents": [user({"inlineData": {"mimeType": "image/png", "data": "aGk="}})]},
        "Unable to process input image. Please retry or report.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_generate(post: Post, case: str) -> None:
    changes, message = CASES[case]
    answer = post("google", PATH, {"contents": [USER], **changes})
    error = answer.json()["error"]
    error.pop("details", None)
    assert (answer.status, error) == (
        400,
        {"code": 400, "message": message, "status": "INVALID_ARGUMENT"},
    )


def test_both_spellings_are_taken(post: Post) -> None:
    body = {
        "contents": [
            user(
                {"inline_data": {"mime_type": "image/png", "data": PNG.replace("+", "-")}},
                {"text": "x"},
            ),
            model({"function_call": {"name": "get_weather", "args": {"snake_case": 1}}}, CALL),
            {"role": "function", "parts": [RESPONSE]},
            user(RESPONSE),
        ],
        "system_instruction": {"parts": [{"text": "be short"}]},
        "tools": [
            {"functionDeclarations": [{"name": "get_weather", "parameters_json_schema": WEATHER}]},
            {"function_declarations": [{"name": "ns.get:time-1", "parameters": UPPER}]},
        ],
        "tool_config": {"function_calling_config": {"mode": "VALIDATED"}},
        "generationConfig": {"max_output_tokens": 100, "thinkingConfig": None},
    }
    answer = post("google", PATH, body)
    assert answer.status == 200, answer.content


@pytest.mark.parametrize(
    ("query", "headers", "status", "reason"),
    [
        ("", {}, 403, "PERMISSION_DENIED"),
        ("", {"x-goog-api-key": "invalid"}, 400, "INVALID_ARGUMENT"),
        ("?key=invalid", {}, 400, "INVALID_ARGUMENT"),
        ("?key=good", {}, 200, ""),
    ],
)
def test_keys(
    sim: Simulation, query: str, headers: dict[str, str], status: int, reason: str
) -> None:
    url = sim.base_url("google") + "/v1/models" + query
    answer = request("GET", url, headers=headers)
    assert answer.status == status
    assert answer.json().get("error", {}).get("status", "") == reason


def test_recorded_requests_hold_no_key(sim: Simulation) -> None:
    request("GET", sim.base_url("google") + "/v1/models?key=secret-1", headers={"x-api-key": "s2"})
    recorded = sim.requests[-1]
    assert recorded.query == {"key": "(redacted)"}
    assert recorded.headers["x-api-key"] == "(redacted)"
    assert "secret-1" not in repr(recorded)


def test_unknown_model_and_method(sim: Simulation, post: Post) -> None:
    answer = post("google", "/v1beta/models/gemini-9:generateContent", {"contents": [USER]})
    assert (answer.status, answer.json()["error"]["status"]) == (404, "NOT_FOUND")
    answer = post("google", "/v1beta/models/sim-1:predict", {"contents": [USER]})
    assert (answer.status, answer.json()["error"]["status"]) == (404, "NOT_FOUND")
    url = sim.base_url("google") + "/v1beta/models/sim-1"
    assert request("GET", url, headers=KEYS["google"]).json()["name"] == "models/sim-1"


def test_counting(post: Post) -> None:
    answer = post("google", "/v1beta/models/sim-1:countTokens", {"contents": [USER]})
    assert answer.json()["totalTokens"] == 8
