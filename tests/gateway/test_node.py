"""The official Node SDKs run the tool cycle, with reasoning, against providers of other vendors.

They are installed from the registry into pytest's cache on first use.
"""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from polycall.sim import Call, Simulation, Turn
from tests.gateway.harness import KEY, UPSTREAMS, Gateway

PACKAGES = [
    "openai@7",
    "@anthropic-ai/sdk@1",
    "@google/genai@3",
    "ai@7",
    "@ai-sdk/openai@4",
    "@ai-sdk/anthropic@4",
]
SCRIPT = Path(__file__).with_name("node") / "cycle.mjs"
FINAL = "서울 3°C, 도쿄 3°C"
SEEN = [["get_weather", {"city": "서울"}], ["get_weather", {"city": "도쿄"}]]

_numbers = itertools.count()


@pytest.fixture(scope="session")
def node(request: pytest.FixtureRequest) -> Path:
    """A folder with the SDKs installed."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm and node are not installed")
    config: Any = request.config
    folder: Path = config.cache.mkdir("node-sdks")
    shutil.copy(SCRIPT, folder / SCRIPT.name)
    if not (folder / "node_modules" / "ai").exists():
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        command = ["npm", "install", "--no-audit", "--no-fund", "--silent", *PACKAGES]
        installed = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=240, check=False
        )
        if installed.returncode != 0:
            pytest.skip(f"npm cannot install the SDKs: {installed.stderr[-300:]}")
    return folder


CASES = [
    *itertools.product(("chat", "responses", "anthropic", "gemini"), UPSTREAMS),
    *itertools.product(("vercel:anthropic", "vercel:openai"), ("up-gemini", "up-responses")),
]
# Chat shows no reasoning, and a compatible server has none.
SILENT = ("up-chat", "up-compatible")


@pytest.mark.parametrize(("sdk", "upstream"), CASES)
def test_node(sim: Simulation, gateway: Gateway, node: Path, sdk: str, upstream: str) -> None:
    name, _, protocol = sdk.partition(":")
    modes = ["whole", "streamed"]
    running: list[tuple[str, str, subprocess.Popen[str]]] = []
    for mode in modes:
        model = f"node-{next(_numbers)}"
        thought = None if upstream in SILENT else "thinking"
        sim.script(
            UPSTREAMS[upstream][0],
            model,
            [
                Turn(reasoning=thought, calls=[Call("get_weather", {"city": "서울"})]),
                Turn(reasoning=thought, calls=[Call("get_weather", {"city": "도쿄"})]),
                Turn(reasoning=thought, text=FINAL),
            ],
        )
        asked = f"{upstream}/{model}"
        asked = f"{protocol}@{asked}" if protocol else asked
        command = ["node", SCRIPT.name, gateway.url, KEY, name, asked, mode]
        process = subprocess.Popen(
            command, cwd=node, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        running.append((mode, model, process))
    for mode, model, process in running:
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, (mode, errors[-1500:])
        assert json.loads(output.splitlines()[-1]) == {"seen": SEEN, "text": FINAL}, mode
        assert sim.remaining(UPSTREAMS[upstream][0], model) == 0
