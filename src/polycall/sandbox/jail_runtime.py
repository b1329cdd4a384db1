"""The tier `jail`: stock CPython under bubblewrap, from a pool of processes started in advance."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Sequence

from . import bwrap, cgroups, layout, packages, seccomp
from .errors import RuntimeUnavailableError, SandboxError
from .jail import Jail, JailSettings
from .jail_run import JailRun
from .limits import Limits
from .runtime import End, Job

_REFILL_AFTER_S = 0.02


class JailProcess:
    """A jail that belongs to one session."""

    def __init__(self, jail: Jail) -> None:
        self._jail = jail

    @property
    def alive(self) -> bool:
        return self._jail.alive

    async def run(self, job: Job) -> End:
        end = await JailRun(self._jail, job).outcome()
        if not self._jail.alive:
            await self._jail.close()
        return end

    async def close(self) -> None:
        await self._jail.close()


class JailRuntime:
    """Keeps `pool` jails ready.  One is used by one session and then discarded."""

    name = "jail"
    notes = ""

    def __init__(
        self,
        *,
        pool: int = 2,
        packages: Sequence[str | os.PathLike[str]] = (),
        bwrap_path: str | os.PathLike[str] | None = None,
    ) -> None:
        self._pool_size = pool
        self._packages = tuple(packages)
        self._bwrap_path = bwrap_path
        self._idle: deque[Jail] = deque()
        self._filling: asyncio.Task[None] | None = None
        self._unpacked = contextlib.ExitStack()
        self._settings: JailSettings | None = None

    @property
    def settings(self) -> JailSettings:
        if self._settings is None:
            raise SandboxError("the runtime is not started")
        return self._settings

    async def start(self, limits: Limits) -> None:
        """Finds what is needed, and proves it by starting the first jail."""
        self._settings = self._found(limits)
        try:
            self._idle.append(await self._spawned())
        except (SandboxError, OSError, TimeoutError) as error:
            await self.close()
            raise RuntimeUnavailableError(explained(str(error))) from error
        self._refill()

    def _found(self, limits: Limits) -> JailSettings:
        machine = seccomp.architecture()
        if machine is None:
            raise RuntimeUnavailableError("no seccomp filter for this architecture")
        if not os.path.exists("/proc/self/maps"):
            raise RuntimeUnavailableError("needs Linux with /proc")
        found = bwrap.find(self._bwrap_path)
        if isinstance(found, str):
            raise RuntimeUnavailableError(found)
        mounts, search = self._unpacked.enter_context(packages.mounted(self._packages))
        return JailSettings(
            bwrap=found,
            machine=machine,
            layout=layout.of_this_python(),
            cgroups=cgroups.probe(),
            limits=limits,
            packages=tuple(mounts),
            search=tuple(search),
        )

    async def open(self, *, began: float, seed: int) -> JailProcess:
        jail = await self._taken()
        jail.send({"type": "begin", "began": began, "seed": seed})
        self._refill()
        return JailProcess(jail)

    async def _taken(self) -> Jail:
        while self._idle:
            jail = self._idle.popleft()
            if jail.alive:
                return jail
            await jail.close()
        return await self._spawned()

    async def _spawned(self) -> Jail:
        jail = Jail(self.settings)
        await jail.start()
        jail.on_gone = jail.kill
        return jail

    def _refill(self) -> None:
        if self._filling is None or self._filling.done():
            self._filling = asyncio.get_running_loop().create_task(self._fill())

    async def _fill(self) -> None:
        # A start costs the host's loop a few milliseconds; the run that took a jail goes first.
        await asyncio.sleep(_REFILL_AFTER_S)
        while len(self._idle) < self._pool_size:
            try:
                self._idle.append(await self._spawned())
            except (SandboxError, OSError, TimeoutError):
                # The next session starts its own jail and hears the reason.
                return

    async def close(self) -> None:
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.gather(self._filling, return_exceptions=True)
        while self._idle:
            await self._idle.popleft().close()
        self._unpacked.close()


def explained(words: str) -> str:
    """bubblewrap's complaint, with what would help."""
    hints = {
        "No permissions to create new namespace": "allow unprivileged user namespaces "
        "(sysctl kernel.unprivileged_userns_clone=1 or user.max_user_namespaces)",
        "setting up uid map": "allow unprivileged user namespaces (an AppArmor or LSM rule "
        "refuses them, as kernel.apparmor_restrict_unprivileged_userns does)",
        "Creating new namespace failed": "allow user namespaces "
        "(sysctl user.max_user_namespaces), and in a container the calls unshare and mount",
        "loopback: Failed RTM_NEWADDR": "allow unprivileged user namespaces for bwrap in AppArmor",
    }
    advice = [hint for mark, hint in hints.items() if mark in words]
    return "; ".join([words.strip() or "bubblewrap did not start", *advice])
