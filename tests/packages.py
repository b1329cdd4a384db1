"""Packages of npm and of PyPI, kept in pytest's cache; tests skip where they cannot be had."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def from_npm(request: pytest.FixtureRequest, name: str, *packages: str, has: str) -> Path:
    """A folder with these packages: they are installed unless `node_modules` has this path."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm and node are not installed")
    assert request.config.cache is not None
    folder = Path(request.config.cache.mkdir(name))
    if not (folder / "node_modules" / has).exists():
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        _run(folder, "npm", "install", "--no-audit", "--no-fund", "--silent", *packages)
    return folder


def from_pypi(folder: Path, *packages: str, has: str) -> Path:
    """The folder of the programs of an environment with these packages."""
    programs = folder / "bin"
    if not (programs / has).exists():
        folder.mkdir(parents=True, exist_ok=True)
        _run(folder, sys.executable, "-m", "venv", str(folder))
        _run(folder, str(programs / "pip"), "install", "--quiet", *packages)
    return programs


def _run(folder: Path, *command: str) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=500, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"{command[-1]} cannot be installed: {done.stderr[-300:]}")
