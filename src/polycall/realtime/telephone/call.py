"""One call: a stream of Twilio's on one side, a talk on the other."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Literal, TypeAlias

from polycall.errors import RequestError
from polycall.realtime.events import Audio, Interrupted, TalkEvent
from polycall.realtime.talk import Talk
from polycall.realtime.telephone import twilio
from polycall.realtime.telephone.sound import FloodError, Inbound, Outbound, SlowReaderError
from polycall.realtime.telephone.tokens import CallDetails
from polycall.voices.connection import ConnectionClosedError, Socket

DigitsMode: TypeAlias = Literal["event", "tool"]
OnEvent: TypeAlias = Callable[["PhoneCall", TalkEvent], Any]

_LOOK_S = 0.25
_PIECE_BYTES = 320
_REST_S = 0.04
_SEND_S = 10.0
_CLOSE_S = 1.0
# Sound that was still to be played when the talk ended is waited for, at most so long.
_LAST_WORDS_S = 5.0

_current: ContextVar[PhoneCall] = ContextVar("polycall_phone_call")


def phone_call() -> PhoneCall:
    """The call in which a tool runs; `RequestError` where there is none."""
    try:
        return _current.get()
    except LookupError:
        raise RequestError(
            "no telephone call is under way here; a tool of a Telephone has one"
        ) from None


class PhoneCall:
    """A call that continues.  `number` counts the calls of a telephone; logs have no other name.

    `ended_by` says who ended it: the caller (`stop`), a closed connection (`lost`), the talk, or
    what was wrong with the stream.
    """

    def __init__(
        self,
        number: int,
        details: CallDetails,
        socket: Socket,
        start: twilio.Start,
        *,
        digits: DigitsMode,
        now_s: Callable[[], float],
    ) -> None:
        self.number = number
        self.details = details
        self.ended_by = ""
        self.inbound = Inbound(now_s)
        self.outbound = Outbound(start.stream_id, now_s)
        self.digits: asyncio.Queue[str] = asyncio.Queue(maxsize=64)
        self.reads_digits = digits == "tool"
        self._digits_mode = digits
        self._now_s = now_s
        self._socket = socket
        self._talk: Talk | None = None

    @property
    def talk(self) -> Talk:
        """The talk of this call; `RequestError` before it begins."""
        if self._talk is None:
            raise RequestError("the call has not begun yet")
        return self._talk

    def hang_up(self, reason: str = "talk") -> None:
        """End the call.  What is still to be played is lost."""
        self.ended_by = self.ended_by or reason
        if self._talk is not None:
            self._talk.hang_up()

    async def hold(self, talk: Talk, on_event: OnEvent | None, greeting: str) -> None:
        """Carry sound both ways until one side ends; nothing is left running."""
        _current.set(self)
        self._talk = talk
        async with talk:
            if greeting:
                talk.say(greeting)
            tasks = [
                asyncio.create_task(self._guarded(work))
                for work in (self._read(), self._write(), self._watch())
            ]
            try:
                async for event in talk:
                    await self._show(event, on_event)
                self.ended_by = self.ended_by or "talk"
                if self.ended_by == "talk":
                    await self._last_words(tasks[0])
            finally:
                for task in tasks:
                    task.cancel()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error

    async def _show(self, event: TalkEvent, on_event: OnEvent | None) -> None:
        match event:
            case Audio(data):
                try:
                    self.outbound.sound(data)
                except SlowReaderError:
                    self.hang_up("slow reader")
                return
            case Interrupted():
                self.outbound.interrupted()
            case _:
                pass
        if on_event is not None:
            made = on_event(self, event)
            if inspect.isawaitable(made):
                await made

    async def _guarded(self, work: Any) -> None:
        """Do a part of the call; its failure ends the call, and is raised to who holds it."""
        try:
            await work
        except ConnectionClosedError:
            self.hang_up("lost")
        except twilio.MalformedFrameError:
            self.hang_up("malformed frame")
        except FloodError:
            self.hang_up("flood")
        except TimeoutError:
            self.hang_up("slow reader")
        except Exception:
            self.hang_up("failure")
            raise

    async def _read(self) -> None:
        """Read the stream to its end."""
        while True:
            frame = twilio.parse_frame(await self._socket.receive())
            self.inbound.frame()
            match frame:
                case twilio.Media(data, timestamp_ms, chunk):
                    if sound := self.inbound.media(data, timestamp_ms, chunk):
                        self._listen(sound)
                case twilio.MarkReached(name):
                    self.outbound.reached(name)
                case twilio.DigitPressed(digit):
                    self.inbound.digit()
                    self._pressed(digit)
                case twilio.Stopped():
                    self.hang_up("stop")
                    return
                case twilio.Start():
                    self.hang_up("second start")
                    return
                case twilio.Ignored():
                    pass

    def _listen(self, sound: bytes) -> None:
        """Give sound to the voice; much of it in pieces, as it would have come."""
        for at in range(0, len(sound), _PIECE_BYTES):
            self.talk.listen(sound[at : at + _PIECE_BYTES])

    def _pressed(self, digit: str) -> None:
        if not self.reads_digits:
            self.talk.press(digit)
            return
        with suppress(asyncio.QueueFull):  # nobody presses 64 keys that nobody reads
            self.digits.put_nowait(digit)

    async def read_digits(self, count: int, end: str, wait_s: float) -> str:
        """Read the digits that the caller types: `count`, or fewer before `end` or a pause of
        `wait_s`.
        """
        self.reads_digits, typed = True, ""
        try:
            while len(typed) < count:
                async with asyncio.timeout(wait_s):
                    digit = await self.digits.get()
                if digit == end:
                    break
                typed += digit
        except TimeoutError:
            pass
        finally:
            self.reads_digits = self._digits_mode == "tool"
        return typed

    async def _write(self) -> None:
        """Send what waits; what is less than 20 ms waits a little for more."""
        outbound = self.outbound
        while True:
            while (frame := outbound.next_frame()) is not None:
                async with asyncio.timeout(_SEND_S):
                    await self._socket.send(frame)
            try:
                async with asyncio.timeout(_REST_S if outbound.has_rest else None):
                    await outbound.has_frames.wait()
            except TimeoutError:
                outbound.flush()

    async def _watch(self) -> None:
        """See that sound comes: a stall in speech ends the turn, a dead stream the call."""
        while True:
            await asyncio.sleep(_LOOK_S)
            if silence := self.inbound.stalled():
                self._listen(silence)
            if self.inbound.is_dead:
                self.hang_up("no media")
                return

    async def playback_over(self, within_s: float) -> None:
        """Wait until the caller has heard everything, at most so long."""
        self.outbound.flush()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while True:
                    left_ms = self.outbound.left_ms()
                    if left_ms <= 0:
                        return
                    await asyncio.sleep(max(left_ms / 1000, 0.02))

    async def _last_words(self, reading: asyncio.Task[None]) -> None:
        """Let the caller hear what was said before the talk ended, while the caller is there."""
        waiting = asyncio.create_task(self.playback_over(_LAST_WORDS_S))
        await asyncio.wait([waiting, reading], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def close(self) -> None:
        """Close the stream, after which Twilio ends the call."""
        with suppress(TimeoutError, ConnectionClosedError):
            async with asyncio.timeout(_CLOSE_S):
                await self._socket.close()
