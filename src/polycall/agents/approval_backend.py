"""A call that waits for a yes or a no, and where it is asked."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeAlias

import msgspec
from msgspec import Struct

from polycall._support import jsontext
from polycall.errors import RequestError
from polycall.ir import JSON


class Edited(Struct, frozen=True):
    """Yes, with these arguments instead of the model's; `RequestError` where they are no object."""

    arguments: JSON

    def __post_init__(self) -> None:
        given: Any = self.arguments
        if not isinstance(given, dict) or not all(isinstance(key, str) for key in given):  # pyright: ignore[reportUnknownVariableType]
            raise RequestError(f"arguments are a dictionary by parameters' names, not {given!r}")
        check_json(given, "the arguments are")  # pyright: ignore[reportUnknownArgumentType]


class Answered(Struct, frozen=True):
    """The call's result, from a person or from the application: it is not run here."""

    result: Any
    is_error: bool = False


def check_json(value: Any, what: str) -> None:
    """Refuse what JSON has no form for, such as NaN, before it is kept as something else."""
    try:
        json.dumps(msgspec.to_builtins(value), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(f"{what} not JSON: {error}") from None


Answer: TypeAlias = bool | str | Edited | Answered
Approve: TypeAlias = Callable[["ApprovalRequest"], Answer | Awaitable[Answer]]


class ApprovalBackend(Protocol):
    """Asks for approvals that another process may answer, or nobody."""

    @property
    def grants(self) -> list[str]:
        """The permissions that were given for always, as `ApprovalRequest.grant` names them."""
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
        """The permission that an answer for always gives: for this tool, called by this agent."""
        return f"{self.agents[-1]}.{self.tool}"

    def allow(self, *, always: bool = False, arguments: JSON | None = None) -> None:
        """Let the call run, and with `always` each further call of this tool by this agent.

        With `arguments` it runs with those instead; they are checked as the model's are, and the
        model reads that they were changed.
        """
        if not self._is_answered:
            self.always = always
        self._settle(True if arguments is None else Edited(arguments))

    def answer(self, result: Any, *, is_error: bool = False) -> None:
        """Give the call this result, instead of running it here."""
        self._settle(Answered(result, is_error))

    def deny(self, reason: str = "") -> None:
        """Refuse the call; the model reads the reason."""
        self._settle(reason or False)

    async def wait(self) -> Answer:
        """The answer, when there is one."""
        return await self._answer

    def _settle(self, answer: Answer) -> None:
        self._is_answered = True
        # The code that answers may be a thread of its own, such as a form's.
        loop = self._answer.get_loop()
        try:
            is_here = asyncio.get_running_loop() is loop
        except RuntimeError:
            is_here = False
        if is_here:
            self._answered(answer)
        else:
            loop.call_soon_threadsafe(self._answered, answer)

    def _answered(self, answer: Answer) -> None:
        if not self._answer.done():
            self._answer.set_result(answer)

    def __repr__(self) -> str:
        path = " > ".join(self.agents)
        return f"ApprovalRequest({path}: {self.tool}, {self.arguments!r})"


def call_digest(tool: str, arguments: JSON, agents: Sequence[str]) -> str:
    """The digest that binds an approval to its call: 32 hexadecimal digits.

    The same for the same JSON values, in whatever order an object has its keys.
    """
    # Through JSON: what was kept and read again gives the same.
    plain = jsontext.decode(jsontext.encode([tool, arguments, list(agents)]))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
