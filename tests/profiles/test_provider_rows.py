"""The rows of vendors and of their quirks, as data."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

import msgspec
import pytest

from polycall.providers import catalogue, quirks
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.provider import Provider
from polycall.providers.quirks import NAMED_QUIRKS
from polycall.translation.quirks import Quirks


def rows(name: str) -> dict[str, Any]:
    return tomllib.loads((files("polycall.providers") / name).read_text(encoding="utf-8"))


def test_a_row_has_the_fields_of_its_base_but_for_its_own() -> None:
    base, own = NAMED_QUIRKS["deepseek"], NAMED_QUIRKS["deepseek-reasoner"]
    changed = {
        name for name in Quirks.__struct_fields__ if getattr(base, name) != getattr(own, name)
    }
    assert changed == {"reasoning_control", "reasoning_replay", "tool_choices"}
    google, interactions = CATALOGUE["google"], CATALOGUE["google-interactions"]
    changed = {
        name
        for name in Provider.__struct_fields__
        if getattr(google, name) != getattr(interactions, name)
    }
    assert changed == {"name", "dialect"}


def test_a_server_is_called_by_its_row_and_a_field_without_bound_is_none() -> None:
    servers = {name: row.server for name, row in NAMED_QUIRKS.items()}
    assert servers == {
        name: name.removesuffix("-reasoner") for name in rows("quirks.toml")["servers"]
    }
    unbound = {name for name, row in NAMED_QUIRKS.items() if row.message_fields is None}
    assert unbound == {"openrouter", "zai", "vllm", "llamacpp"}


def test_every_row_stands_in_the_catalogue_in_its_order() -> None:
    assert list(CATALOGUE) == list(rows("catalogue.toml"))
    assert {name: row.name for name, row in CATALOGUE.items()} == {name: name for name in CATALOGUE}


MISTAKES: list[tuple[Any, dict[str, Any]]] = [
    (quirks, {"families": {}, "servers": {"mine": {"top_q": True}}}),
    (catalogue, {"mine": {"dialect": "anthropic", "base_url": "http://127.0.0.1", "top_q": True}}),
]


@pytest.mark.parametrize(("module", "tables"), MISTAKES)
def test_a_field_that_nobody_knows_is_refused(
    module: Any, tables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def loads(_: str) -> dict[str, Any]:
        return tables

    monkeypatch.setattr(module.tomllib, "loads", loads)
    with pytest.raises(msgspec.ValidationError, match="unknown field `top_q`"):
        module._read()
