"""Asks each model by the client of the agent that holds the conversation."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from polycall.ir import Request, Response, Usage

if TYPE_CHECKING:
    from polycall.agents.context import RunState
    from polycall.streams import Stream


class SpeakerClient:
    """The client of a run: after a handoff, requests and prices are those of the target's own.

    An agent without a client of its own asks by that of the run, as a delegate does.
    """

    def __init__(self, state: RunState) -> None:
        self._state = state

    async def generate_request(self, request: Request) -> Response:
        """The answer of the speaker's client."""
        return await self._state.client.generate_request(request)

    def stream_request(self, request: Request) -> Stream:
        """The same as events."""
        return self._state.client.stream_request(request)

    def cost(self, model: str, usage: Usage) -> Decimal | None:
        """What the speaker's client says."""
        return self._state.client.cost(model, usage)
