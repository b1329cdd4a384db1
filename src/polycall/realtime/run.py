"""What is left of a talk when it is over."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from polycall.agents.history import History
from polycall.ir import Message, Usage, Warning
from polycall.realtime.events import TalkEnd
from polycall.voices.usage import VoiceUsage


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
