"""Fixtures of pytest: simulated vendors for the tests of any application.

Nothing loads this by itself.  Turn it on in the top `conftest.py`:

    pytest_plugins = ["polycall.sim.pytest_plugin"]

One simulation serves the whole session; each fixture shows one vendor of it to one test.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from typing import Literal

import pytest

from polycall.sim.app import Recorded
from polycall.sim.script import Turn
from polycall.sim.server import Simulation

API_KEY = "simulated"
# What the vendors' SDKs read: base URL and key of each (tried on 2026-11-29 with openai 3.57,
# anthropic 2.14 and google-genai 3.6).
VARIABLES: dict[str, tuple[str, str]] = {
    "openai": ("OPENAI_BASE_URL", "OPENAI_API_KEY"),
    "anthropic": ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"),
    "google": ("GOOGLE_GEMINI_BASE_URL", "GEMINI_API_KEY"),
}


class SimulatedVendor:
    """One simulated vendor, as one test sees it.

    `requests` are those of this test.  Give `base_url` and `api_key` to the vendor's SDK.
    """

    api_key = API_KEY

    def __init__(self, simulation: Simulation, vendor: str) -> None:
        self._simulation = simulation
        self._received = simulation.received
        self.vendor = vendor
        self.base_url = simulation.base_url(vendor)

    @property
    def requests(self) -> list[Recorded]:
        """The requests to this vendor since the test began; keys are taken out."""
        new = self._simulation.since(self._received)
        return [each for each in new if each.vendor == self.vendor]

    def script(
        self,
        model: str,
        turns: Sequence[Turn],
        *,
        reasons: Literal["always", "asked", "never"] | None = None,
        calls_tools: bool = True,
    ) -> None:
        """A model that answers with these turns, one a request; more requests are a 500."""
        self._simulation.script(self.vendor, model, turns, reasons=reasons, calls_tools=calls_tools)

    def remaining(self, model: str) -> int:
        """The number of turns of a script that are left."""
        return self._simulation.remaining(self.vendor, model)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the settings of pytest's configuration file."""
    parser.addini(
        "polycall_sim_as_of", "the day whose vendors are simulated, YYYY-MM-DD", default=""
    )
    parser.addini("polycall_sim_seed", "the seed of ids, cuts and fragments", default="0")


@pytest.fixture(scope="session")
def simulation(pytestconfig: pytest.Config) -> Iterator[Simulation]:
    """All simulated vendors, on one free port of the loopback."""
    day = str(pytestconfig.getini("polycall_sim_as_of"))
    seed = int(pytestconfig.getini("polycall_sim_seed"))
    as_of = datetime.date.fromisoformat(day) if day else None
    with Simulation(seed=seed, as_of=as_of) as running:
        yield running


@pytest.fixture
def sim_openai(simulation: Simulation) -> SimulatedVendor:
    """OpenAI: Chat Completions and Responses."""
    return SimulatedVendor(simulation, "openai")


@pytest.fixture
def sim_anthropic(simulation: Simulation) -> SimulatedVendor:
    """Anthropic: Messages."""
    return SimulatedVendor(simulation, "anthropic")


@pytest.fixture
def sim_google(simulation: Simulation) -> SimulatedVendor:
    """Google: the Gemini API."""
    return SimulatedVendor(simulation, "google")


@pytest.fixture
def sim_deepseek(simulation: Simulation) -> SimulatedVendor:
    """DeepSeek: Chat Completions with its reasoning."""
    return SimulatedVendor(simulation, "deepseek")


@pytest.fixture
def sim_compatible(simulation: Simulation) -> SimulatedVendor:
    """A server of the Chat format with bad habits."""
    return SimulatedVendor(simulation, "compatible")


@pytest.fixture
def sim_environment(simulation: Simulation, monkeypatch: pytest.MonkeyPatch) -> Simulation:
    """The environment variables of OpenAI's, Anthropic's and Google's SDKs name the simulation.

    So `OpenAI()`, `Anthropic()` and `genai.Client()` without arguments reach it.
    """
    for vendor, (address, key) in VARIABLES.items():
        monkeypatch.setenv(address, simulation.base_url(vendor))
        monkeypatch.setenv(key, API_KEY)
    # Google's SDK prefers this one, and would warn of two keys.
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    return simulation
