"""Settings as keywords: words that are accepted, and what is said of those that are not."""

from __future__ import annotations

from typing import Any

import pytest

from polycall import Agent, Client
from polycall.agents import triage
from polycall.errors import RequestError
from polycall.ir import ReasoningConfig, ToolCall, ToolChoice
from polycall.loop import Limits
from polycall.testing import FunctionModel, ScriptedModel


async def look(city: str = "") -> str:
    """Look out of the window."""
    return "snow"


def agent_of(model: Any = None, **settings: Any) -> Agent[Any, Any]:
    return Agent("any/model", tools=[look], client=model or ScriptedModel(["yes"]), **settings)


@pytest.mark.parametrize(
    ("settings", "fields"),
    [
        ({"effort": "low"}, {"reasoning": ReasoningConfig("low")}),
        ({"tool_choice": "required"}, {"tool_choice": ToolChoice("required")}),
        ({"tool_choice": "look"}, {"tool_choice": ToolChoice("tool", ["look"])}),
        ({"tool_choice": ["look"]}, {"tool_choice": ToolChoice("required", ["look"])}),
        ({"tool_choice": "none"}, {"tool_choice": ToolChoice("none")}),
        ({"stop": "END"}, {"stop": ["END"]}),
        ({"temperature": 1, "top_p": 0.5}, {"temperature": 1.0, "top_p": 0.5}),
        (
            {"cache": True, "provider_options": {"gemini": {"a": 1}}},
            {"cache": True, "provider_options": {"gemini": {"a": 1}}},
        ),
        ({"cache": False}, {"cache": False}),
    ],
)
async def test_n2_words_become_fields_of_the_request(
    settings: dict[str, Any], fields: dict[str, Any]
) -> None:
    model = ScriptedModel(["yes"])
    await agent_of(model, **settings).run("?")
    by_client = Client(keys={}).request("any/model", "?", tools=[look], **settings)
    for request in (model.requests[0], by_client):
        for name, value in fields.items():
            assert getattr(request, name) == value


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"temperature": "0.2"}, "temperature is a number from 0, such as 0.2, not '0.2'"),
        ({"temperature": True}, "temperature is a number from 0, such as 0.2, not True"),
        ({"temperature": float("nan")}, "temperature is a number"),
        ({"top_p": 2}, "top_p is a number from 0 to 1"),
        ({"max_output_tokens": 0}, "max_output_tokens is a whole number of tokens above 0, not 0"),
        ({"max_output_tokens": 10.5}, "max_output_tokens is a whole number"),
        ({"effort": "hihg"}, "effort is one of .* not 'hihg'; did you mean 'high'?"),
        ({"effort": 3}, "effort is one of"),
        ({"effort": "low", "reasoning": ReasoningConfig("low")}, "say the same thing twice"),
        ({"tool_choice": "requird"}, "tool_choice is 'requird'.*did you mean 'required'?"),
        ({"tool_choice": "lock"}, "tool_choice is 'lock'.*did you mean 'look'?"),
        ({"tool_choice": 3}, "tool_choice is 'auto', 'none', 'required', the name of a tool"),
        ({"stop": 3}, "stop is a text, or a list of texts, not 3"),
        ({"cache": "yes"}, "cache is true or false, not 'yes'"),
        ({"provider_options": []}, "provider_options is a dictionary by dialect"),
        ({"temprature": 1}, "has no 'temprature'; did you mean 'temperature'?"),
        ({"max_tokens": 1}, "has no 'max_tokens'"),
    ],
)
async def test_n2_a_setting_that_cannot_be_is_refused_where_it_is_written(
    settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(RequestError, match=words):
        agent_of(**settings)
    with pytest.raises(RequestError, match=words):
        Client(keys={}).request("any/model", "?", tools=[look], **settings)
    with pytest.raises(RequestError, match=words):
        await agent_of().run("?", settings=settings)  # type: ignore[arg-type]


async def test_n2_one_run_may_have_its_own_model_and_settings() -> None:
    model = FunctionModel(lambda _: "yes")
    agent = agent_of(model, temperature=1.0, effort="low")
    await agent.run("?", model=["other/model", "third/model"], settings={"temperature": 0.5})
    await agent.run("?")
    first, second = model.requests
    assert (first.model, first.temperature) == ("other/model,third/model", 0.5)
    assert first.reasoning == ReasoningConfig("low")
    assert (second.model, second.temperature) == ("any/model", 1.0)
    with pytest.raises(RequestError, match="model is 'provider/name'"):
        await agent.run("?", model=[3])  # type: ignore[list-item]


async def test_n2_a_tool_that_must_be_called_is_one_for_the_first_step() -> None:
    model = ScriptedModel([ToolCall("1", "look"), "It snows."])
    run = await agent_of(model, tool_choice="look", limits=Limits(steps=3)).run("?")
    assert run.reason == "finished"
    assert [request.tool_choice for request in model.requests] == [
        ToolChoice("tool", ["look"]),
        None,
    ]


def test_n2_triage_checks_its_settings_too() -> None:
    with pytest.raises(RequestError, match="temperature is a number"):
        triage("any/model", [agent_of()], temperature="warm")
    assert triage("any/model", [agent_of(name="x")], tool_choice="transfer_to_x")
