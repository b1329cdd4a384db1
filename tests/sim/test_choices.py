"""Several answers, probabilities, functions before tools, and answers in the background."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from polycall.sim import Simulation

from .conftest import WEATHER, Post

ASK = {"role": "user", "content": "What is the weather in Oslo?"}
FUNCTION = {
    "name": "get_weather",
    "description": "Get the weather in a city",
    "parameters": WEATHER,
}
TOOL = {"type": "function", "function": FUNCTION}


@pytest.fixture(scope="module")
def client(sim: Simulation) -> openai.OpenAI:
    return openai.OpenAI(base_url=sim.base_url("openai"), api_key="test", max_retries=0)


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "sim-1", "messages": [ASK], **fields}


@pytest.mark.parametrize("count", [2, 5])
def test_each_choice_is_whole_with_and_without_a_stream(client: openai.OpenAI, count: int) -> None:
    whole = client.chat.completions.create(**chat(n=count, tools=[TOOL]))
    assert [choice.index for choice in whole.choices] == list(range(count))
    calls = [choice.message.tool_calls or [] for choice in whole.choices]
    assert len({call.id for each in calls for call in each}) == count  # no id twice
    single = client.chat.completions.create(**chat(tools=[TOOL]))
    assert whole.usage is not None
    assert single.usage is not None
    assert whole.usage.completion_tokens == count * single.usage.completion_tokens
    arguments = [""] * count
    ends = [""] * count
    for chunk in client.chat.completions.create(**chat(n=count, tools=[TOOL], stream=True)):
        for choice in chunk.choices:
            ends[choice.index] += choice.finish_reason or ""
            for call in choice.delta.tool_calls or []:
                assert call.function is not None
                arguments[choice.index] += call.function.arguments or ""
    assert ends == ["tool_calls"] * count
    assert [json.loads(text) for text in arguments] == [{"city": "Oslo"}] * count


@pytest.mark.parametrize("top", [None, 0, 3])
def test_probabilities_cover_the_text(client: openai.OpenAI, top: int | None) -> None:
    more: dict[str, Any] = {} if top is None else {"top_logprobs": top}
    asked = chat(logprobs=True, **more)
    choice = client.chat.completions.create(**asked).choices[0]
    assert choice.logprobs is not None
    tokens = choice.logprobs.content or []
    assert "".join(token.token for token in tokens) == choice.message.content
    assert all(len(token.top_logprobs) == (top or 0) for token in tokens)
    assert all(token.logprob <= 0 for token in tokens)
    said = shown = ""
    for chunk in client.chat.completions.create(**asked, stream=True):
        for part in chunk.choices:
            said += part.delta.content or ""
            found = part.logprobs.content if part.logprobs is not None else None
            shown += "".join(token.token for token in found or [])
    assert said == shown != ""


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"top_logprobs": 2}, "only allowed when 'logprobs' is enabled"),
        ({"logprobs": True, "model": "sim-1-thinking"}, "'logprobs' is not supported"),
        ({"logprobs": True, "model": "o3"}, "'logprobs' is not supported"),
        ({"function_call": "auto"}, "only allowed when 'functions' are specified"),
        ({"functions": []}, "functions"),
        ({"n": 0}, "'n'"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    post: Post, fields: dict[str, Any], words: str
) -> None:
    answer = post("openai", "/chat/completions", chat(**fields))
    assert answer.status == 400
    assert words in answer.json()["error"]["message"]


def test_a_function_is_called_and_answered_as_before_tools(client: openai.OpenAI) -> None:
    fields: dict[str, Any] = {"functions": [FUNCTION], "function_call": {"name": "get_weather"}}
    choice = client.chat.completions.create(**chat(**fields)).choices[0]
    assert choice.finish_reason == "function_call"
    assert choice.message.tool_calls is None
    called = choice.message.function_call
    assert called is not None
    assert json.loads(called.arguments) == {"city": "Oslo"}
    name = arguments = end = ""
    for chunk in client.chat.completions.create(**chat(**fields, stream=True)):
        part = chunk.choices[0]
        end += part.finish_reason or ""
        if part.delta.function_call is not None:
            name += part.delta.function_call.name or ""
            arguments += part.delta.function_call.arguments or ""
    assert (name, json.loads(arguments), end) == ("get_weather", {"city": "Oslo"}, "function_call")
    history: list[Any] = [
        ASK,
        {"role": "assistant", "content": None, "function_call": called.model_dump()},
        {"role": "function", "name": "get_weather", "content": "4 degrees and rain"},
    ]
    last = client.chat.completions.create(
        model="sim-1", messages=history, functions=fields["functions"]
    ).choices[0]
    assert last.finish_reason == "stop"
    assert "4 degrees and rain" in (last.message.content or "")


@pytest.mark.parametrize(
    "history",
    [
        [{"role": "function", "name": "get_weather", "content": "rain"}],
        [{"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}}],
    ],
)
def test_halves_of_a_function_call_are_taken(post: Post, history: list[Any]) -> None:
    body = chat(messages=[ASK, *history, {"role": "user", "content": "hello"}])
    assert post("openai", "/chat/completions", body).status == 200


def test_candidates_where_the_model_gives_several(post: Post) -> None:
    body = {
        "contents": [{"role": "user", "parts": [{"text": "hello"}]}],
        "generationConfig": {"candidateCount": 3},
    }
    answer = post("google", "/v1beta/models/gemini-2.5-flash:generateContent", body)
    candidates = answer.json()["candidates"]
    assert [each["index"] for each in candidates] == [0, 1, 2]
    refused = post("google", "/v1beta/models/gemini-3.8-flash:generateContent", body)
    assert (refused.status, "Multiple candidates" in str(refused.json())) == (400, True)


@pytest.mark.parametrize("stream", [False, True])
def test_a_background_answer_is_queued_and_kept(client: openai.OpenAI, stream: bool) -> None:
    asked: dict[str, Any] = {"model": "sim-1", "input": "hello", "background": True}
    if stream:
        events = list(client.responses.create(**asked, stream=True))
        assert [event.type for event in events[:2]] == ["response.created", "response.queued"]
        assert events[-1].type == "response.completed"
        opened = events[0].response
    else:
        opened = client.responses.create(**asked)
    assert (opened.status, opened.background, opened.output) == ("queued", True, [])
    kept = client.responses.retrieve(opened.id)
    assert kept.status == "completed"
    assert kept.output_text != ""
    assert client.responses.cancel(opened.id).status == "completed"


def test_a_background_answer_that_is_not_kept_is_refused(post: Post) -> None:
    body = {"model": "sim-1", "input": "hello", "background": True, "store": False}
    assert post("openai", "/responses", body).status == 400
