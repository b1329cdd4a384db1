"""What a talk has used so far, over all its connections, and whether it may use more."""

from __future__ import annotations

from decimal import Decimal

from polycall.ir import Usage
from polycall.voices.usage import VoicePrice, VoiceUsage, cost_usd


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
        """What was reported for this session."""
        self._session = usage if is_cumulative else self._session + usage

    def add_delegate(self, usage: Usage, cost: Decimal | None) -> None:
        """What an agent behind the voice spent."""
        self.delegates += usage
        known = self._delegates_cost
        self._delegates_cost = None if cost is None or known is None else known + cost

    def session_ended(self) -> None:
        """The next report begins at zero."""
        self._before, self._session = self._before + self._session, VoiceUsage()
