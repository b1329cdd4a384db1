"""`polycall import`: configurations as users of LiteLLM and Portkey write them; it serves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from polycall.cli.importing import litellm, portkey
from polycall.cli.importing.found import toml
from polycall.errors import RequestError
from polycall.providers.catalogue import CATALOGUE
from polycall.sim import Simulation, Turn
from tests.gateway.harness import KEY, Gateway
from tests.gateway.test_secrets import Echoing
from tests.origins import serving

SECRET = "sk-proj-in-clear-4711"

# Thirty deployments: vendors with and without prefixes, two keys, own servers, prices, wildcards,
# clouds that are not here, limits, fallbacks.
LITELLM = f"""
model_list:
  - model_name: gpt-5
    litellm_params:
      model: openai/gpt-5.4
      api_key: os.environ/OPENAI_API_KEY
      rpm: 500
      weight: 3
  - model_name: gpt-5
    litellm_params:
      model: openai/gpt-5.4
      api_key: os.environ/OPENAI_API_KEY_EU
      api_base: http://127.0.0.1:1/v1
      weight: 1
  - model_name: gpt-5-mini
    litellm_params: {{model: gpt-5-mini, api_key: os.environ/OPENAI_API_KEY}}
  - model_name: o3
    litellm_params: {{model: openai/o3, api_key: {SECRET}}}
  - model_name: claude
    litellm_params: {{model: anthropic/claude-sonnet-4.6, api_key: os.environ/ANTHROPIC_API_KEY}}
  - model_name: claude-opus
    litellm_params:
      model: claude-opus-4-7
      api_key: os.environ/ANTHROPIC_API_KEY
      timeout: 600
  - model_name: "anthropic/*"
    litellm_params: {{model: "anthropic/*", api_key: os.environ/ANTHROPIC_API_KEY}}
  - model_name: gemini-flash
    litellm_params: {{model: gemini/gemini-2.5-flash, api_key: os.environ/GEMINI_API_KEY}}
  - model_name: gemini-pro
    litellm_params: {{model: gemini/gemini-3-pro, api_key: os.environ/GEMINI_API_KEY}}
  - model_name: deepseek
    litellm_params: {{model: deepseek/deepseek-chat, api_key: os.environ/DEEPSEEK_API_KEY}}
  - model_name: deepseek-r
    litellm_params: {{model: deepseek/deepseek-reasoner, api_key: os.environ/DEEPSEEK_API_KEY}}
  - model_name: llama-groq
    litellm_params: {{model: groq/llama-3.3-70b-versatile, api_key: os.environ/GROQ_API_KEY}}
  - model_name: mistral-large
    litellm_params: {{model: mistral/mistral-large-latest, api_key: os.environ/MISTRAL_API_KEY}}
  - model_name: qwen-together
    litellm_params: {{model: together_ai/Qwen/Qwen3-235B, api_key: os.environ/TOGETHER_API_KEY}}
  - model_name: qwen-fireworks
    litellm_params:
      model: fireworks_ai/accounts/fireworks/models/qwen3
      api_key: os.environ/FIREWORKS_API_KEY
  - model_name: grok
    litellm_params: {{model: xai/grok-4, api_key: os.environ/XAI_API_KEY}}
  - model_name: router
    litellm_params: {{model: openrouter/meta-llama/llama-4, api_key: os.environ/OPENROUTER_API_KEY}}
  - model_name: kimi
    litellm_params: {{model: moonshot/kimi-k2, api_key: os.environ/MOONSHOT_API_KEY}}
  - model_name: cerebras
    litellm_params: {{model: cerebras/qwen-3, api_key: os.environ/CEREBRAS_API_KEY}}
  - model_name: local
    litellm_params: {{model: ollama_chat/llama3.1}}
  - model_name: house
    litellm_params:
      model: openai/qwen3-32b
      api_base: http://127.0.0.1:2/v1
      api_key: os.environ/HOUSE_TOKEN
    model_info:
      input_cost_per_token: 0.0000002
      output_cost_per_token: 0.0000006
  - model_name: house-vllm
    litellm_params: {{model: hosted_vllm/qwen3-8b, api_base: "http://127.0.0.1:3/v1"}}
  - model_name: azure-gpt
    litellm_params:
      model: azure/gpt-4o-eu
      api_base: https://example.openai.azure.com
      api_key: os.environ/AZURE_API_KEY
      api_version: "2024-10-21"
  - model_name: bedrock-claude
    litellm_params: {{model: bedrock/anthropic.claude-3-5-sonnet, aws_region_name: eu-west-1}}
  - model_name: vertex
    litellm_params: {{model: vertex_ai/gemini-2.5-pro, vertex_project: p}}
  - model_name: small
    litellm_params: {{model: gpt-5-nano, api_key: os.environ/OPENAI_API_KEY, temperature: 0.2}}
  - model_name: 한국어
    litellm_params: {{model: anthropic/claude-haiku-4-5, api_key: os.environ/ANTHROPIC_API_KEY}}
  - model_name: cheap
    litellm_params: {{model: groq/gemma2-9b-it, api_key: os.environ/GROQ_API_KEY}}
  - model_name: cheap
    litellm_params: {{model: deepseek/deepseek-chat, api_key: os.environ/DEEPSEEK_API_KEY}}
  - model_name: embed
    litellm_params: {{model: cohere/embed-v4, api_key: os.environ/COHERE_API_KEY}}
router_settings:
  routing_strategy: usage-based-routing-v2
  num_retries: 2
  timeout: 120
  fallbacks:
    - gpt-5: [claude, house]
    - claude: [nowhere]
  model_group_alias: {{gpt-4: gpt-5}}
  redis_host: os.environ/REDIS_HOST
litellm_settings:
  drop_params: true
  cache: true
  success_callback: [langfuse]
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
  alerting: [slack]
environment_variables:
  LANGFUSE_SECRET_KEY: sk-lf-in-clear-0815
"""


def test_thirty_models_of_litellm() -> None:
    found = litellm.read(LITELLM, "config.yaml")
    text = toml(found)
    made = tomllib.loads(text)
    assert made["server"] == {"attempts": 3, "total_s": 120.0, "lossy": True}
    assert made["cache"] == {"all": True}
    assert made["keys"] == [{"key": "env:LITELLM_MASTER_KEY", "name": "master"}]
    providers = made["providers"]
    assert providers["openai"] == {"api_key": "env:OPENAI_API_KEY"}
    assert providers["openai-2"] == {
        "dialect": "openai-chat",
        "base_url": "https://api.openai.com/v1",
        "tools_dialect": "openai-responses",
        "quirks": "openai",
        "api_key": "env:OPENAI_API_KEY_2",
    }
    assert providers["anthropic"] == {"api_key": "env:ANTHROPIC_API_KEY"}
    assert providers["google"] == {"api_key": "env:GEMINI_API_KEY"}
    assert providers["together"] == {"api_key": "env:TOGETHER_API_KEY"}
    house = next(p for p in providers.values() if p.get("base_url") == "http://127.0.0.1:2/v1")
    assert house["prices"] == {"qwen3-32b": {"input": 0.2, "output": 0.6}}
    models = {name: table["route"] for name, table in made["models"].items()}
    assert models["claude"] == ["anthropic/claude-sonnet-4.6"]
    assert models["한국어"] == ["anthropic/claude-haiku-4-5"]
    assert models["qwen-together"] == ["together/Qwen/Qwen3-235B"]
    assert models["cheap"] == [
        {"model": "groq/gemma2-9b-it", "weight": 1},
        {"model": "deepseek/deepseek-chat", "weight": 1},
    ]
    weights = [each["weight"] for each in models["gpt-5"]]
    assert weights == [3, 1, 0, 0]
    assert models["gpt-5"][2]["model"] == "anthropic/claude-sonnet-4.6"
    assert [each["model"] for each in models["gpt-4"]][:2] == [
        each["model"] for each in models["gpt-5"]
    ][:2]
    # What stands in the file in clear is not copied, and its place is told.
    assert SECRET not in text
    assert "in-clear" not in text
    places = "\n".join(found.notes)
    for written, words in [
        ("rpm: 500", "rpm: limits belong to clients' keys"),
        (SECRET, "the key stands in the file"),
        ("model: azure/gpt-4o-eu", "which model stands behind it"),
        ("api_version:", "v1 addresses have no versions"),
        ("routing_strategy", "targets are drawn by weight"),
        ("- claude: [nowhere]", "'nowhere' is not a model"),
        ("success_callback", "metrics are at /metrics"),
        ("environment_variables", "set them for the process: LANGFUSE_SECRET_KEY"),
    ]:
        line = next(n for n, text in enumerate(LITELLM.splitlines(), 1) if written in text)
        told = [note for note in found.notes if note.startswith(f"line {line}: ")]
        assert any(words in note for note in told), (line, words, places)


PORTKEY: dict[str, Any] = {
    "strategy": {"mode": "fallback", "on_status_codes": [429, 500]},
    "request_timeout": 20_000,
    "retry": {"attempts": 2},
    "cache": {"mode": "simple", "max_age": 60},
    "targets": [
        {
            "strategy": {"mode": "loadbalance"},
            "targets": [
                {
                    "provider": "openai",
                    "api_key": SECRET,
                    "weight": 0.7,
                    "override_params": {"model": "gpt-5.4", "temperature": 0},
                },
                {
                    "virtual_key": "anthropic-prod-1a2b",
                    "weight": 0.3,
                    "override_params": {"model": "claude-sonnet-4.6"},
                },
            ],
        },
        {
            "provider": "@together-ai",
            "virtual_key": "together-main",
            "override_params": {"model": "Qwen/Qwen3"},
        },
        {"provider": "azure-openai", "override_params": {"model": "gpt-4o"}},
        {"virtual_key": "google-main"},
    ],
    "input_guardrails": ["g1"],
}


def test_a_portkey_config() -> None:
    found = portkey.read(json.dumps(PORTKEY), "prod.json", "prod")
    text = toml(found)
    assert tomllib.loads(text) == {
        "server": {"attempts": 3, "total_s": 20.0},
        "cache": {"all": True, "ttl_s": 60.0},
        "providers": {
            "openai": {"api_key": "env:OPENAI_API_KEY"},
            "anthropic": {"api_key": "env:ANTHROPIC_PROD_1A2B_KEY"},
            "together": {"api_key": "env:TOGETHER_MAIN_KEY"},
            "google": {"api_key": "env:GOOGLE_MAIN_KEY"},
        },
        "models": {
            "prod": {
                "route": [
                    {"model": "openai/gpt-5.4", "weight": 70},
                    {"model": "anthropic/claude-sonnet-4.6", "weight": 30},
                    {"model": "together/Qwen/Qwen3", "weight": 0},
                ]
            }
        },
    }
    assert SECRET not in text
    assert [note.partition(": ")[0] for note in found.notes] == [
        "config.input_guardrails",
        "config.strategy.on_status_codes",
        "config.targets[0].targets[0].api_key",
        "config.targets[0].targets[0].override_params.temperature",
        "config.targets[0].targets[1].virtual_key",
        "config.targets[1].virtual_key",
        "config.targets[2]",
        "config.targets[3].virtual_key",
        "config.targets[3]",
    ]


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "polycall", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONUTF8": "1"},
    )


@pytest.mark.parametrize("kind", ["litellm", "portkey"])
def test_the_result_serves(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Simulation() as sim:
        url = sim.base_url("compatible")
        sim.script("compatible", "qwen3-32b", [Turn(text="hello")])
        if kind == "litellm":
            text = LITELLM.replace("http://127.0.0.1:2/v1", url)
            model, name = "house", "config.yaml"
        else:
            target = {
                "provider": "openai",
                "custom_host": url,
                "virtual_key": "openai-sim",
                "override_params": {"model": "sim-1"},
            }
            text = json.dumps({"strategy": {"mode": "fallback"}, "targets": [target, PORTKEY]})
            model, name = "prod", "prod.json"
        (tmp_path / name).write_text(text, encoding="utf-8")
        done = run(tmp_path, "import", kind, name)
        assert done.returncode == 0, done.stderr
        made = (tmp_path / "polycall.toml").read_text(encoding="utf-8")
        for line in made.splitlines():
            for word in line.replace('"', " ").split():
                if word.startswith("env:"):
                    monkeypatch.setenv(word[4:].rstrip(",]"), "any-key-for-the-test")
        checked = run(tmp_path, "serve", "--config", "polycall.toml", "--check")
        assert checked.returncode == 0, checked.stderr
        again = run(tmp_path, "import", kind, name)
        assert (again.returncode, "--force" in again.stderr) == (1, True)
        made += f'\n[[keys]]\nkey = "{KEY}"\n'
        # The harness takes keys out of the environment.
        made = re.sub(r"env:\w+", "any-key-for-the-test", made)
        gateway = Gateway(tmp_path, made)
        gateway.start()
        try:
            body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
            answer = gateway.post("/v1/chat/completions", body)
            assert answer.status == 200, answer.content
            assert answer.headers["polycall-model"].endswith(
                "/qwen3-32b" if kind == "litellm" else "/sim-1"
            )
        finally:
            assert gateway.stop() == 0


def at(url: str, made: str) -> str:
    """The configuration with every provider at this address."""
    providers = tomllib.loads(made)["providers"]
    lines: list[str] = []
    for line in made.splitlines():
        if not line.startswith("base_url"):
            lines.append(line)
        found = re.fullmatch(r"\[providers\.([\w-]+)\]", line)
        if found is not None:
            name = found.group(1)
            dialect = providers[name].get("dialect") or CATALOGUE[name].dialect
            lines.append(f'base_url = "{url}{"/v1" if dialect == "openai-chat" else ""}"')
    return re.sub(r"env:\w+", "any-key-for-the-test", "\n".join(lines))


def test_every_model_of_litellm_that_has_a_counterpart_serves(tmp_path: Path) -> None:
    found = litellm.read(LITELLM, "config.yaml")
    wanted = re.findall(r"model_name: [\"']?([^\s,}\"']+)", LITELLM)
    left_out = {
        wanted[int(place)]
        for note in found.notes
        if "no such provider here; left out" in note
        for place in re.findall(r"model_list\[(\d+)\]", note)
    }
    assert (len(wanted), left_out) == (30, set())
    assert [name for name in found.providers if name.startswith("127")] == [
        "127-0-0-1", "127-0-0-1-2", "127-0-0-1-3",
    ]  # fmt: skip
    with serving(Echoing) as url:
        made = f'{at(url, toml(found))}\n[[keys]]\nkey = "{KEY}"\n'
        gateway = Gateway(tmp_path, made).start()
        # tests/clouds/test_import.py has the clouds, which do not answer as this one server.
        for name in (each for each in wanted if each not in ("bedrock-claude", "vertex")):
            body = {
                "model": name.replace("*", "claude-sonnet-4.6"),
                "messages": [{"role": "user", "content": "hi"}],
            }
            answer = gateway.post("/v1/chat/completions", body)
            assert answer.status == 200, (name, answer.content)
        assert gateway.stop() == 0


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("litellm", "a: [", "is not plain YAML"),
        ("litellm", "model_list: &all [*all]", "its aliases repeat so much"),
        ("litellm", "- 1", "expected a table, got list"),
        ("litellm", "models: []", "has no model_list"),
        ("litellm", "model_list: [3]", "model_list[0]: expected a table"),
        ("litellm", "model_list: [{model_name: a}]", "model_list[0].litellm_params"),
        (
            "litellm",
            "model_list: [{model_name: a, litellm_params: "
            '{model: azure/gpt-4o, api_base: "https://[::1"}}]',
            "model_list[0].litellm_params.api_base: 'https://[::1' is not an address",
        ),
        ("portkey", "{", "is not JSON"),
        ("portkey", "[" * 100_000, "is nested too deeply"),
        ("portkey", "[]", "expected a table"),
        ("portkey", "{}", "no targets and no provider"),
        ("portkey", '{"targets": [3]}', "config.targets[0]"),
        (
            "litellm",
            "{model_list: [], router_settings: {timeout: soon}}",
            "router_settings.timeout: expected a number, got 'soon'",
        ),
        ("litellm", "{model_list: [], litellm_settings: {request_timeout: []}}", "got []"),
        ("portkey", '{"targets": [], "strategy": "loadbalance"}', "config.strategy: expected a"),
        ("portkey", '{"targets": [], "request_timeout": true}', "expected a number, got True"),
        ("portkey", '{"provider": "openai", "override_params": 3}', "config.override_params"),
        ("portkey", '{"provider": "openai", "custom_host": "http://[::1"}', "is not an address"),
    ],
)
def test_what_is_none_is_told(kind: str, text: str, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        if kind == "litellm":
            litellm.read(text, "file")
        else:
            portkey.read(text, "file", "name")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("address", "imported"),
    [
        ("http://localhost:11434", "http://localhost:11434/v1"),
        ("http://localhost:11434/", "http://localhost:11434/v1"),
        ("http://gpu:1/v1", "http://gpu:1/v1"),
        ("http://gpu:1/api", "http://gpu:1/v1"),
    ],
)
@pytest.mark.parametrize("prefix", ["ollama", "ollama_chat"])
def test_n14_ollamas_address_is_the_one_of_its_chat_protocol(
    prefix: str, address: str, imported: str
) -> None:
    found = litellm.read(
        f"model_list:\n- model_name: small\n  litellm_params:\n"
        f"    model: {prefix}/llama3\n    api_base: {address}\n",
        "config.yaml",
    )
    assert [row.base_url for row in found.providers.values()] == [imported]


@pytest.mark.parametrize(
    ("model", "mode"),
    [
        ("openai/text-embedding-3-small", ""),
        ("openai/whisper-1", ""),
        ("openai/gpt-4o-transcribe", ""),
        ("openai/anything", "embedding"),
        ("cohere/rerank-v3", "rerank"),
    ],
)
def test_n14_models_that_are_not_for_conversations_say_so(model: str, mode: str) -> None:
    info = f"  model_info:\n    mode: {mode}\n" if mode else ""
    found = litellm.read(
        f"model_list:\n- model_name: other\n  litellm_params:\n    model: {model}\n{info}",
        "config.yaml",
    )
    assert found.models == {"other": [{"model": model}]}
    assert any("'other' is for " in note for note in found.notes)


def test_n14_a_model_for_conversations_stands_in_for_no_other_kind() -> None:
    text = """
model_list:
- {model_name: talk, litellm_params: {model: openai/gpt-a}}
- {model_name: voice, litellm_params: {model: openai/tts-1}}
- {model_name: vectors, litellm_params: {model: text-embedding-3-small}}
- {model_name: vectors2, litellm_params: {model: cohere/embed-v4.0}}
- {model_name: spare, litellm_params: {model: anthropic/claude-c}}
router_settings:
  fallbacks: [{vectors: [vectors2, talk]}]
litellm_settings:
  default_fallbacks: [spare]
"""
    found = litellm.read(text, "config.yaml")
    assert {name: [each["model"] for each in route] for name, route in found.models.items()} == {
        "talk": ["openai/gpt-a", "anthropic/claude-c"],
        "voice": ["openai/tts-1"],
        "vectors": ["openai/text-embedding-3-small", "cohere/embed-v4.0"],
        "vectors2": ["cohere/embed-v4.0"],
        "spare": ["anthropic/claude-c"],
    }
    words = "'vectors' is for embeddings, 'talk' for conversations; left out"
    assert any(words in note for note in found.notes)


def test_n14_a_cache_has_its_ttl_and_default_fallbacks_stand_in_for_each() -> None:
    text = """
model_list:
- {model_name: one, litellm_params: {model: openai/gpt-a}}
- {model_name: two, litellm_params: {model: openai/gpt-b}}
- {model_name: spare, litellm_params: {model: anthropic/claude-c}}
router_settings:
  fallbacks: [{two: [one]}]
litellm_settings:
  default_fallbacks: [spare]
  cache: true
  cache_params: {type: local, ttl: 120, s3_bucket_name: x}
"""
    found = litellm.read(text, "config.yaml")
    assert found.tables["cache"] == {"all": True, "ttl_s": 120}
    assert [each["model"] for each in found.models["one"]] == ["openai/gpt-a", "anthropic/claude-c"]
    assert [each["model"] for each in found.models["two"]] == ["openai/gpt-b", "openai/gpt-a"]
    assert [each["model"] for each in found.models["spare"]] == ["anthropic/claude-c"]
    assert any("s3_bucket_name" in note for note in found.notes)
