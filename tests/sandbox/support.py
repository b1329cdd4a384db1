"""What the sandbox's tests share: the shared programs, small tools, and running as another user."""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from polycall.sandbox import RuntimeUnavailableError, Sandbox
from tests.support import SHARED

REPOSITORY = Path(__file__).parents[2]
HERE = Path(__file__).parent
NOBODY = 65534


@dataclass(frozen=True)
class Program:
    name: str
    code: str
    stdout: str


def shared_ptc() -> Path:
    """The folder of shared programs and escape attempts; skips where it is absent."""
    folder = SHARED.resolve() / "ptc"
    if not folder.exists():
        pytest.skip(f"no programs at {folder}; set POLYCALL_SHARED to where they are")
    return folder


def read_program(path: Path) -> Program:
    """A program with the output that its header promises."""
    head, _, code = path.read_text("utf-8").partition("# ---\n")
    lines = [line[4:] for line in head.splitlines() if line.startswith("#   ")]
    return Program(path.stem, code, "".join(f"{line}\n" for line in lines))


async def usable(tier: str) -> None:
    """Skips where this machine cannot run a tier."""
    try:
        async with Sandbox(tier, pool=0):  # pyright: ignore[reportArgumentType]
            pass
    except RuntimeUnavailableError as error:
        pytest.skip(f"no tier {tier!r} here: {error}")


def command_as_nobody() -> list[str]:
    """The start of a command line for Python as an unprivileged user, where root can give one."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv (util-linux) is not installed")
    become = [setpriv, "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
    for python in (sys.executable, "/usr/bin/python3"):
        # setpriv can start what the user cannot reach, which then finds another library.
        check = (
            "import os, sys; python = os.path.realpath(sys._base_executable);"
            "right = os.access(python, os.X_OK) and sys.version_info[:2] == "
            f"{sys.version_info[:2]}; sys.exit(not right)"
        )
        try:
            done = subprocess.run([*become, python, "-c", check], capture_output=True, check=False)
        except OSError:
            continue
        if done.returncode == 0:
            return [*become, python]
    pytest.skip("no interpreter of this version that an unprivileged user may run")


def python_path() -> str:
    """Where another interpreter of the same version finds polycall and its dependencies."""
    site = next(path for path in sys.path if path.endswith("site-packages"))
    tests, source = readable(REPOSITORY / "tests"), readable(REPOSITORY / "src")
    return os.pathsep.join([str(tests.parent), str(source), str(readable(Path(site)))])


@functools.cache
def readable(folder: Path) -> Path:
    """The folder, or a copy of it where everybody may enter: a clone may be its owner's alone.

    The copy keeps the folder's name, and is gone when the tests are.
    """
    whole = folder.resolve()
    if all(each.stat().st_mode & 0o005 == 0o005 for each in (whole, *whole.parents)):
        return folder
    base = Path(tempfile.mkdtemp(prefix="polycall-readable-", dir="/tmp"))
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    base.chmod(0o755)
    made = base / folder.name
    shutil.copytree(whole, made, copy_function=_linked)
    for each in (made, *(path for path in made.rglob("*") if path.is_dir())):
        each.chmod(0o755)
    return made


def _linked(source: str, target: str) -> None:
    """A second name for the file, or a copy where the folders are on two file systems."""
    try:
        if os.stat(source).st_mode & 0o004:
            os.link(source, target)
            return
    except OSError:
        pass
    shutil.copy(source, target)
    os.chmod(target, os.stat(target).st_mode | 0o444)


async def run_python(command: list[str], **environment: str) -> tuple[int, str, str]:
    """A Python process in the repository, with the tests importable."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=readable(REPOSITORY / "tests").parent,
        env={
            # monty finds its worker among the scripts of this environment.
            "PATH": f"/usr/bin:/bin:{readable(Path(sys.executable).parent)}",
            "PYTHONPATH": python_path(),
            "PYTHONDONTWRITEBYTECODE": "1",
            **environment,
        },
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def add(left: int, right: int = 1) -> int:
    return left + right


async def wait_ms(ms: int) -> int:
    await asyncio.sleep(ms / 1000)
    return ms


async def fail(message: str) -> None:
    raise LookupError(message)


def square(number: int) -> dict[str, int]:
    return {"square": number * number}


TOOLS: dict[str, Callable[..., Any]] = {
    "add": add,
    "wait_ms": wait_ms,
    "fail": fail,
    "square": square,
}
