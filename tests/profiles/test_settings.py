"""Settings as people write them: M7."""

from __future__ import annotations

from typing import Any

import pytest

from polycall import Agent, tool
from polycall.client import Client
from polycall.errors import RequestError
from polycall.ir import Message, ReasoningConfig, Request, ResponseFormat, Text, ToolChoice
from polycall.testing import ScriptedModel

MODEL = "openai/gpt-5.4"


@tool
def look(at: str) -> str:
    """Look."""
    return at


@pytest.mark.parametrize(
    ("setting", "written", "meant"),
    [
        ("tool_choice", "required", ToolChoice("required")),
        ("tool_choice", "auto", ToolChoice("auto")),
        ("tool_choice", "look", ToolChoice("tool", ["look"])),
        ("reasoning", "high", ReasoningConfig("high")),
        ("reasoning", "none", ReasoningConfig("none")),
        ("reasoning", 2048, ReasoningConfig(budget_tokens=2048)),
        ("response_format", "json", ResponseFormat("json")),
        ("stop", "END", ["END"]),
        ("temperature", 1, 1.0),
    ],
)
def test_m07_words_mean_what_they_say_in_requests_and_agents(
    setting: str, written: Any, meant: Any
) -> None:
    request = Client().request(MODEL, "x", tools=[look], **{setting: written})
    assert getattr(request, setting) == meant
    if setting != "response_format":
        assert Agent(MODEL, tools=[look], **{setting: written}).settings == {setting: meant}


@pytest.mark.parametrize(
    ("setting", "written", "words"),
    [
        ("tool_choice", "requierd", "did you mean 'required'"),
        ("tool_choice", "lok", "did you mean 'look'"),
        ("tool_choice", {"type": "auto"}, "tool_choice is 'auto'"),
        ("reasoning", "hihg", "did you mean 'high'"),
        ("reasoning", -5, "not -5"),
        ("reasoning", True, "not True"),
        ("response_format", "yaml", "'text', 'json'"),
        ("temperature", "0.2", "temperature is a number"),
        ("stop", 3, "stop is a text"),
    ],
)
def test_m07_wrong_words_are_an_error_where_they_stand(
    setting: str, written: Any, words: str
) -> None:
    with pytest.raises(RequestError, match=words.replace("|", r"\|")):
        Client().request(MODEL, "x", tools=[look], **{setting: written})
    if setting != "response_format":
        with pytest.raises(RequestError, match=words.replace("|", r"\|")):
            Agent(MODEL, tools=[look], **{setting: written})


def test_m07_words_in_a_request_that_is_made_by_hand() -> None:
    request = Request(
        MODEL,
        [Message("user", [Text("x")])],
        tools=[look.definition],
        tool_choice="required",  # pyright: ignore[reportArgumentType]
        reasoning="low",  # pyright: ignore[reportArgumentType]
    )
    body = Client(keys={"openai": "k"}).prepare(request).wire.body
    assert body["tool_choice"] == "required"
    assert body["reasoning"] == {"effort": "low"}


async def test_m07_an_agents_words_reach_the_model() -> None:
    model = ScriptedModel(["done"])
    await Agent(MODEL, tools=[look], client=model, reasoning="low", tool_choice="auto").run("x")
