"""Tokens are counted for each cloud's client, by each cloud that counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from google import genai

from polycall.sim import Simulation
from tests.clouds.support import aws_keys, service_account
from tests.gateway.harness import KEY, Gateway, provider_table
from tests.sdk import bedrock_runtime

COUNTING = ("bedrock", "bedrock-invoke", "vertex", "vertex-anthropic", "up-anthropic")
# Chat has no such route: an estimate, which the headers say.
TARGETS = (*COUNTING, "up-chat")


@pytest.fixture(scope="module")
def clouds(sim: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = Path(tmp_path_factory.mktemp("counts"))
    (folder / "account.json").write_text(service_account(sim), encoding="utf-8")
    aws = f"api_key = '{aws_keys(sim)}'\nregion = \"{sim.clouds.region}\"\n"
    google = 'api_key = "file:account.json"\n'
    keys = {"bedrock": aws, "bedrock-invoke": aws, "vertex": google, "vertex-anthropic": google}
    tables = [
        f'[providers.{name}]\nbase_url = "{sim.base_url(name)}"\n{more}'
        for name, more in keys.items()
    ]
    tables.append(provider_table("up-anthropic", sim.base_url("anthropic"), "anthropic"))
    tables.append(provider_table("up-chat", sim.base_url("compatible"), "openai-chat"))
    served = Gateway(folder, "\n".join([*tables, f'[[keys]]\nkey = "{KEY}"\n'])).start()
    yield served
    served.stop()


TOOL = {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}
ANTHROPIC: dict[str, Any] = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "héllo 서울"}],
    "system": "short",
}


@pytest.mark.parametrize("target", TARGETS)
def test_botos_client_counts_with_every_target(clouds: Gateway, target: str) -> None:
    runtime = bedrock_runtime(clouds.url, KEY)
    said = [{"role": "user", "content": [{"text": "héllo 서울"}]}]
    converse = {"messages": said, "system": [{"text": "short"}], "toolConfig": {"tools": [TOOL]}}
    for asked in ({"converse": converse}, {"invokeModel": {"body": json.dumps(ANTHROPIC)}}):
        found = runtime.count_tokens(modelId=f"{target}/sim-1", input=asked)
        assert found["inputTokens"] > 0
        headers = found["ResponseMetadata"]["HTTPHeaders"]
        source = "provider" if target in COUNTING else "estimate"
        assert headers["polycall-token-count"] == source
    runtime.close()


@pytest.mark.parametrize("target", ["vertex", "bedrock-invoke", "up-chat"])
def test_claudes_and_geminis_clients_count_with_every_target(clouds: Gateway, target: str) -> None:
    model = f"{target}/sim-1"
    with (
        anthropic.Anthropic(base_url=clouds.url, api_key=KEY, max_retries=0) as plain,
        anthropic.AnthropicVertex(
            region="r", project_id="p", access_token=KEY, base_url=clouds.url + "/v1"
        ) as vertex,
    ):
        said: Any = [{"role": "user", "content": "hello there"}]
        tools: Any = [{"name": "f", "input_schema": {"type": "object"}}]
        for client in (plain, vertex):
            counted = client.messages.count_tokens(model=model, messages=said, tools=tools)
            assert counted.input_tokens > 0
    google = genai.Client(api_key=KEY, http_options={"base_url": clouds.url})
    assert google.models.count_tokens(model=model, contents="hello there").total_tokens
    google.close()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"input": {"invokeModel": {"body": "한"}}}, "base64"),
        ({"input": {"invokeModel": {"body": "e30"}}}, "base64"),
        ({"input": {"invokeModel": {}}}, "input.invokeModel.body"),
        ({"input": []}, "input"),
        ({}, "input"),
    ],
)
def test_what_is_no_request_to_count_is_refused_by_name(
    clouds: Gateway, body: Any, said: str
) -> None:
    answer = clouds.post("/model/up-chat%2Fsim-1/count-tokens", body)
    assert answer.status == 400
    assert said in answer.json()["message"]
