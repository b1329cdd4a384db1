"""Every example, on every simulated provider, prints what the documentation says."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from .support import PROVIDERS

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != "start")
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY")


def documented() -> dict[str, str]:
    text = (ROOT / "docs" / "examples.md").read_text()
    return dict(re.findall(r"^## (\w+)\n.*?^```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE))


def test_all_are_documented_and_short() -> None:
    assert sorted(documented()) == NAMES
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text().splitlines()) < 60, path.name


# Processes for each: the provider makes no difference to what they do.
HEAVY = ("moved", "mcp_both_ways", "program", "written")
CASES = [
    pytest.param(
        name,
        vendor,
        marks=[pytest.mark.slow] if name in HEAVY and vendor not in ("openai", "anthropic") else [],
    )
    for name in NAMES
    for vendor in PROVIDERS
    if name != "phone" or vendor == "openai"  # a voice has its own model
]


@pytest.mark.parametrize(("name", "vendor"), CASES)
def test_it_prints_what_is_documented(
    name: str, vendor: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in (*KEYS, "DEEPSEEK_API_KEY", "POLYCALL_MODEL"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--model", f"{vendor}/some-model"])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert capsys.readouterr().out == documented()[name]
