"""A telephone: an agent answers calls that come by Twilio's Media Streams.

`server.py` puts it behind addresses; a test calls it as it is.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any, Literal

from polycall.agents import Agent, Guarded
from polycall.agents.approval_backend import Approve
from polycall.errors import RequestError
from polycall.realtime.played import PlayedTime
from polycall.realtime.talk import Talk
from polycall.realtime.telephone import twilio
from polycall.realtime.telephone.call import DigitsMode, OnEvent, PhoneCall
from polycall.realtime.telephone.signed_calls import SignedCalls
from polycall.realtime.telephone.tokens import CallDetails
from polycall.voices.audio import PCMU
from polycall.voices.capabilities import Voice
from polycall.voices.connection import Connector, Socket, connect_websocket


class Telephone(SignedCalls):
    """Lets an agent answer telephone calls that come by Twilio's Media Streams.

    `public_url` is the address by which Twilio reaches this machine, https and without a path of
    its own; `auth_token` the account's, or where it is: `env:NAME`, `file:PATH`.  Each call is a
    `Talk` of its own, for at most `call_s_max` seconds and `cost_max` US dollars; the call after
    `calls_max` hears the busy tone.  `digits` are `"event"`, which the model reads as they come,
    or wait for a `"tool"` (`digits_tool`).  `greeting` is said first.  `on_event` sees each event
    of each call, with its `PhoneCall`; what it raises ends that call.  `media_url` is this
    process's own address for streams where several answer at `public_url`.  Raises
    `RequestError` for what no call could do.
    """

    def __init__(
        self,
        agent: Agent[Any, Any] | Guarded[Any],
        *,
        voice: str,
        public_url: str,
        auth_token: str = "env:TWILIO_AUTH_TOKEN",  # noqa: S107 - where it is
        media_url: str = "",
        calls_max: int = 50,
        call_s_max: float = 1800.0,
        cost_max: Decimal | float | None = None,
        digits: DigitsMode = "event",
        greeting: str = "",
        speaker: str = "",
        approve: Approve | Literal["voice"] | None = "voice",
        deps: Any = None,
        variables: dict[str, Any] | None = None,
        capabilities: Voice | None = None,
        on_event: OnEvent | None = None,
        connect: Connector = connect_websocket,
    ) -> None:
        if call_s_max <= 0:
            raise RequestError(f"call_s_max is positive, not {call_s_max!r}")
        if digits not in ("event", "tool"):
            raise RequestError(f"digits is 'event' or 'tool', not {digits!r}")
        super().__init__(
            public_url=public_url, auth_token=auth_token, media_url=media_url, calls_max=calls_max
        )
        self._digits: DigitsMode = digits
        self._greeting = greeting
        self._on_event = on_event
        self._agent = agent
        self._options: dict[str, Any] = {
            "voice": voice,
            "speaker": speaker,
            "approve": approve,
            "deps": deps,
            "variables": variables,
            "cost_max": cost_max,
            "talk_s_max": call_s_max,
            "capabilities": capabilities,
            "connect": connect,
        }
        self._make_talk(None)  # what no call could do is refused now

    @property
    def calls(self) -> list[PhoneCall]:
        """The calls that continue."""
        return [call for call in self._calls if isinstance(call, PhoneCall)]

    def _twiml(self, parameters: dict[str, str]) -> str:
        status_url = self._public_url + "/status"
        return twilio.stream_twiml(self._media_url, parameters, status_url=status_url)

    def _start_of(self, frame: str | bytes) -> tuple[twilio.Start, str, dict[str, str]] | None:
        match twilio.parse_frame(frame):
            case twilio.Ignored("connected"):
                return None
            case twilio.Start(_, call_id, parameters) as start:
                return start, call_id, parameters
            case _:
                raise twilio.MalformedFrameError("a stream begins with start")

    def _made(self, details: CallDetails, socket: Socket, start: twilio.Start) -> PhoneCall:
        now_s = asyncio.get_running_loop().time
        return PhoneCall(self._count, details, socket, start, digits=self._digits, now_s=now_s)

    async def _held(self, call: PhoneCall) -> str:
        talk = self._make_talk(call.outbound)
        await call.hold(talk, self._on_event, self._greeting)
        run = talk.run
        cost = "?" if run.cost is None else run.cost
        return f"{run.reason} after {run.duration_s:.0f} s, cost {cost} USD"

    def _make_talk(self, played: PlayedTime | None) -> Talk:
        return Talk(self._agent, sound=PCMU, played=played, **self._options)
