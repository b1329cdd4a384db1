"""A talk beside a bare relay of the same frames, interleaved in one run: added time and CPU.

`python -m bench.realtime [TALKS...]` (1, 10, 20, 50).  Both read the same simulated voice over
WebSockets on the loopback.  A row says how late sound comes out after it came in (p50, p99, in
milliseconds), and what a talk costs in CPU, as a ratio to the relay.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

from msgspec.structs import replace

from polycall import Agent, Client
from polycall.providers.catalogue import CATALOGUE
from polycall.realtime import Audio, Talk
from polycall.sim.realtime import SoundFormat, VoiceSimulation
from polycall.sim.script import Turn
from polycall.voices.connection import ConnectionClosedError, Socket, connect_websocket

_TALK_S = 6.0
_TEXT = "This is an answer that takes a while to be spoken to its very end. " * 2


class _Stamped:
    """A socket that remembers when frames of sound came."""

    def __init__(self, inner: Socket) -> None:
        self._inner = inner
        self.came: list[float] = []

    async def send(self, frame: str) -> None:
        await self._inner.send(frame)

    async def receive(self) -> str | bytes:
        frame = await self._inner.receive()
        if b"output_audio.delta" in (frame if isinstance(frame, bytes) else frame.encode()):
            self.came.append(time.perf_counter())
        return frame

    async def close(self) -> None:
        await self._inner.close()


async def _speak(send: Any, ends_s: float) -> None:
    """Half a second of speech, then silence, in pieces of 20 ms."""
    sound, began = SoundFormat(), time.perf_counter()
    loud, quiet = sound.tone(20), sound.silence(20)
    count = 0
    while (now := time.perf_counter() - began) < ends_s:
        await send(loud if 0.2 < now < 0.7 else quiet)
        count += 1
        await asyncio.sleep(max(count * 0.02 - (time.perf_counter() - began), 0))


async def _talk(client: Client) -> list[float]:
    made: list[_Stamped] = []

    async def connect(url: str, headers: dict[str, str]) -> Socket:
        made.append(_Stamped(await connect_websocket(url, headers)))
        return made[-1]

    late: list[float] = []
    agent = Agent("openai/gpt-5.4", instructions="Be brief.", client=client)
    async with Talk(agent, voice="openai/gpt-realtime-2.1", connect=connect) as talk:

        async def send(data: bytes) -> None:
            talk.listen(data)

        async def speak() -> None:
            await _speak(send, _TALK_S)
            talk.hang_up()

        speaking = asyncio.create_task(speak())
        async for event in talk:
            if isinstance(event, Audio):
                late.append(time.perf_counter() - made[0].came[len(late)])
        await speaking
    return late


async def _relay(url: str) -> list[float]:
    """The least that could be done: frames in, sound decoded, sound out."""
    import base64  # noqa: PLC0415 - only the relay does it by hand

    socket = _Stamped(await connect_websocket(url, {}))
    late: list[float] = []

    async def send(data: bytes) -> None:
        audio = base64.b64encode(data).decode()
        await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))

    speaking = asyncio.create_task(_speak(send, _TALK_S))
    try:
        async with asyncio.timeout(_TALK_S + 0.2):
            while True:
                body = json.loads(await socket.receive())
                if body["type"] == "response.output_audio.delta":
                    base64.b64decode(body["delta"])
                    late.append(time.perf_counter() - socket.came[-1])
    except (TimeoutError, ConnectionClosedError):
        pass
    speaking.cancel()
    await socket.close()
    return late


def _part(values: list[float], share: float) -> float:
    return 1000 * sorted(values)[min(int(len(values) * share), len(values) - 1)]


async def _row(count: int, client: Client, url: str) -> str:
    cells: list[str] = []
    costs: list[float] = []
    for many in ([_relay(url) for _ in range(count)], [_talk(client) for _ in range(count)]):
        began = time.thread_time()
        found = await asyncio.gather(*many)
        costs.append((time.thread_time() - began) / count)
        late = [each for one in found for each in one]
        cells.append(f"{_part(late, 0.5):>9.2f} {_part(late, 0.99):>9.2f}")
    ratio = costs[1] / costs[0]
    cpu = f"{1000 * costs[0]:>8.0f} {1000 * costs[1]:>8.0f} {ratio:>6.2f}"
    return f"{count:>6} {cells[0]} {cells[1]} {cpu}"


async def _measure(counts: list[int]) -> None:
    with VoiceSimulation() as simulation:
        base = simulation.base_url("openai")
        provider = replace(CATALOGUE["openai"], base_url=base)
        url = "ws" + base.removeprefix("http") + "/realtime?model=gpt-realtime-2.1"
        async with Client(providers=[provider], keys={"openai": "simulated"}) as client:
            print(f"{'':>6} {'relay, ms':>19} {'talk, ms':>19} {'CPU ms a talk':>17}")
            names = ("p50", "p99", "p50", "p99")
            print(f"{'talks':>6} " + " ".join(f"{name:>9}" for name in names), end="")
            print(f" {'relay':>8} {'talk':>8} {'ratio':>6}")
            for count in counts:
                simulation.talk("gpt-realtime-2.1", [Turn(_TEXT) for _ in range(4 * count)])
                print(await _row(count, client, url), flush=True)


def main(counts: list[int] | None = None) -> None:
    """Print the table."""
    os.environ.setdefault("OPENAI_API_KEY", "simulated")
    asyncio.run(_measure(counts or [1, 10, 20, 50]))


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]])
