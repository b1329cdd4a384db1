"""`polycall models MODEL`, `--retired`, and what `doctor` says of a configuration's models."""

from __future__ import annotations

import json
from datetime import date

import pytest

from polycall.cli.model_profile import check_names, show_profile, show_retired
from polycall.config import parse_config
from polycall.errors import RequestError
from polycall.profiles import FEATURES
from polycall.providers.catalogue import CATALOGUE


def test_a_profile_has_a_source_and_a_day_for_each_feature() -> None:
    text = show_profile("anthropic/claude-opus-5.5", CATALOGUE, as_json=False)
    assert text.startswith("anthropic/claude-opus-5.5: anthropic, sent as 'claude-opus-5-5'")
    lines = [line for line in text.splitlines() if line.startswith("  ")]
    assert len(lines) >= 20
    assert all("https://" in line and "2026-" in line for line in lines)
    shown = json.loads(show_profile("openai/gpt-6.1-sol", CATALOGUE, as_json=True))
    assert shown["features"]["efforts"]["value"] == ["low", "medium", "high", "xhigh", "max"]
    assert shown["features"].keys() <= FEATURES.keys()
    assert shown["is_listed"] is True


def test_an_unknown_model_is_shown_with_whose_rules_it_follows() -> None:
    text = show_profile("claude-opus-6", CATALOGUE, as_json=False)
    assert "the rules of 'claude-opus-5-5' are followed; near: 'claude-opus-" in text
    with pytest.raises(RequestError, match="nothing is known of a model 'my-model'"):
        show_profile("my-model", CATALOGUE, as_json=False)


def test_retired_models_are_listed_with_what_replaces_them() -> None:
    day = date(2026, 11, 29)
    text = show_retired(as_json=False, day=day)
    assert "2026-07-24  ended  deepseek-chat" in text
    assert "2026-12-01  ends   gemini-2.5-flash" in text
    rows = {row["model"]: row for row in json.loads(show_retired(as_json=True, day=day))}
    assert rows["claude-sonnet-4-5"]["instead"] == "claude-sonnet-5-5"
    assert rows["claude-sonnet-4-5"]["has_ended"] is False


CONFIG = """
[providers.anthropic]
api_key = "k"
models = ["claude-opus-6"]
[providers.deepseek]
api_key = "k"
[providers.google]
api_key = "k"
[models.fast]
route = ["deepseek/deepseek-chat", "google/gemini-2.5-flash", "anthropic/claude-sonnet-4.6"]
[[keys]]
key = "x"
models = ["fast", "anthropic/claude-3-5-haiku-latest", "google/*"]
"""


def test_m06_doctor_tells_of_dead_names_in_a_configuration() -> None:
    config = parse_config(CONFIG, environment={})
    found = {each.name: each for each in check_names(config, date(2026, 11, 29))}
    assert found["model deepseek/deepseek-chat"].state == "fail"
    assert "'deepseek-flash'" in found["model deepseek/deepseek-chat"].detail
    assert found["model google/gemini-2.5-flash"].state == "warn"
    assert found["model anthropic/claude-3-5-haiku-latest"].state == "fail"
    assert found["model anthropic/claude-opus-6"].state == "warn"
    assert "near: 'claude-opus-" in found["model anthropic/claude-opus-6"].detail
    assert len(found) == 4
    living = parse_config('[models.a]\nroute = ["anthropic/claude-sonnet-4-6"]\n', environment={})
    (only,) = check_names(living, date(2026, 11, 29))
    assert only.state == "ok"
    assert check_names(parse_config("", environment={})) == []
