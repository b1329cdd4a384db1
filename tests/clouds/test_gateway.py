"""The gateway in front of the clouds: passed through where the wire is one, translated else."""

from __future__ import annotations

import concurrent.futures
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from polycall.sim import Simulation
from tests.clouds.support import ASKED, WEATHER, aws_keys, service_account
from tests.gateway.harness import KEY, Gateway
from tests.sdk import bedrock_runtime

CLAUDES = ("bedrock-invoke", "bedrock-anthropic", "vertex-anthropic", "foundry-anthropic")
CLOUDS = ("azure", "vertex", "bedrock", *CLAUDES)


def config(sim: Simulation) -> str:
    aws = f"api_key = '{aws_keys(sim)}'\nregion = \"{sim.clouds.region}\"\n"
    azure = 'api_key = "azure-key-simulated"\n'
    google = 'api_key = "file:account.json"\n'
    tables = [
        f'[providers.{name}]\nbase_url = "{sim.base_url(name)}"\n{more}'
        for name, more in (
            ("azure", azure + '[providers.azure.serves]\nours = "gpt-5.4-mini"\n'),
            ("foundry-anthropic", azure),
            ("vertex", google),
            ("vertex-anthropic", google),
            ("bedrock", aws),
            ("bedrock-anthropic", aws),
            ("bedrock-invoke", 'api_key = "bedrock-api-key-simulated"\n'),
        )
    ]
    out = (
        f'[providers.bedrock-ohio]\nlike = "bedrock-anthropic"\nregion = "us-east-2"\n'
        f"base_url = \"{sim.base_url('bedrock-anthropic')}\"\napi_key = '{aws_keys(sim)}'\n"
        '[models.claude]\nroute = ["bedrock-ohio/sim-1", "vertex-anthropic/sim-1"]\n'
        '[models.first-vertex]\nroute = ["vertex-anthropic/sim-1", "bedrock/sim-1"]\n'
    )
    return "\n".join([*tables, out, f'[[keys]]\nkey = "{KEY}"\n'])


@pytest.fixture(scope="module")
def gateway(sim: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("upstreams")
    (folder / "account.json").write_text(service_account(sim), encoding="utf-8")
    served = Gateway(Path(folder), config(sim)).start()
    yield served
    served.stop()


TOOL: Any = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_an_openai_client_on_every_cloud(gateway: Gateway, cloud: str) -> None:
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key=KEY) as client:
        messages: Any = [{"role": "user", "content": ASKED}]
        asked: Any = {"model": f"{cloud}/sim-1", "tools": [TOOL]}
        answer = client.chat.completions.create(messages=messages, **asked)
        message = answer.choices[0].message
        assert message.tool_calls
        result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "맑음"}
        messages += [message.to_dict(), result]
        stream = client.chat.completions.create(messages=messages, stream=True, **asked)
        assert "맑음" in "".join(c.choices[0].delta.content or "" for c in stream if c.choices)


@pytest.mark.parametrize("cloud", CLAUDES)
def test_an_anthropic_client_is_passed_through_to_claudes(
    gateway: Gateway, sim: Simulation, cloud: str
) -> None:
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEY) as client:
        asked: Any = {
            "model": f"{cloud}/sim-1-thinking",
            "max_tokens": 3000,
            "messages": [{"role": "user", "content": ASKED}],
            "tools": [{"name": "get_weather", "input_schema": WEATHER}],
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "extra_headers": {"anthropic-beta": "interleaved-thinking-2025-05-14"},
        }
        answer = client.messages.create(**asked)
        assert answer.stop_reason == "tool_use"
        # A signature as the vendor made it: passed, and neither sealed nor lost.
        thought = answer.content[0]
        assert thought.type == "thinking"
        assert not thought.signature.startswith("pc")
        with client.messages.stream(**asked) as stream:
            final = stream.get_final_message()
        assert final.stop_reason == "tool_use"
        assert final.usage.output_tokens > 0
        sent = sim.requests[-1]
        assert sent.headers.get("anthropic-beta") == "interleaved-thinking-2025-05-14"
        call = final.content[-1]
        assert call.type == "tool_use"
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "맑음"}
        turns: Any = [
            *asked["messages"],
            {"role": "assistant", "content": [block.to_dict() for block in final.content]},
            {"role": "user", "content": [result]},
        ]
        again = client.messages.create(**{**asked, "messages": turns})
        assert again.stop_reason == "end_turn"


def test_boto_is_passed_through_to_bedrock(gateway: Gateway, sim: Simulation) -> None:
    runtime = bedrock_runtime(gateway.url, KEY)
    asked: Any = {
        "modelId": "bedrock/sim-1",
        "messages": [{"role": "user", "content": [{"text": "hi"}]}],
        "requestMetadata": {"team": "서울"},
    }
    answer = runtime.converse(**asked)
    assert answer["metrics"]["latencyMs"] == 12
    assert sim.requests[-1].body["requestMetadata"] == {"team": "서울"}
    events = list(runtime.converse_stream(**{**asked, "modelId": "sim-1"})["stream"])
    assert events[-1]["metadata"]["usage"]["totalTokens"] > 0
    runtime.close()


def test_a_gemini_client_is_passed_through_to_vertex(gateway: Gateway) -> None:
    options = types.HttpOptions(base_url=gateway.url)
    client = genai.Client(api_key=KEY, http_options=options)
    assert client.models.generate_content(model="vertex/sim-1", contents="hi").text
    pieces = client.models.generate_content_stream(model="vertex/sim-1", contents="hi")
    assert "".join(piece.text or "" for piece in pieces)
    client.close()


def test_a_region_that_is_out_is_anothers_turn(gateway: Gateway, sim: Simulation) -> None:
    sim.clouds.regions_out.add("us-east-2")
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEY) as client:
        asked = client.messages.with_raw_response.create(
            model="claude", max_tokens=50, messages=[{"role": "user", "content": "hi"}]
        )
        assert asked.headers["polycall-model"] == "vertex-anthropic/sim-1"


def test_tokens_end_while_many_ask_and_one_is_fetched(gateway: Gateway, sim: Simulation) -> None:
    def ask(_: int) -> str:
        with openai.OpenAI(base_url=gateway.url + "/v1", api_key=KEY) as client:
            messages: Any = [{"role": "user", "content": "hi"}]
            answer = client.chat.completions.create(model="vertex/sim-1", messages=messages)
            return answer.choices[0].message.content or ""

    ask(0)
    before = sim.clouds.tokens_issued
    sim.clouds.revoke_all()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(100)))
    assert sim.clouds.tokens_issued == before + 1


def test_a_refused_refresh_is_anothers_turn(gateway: Gateway, sim: Simulation) -> None:
    sim.clouds.revoke_all()
    sim.clouds.refuses_tokens = True
    try:
        with (
            anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0) as client,
            pytest.raises(anthropic.APIStatusError) as caught,
        ):
            client.messages.create(
                model="vertex-anthropic/sim-1",
                max_tokens=50,
                messages=[{"role": "user", "content": "hi"}],
            )
        assert caught.value.status_code >= 500
        assert "PRIVATE KEY" not in str(caught.value)
        # A route has another cloud for it, whole and streamed.
        asked: Any = {
            "model": "first-vertex",
            "max_tokens": 50,
            "messages": [{"role": "user", "content": "hi"}],
        }
        with anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0) as client:
            whole = client.messages.with_raw_response.create(**asked)
            assert whole.headers["polycall-model"] == "bedrock/sim-1"
            with client.messages.stream(**asked) as stream:
                assert stream.get_final_text()
    finally:
        sim.clouds.refuses_tokens = False


def test_a_deployment_has_the_rules_and_the_price_of_its_model(gateway: Gateway) -> None:
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key=KEY) as client:
        found = json.loads(client.with_raw_response.models.list().text)
    assert found["object"] == "list"


def test_no_secret_stands_in_the_log(gateway: Gateway) -> None:
    for secret in ("azure-key-simulated", "simulated-secret", "ya29.sim", "PRIVATE KEY"):
        assert secret not in gateway.log
