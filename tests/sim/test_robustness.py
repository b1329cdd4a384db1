"""Whatever is sent, a vendor either understands it or refuses it in its own words."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polycall.sim import rules
from polycall.sim.script import Answer, ModelSpec, Refused, Tally
from polycall.sim.vendors.anthropic import Anthropic
from polycall.sim.vendors.base import Route, Vendor
from polycall.sim.vendors.compatible import Compatible
from polycall.sim.vendors.deepseek import DeepSeek
from polycall.sim.vendors.gemini import Gemini
from polycall.sim.vendors.openai_chat import OpenAIChat
from polycall.sim.vendors.openai_programs import fingerprint
from polycall.sim.vendors.openai_responses import OpenAIResponses
from tests.sim.conftest import WEATHER
from tests.sim.test_refusals_anthropic import RESULT, TOOL, USE, said
from tests.sim.test_refusals_google import CALL, RESPONSE, declare, model, user
from tests.sim.test_refusals_openai import FLAT, ITEM, OUTPUT, USER, asked, call, function, result

_KIND = "code_execution_20260120"
_BEGUN = {
    "type": "server_tool_use",
    "id": "srv_1",
    "name": "code_execution",
    "input": {"code": "x"},
}
_MADE = {**USE, "caller": {"type": _KIND, "tool_id": "srv_1"}}
_ENDED = {
    "type": "code_execution_tool_result",
    "tool_use_id": "srv_1",
    "content": {
        "type": "code_execution_result",
        "stdout": "1",
        "stderr": "",
        "return_code": 0,
        "content": [],
    },
}
_PROGRAM = {
    "type": "program",
    "call_id": "p_1",
    "code": "x",
    "fingerprint": fingerprint("p_1", "x"),
}
_BY_PROGRAM = {"type": "program", "caller_id": "p_1"}
_PRINTED = {"type": "program_output", "call_id": "p_1", "result": "1", "status": "completed"}

BODIES: dict[str, tuple[Vendor, dict[str, Any]]] = {
    "openai": (
        OpenAIChat(),
        {
            "model": "m",
            "messages": [USER, asked(call()), result(), USER],
            "tools": [function()],
            "tool_choice": "auto",
            "stop": ["x"],
            "response_format": {"type": "json_schema", "json_schema": {"name": "n"}},
        },
    ),
    "responses": (
        OpenAIResponses(),
        {
            "model": "m",
            "input": [USER, ITEM, OUTPUT, USER],
            "tools": [FLAT],
            "tool_choice": {"type": "function", "name": "get_weather"},
            "reasoning": {"effort": "low", "summary": "auto"},
            "text": {"format": {"type": "json_schema", "name": "n", "schema": WEATHER}},
        },
    ),
    "anthropic": (
        Anthropic(),
        {
            "model": "m",
            "max_tokens": 2000,
            "system": [{"type": "text", "text": "x"}],
            "messages": [USER, said("assistant", USE), said("user", RESULT), USER],
            "tools": [TOOL],
            "tool_choice": {"type": "auto"},
            "thinking": {"type": "adaptive"},
        },
    ),
    "programs of anthropic": (
        Anthropic(),
        {
            "model": "m",
            "max_tokens": 2000,
            "messages": [
                USER,
                said("assistant", _BEGUN, _MADE),
                said("user", RESULT),
                said("assistant", _ENDED),
                USER,
            ],
            "tools": [
                {"type": _KIND, "name": "code_execution"},
                {**TOOL, "allowed_callers": ["direct", _KIND]},
            ],
        },
    ),
    "programs of responses": (
        OpenAIResponses(),
        {
            "model": "m",
            "input": [
                USER,
                _PROGRAM,
                {**ITEM, "caller": _BY_PROGRAM},
                {**OUTPUT, "caller": _BY_PROGRAM},
                _PRINTED,
                USER,
            ],
            "tools": [
                {"type": "programmatic_tool_calling"},
                {**FLAT, "allowed_callers": ["programmatic"]},
            ],
            "tool_choice": {"type": "programmatic_tool_calling"},
        },
    ),
    "google": (
        Gemini(),
        {
            "contents": [user({"text": "x"}), model(CALL), user(RESPONSE)],
            "generationConfig": {"thinkingConfig": {"includeThoughts": True}},
            **declare(parametersJsonSchema=WEATHER),
        },
    ),
    "deepseek": (
        DeepSeek(),
        {
            "model": "m",
            "messages": [USER, {**asked(call()), "reasoning_content": "x"}, result(), USER],
            "tools": [function()],
            "thinking": {"type": "enabled"},
        },
    ),
    "compatible": (
        Compatible(),
        {
            "model": "m",
            "messages": [USER, asked(call()), result(), USER],
            "tools": [function()],
        },
    ),
}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["type", "text", "properties", "items", "$ref", "enum", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items: Any = []
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for name, item in items:
        found += places(item, (*path, name))
    return found


def answer_to(vendor: Vendor, body: Any) -> None:
    """Check, answer and render, as the server does."""
    route = Route("generate", "m")
    prompt = vendor.check_request(route, body, lambda name: ModelSpec(name, "asked"))
    answer = Answer(rules.answer(prompt), "0123456789ab", 0, Tally(1, 0, 0, 1, 0))
    vendor.render_body(prompt, answer)
    assert list(vendor.render_stream(prompt, answer))


@pytest.mark.parametrize("name", BODIES)
def test_the_bodies_are_good(name: str) -> None:
    answer_to(*BODIES[name])


# Slow says only that the machine is busy.
@pytest.mark.parametrize("name", BODIES)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_change_is_understood_or_refused(name: str, data: st.DataObject) -> None:
    vendor, good = BODIES[name]
    body = copy.deepcopy(good)
    path = data.draw(st.sampled_from(places(body)))
    parent: Any = body
    for step in path[:-1]:
        parent = parent[step]
    if data.draw(st.booleans()):
        parent[path[-1]] = data.draw(JSON_VALUES)
    else:
        del parent[path[-1]]
    try:
        answer_to(vendor, body)
    except Refused as refused:
        assert 400 <= refused.status < 500
        assert refused.body["error"]["message"]


@pytest.mark.parametrize("name", BODIES)
@given(body=JSON_VALUES)
def test_anything_else_is_refused(name: str, body: Any) -> None:
    with pytest.raises(Refused):
        answer_to(BODIES[name][0], body)
