"""The state of a talk's connection: when it is renewed, given up, or thought dead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

State: TypeAlias = Literal["connecting", "opening", "ready", "closing", "ended"]

TRIES_MAX = 5
_BACK_OFF_S = 0.25
_BACK_OFF_S_MAX = 4.0
# A session that does not open, and one that says nothing while somebody speaks, after so long.
OPEN_S = 15.0
SILENT_S = 15.0
# Before the moment at which the vendor closes.
_MARGIN_S = 2.0


@dataclass
class ConnectionState:
    """The connection of now.  `number` counts the sessions of the talk."""

    state: State = "connecting"
    number: int = 0
    handle: str = ""
    was_resumed: bool = False
    tries: int = 0
    renew_at_s: float | None = None  # from then on, once nothing is under way
    renew_by_s: float | None = None  # in any case
    opens_by_s: float | None = None
    waits_since_s: float | None = None  # the vendor owes something since then
    reason: str = ""

    def opening(self, now_s: float) -> None:
        """The socket is open, and the session is asked for."""
        self.state = "opening"
        self.number += 1
        self.opens_by_s = now_s + OPEN_S
        self.waits_since_s = None
        self.renew_at_s = self.renew_by_s = None

    def ready(self, now_s: float, renew_s: float | None, session_s: float) -> None:
        """The session is open."""
        self.state = "ready"
        self.opens_by_s = None
        self.renew_at_s = None if renew_s is None else now_s + renew_s
        self.renew_by_s = now_s + session_s - _MARGIN_S

    def going_away(self, now_s: float, left_s: float) -> None:
        """The vendor closes after so long."""
        self.renew_at_s = now_s
        self.renew_by_s = now_s + max(left_s - _MARGIN_S, 0.0)

    def is_renewal_due(self, now_s: float, *, is_idle: bool) -> bool:
        """Whether a new connection is to be begun now."""
        if self.state != "ready":
            return False
        if self.renew_by_s is not None and now_s >= self.renew_by_s:
            return True
        return is_idle and self.renew_at_s is not None and now_s >= self.renew_at_s

    def is_dead(self, now_s: float) -> bool:
        """Whether the vendor should have said something long ago."""
        if self.opens_by_s is not None and now_s >= self.opens_by_s:
            return True
        return self.waits_since_s is not None and now_s >= self.waits_since_s + SILENT_S

    def owes(self, now_s: float) -> None:
        """Somebody speaks to the vendor, or a reply continues: something must come."""
        if self.waits_since_s is None and self.state == "ready":
            self.waits_since_s = now_s

    def heard_from(self) -> None:
        """Something came."""
        self.waits_since_s = None

    def back_off_s(self) -> float:
        """The seconds to wait before the next try; counts the try."""
        self.tries += 1
        return min(_BACK_OFF_S * 2 ** (self.tries - 1), _BACK_OFF_S_MAX)

    def due_s(self) -> float | None:
        """When to look again."""
        moments = [self.opens_by_s, self.renew_by_s, self.renew_at_s]
        if self.waits_since_s is not None:
            moments.append(self.waits_since_s + SILENT_S)
        return min((each for each in moments if each is not None), default=None)
