"""The clouds' official SDKs, pointed at the gateway with a key, on models of several vendors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from botocore.exceptions import ClientError
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials

from polycall.sim import Simulation
from tests.gateway.harness import KEY, Gateway
from tests.sdk import bedrock_runtime

# Two vendors beside the one whose cloud it is.
MODELS = ("up-chat/sim-1", "up-anthropic/sim-1", "up-gemini/sim-1", "up-responses/sim-1")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
ASKED = "What is the weather in 서울? 🌦"


@pytest.fixture(scope="module")
def runtime(gateway: Gateway) -> Iterator[Any]:
    client = bedrock_runtime(gateway.url, KEY)
    yield client
    client.close()


TOOLS = {"tools": [{"toolSpec": {"name": "get_weather", "inputSchema": {"json": SCHEMA}}}]}


@pytest.mark.parametrize("model", MODELS)
def test_boto_converses_with_tools(runtime: Any, model: str) -> None:
    messages: list[Any] = [{"role": "user", "content": [{"text": ASKED}]}]
    answer = runtime.converse(modelId=model, messages=messages, toolConfig=TOOLS)
    assert answer["stopReason"] == "tool_use"
    content = answer["output"]["message"]["content"]
    (use,) = [block["toolUse"] for block in content if "toolUse" in block]
    assert use["name"] == "get_weather"
    assert set(use["input"]) == {"city"}
    assert answer["usage"]["inputTokens"] > 0
    result = {"toolUseId": use["toolUseId"], "content": [{"json": {"sky": "맑음 ☀️"}}]}
    messages += [
        {"role": "assistant", "content": content},
        {"role": "user", "content": [{"toolResult": result}]},
    ]
    answer = runtime.converse(modelId=model, messages=messages, toolConfig=TOOLS)
    assert answer["stopReason"] == "end_turn"
    assert any("맑음" in block.get("text", "") for block in answer["output"]["message"]["content"])


@pytest.mark.parametrize("model", MODELS)
def test_boto_converses_in_streams(runtime: Any, model: str) -> None:
    messages: list[Any] = [{"role": "user", "content": [{"text": ASKED}]}]
    answer = runtime.converse_stream(modelId=model, messages=messages, toolConfig=TOOLS)
    events = list(answer["stream"])
    kinds = [next(iter(event)) for event in events]
    assert kinds[0] == "messageStart"
    assert kinds[-2:] == ["messageStop", "metadata"]
    pieces = [
        event["contentBlockDelta"]["delta"]["toolUse"]["input"]
        for event in events
        if "toolUse" in event.get("contentBlockDelta", {}).get("delta", {})
    ]
    assert set(json.loads("".join(pieces))) == {"city"}
    assert events[-1]["metadata"]["usage"]["outputTokens"] > 0


@pytest.mark.parametrize("model", MODELS)
def test_boto_invokes_in_claudes_format(runtime: Any, model: str) -> None:
    body = json.dumps(
        {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 200,
            "messages": [{"role": "user", "content": "say héllo"}],
        }
    )
    answer = json.loads(runtime.invoke_model(modelId=model, body=body)["body"].read())
    assert answer["type"] == "message"
    assert answer["content"][-1]["text"]
    stream = runtime.invoke_model_with_response_stream(modelId=model, body=body)["body"]
    events = [json.loads(each["chunk"]["bytes"]) for each in stream]
    assert events[0]["type"] == "message_start"
    assert events[-1]["type"] == "message_stop"


def test_boto_reads_the_errors_of_the_gateway(gateway: Gateway, runtime: Any) -> None:
    hello = [{"role": "user", "content": [{"text": "hi"}]}]
    with pytest.raises(ClientError) as caught:
        runtime.converse(modelId="nobody/none", messages=hello)
    assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"
    with pytest.raises(ClientError) as caught:
        runtime.invoke_model(modelId="up-chat/sim-1", body='{"prompt": "hi"}')
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert "anthropic_version" in caught.value.response["Error"]["Message"]
    with pytest.raises(ClientError) as caught:
        runtime.converse(modelId="up-anthropic/fault-429", messages=hello)
    assert caught.value.response["Error"]["Code"] == "ThrottlingException"


@pytest.mark.parametrize("model", MODELS)
def test_anthropics_bedrock_client(gateway: Gateway, model: str) -> None:
    with anthropic.AnthropicBedrock(
        api_key=KEY, base_url=gateway.url, aws_region="us-east-1"
    ) as client:
        asked: Any = {
            "model": model,
            "max_tokens": 300,
            "messages": [{"role": "user", "content": ASKED}],
            "tools": [{"name": "get_weather", "input_schema": SCHEMA}],
        }
        answer = client.messages.create(**asked)
        assert answer.stop_reason == "tool_use"
        with client.messages.stream(**asked) as stream:
            final = stream.get_final_message()
        assert final.stop_reason == "tool_use"
        assert final.content[-1].type == "tool_use"
        assert final.content[-1].input.keys() == {"city"}


@pytest.mark.parametrize("model", MODELS)
def test_anthropics_vertex_client(gateway: Gateway, model: str) -> None:
    with anthropic.AnthropicVertex(
        region="europe-west1", project_id="p1", access_token=KEY, base_url=gateway.url + "/v1"
    ) as client:
        asked: Any = {
            "model": model,
            "max_tokens": 300,
            "messages": [{"role": "user", "content": ASKED}],
            "tools": [{"name": "get_weather", "input_schema": SCHEMA}],
        }
        assert client.messages.create(**asked).stop_reason == "tool_use"
        with client.messages.stream(**asked) as stream:
            assert stream.get_final_message().stop_reason == "tool_use"


@pytest.mark.parametrize("model", MODELS)
def test_googles_vertex_client(gateway: Gateway, model: str) -> None:
    options = types.HttpOptions(base_url=gateway.url, api_version="v1")
    client = genai.Client(
        vertexai=True,
        project="p1",
        location="europe-west1",
        credentials=Credentials(token=KEY),  # type: ignore[no-untyped-call]
        http_options=options,
    )
    function = types.FunctionDeclaration(name="get_weather", parameters_json_schema=SCHEMA)
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[function])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    answer = client.models.generate_content(model=model, contents=ASKED, config=config)
    assert answer.function_calls
    assert answer.function_calls[0].name == "get_weather"
    pieces = list(client.models.generate_content_stream(model=model, contents="hi"))
    assert "".join(piece.text or "" for piece in pieces)
    assert client.models.count_tokens(model=model, contents="hello there").total_tokens
    client.close()


@pytest.mark.parametrize("model", MODELS)
def test_azures_client(gateway: Gateway, model: str) -> None:
    with openai.AzureOpenAI(
        api_key=KEY, azure_endpoint=gateway.url, api_version="2024-10-21"
    ) as client:
        tool: Any = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
        messages: Any = [{"role": "user", "content": ASKED}]
        answer = client.chat.completions.create(model=model, messages=messages, tools=[tool])
        assert answer.choices[0].message.tool_calls
        chunks = list(client.chat.completions.create(model=model, messages=messages, stream=True))
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        reply = client.responses.create(model=model, input="say hello")
        assert reply.output_text


def test_a_deployment_may_be_an_alias(gateway: Gateway, sim: Simulation) -> None:
    with openai.AzureOpenAI(
        api_key=KEY,
        azure_endpoint=gateway.url,
        azure_deployment="claude-x",
        api_version="2024-10-21",
    ) as client:
        messages: Any = [{"role": "user", "content": "hi"}]
        answer = client.chat.completions.create(model="ignored", messages=messages)
    assert answer.choices[0].message.content
    assert sim.requests[-1].vendor == "anthropic"


def test_no_key_is_refused_on_every_path(gateway: Gateway) -> None:
    with (
        openai.AzureOpenAI(
            api_key="wrong", azure_endpoint=gateway.url, api_version="2024-10-21", max_retries=0
        ) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.chat.completions.create(model="gpt-x", messages=[{"role": "user", "content": "x"}])
    with (
        anthropic.AnthropicBedrock(
            api_key="wrong", base_url=gateway.url, aws_region="us-east-1", max_retries=0
        ) as client,
        pytest.raises(anthropic.APIStatusError) as caught,
    ):
        client.messages.create(
            model="claude-x", max_tokens=9, messages=[{"role": "user", "content": "x"}]
        )
    assert caught.value.status_code == 403
