"""Packages that the operator allows can be imported, offline and read-only."""

from __future__ import annotations

import importlib.metadata
import tempfile
import zipfile
from pathlib import Path

import pytest

from polycall.sandbox import Limits, Sandbox, SandboxError

from .support import usable


def top_level(*names: str) -> list[Path]:
    """The folders and files that some installed distributions put into site-packages."""
    found: set[Path] = set()
    for name in names:
        try:
            files = importlib.metadata.files(name) or []
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{name} is not installed")
        for file in files:
            first = file.parts[0]
            if first not in {"..", "__pycache__"} and not first.endswith(".dist-info"):
                found.add(Path(str(file.locate())).parents[len(file.parts) - 1] / first)
    return sorted(path for path in found if path.suffix not in {".pth"})


def wheel(folder: Path, **files: str) -> Path:
    path = folder / "greeting-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__slash__", "/"), text)
    return path


async def test_numpy_and_pandas():
    await usable("jail")
    packages = top_level("numpy", "pandas", "python-dateutil", "six")
    code = """
import numpy as np, pandas as pd
rows = await get_rows()
table = pd.DataFrame(rows).groupby("team")["points"].agg(["sum", "mean"])
print(table)
try:
    open(np.__file__, "a")
    print("written")
except OSError:
    print("read-only")
[np.linalg.inv(np.array([[2.0, 0.0], [0.0, 4.0]])), table.reset_index(), np.int64(3)]
"""

    async def get_rows() -> list[dict[str, object]]:
        return [{"team": team, "points": n} for n, team in enumerate(["a", "b", "a", "b"])]

    limits = Limits(wall_s=30, cpu_s=30, memory_mib=512)
    sandbox = Sandbox("jail", limits, packages=packages, pool=0)
    async with sandbox, sandbox.session() as session:
        result = await session.run(code, {"get_rows": get_rows})
    assert result.error is None
    assert result.stdout == (
        "      sum  mean\nteam           \na       2   1.0\nb       4   2.0\nread-only\n"
    )
    assert result.value == [
        [[0.5, 0.0], [0.0, 0.25]],
        [{"team": "a", "sum": 2, "mean": 1.0}, {"team": "b", "sum": 4, "mean": 2.0}],
        3,
    ]


async def test_a_wheel_is_unpacked_and_cleared_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    await usable("jail")
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(own))
    path = wheel(tmp_path, greeting__slash__tools="", **{"greeting.py": "WORD = 'hello'"})
    async with Sandbox("jail", packages=[path], pool=0) as sandbox, sandbox.session() as session:
        result = await session.run("import greeting; greeting.WORD")
        assert result.value == "hello"
        assert [path.name.startswith("polycall-package-") for path in own.iterdir()] == [True]
    assert list(own.iterdir()) == []


async def test_without_permission_there_is_none():
    await usable("jail")
    async with Sandbox("jail", pool=0) as sandbox, sandbox.session() as session:
        result = await session.run("import numpy")
    assert str(result.error) == "ModuleNotFoundError: No module named 'numpy'"


async def test_what_is_no_package_is_refused(tmp_path: Path):
    await usable("jail")
    with pytest.raises(SandboxError, match="is not a wheel, a folder or a module"):
        await Sandbox("jail", packages=[tmp_path / "missing.whl"]).__aenter__()
    escaping = wheel(tmp_path, **{"../outside.py": "x = 1"})
    with pytest.raises(SandboxError, match=r"holds a file outside itself: '../outside.py'"):
        await Sandbox("jail", packages=[escaping]).__aenter__()
