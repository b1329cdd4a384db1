"""14.1: each cell of `docs/models.md`, sent to the simulation of the day its rows were read.

A cell is a model and a feature.  Its requests ask for what the feature is about, whether or not the
model takes it: what leaves must be taken by the simulated vendor, whose rules are of another
reading; or it never leaves, and the refusal names the feature.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from polycall.errors import RequestError, UnsupportedError
from polycall.exchange import prepare
from polycall.ir import (
    Media,
    Message,
    ReasoningConfig,
    Request,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from polycall.profiles import Profile, retirement
from polycall.profiles.rows import load
from polycall.providers.catalogue import CATALOGUE
from polycall.sim.dated import Refusal
from polycall.sim.judge import Judge, RecordedRequest
from tests.profiles.test_table import GROUPS, current, day_of_data

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
WORDS = "hello"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"at": {"type": "string"}},
    "required": ["at"],
    "additionalProperties": False,
}
LOOK = Tool("look", "Looks.", SCHEMA)
HEAR = Tool("hear", "Hears.", SCHEMA)
HIGH = ReasoningConfig(effort="high")
CHOICES = (
    ToolChoice("auto"),
    ToolChoice("none"),
    ToolChoice("required"),
    ToolChoice("tool", ["look"]),
    ToolChoice("auto", ["look"]),
    ToolChoice("required", ["look", "hear"]),
)


def said(*turns: tuple[Any, str]) -> list[Message]:
    return [Message(role, [Text(text)]) for role, text in turns]


USER = said(("user", WORDS))
CALLED = [
    *USER,
    Message("assistant", [ToolCall("call_1", "look", '{"at": "x"}')]),
    Message("tool", [ToolResult("call_1", [Text("seen")], name="look")]),
]
PICTURE = Media("image", "image/png", data=PIXEL)
SHOWN = [
    PICTURE,
    Media("document", "application/pdf", data="JVBERi0xLjQK"),
    Media("audio", "audio/wav", data="UklGRiQAAABXQVZF"),
    Media("video", "video/mp4", data="AAAAGGZ0eXBtcDQy"),
]
JSON_SCHEMA = ResponseFormat("json_schema", SCHEMA, name="answer")
# By feature: the fields of the requests that ask for it.
ASKED: dict[str, list[dict[str, Any]]] = {
    "thinking": [
        {"reasoning": HIGH},
        {"reasoning": HIGH, "stream": True},
        {"reasoning": ReasoningConfig(budget_tokens=2048)},
        {"reasoning": ReasoningConfig(effort="high", budget_tokens=2048)},
    ],
    "efforts": [
        {"reasoning": ReasoningConfig(effort=word)}  # type: ignore[arg-type]
        for word in ("minimal", "low", "medium", "high", "xhigh", "max")
    ],
    "thinking_off": [
        {"reasoning": ReasoningConfig(effort="none")},
        {"reasoning": ReasoningConfig(budget_tokens=0)},
    ],
    "budget": [
        {"reasoning": ReasoningConfig(budget_tokens=tokens)} for tokens in (1, 600, 50_000, -1)
    ],
    "sampling": [
        {"temperature": 0.5},
        {"top_p": 0.9},
        {"top_k": 40},
        {"temperature": 0.5, "top_p": 0.9, "top_k": 40},
        {"temperature": 0.5, "top_p": 0.9, "reasoning": HIGH},
    ],
    "penalties": [{"presence_penalty": 0.5}, {"frequency_penalty": 0.5}],
    "candidates_max": [{"candidates": number} for number in (1, 2, 8, 9)],
    "logprobs": [{"logprobs": 0}, {"logprobs": 2}],
    "seed": [{"seed": 7}],
    "tools": [
        {"tools": [LOOK]},
        {"tools": [LOOK], "messages": CALLED},
        {"tools": [LOOK], "reasoning": HIGH},
        {"tools": [LOOK], "messages": CALLED, "parallel_tool_calls": False},
    ],
    "tool_choice": [{"tools": [LOOK, HEAR], "tool_choice": each} for each in CHOICES],
    "tool_choice_thinking": [
        {"tools": [LOOK, HEAR], "tool_choice": each, "reasoning": HIGH} for each in CHOICES
    ],
    "tools_with_json": [
        {"tools": [LOOK], "response_format": JSON_SCHEMA},
        {"tools": [LOOK], "response_format": ResponseFormat("json")},
    ],
    "structured_output": [
        {"response_format": JSON_SCHEMA},
        {"response_format": ResponseFormat("json")},
        {"response_format": JSON_SCHEMA, "reasoning": HIGH},
        {"response_format": ResponseFormat("json"), "reasoning": HIGH, "stream": True},
    ],
    "schema_root": [
        {"tools": [Tool("look", "Looks.", {"anyOf": [SCHEMA, {"type": "object"}]})]},
        {"tools": [Tool("look", "Looks.", {})]},
        {"tools": [Tool("look", "Looks.", None)]},
        {"tools": [Tool("look", "Looks.", SCHEMA, strict=True)]},
    ],
    "tool_name_length": [{"tools": [Tool("l" * 100, "Looks.", SCHEMA)]}],
    "result_media": [
        {
            "tools": [LOOK],
            "messages": [
                *CALLED[:2],
                Message("tool", [ToolResult("call_1", [Text("a"), PICTURE], name="look")]),
            ],
        }
    ],
    "late_system": [
        {"messages": said(("user", "a"), ("assistant", "b"), ("system", "c"), ("user", "d"))},
        {"messages": said(("system", "a"), ("user", "b"), ("system", "c"))},
        {"messages": said(("user", "a"), ("assistant", "b"), ("user", "c"), ("system", "d"))},
    ],
    "prefill": [{"messages": said(("user", "a"), ("assistant", "The"))}],
    "prefix_bound": [{"tools": [LOOK], "messages": [*CALLED, *USER], "reasoning": HIGH}],
    "media": [{"messages": [Message("user", [Text("see"), each])]} for each in SHOWN],
    "output_tokens": [{"max_output_tokens": 16}, {"max_output_tokens": 10_000_000}, {}],
    "context_tokens": [{"messages": said(("user", "word " * 2000))}],
    "cache": [
        {"cache": True},
        {"messages": said(("system", "Be kind. " * 2000), ("user", "go")), "tools": [LOOK]},
    ],
    "metadata_max": [{"end_user": "u" * 30}, {"end_user": "u" * 300}],
}
WIRES: dict[str, tuple[tuple[str, str, str], ...]] = {
    # vendor: provider, dialect, wire of the simulation
    "anthropic": (("anthropic", "anthropic", "anthropic"),),
    "openai": (
        ("openai", "openai-chat", "openai-chat"),
        ("openai", "openai-responses", "openai-responses"),
    ),
    "google": (("google", "gemini", "gemini"),),
    "deepseek": (("deepseek", "openai-chat", "deepseek"),),
}
# Vendors of open weights and Grok, and hosts that serve another's: models, by provider.
RELATED: dict[str, list[str]] = {
    **{
        vendor: sorted(name for name in load(vendor).known if retirement(name) is None)
        for vendor in ("xai", "mistral", "zai", "minimax", "alibaba")
    },
    "moonshot": sorted(load("moonshot").known),
    "groq": ["openai/gpt-oss-120b", "openai/gpt-oss-20b", "qwen/qwen3.8-27b"],
    "cerebras": ["gpt-oss-120b", "zai-glm-4.7", "qwen-3.8-27b"],
    "fireworks": [
        f"accounts/fireworks/models/{name}"
        for name in (
            "kimi-k3",
            "glm-5p3",
            "glm-5p2",
            "deepseek-v4-pro",
            "minimax-m3",
            "gpt-oss-20b",
        )
    ],
    "together": [
        "moonshotai/Kimi-K3",
        "zai-org/GLM-5.3",
        "Qwen/Qwen3.7-Plus",
        "openai/gpt-oss-120b",
    ],
    "openrouter": [
        "anthropic/claude-opus-5.5",
        "anthropic/claude-fable-5.2",
        "openai/gpt-6.1-sol",
        "google/gemini-3.8-flash",
        "moonshotai/kimi-k3",
        "z-ai/glm-5.3",
        "x-ai/grok-4.6",
        "minimax/minimax-m2.7",
        "qwen/qwen3.8-27b",
    ],
}
MODELS = current()
FEATURES = [feature for group in GROUPS.values() for feature in group]


def asked_for(model: str, fields: dict[str, Any]) -> Request:
    every: dict[str, Any] = {"messages": USER, **fields}
    return Request(model, **every)


def requests_of(model: Profile, feature: str) -> Iterator[tuple[str, Request, str, str]]:
    for provider, dialect, wire in WIRES[model.vendor]:
        for fields in ASKED[feature]:
            request = asked_for(model.name, fields)
            yield provider, request, dialect, wire


def disagreements(model: Profile, feature: str, judge: Judge) -> tuple[int, int, list[str]]:
    """How many requests were taken and how many refused here, and what is wrong."""
    taken = refused = 0
    wrong: list[str] = []
    for provider, request, dialect, wire in requests_of(model, feature):
        place = f"{model.name} {feature} {dialect}"
        try:
            exchange = prepare(request, CATALOGUE[provider], model.name, "k", dialect)  # type: ignore[arg-type]
        except UnsupportedError as error:
            refused += 1
            if not error.feature:
                wrong.append(f"{place}: the refusal names nothing: {error}")
            continue
        except RequestError as error:
            wrong.append(f"{place}: {type(error).__name__}: {error}")
            continue
        sent = RecordedRequest(wire, exchange.wire.body, model.name, dict(exchange.http.headers))
        refusal = judge.refusal(sent)
        if refusal is None:
            taken += 1
        elif _is_of_the_wire(refusal, dialect):
            refused += 1
        else:
            wrong.append(f"{place}: {refusal.message} [{refusal.rule}] {refusal.source}")
    return taken, refused, wrong


def _is_of_the_wire(refusal: Refusal, dialect: str) -> bool:
    """A model of Responses alone, asked over Chat: the provider never chooses that wire for it."""
    return dialect.startswith("openai") and "only supported in v1/" in refusal.message


@pytest.mark.parametrize("provider", RELATED)
def test_each_feature_of_a_relative_is_taken_or_refused_by_name(
    provider: str, judge: Judge
) -> None:
    wrong: list[str] = []
    taken = 0
    for model in RELATED[provider]:
        for feature in FEATURES:
            for fields in ASKED[feature]:
                request = asked_for(model, fields)
                try:
                    exchange = prepare(request, CATALOGUE[provider], model, "k")
                except UnsupportedError as error:
                    wrong += [] if error.feature else [f"{model} {feature}: names nothing: {error}"]
                    continue
                headers = dict(exchange.http.headers)
                sent = RecordedRequest(provider, exchange.wire.body, model, headers)
                refusal = judge.refusal(sent)
                taken += refusal is None
                if refusal is not None and not _is_of_the_wire(refusal, "openai-chat"):
                    wrong.append(f"{model} {feature}: {refusal.message} [{refusal.rule}]")
    assert wrong == [], f"{len(wrong)}:\n" + "\n".join(wrong)
    assert taken > 50


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(day_of_data())


def test_every_feature_of_the_table_is_asked_for() -> None:
    assert set(ASKED) == set(FEATURES)
    assert len(MODELS) >= 60


@pytest.mark.parametrize("feature", FEATURES)
def test_each_cell_is_taken_or_refused_by_name(feature: str, judge: Judge) -> None:
    wrong: list[str] = []
    taken = 0
    for model in MODELS:
        accepted, _, found = disagreements(model, feature, judge)
        taken += accepted
        wrong += found
    assert wrong == [], f"{len(wrong)}:\n" + "\n".join(wrong)
    assert taken > 0
