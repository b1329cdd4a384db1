"""What the sandbox's tests share: the shared programs, small tools, and running as another user."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
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
    return os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "src"), site])


async def run_python(command: list[str], **environment: str) -> tuple[int, str, str]:
    """A Python process in the repository, with the tests importable."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
        env={
            # monty finds its worker among the scripts of this environment.
            "PATH": f"/usr/bin:/bin:{Path(sys.executable).parent}",
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
