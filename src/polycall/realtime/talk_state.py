"""The state of a talk's state machine, and the actions that it asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TypeAlias

from msgspec import Struct

from polycall.ir import Message, Text, ToolCall, ToolResult, Usage, Warning
from polycall.realtime.calls import Calls, Manners, OpenCall
from polycall.realtime.connection_state import ConnectionState
from polycall.realtime.events import TalkEnd, TalkEvent
from polycall.realtime.played import PlayedTime
from polycall.realtime.replies import Replies
from polycall.realtime.transcript import Transcript
from polycall.voices.capabilities import Voice
from polycall.voices.protocol import Command, OpenSession
from polycall.voices.usage import VoicePrice, VoiceUsage, cost_usd


class Send(Struct, frozen=True):
    """Ask the voice for something."""

    command: Command


class Emit(Struct, frozen=True):
    """Tell the reader of the talk's events."""

    event: TalkEvent


class RunCall(Struct, frozen=True):
    """Run a call; its result is reported by `TalkMachine.result`."""

    opened: OpenCall


class StopCall(Struct, frozen=True):
    """Cancel what runs for a call."""

    call_id: str


class RunDelegation(Struct, frozen=True):
    """Let the agent work; what it says is reported by `TalkMachine.delegated`."""

    delegation_id: str
    text: str


class Connect(Struct, frozen=True):
    """Close the connection, if there is one, and open another after so long."""

    after_s: float


class Finish(Struct, frozen=True):
    """The talk is over."""

    reason: TalkEnd
    detail: str = ""


Action: TypeAlias = Send | Emit | RunCall | StopCall | RunDelegation | Connect | Finish


class TalkState:
    """The parts of one talk, over all its connections.  Methods of subclasses add to `actions`."""

    def __init__(
        self,
        voice: Voice,
        session: OpenSession,
        *,
        played: PlayedTime,
        now_s: Callable[[], float],
        manners: Mapping[str, Manners],
        spending: Spending,
        talk_s_max: float | None = None,
    ) -> None:
        self.voice = voice
        self.session = session
        self.played = played
        self.manners = dict(manners)
        self.spending = spending
        self.actions: list[Action] = []
        self.warnings: list[Warning] = []
        self.transcript = Transcript(list(session.history))
        self.connection = ConnectionState()
        self.calls = Calls()
        self._now_s = now_s
        self._replies = Replies(now_s)
        self._ends_at_s = None if talk_s_max is None else now_s() + talk_s_max
        self._silence_until_s: float | None = None
        self._silences = 0
        self._notes: list[tuple[str, bool]] = []  # of earlier connections; whether they are spoken
        self._unconfirmed: list[tuple[str, bool]] = []  # results that nothing has followed yet
        self._held: list[bytes] = []
        self._held_ms = 0.0
        self._dropped_items: set[str] = set()
        self._dropped_replies: set[str] = set()
        self._delegations: list[tuple[str, float]] = []
        self._delegated_on: dict[str, int] = {}  # the connection that each delegation is of
        self._stream_ms: float = 0.0
        self._said_until_ms: float = 0.0
        self._said_item = ""
        self._unknown = 0
        self.owes_words = False  # the caller has spoken, and nothing of it is written down yet
        self._fatal = ""

    def warn(self, feature: str, detail: str) -> None:
        """Say once that the voice cannot do something."""
        made = Warning("unsupported", feature, detail)
        if made not in self.warnings:
            self.warnings.append(made)

    def warn_of_usage(self) -> None:
        """Say once that a reply ended before the vendor had said what it used."""
        current = self._replies.current
        if current is not None and current.state != "requested" and self.voice.billing == "tokens":
            detail = "a reply ended with its connection; what it used was not reported nor counted"
            self.warn("usage", detail)

    def history(self) -> list[Message]:
        """The conversation as it was heard."""
        return self.transcript.messages(is_over=True)

    def _send(self, command: Command) -> None:
        self.actions.append(Send(command))

    def _emit(self, event: TalkEvent) -> None:
        self.actions.append(Emit(event))


def refused(call: ToolCall, words: str) -> ToolResult:
    return ToolResult(call.id, [Text(words)], is_error=True, name=call.name)


class Spending:
    """Counts usage: reports since the last are added, those since the beginning replace.

    What the agents behind a voice spent is counted apart, with costs of their own.
    """

    def __init__(self, price: VoicePrice | None, cost_max: Decimal | None) -> None:
        self._price = price
        self._cost_max = cost_max
        self._before = VoiceUsage()
        self._session = VoiceUsage()
        self.delegates = Usage()
        self._delegates_cost: Decimal | None = Decimal(0)

    @property
    def usage(self) -> VoiceUsage:
        """All of the voice's."""
        return self._before + self._session

    @property
    def cost(self) -> Decimal | None:
        """In US dollars; `None` where a part has no known price."""
        voice = cost_usd(self.usage, self._price)
        if voice is None or self._delegates_cost is None:
            return None
        return voice + self._delegates_cost

    @property
    def is_over(self) -> bool:
        """Whether the bound is reached; a cost that is unknown counts as too much."""
        if self._cost_max is None:
            return False
        cost = self.cost
        return cost is None or cost >= self._cost_max

    def add(self, usage: VoiceUsage, *, is_cumulative: bool = False) -> None:
        """Add the usage reported for this session."""
        self._session = usage if is_cumulative else self._session + usage

    def add_delegate(self, usage: Usage, cost: Decimal | None) -> None:
        """Add the costs of an agent behind the voice."""
        self.delegates += usage
        known = self._delegates_cost
        self._delegates_cost = None if cost is None or known is None else known + cost

    def session_ended(self) -> None:
        """The next report begins at zero."""
        self._before, self._session = self._before + self._session, VoiceUsage()
