"""Doors of the gateway that are no single request: WebSockets, requests sent ahead, sessions.

Each is a function that misbehaves on connections of a running gateway until `until`.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Protocol

RESPONSES, REALTIME = "/v1/responses", "/v1/realtime?model=up/{}"
_DEFLATE = "sec-websocket-extensions: permessage-deflate\r\n"
CONNECTIONS = 40  # of a door that needs several


class Gateway(Protocol):
    """Where the doors are."""

    def connect(self) -> socket.socket: ...


Door = Callable[[Gateway, float], None]


def frame(data: bytes, opcode: int = 1, *, is_final: bool = True, bits: int = 0) -> bytes:
    """One frame of a client: masked, with zeros, which change nothing."""
    return header(len(data), opcode, is_final=is_final, bits=bits) + data


def header(size: int, opcode: int = 1, *, is_final: bool = True, bits: int = 0) -> bytes:
    """The head of a frame that says so many bytes."""
    first = (0x80 if is_final else 0) | bits | opcode
    if size < 126:
        return bytes([first, 0x80 | size]) + bytes(4)
    if size < 65536:
        return bytes([first, 0x80 | 126]) + size.to_bytes(2, "big") + bytes(4)
    return bytes([first, 0x80 | 127]) + size.to_bytes(8, "big") + bytes(4)


def opened(gateway: Gateway, path: str, extra: str = "") -> socket.socket:
    """A WebSocket after its handshake."""
    peer = gateway.connect()
    key = base64.b64encode(os.urandom(16)).decode()
    peer.sendall(
        f"GET {path} HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        f"sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n{extra}\r\n".encode()
    )
    said = b""
    while b"\r\n\r\n" not in said:
        piece = peer.recv(4096)
        if not piece:
            raise ConnectionError("no handshake")
        said += piece
    if b" 101 " not in said.partition(b"\r\n")[0]:
        peer.close()
        raise ConnectionError(said[:60])
    return peer


def _left(peer: socket.socket, until: float) -> bool:
    left_s = until - time.monotonic()
    if left_s <= 0:
        return False
    peer.settimeout(left_s)
    return True


def read_on(peer: socket.socket, until: float) -> None:
    """Read until the end, or until then."""
    while _left(peer, until):
        if not peer.recv(65536):
            return


def sending(path: str, first: bytes, more: bytes = b"", *, extra: str = "") -> Door:
    """Send once, then without end, and read none of it before."""

    def door(gateway: Gateway, until: float) -> None:
        with suppress(OSError), opened(gateway, path, extra) as peer:
            if _left(peer, until):
                peer.sendall(first)
            while more and _left(peer, until):
                peer.sendall(more)
            read_on(peer, until)

    return door


def ahead(data: bytes, times: int) -> Door:
    """Requests without end on one connection, whose answers nobody reads."""

    def door(gateway: Gateway, until: float) -> None:
        with suppress(OSError), gateway.connect() as peer:
            while _left(peer, until):
                peer.sendall(data * times)

    return door


def crowd(data: bytes, more: bytes = b"") -> Door:
    """The same on several connections at once, which stay open."""

    def door(gateway: Gateway, until: float) -> None:
        peers = [gateway.connect() for _ in range(CONNECTIONS)]
        for peer in peers:
            with suppress(OSError):
                peer.sendall(data)
                peer.setblocking(False)
        while more and time.monotonic() < until:
            for peer in peers:
                with suppress(OSError):
                    peer.send(more)
            time.sleep(0.01)
        for peer in peers:
            peer.close()

    return door


def closing(data: bytes) -> Door:
    """Ask and leave at once, by a reset, over and over."""

    def door(gateway: Gateway, until: float) -> None:
        while time.monotonic() < until:
            with suppress(OSError), gateway.connect() as peer:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                peer.sendall(data)

    return door


def _event(**fields: object) -> bytes:
    fields = {"type": "response.create", "model": "up/good", **fields}
    return json.dumps(fields, ensure_ascii=False).encode()


def _bomb() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packer.compress(b" " * 300_000_000) + packer.flush(zlib.Z_SYNC_FLUSH)
    return data[:-4]


def _get(path: str, *lines: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{''.join(lines)}\r\n".encode()


def _rpc(**fields: object) -> bytes:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, **fields}).encode()
    kinds = "accept: application/json, text/event-stream\r\ncontent-type: application/json"
    head = (
        f"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\n{kinds}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


_INITIALIZE = _rpc(
    method="initialize",
    params={
        "protocolVersion": "2025-06-18",
        "capabilities": {"sampling": {}, "elicitation": {}},
        "clientInfo": {"name": "x", "version": "1"},
    },
)


def socket_doors() -> Iterator[tuple[str, Callable[[], Door]]]:
    """All of them, each made when it is tried."""
    text, wide = "x" * 15_000_000, "x" * 15_000_000 + "😀"
    for kind, path in (("responses", RESPONSES), ("realtime", REALTIME.format("good"))):
        small = frame(b'{"type":"x"}') * 5000
        made: dict[str, Callable[[], Door]] = {
            "small frames": lambda path=path, small=small: sending(path, b"", small),
            "a large frame": lambda path=path: sending(path, frame(_event(input=text))),
            "a wide frame": lambda path=path: sending(path, frame(_event(input=wide))),
            "a frame of small values": lambda path=path: sending(
                path, frame(b'{"type":"x","a":[%b1]}' % (b"[]," * 5_000_000))
            ),
            "an update of small values": lambda path=path: sending(
                path, frame(b'{"type":"session.update","a":[%b1]}' % (b"[]," * 5_000_000))
            ),
            "large frames": lambda path=path: sending(
                path, b"", frame(_event(input="x" * 4_000_000))
            ),
            "the largest frames": lambda path=path: sending(path, b"", frame(_event(input=text))),
            "an endless frame": lambda path=path: sending(path, header(2**62), b"x" * 65536),
            "fragments": lambda path=path: sending(
                path, frame(b'"', is_final=False), frame(b"x" * 60_000, 0, is_final=False)
            ),
            "empty fragments": lambda path=path: sending(
                path, frame(b'"', is_final=False), frame(b"", 0, is_final=False) * 9999
            ),
            "pings": lambda path=path: sending(path, b"", frame(b"p" * 125, 9) * 500),
            "pongs": lambda path=path: sending(path, b"", frame(b"p" * 125, 10) * 500),
            "binary frames": lambda path=path: sending(path, b"", frame(b"x" * 65536, 2)),
            "a bomb": lambda path=path: sending(path, frame(_bomb(), bits=0x40), extra=_DEFLATE),
        }
        for name, make in made.items():
            yield f"{kind} socket: {name}", make
    turns = frame(_event(input="x" * 9000, store=False)) * 50
    yield "responses socket: answers unread", lambda: sending(RESPONSES, b"", turns)
    for name in VOICES:
        path = REALTIME.format(name.replace(" ", "_"))
        yield f"voice: {name}, read", lambda path=path: sending(path, b"")
        yield f"voice: {name}, unread", lambda path=path: _unread(path)
    for name, target in (("an answer", "/openapi.json"), ("a page", "/console/")):
        yield f"sent ahead, unread: {name}", lambda target=target: ahead(_get(target), 50)
    yield (
        "sent ahead, unread: the console's API",
        lambda: ahead(_get("/admin/v1/session", "authorization: Bearer sk-pca-x\r\n"), 200),
    )
    body = b'{"model":"up/good","messages":[{"role":"user","content":"%b"}]}' % (b"x" * 200_000)
    post = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(
        body
    )
    yield "sent ahead: large requests", lambda: ahead(post + body, 5)
    yield "reset: chats", lambda: closing(post + body)
    yield "reset: halves of chats", lambda: closing(post + body[:100_000])
    half = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 900000\r\n\r\n"
    yield "a crowd: slow bodies", lambda: crowd(half, b"x")
    yield "a crowd: slow heads", lambda: crowd(b"GET / HTTP/1.1\r\nhost: x\r\n", b"x: y\r\n")
    yield "MCP: sessions without end", lambda: ahead(_INITIALIZE, 20)
    yield (
        "MCP: a batch",
        lambda: ahead(_rpc(method="tools/list", params={"a": ["x" * 3_000_000]}), 1),
    )
    login = b'{"token":"%b"}' % (b"x" * 200_000)
    sign = (
        b"POST /admin/v1/session HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    )
    sign += b"content-length: %d\r\n\r\n" % len(login)
    yield "console: signing in without end", lambda: ahead(sign + login, 5)


def _unread(path: str) -> Door:
    def door(gateway: Gateway, until: float) -> None:
        with suppress(OSError), opened(gateway, path):
            time.sleep(max(0.0, until - time.monotonic()))

    return door


# What a provider's voice sends after its handshake, once and then without end.
def _said(data: bytes, opcode: int = 1, *, is_final: bool = True) -> bytes:
    """A frame of a server, which masks nothing."""
    made = frame(data, opcode, is_final=is_final)
    head = made[: len(made) - len(data) - 4]
    return bytes([head[0], head[1] & 0x7F]) + head[2:] + data


VOICES: dict[str, tuple[bytes, bytes]] = {
    "small frames": (b"", _said(b'{"type":"x"}') * 5000),
    "large frames": (b"", _said(b'{"type":"x","a":"%b"}' % (b"x" * 4_000_000))),
    "the largest frames": (b"", _said(b'{"type":"x","a":"%b"}' % (b"x" * 16_000_000))),
    "a wide frame": (_said(b'{"type":"x","a":"%b\xf0\x9f\x98\x80"}' % (b"x" * 16_000_000)), b""),
    "use in small values": (_said(b'{"usage":[%b1]}' % (b"[]," * 5_000_000)), b""),
    "fragments": (_said(b'"', is_final=False), _said(b"x" * 60_000, 0, is_final=False)),
    "pings": (b"", _said(b"p" * 125, 9) * 500),
    "an endless frame": (bytes([0x81, 127]) + (2**62).to_bytes(8, "big"), b"x" * 65536),
}
