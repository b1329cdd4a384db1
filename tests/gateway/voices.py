"""Providers of realtime voices for tests: each model of them behaves badly in its own way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Generator
from typing import Any

from aiohttp import WSMsgType, web

SOUND = "A" * 10_000
USAGE = {
    "input_tokens": 1000,
    "output_tokens": 500,
    "total_tokens": 1500,
    "input_token_details": {
        "text_tokens": 400,
        "audio_tokens": 600,
        "cached_tokens": 100,
        "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 100},
    },
    "output_token_details": {"text_tokens": 100, "audio_tokens": 400},
}
# By hand, at the prices of gpt-realtime-2.1: 400 text at 4, 500 sound at 32, 100 cached sound at
# 0.40; 100 text at 24, 400 sound at 64 dollars for a million.
COST = (400 * 4 + 500 * 32 + 100 * 0.4 + 100 * 24 + 400 * 64) / 1e6


GARBAGE = [
    '{"type": "session.updated"',
    '{"type": "session.updated", "session": [{"audio": null}]}',
    '{"type": "response.done", "response": {"usage": "much"}}',
    '{"type": "response.done", "response": {"id": 5, "usage": {"input_tokens": -1e999}}}',
    '{"type": "response.created", "response": null}',
    '{"type": "error", "error": "\\ud800"}',
    '[["usage"]]',
    '{"usage": ' + "[" * 2000,
]


class OddVoices:
    """A server in a thread.  `seen` are the requests' headers, `closed` how sessions ended."""

    def __init__(self) -> None:
        self.port = 0
        self.seen: list[dict[str, str]] = []
        self.targets: list[str] = []
        self.frames: list[str | bytes] = []
        self.closed: list[int] = []
        self.sent_bytes = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_get("/v1/realtime", self._session)
        runner = web.AppRunner(app, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stopping.wait()
        await runner.cleanup()

    async def _session(self, request: web.Request) -> web.StreamResponse:
        self.seen.append({name.lower(): value for name, value in request.headers.items()})
        self.targets.append(str(request.rel_url))
        model = request.query["model"]
        if model.endswith("unauthorized"):
            return web.Response(status=401, text="no")
        if model.endswith("busy"):
            return web.Response(status=503, text="busy")
        socket = web.WebSocketResponse(max_msg_size=2**25)
        await socket.prepare(request)
        try:
            await socket.send_str(json.dumps({"type": "session.created", "session": {}}))
            await getattr(self, model.rpartition("-")[2])(socket)
        except ConnectionError:
            pass
        self.closed.append(socket.close_code or 1006)
        return socket

    async def echo(self, socket: web.WebSocketResponse) -> None:
        """Sends back what it is sent."""
        async for message in socket:
            self.frames.append(message.data)
            if message.type == WSMsgType.TEXT:
                await socket.send_str(message.data)
            else:
                await socket.send_bytes(message.data)

    async def flood(self, socket: web.WebSocketResponse) -> None:
        """Sends without end."""
        frame = json.dumps({"type": "response.output_audio.delta", "delta": SOUND})
        while True:
            await socket.send_str(frame)
            self.sent_bytes += len(frame)

    async def deaf(self, socket: web.WebSocketResponse) -> None:
        """Takes no frames."""
        await asyncio.sleep(30)

    async def replies(self, socket: web.WebSocketResponse) -> None:
        """Answers each response.create, and bills it; ends what is cancelled."""
        count = 0
        async for message in socket:
            kind = json.loads(message.data)["type"]
            reply: dict[str, Any] = {"id": f"resp_{count}", "status": "completed"}
            if kind == "response.create":
                count += 1
                reply["id"] = f"resp_{count}"
                await socket.send_str(json.dumps({"type": "response.created", "response": reply}))
            if kind == "response.cancel" or (kind == "response.create" and count != 3):
                reply["status"] = "cancelled" if kind == "response.cancel" else "completed"
                done = {"type": "response.done", "response": {**reply, "usage": USAGE}}
                await socket.send_str(json.dumps(done))

    async def slow(self, socket: web.WebSocketResponse) -> None:
        """Begins its reply late, and bills what is cancelled."""
        async for message in socket:
            kind = json.loads(message.data)["type"]
            reply = {"id": "resp_1", "status": "cancelled"}
            if kind == "response.create":
                await asyncio.sleep(0.5)
                await socket.send_str(json.dumps({"type": "response.created", "response": reply}))
            elif kind == "response.cancel":
                done = {"type": "response.done", "response": {**reply, "usage": USAGE}}
                await socket.send_str(json.dumps(done))

    async def stranger(self, socket: web.WebSocketResponse) -> None:
        """Refuses the gateway's key after the session was opened, and repeats it."""
        key = self.seen[-1]["authorization"].removeprefix("Bearer ")
        error = {"type": "invalid_request_error", "code": "invalid_api_key"}
        error["message"] = f"Incorrect API key provided: {key}."
        await socket.send_str(json.dumps({"type": "error", "error": error}))
        await socket.close(code=3000, message=b"invalid_request_error.invalid_api_key")

    async def babbler(self, socket: web.WebSocketResponse) -> None:
        """Says the gateway's key in passing."""
        await socket.send_str(json.dumps({"type": "x", "text": self.seen[-1]["authorization"]}))
        await socket.receive()

    async def garbage(self, socket: web.WebSocketResponse) -> None:
        """Says what no voice says."""
        for frame in GARBAGE:
            await socket.send_str(frame)
        await socket.send_bytes(b'"usage"\xff\x00')
        await socket.receive()

    async def hour(self, socket: web.WebSocketResponse) -> None:
        """Has lasted for an hour."""
        await socket.close(code=1001, message=b"Your session hit the maximum duration")

    async def crash(self, socket: web.WebSocketResponse) -> None:
        """Breaks the connection."""
        transport = socket._req.transport if socket._req else None  # pyright: ignore[reportPrivateUsage]
        assert transport is not None
        transport.abort()


@contextlib.contextmanager
def odd_voices() -> Generator[OddVoices]:
    served = OddVoices()
    served.start()
    try:
        yield served
    finally:
        served.stop()
