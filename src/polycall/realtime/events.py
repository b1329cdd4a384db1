"""The events of a talk.  Calls, their ends and their progress are as in runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, TypeAlias

from msgspec import Struct

from polycall.agents.approval_backend import ApprovalRequest
from polycall.agents.events import HandoffEvent
from polycall.agents.history import History
from polycall.ir import Message, Usage, Warning
from polycall.loop import CallEnd, CallStart, ToolEvent
from polycall.voices.usage import VoiceUsage

TalkEnd: TypeAlias = Literal[
    "hang_up", "cost", "time", "connection", "refused", "guardrail", "closed", "handoffs", "failed"
]


class Heard(Struct, frozen=True):
    """The caller's words, final, once for each item."""

    text: str
    item_id: str = ""


class Said(Struct, frozen=True):
    """The voice's words, as they were written; final, once for each item.

    How much of it the caller heard is known when it was played, and stands in the history.
    """

    text: str
    item_id: str = ""


class Audio(Struct, frozen=True):
    """Sound for the caller, in the talk's output format."""

    data: bytes
    item_id: str = ""


class Interrupted(Struct, frozen=True):
    """The voice was stopped: playback must forget what it has not played.

    `heard_ms` is how much of the item the caller heard.
    """

    heard_ms: float
    item_id: str = ""


class Digit(Struct, frozen=True):
    """A key of the caller's telephone."""

    digit: str


class Reconnected(Struct, frozen=True):
    """The talk moves to a new connection: by a handle, or with the conversation sent again."""

    resumed: bool
    reason: str


class CallDiscarded(Struct, frozen=True):
    """A call that was not run, or whose result nobody wants any more."""

    call_id: str
    name: str
    reason: str


class Dropped(Struct, frozen=True):
    """Sound that could not be passed on in time: `ms` of the caller's, or for the caller."""

    what: Literal["input", "output"]
    ms: float


class VendorNotice(Struct, frozen=True):
    """The vendor refused something, and the talk continues."""

    code: str
    message: str


class UnknownFrames(Struct, frozen=True):
    """A frame of a kind that is not known; `count` of them so far."""

    kind: str
    count: int


class End(Struct, frozen=True):
    """The talk is over, and why; the last event."""

    reason: TalkEnd
    detail: str = ""


TalkEvent: TypeAlias = (
    Heard
    | Said
    | Audio
    | Interrupted
    | CallStart
    | CallEnd
    | ToolEvent
    | HandoffEvent
    | ApprovalRequest
    | Digit
    | Reconnected
    | CallDiscarded
    | Dropped
    | VendorNotice
    | UnknownFrames
    | End
)


@dataclass(frozen=True)
class TalkRun:
    """A finished talk.

    `history` is what was heard, not what was sent, and goes into `agent.run` or another talk.
    `usage` counts all tokens, those of agents behind the voice included; `voice_usage` has the
    voice's own by kind, and seconds.  `cost` is in US dollars, and `None` where a price is
    unknown.  `agents` names who spoke.  `warnings` say what the voice could not do.
    """

    reason: TalkEnd
    detail: str
    history: History
    usage: Usage
    voice_usage: VoiceUsage
    cost: Decimal | None
    agents: list[str] = field(default_factory=list[str])
    warnings: list[Warning] = field(default_factory=list[Warning])
    duration_s: float = 0.0

    @property
    def messages(self) -> list[Message]:
        """The whole conversation, that of before included."""
        return self.history.messages
