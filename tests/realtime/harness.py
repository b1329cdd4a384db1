"""A talk with a simulated voice on the fast clock: the same steps each time, in no time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from polycall import Agent, Client
from polycall.realtime import Heard, Said, Talk
from polycall.realtime.events import Audio, End, Interrupted, TalkEvent, TalkRun
from polycall.sim.realtime import (
    LinkClosedError,
    MemoryLink,
    Record,
    VoiceScript,
    open_link,
    run_fast,
)
from polycall.sim.realtime.sound import SoundFormat
from polycall.voices.connection import ConnectionClosedError
from tests.realtime.judges import judge

OPENAI = "openai/gpt-realtime-2.1"
GEMINI = "google/gemini-3.8-live"
THINKING = "google/gemini-3.8-live-extended-thinking"
LIVE = "openai/gpt-live-1.1"
_REFUSING = (1003, 1007, 1008, 1009)


class Socket:
    """The client's end of a link, as a talk wants it."""

    def __init__(self, link: MemoryLink, came: list[str | bytes]) -> None:
        self.link = link
        self._came = came

    async def send(self, frame: str) -> None:
        try:
            await self.link.send(frame)
        except LinkClosedError as error:
            raise ConnectionClosedError(str(error)) from None

    async def receive(self) -> str | bytes:
        try:
            frame = await self.link.receive()
        except LinkClosedError as error:
            raise ConnectionClosedError(str(error), is_refusal=error.code in _REFUSING) from None
        self._came.append(frame)
        return frame

    async def close(self) -> None:
        await self.link.close()


@dataclass
class Caller:
    """Sends sound all the time, in pieces of 20 ms: a voice while `say` lasts, else silence."""

    talk: Talk
    is_loud: bool = False
    is_gone: bool = False

    async def run(self) -> None:
        sound = SoundFormat(rate=self.talk.sound_in.rate_hz)
        loud, quiet = sound.tone(20), sound.silence(20)
        while not self.is_gone:
            self.talk.listen(loud if self.is_loud else quiet)
            await asyncio.sleep(0.02)

    async def say(self, ms: float = 800) -> None:
        self.is_loud = True
        await asyncio.sleep(ms / 1000)
        self.is_loud = False

    async def wait(self, ms: float) -> None:
        await asyncio.sleep(ms / 1000)


Drive = Callable[[Talk, Caller], Awaitable[Any]]


@dataclass
class Outcome:
    """What a talk gave, and what the simulated voice saw of it."""

    events: list[TalkEvent]
    run: TalkRun
    record: Record
    moments: list[tuple[float, TalkEvent]] = field(default_factory=list)
    left_tasks: int = 0
    talk: Any = None
    came: list[str | bytes] = field(default_factory=list)
    end_s: float = 0.0

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def heard(self) -> list[str]:
        return [event.text for event in self.of(Heard)]

    @property
    def said(self) -> list[str]:
        return [event.text for event in self.of(Said)]

    @property
    def interrupted(self) -> list[Interrupted]:
        return self.of(Interrupted)

    @property
    def end(self) -> End:
        return self.events[-1]

    def sent(self, kind: str) -> list[dict[str, Any]]:
        """The frames of a kind that polycall sent."""
        return [
            body for _, body in self.record.received if body.get("type") == kind or kind in body
        ]


def hold(
    voice: str,
    agent: Agent[Any, Any] | Any,
    script: VoiceScript,
    drive: Drive,
    *,
    s_max: float = 4000.0,
    judged: bool = True,
    **options: Any,
) -> Outcome:
    """Hold a talk on the fast clock; `drive` plays the application and the caller."""

    async def held() -> Outcome:
        servers: list[asyncio.Task[None]] = []

        async def connect(url: str, headers: dict[str, str]) -> Socket:
            link, server = open_link(url, script)
            servers.append(server)
            return Socket(link, came)

        loop = asyncio.get_running_loop()
        before = len(asyncio.all_tasks())
        came: list[str | bytes] = []
        hung_up = [0.0]
        events: list[TalkEvent] = []
        moments: list[tuple[float, TalkEvent]] = []
        talk = Talk(agent, voice=voice, connect=connect, **options)
        async with asyncio.timeout(s_max), talk:
            caller = Caller(talk)
            calling = asyncio.create_task(caller.run())

            async def play() -> None:
                try:
                    await drive(talk, caller)
                finally:
                    hung_up[0] = loop.time()
                    talk.hang_up()

            playing = asyncio.create_task(play())
            async for event in talk:
                if not isinstance(event, Audio):
                    events.append(event)
                moments.append((loop.time(), event))
            caller.is_gone = True
            calling.cancel()
            playing.cancel()
            results = await asyncio.gather(playing, return_exceptions=True)
            if isinstance(results[0], Exception):
                raise results[0]
            await asyncio.gather(calling, return_exceptions=True)
        await asyncio.gather(*servers, return_exceptions=True)
        await asyncio.sleep(0.01)
        left = len(asyncio.all_tasks()) - before
        outcome = Outcome(events, talk.run, script.record, moments, left, talk, came)
        outcome.end_s = moments[-1][0] - hung_up[0]
        return outcome

    outcome = run_fast(held())
    if judged:
        kind = {"g": "gemini_live"}.get(voice[0], "openai_realtime")
        kind = "gpt_live" if "gpt-live" in voice else kind
        received = [body for _, body in outcome.record.received]
        sent = [body for _, body in outcome.record.sent]
        problems = judge(kind, received, by="client") + judge(kind, sent, by="server")
        assert not problems, "\n".join(dict.fromkeys(problems))
    return outcome


def client_of(*answers: Any) -> Client:
    return Client(keys={"openai": "any", "google": "any", "xai": "any"})


def agent_of(*tools: Any, **options: Any) -> Agent[Any, Any]:
    """An agent whose text model answers as told, and whose keys are known."""
    options.setdefault("instructions", "Be brief.")
    return Agent("openai/gpt-5.4", tools=tools, **options)
