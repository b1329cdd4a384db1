"""A call that waits for a yes or a no, and where it is asked."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

from polycall._support import jsontext
from polycall.ir import JSON

Answer: TypeAlias = bool | str
Approve: TypeAlias = Callable[["ApprovalRequest"], Answer | Awaitable[Answer]]


class ApprovalBackend(Protocol):
    """Where approvals are asked that may be answered by another process, or never."""

    @property
    def grants(self) -> list[str]:
        """What was allowed for always, as `ApprovalRequest.grant` says it."""
        ...

    async def answer(self, request: ApprovalRequest) -> Answer:
        """The answer; `Suspended` where the run is to stop until there is one."""
        ...


class ApprovalRequest:
    """A call that waits for a yes or a no.

    `agents` are the agents above the call, the outermost first, and the one that makes it.  The
    first answer counts.  `digest` names exactly this call: what runs after a yes has the same.
    """

    def __init__(
        self,
        *,
        tool: str,
        arguments: JSON,
        call_id: str,
        agents: tuple[str, ...],
        why: str = "",
        is_in_program: bool = False,
    ) -> None:
        self.tool = tool
        # A copy: who reads it may keep it, and what runs must stay what was asked about.
        self.arguments = copy.deepcopy(arguments)
        self.call_id = call_id
        self.agents = agents
        self.why = why
        self.is_in_program = is_in_program
        self.digest = call_digest(tool, arguments, agents)
        self.always = False
        self._is_answered = False
        self._answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    @property
    def grant(self) -> str:
        """What an answer for always is an answer for: this tool, called by this agent."""
        return f"{self.agents[-1]}.{self.tool}"

    def allow(self, *, always: bool = False) -> None:
        """Let the call run, and with `always` each further call of this tool by this agent."""
        if not self._is_answered:
            self.always = always
        self._settle(True)

    def deny(self, reason: str = "") -> None:
        """Refuse the call; the model reads the reason."""
        self._settle(reason or False)

    async def wait(self) -> Answer:
        """The answer, when there is one."""
        return await self._answer

    def _settle(self, answer: Answer) -> None:
        self._is_answered = True
        # Whoever answers may be another thread: a reader of `stream_sync`, a web framework's.
        self._answer.get_loop().call_soon_threadsafe(self._set, answer)

    def _set(self, answer: Answer) -> None:
        if not self._answer.done():
            self._answer.set_result(answer)

    def __repr__(self) -> str:
        path = " > ".join(self.agents)
        return f"ApprovalRequest({path}: {self.tool}, {self.arguments!r})"


def call_digest(tool: str, arguments: JSON, agents: Sequence[str]) -> str:
    """What binds a yes to the call that it was said to: 32 hexadecimal digits.

    The same for the same JSON values, in whatever order an object has its keys.
    """
    # Through JSON: what was kept and read again gives the same.
    plain = jsontext.decode(jsontext.encode([tool, arguments, list(agents)]))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
