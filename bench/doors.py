"""How much memory, and how long the loop's time, one request or provider can take of the gateway.

    python -m bench.doors                 # every door, one after the other
    python -m bench.doors --only "one long text,a bomb"

A real `polycall serve` runs in front of an upstream that misbehaves by the name of the model.  For
each door the gateway is asked once to warm up, then the door is tried three times.  `MiB` is the
most that the process grew over what it held before the first; `held` is the longest time for which
a probe on a connection of its own had no answer to `/healthz`, less the probe's median, in the best
of the three rounds: other work on the machine only adds to it.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.answer_doors import AnswerDoor, answer_doors
from bench.socket_doors import VOICES, Door, read_on, socket_doors

MIB_MAX = 50.0
HELD_MS_MAX = 50.0
ROUNDS = 3
_DOOR_S = 8.0  # a door that is still open then is closed by us

# Providers of the other wires, by what `answer_doors` calls them.
_DIALECTS = {
    "chat": "openai-chat",
    "anthropic": "anthropic",
    "responses": "openai-responses",
    "gemini": "gemini",
}
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
EVENTS = CHUNKED.replace(b"OK\r\n", b"OK\r\ncontent-type: text/event-stream\r\n")
BOMB = gzip.compress(b" " * 300_000_000, 9)
_WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    b"sec-websocket-accept: %b\r\n\r\n"
)
GZIP = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


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
    "an endless body": (CHUNKED + _chunk(b'{"a":"'), _chunk(b"a" * 65536)),
    "an endless error": (CHUNKED.replace(b"200", b"500"), _chunk(b"a" * 65536)),
    "an endless event": (EVENTS + _chunk(b"data: "), _chunk(b"a" * 65536)),
    "endless small events": (EVENTS, _chunk(_event("x") * 500)),
    "endless large events": (EVENTS, _chunk(_event("x" * 60_000))),
    "endless comments": (EVENTS, _chunk(b": x\n\n" * 9999)),
}


def _whole(field: bytes) -> tuple[bytes, bytes]:
    """An answer of 22 MB in JSON, which is as much as is read, with one more field."""
    start, _, end = _ANSWER.partition(b'"hello"')
    body = start + b'"hello"' + end[:-1] + b"," + field + b"}"
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body, b""


def _long_answers() -> dict[str, Callable[[], tuple[bytes, bytes]]]:
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
        self._long = _long_answers()
        self.answers: dict[str, Callable[[], bytes]] = {}  # by the name of the model
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
                body = json.loads(reader.read(int(head.get("content-length", 0))))
                asked = head[""].partition("/models/")[2].partition(":")[0] or body["model"]
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


def _read_head(reader: Any) -> dict[str, str]:
    lines: list[str] = []
    while (line := reader.readline().decode("latin-1").strip()) != "" or not lines:
        if line == "" and not lines:
            return {}
        lines.append(line)
    found = (line.split(": ", 1) for line in lines[1:])
    return {"": lines[0], **{name.lower(): value for name, value in found}}


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


def _providers(upstream: Upstream) -> str:
    """One of each wire, as the configuration has them."""
    root = upstream.url.removesuffix("/v1")
    return "".join(
        f'[providers.{name}]\ndialect = "{dialect}"\napi_key = "sk-up-aaaaaaaa"\n'
        f'base_url = "{root if name == "anthropic" else upstream.url}"\n'
        for name, dialect in _DIALECTS.items()
    )


class Served:
    """The gateway as a process, with a probe beside it."""

    def __init__(self, folder: Path, upstream: Upstream) -> None:
        config = folder / "polycall.toml"
        config.write_text(
            "[server]\nattempts = 1\ntotal_s = 30\nread_s = 5\nbody_s = 5\n"
            f'[providers.up]\ndialect = "openai-chat"\nbase_url = "{upstream.url}"\n'
            'api_key = "sk-up-aaaaaaaa"\n'
            + _providers(upstream)
            + '[mcp.away]\nurl = "http://127.0.0.1:9/mcp"\n',
            encoding="utf-8",
        )
        program = Path(sys.executable).with_name("polycall")
        self._process = subprocess.Popen(
            [program, "serve", "--config", config, "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().rsplit(":", 1)[1])

    @property
    def resident_mib(self) -> float:
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=_DOOR_S)

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=30)


@contextmanager
def probe(port: int) -> Generator[list[float]]:
    """Seconds that each `/healthz` took, measured by a process of its own."""
    command = [sys.executable, "-m", "bench.doors", "--probe", str(port)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert process.stdout is not None
    process.stdout.readline()  # it has begun
    took: list[float] = []
    try:
        yield took
    finally:
        output, _ = process.communicate("stop\n", timeout=60)
        took.extend(json.loads(output))


def run_probe(port: int) -> None:
    """Ask until something comes on standard input; print what each question took."""
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), over.set()), daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    took: list[float] = []
    print("begun", flush=True)
    while not over.is_set():
        began = time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        took.append(time.perf_counter() - began)
        time.sleep(0.001)
    print(json.dumps(took))


def _messages(count: int, size: int) -> list[dict[str, Any]]:
    return [
        {"role": "assistant" if n % 2 else "user", "content": f"{n} " + "x" * size}
        for n in range(count)
    ]


def _calls(count: int) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = [{"role": "user", "content": "x"}]
    for n in range(count):
        call = {"id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        turns.append({"role": "assistant", "content": None, "tool_calls": [call]})
        turns.append({"role": "tool", "tool_call_id": f"c{n}", "content": "r" * 300})
    return turns


def _tools(count: int) -> list[dict[str, Any]]:
    function: dict[str, Any] = {
        "description": "d" * 60,
        "parameters": {"type": "object", "properties": {}},
    }
    return [{"type": "function", "function": {"name": f"f{n}", **function}} for n in range(count)]


def _post(path: str, body: bytes) -> bytes:
    kinds = "accept: application/json, text/event-stream\r\ncontent-type: application/json"
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{kinds}"
    return f"{head}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def _asking(path: str, body: dict[str, Any]) -> bytes:
    return _post(path, json.dumps({"model": "up/good", "max_tokens": 9, **body}).encode())


CHAT, ANTHROPIC = "/v1/chat/completions", "/v1/messages"


def _client_doors() -> Iterator[tuple[str, Callable[[], tuple[bytes, bytes]]]]:
    """What a client sends once, and then without end (where that is not empty)."""
    for kind, path in (("passed", CHAT), ("translated", ANTHROPIC)):
        bodies: dict[str, Callable[[], dict[str, Any]]] = {
            "one long text": lambda: {"messages": _messages(1, 15_000_000)},
            "many messages": lambda: {"messages": _messages(15_000, 900)},
            "too many messages": lambda: {"messages": _messages(120_000, 90)},
            "many tools": lambda: {"messages": _messages(1, 9), "tools": _tools(15_000)},
        }
        if path == CHAT:
            bodies["many calls"] = lambda: {"messages": _calls(6_000)}
        for name, make in bodies.items():
            yield f"{name}, {kind}", lambda make=make, path=path: (_asking(path, make()), b"")
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
    yield "endless headers", lambda: (head, b"x: y\r\n" * 9999)
    yield "one endless header", lambda: (head + b"x: ", b"a" * 65536)
    chunked = head + b"transfer-encoding: chunked\r\n\r\n"
    yield "endless trailers", lambda: (chunked + b"0\r\n", b"x: y\r\n" * 9999)
    yield "an endless body in chunks", lambda: (chunked, _chunk(b"a" * 65536))
    yield "chunks of one byte", lambda: (chunked, b"1\r\na\r\n" * 9999)
    bomb = head + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(BOMB)
    yield "a compressed bomb", lambda: (bomb + BOMB, b"")
    deep = b'{"model":"up/good","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    yield "deep nesting", lambda: (_post(CHAT, deep), b"")
    many = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    yield "requests sent ahead", lambda: (many, many * 999)
    text = b'{"model":"up/good","messages":[{"role":"user","content":"%b'
    for path in (CHAT, ANTHROPIC, "/v1/responses", "/v1/embeddings", "/v1/messages/count_tokens"):
        for name, end in _BROKEN.items():
            body = text % (b"x" * 15_000_000) + end
            yield f"{name} at {path}", lambda path=path, body=body: (_post(path, body), b"")
    halves = text % (b"\\ud83d" * 2_500_000) + b'"}]}'
    yield "half surrogates", lambda: (_post(CHAT, halves), b"")
    yield "half surrogates, translated", lambda: (_post(ANTHROPIC, halves), b"")
    half = text % (b"x" * 15_000_000) + b'\\ud83d"}]}'
    yield "a half surrogate", lambda: (_post(CHAT, half), b"")
    yield "a half surrogate, translated", lambda: (_post(ANTHROPIC, half), b"")
    yield (
        "a half surrogate, Responses",
        lambda: (
            _post("/v1/responses", half.replace(b"messages", b"input")),
            b"",
        ),
    )


# How 15 MB of JSON end that are none.
_BROKEN = {
    "JSON that breaks off": b"",
    "JSON with more behind it": b'"}]}]',
    "JSON that is not UTF-8": b'\xff"}]}',
}

# Bodies of 15 MB whose values take many times their room once they are read.
SMALL_VALUES = {
    "lists": b"[],",
    "objects": b"{},",
    "spaced objects": b'{ "a":1},',
    "numbers": b"100001,",
    "texts": b'"ab",',
}


def _value_doors() -> Iterator[tuple[str, Callable[[], tuple[bytes, bytes]]]]:
    """Fields full of small values, at each door that reads JSON."""
    places = {
        "passed": (CHAT, b'{"model":"up/good","messages":[%b]}'),
        "translated": (ANTHROPIC, b'{"model":"up/good","max_tokens":9,"messages":[%b]}'),
        "counted": ("/v1/messages/count_tokens", b'{"model":"up/good","messages":[%b]}'),
        "responses": ("/v1/responses", b'{"model":"up/good","input":[%b]}'),
        "in metadata": ("/v1/responses", b'{"model":"up/good","input":"x","metadata":[%b]}'),
        "kept": ("/v1/responses", b'{"model":"up/good","input":[{"role":"user","content":%b}]}'),
        "instructions": ("/v1/responses", b'{"model":"up/good","input":"x","instructions":%b}'),
        "compacting": (
            "/v1/responses/compact",
            b'{"model":"up/good","input":[{"role":"user","content":%b}]}',
        ),
        "said in a conversation": (
            "/v1/conversations",
            b'{"items":[{"type":"message","role":"user","content":%b}]}',
        ),
        "compacted": ("/v1/responses/compact", b'{"model":"up/good","input":[%b]}'),
        "a conversation": ("/v1/conversations", b'{"items":[%b]}'),
        "embedded": ("/v1/embeddings", b'{"model":"up/good","input":[%b]}'),
        "ranked": ("/v1/rerank", b'{"model":"up/good","query":"x","documents":[%b]}'),
        "MCP": ("/mcp", b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"a":[%b]}}'),
    }
    for place, (path, body) in places.items():
        text = b'"%b"' % (b"x" * 15_000_000)
        yield (
            f"one long text, {place}",
            lambda path=path, data=body % text: (_post(path, data), b""),
        )
        if b"[%b]" not in body:
            continue
        for name, value in SMALL_VALUES.items():
            inner = (value * (15_000_000 // len(value))).rstrip(b",")
            yield f"{name}, {place}", lambda path=path, data=body % inner: (_post(path, data), b"")


def exchange(first: bytes, more: bytes) -> Door:
    """Send, and read the answer until its end, or until the door has been open for long."""

    def door(served: Any, until: float) -> None:
        with served.connect() as peer, suppress(OSError):
            peer.sendall(first)
            while more and time.monotonic() < until:
                peer.settimeout(max(until - time.monotonic(), 0.01))
                peer.sendall(more)
            read_on(peer, until)

    return door


def measure(served: Served, door: Door) -> tuple[float, float]:
    """MiB of all rounds, and milliseconds of the best."""
    before = most = served.resident_mib
    held: list[float] = []
    for _ in range(ROUNDS):
        with probe(served.port) as took:
            until = time.monotonic() + _DOOR_S
            trying = threading.Thread(target=door, args=(served, until))
            trying.start()
            while trying.is_alive():
                most = max(most, served.resident_mib)
                time.sleep(0.005)
            trying.join()
        held.append((max(took) - statistics.median(took)) * 1000)
    return most - before, min(held)


def _of_answer(door: AnswerDoor, place: int, upstream: Upstream) -> tuple[str, Callable[[], Door]]:
    wire = door.name.split()[0]
    model = f"door{place}"
    name = f"{wire}/{model}"

    def make() -> Door:
        made = door.answer()
        upstream.answers[model] = lambda: made
        body = {key: name if value == "{}" else value for key, value in door.body.items()}
        return exchange(_post(door.path.format(name), json.dumps(body).encode()), b"")

    return f"provider: {door.name}", make


def _doors(upstream: Upstream) -> Iterator[tuple[str, Callable[[], Door]]]:
    for name, make in (*_client_doors(), *_value_doors()):
        yield f"client: {name}", lambda make=make: exchange(*make())
    for name in (*PROVIDERS, *_long_answers()):
        body = {"model": f"up/{name.replace(' ', '_')}", "messages": _messages(1, 9)}
        for kind, path in (("passed", CHAT), ("translated", ANTHROPIC)):
            asked = _asking(path, {**body, "stream": "event" in name or "comment" in name})
            yield f"provider: {name}, {kind}", lambda asked=asked: exchange(asked, b"")
    for place, door in enumerate(answer_doors()):
        yield _of_answer(door, place, upstream)
    yield from socket_doors()


def main() -> int:
    """Try each door, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="", help="names of doors, by comma")
    parser.add_argument("--probe", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.probe:
        run_probe(options.probe)
        return 0
    wanted = [each.strip() for each in options.only.split(",") if each.strip()]
    over = 0
    print(f"{'door':48} {'MiB':>8} {'held ms':>9}")
    with tempfile.TemporaryDirectory() as folder:
        upstream = Upstream()
        served = Served(Path(folder), upstream)
        try:
            for path in (CHAT, ANTHROPIC) * 20:
                asked = _asking(path, {"messages": _messages(2, 9)})
                exchange(asked, b"")(served, time.monotonic() + _DOOR_S)
            for name, make in _doors(upstream):
                if wanted and not any(each in name for each in wanted):
                    continue
                mib, held_ms = measure(served, make())
                is_over = mib > MIB_MAX or held_ms > HELD_MS_MAX
                over += is_over
                print(f"{name:48} {mib:8.1f} {held_ms:9.1f}{'  over' if is_over else ''}")
        finally:
            served.close()
    print(f"{over} over {MIB_MAX:.0f} MiB or {HELD_MS_MAX:.0f} ms")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
