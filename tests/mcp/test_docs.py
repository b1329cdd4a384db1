"""The guide's examples run, and print what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "mcp.md"


def test_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = GUIDE.read_text("utf-8")
    weather, *blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "weather.py").write_text(weather, "utf-8")
    (tmp_path / "guide.py").write_text("".join(blocks), "utf-8")
    # The command as it was installed beside this Python.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")

    def run(*words: str) -> tuple[str, str]:
        done = subprocess.run(
            words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stderr, done.stdout

    printed = "".join(re.findall(r"```text\n(.*?)```", text, re.DOTALL))
    assert run(sys.executable, "-X", "utf8", "guide.py") == ("", printed)
    shown = re.findall(r"^\$ (polycall mcp list .*)\n((?:[^$].*\n)*)", text, re.MULTILINE)
    assert [run("sh", "-c", command) for command, _ in shown] == [("", out) for _, out in shown]
