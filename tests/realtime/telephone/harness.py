"""A telephone and callers in memory, on the fast clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from polycall import ToolContext, tool
from polycall.realtime import PhoneCall, Telephone
from polycall.realtime.events import TalkEvent
from polycall.sim.realtime import MemoryLink, SoundFormat, VoiceScript, open_link, run_fast
from polycall.sim.telephone import Caller, LineFaults, LineRefusedError
from tests.realtime.harness import OPENAI, Socket

PUBLIC = "https://bell.example.com"
TOKEN = "12345"  # that of Twilio's own example
MULAW = SoundFormat("audio/pcmu", 8000)


@tool
async def hours(day: str) -> str:
    """The opening hours."""
    await asyncio.sleep(0.3)
    return "from 12 to 23"


@tool(background=True, tell="when_idle")
async def book(people: int, day: str, context: ToolContext) -> str:
    """Book a table."""
    await asyncio.sleep(6)
    return f"a table for {people} on {day} is booked"


@tool(needs_approval=True)
async def charge(amount: int) -> str:
    """Charge a card."""
    return f"{amount} charged"


def said(ms: float) -> bytes:
    """Somebody speaks for so long."""
    return MULAW.tone(ms)


class MemoryLine:
    """Reaches a telephone without HTTP, as its server would."""

    def __init__(self, phone: Telephone) -> None:
        self.phone = phone
        self.serving: list[asyncio.Task[None]] = []

    async def post(
        self, url: str, form: dict[str, str], headers: dict[str, str]
    ) -> tuple[int, str]:
        small = {name.lower(): value for name, value in headers.items()}
        return self.phone.answer(_target(url), small, list(form.items()))

    async def connect(self, url: str, headers: dict[str, str]) -> MemoryLink:
        small = {name.lower(): value for name, value in headers.items()}
        if status := self.phone.refuses_media(_target(url), small):
            raise LineRefusedError(status)
        client, server = MemoryLink.pair()
        self.serving.append(asyncio.create_task(self.phone.media(Socket(server, []))))
        return client

    async def close(self) -> None:
        await asyncio.gather(*self.serving)


def _target(url: str) -> str:
    split = urlsplit(url)
    return split.path + (f"?{split.query}" if split.query else "")


@dataclass
class Exchange:
    """A telephone, the voices behind it and what came of its calls."""

    script: VoiceScript
    connections: int = 0
    closed_s: list[float] = field(default_factory=list[float])
    events: dict[int, list[TalkEvent]] = field(default_factory=dict[int, list[TalkEvent]])
    moments: list[tuple[float, TalkEvent]] = field(default_factory=list)
    calls: dict[int, PhoneCall] = field(default_factory=dict[int, PhoneCall])
    servers: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])
    line: MemoryLine = field(init=False)
    phone: Telephone = field(init=False)

    def caller(self, faults: LineFaults | None = None, **options: Any) -> Caller:
        options.setdefault("auth_token", TOKEN)
        options.setdefault("voice_url", f"{PUBLIC}/voice")
        return Caller(self.line, faults=faults, **options)

    def of(self, kind: type[Any], number: int = 1) -> list[Any]:
        return [event for event in self.events.get(number, []) if isinstance(event, kind)]

    async def connect(self, url: str, headers: dict[str, str]) -> Socket:
        self.connections += 1
        link, server = open_link(url, self.script)
        self.servers.append(server)
        server.add_done_callback(lambda _: self.closed_s.append(asyncio.get_running_loop().time()))
        return Socket(link, [])

    def saw(self, call: PhoneCall, event: TalkEvent) -> None:
        self.calls[call.number] = call
        self.events.setdefault(call.number, []).append(event)
        self.moments.append((asyncio.get_running_loop().time(), event))


def exchange(agent: Any, script: VoiceScript, *, voice: str = OPENAI, **options: Any) -> Exchange:
    """A telephone in front of a simulated voice."""
    made = Exchange(script)
    options.setdefault("on_event", made.saw)
    options.setdefault("public_url", PUBLIC)
    made.phone = Telephone(agent, voice=voice, auth_token=TOKEN, connect=made.connect, **options)
    made.line = MemoryLine(made.phone)
    return made


def on_fast_clock(
    work: Callable[[Exchange], Coroutine[Any, Any, Any]], made: Exchange, s_max: float = 3000.0
) -> Exchange:
    """Run, and see that nothing is left."""

    async def run() -> None:
        before = len(asyncio.all_tasks())
        async with asyncio.timeout(s_max):
            await work(made)
            await made.line.close()
            await asyncio.gather(*made.servers)
        await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks()) == before, asyncio.all_tasks()
        assert made.phone.calls == []

    run_fast(run())
    return made


def one_call(
    made: Exchange, script: Callable[[Caller], Caller], faults: LineFaults | None = None
) -> Caller:
    """One call by a script."""
    callers: list[Caller] = []

    async def work(each: Exchange) -> None:
        caller = script(each.caller(faults))
        callers.append(caller)
        await caller.call()

    on_fast_clock(work, made)
    return callers[0]
