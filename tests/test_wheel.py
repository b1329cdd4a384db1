"""What would be published: the package, and nothing that runs by itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_j09_the_wheel_holds_the_package_and_nothing_that_runs_by_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entry_points,) = [name for name in names if name.endswith("entry_points.txt")]
        scripts = archive.read(entry_points).decode().split()
    tops = {name.split("/")[0] for name in names}
    assert sorted(top for top in tops if not top.endswith(".dist-info")) == ["polycall"]
    assert len(tops) == 2
    # A .pth file of a wheel would be run at every start of Python.
    assert [name for name in names if name.endswith((".pth", ".so", ".pyc"))] == []
    assert scripts == ["[console_scripts]", "polycall", "=", "polycall.cli:main"]


def test_the_demo_runs_from_the_wheel(tmp_path: Path) -> None:
    """Its data is in it: nothing of the source tree is on the path."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    program = (
        "import sys, polycall; from polycall.cli import main; "
        f"assert polycall.__file__.startswith({str(installed)!r}), polycall.__file__; "
        "sys.exit(main(['demo', '--offline', '--json']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 19  # fifteen runs, and four through the gateway


def build(source: Path, folder: Path) -> bytes:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=source, capture_output=True, check=True, timeout=60)
    (wheel,) = folder.glob("*.whl")
    return wheel.read_bytes()


def test_the_wheel_is_the_same_bytes_wherever_and_whenever_it_is_built(tmp_path: Path) -> None:
    """Whoever has the source can see that a wheel was made of it, and of nothing else."""
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "src"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    for path in copy.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    before = os.umask(0o077)
    try:
        second = build(copy, tmp_path / "second")
    finally:
        os.umask(before)
    assert build(ROOT, tmp_path / "first") == second


def test_the_bill_of_materials_names_what_the_image_installs(tmp_path: Path) -> None:
    lock = ROOT / "deploy" / "requirements.lock"
    bill = tmp_path / "bill.json"
    command = [str(Path(sys.executable).with_name("cyclonedx-py")), "requirements", str(lock)]
    options = ["--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible", "--of", "JSON"]
    subprocess.run([*command, *options, "-o", str(bill)], capture_output=True, check=True)
    told = json.loads(bill.read_text())
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(), re.MULTILINE))
    assert {each["name"]: each["version"] for each in told["components"]} == locked
    assert all(each["externalReferences"] for each in told["components"])
    assert told["metadata"]["component"]["name"] == "polycall"
