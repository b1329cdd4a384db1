"""An upstream that speaks Chat badly, by the name of the model; it notes when clients leave."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return (
        b"data: " + json.dumps({**body, "choices": [choice]}, ensure_ascii=False).encode() + b"\n\n"
    )


USAGE_CHUNK = (
    b"data: "
    + json.dumps(
        {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
         "choices": [], "usage": USAGE}
    ).encode()
    + b"\n\n"
)  # fmt: skip
DONE = b"data: [DONE]\n\n"
HELLO = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "안녕"}),
    chunk({"content": " hello"}),
    chunk({}, "stop"),
]
BODY = {
    "id": "c-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "안녕 hello"},
            "finish_reason": "stop",
        }
    ],
    "usage": USAGE,
}


class BadUpstream:
    """Takes connections in threads.  `requests` are bodies; `closed_at` when a peer had left."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[dict[str, Any]] = []
        self.raw: list[bytes] = []
        self.heads: list[str] = []
        self.closed_at: list[float] = []
        self.counts: dict[str, int] = {}
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer:
            try:
                while self._exchange(peer):
                    pass
            except OSError:
                self.closed_at.append(time.monotonic())

    def _exchange(self, peer: socket.socket) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = peer.recv(65536)
            if not piece:
                return False
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        fields = dict(
            line.lower().split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:]
        )
        while len(body) < int(fields.get("content-length", 0)):
            body += peer.recv(65536)
        self.heads.append(head.decode("latin-1"))
        if not body:
            send(peer, 404, {"error": {"message": "no such route"}})
            return True
        request = json.loads(body)
        self.raw.append(body)
        self.requests.append(request)
        return self._answer(peer, request)

    def _answer(self, peer: socket.socket, request: dict[str, Any]) -> bool:
        model = request["model"]
        count = self.counts[model] = self.counts.get(model, 0) + 1
        kind, _, more = model.partition("-")
        streams = request.get("stream", False)
        match kind:
            case "status":
                status, _, after = more.partition("-")
                headers = {"retry-after": after} if after else {}
                send(peer, int(status), {"error": {"message": f"it is {more}"}}, headers)
            case "flaky" if count <= int(more.split("-")[0]):
                send(peer, 500, {"error": {"message": "not yet"}})
            case "nousage" if "stream_options" in request:
                message = "Unrecognized request argument supplied: stream_options"
                send(peer, 400, {"error": {"message": message, "param": "stream_options"}})
            case "garbage":
                peer.sendall(b"\x00\x01 what is this\r\n\r\n")
                return False
            case "text":
                send_raw(peer, 200, b"<html>a proxy's page</html>", "text/html")
            case "empty":
                send_raw(peer, 200, b"", "application/json")
            case "hang":
                self._watch(peer)
                return False
            case "echo":
                send(peer, 401, {"error": {"message": f"bad key sk-provider-up-{more}"}})
            case "firsterror":
                error = b'data: {"error": {"message": "overloaded", "code": 503}}\n\n'
                stream(peer, [error])
            case "emptystream":
                stream(peer, [])
            case "cut":
                stream(peer, HELLO[:2], is_cut=True)
                return False
            case "miderror":
                error = b'data: {"error": {"message": "died", "type": "server_error"}}\n\n'
                stream(peer, [*HELLO[:2], error])
            case "slow":
                self._drip(peer, float(more or 0.05))
                return False
            case "flood":
                stream(peer, [chunk({"content": "물" * 20_000})] * int(more) + [*HELLO, DONE])
            case "endless":
                self._send_without_end(peer)
                return False
            case "late":
                time.sleep(float(more))
                stream(peer, [*HELLO, USAGE_CHUNK, DONE])
            case _ if streams:
                asked = (request.get("stream_options") or {}).get("include_usage")
                stream(peer, [*HELLO, *([USAGE_CHUNK] if asked else []), DONE])
            case _:
                send(peer, 200, BODY)
        return True

    def _drip(self, peer: socket.socket, gap_s: float) -> None:
        peer.sendall(STREAM_HEAD)
        for number in range(10_000):
            piece = chunk({"content": f"{number} "})
            try:
                peer.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
                peer.settimeout(gap_s)
                peer.recv(1)
            except TimeoutError:
                continue
            except OSError:
                pass
            self.closed_at.append(time.monotonic())
            return

    def _send_without_end(self, peer: socket.socket) -> None:
        peer.sendall(STREAM_HEAD)
        piece = chunk({"content": "x" * 60_000})
        for _ in range(2000):
            peer.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))

    def _watch(self, peer: socket.socket) -> None:
        peer.settimeout(60)
        with suppress(OSError):
            peer.recv(1)
        self.closed_at.append(time.monotonic())


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


def send(
    peer: socket.socket, status: int, body: Any, headers: dict[str, str] | None = None
) -> None:
    data = json.dumps(body, ensure_ascii=False).encode()
    send_raw(peer, status, data, "application/json", headers)


def send_raw(
    peer: socket.socket,
    status: int,
    data: bytes,
    content_type: str,
    headers: dict[str, str] | None = None,
) -> None:
    lines = [f"HTTP/1.1 {status} X", f"content-type: {content_type}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines.append(f"content-length: {len(data)}")
    peer.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + data)


def stream(peer: socket.socket, frames: list[bytes], *, is_cut: bool = False) -> None:
    """All frames but the last at once, the last (or the cut) in another packet."""
    pieces = [b"%x\r\n%b\r\n" % (len(frame), frame) for frame in frames]
    peer.sendall(STREAM_HEAD + b"".join(pieces if is_cut else pieces[:-1]))
    time.sleep(0.05)
    peer.sendall(b"" if is_cut else b"".join(pieces[-1:]) + b"0\r\n\r\n")


@contextmanager
def bad_upstream() -> Iterator[BadUpstream]:
    upstream = BadUpstream()
    try:
        yield upstream
    finally:
        upstream.close()
