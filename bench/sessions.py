"""Realtime sessions through the gateway beside a bare relay, interleaved in one run.

`python -m bench.sessions [SESSIONS...]` (1, 10, 50).  Each client sends a frame of 20 ms of sound
50 times a second, and has each back.  Relay and gateway are processes of their own; a row says when
a frame comes back (p50, p99), and what a frame costs in CPU, each way.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
from aiohttp import WSMsgType, web
from tests.gateway.harness import KEY, Gateway
from tests.gateway.voices import odd_voices

from polycall.sim.realtime import SoundFormat

_S = 6.0
_MODEL = "gpt-realtime-2.1-echo"


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def _client(url: str) -> list[float]:
    """One session; how long each frame took, there and back."""
    audio = base64.b64encode(SoundFormat().tone(20)).decode()
    took: list[float] = []
    sent: list[float] = []
    headers = {"authorization": f"Bearer {KEY}"}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, headers=headers) as socket,
    ):

        async def listen() -> None:
            await socket.receive()  # session.created
            while True:
                await socket.receive_str()
                took.append(time.perf_counter() - sent[len(took)])

        listening = asyncio.create_task(listen())
        began = time.perf_counter()
        frame = json.dumps({"type": "input_audio_buffer.append", "audio": audio})
        for count in range(int(_S * 50)):
            await asyncio.sleep(max(began + count * 0.02 - time.perf_counter(), 0))
            sent.append(time.perf_counter())
            await socket.send_str(frame)
        await asyncio.sleep(0.3)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    return took


async def _measure(counts: list[int], base: str, gateway: Gateway, relay: tuple[int, int]) -> None:
    direct = f"ws{base.removeprefix('http')}/realtime?model={_MODEL}"
    ways = {
        "direct": (direct, 0),
        "relay": (f"ws://127.0.0.1:{relay[0]}/?to={direct}", relay[1]),
        "gateway": (f"ws://127.0.0.1:{gateway.port}/v1/realtime?model=odd/{_MODEL}", gateway.pid),
    }
    print(f"{'sessions':>8} {'':>8} {'p50 ms':>8} {'p99 ms':>8} {'CPU us a frame':>15}")
    for count in counts:
        for name, (url, pid) in ways.items():
            before = cpu_s(pid) if pid else 0.0
            found = await asyncio.gather(*(_client(url) for _ in range(count)))
            took = sorted(each for one in found for each in one)
            cpu_us = (cpu_s(pid) - before) / max(2 * len(took), 1) * 1e6 if pid else 0.0
            p50, p99 = (1000 * took[int(len(took) * share)] for share in (0.5, 0.99))
            print(f"{count:>8} {name:>8} {p50:>8.2f} {p99:>8.2f} {cpu_us:>15.0f}", flush=True)


async def _relay() -> None:
    """The other process: two loops for each session, and nothing else."""

    async def serve(request: web.Request) -> web.WebSocketResponse:
        client = web.WebSocketResponse(compress=False)
        await client.prepare(request)
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(request.query["to"] + f"&model={_MODEL}") as voice,
        ):

            async def down() -> None:
                async for message in voice:
                    await client.send_str(message.data)

            task = asyncio.create_task(down())
            async for message in client:
                if message.type == WSMsgType.TEXT:
                    await voice.send_str(message.data)
            task.cancel()
        return client

    app = web.Application()
    app.router.add_get("/", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def main(counts: list[int] | None = None) -> None:
    """Print the table."""
    relay = subprocess.Popen(
        [sys.executable, "-m", "bench.sessions", "relay"], stdout=subprocess.PIPE, text=True
    )
    assert relay.stdout is not None
    try:
        port = int(relay.stdout.readline())
        with odd_voices() as voices, tempfile.TemporaryDirectory() as folder:
            provider = '[providers.odd]\ndialect = "openai-chat"\napi_key = "sk-provider"\n'
            key = f'[[keys]]\nkey = "{KEY}"\nname = "bench"\n'
            config = f'{provider}base_url = "{voices.base_url}"\n{key}'
            gateway = Gateway(Path(folder), config).start()
            try:
                asyncio.run(
                    _measure(counts or [1, 10, 50], voices.base_url, gateway, (port, relay.pid))
                )
            finally:
                gateway.stop()
    finally:
        relay.kill()
        relay.communicate()


if __name__ == "__main__":
    if sys.argv[1:] == ["relay"]:
        asyncio.run(_relay())
    else:
        main([int(word) for word in sys.argv[1:]])
