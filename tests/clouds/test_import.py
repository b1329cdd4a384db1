"""LiteLLM's models at Azure, Bedrock and Vertex: imported, and served as their names say."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polycall.cli.importing import litellm
from polycall.cli.importing.found import toml
from polycall.sim import Simulation
from tests.clouds.support import aws_keys, service_account
from tests.gateway.harness import KEY, Gateway

# As LiteLLM's pages for these providers write them.
CONFIG = """
model_list:
  - model_name: azure-deployment
    litellm_params:
      model: azure/ours
      api_base: https://simulated.openai.azure.com/
      api_key: os.environ/AZURE_API_KEY
      api_version: "2025-01-01-preview"
    model_info: {base_model: azure/gpt-4o}
  - model_name: azure-own-domain
    litellm_params:
      model: azure/ours-2
      api_base: https://ai.example.com
      api_key: os.environ/AZURE_API_KEY
  - model_name: foundry-llama
    litellm_params:
      model: azure_ai/llama-4
      api_base: https://simulated.services.ai.azure.com/models
      api_key: os.environ/AZURE_AI_API_KEY
  - model_name: foundry-claude
    litellm_params:
      model: azure_ai/claude-sonnet-4-5
      api_base: https://simulated.services.ai.azure.com/anthropic
      api_key: os.environ/AZURE_AI_API_KEY
  - model_name: bedrock-plain
    litellm_params: {model: bedrock/sim-1, aws_region_name: us-east-1}
  - model_name: bedrock-converse
    litellm_params:
      model: bedrock/converse/sim-1
      aws_region_name: us-west-2
      aws_access_key_id: os.environ/SPECIAL_ID
      aws_secret_access_key: os.environ/SPECIAL_SECRET
  - model_name: bedrock-invoke
    litellm_params:
      model: bedrock/invoke/anthropic.claude-sonnet-4-5
      aws_region_name: us-east-1
      aws_access_key_id: os.environ/AWS_ACCESS_KEY_ID
      aws_secret_access_key: os.environ/AWS_SECRET_ACCESS_KEY
  - model_name: vertex-gemini
    litellm_params:
      model: vertex_ai/gemini-2.5-pro
      vertex_project: sim-project
      vertex_location: europe-west4
      vertex_credentials: account.json
  - model_name: vertex-claude
    litellm_params:
      model: vertex_ai/claude-sonnet-4-5@20250929
      vertex_ai_project: sim-project
      vertex_ai_location: us-east5
      vertex_credentials: account.json
  - model_name: nowhere
    litellm_params: {model: azure/ours, api_base: os.environ/AZURE_API_BASE}
  - model_name: agent
    litellm_params: {model: bedrock/agent/ABC/DEF, aws_region_name: us-east-1}
  - model_name: llama-vertex
    litellm_params: {model: vertex_ai/meta/llama-4, vertex_project: p, vertex_location: us-east5}
"""
LEFT_OUT = {"agent", "llama-vertex"}


def test_tables_of_clouds() -> None:
    found = litellm.read(CONFIG, "config.yaml")
    made: dict[str, Any] = tomllib.loads(toml(found))
    providers = made["providers"]
    assert providers["azure"] == {
        "resource": "simulated",
        "api_key": "env:AZURE_API_KEY",
        "serves": {"ours": "gpt-4o"},
    }
    assert providers["ai-example-com"] == {
        "like": "azure",
        "base_url": "https://ai.example.com/openai/v1",
        "api_key": "env:AZURE_API_KEY",
    }
    assert providers["foundry"] == {"resource": "simulated", "api_key": "env:AZURE_AI_API_KEY"}
    assert providers["foundry-anthropic"]["resource"] == "simulated"
    assert providers["bedrock"] == {"region": "us-east-1"}
    assert providers["bedrock-2"] == {
        "like": "bedrock",
        "region": "us-west-2",
        "api_key": "env:AWS_KEYS",
    }
    assert providers["bedrock-invoke"] == {"region": "us-east-1"}
    assert providers["vertex"] == {
        "location": "europe-west4",
        "project": "sim-project",
        "api_key": "file:account.json",
    }
    assert providers["vertex-anthropic"]["location"] == "us-east5"
    assert {*made["models"]} == {*re.findall(r"model_name: (\S+)", CONFIG)} - LEFT_OUT
    notes = "\n".join(found.notes)
    for words in (
        "v1 addresses have no versions",
        "which model stands behind it: 'serves'",
        "AZURE_API_BASE must hold the resource's address without a path",
        "'agent/ABC/DEF': of Bedrock's endpoints not this one",
        "'meta/llama-4': of Vertex, Gemini and Claude are served",
        "put the pair into the variable AWS_KEYS, as JSON",
    ):
        assert words in notes
    assert "has no counterpart" not in notes


@pytest.fixture
def lenient() -> Iterator[Simulation]:
    """Clouds with a deployment of any name."""
    with Simulation(any_model=True) as simulation:
        yield simulation


def test_imported_models_of_clouds_serve(lenient: Simulation, tmp_path: Path) -> None:
    sim = lenient
    text = toml(litellm.read(CONFIG, "config.yaml"))
    providers = tomllib.loads(text)["providers"]
    (tmp_path / "account.json").write_text(service_account(sim), encoding="utf-8")
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("base_url"):
            lines.append(line)
        table = re.fullmatch(r"\[providers\.([\w-]+)\]", line)
        if table is not None:
            name = table.group(1)
            kind = providers[name].get("like", name)
            # Only the host is another than the one that was imported.
            lines.append(f"base_url = {json.dumps(sim.base_url(kind))}")
            if kind.startswith("bedrock") and "api_key" not in providers[name]:
                lines.append(f"api_key = '{aws_keys(sim)}'")
    made = "\n".join(lines).replace('"env:AWS_KEYS"', f"'{aws_keys(sim)}'")
    made = re.sub(r'base_url = "env:AZURE_API_BASE[^"]*"\n', "", made)
    made = re.sub(r"env:AZURE\w+", "azure-key-simulated", made)
    made = re.sub(r'region = "[\w-]+"', f'region = "{sim.clouds.region}"', made)
    gateway = Gateway(tmp_path, f'{made}\n[[keys]]\nkey = "{KEY}"\n').start()
    names = re.findall(r"model_name: (\S+)", CONFIG)
    answers = {
        name: gateway.post(
            "/v1/chat/completions",
            {"model": name, "messages": [{"role": "user", "content": "hi"}]},
        )
        for name in names
    }
    assert gateway.stop() == 0
    for name, answer in answers.items():
        has_no_key = name == "nowhere"  # in the file, nor in the environment
        expected = 404 if name in LEFT_OUT or has_no_key else 200
        assert answer.status == expected, (name, answer.content)
