"""Configurations of LiteLLM's proxy as teams have them: imported, valid, and serving."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from polycall.cli.importing import litellm
from polycall.cli.importing.found import toml
from polycall.config import parse_config
from polycall.sim import Simulation
from tests.clouds.support import aws_keys, service_account
from tests.gateway.harness import KEY, Gateway

AZURE = """
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: azure/gpt-4o-eu
      api_base: os.environ/AZURE_EU_BASE
      api_key: os.environ/AZURE_EU_KEY
      api_version: "2025-01-01-preview"
      rpm: 900
    model_info: {id: eu, base_model: azure/gpt-4o, mode: chat}
  - model_name: gpt-4o
    litellm_params:
      model: azure/o_series/gpt-4o-us
      api_base: os.environ/AZURE_US_BASE
      azure_ad_token: os.environ/AZURE_US_TOKEN
      weight: 3
    model_info: {base_model: azure/gpt-4o}
  - model_name: entra
    litellm_params:
      model: azure/gpt-4o-entra
      api_base: https://other.openai.azure.com
      tenant_id: os.environ/AZURE_TENANT_ID
      client_id: os.environ/AZURE_CLIENT_ID
      client_secret: os.environ/AZURE_CLIENT_SECRET
  - model_name: text-embedding-3-small
    litellm_params:
      model: azure/embedding
      api_base: os.environ/AZURE_EU_BASE
      api_key: os.environ/AZURE_EU_KEY
    model_info: {mode: embedding, base_model: text-embedding-3-small}
  - model_name: "team-*"
    litellm_params:
      model: azure/*
      api_base: os.environ/AZURE_EU_BASE
      api_key: os.environ/AZURE_EU_KEY
  - model_name: plain
    litellm_params: {model: azure/gpt-4o-plain, api_key: os.environ/AZURE_API_KEY}
router_settings:
  routing_strategy: latency-based-routing
  num_retries: 3
  timeout: 30
  fallbacks: [{"gpt-4o": ["plain"]}]
  redis_host: os.environ/REDIS_HOST
  allowed_fails: 3
  cooldown_time: 60
  retry_policy: {RateLimitErrorRetries: 3}
litellm_settings:
  drop_params: true
  num_retries: 2
  request_timeout: 600
  callbacks: [langfuse, prometheus]
  default_team_settings: [{team_id: a, success_callback: [langfuse]}]
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
  database_url: os.environ/DATABASE_URL
  store_model_in_db: true
environment_variables:
  LANGFUSE_PUBLIC_KEY: pk-in-clear-0815
"""
BEDROCK = """
credential_list:
  - credential_name: prod
    credential_values:
      aws_region_name: os.environ/PROD_REGION
      aws_bedrock_runtime_endpoint: os.environ/BEDROCK_ENDPOINT
    credential_info: {provider: bedrock}
model_list:
  - model_name: claude
    litellm_params:
      model: bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0
      litellm_credential_name: prod
      drop_params: true
  - model_name: claude
    litellm_params:
      model: bedrock/eu-west-1/anthropic.claude-sonnet-4-5-20250929-v1:0
      aws_bedrock_runtime_endpoint: os.environ/BEDROCK_ENDPOINT
  - model_name: profile
    litellm_params:
      model: bedrock/arn:aws:bedrock:eu-west-1:1:application-inference-profile/abc
      litellm_credential_name: prod
  - model_name: provisioned
    litellm_params:
      model: bedrock/converse/anthropic.claude-sonnet-4-5-20250929-v1:0
      model_id: arn:aws:bedrock:eu-west-1:1:provisioned-model/xyz
      litellm_credential_name: prod
  - model_name: gpt-oss
    litellm_params: {model: bedrock/openai.gpt-oss-120b-1:0, litellm_credential_name: prod}
  - model_name: titan
    litellm_params: {model: "bedrock/amazon.titan-embed-text-v2:0", litellm_credential_name: prod}
  - model_name: rerank
    litellm_params: {model: "bedrock/cohere.rerank-v3-5:0", litellm_credential_name: prod}
    model_info: {mode: rerank}
  - model_name: roled
    litellm_params:
      model: bedrock/anthropic.claude-haiku-4-5
      aws_region_name: eu-west-1
      aws_role_name: arn:aws:iam::1:role/a
      aws_session_name: s
  - model_name: lost
    litellm_params: {model: bedrock/anthropic.claude-x, litellm_credential_name: missing}
  - model_name: "bedrock/*"
    litellm_params: {model: "bedrock/*", litellm_credential_name: prod}
litellm_settings:
  fallbacks: [{claude: [gpt-oss]}]
  context_window_fallbacks: [{claude: [profile]}]
guardrails:
  - guardrail_name: pii
    litellm_params: {guardrail: bedrock, mode: pre_call}
"""
VERTEX = """
model_list:
  - model_name: gemini
    litellm_params:
      model: vertex_ai/gemini-2.5-pro
      vertex_project: os.environ/GCP_PROJECT
      vertex_location: os.environ/GCP_LOCATION
      vertex_credentials: os.environ/GCP_ACCOUNT
      safety_settings: [{category: HARM_CATEGORY_HARASSMENT, threshold: BLOCK_NONE}]
  - model_name: claude-vertex
    litellm_params:
      model: vertex_ai/claude-sonnet-4-5@20250929
      vertex_project: sim-project
      vertex_location: global
      vertex_credentials: os.environ/GCP_ACCOUNT
  - model_name: "gemini-*"
    litellm_params:
      model: vertex_ai/gemini-*
      vertex_project: os.environ/GCP_PROJECT
      vertex_location: os.environ/GCP_LOCATION
      vertex_credentials: os.environ/GCP_ACCOUNT
  - model_name: llama
    litellm_params: {model: vertex_ai/meta/llama-4, vertex_project: p, vertex_location: us-east5}
litellm_settings: {default_fallbacks: [claude-vertex], cache: true, cache_params: {type: redis}}
"""
ENVIRONMENT = {
    **dict.fromkeys(("AZURE_EU_KEY", "AZURE_API_KEY"), "azure-key-simulated"),
    **dict.fromkeys(("AZURE_EU_BASE", "AZURE_US_BASE", "AZURE_API_BASE"), "https://x.example/"),
    **{"AZURE_US_TOKEN": "simulated", "LITELLM_MASTER_KEY": KEY, "PROD_REGION": "eu-west-1"},
    **{"BEDROCK_ENDPOINT": "https://bedrock.example", "GCP_PROJECT": "sim-project"},
    **{"GCP_LOCATION": "europe-west4", "GCP_ACCOUNT": "{}", "DATABASE_URL": "sqlite:///x.db"},
}
FILES = {"azure": AZURE, "bedrock": BEDROCK, "vertex": VERTEX}
# What has no counterpart is named, with its place.
SAID = {
    "azure": (
        "model_list[0].litellm_params.rpm: limits belong to clients' keys",
        "AZURE_EU_BASE must hold the resource's address",
        "put them into AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET",
        "router_settings.retry_policy: has no counterpart",
        "router_settings.routing_strategy",
        "litellm_settings.default_team_settings: has no counterpart",
        "general_settings.store_model_in_db: has no counterpart",
        "environment_variables: set them for the process: LANGFUSE_PUBLIC_KEY",
    ),
    "bedrock": (
        "litellm_params.aws_role_name: has no counterpart",
        "'missing' is not in credential_list",
        "litellm_params.drop_params",
        "context_window_fallbacks: fallback is for overload and outage",
        "guardrails: has no counterpart",
    ),
    "vertex": (
        "litellm_params.safety_settings: has no counterpart",
        "the variable must hold the JSON itself",
        "'meta/llama-4': of Vertex, Gemini and Claude are served",
        "the cache is in the gateway's own processes",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_it_is_imported_and_what_it_lost_is_named(name: str) -> None:
    found = litellm.read(FILES[name], "config.yaml")
    made = toml(found)
    config = parse_config(made, environment=ENVIRONMENT)
    notes = "\n".join(found.notes)
    for words in SAID[name]:
        assert words in notes
    assert "in-clear" not in made
    wanted = set(re.findall(r"model_name: [\"']?([^\s,}\"']+)", FILES[name]))
    assert wanted - {*config.models} <= {"llama", "bedrock/*"}


def test_addresses_places_and_names_of_the_imported() -> None:
    config = parse_config(toml(litellm.read(AZURE, "c")), environment=ENVIRONMENT)
    assert config.providers["azure"].base_url == "https://x.example/openai/v1"
    assert config.providers["azure"].serves["gpt-4o-eu"] == "gpt-4o"
    weights = {each.model: each.weight for each in config.models["gpt-4o"].route}
    assert weights == {"azure/gpt-4o-eu": 1, "azure-2/gpt-4o-us": 3, "azure-4/gpt-4o-plain": 0}
    assert config.providers["azure-2"].auth == "bearer"
    assert config.providers["azure-3"].auth == "entra"
    assert [each.model for each in config.models["team-*"].route] == ["azure/*"]
    found = litellm.read(BEDROCK, "c")
    config = parse_config(toml(found), environment=ENVIRONMENT)
    assert config.providers["bedrock"].place == {"region": "eu-west-1"}
    profile = config.models["profile"].route[0].model
    assert profile.endswith("arn:aws:bedrock:eu-west-1:1:application-inference-profile/abc")
    provisioned = config.models["provisioned"].route[0].model.partition("/")
    served = config.providers[provisioned[0]].serves[provisioned[2]]
    assert served == "anthropic.claude-sonnet-4-5-20250929-v1:0"


def test_a_variable_that_is_missing_is_told_where_it_stands() -> None:
    made = toml(litellm.read(AZURE, "c"))
    rest = {name: value for name, value in ENVIRONMENT.items() if name != "AZURE_EU_BASE"}
    with pytest.raises(
        Exception, match=r"providers\.azure\.base_url: .*'AZURE_EU_BASE' is not set"
    ):
        parse_config(made, environment=rest)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_it_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with Simulation(any_model=True) as sim:
        azure = sim.base_url("azure").removesuffix("/openai/v1")
        variables = {
            **ENVIRONMENT,
            **dict.fromkeys(("AZURE_EU_BASE", "AZURE_US_BASE", "AZURE_API_BASE"), azure),
            "BEDROCK_ENDPOINT": sim.base_url("bedrock"),
            "PROD_REGION": sim.clouds.region,
            "GCP_ACCOUNT": service_account(sim),
            **dict(zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), _aws(sim), strict=True)),
        }
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/ledger.db")
        made = toml(litellm.read(FILES[name], "config.yaml"))
        # Vertex's own hosts are all that the file does not say.
        for row in ("vertex", "vertex-anthropic"):
            made = made.replace(
                f"[providers.{row}]\n", f'[providers.{row}]\nbase_url = "{sim.base_url(row)}"\n'
            )
        if "[[keys]]" not in made:
            made += f'\n[[keys]]\nkey = "{KEY}"\n'
        # Harness: keys with other variables are dropped from the child's environment.
        made = re.sub(r"env:(\w+_API_KEY)", "azure-key-simulated", made)
        gateway = Gateway(tmp_path, made).start()
        served = {each: _ask(gateway, each) for each in _ASKED[name]}
        assert gateway.stop() == 0
    assert served == dict.fromkeys(_ASKED[name], 200)


_ASKED = {
    "azure": ("gpt-4o", "plain", "team-anything", "azure/direct"),
    "bedrock": (
        *("claude", "gpt-oss", "titan", "rerank"),
        "bedrock/anthropic.claude-haiku-4-5-20251001-v1:0",
    ),
    "vertex": ("gemini", "claude-vertex", "gemini-9-flash"),
}


def _aws(sim: Simulation) -> tuple[str, str]:
    keys: dict[str, Any] = json.loads(aws_keys(sim))
    return keys["AccessKeyId"], keys["SecretAccessKey"]


def _ask(gateway: Gateway, model: str) -> int:
    said = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    if model == "titan":
        return gateway.post("/v1/embeddings", {"model": model, "input": ["a", "b"]}).status
    if model == "rerank":
        asked = {"model": model, "query": "a", "documents": ["a", "b"]}
        return gateway.post("/v1/rerank", asked).status
    answer = gateway.post("/v1/chat/completions", {**said, "user": "someone", "seed": 3})
    return answer.status
