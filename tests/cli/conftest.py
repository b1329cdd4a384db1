"""A folder as a newcomer has it: a module with tools, and a configuration of ten lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from polycall.sim import Simulation

TOOLS = '''
from typing import Literal
import time
from polycall import tool

@tool
def get_weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> dict[str, str]:
    """The weather in a city now (날씨).

    Args:
        city: the city (도시)
        unit: of the temperature
    """
    return {"city": city, "sky": "맑음"}

def slow_report(city: str) -> str:
    """A slow report about a city (보고서).

    Args:
        city: the city (도시)
    """
    time.sleep(30)
    return "done"

both = [get_weather, slow_report]
number = 3
'''

CONFIG = """
[providers.acme]                      # somebody's own vendor
dialect = "openai-chat"
base_url = "{compatible}"
api_key = "env:ACME_KEY"

[providers.claude]
dialect = "anthropic"
base_url = "{anthropic}"
api_key = "any"

[models.fast]
route = ["acme/fault-503", "claude/sim-1"]
"""


@pytest.fixture(scope="package")
def simulation() -> Iterator[Simulation]:
    with Simulation() as running:
        yield running


@pytest.fixture
def folder(simulation: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "city_tools.py").write_text(TOOLS, encoding="utf-8")
    text = CONFIG.format(
        compatible=simulation.base_url("compatible"), anthropic=simulation.base_url("anthropic")
    )
    (tmp_path / "polycall.toml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACME_KEY", "acme-secret")
    return tmp_path
