"""A request that names a second model: the key has to be allowed to use it, and pays for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from polycall.errors import MalformedRequestError, PermissionDeniedError
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.generation.second_models import advisor_usages, second_models
from polycall.gateway.passthrough.request import Fields
from polycall.ir import Usage
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.prices import cost_usd
from polycall.sim import Simulation
from polycall.translation.context_edits import compacts_on_the_way
from tests.gateway.harness import Gateway, provider_table

MAIN, OTHER = "claude/claude-sonnet-5", "claude-opus-5"
ADVISOR = {"type": "advisor_20260301", "name": "advisor", "model": OTHER}
NAMING: dict[str, dict[str, Any]] = {
    "advisor": {"tools": [ADVISOR]},
    "picture": {"tools": [{"type": "image_generation", "model": OTHER}]},
    "picture, later": {
        "input": [
            {"role": "user", "content": "x"},
            {
                "type": "additional_tools",
                "tools": [{"type": "image_generation", "model": OTHER}],
            },
        ]
    },
    "picture, in a namespace": {
        "tools": [
            {"type": "namespace", "tools": [{"type": "image_generation", "model": OTHER}]},
        ]
    },
    "advisor, found": {"input": [{"type": "tool_search_output", "tools": [ADVISOR]}]},
    "plugin": {"plugins": [{"id": "response-healing", "model": OTHER}]},
    "nested": {"tools": [{"type": "openrouter:advisor", "parameters": {"model": OTHER}}]},
    "summary": {"compaction": {"type": "summarize", "model": OTHER}},
    "edits": {"context_management": [{"type": "compaction", "model": OTHER}]},
}


def named(owner: Owner, more: dict[str, Any], model: str = MAIN) -> list[Any]:
    body = json.dumps({"model": model, "messages": [], **more}).encode()
    return second_models(owner, model, Fields(body, "anthropic"))


@pytest.mark.parametrize("where", NAMING)
def test_a_second_model_has_to_be_allowed(where: str) -> None:
    with pytest.raises(PermissionDeniedError, match=f"may not use '{OTHER}'"):
        named(Owner("k", "first", models=(MAIN,)), NAMING[where])
    for models in ((MAIN, OTHER), ("claude/*",), (MAIN, f"claude/{OTHER}"), ()):
        assert named(Owner("k", "first", models=models), NAMING[where]) or not models
    team = Owner("t", "team", models=(MAIN,))
    with pytest.raises(PermissionDeniedError):
        named(Owner("k", "first", team=team), NAMING[where])


def test_tools_within_tools_are_looked_at_to_a_depth() -> None:
    tools: Any = [{"type": "image_generation", "model": OTHER}]
    for depth in range(400):
        tools = [{"type": "namespace", "tools": tools}]
        expected = PermissionDeniedError if depth < 8 else MalformedRequestError
        if depth < 20 or depth == 399:
            with pytest.raises(expected):
                named(Owner("k", "first", models=(MAIN,)), {"tools": tools})


@pytest.mark.parametrize("name", ["models", "fallbacks", "fallback_models", "preset"])
def test_a_key_with_limits_asks_one_model_at_a_time(name: str) -> None:
    with pytest.raises(MalformedRequestError, match="one model at a time"):
        named(Owner("k", "first", tokens_per_minute=9), {name: [OTHER]})


SEVERAL: list[dict[str, Any]] = [
    {"plugins": [{"id": "fusion", "analysis_models": [OTHER]}]},
    {"plugins": [{"id": "fusion", "model": "claude-sonnet-5"}]},
    {"plugins": [{"id": "web"}, {"id": "Fusion"}]},
    {"plugins": {"id": "panel", "Analysis_Models": [OTHER]}},
    {"tools": [{"type": "openrouter:fusion"}]},
    {"tools": [{"type": "openrouter:Fusion-2", "parameters": {}}]},
    {"tools": [{"type": "openrouter:fusion", "parameters": {"analysisModels": [OTHER]}}]},
    {"tools": [{"type": "openrouter:panel", "parameters": {"models": [OTHER]}}]},
    {"generationConfig": {"routingConfig": {"manualMode": {"modelName": OTHER}}}},
    {"generationConfig": {"routing_config": {"autoMode": {"modelRoutingPreference": "BEST"}}}},
    {"generation_config": {"RoutingConfig": {"manual_mode": {"model_name": OTHER}}}},
    {"generationConfig": {"modelSelectionConfig": {"featureSelectionPreference": "QUALITY"}}},
]


@pytest.mark.parametrize("more", SEVERAL, ids=str)
def test_a06_no_panel_and_no_router_answers_a_key_with_limits(more: dict[str, Any]) -> None:
    for owner in (Owner("k", "a", tokens_per_minute=9), Owner("k", "a", models=(MAIN,))):
        with pytest.raises(MalformedRequestError, match="one model at a time"):
            named(owner, more)
    assert named(Owner("k", "without limits"), more) == []


@pytest.mark.parametrize(
    "more",
    [
        {"plugins": [{"id": "fusion", "enabled": False}, {"id": "web", "max_results": 3}]},
        {"plugins": [{"id": "auto-router", "allowed_models": ["anthropic/*"]}]},
        {"generationConfig": {"temperature": 1, "routingConfig": None}},
        {"tools": [{"type": "mcp", "headers": {"X-Data-Models": "a"}}]},
        {"tools": [{"type": "custom", "id": "confusion_matrix"}, {"id": "x:fusions"}]},
        {"tools": [{"name": "f", "input_schema": {"properties": {"models": {"type": "array"}}}}]},
    ],
    ids=str,
)
def test_what_adds_no_model_is_taken(more: dict[str, Any]) -> None:
    assert named(Owner("k", "a", tokens_per_minute=9), more) == []


def test_a_schema_with_a_field_of_that_name_names_no_model() -> None:
    schema = {"type": "object", "properties": {"model": {"type": "string"}}, "required": ["model"]}
    owner = Owner("k", "first", models=(MAIN,))
    for tool in (
        {"name": "buy", "input_schema": schema},
        {"type": "function", "function": {"name": "buy", "parameters": schema}},
        {"type": "function", "name": "buy", "parameters": schema},
    ):
        assert named(owner, {"tools": [tool]}) == []


def test_a_budget_wants_a_bound_for_advisors_and_sets_their_price_aside() -> None:
    owner = Owner("k", "first", budget_usd=Decimal(1))
    with pytest.raises(MalformedRequestError, match="'max_uses'"):
        named(owner, {"tools": [ADVISOR]})
    with pytest.raises(MalformedRequestError, match="'max_uses'"):
        named(Owner("k", "first", team=owner), {"tools": [ADVISOR]})
    models = named(owner, {"tools": [{**ADVISOR, "max_uses": 3, "max_tokens": 500}]})
    used = advisor_usages(models, 10_000, 9_999)
    assert [each["output_tokens"] for each in used] == [3 * 500]
    # As an answer that reports the same would cost.
    row = CATALOGUE["anthropic"]
    plain = Usage(input_tokens=10_000, output_tokens=100)
    advised = Usage(10_000, 100, metadata={"anthropic": {"iterations": used}})
    one, both = (cost_usd(row, "claude-sonnet-5", each) for each in (plain, advised))
    alone = cost_usd(row, OTHER, Usage(input_tokens=10_000, output_tokens=500))
    assert one is not None
    assert alone is not None
    assert both == one + 3 * alone


@pytest.mark.parametrize(
    ("wanted", "compacts"),
    [
        ({"edits": [{"type": "compact_20260112"}]}, True),
        ([{"type": "compaction", "compact_threshold": 1000}], True),
        ([{"type": "compaction"}], True),
        ({"edits": [{"type": "clear_tool_uses_20250919"}]}, False),
        ({"edits": None}, False),
        (None, False),
        ("compact_20260112", False),
    ],
)
def test_a_conversation_is_compacted_where_its_body_says_so(wanted: Any, *, compacts: bool) -> None:
    assert compacts_on_the_way(wanted) == compacts


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Simulation(seed=2) as sim:
        config = provider_table("claude", sim.base_url("anthropic"), "anthropic")
        keys = (
            f'[[keys]]\nkey = "sk-of-some"\nname = "some"\nmodels = ["{MAIN}"]\n'
            '[[keys]]\nkey = "sk-of-budget"\nname = "budget"\nbudget_usd = 5\n'
        )
        served = Gateway(tmp_path_factory.mktemp("second"), f"{config}\n{keys}").start()
        yield served
        assert served.stop() == 0, served.log


def test_the_gateway_refuses_what_a_key_may_not_ask(gateway: Gateway) -> None:
    said = [{"role": "user", "content": "hi"}]
    body: dict[str, Any] = {"model": MAIN, "max_tokens": 50, "messages": said}

    def ask(key: str, **more: Any) -> tuple[int, str]:
        answer = gateway.request("POST", "/v1/messages", {**body, **more}, key=key)
        return answer.status, answer.content.decode()

    assert ask("sk-of-some")[0] == 200
    status, text = ask("sk-of-some", tools=[ADVISOR])
    assert status == 403
    assert OTHER in text
    status, text = ask("sk-of-budget", tools=[ADVISOR])
    assert status == 400
    assert "max_uses" in text
    assert ask("sk-of-budget", tools=[{**ADVISOR, "max_uses": 1}])[0] == 200
    status, text = ask("sk-of-budget", tools=[{**ADVISOR, "max_uses": 10**6}])
    assert status == 400
    assert "more than the whole budget" in text
