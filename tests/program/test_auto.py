"""Direct or by code: the decision, its reason, and what changes it."""

from __future__ import annotations

from typing import Any

import pytest

from polycall.errors import ToolDefinitionError
from polycall.ir import Text, ToolResult
from polycall.program import Hints, Programs, Seen, Sizes, decide
from polycall.sandbox import Sandbox
from polycall.testing import ScriptedModel
from polycall.tools import tool

from .support import BOTH, call, collect, program, request, shop

SIZES = Sizes(direct=200, code=600)


def result(size: int) -> ToolResult:
    return ToolResult("c", [Text("x" * size)])


@pytest.mark.parametrize(
    ("hints", "form"),
    [
        (Hints(), "direct"),
        (Hints(calls=1, result_tokens=50), "direct"),
        (Hints(calls=1, result_tokens=50_000), "code"),
        (Hints(calls=3, result_tokens=100), "direct"),
        (Hints(calls=3, result_tokens=100_000), "code"),
        (Hints(calls=50, result_tokens=40), "code"),
        (Hints(calls=6, result_tokens=60), "direct"),
        (Hints(calls=6, result_tokens=60, dependent=True), "code"),
        (Hints(calls=50, result_tokens=40, ability="weak"), "direct"),
        (Hints(calls=50, result_tokens=40, ability="good"), "code"),
    ],
)
def test_the_rule(hints: Hints, form: str) -> None:
    assert decide(SIZES, hints, Seen()).form == form


def test_many_definitions_are_a_reason_of_their_own() -> None:
    assert decide(Sizes(direct=60_000, code=900), Hints(), Seen()).form == "code"


def test_the_reason_says_what_it_went_by() -> None:
    decision = decide(SIZES, Hints(calls=50, result_tokens=40), Seen())
    assert decision.reason == (
        "50 calls, independent of each other, of about 40 tokens a result: about 4400 tokens "
        "directly and 1480 by a program, so programs are chosen"
    )
    assert (decision.direct_tokens, decision.code_tokens) == (4400, 1480)
    weak = decide(SIZES, Hints(calls=50, ability="none"), Seen())
    assert (weak.rule, weak.reason) == ("ability", "the model is said to be none at programs")


def test_what_was_seen_stands_in_for_hints() -> None:
    seen = Seen()
    seen.begin_run()
    assert decide(SIZES, Hints(), seen).form == "direct"
    for _ in range(3):
        seen.result(result(300_000), direct=True)
    seen.step()
    seen.begin_run()
    decision = decide(SIZES, Hints(), seen)
    assert (decision.form, decision.calls, decision.result_tokens) == ("code", 3, 100_000)
    assert not decision.dependent


def test_calls_one_after_the_other_are_taken_for_dependent() -> None:
    seen = Seen()
    seen.begin_run()
    for _ in range(6):
        seen.result(result(180), direct=True)
        seen.step()
    decision = decide(SIZES, Hints(), seen)
    assert (decision.form, decision.dependent, decision.calls) == ("code", True, 6)


def test_failed_programs_of_a_model_count_against_it_until_one_works() -> None:
    seen, hints = Seen(), Hints(calls=50)
    seen.program("m", failed=True)
    assert decide(SIZES, hints, seen, model="m").form == "code"
    seen.program("m", failed=True)
    decision = decide(SIZES, hints, seen, model="m")
    assert (decision.form, decision.rule) == ("direct", "ability")
    assert decision.reason == "the last 2 programs of this model failed"
    assert decide(SIZES, hints, seen, model="other").form == "code"
    seen.program("m", failed=False)
    assert decide(SIZES, hints, seen, model="m").form == "code"


@pytest.mark.parametrize(
    ("calling", "overrides", "names", "rule"),
    [
        ("direct", {}, ["get_orders", "delete_shop", "find", "slow"], "asked"),
        ("code", {}, ["delete_shop", "run_code"], "asked"),
        ("auto", {}, ["get_orders", "delete_shop", "find", "slow", "run_code"], "estimate"),
        ("code", {"find": "direct"}, ["delete_shop", "find", "run_code"], "asked"),
        ("auto", {"find": "code"}, ["get_orders", "delete_shop", "slow", "run_code"], "estimate"),
    ],
)
async def test_what_is_offered(
    jail: Sandbox, calling: Any, overrides: Any, names: list[str], rule: str
) -> None:
    async with Programs(shop(), jail, calling=calling, overrides=overrides) as programs:
        with ScriptedModel(["hello"]) as model:
            await collect(programs.run(model, request()))
    assert [tool.name for tool in model.requests[0].tools] == names
    assert [each.rule for each in programs.decisions] == [rule]
    # What is pinned to direct calls is no function of programs.
    assert ("find" in programs.catalogue.signatures) == (overrides.get("find") != "direct")


async def test_a_toolset_without_code_is_direct_and_one_with_nothing_else_is_code(
    jail: Sandbox,
) -> None:
    tools = {each.name: each for each in shop()}
    for names, offered, rule in (
        (["delete_shop"], ["delete_shop"], "no_code"),
        (["charge"], ["run_code"], "code_only"),
    ):
        async with Programs([tools[name] for name in names], jail) as programs:
            with ScriptedModel(["hello"]) as model:
                await collect(programs.run(model, request()))
        assert [tool.name for tool in model.requests[0].tools] == offered
        assert programs.decisions[0].rule == rule


def test_an_override_opens_nothing(jail: Sandbox) -> None:
    with pytest.raises(ToolDefinitionError, match="'delete_shop' cannot be offered as 'code'"):
        Programs(shop(), jail, overrides={"delete_shop": "code"})


async def test_a_model_that_comes_back_for_more_gets_programs(jail: Sandbox) -> None:
    @tool(allowed_callers=BOTH)
    async def check(host: int) -> str:
        return f"{host} is up " * 20

    turns = [call("check", f"c{n}", host=n) for n in range(6)]
    async with Programs([check], jail) as programs:
        with ScriptedModel([*turns, "all up"]) as model:
            await collect(programs.run(model, request()))
    forms = ["run_code" in [tool.name for tool in each.tools] for each in model.requests]
    assert forms == sorted(forms)
    assert not any(forms[:2])
    assert forms[-1]
    assert [each.form for each in programs.decisions] == ["direct", "code"]
    assert programs.decisions[1].dependent


async def test_a_model_whose_programs_fail_gets_its_tools_back(jail: Sandbox) -> None:
    async with Programs(shop(), jail, hints=Hints(calls=80)) as programs:
        bad = [program("nonsense(", f"p{n}") for n in range(2)]
        with ScriptedModel([*bad, "I give up"]) as model:
            await collect(programs.run(model, request()))
    assert [(each.form, each.rule) for each in programs.decisions] == [
        ("code", "estimate"),
        ("direct", "ability"),
    ]
    assert "get_orders" in [tool.name for tool in model.requests[-1].tools]
