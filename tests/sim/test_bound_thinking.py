"""M1: what becomes of Claude's thinking when something before it has changed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from polycall.sim import Call, Simulation, Turn
from tests.sim.conftest import Answer, request

BETA = "thinking-binding-controls-2026-08-01"
WORDS = "The block is bound to a different conversation."
TOOLS = [{"name": "f", "input_schema": {"type": "object"}}]
OTHER = {"name": "g", "input_schema": {"type": "object"}}
MODEL = "claude-fable-5-2"


def send(sim: Simulation, body: dict[str, Any], beta: str = "") -> Answer:
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    if beta:
        headers["anthropic-beta"] = beta
    url = sim.base_url("anthropic") + "/v1/messages"
    return request("POST", url, json.dumps(body).encode(), headers)


@pytest.fixture
def sim() -> Any:
    with Simulation(seed=3) as simulation:
        turns = [Turn(text="hi", calls=[Call("f")], reasoning="hm")] + [
            Turn(text="ok", reasoning="so")
        ] * 5
        for model in (MODEL, "claude-opus-5", "claude-opus-5-5"):
            simulation.script("anthropic", model, turns)
        yield simulation


def started(sim: Simulation, model: str = MODEL, **more: Any) -> dict[str, Any]:
    """A request for the second turn, whose thinking is the first one's."""
    user = {"role": "user", "content": "hello"}
    body = {
        "model": model,
        "max_tokens": 2000,
        "system": "S",
        "tools": TOOLS,
        "messages": [user],
        **more,
    }
    content = send(sim, body).json()["content"]
    assert content[0]["type"] == "thinking"
    call = next(block for block in content if block["type"] == "tool_use")
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "done"}
    answered = [{"role": "assistant", "content": content}, {"role": "user", "content": [result]}]
    return {**body, "messages": [user, *answered]}


def test_m1_nothing_changed_is_taken(sim: Simulation) -> None:
    body = started(sim)
    assert send(sim, body).status == 200


SUMMARY_BETA = "compact-2026-09-04"


def test_m1_a_summary_stands_for_what_it_sums_up(sim: Simulation) -> None:
    body = started(sim)
    user, *turn = body["messages"]
    asked = {**body, "messages": [user], "compaction": {"type": "summarize"}}
    refused = send(sim, asked)
    assert refused.json()["error"]["message"] == "compaction: Extra inputs are not permitted"
    answer = send(sim, asked, SUMMARY_BETA).json()
    (block,) = answer["content"]
    assert (block["type"], answer["stop_reason"]) == ("compaction", "compaction")
    summary = {"role": "assistant", "content": [block]}
    assert send(sim, {**body, "messages": [summary, *turn]}).status == 200
    changed = [
        [summary, user, *turn],  # something between
        [{"role": "assistant", "content": [{**block, "content": "other words"}]}, *turn],
        [{"role": "assistant", "content": [{**block, "signature": None}]}, *turn],
    ]
    for messages in changed:
        assert send(sim, {**body, "messages": messages}).status == 400
    open_call = {**asked, "messages": body["messages"][:2]}
    assert send(sim, open_call, SUMMARY_BETA).status == 400


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "another system text": ({"system": "S, at noon"}, "The `system` prompt differs"),
    "no system text": ({"system": []}, "The `system` prompt differs"),
    "one more tool": ({"tools": [*TOOLS, OTHER]}, "The `tools` list differs"),
    "another description": ({"tools": [{**TOOLS[0], "description": "new"}]}, "The `tools` list"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_m1_a_change_before_the_block_is_a_400_on_every_account(sim: Simulation, case: str) -> None:
    changes, words = CHANGES[case]
    answer = send(sim, {**started(sim), **changes})
    message = answer.json()["error"]["message"]
    assert answer.status == 400
    assert message.startswith(
        "messages.1.content.0: Invalid `signature` in `thinking` block. " + WORDS
    )
    assert words in message
    assert BETA in message  # the header that would have helped


def test_m1_an_edited_message_is_a_400(sim: Simulation) -> None:
    body = started(sim)
    body["messages"][0] = {"role": "user", "content": "hello!"}
    assert WORDS in send(sim, body).json()["error"]["message"]


@pytest.mark.parametrize(
    "changes",
    [
        {"tools": [*TOOLS, {**OTHER, "defer_loading": True}]},
        {"system": [{"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}}]},
        {"max_tokens": 3000, "output_config": {"effort": "low"}},
        {"tool_choice": {"type": "none"}},
    ],
)
def test_m1_what_is_no_edit_keeps_the_thinking(sim: Simulation, changes: dict[str, Any]) -> None:
    assert send(sim, {**started(sim), **changes}).status == 200


def test_m1_mismatches_can_be_dropped_and_are_reported(sim: Simulation) -> None:
    drop = {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
    body = {**started(sim), "system": "other", "thinking": drop}
    refused = send(sim, body).json()["error"]["message"]
    assert "Extra inputs are not permitted" in refused
    answer = send(sim, body, BETA)
    assert answer.status == 200
    assert answer.json()["input_transformations"] == [
        {
            "type": "thinking_dropped",
            "path": "messages.1.content.0",
            "reason": "prefix_binding_mismatch",
        }
    ]


def test_m1_a_block_left_out_between_others_counts_from_the_front_it_does_not(
    sim: Simulation,
) -> None:
    body = started(sim)
    for words in ("and now?", "and then?"):
        content = send(sim, body).json()["content"]
        more = [{"role": "assistant", "content": content}, {"role": "user", "content": words}]
        body = {**body, "messages": [*body["messages"], *more]}
    assert send(sim, body).status == 200
    without = json.loads(json.dumps(body))
    del without["messages"][3]["content"][0]  # the second of three
    assert "An earlier thinking block is missing" in send(sim, without).json()["error"]["message"]
    without = json.loads(json.dumps(body))
    del without["messages"][1]["content"][0]  # the first
    assert send(sim, without).status == 200


def test_m1_models_that_do_not_check_take_a_changed_prefix(sim: Simulation) -> None:
    body = {**started(sim, "claude-opus-5"), "system": "other", "tools": [*TOOLS, OTHER]}
    assert send(sim, body).status == 200


def test_m1_what_a_model_cannot_read_is_dropped_without_an_error(sim: Simulation) -> None:
    body = {**started(sim, MODEL), "model": "claude-opus-5-5"}
    answer = send(sim, body, BETA)
    assert answer.status == 200
    assert [each["reason"] for each in answer.json()["input_transformations"]] == [
        "model_binding_mismatch"
    ]


def test_m1_a_signature_that_nobody_issued_is_refused(sim: Simulation) -> None:
    forged = started(sim)
    forged["messages"][1]["content"][0]["signature"] = "bm90IG9uZSBvZiBvdXJz"
    assert send(sim, forged).json()["error"]["message"].endswith("in `thinking` block")
