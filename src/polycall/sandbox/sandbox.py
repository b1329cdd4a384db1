"""The sandbox: chooses a tier, and owns its sessions."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from .errors import RuntimeUnavailableError, SandboxError, TooManySessionsError
from .jail_runtime import JailRuntime
from .journal import Journal
from .limits import Limits
from .monty_pool import MontyPool
from .monty_runtime import MontyRuntime
from .runtime import Runtime
from .session import Session

Tier = Literal["auto", "jail", "monty"]


@dataclass(frozen=True)
class Finding:
    """The result of trying a tier."""

    tier: str
    available: bool
    detail: str


class Sandbox:
    """Runs programs that nobody has read.

    `runtime` is `"auto"` (the jail where it works on this machine, else monty), a tier by name, or
    a `Runtime` of your own.  `packages` are folders and wheels that programs may import, read-only
    and on the tier `jail` alone.  Use it as an async context manager: leaving it ends all sessions.
    """

    def __init__(
        self,
        runtime: Tier | Runtime = "auto",
        limits: Limits | None = None,
        *,
        packages: Sequence[str | os.PathLike[str]] = (),
        pool: int = 2,
        sessions_max: int = 256,
        idle_s: float = 300.0,
        bwrap: str | os.PathLike[str] | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.findings: tuple[Finding, ...] = ()
        self._asked = runtime
        self._packages = tuple(packages)
        self._pool = pool
        self._sessions_max = sessions_max
        self._idle_s = idle_s
        self._bwrap = bwrap
        self._runtime: Runtime | None = None
        self._sessions: dict[str, Session] = {}

    async def __aenter__(self) -> Self:
        self._runtime = await self._chosen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends all sessions and gives everything back."""
        for session in list(self._sessions.values()):
            await session.close()
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            await runtime.close()

    async def _chosen(self) -> Runtime:
        candidates = self._candidates()
        findings: list[Finding] = []
        for runtime in candidates:
            try:
                await runtime.start(self.limits)
            except RuntimeUnavailableError as error:
                findings.append(Finding(runtime.name, available=False, detail=str(error)))
                continue
            findings.append(Finding(runtime.name, available=True, detail="started"))
            self.findings = tuple(findings)
            return runtime
        self.findings = tuple(findings)
        if len(findings) == 1:
            raise RuntimeUnavailableError(f"{findings[0].tier}: {findings[0].detail}")
        reasons = "; ".join(f"{finding.tier}: {finding.detail}" for finding in findings)
        raise RuntimeUnavailableError(f"nothing can run programs here ({reasons})")

    def _candidates(self) -> list[Runtime]:
        jail = JailRuntime(pool=self._pool, packages=self._packages, bwrap_path=self._bwrap)
        # Where no descriptor can be passed on, or there is no Python to start (a program that was
        # frozen into one file), the workers are this process's own.
        apart = hasattr(socket, "send_fds") and sys.executable and not hasattr(sys, "frozen")
        monty = MontyRuntime(pool=self._pool) if apart else MontyPool(pool=self._pool)
        match self._asked:
            case "jail":
                return [jail]
            case "monty":
                if self._packages:
                    raise RuntimeUnavailableError("packages need the tier 'jail'")
                return [monty]
            case "auto":
                return [jail] if self._packages else [jail, monty]
            case str(other):
                raise ValueError(f"no tier {other!r}; there are 'auto', 'jail' and 'monty'")
            case runtime:
                return [runtime]

    @property
    def runtime(self) -> Runtime:
        if self._runtime is None:
            raise SandboxError("the sandbox is not open; use it in `async with`")
        return self._runtime

    @property
    def tier(self) -> str:
        """The name of the tier in use."""
        return self.runtime.name

    @property
    def notes(self) -> str:
        """Notes on this tier for the model's prompt."""
        return self.runtime.notes

    def session(
        self,
        *,
        seed: int | None = None,
        journal: Journal | None = None,
        idle_s: float | None = None,
    ) -> Session:
        """A new session, in a namespace of its own; `find` gives it back by its id."""
        runtime = self.runtime
        if len(self._sessions) >= self._sessions_max:
            raise TooManySessionsError(f"{len(self._sessions)} sessions are open; that is the most")
        session = Session(
            runtime,
            self.limits,
            identity=f"session_{secrets.token_hex(12)}",
            seed=seed,
            journal=journal,
            idle_s=self._idle_s if idle_s is None else idle_s,
            on_closed=self._forget,
        )
        self._sessions[session.id] = session
        return session

    def find(self, session_id: str) -> Session | None:
        """The open session of this id; `None` where it was closed, expired, or never was."""
        return self._sessions.get(session_id)

    def _forget(self, session: Session) -> None:
        self._sessions.pop(session.id, None)
