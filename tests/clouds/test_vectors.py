"""Embeddings and rankings at Bedrock, and for the clouds' own clients, whoever makes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from botocore.exceptions import ClientError
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials

from polycall import Client
from polycall.errors import InvalidRequestError, RequestError
from polycall.sim import Simulation
from polycall.sim.clouds.vectors import vector_of
from tests.clouds.support import at, aws_key, aws_keys
from tests.clouds.test_side import SIZE, Vendor, vendor  # noqa: F401 - a fixture
from tests.clouds.test_side import vector_of as vendors_vector
from tests.gateway.harness import KEY, Gateway
from tests.sdk import bedrock_runtime

TITAN = "amazon.titan-embed-text-v2:0"
TITAN_1 = "amazon.titan-embed-text-v1"
COHERE_3 = "cohere.embed-multilingual-v3"
COHERE_4 = "us.cohere.embed-v4:0"
SIZES = {TITAN: 1024, TITAN_1: 1536, COHERE_3: 1024, COHERE_4: 1536}
PROFILE = "arn:aws:bedrock:eu-west-1:1:application-inference-profile/p1"
TEXTS = ["안녕", "hello 🌍", "third"]


@pytest.fixture(scope="module")
def served(
    sim: Simulation,
    vendor: str,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gateway]:
    tables = (
        f'[providers.bedrock]\nbase_url = "{sim.base_url("bedrock")}"\n'
        f'region = "{sim.clouds.region}"\n'
        f"api_key = '{aws_keys(sim)}'\n[providers.bedrock.serves]\n"
        f'"{PROFILE}" = "{COHERE_3}"\n'
        f'[providers.openai]\nbase_url = "{vendor}/v1"\napi_key = "sk-openai-key"\n'
        f'[providers.azure]\nbase_url = "{vendor}/v1"\napi_key = "sk-azure-key"\n'
        f'[models.embed-alias]\nroute = ["bedrock/{TITAN}"]\n'
    )
    sim.clouds.profiles[PROFILE] = COHERE_3
    folder = Path(tmp_path_factory.mktemp("vectors"))
    gateway = Gateway(folder, f'{tables}\n[[keys]]\nkey = "{KEY}"\n').start()
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def client(served: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=served.url + "/v1", api_key=KEY, max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def runtime(served: Gateway) -> Iterator[Any]:
    made = bedrock_runtime(served.url, KEY)
    yield made
    made.close()


def test_boto_is_taken_by_the_simulation(sim: Simulation) -> None:
    key_id, secret = aws_key(sim)
    runtime = bedrock_runtime(sim.base_url("bedrock"), key_id, secret, region=sim.clouds.region)
    answer = runtime.invoke_model(modelId=TITAN, body=json.dumps({"inputText": "서울"}))
    assert json.loads(answer["body"].read())["embedding"] == vector_of("서울", 1024)
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-bedrock-input-token-count"] == "2"
    with pytest.raises(ClientError, match="input_type"):
        runtime.invoke_model(modelId=COHERE_3, body=json.dumps({"texts": ["x"]}))
    runtime.close()


@pytest.mark.parametrize("model", SIZES)
def test_an_openai_client_embeds_at_bedrock(client: openai.OpenAI, model: str) -> None:
    found = client.embeddings.create(model=f"bedrock/{model}", input=TEXTS)
    vectors = [each.embedding for each in found.data]
    assert vectors == [pytest.approx(vector_of(text, SIZES[model])) for text in TEXTS]
    assert found.usage.prompt_tokens == sum(len(text.encode()) // 4 + 1 for text in TEXTS)


def test_dimensions_batches_and_names_that_hide_the_model(client: openai.OpenAI) -> None:
    few = client.embeddings.create(model="embed-alias", input="x", dimensions=256)
    assert few.data[0].embedding == pytest.approx(vector_of("x", 256))
    many = [f"text {number}" for number in range(100)]
    found = client.embeddings.create(model=f"bedrock/{PROFILE}", input=many)
    assert [each.embedding[0] for each in found.data] == [
        pytest.approx(vector_of(text, 1)[0]) for text in many
    ]


@pytest.mark.parametrize("texts", [["one"], ["one", "two", "three"]])
def test_a_batch_that_is_refused_is_the_vendors_error(
    client: openai.OpenAI, texts: list[str]
) -> None:
    with pytest.raises(openai.BadRequestError, match="valid dimension"):
        client.embeddings.create(model=f"bedrock/{TITAN}", input=texts, dimensions=7)
    with pytest.raises(openai.BadRequestError, match="not a model for embeddings"):
        client.embeddings.create(model="bedrock/amazon.nova-2-multimodal", input=texts)


async def test_the_library_embeds_at_bedrock(sim: Simulation) -> None:
    keys = {"bedrock": aws_keys(sim)}
    async with Client(providers=[at(sim, "bedrock")], keys=keys) as client:
        assert await client.embed(f"bedrock/{COHERE_4}", TEXTS, dimensions=256) == [
            pytest.approx(vector_of(text, 256)) for text in TEXTS
        ]
        with pytest.raises(InvalidRequestError, match="valid dimension"):
            await client.embed(f"bedrock/{TITAN}", TEXTS, dimensions=3)
        with pytest.raises(RequestError, match="not a model for embeddings"):
            await client.embed("bedrock/anthropic.claude", TEXTS)


@pytest.mark.parametrize("model", ["cohere.rerank-v3-5:0", "amazon.rerank-v1:0"])
def test_a_ranking_at_bedrock(served: Gateway, model: str) -> None:
    documents = ["apples", {"text": "seoul is the capital"}, "capital"]
    asked = {"model": f"bedrock/{model}", "query": "the capital", "documents": documents}
    answer = served.post("/v1/rerank", {**asked, "top_n": 2, "return_documents": True})
    assert answer.status == 200, answer.content
    results = answer.json()["results"]
    assert [each["index"] for each in results] == [1, 2]
    assert results[0]["document"] == {"text": "seoul is the capital"}


# The clouds' clients


@pytest.mark.parametrize("model", [TITAN, "openai/text-embedding-3-small"])
def test_boto_embeds_in_titans_format(runtime: Any, model: str) -> None:
    asked = {"inputText": "서울", "dimensions": 256 if model == TITAN else 8}
    answer = runtime.invoke_model(modelId=model, body=json.dumps(asked))
    found = json.loads(answer["body"].read())
    own = vector_of("서울", 256) if model == TITAN else vendors_vector("서울", 8)
    assert found["embedding"] == pytest.approx(own)
    assert found["inputTextTokenCount"] > 0


@pytest.mark.parametrize("typed", [True, False])
def test_boto_embeds_in_coheres_format(runtime: Any, typed: bool) -> None:
    body: dict[str, Any] = {"texts": TEXTS, "input_type": "search_query"}
    if typed:
        body["embedding_types"] = ["float"]
    answer = runtime.invoke_model(modelId="openai/text-embedding-3-small", body=json.dumps(body))
    found = json.loads(answer["body"].read())["embeddings"]
    vectors = found["float"] if typed else found
    assert vectors == [pytest.approx(vendors_vector(text, SIZE)) for text in TEXTS]
    with pytest.raises(ClientError, match="int8"):
        body["embedding_types"] = ["int8"]
        runtime.invoke_model(modelId="openai/text-embedding-3-small", body=json.dumps(body))


def test_azures_client_embeds_by_the_deployment(served: Gateway) -> None:
    with openai.AzureOpenAI(
        api_key=KEY, azure_endpoint=served.url, api_version="2024-10-21"
    ) as azure:
        for name in ("text-embedding-3-small", "embed-alias"):
            vectors = azure.embeddings.create(model=name, input=TEXTS).data
            assert len(vectors) == 3
    path, body = Vendor.seen[-1]
    assert (path, body["model"]) == ("/v1/embeddings", "text-embedding-3-small")


def test_googles_vertex_client_embeds(served: Gateway) -> None:
    client = genai.Client(
        vertexai=True,
        project="p1",
        location="europe-west1",
        credentials=Credentials(token=KEY),  # type: ignore[no-untyped-call]
        http_options=types.HttpOptions(base_url=served.url, api_version="v1"),
    )
    config = types.EmbedContentConfig(output_dimensionality=256, task_type="RETRIEVAL_QUERY")
    found = client.models.embed_content(model="embed-alias", contents=["안녕"], config=config)
    client.close()
    assert found.embeddings
    assert found.embeddings[0].values == pytest.approx(vector_of("안녕", 256))
