"""Ollama and Gemini's Interactions as upstreams: simulations that the vendors' own SDKs judge."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ollama
import openai
import pytest
from google import genai
from msgspec.structs import replace

from polycall import Client, tool
from polycall.dialects import openai_chat
from polycall.errors import InvalidRequestError, NotFoundError
from polycall.ir import Media, Message, Reasoning, ResponseFormat, Text, ToolResult
from polycall.sim import Call, Simulation, Turn
from tests.clouds.support import ASKED, WEATHER, at, aws_keys
from tests.gateway.harness import KEY, OTHER_KEY, Gateway
from tests.test_pairs import PIXEL

WIRES = ("google-interactions", "ollama-native")


@tool
def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"{city}: 맑음"


@pytest.fixture(scope="module")
def gateway(sim: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    tables = [
        f'[providers.{name}]\nbase_url = "{sim.base_url(name)}"\napi_key = "simulated"\n'
        for name in WIRES
    ]
    keys = f'[[keys]]\nkey = "{KEY}"\n[[keys]]\nkey = "{OTHER_KEY}"\n'
    folder = Path(tmp_path_factory.mktemp("wires"))
    served = Gateway(folder, "\n".join([*tables, keys])).start()
    yield served
    served.stop()


# The SDKs take what the simulation answers, and it takes what they send.


def test_ollamas_sdk_is_taken_by_the_simulation(sim: Simulation) -> None:
    client = ollama.Client(host=sim.base_url("ollama-native"))
    function = {"name": "get_weather", "description": "d", "parameters": WEATHER}
    tools: Any = [{"type": "function", "function": function}]
    messages: list[Any] = [{"role": "user", "content": ASKED, "images": [PIXEL]}]
    answer = client.chat("sim-1", messages, tools=tools, think=True)
    (call,) = answer.message.tool_calls or []
    assert call.function.arguments.keys() == {"city"}
    messages += [answer.message, {"role": "tool", "tool_name": "get_weather", "content": "맑음"}]
    pieces = list(client.chat("sim-1", messages, tools=tools, stream=True, keep_alive="5m"))
    assert "맑음" in "".join(piece.message.content or "" for piece in pieces)
    assert pieces[-1].done_reason == "stop"
    assert pieces[-1].eval_count
    shaped = client.chat("sim-1", messages, format=WEATHER, options={"num_ctx": 2048})
    assert set(json.loads(shaped.message.content or "")) == {"city"}
    refusals: tuple[tuple[dict[str, Any], str], ...] = (
        ({"model": "nobody"}, "not found"),
        ({"model": "sim-1-mini", "think": True}, "does not support thinking"),
        ({"model": "sim-1", "options": {"num_predict": "many"}}, "num_predict"),
        ({"model": "sim-1", "think": "much"}, "invalid think value"),
    )
    for asked, words in refusals:
        with pytest.raises(ollama.ResponseError, match=words):
            client._request_raw(  # pyright: ignore[reportPrivateUsage]
                "POST", "/api/chat", json={"messages": messages[:1], "stream": False, **asked}
            )
    client._client.close()  # pyright: ignore[reportPrivateUsage]


def test_googles_sdk_is_taken_by_the_simulation(sim: Simulation) -> None:
    client = genai.Client(api_key="k", http_options={"base_url": sim.base_url("google")})
    tools: Any = [{"type": "function", "name": "get_weather", "parameters": WEATHER}]
    image = {"type": "image", "data": PIXEL, "mime_type": "image/png"}
    config: Any = {"thinking_level": "high", "thinking_summaries": "auto", "temperature": 0.5}
    made: Any = client.interactions.create(
        model="sim-1",
        input=[{"type": "text", "text": ASKED}, image],  # type: ignore[list-item]
        tools=tools,
        generation_config=config,
        system_instruction="short",
    )
    assert made.status == "requires_action"
    kinds = [step.type for step in made.steps]
    assert kinds == ["thought", "function_call"]
    result: Any = [{"type": "function_result", "call_id": made.steps[-1].id, "result": "맑음"}]
    events = list(
        client.interactions.create(
            model="sim-1",
            input=result,
            tools=tools,
            previous_interaction_id=made.id,
            stream=True,
        )
    )
    seen = [event.event_type for event in events]
    assert seen[0] == "interaction.created"
    assert seen[-1] == "interaction.completed"
    assert {"step.start", "step.delta", "step.stop"} <= set(seen)
    assert client.interactions.get(id=made.id).steps
    client.interactions.delete(id=made.id)
    lost = [{**step.model_dump(exclude_none=True)} for step in made.steps if step.type != "thought"]
    for asked, words in (
        ({"input": [*lost, *result]}, "thought signature"),
        ({"input": result}, "No function call"),
        ({"input": "x", "previous_interaction_id": made.id}, "not found"),
        ({"input": "x", "generation_config": {"tool_choice": "any"}}, "needs function"),
        ({"input": "x", "generation_config": {"top_k": 3}}, "top_k"),
    ):
        with pytest.raises(Exception, match=words):
            client.interactions.create(model="sim-1", **asked)  # type: ignore[call-overload]
    client.close()


# Our requests, as the simulations judge them.


@pytest.fixture
def client(sim: Simulation) -> Iterator[Client]:
    with Client(
        providers=[at(sim, name) for name in WIRES], keys=dict.fromkeys(WIRES, "k")
    ) as made:
        yield made


@pytest.mark.parametrize("name", WIRES)
def test_state_pictures_and_parallel_calls_go_round(
    client: Client, sim: Simulation, name: str
) -> None:
    turns = [
        Turn(
            reasoning="둘 다.",
            calls=[Call("get_weather", {"city": c}) for c in ("서울", "Ōsaka 🗼")],
        ),
        Turn(reasoning="Done.", text="맑음, both."),
    ]
    sim.script("google" if name.startswith("google") else name, "two", turns)
    asked = [Text(ASKED), Media("image", "image/png", data=PIXEL)]
    messages = [Message("system", [Text("short")]), Message("user", asked)]
    answer = client.generate_sync(f"{name}/two", messages, tools=[get_weather], effort="high")
    assert [call.arguments for call in answer.tool_calls] == [
        {"city": "서울"},
        {"city": "Ōsaka 🗼"},
    ]
    assert any(isinstance(part, Reasoning) for part in answer.message.parts)
    results = [
        ToolResult(call.id, [Text("fine")], is_error=number == 1, name=call.name)
        for number, call in enumerate(answer.tool_calls)
    ]
    messages += [answer.message, Message("tool", [*results])]
    with client.stream_sync(f"{name}/two", messages, tools=[get_weather]) as stream:
        for _ in stream:
            pass
        final = stream.response
    assert final.text == "맑음, both."
    assert final.usage.output_tokens > 0
    assert final.finish_reason == "stop"


@pytest.mark.parametrize("name", WIRES)
def test_a_typed_answer_a_bound_and_refusals(client: Client, name: str) -> None:
    shaped = client.generate_sync(
        f"{name}/sim-1", "a city as JSON", response_format=ResponseFormat("json_schema", WEATHER)
    )
    assert set(json.loads(shaped.text)) == {"city"}
    cut = client.generate_sync(f"{name}/sim-1", "tell me", max_output_tokens=3, stop=["###"])
    assert cut.finish_reason == "length"
    with pytest.raises(NotFoundError, match="not found"):
        client.generate_sync(f"{name}/nobody", "hi")


def test_a_picture_that_is_none_is_refused_by_ollama(client: Client) -> None:
    picture = Media("image", "image/png", data="not base64!")
    with pytest.raises(InvalidRequestError, match="base64"):
        client.generate_sync("ollama-native/sim-1", [Message("user", [picture])])


# Through the gateway: passed where the wire is one, translated else.


@pytest.mark.parametrize("name", WIRES)
def test_an_openai_client_on_both(gateway: Gateway, name: str) -> None:
    function: Any = {"name": "get_weather", "parameters": WEATHER}
    shown = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key=KEY, max_retries=0) as client:
        messages: Any = [{"role": "user", "content": [{"type": "text", "text": ASKED}, shown]}]
        asked: Any = {
            "model": f"{name}/sim-1-thinking",
            "tools": [{"type": "function", "function": function}],
        }
        answer = client.chat.completions.create(messages=messages, **asked)
        message = answer.choices[0].message
        (call,) = message.tool_calls or []
        messages += [
            message.to_dict(),
            {"role": "tool", "tool_call_id": call.id, "content": "맑음"},
        ]
        stream = client.chat.completions.create(messages=messages, stream=True, **asked)
        assert "맑음" in "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
        failing: Any = {"model": f"{name}/fault-error-midstream", "messages": messages[:1]}
        with pytest.raises(openai.APIError):
            list(client.chat.completions.create(stream=True, **failing))


def test_an_interaction_that_passed_is_its_providers_to_keep(gateway: Gateway) -> None:
    client = genai.Client(api_key=KEY, http_options={"base_url": gateway.url})
    model = "google-interactions/sim-1"
    tools: Any = [{"type": "function", "name": "get_weather", "parameters": WEATHER}]
    made: Any = client.interactions.create(model=model, input=ASKED, tools=tools)
    result: Any = [{"type": "function_result", "call_id": made.steps[-1].id, "result": "맑음"}]
    more: Any = client.interactions.create(
        model=model, input=result, tools=tools, previous_interaction_id=made.id
    )
    assert more.status == "completed"
    assert client.interactions.get(id=more.id).steps == more.steps
    assert gateway.request("GET", f"/v1beta/interactions/{more.id}", key=OTHER_KEY).status == 404
    client.interactions.delete(id=more.id)
    with pytest.raises(Exception, match="404"):
        client.interactions.get(id=more.id)
    client.close()


def test_ollamas_client_passes_to_ollama(gateway: Gateway, sim: Simulation) -> None:
    client = ollama.Client(host=gateway.url, headers={"authorization": f"Bearer {KEY}"})
    pieces = list(
        client.chat(
            "ollama-native/sim-1",
            [{"role": "user", "content": "tell me", "images": [base64.b64decode(PIXEL)]}],
            options={"num_ctx": 2048, "mirostat": 2},
            keep_alive="5m",
            stream=True,
        )
    )
    client._client.close()  # pyright: ignore[reportPrivateUsage]
    assert pieces[-1].done
    assert sim.requests[-1].body["options"] == {"num_ctx": 2048, "mirostat": 2}
    assert sim.requests[-1].body["keep_alive"] == "5m"


# What clients of Chat write, and these vendors refuse as it stands.

CALLED: dict[str, Any] = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": each, "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for each in ("c1", "c2")
    ],
}
DONE = {"role": "tool", "tool_call_id": "c1", "content": ""}
ODD: dict[str, list[dict[str, Any]]] = {
    "instructions alone": [{"role": "system", "content": "be"}, {"role": "system", "content": "b"}],
    "a call without a result": [{"role": "user", "content": "a"}, CALLED, DONE],
    "and more after it": [
        {"role": "user", "content": "a"},
        CALLED,
        DONE,
        {"role": "user", "content": "go on"},
    ],
    "blank words": [
        {"role": "system", "content": ""},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": " "},
    ],
}


@pytest.mark.parametrize("odd", ODD)
async def test_what_chat_allows_is_said_so_that_each_takes_it(sim: Simulation, odd: str) -> None:
    keys = {**dict.fromkeys(WIRES, "k"), "bedrock": aws_keys(sim)}
    request = openai_chat.parse_request({"model": "m", "messages": ODD[odd]})
    async with Client(providers=[at(sim, name) for name in keys], keys=keys) as client:
        for name in keys:
            answer = await client.generate_request(replace(request, model=f"{name}/sim-1"))
            assert answer.message.parts, name
