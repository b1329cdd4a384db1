"""Ollama's and Google's Interactions SDKs on the gateway, and the gateway as such a provider."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import ollama
import pytest
from google import genai

from polycall import Client, tool
from polycall.ir import Message, Text, ToolResult
from polycall.providers.provider import Provider
from tests.clouds.support import ASKED, WEATHER
from tests.gateway.harness import KEY, OTHER_KEY, Gateway

MODELS = ("up-chat/sim-1", "up-anthropic/sim-1", "up-gemini/sim-1")


@pytest.fixture(scope="module")
def local(gateway: Gateway) -> Iterator[ollama.Client]:
    client = ollama.Client(host=gateway.url, headers={"authorization": f"Bearer {KEY}"})
    yield client
    client._client.close()  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("model", MODELS)
def test_ollamas_client_calls_tools(local: ollama.Client, model: str) -> None:
    function = {"name": "get_weather", "description": "d", "parameters": WEATHER}
    tools: Any = [{"type": "function", "function": function}]
    messages: list[Any] = [{"role": "user", "content": ASKED}]
    answer = local.chat(model, messages, tools=tools)
    calls = answer.message.tool_calls or []
    assert calls[0].function.name == "get_weather"
    assert answer.done
    assert answer.prompt_eval_count
    messages += [answer.message, {"role": "tool", "tool_name": "get_weather", "content": "맑음"}]
    parts = list(local.chat(model, messages, tools=tools, stream=True))
    assert "맑음" in "".join(part.message.content or "" for part in parts)
    assert parts[-1].done
    assert parts[-1].eval_count


def test_ollama_streams_unasked_and_tells_errors(gateway: Gateway, local: ollama.Client) -> None:
    body = {"model": MODELS[0], "messages": [{"role": "user", "content": "hi"}]}
    request = urllib.request.Request(
        gateway.url + "/api/chat",
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {KEY}"},
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"
        lines = [json.loads(line) for line in answer]
    assert lines[-1]["done"] is True
    with pytest.raises(ollama.ResponseError) as caught:
        local.chat("nobody/none", body["messages"])  # pyright: ignore[reportArgumentType]
    assert caught.value.status_code == 404
    assert any(each.model == "claude-x" for each in local.list().models)


@pytest.mark.parametrize("model", MODELS)
def test_ollamas_client_completes_a_prompt(local: ollama.Client, model: str) -> None:
    answer = local.generate(model, "say héllo", system="short", options={"num_predict": 90})
    assert answer.done
    assert answer.response
    assert answer.eval_count
    pieces = list(local.generate(model, "say 안녕", stream=True))
    assert "".join(piece.response for piece in pieces)
    assert pieces[-1].done
    asked = local.generate(model, "a person as JSON", format=WEATHER)
    assert set(json.loads(asked.response)) == {"city"}
    with pytest.raises(ollama.ResponseError, match="template"):
        local.generate(model, "x", raw=True)
    with pytest.raises(ollama.ResponseError, match="prompt"):
        local.generate(model)
    with pytest.raises(ollama.ResponseError):
        list(local.generate(model.replace("sim-1", "fault-error-midstream"), "tell", stream=True))


def test_ollamas_client_asks_what_a_model_can_do(local: ollama.Client) -> None:
    shown = local.show(MODELS[1])
    assert {"completion", "tools"} <= set(shown.capabilities or [])
    assert local.ps().models == []
    with pytest.raises(ollama.ResponseError) as caught:
        local.show("nobody/none")
    assert caught.value.status_code == 404


@pytest.fixture(scope="module")
def google(gateway: Gateway) -> Iterator[genai.Client]:
    client = genai.Client(api_key=KEY, http_options={"base_url": gateway.url})
    yield client
    client.close()


@pytest.mark.parametrize("model", MODELS)
def test_interactions_go_on_from_what_is_stored(google: genai.Client, model: str) -> None:
    tools: Any = [{"type": "function", "name": "get_weather", "parameters": WEATHER}]
    made: Any = google.interactions.create(model=model, input=ASKED, tools=tools)
    assert made.status == "requires_action"
    (call,) = [step for step in made.steps if step.type == "function_call"]
    assert call.name == "get_weather"
    result: Any = [
        {"type": "function_result", "call_id": call.id, "name": call.name, "result": "맑음"}
    ]
    more: Any = google.interactions.create(
        model=model, input=result, tools=tools, previous_interaction_id=made.id
    )
    assert more.status == "completed"
    texts = [c.text for s in more.steps if s.type == "model_output" for c in s.content]
    assert "맑음" in "".join(texts)
    asked: Any = {"model": model, "input": "and then?", "previous_interaction_id": more.id}
    events = list(google.interactions.create(**asked, stream=True))
    assert events[0].event_type == "interaction.created"
    ended = next(e for e in events if e.event_type == "interaction.completed")
    assert ended.interaction.usage.total_output_tokens > 0
    again: Any = google.interactions.create(
        model=model, input="once more", previous_interaction_id=ended.interaction.id
    )
    assert again.status == "completed"


def test_an_interaction_is_looked_up_and_removed(google: genai.Client, gateway: Gateway) -> None:
    made: Any = google.interactions.create(model=MODELS[1], input="hi")
    found: Any = google.interactions.get(id=made.id)
    assert found.steps == made.steps
    assert found.usage.total_tokens == made.usage.total_tokens > 0
    foreign = gateway.request("GET", f"/v1beta/interactions/{made.id}", key=OTHER_KEY)
    assert foreign.status == 404
    # It is no answer of Responses, whatever asks for it.
    assert gateway.request("GET", f"/v1/responses/{made.id}").status == 404
    google.interactions.delete(id=made.id)
    with pytest.raises(Exception, match="404"):
        google.interactions.get(id=made.id)


def test_an_interaction_that_nobody_knows_is_refused(google: genai.Client) -> None:
    with pytest.raises(Exception, match="previous_interaction_id"):
        google.interactions.create(model=MODELS[0], input="x", previous_interaction_id="v1_unknown")


@tool
def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return city


@pytest.mark.parametrize("dialect", ["ollama-chat", "gemini-interactions", "bedrock-converse"])
@pytest.mark.parametrize("model", ["up-anthropic/sim-1-thinking", "up-chat/sim-1"])
async def test_the_library_asks_such_a_provider(gateway: Gateway, dialect: Any, model: str) -> None:
    auth: Any = "x-goog-api-key" if dialect == "gemini-interactions" else "bearer"
    row = Provider(name="there", dialect=dialect, base_url=gateway.url, auth=auth)
    async with Client(providers=[row], keys={"there": KEY}) as client:
        messages = [Message("user", [Text(ASKED)])]
        answer = await client.generate(f"there/{model}", messages, tools=[get_weather])
        (call,) = answer.tool_calls
        result = ToolResult(call.id, [Text("맑음")], name=call.name)
        messages += [answer.message, Message("tool", [result])]
        async with client.stream(f"there/{model}", messages, tools=[get_weather]) as stream:
            async for _ in stream:
                pass
        assert "맑음" in stream.response.text
        assert stream.response.usage.output_tokens > 0


def test_the_list_of_models_tells_what_routers_tell(gateway: Gateway) -> None:
    request = urllib.request.Request(
        gateway.url + "/v1/models", headers={"authorization": f"Bearer {KEY}"}
    )
    with urllib.request.urlopen(request) as answer:
        models = {each["id"]: each for each in json.load(answer)["data"]}
    found = models["claude-x"]
    assert found["architecture"]["output_modalities"] == ["text"]
    assert "tools" in found["supported_parameters"]
    assert {"context_length", "top_provider"} <= found.keys()
