"""The common part of the sessions of simulated voices: reading, sending, tasks, faults."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Coroutine
from typing import Any

from polycall.sim.realtime.link import Link, LinkClosedError
from polycall.sim.realtime.record import JSON, Frame
from polycall.sim.realtime.script import VoiceScript
from polycall.sim.realtime.sound import SoundFormat, TurnDetector


class VoiceSession:
    """One connection of a client; subclasses know the protocol."""

    def __init__(self, link: Link, script: VoiceScript, *, model: str, speed: float = 1.0) -> None:
        self.link = link
        self.script = script
        self.record = script.record
        self.faults = script.faults
        self.model = model
        self.speed = speed
        self.detector = TurnDetector()
        self.input = SoundFormat()
        self.output = SoundFormat()
        self.number = script.record.sessions = script.record.sessions + 1
        self.is_mute = False
        self._count = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        """Serve until either side closes."""
        self.began_s = asyncio.get_running_loop().time()
        try:
            for work in self._planned():
                self.start(work)
            await self.opened()
            while True:
                frame = await self.link.receive()
                await self.came(frame)
        except LinkClosedError:
            pass
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def opened(self) -> None:
        """The client is there."""

    async def handle(self, body: JSON) -> None:
        """A frame has come."""
        raise NotImplementedError

    async def go_away(self) -> None:
        """Tell that the connection will close, where the protocol has a word for it."""

    async def expire(self) -> None:
        """The longest time of a session is over."""
        await self.close(1011, "Deadline expired")

    async def came(self, frame: Frame) -> None:
        """Read a frame, and let the protocol answer it."""
        try:
            body: Any = json.loads(frame)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            await self.close(1007, "a frame is a JSON object")
            return
        self.record.received.append((self.now_s, body))  # pyright: ignore[reportUnknownArgumentType]
        await self.handle(body)  # pyright: ignore[reportUnknownArgumentType]

    @property
    def now_s(self) -> float:
        """The loop's time."""
        return asyncio.get_running_loop().time()

    async def sleep(self, ms: float) -> None:
        """Wait so long, at the simulation's speed."""
        await asyncio.sleep(ms / 1000 / self.speed)

    async def send(self, body: JSON) -> None:
        """Send a frame, unless the session has gone mute."""
        if self.is_mute:
            return
        low, high = self.faults.lag_s
        if high > 0:
            await asyncio.sleep(self.faults.random.uniform(low, high) / self.speed / 10)
        self.record.sent.append((self.now_s, body))
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        await self.link.send(text.encode() if self.sends_bytes else text)

    @property
    def sends_bytes(self) -> bool:
        """Whether frames go out as binary ones."""
        return False

    async def close(self, code: int, reason: str = "") -> None:
        """Close, and remember why, where it is a refusal."""
        if code in (1003, 1007, 1008):
            self.record.refusals.append(f"{code} {reason}")
        await self.link.close(code, reason)
        raise LinkClosedError(code, reason)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Do something alongside the reading, until the session ends."""

        async def guarded() -> None:
            with contextlib.suppress(LinkClosedError):
                await work

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        # One that is cancelled before it begins has not begun what it was to do either.
        task.add_done_callback(lambda _: work.close())
        task.add_done_callback(self._tasks.discard)
        return task

    def new_id(self, kind: str) -> str:
        """An id that nothing else has."""
        self._count += 1
        return f"{kind}_{self.number}_{self._count}"

    def _planned(self) -> list[Coroutine[Any, Any, None]]:
        """The faults of this session, each at its time; a moment is used up by one session."""
        faults = self.faults
        work: list[Coroutine[Any, Any, None]] = []

        async def reset(at_s: float) -> None:
            await asyncio.sleep(at_s / self.speed)
            await self.link.close(1006)

        async def close(at_s: float) -> None:
            await asyncio.sleep(at_s / self.speed)
            await self.link.close(faults.close_code)

        async def mute(at_s: float) -> None:
            await asyncio.sleep(at_s / self.speed)
            self.is_mute = True

        async def leave(at_s: float) -> None:
            await asyncio.sleep(at_s / self.speed)
            await self.go_away()
            await asyncio.sleep(faults.go_away_left_s / self.speed)
            await self.link.close(1011, "going away")

        async def expire(at_s: float) -> None:
            await asyncio.sleep(at_s / self.speed)
            await self.expire()

        for moments, fault in (
            (faults.reset_at_s, reset),
            (faults.close_at_s, close),
            (faults.mute_at_s, mute),
            (faults.go_away_at_s, leave),
        ):
            if moments:
                work.append(fault(moments.pop(0)))
        if faults.expire_at_s is not None:
            at_s, faults.expire_at_s = faults.expire_at_s, None
            work.append(expire(at_s))
        return work
