"""The files that a program finds in its jail: the interpreter, its library, and little else.

Only what CPython needs is mounted: the executable, the standard library without its
site-packages, and the shared libraries of both, each file by itself.  Nothing of /etc, /home,
/proc or /sys is there.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from .libraries import needed

PYTHON = "/python/bin/python3"
LIBRARIES = "/python/lib"
INSIDE = "/jail"
PACKAGES = "/packages"
_ZONES = "/usr/share/zoneinfo"


@dataclass(frozen=True)
class Mount:
    """A file or folder of this machine, and where it is inside.  Always read-only."""

    source: str
    target: str


@dataclass(frozen=True)
class Layout:
    mounts: tuple[Mount, ...]
    hidden: tuple[str, ...]
    """Folders inside that are covered by empty ones."""
    library_path: str


def interpreter() -> str:
    """This process's own interpreter, without the links of a virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def of_this_python() -> Layout:
    """The layout for the interpreter that runs this."""
    stdlib = os.path.realpath(sysconfig.get_path("stdlib", vars={"base": sys.base_prefix}))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    inside_library = f"/python/{sys.platlibdir}/{version}"
    mounts = [
        Mount(interpreter(), PYTHON),
        Mount(stdlib, inside_library),
        Mount(str(Path(__file__).parent / "inside"), f"{INSIDE}/inside"),
    ]
    for library in needed(interpreter(), stdlib):
        real, name = os.path.realpath(library), os.path.basename(library)
        if name.startswith(("ld-", "ld.")):
            mounts += [Mount(real, place) for place in _loader_names(library)]
        else:
            # Under the name by which it is asked for.
            mounts.append(Mount(real, f"{LIBRARIES}/{name}"))
    mounts += [Mount(folder, _ZONES) for folder in _time_zones()[:1]]
    hidden = tuple(
        f"{inside_library}/{name}"
        for name in ("site-packages", "dist-packages", "test", "ensurepip")
        if os.path.isdir(os.path.join(stdlib, name))
    )
    return Layout(mounts=tuple(mounts), hidden=hidden, library_path=LIBRARIES)


def _time_zones() -> list[str]:
    """The folders of time zones: of the system, or of the package `tzdata`."""
    found = [_ZONES] if os.path.isdir(_ZONES) else []
    spec = importlib.util.find_spec("tzdata")
    if spec is not None and spec.origin is not None:
        found.append(os.path.join(os.path.dirname(spec.origin), "zoneinfo"))
    return found


def _loader_names(library: str) -> list[str]:
    """The paths where executables look for the dynamic loader; a link to it stands at each."""
    real = os.path.realpath(library)
    names = [
        os.path.join(folder, os.path.basename(library))
        for folder in ("/lib64", "/lib")
        if os.path.realpath(os.path.join(folder, os.path.basename(library))) == real
    ]
    return names or [library]
