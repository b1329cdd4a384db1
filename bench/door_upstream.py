"""A provider for `bench.doors` that misbehaves by the name of the model, or by the path."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import socket
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from bench.socket_doors import VOICES

Answer = bytes | Callable[[bytes], bytes]  # or what makes it of a request's body
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
EVENTS = CHUNKED.replace(b"OK\r\n", b"OK\r\ncontent-type: text/event-stream\r\n")
_WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    b"sec-websocket-accept: %b\r\n\r\n"
)
GZIP = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """A chunk of a body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def bomb(kind: str = "gzip") -> bytes:
    """300 MB of spaces in a few hundred kB, by gzip or deflate: one block again and again."""
    piece, times = b" " * 1_000_000, 300
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    block = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = block * times + b"\x03\x00"  # and a last block with nothing in it
    if kind == "deflate":
        check = functools.reduce(lambda check, _: zlib.adler32(piece, check), range(times), 1)
        return b"\x78\xda" + packed + check.to_bytes(4, "big")
    check = functools.reduce(lambda check, _: zlib.crc32(piece, check), range(times), 0)
    ends = check.to_bytes(4, "little") + (len(piece) * times).to_bytes(4, "little")
    return b"\x1f\x8b\x08" + bytes(5) + b"\x02\xff" + packed + ends


BOMB = bomb()


def _event(text: str) -> bytes:
    delta = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "choices": [delta]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


# What the provider sends first, and then without end.
PROVIDERS: dict[str, tuple[bytes, bytes]] = {
    "endless headers": (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * 9999),
    "endless trailers": (CHUNKED + b"0\r\n", b"x: y\r\n" * 9999),
    "an endless extension": (CHUNKED + b"1;", b"a" * 65536),
    "endless interim answers": (b"", b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" * 999),
    "a bomb": (GZIP % len(BOMB), BOMB),
    "an endless body": (CHUNKED + chunk(b'{"a":"'), chunk(b"a" * 65536)),
    "an endless error": (CHUNKED.replace(b"200", b"500"), chunk(b"a" * 65536)),
    "an endless event": (EVENTS + chunk(b"data: "), chunk(b"a" * 65536)),
    "endless small events": (EVENTS, chunk(_event("x") * 500)),
    "endless large events": (EVENTS, chunk(_event("x" * 60_000))),
    "endless comments": (EVENTS, chunk(b": x\n\n" * 9999)),
}


def _whole(field: bytes) -> tuple[bytes, bytes]:
    """An answer of 22 MB in JSON, which is as much as is read, with one more field."""
    start, _, end = _ANSWER.partition(b'"hello"')
    body = start + b'"hello"' + end[:-1] + b"," + field + b"}"
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body, b""


def long_answers() -> dict[str, Callable[[], tuple[bytes, bytes]]]:
    """Answers that come to their end, made when they are asked for."""
    text = b"x" * 22_000_000
    many = 22_000_000
    return {
        "a long text": lambda: _whole(b'"a":"%b"' % text),
        "a wide text": lambda: _whole(b'"a":"%b\xf0\x9f\x98\x80"' % text),
        "small values": lambda: _whole(b'"a":[%b1]' % (b"[]," * (many // 3))),
        "many fields": lambda: _whole(b",".join(b'"%x":1' % n for n in range(many // 9))),
        "a long usage": lambda: _whole(b'"usage":{"a":[%b1]}' % (b"[]," * (many // 3))),
        "a long content": lambda: (
            b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b"
            % (len(long := _ANSWER.replace(b"hello", text)), long),
            b"",
        ),
    }


class Upstream:
    """Answers by the name of the model: one of `PROVIDERS`, or well."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._long = long_answers()
        self.answers: dict[str, Callable[[], bytes]] = {}  # by the name of the model
        self.paths: dict[str, Answer] = {}  # by what the path begins with
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            peer, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, suppress(OSError, ValueError):
            reader = peer.makefile("rb")
            while head := _read_head(reader):
                if "sec-websocket-key" in head:
                    self._speak(peer, head)
                data = _read_body(reader, head)
                path = head[""].split()[1]
                made = next((self.paths[each] for each in self.paths if path.startswith(each)), b"")
                if made:
                    peer.sendall(made if isinstance(made, bytes) else made(data))
                    continue
                body = json.loads(data)
                asked = _named_in(path) or body["model"]
                if asked in self.answers:
                    peer.sendall(self.answers[asked]())
                    continue
                name = asked.replace("_", " ")
                if name in self._long:
                    peer.sendall(self._long[name]()[0])
                    continue
                if name not in PROVIDERS:
                    peer.sendall(_GOOD)
                    continue
                first, more = PROVIDERS[name]
                peer.sendall(first)
                while True:
                    peer.sendall(more)

    def _speak(self, peer: socket.socket, head: dict[str, str]) -> None:
        """As a voice, which goes on until nobody listens."""
        digest = hashlib.sha1(head["sec-websocket-key"].encode() + _WEBSOCKET).digest()
        peer.sendall(_SWITCHING % base64.b64encode(digest))
        name = head[""].partition("model=")[2].split()[0].replace("_", " ")
        first, more = VOICES.get(name, (b"", b""))
        peer.sendall(first)
        while more:
            peer.sendall(more)
        while peer.recv(65536):
            pass


def _named_in(path: str) -> str:
    """The model that a path of Gemini's or Bedrock's names."""
    if path.startswith("/model/"):
        return path.split("/")[2]
    return path.partition("/models/")[2].partition(":")[0]


def _read_head(reader: Any) -> dict[str, str]:
    lines: list[str] = []
    while (line := reader.readline().decode("latin-1").strip()) != "" or not lines:
        if line == "" and not lines:
            return {}
        lines.append(line)
    found = (line.split(": ", 1) for line in lines[1:])
    return {"": lines[0], **{name.lower(): value for name, value in found}}


def _read_body(reader: Any, head: dict[str, str]) -> bytes:
    if "chunked" not in head.get("transfer-encoding", ""):
        return reader.read(int(head.get("content-length", 0)))
    while size := int(reader.readline().partition(b";")[0], 16):
        reader.read(size + 2)
    reader.readline()
    return b""  # an upload, which nobody looks at


_ANSWER = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hello"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
).encode()
_GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(_ANSWER), _ANSWER)
