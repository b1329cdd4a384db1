"""Tools that come again are read and rendered as at the first time, warnings and all."""

from __future__ import annotations

import copy

import pytest
from msgspec.structs import replace

from polycall.errors import UnsupportedError
from polycall.ir import JSON
from polycall.providers.dialects import DIALECTS
from polycall.providers.provider import DialectName
from polycall.translation.quirks import Quirks
from polycall.translation.tool_list_cache import ToolListCache
from polycall.translation.wire import WireRequest
from tests.support import corpus

VENDOR = Quirks()
PLAIN = Quirks(strict_tools=False, custom_tools=False, legacy_functions=False)
SCHEMA: JSON = {"type": "object", "properties": {"도시": {"type": "string"}}}
FUNCTION: JSON = {"name": "get_weather", "description": "날씨 🌧️", "parameters": SCHEMA}
MARK: JSON = {"cache_control": {"type": "ephemeral"}}
ODD: dict[DialectName, list[JSON]] = {
    "openai-chat": [
        {"type": "function", "function": FUNCTION},
        {"type": "function", "function": {**FUNCTION, "name": "strict one", "strict": True}},
        {"type": "function", "function": {"name": "9lives." + "x" * 80}, "extra": 1},
        {"type": "custom", "custom": {"name": "free", "format": {"type": "text"}}},
    ],
    "openai-responses": [
        {"type": "function", **FUNCTION, "strict": True, "defer_loading": True},
        {"type": "namespace", "name": "mail", "tools": [{"type": "function", "name": "send"}]},
        {"type": "custom", "name": "free", "format": {"type": "grammar", "syntax": "regex"}},
        {"type": "function", "name": "by_program", "allowed_callers": ["direct", "programmatic"]},
    ],
    "anthropic": [
        {"name": f"tool_{n}", "input_schema": SCHEMA, "strict": n < 2, **MARK} for n in range(6)
    ] + [{"name": "seen", "input_schema": SCHEMA, "input_examples": [{"도시": "서울"}]}],
    "gemini": [
        {"functionDeclarations": [FUNCTION, {"name": "bare"}]},
        {"functionDeclarations": [{"name": "a.b:c", "parametersJsonSchema": SCHEMA}]},
    ],
    "ollama-chat": [
        {"type": "function", "function": FUNCTION},
        {"type": "function", "function": {**FUNCTION, "name": "도구"}, "extra": 1},
    ],
    "gemini-interactions": [
        {"type": "function", **FUNCTION},
        {"type": "function", "name": "bare"},
        {"type": "google_search"},
    ],
}  # fmt: skip
# Converse has its tools below another field, where they are read each time.
CLIENTS = list(ODD)
# Of these the shared recordings have few.
FEW: frozenset[str] = frozenset({"ollama-chat", "gemini-interactions"})
ASKS: dict[DialectName, JSON] = {
    "openai-chat": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    "openai-responses": {"model": "m", "input": "hi"},
    "anthropic": {
        "model": "m",
        "max_tokens": 9,
        "system": [{"type": "text", "text": "brief", **MARK}],
        "messages": [{"role": "user", "content": "hi"}],
    },
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
    "ollama-chat": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    "gemini-interactions": {"model": "m", "input": "hi"},
}


def outcomes(client: DialectName, target: DialectName, body: JSON) -> list[WireRequest | str]:
    """What is sent to the target, or why not, by its differences and by whether losses are fine."""
    path = "/v1beta/models/m:generateContent" if client == "gemini" else ""
    request = DIALECTS[client].parse_request(body, path=path)
    found: list[WireRequest | str] = []
    for quirks in (VENDOR, PLAIN):
        for lossy in (False, True):
            try:
                wire = DIALECTS[target].render_request(replace(request, lossy=lossy), quirks=quirks)
            except UnsupportedError as error:
                found.append(str(error))
            else:
                found.append(wire)
    return found


def check(client: DialectName, body: JSON) -> None:
    tools = body["tools"]
    shared = ToolListCache(copy.deepcopy(tools))
    for target in DIALECTS:
        plain = copy.deepcopy(outcomes(client, target, copy.deepcopy(body)))
        for _ in range(3):
            assert outcomes(client, target, {**body, "tools": shared}) == plain
    assert shared == tools


@pytest.mark.parametrize("client", CLIENTS)
def test_odd_tools(client: DialectName) -> None:
    for count in range(1, len(ODD[client]) + 1):
        check(client, {**ASKS[client], "tools": ODD[client][:count]})


@pytest.mark.parametrize("client", CLIENTS)
def test_recorded_requests(client: DialectName) -> None:
    bodies = [
        record["request"]
        for record in corpus(client)
        if record["status"] == 200
        and isinstance(record["request"], dict)
        and isinstance(record["request"].get("tools"), list)
    ]
    assert len(bodies) > (0 if client in FEW else 100)
    for body in bodies[::7][:60]:
        check(client, body)


def test_a_plain_list_may_be_changed() -> None:
    body = {**ASKS["openai-chat"], "tools": ODD["openai-chat"][:1]}
    before = outcomes("openai-chat", "gemini", body)
    body["tools"].append(ODD["openai-chat"][1])
    assert outcomes("openai-chat", "gemini", body) != before
