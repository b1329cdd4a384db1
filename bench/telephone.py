"""Telephone calls beside a bare relay of the same frames, interleaved in one run.

`python -m bench.telephone [CALLS...]` (1, 10, 20, 50).  Callers and voices are in a process of
their own; telephone and relay are in this one.  A row says how late sound goes out after it came
in (p50, p99, p99.9, and the share within 100 ms), and what a call costs in CPU.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from contextvars import ContextVar

from aiohttp import WSMsgType, web
from msgspec.structs import replace

from polycall import Agent, Client
from polycall.providers.catalogue import CATALOGUE
from polycall.realtime import Telephone
from polycall.realtime.telephone.server import TelephoneServer
from polycall.sim.realtime import SoundFormat, VoiceSimulation
from polycall.sim.script import Turn
from polycall.sim.telephone import Caller, WebLine
from polycall.voices.connection import ConnectionClosedError, Socket, connect_websocket

PUBLIC, TOKEN = "https://bell.example.com", "12345"
MODEL = "gpt-realtime-2.1"
TEXT = "This is an answer that takes a while to be spoken to its very end."
STREAM = f'<Stream url="{PUBLIC.replace("http", "ws", 1)}/media"/>'
TWIML = f"<Response><Connect>{STREAM}</Connect></Response>"


class _Stamped:
    """A voice's socket that remembers when sound came."""

    def __init__(self, inner: Socket, came: list[float]) -> None:
        self._inner = inner
        self._came = came

    async def send(self, frame: str | bytes) -> None:
        await self._inner.send(frame)

    async def receive(self) -> str | bytes:
        frame = await self._inner.receive()
        if "output_audio.delta" in str(frame):
            self._came.append(time.perf_counter())
        return frame

    async def close(self) -> None:
        await self._inner.close()


_came: ContextVar[list[float]] = ContextVar("came")


async def _connect(url: str, headers: dict[str, str]) -> Socket:
    return _Stamped(await connect_websocket(url, headers), _came.get())


class _Measured(Telephone):
    """A telephone that measures each piece of sound on its way."""

    late: list[float]

    async def media(self, socket: Socket) -> None:
        came: list[float] = []
        number = 0
        whole = socket.send

        async def send(frame: str | bytes) -> None:
            nonlocal number
            if '"media"' in str(frame) and number < len(came):
                self.late.append(time.perf_counter() - came[number])
                number += 1
            await whole(frame)

        socket.send = send
        _came.set(came)
        await super().media(socket)


class _Relay:
    """The least that could be done: frames from one side to the other."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.late: list[float] = []
        self.port = 0

    async def __aenter__(self) -> _Relay:
        app = web.Application()
        app.router.add_post("/voice", self._voice)
        app.router.add_get("/media", self._media)
        self._runner = web.AppRunner(app, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _voice(self, request: web.Request) -> web.Response:
        await request.post()
        return web.Response(text=TWIML, content_type="text/xml")

    async def _media(self, request: web.Request) -> web.WebSocketResponse:
        phone = web.WebSocketResponse(compress=False)
        await phone.prepare(request)
        came: list[float] = []
        voice = _Stamped(await connect_websocket(self._url, {}), came)
        sound = {"format": {"type": "audio/pcmu"}}
        session = {"type": "realtime", "audio": {"input": sound, "output": sound}}
        await voice.send(json.dumps({"type": "session.update", "session": session}))
        stream: list[str] = [""]
        answering = asyncio.create_task(self._answer(voice, phone, stream, came))
        async for message in phone:
            body = json.loads(message.data) if message.type == WSMsgType.TEXT else {}
            if body.get("event") == "start":
                stream[0] = body["streamSid"]
            if body.get("event") == "media":
                append = {"type": "input_audio_buffer.append", "audio": body["media"]["payload"]}
                await voice.send(json.dumps(append))
        answering.cancel()
        await voice.close()
        return phone

    async def _answer(
        self, voice: _Stamped, phone: web.WebSocketResponse, stream: list[str], came: list[float]
    ) -> None:
        count = 0
        try:
            while True:
                body = json.loads(await voice.receive())
                if body["type"] != "response.output_audio.delta":
                    continue
                head = {"streamSid": stream[0]}
                media = {**head, "event": "media", "media": {"payload": body["delta"]}}
                base64.b64decode(body["delta"])
                self.late.append(time.perf_counter() - came[count])
                count += 1
                await phone.send_str(json.dumps(media))
                mark = {**head, "event": "mark", "mark": {"name": str(count)}}
                await phone.send_str(json.dumps(mark))
        except (ConnectionClosedError, ConnectionError):
            pass


def _part(values: list[float], share: float) -> float:
    return 1000 * sorted(values)[min(int(len(values) * share), len(values) - 1)]


def _child() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench.telephone", "callers"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


async def _measure(counts: list[int]) -> None:
    child = _child()
    assert child.stdin is not None
    assert child.stdout is not None
    base = child.stdout.readline().strip()
    provider = replace(CATALOGUE["openai"], base_url=base)
    url = f"ws{base.removeprefix('http')}/realtime?model={MODEL}"
    print(
        f"{'calls':>6} {'':>6} {'p50 ms':>8} {'p99 ms':>8} {'p99.9':>8} "
        f"{'<100 ms':>8} {'CPU ms':>8}"
    )
    async with (
        Client(providers=[provider], keys={"openai": "simulated"}) as client,
        _Relay(url) as relay,
    ):
        agent = Agent("openai/gpt-5.4", instructions="Be brief.", client=client)
        voice = f"openai/{MODEL}"
        phone = _Measured(
            agent,
            voice=voice,
            public_url=PUBLIC,
            auth_token=TOKEN,
            calls_max=500,
            connect=_connect,
        )
        async with TelephoneServer(phone, port=0) as server:
            for count in counts:
                for name, port in (("relay", relay.port), ("phone", server.port)):
                    late = relay.late = phone.late = []
                    began = time.thread_time()
                    child.stdin.write(f"{port} {count}\n")
                    child.stdin.flush()
                    answered = await asyncio.to_thread(child.stdout.readline)
                    cpu_ms = 1000 * (time.thread_time() - began) / count
                    within = sum(each <= 0.1 for each in late) / len(late)
                    cells = " ".join(f"{_part(late, share):>8.2f}" for share in (0.5, 0.99, 0.999))
                    print(
                        f"{count:>6} {name:>6} {cells} {within:>8.2%} {cpu_ms:>8.0f}",
                        answered.strip(),
                    )
    child.stdin.close()
    child.wait(10)


async def _calls(port: int, count: int) -> int:
    sound = SoundFormat("audio/pcmu", 8000)
    line = WebLine(f"127.0.0.1:{port}")

    def caller(number: int) -> Caller:
        made = Caller(line, voice_url=f"{PUBLIC}/voice", auth_token=TOKEN)
        made.pause(number * 3.0 / count)
        # Nobody interrupts: each piece of sound that came in goes out.
        return made.say(sound.tone(500)).pause(7).say(sound.tone(500)).pause(7).hang_up()

    records = await asyncio.gather(*(caller(number).call() for number in range(count)))
    await line.close()
    return sum(len(record.heard.strip(b"\xff")) > 8000 for record in records)


def _callers() -> None:
    """The other process: voices, and callers as they are asked for."""
    with VoiceSimulation() as sim:
        print(sim.base_url("openai"), flush=True)
        for order in sys.stdin:
            port, count = map(int, order.split())
            sim.talk(MODEL, [Turn(TEXT) for _ in range(4 * count)])
            heard = asyncio.run(_calls(port, count))
            print(f"{heard} of {count} callers heard it", flush=True)


def main(counts: list[int] | None = None) -> None:
    """Print the table."""
    os.environ.setdefault("OPENAI_API_KEY", "simulated")
    asyncio.run(_measure(counts or [1, 10, 20, 50]))


if __name__ == "__main__":
    if sys.argv[1:] == ["callers"]:
        _callers()
    else:
        main([int(word) for word in sys.argv[1:]])
