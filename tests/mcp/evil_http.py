"""A server at an address that means harm: honest but for what a `Way` does in its place.

Written without the protocol's library, which would not let it.  `Evil` serves all ways at once,
each at `/NAME`, in the revision that the way is of.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
TEXT = {"content": [{"type": "text", "text": "fine"}]}
TOOL: dict[str, Any] = {"name": "act", "description": "Act.", "inputSchema": {"type": "object"}}
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


@dataclass
class Exchange:
    """One request, and the connection that it came on."""

    method: str  # the protocol's, or HTTP's where it has no body
    headers: Mapping[str, str]
    message: dict[str, Any]
    writer: asyncio.StreamWriter
    evil: Evil
    way: Way

    @property
    def id(self) -> Any:
        return self.message.get("id")

    @property
    def params(self) -> dict[str, Any]:
        return self.message.get("params") or {}

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def flood(self, data: bytes) -> None:
        """The same again and again, for as long as the client takes it."""
        while True:
            await self.raw(data)
            await asyncio.sleep(0)

    async def drip(self, data: bytes, pause_s: float = 0.1) -> None:
        for byte in data:
            await self.raw(bytes([byte]))
            await asyncio.sleep(pause_s)
        await asyncio.sleep(3600)

    async def answer(
        self, body: Any = b"", status: str = "200 OK", kind: str = "application/json", **more: str
    ) -> None:
        """A whole answer: bytes as they are, all else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"content-length": str(len(data)), "connection": "close", **more}
        if kind:
            fields["content-type"] = kind
        await self.raw(_head(status, fields) + data)

    async def result(self, **fields: Any) -> None:
        if self.way.is_modern:
            fields = {"resultType": "complete", **fields}
        await self.answer(self.of_id({"result": fields}))

    async def stream(self, status: str = "200 OK", **more: str) -> None:
        """Begin a stream of events, which ends with the connection."""
        kind = {"content-type": "text/event-stream", "connection": "close", **more}
        await self.raw(_head(status, kind))

    async def event(self, message: Any, head: str = "") -> None:
        data = message if isinstance(message, str) else json.dumps(message)
        await self.raw(f"{head}data: {data}\n\n".encode())

    async def end(self, **fields: Any) -> None:
        """The call's result on the stream."""
        fields = fields or TEXT
        if self.way.is_modern:
            fields = {"resultType": "complete", **fields}
        await self.event(self.of_id({"result": fields}))

    def of_id(self, rest: dict[str, Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": self.id, **rest}


Act = Callable[[Exchange], Awaitable[None]]


@dataclass(frozen=True)
class Way:
    """What a server does; `acts` stand in the place of what is honest, by method."""

    name: str
    acts: Mapping[str, Act]
    revision: str = MODERN
    tool: Mapping[str, Any] = field(default_factory=dict[str, Any])
    does: Mapping[str, Any] = field(default_factory=dict[str, Any])  # its capabilities

    @property
    def is_modern(self) -> bool:
        return self.revision == MODERN


class Evil:
    """Serves ways on loopback; `asked` counts what came, by way and method."""

    def __init__(self, *ways: Way) -> None:
        self.ways = {way.name: way for way in ways}
        self.asked: Counter[tuple[str, str]] = Counter()
        self.trapped: list[str] = []  # requests that came where nobody should come
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**26)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            await self._exchange(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has left
        except asyncio.CancelledError:
            pass
        finally:
            writer.transport.abort() if writer.is_closing() else writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.split("\r\n")
        verb, path, _ = line.split(" ")
        headers = {n.lower(): v.strip() for n, _, v in (each.partition(":") for each in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        name = path.strip("/").partition("/")[0].partition("?")[0]
        if name not in self.ways or path.strip("/") != name:
            self.trapped.append(f"{verb} {path} {headers.get('authorization', '')}")
        way = self.ways.get(name, Way("", {}))
        message: dict[str, Any] = json.loads(body) if body.startswith(b"{") else {}
        method = message.get("method", "answer") if verb == "POST" else verb
        self.asked[name, method] += 1
        x = Exchange(method, headers, message, writer, self, way)
        watching = asyncio.ensure_future(reader.read())
        acting = asyncio.ensure_future(way.acts.get(method, honest)(x))
        try:
            await asyncio.wait({watching, acting}, return_when=asyncio.FIRST_COMPLETED)
            if acting.done():
                acting.result()
        finally:
            for each in (watching, acting):
                each.cancel()
            await asyncio.gather(watching, acting, return_exceptions=True)
            with contextlib.suppress(OSError):
                await writer.drain()


async def honest(x: Exchange) -> None:
    """What the protocol asks for."""
    can = {"tools": {"listChanged": True}, **x.way.does}
    about = {"name": "evil", "version": "1"}
    match x.method:
        case "server/discover" if x.way.is_modern:
            meta = {"io.modelcontextprotocol/serverInfo": about}
            await x.result(
                supportedVersions=[MODERN],
                capabilities=can,
                ttlMs=0,
                cacheScope="public",
                _meta=meta,
            )
        case "initialize":
            result = {"protocolVersion": LEGACY, "capabilities": can, "serverInfo": about}
            await x.answer(x.of_id({"result": result}), **{"mcp-session-id": "s1"})
        case "tools/list":
            await x.result(tools=[{**TOOL, **x.way.tool}], **_cached(x))
        case "tools/call":
            await x.result(**TEXT)
        case "subscriptions/listen":
            await x.stream()
            await acknowledge(x)
            await asyncio.sleep(3600)
        case "DELETE":
            await x.answer()
        case "GET":
            await x.answer(status="405 Method Not Allowed")
        case _ if x.id is None:
            await x.answer(status="202 Accepted")
        case _:
            error = {"code": -32601, "message": "Method not found"}
            await x.answer(
                x.of_id({"error": error}), "404 Not Found" if x.way.is_modern else "200 OK"
            )


async def acknowledge(x: Exchange) -> None:
    """The first event of a stream of changes."""
    meta = {SUBSCRIPTION: x.id}
    params = {"notifications": x.params.get("notifications", {}), "_meta": meta}
    await x.event(note("subscriptions/acknowledged", **params))


def note(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": f"notifications/{method}", "params": params}


def _cached(x: Exchange) -> dict[str, Any]:
    return {"ttlMs": 0, "cacheScope": "public"} if x.way.is_modern else {}


def _head(status: str, fields: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
