"""Runs that stop for a person and continue elsewhere: a paused run is JSON.

It holds the run's beginning and its journal.  To resume is to run again from the beginning, with
everything that was done answered from the journal, up to the call that waited.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Struct

from polycall._support import jsontext
from polycall.agents.approval_backend import (
    Answer,
    Answered,
    ApprovalRequest,
    Edited,
    call_digest,
    check_json,
)
from polycall.agents.compaction import Shortened
from polycall.agents.context import Frame
from polycall.agents.history import History
from polycall.agents.journal import Entry, current_place
from polycall.agents.signing_key import key_path, signing_key
from polycall.agents.task import TaskNote
from polycall.errors import RequestError
from polycall.instrumentation import TraceContext
from polycall.ir import JSON, Message, ToolCall
from polycall.loop import Limits, Suspended

_FORMAT = 1


class Start(Struct, frozen=True, omit_defaults=True):
    """The beginning of a run: all that is needed to run it again, except code and `deps`.

    The first `earlier` messages are those of runs before.  `carried` says to those who watch who
    asked for it.  `session` is the conversation that keeps what the run adds.  `model`, `settings`
    (fields of a request, as JSON), `limits` and `approval_ttl_s` are those of this run alone.
    """

    agent: str
    run_id: str
    messages: list[Message]
    frames: list[Frame] = []
    variables: dict[str, Any] = {}
    opened: list[str] = []
    allowed: list[str] = []
    user: str = ""
    carried: TraceContext = {}
    earlier: int = 0
    tasks: dict[str, TaskNote] = {}
    streams: bool = False  # models are asked for their answers as they come
    session: str = ""
    began: dict[str, str] = {}
    model: str = ""
    settings: dict[str, Any] = {}
    limits: Limits | None = None
    approval_ttl_s: float | None = None
    shortened: dict[str, Shortened] = {}

    @property
    def history(self) -> History:
        """The history that the run continues."""
        return History(
            messages=self.messages[: self.earlier],
            frames=self.frames,
            variables=self.variables,
            opened=self.opened,
            allowed=self.allowed,
            tasks=self.tasks,
            session=self.session,
            began=self.began,
            shortened=self.shortened,
        )

    @classmethod
    def of(cls, agent: str, run_id: str, history: History, new: list[Message], user: str) -> Start:
        """The beginning of a run that continues `history` with `new` messages."""
        return cls(
            agent=agent,
            run_id=run_id,
            messages=[*history.messages, *new],
            frames=history.frames,
            variables=history.variables,
            opened=history.opened,
            allowed=history.allowed,
            tasks=history.tasks,
            user=user,
            earlier=len(history.messages),
            session=history.session,
            began=history.began,
            shortened=history.shortened,
        )


class Approval(Struct, frozen=True, omit_defaults=True):
    """A call that waits for a person.  Times are seconds since the epoch."""

    id: str
    tool: str
    arguments: JSON
    agents: Annotated[list[str], msgspec.Meta(min_length=1)]
    asked_at: float
    expires_at: float | None = None
    why: str = ""

    @property
    def grant(self) -> str:
        """The permission that an answer for always gives, as `ApprovalRequest.grant`."""
        return f"{self.agents[-1]}.{self.tool}"

    @property
    def digest(self) -> str:
        """The digest that binds an approval to this call, as `ApprovalRequest.digest`."""
        return call_digest(self.tool, self.arguments, self.agents)

    def is_expired(self, now: float) -> bool:
        """Whether it is too late to allow it."""
        return self.expires_at is not None and now >= self.expires_at


class ApprovalDecision(Struct, frozen=True, omit_defaults=True):
    """A person's decision on an approval; `digest` names the call that was allowed."""

    allowed: bool
    always: bool = False
    reason: str = ""
    digest: str = ""
    arguments: JSON | None = None  # instead of the model's
    result: Answered | None = None  # instead of running it

    def __post_init__(self) -> None:
        """Refuse what could not be read again where the run continues."""
        if not isinstance(self.reason, str):  # pyright: ignore[reportUnnecessaryIsInstance] - from the caller
            raise RequestError(f"reason is text that the model reads, not {self.reason!r}")
        if not isinstance(self.always, bool):  # pyright: ignore[reportUnnecessaryIsInstance] - from the caller
            raise RequestError(f"always is true or false, not {self.always!r}")
        if self.arguments is not None:
            Edited(self.arguments)
        if self.result is not None:
            check_json(self.result.result, "the result is")

    def answer(self, request: ApprovalRequest) -> Answer:
        """The answer to this request; a refusal, where the decision was for another call."""
        if self.allowed and self.digest != request.digest:
            return "another call was approved than this one"
        if self.result is not None:
            return self.result
        if self.allowed and self.arguments is not None:
            return Edited(self.arguments)
        return True if self.allowed else self.reason or False


EXPIRED = ApprovalDecision(allowed=False, reason="nobody answered in time")


class PausedRun(Struct):
    """A run that waits for people: decide about `waiting`, then `agent.resume` it.

    Anyone who can write this JSON says what tools gave and what people allowed, so it is signed,
    and one that was changed is refused.  Without a `secret` the key is a file of this user's
    (`POLYCALL_SIGNING_KEY_FILE`); where another machine resumes, give both sides a secret.
    """

    start: Start
    entries: dict[str, Entry]
    approvals: dict[str, Approval]
    decisions: dict[str, ApprovalDecision] = {}

    def __repr__(self) -> str:
        """In a line: it holds all that was done."""
        return f"PausedRun({self.start.run_id!r}, waiting for: {self.waits_for})"

    @property
    def waits_for(self) -> str:
        """The tools whose calls nobody has decided yet, in words."""
        return ", ".join(each.tool for each in self.waiting) or "nothing"

    @property
    def waiting(self) -> list[Approval]:
        """The approvals that nobody has decided yet."""
        return [each for key, each in self.approvals.items() if key not in self.decisions]

    def allow(
        self, approval_id: str, *, always: bool = False, arguments: JSON | None = None
    ) -> None:
        """Let the call run; with `always`, each further one of its agent and tool.

        With `arguments` it runs with those instead of the model's.
        """
        approval = self._undecided(approval_id)
        if approval.is_expired(time.time()):
            raise RequestError(
                f"the approval {approval_id!r} has expired; the call will be refused"
            )
        self.decisions[approval_id] = ApprovalDecision(
            allowed=True, always=always, arguments=arguments, digest=approval.digest
        )

    def answer(self, approval_id: str, result: Any, *, is_error: bool = False) -> None:
        """Give the call this result, which is JSON, instead of running it: work done elsewhere."""
        approval = self._undecided(approval_id)
        made = ApprovalDecision(
            allowed=True, result=Answered(result, is_error), digest=approval.digest
        )
        self.decisions[approval_id] = made

    def deny(self, approval_id: str, reason: str = "") -> None:
        """Refuse the call; the model reads the reason."""
        self._undecided(approval_id)
        self.decisions[approval_id] = ApprovalDecision(allowed=False, reason=reason)

    def to_json(self, secret: str | bytes = b"") -> str:
        """The paused run as JSON text, signed with the secret, or with this user's key."""
        body = jsontext.encode(self)
        signature = _signature(body, secret or signing_key())
        return jsontext.encode({"polycall_paused": _FORMAT, "signature": signature, "run": body})

    @classmethod
    def from_json(cls, text: str | bytes, secret: str | bytes = b"") -> PausedRun:
        """From JSON text; `RequestError` if malformed, or not signed by the secret or key."""
        if not isinstance(text, str | bytes):  # pyright: ignore[reportUnnecessaryIsInstance] - from the caller
            raise RequestError(f"a paused run is JSON text, not a {type(text).__name__}")
        try:
            envelope = jsontext.decode(text)
            if not isinstance(envelope, dict) or envelope.get("polycall_paused") != _FORMAT:  # pyright: ignore[reportUnknownMemberType]
                raise RequestError("this is not a paused run of this version")
            body = str(envelope["run"])  # pyright: ignore[reportUnknownArgumentType]
            signed = str(envelope.get("signature"))  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
            expected = _signature(body, secret or signing_key())
            if not hmac.compare_digest(signed.encode("utf-8", "replace"), expected.encode()):
                whose = "another secret" if secret else f"another key than {str(key_path())!r}"
                raise RequestError(
                    f"this is not a paused run of ours: it was changed, or signed with {whose}"
                )
            paused = msgspec.convert(jsontext.decode(body), cls)
        except (ValueError, KeyError, msgspec.ValidationError) as error:
            raise RequestError(f"this is not a paused run: {error}") from None
        for key in paused.decisions:
            if key not in paused.approvals:
                raise RequestError(f"this is not a paused run: nobody asked for {key!r}")
        return paused

    def _undecided(self, approval_id: str) -> Approval:
        approval = self.approvals.get(approval_id)
        if approval is None:
            known = ", ".join(map(repr, self.approvals)) or "none"
            raise RequestError(f"there is no approval {approval_id!r}; there are {known}")
        if approval_id in self.decisions:
            raise RequestError(f"the approval {approval_id!r} is decided already")
        return approval


class PausedApprovalBackend:
    """Answers from decisions that were made, and stops the run if nobody has decided."""

    def __init__(
        self,
        paused: PausedRun | None = None,
        *,
        ttl_s: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._decisions = paused.decisions if paused else {}
        self._known = paused.approvals if paused else {}
        self._ttl_s = ttl_s
        self._clock = clock
        self.waiting: dict[str, Approval] = {}
        self._grants = [
            self._known[key].grant for key, decision in self._decisions.items() if decision.always
        ]

    @property
    def grants(self) -> list[str]:
        """The permissions that were given for always."""
        return self._grants

    def paused(self, start: Start, entries: dict[str, Entry]) -> PausedRun:
        """The run as it stands now."""
        return PausedRun(start, entries, {**self._known, **self.waiting}, self._decisions)

    async def answer(self, request: ApprovalRequest) -> Answer:
        """The decision; stops the run if nobody has decided."""
        key = approval_key(request)
        decision = self._decisions.get(key)
        if decision is not None:
            return decision.answer(request)
        now = self._clock()
        approval = self._known.get(key) or asked(request, now, self._ttl_s)
        if approval.is_expired(now):
            return EXPIRED.answer(request)
        self.waiting[key] = approval
        raise suspended(request)


def approval_key(request: ApprovalRequest) -> str:
    """The journal key of the call, by which its approval is known."""
    place = current_place()
    if place is None:
        return request.call_id
    if request.is_in_program:
        call = ToolCall(request.call_id, request.tool, jsontext.encode(request.arguments))
        return place.inner_key(call)
    return place.key


def asked(request: ApprovalRequest, now: float, ttl_s: float | None) -> Approval:
    """The request as plain data."""
    return Approval(
        id=approval_key(request),
        tool=request.tool,
        arguments=request.arguments,
        agents=list(request.agents),
        asked_at=now,
        expires_at=None if ttl_s is None else now + ttl_s,
        why=request.why,
    )


def suspended(request: ApprovalRequest) -> BaseException:
    """The exception that stops the run; in a program, the one that ends it as waiting."""
    place = current_place()
    if not request.is_in_program or place is None:
        return Suspended()
    place.is_suspended = True
    # Loaded where a program runs, which has loaded it: the sandbox is not for every agent.
    from polycall.sandbox import Pause  # noqa: PLC0415

    return Pause()


def _signature(body: str, secret: str | bytes) -> str:
    key = secret.encode() if isinstance(secret, str) else secret
    return hmac.new(key, body.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
