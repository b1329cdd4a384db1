"""The telephone for agents of text models: Twilio hears and speaks (ConversationRelay).

Sources, read on 2026-11-29: twilio.com/docs/voice/conversationrelay/websocket-messages,
twilio.com/docs/voice/twiml/connect/conversationrelay.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from decimal import Decimal
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from polycall.agents import Agent, History
from polycall.agents.approval_backend import Answer, ApprovalRequest, Approve
from polycall.errors import PolycallError, RequestError
from polycall.ir import Message, PartDelta, Text
from polycall.loop import CallEnd, CallStart, ModelEvent
from polycall.realtime.approving import VoiceApprovals
from polycall.realtime.telephone import twilio
from polycall.realtime.telephone.signed_calls import SignedCalls
from polycall.realtime.telephone.tokens import CallDetails
from polycall.voices.connection import ConnectionClosedError, Socket

# What one caller says and presses, at once and each second.
_FRAMES = (200, 10.0)
_PROMPTS_MAX = 16
_SEND_S = 10.0
_FAILED = "I am sorry, that did not work."


class _Message(msgspec.Struct):
    type: str
    callSid: str = ""  # noqa: N815 - Twilio's names
    customParameters: dict[str, str] = {}  # noqa: N815
    voicePrompt: str = ""  # noqa: N815
    last: bool = True
    digit: str = ""
    utteranceUntilInterrupt: str = ""  # noqa: N815


class RelayCall:
    """A call that continues: what the caller says is a turn of a conversation by text."""

    def __init__(self, number: int, details: CallDetails, socket: Socket) -> None:
        self.number = number
        self.details = details
        self.ended_by = ""
        self.history = History()
        self.cost: Decimal | None = Decimal(0)
        self.turns = 0
        self._socket = socket
        self._prompts: deque[str] = deque()
        self._has_prompts = asyncio.Event()
        self._turn: asyncio.Task[None] | None = None
        self._open_calls = 0
        self._heard: str | None = None  # of the answer that the caller interrupted
        self._asked = VoiceApprovals()
        self._is_over = asyncio.Event()

    def hang_up(self, reason: str = "talk") -> None:
        """End the call."""
        self.ended_by = self.ended_by or reason
        self._is_over.set()

    async def close(self) -> None:
        """Close the stream."""
        await self._socket.close()

    async def say(self, text: str, *, is_last: bool = False) -> None:
        """Let Twilio speak; `is_last` ends what belongs together."""
        body = {"type": "text", "token": text, "last": is_last}
        try:
            async with asyncio.timeout(_SEND_S):
                await self._socket.send(msgspec.json.encode(body).decode())
        except (ConnectionClosedError, TimeoutError):
            self.hang_up("lost")

    async def hold(self, phone: RelayTelephone) -> None:
        """Answer each turn of the caller until somebody ends the call; nothing is left running."""
        work: list[Coroutine[Any, Any, object]] = [
            self._is_over.wait(),
            self._read(),
            self._answer(phone),
        ]
        tasks = [asyncio.create_task(each) for each in work]
        try:
            async with asyncio.timeout(phone.call_s_max):
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            self.hang_up("time")
        finally:
            left = [*tasks, *([] if self._turn is None else [self._turn])]
            for task in left:
                task.cancel()
            ended = await asyncio.gather(*left, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                self.hang_up("failure")
                raise error
        if self.ended_by not in ("stop", "lost"):
            with suppress(ConnectionClosedError):
                await self._socket.send('{"type":"end"}')

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        began_s, count = loop.time(), 0
        while True:
            try:
                message = _parsed(await self._socket.receive())
            except ConnectionClosedError:
                return self.hang_up("stop")
            except twilio.MalformedFrameError:
                return self.hang_up("malformed frame")
            count += 1
            if count > _FRAMES[0] + _FRAMES[1] * (loop.time() - began_s):
                return self.hang_up("flood")
            match message.type:
                case "prompt" if message.last and message.voicePrompt.strip():
                    self._said(message.voicePrompt)
                case "dtmf":
                    self._said(f"(the caller pressed {message.digit[:1]})")
                case "interrupt":
                    self._interrupted(message.utteranceUntilInterrupt)
                case "setup":
                    return self.hang_up("second start")
                case _:
                    pass

    def _said(self, text: str) -> None:
        if self._asked.heard(text):
            return  # it was the answer to a question of ours
        if len(self._prompts) < _PROMPTS_MAX:
            self._prompts.append(text)
            self._has_prompts.set()

    def _interrupted(self, heard: str) -> None:
        """The caller speaks: nothing more is said, and what was not heard was not said."""
        if self._turn is not None and not self._turn.done():
            self._heard = heard
            if not self._open_calls:  # what tools do is done to its end
                self._turn.cancel()
        elif self.history.messages and self.history.messages[-1].role == "assistant":
            *before, last = self.history.messages
            cut = [*before, replace(last, parts=[Text(heard)])]
            self.history = replace(self.history, messages=cut)

    async def _answer(self, phone: RelayTelephone) -> None:
        while True:
            await self._has_prompts.wait()
            self._has_prompts.clear()
            while self._prompts:
                words = [self._prompts.popleft() for _ in range(len(self._prompts))]
                self.turns, self._heard = self.turns + 1, None
                self._turn = asyncio.create_task(self._run(phone, "\n".join(words)))
                await asyncio.wait([self._turn])
                if not self._turn.cancelled():
                    self._turn.result()
                # A cost that is unknown counts as too much.
                if phone.cost_max is not None and (
                    self.cost is None or self.cost >= phone.cost_max
                ):
                    return self.hang_up("cost")

    async def _run(self, phone: RelayTelephone, prompt: str) -> None:
        """One turn: what the agent says is spoken as it comes."""
        options = dict(phone.options)
        if (approve := self._approver(phone)) is not None:
            options["approve"] = approve
        stream = phone.agent.stream(prompt, history=self.history, **options)
        has_begun = False
        try:
            async for event in stream:
                has_begun = True
                match event:
                    case ModelEvent(event=PartDelta(text=text, kind="text")) if self._heard is None:
                        await self.say(text)
                    case CallStart():
                        self._open_calls += 1
                    case CallEnd():
                        self._open_calls -= 1
                    case _:
                        pass
                if phone.on_event is not None:
                    made = phone.on_event(self, event)
                    if inspect.isawaitable(made):
                        await made
        except PolycallError:
            await self.say(_FAILED)
        except asyncio.CancelledError:
            said = [
                Message("user", [Text(prompt)]),
                Message("assistant", [Text(self._heard or "")]),
            ]
            kept = said if self._heard else said[:1]
            messages = [*self.history.messages, *kept]
            self.history = replace(self.history, messages=messages)
            raise
        else:
            self.history = stream.run.history
            if self._heard is not None:
                self._interrupted(self._heard)
        finally:
            self._open_calls = 0
            # A turn that was stopped has a cost as well.
            cost = stream.partial.cost if has_begun else Decimal(0)
            self.cost = None if self.cost is None or cost is None else self.cost + cost
        await self.say("", is_last=True)

    def _approver(self, phone: RelayTelephone) -> Approve | None:
        async def asked(request: ApprovalRequest) -> Answer:
            async def put(words: str) -> None:
                await self.say(f"{request.tool} {words}", is_last=True)

            return await self._asked.ask(request, put)

        if isinstance(phone.approve, str):
            return asked
        return phone.approve


class RelayTelephone(SignedCalls):
    """Lets an agent of any text model answer telephone calls.

    As `Telephone`, but Twilio writes down what is heard and speaks what is said: no realtime model
    is needed.  `attributes` are those of Twilio's `<ConversationRelay>`, such as `language`,
    `voice` or `ttsProvider`.  `on_event` sees each event of each run, with its `RelayCall`.
    """

    def __init__(
        self,
        agent: Agent[Any, Any],
        *,
        public_url: str,
        auth_token: str = "env:TWILIO_AUTH_TOKEN",  # noqa: S107 - where it is
        media_url: str = "",
        calls_max: int = 50,
        call_s_max: float = 1800.0,
        cost_max: Decimal | float | None = None,
        greeting: str = "",
        attributes: dict[str, str] | None = None,
        approve: Approve | Literal["voice"] | None = "voice",
        on_event: Callable[[RelayCall, Any], Any] | None = None,
        **options: Any,
    ) -> None:
        """`options` are those of `agent.stream`, such as `deps` and `variables`."""
        super().__init__(
            public_url=public_url, auth_token=auth_token, media_url=media_url, calls_max=calls_max
        )
        if call_s_max <= 0:
            raise RequestError(f"call_s_max is positive, not {call_s_max!r}")
        self.agent = agent
        self.approve = approve
        self.call_s_max = call_s_max
        self.cost_max = None if cost_max is None else Decimal(str(cost_max))
        self.on_event = on_event
        self.options = options
        self._attributes = {"dtmfDetection": "true", **(attributes or {})}
        if greeting:
            self._attributes["welcomeGreeting"] = greeting

    def _twiml(self, parameters: dict[str, str]) -> str:
        return twilio.relay_twiml(self._media_url, parameters, self._attributes)

    def _start_of(self, frame: str | bytes) -> tuple[None, str, dict[str, str]]:
        message = _parsed(frame)
        if message.type != "setup":
            raise twilio.MalformedFrameError("a stream begins with setup")
        return None, message.callSid, message.customParameters

    def _made(self, details: CallDetails, socket: Socket, start: None) -> RelayCall:
        return RelayCall(self._count, details, socket)

    async def _held(self, call: RelayCall) -> str:
        await call.hold(self)
        return f"{call.turns} turns, cost {'?' if call.cost is None else call.cost} USD"


def _parsed(frame: str | bytes) -> _Message:
    try:
        return msgspec.json.decode(frame, type=_Message)
    except msgspec.DecodeError as error:
        raise twilio.MalformedFrameError(str(error)) from None
