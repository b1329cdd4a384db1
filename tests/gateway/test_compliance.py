"""T22: what the simulation and the gateway answer satisfies the vendors' official schemas.

Judged by `llm-comply`, which brings the schemas along and knows nothing of polycall.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import Any

import pytest

from polycall.sim import Simulation
from tests.gateway.harness import KEY, Gateway

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("llm_comply") is None, reason="llm-comply is not installed"
)
# Format, its header for the key, and more headers.
FORMATS = {
    "open-responses": ["-k", KEY],
    "openai-chat": ["-k", KEY],
    "anthropic": ["-k", KEY, "--auth-header", "x-api-key", "--no-bearer"],
    "google-genai": ["-k", KEY, "--auth-header", "x-goog-api-key", "--no-bearer"],
}
VENDORS = {
    "open-responses": "openai",
    "openai-chat": "openai",
    "anthropic": "anthropic",
    "google-genai": "google",
}


def judged(form: str, base_url: str, model: str) -> list[dict[str, Any]]:
    """The results of all tests of a format."""
    words = ["-u", base_url, "-m", model, "--format", form, "--json", *FORMATS[form]]
    if form == "anthropic":
        words += ["-H", "anthropic-version:2023-06-01"]
    done = subprocess.run(
        [sys.executable, "-m", "llm_comply.cli", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout, done.stderr[-2000:]
    found: Any = json.loads(done.stdout)
    return found if isinstance(found, list) else found["results"]  # pyright: ignore[reportUnknownVariableType]


def failed(results: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
    assert len(results) >= 8
    return [
        (each.get("id") or each.get("name"), each.get("errors"))
        for each in results
        if str(each.get("status")).lower() not in ("passed", "skipped", "pass", "skip")
    ]


@pytest.mark.parametrize("form", FORMATS)
def test_t22_the_simulation(sim: Simulation, form: str) -> None:
    base = sim.base_url(VENDORS[form])
    if form == "google-genai":
        base = base.partition("/google")[0] + "/google"
    elif form == "anthropic":
        base += "/v1"
    assert failed(judged(form, base, "sim-1")) == []


# Each format once translated; the others are run by `make check-all`.
ALWAYS = {
    "open-responses": "up-anthropic",
    "openai-chat": "up-anthropic",
    "anthropic": "up-responses",
    "google-genai": "up-anthropic",
}


@pytest.mark.parametrize(
    ("form", "upstream"),
    [
        pytest.param(form, name, marks=() if name == ALWAYS[form] else pytest.mark.slow)
        for form in FORMATS
        for name in ("up-responses", "up-anthropic", "up-gemini", "up-deepseek")
    ],
)
def test_t22_the_gateway(gateway: Gateway, sim: Simulation, form: str, upstream: str) -> None:
    base = gateway.url if form == "google-genai" else gateway.url + "/v1"
    found = failed(judged(form, base, f"{upstream}/sim-1"))
    if (form, upstream) == ("openai-chat", "up-deepseek"):
        # Passed on as it came: DeepSeek writes no `refusal`, which OpenAI's schema demands.
        vendors = failed(judged(form, sim.base_url("deepseek"), "sim-1"))
        found = [each for each in found if each not in vendors]
        assert all("'refusal'" in str(errors) for _, errors in vendors)
    assert found == []
