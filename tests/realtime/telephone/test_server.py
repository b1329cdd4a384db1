"""The telephone behind a port: real sockets, slow ones, idle ones, and many."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from polycall import Client
from polycall.providers.catalogue import CATALOGUE
from polycall.realtime import Telephone
from polycall.realtime.events import Said
from polycall.realtime.telephone.server import TelephoneServer
from polycall.sim.realtime import LinkClosedError, VoiceSimulation
from polycall.sim.script import Turn
from polycall.sim.telephone import Caller, LineRefusedError, StreamFrames, WebLine, read_twiml, sign
from tests.realtime.harness import OPENAI, agent_of
from tests.realtime.telephone.harness import PUBLIC, TOKEN, said

MEDIA = "wss://bell.example.com/media"


class House:
    """A voice, a telephone in front of it, and a port."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.events: list[Any] = []
        self.ended: list[str] = []

    async def __aenter__(self) -> House:
        self.simulation = VoiceSimulation().__enter__()
        self.script = self.simulation.talk(
            "gpt-realtime-2.1", [Turn("Hello, here is the house.")] * 40
        )
        provider = replace(CATALOGUE["openai"], base_url=self.simulation.base_url("openai"))
        self.client = Client(providers=[provider], keys={"openai": "simulated"})
        server_options = {
            name: self.options.pop(name)
            for name in ("connections_max", "request_s")
            if name in self.options
        }
        self.phone = Telephone(
            agent_of(client=self.client),
            voice=OPENAI,
            public_url=PUBLIC,
            auth_token=TOKEN,
            on_event=lambda call, event: self.events.append((call, event)),
            **self.options,
        )
        self.server = await TelephoneServer(self.phone, port=0, **server_options).__aenter__()
        self.line = WebLine(f"127.0.0.1:{self.server.port}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.line.close()
        await self.phone.drain(2.0)
        await self.server.__aexit__()
        await self.client.close()
        self.simulation.__exit__()

    def caller(self) -> Caller:
        return Caller(self.line, voice_url=f"{PUBLIC}/voice", auth_token=TOKEN)

    async def raw(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.server.port)


async def test_a_call_by_http_and_websocket() -> None:
    async with House() as house:
        caller = house.caller().say(said(400)).wait_for_speech(1000).hang_up()
        record = await caller.call()
        assert (record.status, record.answered, record.wrong_frames) == (200, True, [])
        assert record.media_frames > 0
        assert "Hello" in str([event for _, event in house.events if isinstance(event, Said)])


async def test_a_caller_that_vanishes_leaves_no_voice_connected() -> None:
    async with House() as house:
        await house.caller().say(said(400)).wait_for_speech(300).vanish().call()
        async with asyncio.timeout(1.0):
            while house.phone.calls:
                await asyncio.sleep(0.01)
        assert house.events[0][0].ended_by == "lost"


async def test_what_is_not_signed_gets_a_status_and_no_voice() -> None:
    async with House() as house:
        with pytest.raises(LineRefusedError) as refused:
            await house.line.connect(MEDIA, {})
        assert refused.value.status == 403
        with pytest.raises(LineRefusedError) as refused:
            await house.line.connect(MEDIA + "/else", {"X-Twilio-Signature": sign(TOKEN, MEDIA)})
        assert refused.value.status == 404
        assert (await house.line.post(f"{PUBLIC}/voice", {"CallSid": "CA1"}, {}))[0] == 403
        long = {"CallSid": "CA1", "More": "x" * 40_000}
        assert (await house.line.post(f"{PUBLIC}/voice", long, {}))[0] == 413
        many = {f"Field{number}": "1" for number in range(200)}
        assert (await house.line.post(f"{PUBLIC}/voice", many, {}))[0] == 413
        assert house.script.record.sessions == 0


async def test_case_37_a_frame_of_2_mb_closes_its_stream() -> None:
    async with House() as house:
        for is_begun in (False, True):
            caller = house.caller()
            _, parameters = read_twiml((await caller.post())[1])
            link = await caller.open(MEDIA)
            frames = StreamFrames(caller.call_id, "MZ1")
            if is_begun:
                await link.send(frames.start(parameters))
            await link.send("x" * 2_000_000)
            with pytest.raises(LinkClosedError):
                while True:
                    await link.receive()
            async with asyncio.timeout(1.0):
                while house.phone.calls:
                    await asyncio.sleep(0.01)


async def test_a_thousand_idle_connections_are_closed_and_one_call_goes_on() -> None:
    async with House(connections_max=200, request_s=1.0) as house:
        calling = asyncio.create_task(
            house.caller().say(said(400)).wait_for_speech(1000).pause(1).hang_up().call()
        )
        await asyncio.sleep(0.3)
        opened = [await house.raw() for _ in range(1000)]
        for number, (_, writer) in enumerate(opened):
            if number % 2:
                writer.write(b"POST /voice HTTP/1.1\r\nhost: x\r\n")
        async with asyncio.timeout(10):
            for reader, _ in opened:
                with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                    await reader.readexactly(1)
        for _, writer in opened:
            writer.close()
        record = await calling
        assert (record.answered, record.media_frames > 0) == (True, True)
        # And the door is open again.
        assert (await house.caller().pause(0.1).hang_up().call()).answered


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async with House(request_s=0.5) as house:
        reader, writer = await house.raw()
        writer.write(b"POST /voice HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nCallSid")
        async with asyncio.timeout(3):
            assert b" 408 " in await reader.readline()
        writer.close()
