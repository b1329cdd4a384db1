"""Real models by name, and what each refuses on a day: M0, M2, T3, T6, T7, T9, T10, T17, C7."""

from __future__ import annotations

import datetime
import json
import urllib.request
from typing import Any

import pytest

from polycall.sim import Simulation
from polycall.sim.dated import READ_ON, Rulebook, load
from polycall.sim.dated.conditions import match
from polycall.sim.judge import Judge, RecordedRequest

TOOL = {"name": "f", "input_schema": {"type": "object"}}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
USER = {"role": "user", "content": "hello"}
ASSISTANT = {"role": "assistant", "content": "hi"}
SYSTEM = {"role": "system", "content": "Be brief."}
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
DECLARED = {"tools": [{"functionDeclarations": [{"name": "f"}]}]}
JSON_OUT = {"generationConfig": {"responseMimeType": "application/json"}}


def anthropic(model: str, **more: Any) -> RecordedRequest:
    body = {"model": model, "max_tokens": 4000, "messages": [USER], **more}
    return RecordedRequest("anthropic", body, headers={"anthropic-version": "2023-06-01"})


def chat(model: str, **more: Any) -> RecordedRequest:
    return RecordedRequest("openai-chat", {"model": model, "messages": [USER], **more})


def qwen(model: str, **more: Any) -> RecordedRequest:
    body = {"model": model, "messages": [USER], "stream": True, **more}
    return RecordedRequest("alibaba", body)


def responses(model: str, **more: Any) -> RecordedRequest:
    return RecordedRequest("openai-responses", {"model": model, "input": "x", **more})


def gemini(model: str, config: dict[str, Any] | None = None, **more: Any) -> RecordedRequest:
    generation = {} if config is None else {"generationConfig": config}
    return RecordedRequest("gemini", {**CONTENTS, **generation, **more}, model)


def thinking(kind: str, **more: Any) -> dict[str, Any]:
    return {"thinking": {"type": kind, **more}}


def effort(level: str) -> dict[str, Any]:
    return {"output_config": {"effort": level}}


def level(name: str) -> dict[str, Any]:
    return {"thinkingConfig": {"thinkingLevel": name}}


def budget(tokens: int) -> dict[str, Any]:
    return {"thinkingConfig": {"thinkingBudget": tokens}}


FORCED = {"tools": [TOOL], "tool_choice": {"type": "any"}}
NAMED = {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "f"}}
SCHEMA = {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}}
FASTEST = {"service_tier": "ultrafast"}

REFUSED: dict[str, tuple[RecordedRequest, str]] = {
    "M2 enabled, opus 4.7": (
        anthropic("claude-opus-4-7", **thinking("enabled", budget_tokens=2000)),
        '"thinking.type.enabled" is not supported for this model.',
    ),
    "M2 enabled, haiku 5.5": (
        anthropic("claude-haiku-5-5", **thinking("enabled", budget_tokens=2000)),
        '"thinking.type.enabled" is not supported for this model.',
    ),
    "M2 enabled, fable 5.2": (
        anthropic("claude-fable-5-2", **thinking("enabled", budget_tokens=2000)),
        '"thinking.type.enabled" is not supported for this model.',
    ),
    "M2 disabled, opus 5.5": (
        anthropic("claude-opus-5-5", **thinking("disabled")),
        '"thinking.type.disabled" is not supported for this model.',
    ),
    "M2 disabled, sonnet 5.5": (
        anthropic("claude-sonnet-5-5", **thinking("disabled")),
        "between_tools",
    ),
    "M2 disabled, mythos 5.2": (
        anthropic("claude-mythos-5-2", **thinking("disabled")),
        '"thinking.type.disabled" is not supported',
    ),
    "M2 disabled at effort max, opus 5": (
        anthropic("claude-opus-5", **thinking("disabled"), **effort("max")),
        'at effort "max"',
    ),
    "M2 temperature, haiku 5.5": (
        anthropic("claude-haiku-5-5", temperature=0.2),
        "`temperature` is deprecated for this model.",
    ),
    "M2 temperature, mythos 5.2": (
        anthropic("claude-mythos-5-2", temperature=0),
        "`temperature` is deprecated for this model.",
    ),
    "M2 top_k, opus 5": (anthropic("claude-opus-5", top_k=5), "`top_k` is deprecated"),
    "M2 forced, mythos 5.1": (
        anthropic("claude-mythos-5-1", **FORCED),
        'tool_choice: type "tool" and "any" are not supported for this model.',
    ),
    "M2 forced by name, sonnet 5.5": (
        anthropic("claude-sonnet-5-5", **NAMED),
        'tool_choice: type "tool" and "any" are not supported for this model.',
    ),
    "M2 prefill, sonnet 4.6": (
        anthropic("claude-sonnet-4-6", messages=[USER, ASSISTANT]),
        "does not support assistant message prefill",
    ),
    "M2 MINIMAL, 3.8 flash": (
        gemini("gemini-3.8-flash", level("MINIMAL")),
        "MINIMAL is not supported",
    ),
    "M2 MINIMAL, 4 neon": (gemini("gemini-4-neon", level("MINIMAL")), "MINIMAL is not supported"),
    "M2 budget, 4 argon": (
        gemini("gemini-4-argon", budget(100)),
        "Thinking budget is not supported",
    ),
    "M2 penalty, 4 carbon": (gemini("gemini-4-carbon", {"presencePenalty": 0.5}), "Penalty"),
    "M2 candidates, 4 argon": (
        gemini("gemini-4-argon", {"candidateCount": 2}),
        "Multiple candidates",
    ),
    "M2 none, gpt-6-astra": (
        responses("gpt-6-astra", reasoning={"effort": "none"}),
        "'none' is not supported with the 'gpt-6-astra' model.",
    ),
    "M2 minimal, gpt-6.1-sol": (
        responses("gpt-6.1-sol", reasoning={"effort": "minimal"}),
        "'minimal' is not supported with the 'gpt-6.1-sol' model.",
    ),
    "M2 none, gpt-6.2-astra, chat": (
        chat("gpt-6.2-astra", reasoning_effort="none"),
        "does not support 'none'",
    ),
    "T6 adaptive, haiku 4.5": (
        anthropic("claude-haiku-4-5", **thinking("adaptive")),
        "adaptive thinking is not supported on this model",
    ),
    "T6 adaptive, opus 4.5": (
        anthropic("claude-opus-4-5-20251101", **thinking("adaptive")),
        "adaptive thinking is not supported on this model",
    ),
    "T6 effort, sonnet 4.5": (
        anthropic("claude-sonnet-4-5", **effort("high")),
        "This model does not support the effort parameter.",
    ),
    "T6 max, gpt-5": (chat("gpt-5", reasoning_effort="max"), "does not support 'max'"),
    "T6 max, gpt-5.4": (
        responses("gpt-5.4", reasoning={"effort": "max"}),
        "'max' is not supported",
    ),
    "T6 max, o3": (chat("o3", reasoning_effort="max"), "does not support 'max'"),
    "T6 effort, gpt-4o": (chat("gpt-4o", reasoning_effort="none"), "Unrecognized request argument"),
    "T6 budget, 2.5 flash": (gemini("gemini-2.5-flash", budget(31_999)), "between 0 and 24576"),
    "T6 no budget, 2.5 pro": (gemini("gemini-2.5-pro", budget(0)), "Budget 0 is invalid"),
    "T6 small budget, 2.5 flash-lite": (
        gemini("gemini-2.5-flash-lite", budget(100)),
        "between 512",
    ),
    "T7 JSON beside tools, 2.5": (
        gemini("gemini-2.5-flash", **DECLARED, **JSON_OUT),
        "Function calling with a response mime type: 'application/json' is unsupported",
    ),
    "T7 JSON beside tools, 2.5 pro": (
        gemini("gemini-2.5-pro", **DECLARED, **JSON_OUT),
        "Function calling with a response mime type: 'application/json' is unsupported",
    ),
    "T3 system, sonnet 4.6": (
        anthropic("claude-sonnet-4-6", messages=[USER, ASSISTANT, SYSTEM, USER]),
        "role 'system' is not supported on this model",
    ),
    "T3 system, sonnet 5": (
        anthropic("claude-sonnet-5", messages=[USER, SYSTEM]),
        "role 'system' is not supported on this model",
    ),
    "T3 system before the user, opus 5": (
        anthropic("claude-opus-5", messages=[USER, ASSISTANT, SYSTEM, USER]),
        "messages.2: `system` messages must immediately follow",
    ),
    "T3 system first, fable 5.2": (
        anthropic("claude-fable-5-2", messages=[SYSTEM, USER]),
        "messages.0: a `system` message cannot be the first message",
    ),
    "T9 choice without tools, chat": (
        chat("gpt-4o", tool_choice="auto"),
        "'tool_choice' is only allowed when 'tools' are specified.",
    ),
    "T9 choice without tools, messages": (
        anthropic("claude-opus-5", tool_choice={"type": "auto"}),
        "tool_choice may only be specified while providing tools.",
    ),
    "T10 long identifier, chat": (
        chat("gpt-4o", safety_identifier="u" * 186),
        "maximum length 128, but got a string with length 186",
    ),
    "T10 long user, responses": (
        responses("gpt-5.4", user="u" * 186),
        "maximum length 64, but got a string with length 186",
    ),
    "T10 long metadata": (
        chat("gpt-4o", metadata={"note": "x" * 513}),
        "'metadata.note': string too long",
    ),
    "T17 more than the model writes": (
        anthropic("claude-sonnet-4-5", max_tokens=100_000),
        "max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens",
    ),
    "T17 more than opus 4.1 wrote": (
        anthropic("claude-opus-5", max_tokens=200_000),
        "max_tokens: 200000 > 128000",
    ),
    "C7 tools with effort on chat": (
        chat("gpt-5.4", tools=[FUNCTION], reasoning_effort="low"),
        "Function tools with reasoning_effort are not supported for gpt-5.4",
    ),
    "C7 tools by default effort on chat": (
        chat("gpt-5.6-sol", tools=[FUNCTION]),
        "or set reasoning_effort to 'none'",
    ),
    "pro models on chat": (chat("gpt-5-pro"), "only supported in v1/responses"),
    "developer role": (
        RecordedRequest(
            "deepseek",
            {
                "model": "deepseek-flash",
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}
                        ],
                    }
                ],
                "max_tokens": 500_000,
            },
        ),
        "the valid range of max_tokens is [1, 393216]",
    ),
}

TAKEN: dict[str, RecordedRequest] = {
    "adaptive on opus 5.5": anthropic("claude-opus-5-5", **thinking("adaptive"), **effort("high")),
    "temperature 1 on opus 5": anthropic("claude-opus-5", temperature=1),
    "temperature on sonnet 4.6": anthropic("claude-sonnet-4-6", temperature=0.2),
    "between tools on sonnet 5.5": anthropic("claude-sonnet-5-5", **thinking("between_tools")),
    "disabled on haiku 5.5": anthropic("claude-haiku-5-5", **thinking("disabled")),
    "forced on haiku 5.5": anthropic("claude-haiku-5-5", **FORCED),
    "a late system message on opus 5": anthropic(
        "claude-opus-5", messages=[USER, SYSTEM, ASSISTANT, USER]
    ),
    "JSON beside tools on gemini 3": gemini("gemini-3.8-flash", **DECLARED, **JSON_OUT),
    "LOW on gemini 4": gemini("gemini-4-argon", level("LOW")),
    "no budget on 2.5 flash": gemini("gemini-2.5-flash", budget(0)),
    "xhigh on gpt-5.4": responses("gpt-5.4", reasoning={"effort": "xhigh"}),
    "max on gpt-6-astra": responses("gpt-6-astra", reasoning={"effort": "max"}),
    "temperature on gpt-5.4 without effort": chat("gpt-5.4", temperature=0.3),
    "tools on gpt-5.6 without effort": chat(
        "gpt-5.6-sol", tools=[FUNCTION], reasoning_effort="none"
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_model_refuses_what_its_vendor_s_pages_say(case: str) -> None:
    request, words = REFUSED[case]
    refusal = Judge(READ_ON).refusal(request)
    assert refusal is not None, "taken"
    assert words in refusal.message
    assert refusal.status in (400, 404)


@pytest.mark.parametrize("case", TAKEN)
def test_a_model_takes_what_its_vendor_s_pages_say(case: str) -> None:
    assert Judge(READ_ON).refusal(TAKEN[case]) is None


@pytest.mark.parametrize(
    ("request_", "day", "words"),
    [
        (anthropic("claude-fable-5", **FORCED), "2026-08-15", "not compatible with this model"),
        (anthropic("claude-fable-5", **FORCED), "2026-09-02", ""),
        (anthropic("claude-opus-4-1", temperature=0.5), "2026-08-04", ""),
        (anthropic("claude-opus-4-1", temperature=0.5), "2026-08-05", "model: claude-opus-4-1"),
        (anthropic("claude-opus-4-8", messages=[USER, SYSTEM]), "2026-05-28", ""),
        (
            anthropic("claude-opus-4-7", messages=[USER, SYSTEM]),
            "2026-05-27",
            'Unexpected role "system"',
        ),
        (gemini("gemini-2.5-flash", budget(100)), "2026-11-30", ""),
        (gemini("gemini-2.5-flash", **DECLARED, **JSON_OUT), "2026-12-01", ""),
        (gemini("gemini-2.0-flash"), "2026-06-01", "is no longer available"),
        (responses("gpt-5.6-sol", **FASTEST), "2026-08-12", "Invalid value: 'ultrafast'"),
        (responses("gpt-5.6-sol", **FASTEST), "2026-08-13", ""),
        (responses("gpt-6-astra", **FASTEST), "2026-09-28", "not available"),
        (responses("gpt-6-astra", **FASTEST), "2026-09-29", ""),
        (responses("gpt-6.1-sol", **FASTEST), "2026-10-07", "not available"),
        (responses("gpt-6.2-astra", **FASTEST), "2026-11-29", ""),
        (responses("gpt-6.2-sol", **FASTEST), "2026-11-29", ""),
        (responses("gpt-6.2-astra-law", **FASTEST), "2026-11-29", "not available"),
        (qwen("qwen3.8-max", temperature=1.995), "2026-11-29", ""),
        (qwen("qwen3.8-max", temperature=2), "2026-11-29", "[0.0, 2.0)"),
        (qwen("qwen-plus", **SCHEMA, enable_thinking=True), "2026-11-29", "Json mode response"),
        (qwen("qwen3-14b", **SCHEMA, enable_thinking=True), "2026-11-29", "Json mode response"),
        (qwen("qwen-plus", **SCHEMA), "2026-11-29", ""),
        (chat("o3-mini"), "2026-10-22", ""),
        (chat("o3-mini"), "2026-10-23", "The model `o3-mini` has been deprecated"),
    ],
)
def test_the_rules_of_a_day_are_those_of_that_day(
    request_: RecordedRequest, day: str, words: str
) -> None:
    refusal = Judge(datetime.date.fromisoformat(day)).refusal(request_)
    if words:
        assert refusal is not None
        assert words in refusal.message
    else:
        assert refusal is None


# They serve the models of others, and have no list here.
HOSTS = {"groq", "cerebras", "fireworks", "together", "openrouter", "alibaba"}


def test_every_rule_has_a_source_a_day_and_models_that_exist() -> None:
    data = load()
    every = [rule for rules in data.rules.values() for rule in rules]
    assert len(every) >= 150
    names = {name for models in data.models.values() for name in models} | {"sim-1"}
    wire_of = {id(rule): wire for wire, rules in data.rules.items() for rule in rules}
    for rule in every:
        assert rule.source.startswith("https://") or " on PyPI" in rule.source, rule.id
        assert rule.read <= READ_ON
        assert rule.until is None or rule.until > rule.since, rule.id
        assert rule.message, rule.id
        is_listed = any(rule.pattern.fullmatch(name) for name in names)
        assert is_listed or wire_of[id(rule)] in HOSTS, rule.id
        match({}, rule.when)  # its tests are known
    for wire, rules in data.rules.items():
        ids = [rule.id for rule in rules]
        assert len(ids) == len(set(ids)), wire


@pytest.mark.parametrize(
    ("vendor", "name", "message"),
    [
        ("anthropic", "claude-sonnet-4.6", "model: claude-sonnet-4.6"),
        ("anthropic", "claude-3-opus-20240229", "model: claude-3-opus-20240229"),
        ("anthropic", "claude-4-5-haiku", "model: claude-4-5-haiku"),
        ("deepseek", "deepseek-chat", "The supported API model names are"),
    ],
)
def test_m0_a_name_that_the_vendor_does_not_know_is_its_own_refusal(
    post: Any, vendor: str, name: str, message: str
) -> None:
    path = "/v1/messages" if vendor == "anthropic" else "/chat/completions"
    answer = post(vendor, path, {"model": name, "max_tokens": 10, "messages": [USER]})
    assert answer.status == (404 if vendor == "anthropic" else 400)
    assert message in answer.json()["error"]["message"]


def test_m0_a_variant_is_not_older_than_the_model_it_is_made_of() -> None:
    models = load().models["openai"]
    for name, base in (("gpt-6-astra-law", "gpt-6-astra"), ("gpt-5.5-cyber", "gpt-5.5")):
        assert models[name].since >= models[base].since


def test_m0_the_lists_are_the_vendors_own_and_sim_1_stays() -> None:
    rulebook = Rulebook()
    assert rulebook.model("anthropic", "claude-sonnet-4-6") is not None
    assert rulebook.model("openai", "gpt-6.2-astra") is not None
    assert rulebook.model("google", "gemini-4-neon") is not None
    assert Rulebook(datetime.date(2026, 9, 1)).model("google", "gemini-4-neon") is None
    with Simulation(as_of=datetime.date(2026, 9, 1)) as simulation:
        names = _names(simulation.base_url("anthropic") + "/v1/models")
    assert {"sim-1", "claude-opus-5", "claude-fable-5-1"} <= names
    assert not {"claude-fable-5-2", "claude-opus-4-1", "claude-3-opus-20240229"} & names


def _names(url: str) -> set[str]:

    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return {model["id"] for model in json.load(answer)["data"]}
