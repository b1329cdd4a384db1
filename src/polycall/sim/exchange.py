"""One exchange over ASGI, and the delivery of an answer, as it should be or as a fault has it."""

from __future__ import annotations

import asyncio
import email.utils
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from polycall._support import jsontext
from polycall.sim import faults
from polycall.sim.chunking import cut_frames
from polycall.sim.script import Answer, Failure, Prompt
from polycall.sim.shape import JSON
from polycall.sim.vendors.base import Route, Vendor
from polycall.sim.vendors.gemini import join_array

Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

BODY_BYTES_MAX = 64 * 1024 * 1024


async def read_body(receive: Receive) -> bytes:
    """The whole body of a request; what is too long is cut."""
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            break
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size <= BODY_BYTES_MAX:
            pieces.append(piece)
        if not message.get("more_body"):
            break
    return b"".join(pieces)


class Exchange:
    """One request and its connection."""

    def __init__(
        self, scope: dict[str, Any], receive: Receive, send: Send, stopping: asyncio.Event
    ) -> None:
        self.method: str = scope["method"]
        self.headers = {
            name.decode("latin-1"): text.decode("latin-1") for name, text in scope["headers"]
        }
        self.query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        self._close: Callable[[], None] = scope["extensions"]["polycall.close"]
        self._receive = receive
        self._send = send
        self._stopping = stopping

    async def read_body(self) -> bytes:
        """The whole body; what is too long is cut, and fails as JSON."""
        return await read_body(self._receive)

    async def start(
        self, status: int, kind: str, headers: dict[str, str], length: int = -1
    ) -> None:
        """Status and headers."""
        now = email.utils.formatdate(usegmt=True)
        fields = {"content-type": kind, "date": now, **headers}
        if length >= 0:
            fields["content-length"] = str(length)
        raw = [(name.encode(), value.encode()) for name, value in fields.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def write(self, data: bytes, *, more: bool = True) -> None:
        """A piece of the body, sent before anything else is done."""
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
        if more:
            # So that pieces reach the socket one by one.
            await asyncio.sleep(0)

    async def send_bytes(
        self, status: int, kind: str, data: bytes, headers: dict[str, str] | None = None
    ) -> None:
        """A whole answer."""
        await self.start(status, kind, headers or {}, len(data))
        await self.write(data, more=False)

    async def send_json(
        self, status: int, body: JSON, headers: dict[str, str] | None = None
    ) -> None:
        """A whole answer in JSON."""
        await self.send_bytes(status, "application/json", jsontext.encode_bytes(body), headers)

    async def hang(self) -> None:
        """Do nothing until the client leaves or the simulation ends."""
        left = asyncio.ensure_future(self._receive())
        stopped = asyncio.ensure_future(self._stopping.wait())
        _, pending = await asyncio.wait({left, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        self.close()

    def close(self) -> None:
        """Close the socket, whatever was promised."""
        self._close()


class Delivery:
    """Sends one answer, or fails to in the way its model's name says."""

    def __init__(
        self, vendor: Vendor, route: Route, prompt: Prompt, answer: Answer, exchange: Exchange
    ) -> None:
        self.vendor = vendor
        self.route = route
        self.prompt = prompt
        self.answer = answer
        self.exchange = exchange
        self.headers = vendor.answer_headers(answer.nonce)
        self.kind = vendor.stream_type if route.sse else "application/json"

    def frames(self) -> Iterator[bytes]:
        """The events of the stream."""
        frames = self.vendor.render_stream(self.prompt, self.answer)
        return frames if self.route.sse else join_array(frames)

    def body(self) -> bytes:
        """The whole answer."""
        return jsontext.encode_bytes(self.vendor.render_body(self.prompt, self.answer))

    async def send(self) -> None:
        """The answer as it should be."""
        if not self.prompt.stream:
            await self.exchange.send_bytes(200, "application/json", self.body(), self.headers)
            return
        await self._open()
        await self._write(cut_frames(self.frames(), self.answer.seed))
        await self.exchange.write(b"", more=False)

    async def _open(self) -> None:
        await self.exchange.start(200, self.kind, {**self.headers, "cache-control": "no-cache"})

    async def _write(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            await self.exchange.write(piece)

    async def send_stream_failure(self, failure: Failure) -> None:
        """Some events, then the vendor's error."""
        await self._open()
        frames = list(self.frames())
        await self._write(frames[: min(3, len(frames) // 2)])
        await self.exchange.write(self.vendor.render_stream_failure(failure), more=False)

    async def fail(self) -> None:
        """Fail as the model's name says."""
        exchange = self.exchange
        match self.prompt.model:
            case "fault-hang":
                await exchange.hang()
            case "fault-close":
                exchange.close()
            case "fault-empty":
                kind = self.kind if self.prompt.stream else "application/json"
                await exchange.send_bytes(200, kind, b"", self.headers)
            case "fault-garbage":
                kind = self.kind if self.prompt.stream else "application/json"
                await exchange.send_bytes(200, kind, faults.GARBAGE, self.headers)
            case "fault-html":
                await exchange.send_bytes(502, "text/html", faults.HTML)
            case _ if not self.prompt.stream:
                await self._fail_whole()
            case _:
                await self._fail_stream()

    async def _fail_whole(self) -> None:
        body = self.body()
        match self.prompt.model:
            case "fault-error-first" | "fault-error-midstream":
                raise self.vendor.render_failure(Failure(500))
            case "fault-slow":
                await asyncio.sleep(faults.SLOW_S * 10)
                await self.exchange.send_bytes(200, "application/json", body, self.headers)
            case model:
                await self.exchange.start(200, "application/json", self.headers, len(body))
                await self.exchange.write(body[: len(body) // 2])
                if model == "fault-hang-midstream":
                    await self.exchange.hang()
                self.exchange.close()

    async def _fail_stream(self) -> None:
        frames = list(self.frames())
        match self.prompt.model:
            case "fault-error-first":
                await self._open()
                error = self.vendor.render_stream_failure(Failure(503))
                await self.exchange.write(error, more=False)
            case "fault-error-midstream":
                await self.send_stream_failure(Failure(500))
            case "fault-slow":
                await self._open()
                for frame in frames:
                    await self.exchange.write(frame)
                    await asyncio.sleep(faults.SLOW_S)
                await self.exchange.write(b"", more=False)
            case "fault-hang-midstream":
                await self._open()
                await self._write(frames[: max(1, len(frames) // 2)])
                await self.exchange.hang()
            case _:
                await self._open()
                place = faults.cut_place(frames, self.answer.turn)
                await self._write(frames[:place])
                # Half an event, and then nothing.
                await self.exchange.write(frames[place][: len(frames[place]) // 2])
                self.exchange.close()
