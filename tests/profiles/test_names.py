"""Names: what people write, and whose model it is.  M0, M4, M6."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from polycall.client import Client
from polycall.config import parse_config
from polycall.exchange import error_from
from polycall.gateway.routing.router import TargetRouter
from polycall.ir import ReasoningConfig, ToolChoice, Usage
from polycall.profiles import LIVING, near_names, own_name, profile, retirement, retirements
from polycall.profiles.rows import load, vendors
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.dialects import DIALECTS
from polycall.providers.prices import cost_usd
from polycall.transport.base import HTTPResponse
from tests.profiles.asking import TOOL, asked


@pytest.mark.parametrize(
    ("vendor", "written", "sent"),
    [
        ("anthropic", "claude-sonnet-4.6", "claude-sonnet-4-6"),
        ("anthropic", "claude-4.5-sonnet", "claude-sonnet-4-5"),
        ("anthropic", "anthropic/claude-opus-5.5", "claude-opus-5-5"),
        ("anthropic", "us.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5-20251001"),
        ("anthropic", "claude-haiku-4-5@20251001", "claude-haiku-4-5-20251001"),
        ("anthropic", "Claude-Fable-5.2", "claude-fable-5-2"),
        ("openai", "gpt-5-4-mini", "gpt-5.4-mini"),
        ("openai", "openai/gpt-6.1-sol", "gpt-6.1-sol"),
        ("google", "models/gemini-3.8-flash", "gemini-3.8-flash"),
        ("google", "publishers/google/models/gemini-3-8-flash", "gemini-3.8-flash"),
        ("deepseek", "deepseek/deepseek-flash", "deepseek-flash"),
        # Words with another sign between them, or none; in another case; in another order.
        ("anthropic", "Claude Sonnet 4.6", "claude-sonnet-4-6"),
        ("anthropic", "claude_5.2_fable", "claude-fable-5-2"),
        ("openai", "GPT 5.4 mini", "gpt-5.4-mini"),
        ("openai", "gpt5.4", "gpt-5.4"),
        ("openai", "gpt-4o-20240806", "gpt-4o-2024-08-06"),
        ("google", "Gemini 3.8 Flash", "gemini-3.8-flash"),
        ("google", "gemini-pro-2.5", "gemini-2.5-pro"),
        ("google", "gemini-4.0-neon", "gemini-4-neon"),
        ("deepseek", "DeepSeek_V4_Pro", "deepseek-v4-pro"),
        # Clouds: a resource's whole address, and Vertex's mark of a snapshot.
        (
            "anthropic",
            "arn:aws:bedrock:us-west-2:123456789012:inference-profile/"
            "us.anthropic.claude-haiku-4-5-20251001-v1:0",
            "claude-haiku-4-5-20251001",
        ),
        ("anthropic", "us-gov.anthropic.claude-sonnet-4-6-v1", "claude-sonnet-4-6"),
        ("anthropic", "claude-opus-5-5@default", "claude-opus-5-5"),
        ("anthropic", "claude-opus-5-5@20260831", "claude-opus-5-5"),
        # Routers and clients: where a model runs, and its latest snapshot.
        ("anthropic", "anthropic/claude-opus-4.8:beta", "claude-opus-4-8"),
        ("deepseek", "deepseek/deepseek-v4-flash:free", "deepseek-v4-flash"),
        ("anthropic", "claude-sonnet-4-6[1m]", "claude-sonnet-4-6"),
        ("anthropic", "claude-sonnet-4.6-latest", "claude-sonnet-4-6"),
        ("anthropic", "claude-sonnet-latest", "claude-sonnet-5-5"),
        ("google", "gemini-flash-latest", "gemini-flash-latest"),
        # Vendors of open weights go by their lists too.
        ("xai", "x-ai/Grok-4-7", "grok-4.7"),
        ("mistral", "mistralai/Mistral-Large", "mistral-large-latest"),
        ("moonshot", "moonshotai/Kimi-K3", "kimi-k3"),
        ("zai", "z-ai/GLM-5-3", "glm-5.3"),
        ("minimax", "minimax/minimax-m3", "MiniMax-M3"),
        ("alibaba", "Qwen3.8-Max", "qwen3.8-max"),
        # What no list has, or means more than a name of a list, is sent as it is.
        ("anthropic", "claude-sonnet-4-6-20270101", "claude-sonnet-4-6-20270101"),
        ("anthropic", "claude-opus-5.5:thinking", "claude-opus-5.5:thinking"),
        ("openai", "gpt-5.4:online", "gpt-5.4:online"),
        ("moonshot", "glm-5.3", "glm-5.3"),
        ("anthropic", "claude-opus-6", "claude-opus-6"),
        ("anthropic", "sim-1", "sim-1"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::x1", "ft:gpt-4o-mini-2024-07-18:acme::x1"),
        ("openai", "gpt-4o-2024-08-06", "gpt-4o-2024-08-06"),
        ("google", "tunedModels/my-model", "tunedModels/my-model"),
    ],
)
def test_m00_a_name_is_sent_as_its_vendor_writes_it(vendor: str, written: str, sent: str) -> None:
    assert own_name(vendor, written) == sent
    name = {"anthropic": "anthropic", "openai": "openai", "google": "google"}.get(vendor, vendor)
    provider, resolved = Client().resolve(f"{name}/{written}")
    assert (provider.name, resolved) == (name, sent)
    (stop,) = TargetRouter(parse_config(f"[providers.{name}]")).possible(f"{name}/{written}") or [
        None
    ]
    assert stop is not None
    assert stop.model == sent


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in CATALOGUE.values():
        for variable in provider.key_variables:
            monkeypatch.setenv(variable, "k")


def test_m00_hosts_with_names_of_their_own_get_what_was_written() -> None:
    for model in (
        "openrouter/anthropic/claude-sonnet-4.6",
        "vllm/claude-sonnet-4.6",
        "groq/moonshotai/kimi-k2-instruct",
        "fireworks/accounts/fireworks/models/glm-5p3",
    ):
        assert Client().resolve(model)[1] == model.partition("/")[2]


@pytest.mark.parametrize(
    ("name", "dialect", "status", "body"),
    [
        (
            "claude-sonet-4-6",
            "anthropic",
            404,
            {"type": "error", "error": {"type": "not_found_error", "message": "model: x"}},
        ),
        (
            "gpt-5.44",
            "openai-responses",
            400,
            {"error": {"message": "no", "code": "model_not_found", "param": "model"}},
        ),
        ("gemini-3.9-flash", "gemini", 404, {"error": {"code": 404, "message": "not found"}}),
    ],
)
def test_m00_an_unknown_name_is_answered_with_the_names_near_it(
    name: str, dialect: str, status: int, body: dict[str, object]
) -> None:
    import msgspec

    http = HTTPResponse.__new__(HTTPResponse)
    http.status, http.headers = status, {}
    error = error_from(DIALECTS[dialect], http, msgspec.json.encode(body), name)  # pyright: ignore[reportArgumentType]
    family = profile(name)
    assert family is not None
    near = near_names(family.vendor, name)
    assert near
    assert all(repr(each) in str(error) for each in near)


def test_m00_a_retired_name_is_near_to_what_replaces_it() -> None:
    assert near_names("deepseek", "deepseek-chat")[0] == "deepseek-flash"
    assert near_names("anthropic", "claude-3-5-haiku-20241022")[0] == "claude-haiku-5-5"
    assert near_names("google", "gemini-1.5-pro")[0] == "gemini-3.8-flash"


@pytest.mark.parametrize("vendor", vendors())
def test_m00_no_two_models_of_a_list_are_spelt_alike(vendor: str) -> None:
    listed = load(vendor)
    for name in listed.known | listed.older | listed.retired.keys():
        assert own_name(vendor, name) == name


HOSTS = """
[providers.foundry]
dialect = "anthropic"
base_url = "https://example.services.ai.azure.com/anthropic"
api_key = "k"

[providers.azure]
dialect = "openai-responses"
base_url = "https://example.openai.azure.com/openai/v1"
api_key = "k"
serves = { reasoner = "gpt-5.6-sol" }

[providers.bedrock]
dialect = "anthropic"
base_url = "https://bedrock-runtime.us-east-1.amazonaws.com"
api_key = "k"

[providers.vertex]
dialect = "gemini"
base_url = "https://aiplatform.googleapis.com"
api_key = "k"

[providers.plain]
dialect = "openai-chat"
base_url = "http://127.0.0.1:1/v1"
api_key = "k"
"""


@pytest.mark.parametrize(
    ("host", "model", "home", "at_home"),
    [
        ("foundry", "claude-opus-5-5", "anthropic", "claude-opus-5-5"),
        ("azure", "gpt-5.6-sol", "openai", "gpt-5.6-sol"),
        ("azure", "reasoner", "openai", "gpt-5.6-sol"),
        ("bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic", "claude-haiku-4-5"),
        ("bedrock", "global.anthropic.claude-opus-5-5", "anthropic", "claude-opus-5-5"),
        ("vertex", "publishers/google/models/gemini-3.8-flash", "google", "gemini-3.8-flash"),
        ("plain", "gpt-4o-2024-08-06", "openai", "gpt-4o"),
    ],
)
def test_m04_a_host_keeps_the_rules_and_the_price_of_the_model_that_it_serves(
    host: str, model: str, home: str, at_home: str
) -> None:
    config = parse_config(HOSTS, environment={})
    provider = config.providers[host]
    usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
    cost = cost_usd(provider, model, usage)
    assert cost is not None
    assert cost == cost_usd(CATALOGUE[home], at_home, usage)
    theirs = CATALOGUE[home].quirks_for(at_home, provider.dialect)
    own = provider.quirks_for(model)
    assert own.refused >= theirs.refused
    assert own.efforts == theirs.efforts or provider.dialect == "openai-chat"
    wire = asked(f"{host}/{model}", provider=provider, temperature=0.3)
    assert ("temperature" in wire.body or "generationConfig" in wire.body) is (
        "temperature" not in theirs.refused and not theirs.sampling_without_thinking
    )


def test_m04_a_refusal_holds_at_a_host_too() -> None:
    config = parse_config(HOSTS, environment={})
    wire = asked(
        "foundry/claude-opus-5-5",
        provider=config.providers["foundry"],
        reasoning=ReasoningConfig(budget_tokens=3000),
        tools=[TOOL],
        tool_choice=ToolChoice("required"),
        lossy=True,
    )
    assert wire.body["thinking"] == {"type": "adaptive"}
    assert wire.body["tool_choice"] == {"type": "auto"}


def test_m04_what_the_configuration_states_wins_over_the_models_rows() -> None:
    text = HOSTS + "[providers.foundry.quirks]\nrefused = []\nlate_system = true\n"
    text += '[providers.foundry.prices]\n"claude-opus-5-5" = { input = 1, output = 2 }\n'
    provider = parse_config(text, environment={}).providers["foundry"]
    quirks = provider.quirks_for("claude-opus-5-5")
    assert (quirks.refused, quirks.late_system) == (frozenset(), True)
    assert quirks.efforts == frozenset({"low", "medium", "high", "xhigh", "max"})
    usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
    assert cost_usd(provider, "claude-opus-5-5", usage) == Decimal(3)
    free = HOSTS.replace('api_key = "k"\n', 'api_key = "k"\nprice_id = ""\n')
    provider = parse_config(free, environment={}).providers["foundry"]
    assert cost_usd(provider, "claude-opus-5-5", usage) is None


def test_m04_prices_by_any_spelling_of_a_name() -> None:
    text = '[providers.anthropic]\napi_key = "k"\n[providers.anthropic.prices]\n'
    text += '"claude-sonnet-4.6" = { input = 1, output = 2 }\n'
    config = parse_config(text, environment={})
    (stop,) = TargetRouter(config).possible("anthropic/claude-sonnet-4.6")
    usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
    assert cost_usd(stop.provider, stop.model, usage) == Decimal(3)


def test_m04_open_weights_elsewhere_have_no_price_of_their_vendors() -> None:
    provider = parse_config(HOSTS, environment={}).providers["plain"]
    usage = Usage(input_tokens=1000, output_tokens=1000)
    for model in ("gpt-oss-120b", "deepseek-v3.2", "qwen3-32b", "my-model"):
        assert cost_usd(provider, model, usage) is None


@pytest.mark.parametrize(
    ("model", "like"),
    [
        ("bedrock/zai.glm-4.7", "glm-4.7"),
        ("bedrock/deepseek.v3.2", "deepseek-v3.2"),
        ("bedrock/openai.gpt-oss-120b-1:0", "gpt-oss-120b"),
        ("bedrock/moonshot.kimi-k2-thinking", "kimi-k2-thinking"),
        ("fireworks/accounts/fireworks/models/glm-5p3", "glm-5.3"),
        ("fireworks/accounts/fireworks/models/kimi-k2p6", "kimi-k2.6"),
        ("cerebras/zai-glm-4.7", "glm-4.7"),
        ("openrouter/anthropic/claude-opus-5.5:thinking", "claude-opus-5-5"),
        ("openrouter/deepseek/deepseek-v3.2:free", "deepseek-v3.2"),
        ("together/moonshotai/Kimi-K3", "kimi-k3"),
        ("groq/qwen/qwen3-32b", "qwen3-32b"),
        ("ollama/gpt-oss:20b", "gpt-oss-20b"),
    ],
)
def test_m04_a_hosts_own_spelling_leads_to_the_models_rules(model: str, like: str) -> None:
    provider, _, name = model.partition("/")
    found = CATALOGUE[provider].profile(name)
    assert found is not None
    assert (found.name, found.like) == (like, "")


@pytest.mark.parametrize(
    ("host", "model", "home", "at_home"),
    [
        ("openrouter", "anthropic/claude-opus-5.5:thinking", "anthropic", "claude-opus-5-5"),
        ("openrouter", "anthropic/claude-sonnet-4-6", "anthropic", "claude-sonnet-4-6"),
        ("openrouter", "openai/gpt-5.4:nitro", "openai", "gpt-5.4"),
        ("azure", "grok-4.6", "xai", "grok-4.6"),
        ("vertex-anthropic", "claude-opus-5-5@default", "anthropic", "claude-opus-5-5"),
    ],
)
def test_m04_a_hosts_name_without_a_row_costs_what_its_model_costs(
    host: str, model: str, home: str, at_home: str
) -> None:
    usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
    cost = cost_usd(CATALOGUE[host], model, usage)
    assert cost is not None
    assert cost == cost_usd(CATALOGUE[home], at_home, usage)
    # What a search costs beyond the model is not known.
    assert cost_usd(CATALOGUE["openrouter"], "openai/gpt-5.4:online", usage) is None


# ---------------------------------------------------------------------------------------------
# Lives


def test_m06_the_models_that_examples_name_live_for_a_month_at_least() -> None:
    soon = datetime.now(UTC).date() + timedelta(days=30)
    for vendor, name in LIVING.items():
        found = profile(name)
        assert found is not None, name
        assert (found.vendor, found.like) == (vendor, ""), name
        end = retirement(name)
        assert end is None or end.on > soon, f"{name} is retired on {end.on}: name {end.instead}"


@pytest.mark.parametrize(
    ("name", "on"),
    [
        ("deepseek/deepseek-chat", date(2026, 7, 24)),
        ("google/gemini-2.5-flash", date(2026, 12, 1)),
        ("claude-sonnet-4.5", date(2026, 11, 30)),
        ("us.anthropic.claude-opus-4-1-20250805-v1:0", date(2026, 8, 5)),
        ("openai/o4-mini", date(2026, 10, 23)),
    ],
)
def test_m06_the_ends_of_models_are_known_by_all_their_names(name: str, on: date) -> None:
    end = retirement(name)
    assert end is not None
    assert end.on == on
    assert end.instead
    assert end.source.url.startswith("https://")
    assert retirement(LIVING["anthropic"]) is None
    assert [each.on for each in retirements()] == sorted(each.on for each in retirements())


ROOT = Path(__file__).parents[2]
_NAMED = re.compile(
    r"\b(anthropic|openai|google|deepseek)/((?:claude|gpt|o\d|gemini|deepseek)[-.a-z0-9]*[a-z0-9])"
)


def named_models() -> list[tuple[str, str, str]]:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "deploy").rglob("*.toml")]
    sources = [*(ROOT / "examples").rglob("*.py"), *(ROOT / "src" / "polycall").rglob("*.py")]
    skipped = {ROOT / "docs" / "models.md"}
    found: list[tuple[str, str, str]] = []
    for path in sorted({*pages, *sources} - skipped):
        if "sim" in path.parts:
            continue
        for vendor, name in _NAMED.findall(path.read_text(encoding="utf-8")):
            found.append((str(path.relative_to(ROOT)), vendor, name))
    return found


def test_m06_examples_docs_and_help_name_living_models_as_their_vendors_write_them() -> None:
    soon = datetime.now(UTC).date() + timedelta(days=30)
    named = named_models()
    assert len(named) > 10
    for path, vendor, name in named:
        assert own_name(vendor, name) == name, f"{path}: {vendor}/{name}"
        end = retirement(name)
        assert end is None or end.on > soon, f"{path}: {name} ends on {end.on}: {end.instead}"


def test_m06_the_demo_asks_living_models() -> None:
    from polycall.cli.demo import REAL

    assert {f"{vendor}/{name}" for vendor, name in REAL.items()} == set(LIVING.values())
