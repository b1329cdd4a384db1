"""Files and embeddings through the gateway, beside nginx: CPU, memory, throughput.

    python -m bench.side                        # a file of 500 MB, 4,000 requests for embeddings
    python -m bench.side --file-mb 50 --requests 500

A real `polycall serve` and nginx (where it is installed) stand in front of one upstream, each as
processes of their own.  CPU is that of the proxy's whole process tree; memory is the most that its
processes held, over what they held before.  `rps a core` is what one core could do at that price.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec import Struct

_TICKS = os.sysconf("SC_CLK_TCK")
_CONNECTIONS = 16
_PIECE = bytes(256 * 1024)
NGINX = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    upstream up {{ server 127.0.0.1:{upstream}; keepalive 32; }}
    server {{
        listen 127.0.0.1:{port};
        keepalive_requests 1000000;
        location / {{
            proxy_pass http://up;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering off;
        }}
    }}
}}
"""


def answers() -> dict[str, bytes]:
    """The upstream's bodies by what a path ends with."""

    def vectors(count: int, size: int) -> list[list[float]]:
        return [[round((n * 31 + place) % 977 / 977, 6) for place in range(size)]
                for n in range(count)]  # fmt: skip

    def openai(count: int) -> dict[str, object]:
        data = [
            {"object": "embedding", "index": n, "embedding": vector}
            for n, vector in enumerate(vectors(count, 1536))
        ]
        usage = {"prompt_tokens": 5 * count, "total_tokens": 5 * count}
        return {"object": "list", "model": "m", "data": data, "usage": usage}

    google = {"embeddings": [{"values": vector} for vector in vectors(1, 1536)]}
    file = {"id": "file-1", "object": "file", "bytes": 1, "purpose": "batch", "filename": "f"}
    bodies = {
        "1 text": openai(1),
        "100 texts": openai(100),
        ":batchEmbedContents": google,
        "/files": file,
    }
    return {name: json.dumps(body).encode() for name, body in bodies.items()}


class Upstream(asyncio.Protocol):
    """Takes any body without keeping it, and answers by path and model."""

    BODIES = answers()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._head = b""
        self._tail = b""
        self._left = 0  # bytes of the body, or -1 until the last chunk
        self._path = b""

    def data_received(self, data: bytes) -> None:
        if not self._path:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._path = head.split(b" ", 2)[1]
            self._head = b""
            lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            self._left = -1
            if b"content-length" in lines:
                self._left = int(lines[b"content-length"])
        # Only what says how many texts there are, or that the last chunk came.
        self._tail = (self._tail + data)[-64:]
        if self._left >= 0:
            self._left -= len(data)
        if self._left == 0 or (self._left < 0 and self._tail.endswith(b"0\r\n\r\n")):
            self._answer()

    def _answer(self) -> None:
        if self._path.endswith(b"/files"):
            body = self.BODIES["/files"]
        elif self._path.endswith(b":batchEmbedContents"):
            body = self.BODIES[":batchEmbedContents"]
        else:
            body = self.BODIES["100 texts" if b"text 99" in self._tail else "1 text"]
        self._path = self._tail = b""
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(head % len(body) + body)


class Proxy(Struct):
    """A running proxy; `prefix` stands before the models' names."""

    name: str
    pid: int
    port: int
    prefix: str

    def _tree(self) -> list[int]:
        found = [self.pid]
        for pid in found:
            with suppress(OSError):
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                found.extend(int(child) for child in children)
        return found

    def cpu_s(self) -> float:
        total = 0
        for pid in self._tree():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / _TICKS

    def mib(self, name: str) -> float:
        """`VmRSS` (now) or `VmHWM` (the most since `forget`), of all processes."""
        total = 0
        for pid in self._tree():
            status = Path(f"/proc/{pid}/status").read_text()
            total += int(status.split(f"{name}:")[1].split()[0])
        return total / 1024

    def forget(self) -> None:
        """Let the most begin anew."""
        for pid in self._tree():
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def running(command: list[str]) -> Generator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=Path.cwd()
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


@contextmanager
def upstream() -> Generator[int]:
    with running([sys.executable, "-m", "bench.side", "--upstream"]) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())


@contextmanager
def polycall(folder: Path, port: int) -> Generator[Proxy]:
    rows = {"openai": ("openai-chat", "/v1"), "google": ("gemini", "/v1beta")}
    config = folder / "polycall.toml"
    config.write_text(
        "".join(
            f'[providers.{name}]\ndialect = "{dialect}"\n'
            f'base_url = "http://127.0.0.1:{port}{path}"\napi_key = "sk-up-aaaaaaaa"\n'
            for name, (dialect, path) in rows.items()
        )
    )
    program = str(Path(sys.executable).with_name("polycall"))
    with running([program, "serve", "--config", str(config), "--port", "0"]) as process:
        assert process.stdout is not None
        listening = int(process.stdout.readline().rsplit(":", 1)[1])
        yield Proxy("polycall", process.pid, listening, "openai/")


@contextmanager
def nginx(folder: Path, upstream_port: int) -> Generator[Proxy | None]:
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if program is None:
        yield None
        return
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, upstream=upstream_port, port=port))
    with running([program, "-c", str(config), "-p", str(folder)]) as process:
        for _ in range(100):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield Proxy("nginx", process.pid, port, "")


# What is sent


def upload(proxy: Proxy, megabytes: int) -> None:
    """One file in a form, as clients send it; fails unless the answer is the upstream's."""
    boundary = b"----polycall-bench"
    field = b'--%b\r\ncontent-disposition: form-data; name="%b"%b\r\n\r\n%b'
    purpose = field % (boundary, b"purpose", b"", b"batch\r\n")
    model = field % (boundary, b"model", b"", proxy.prefix.encode() + b"m\r\n")
    first = purpose + model + field % (boundary, b"file", b'; filename="f.bin"', b"")
    last = b"\r\n--%b--\r\n" % boundary
    size = len(first) + megabytes * 1_000_000 + len(last)
    head = (
        f"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n"
        f"x-polycall-provider: openai\r\n"
        f"content-type: multipart/form-data; boundary={boundary.decode()}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=120) as peer:
        peer.sendall(head.encode() + first)
        left = megabytes * 1_000_000
        while left:
            piece = _PIECE[:left]
            peer.sendall(piece)
            left -= len(piece)
        peer.sendall(last)
        answer = peer.recv(65536)
    if b" 200 " not in answer[:16]:
        raise SystemExit(f"{proxy.name}: {answer.decode(errors='replace')[:300]}")


async def ask(proxy: Proxy, model: str, texts: int, requests: int) -> None:
    """Send that many requests over sixteen connections; fails unless all succeed."""
    body = {"model": model, "input": [f"text {n}" for n in range(texts)]}
    data = json.dumps(body).encode()
    head = f"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n"
    asked = head.encode() + b"content-type: application/json\r\n\r\n" + data

    async def one(count: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        for _ in range(count):
            writer.write(asked)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            rest = await reader.readexactly(length)
            if b" 200 " not in answer[:16]:
                raise SystemExit(f"{proxy.name}: {rest.decode(errors='replace')[:300]}")
        writer.close()

    await asyncio.gather(*(one(requests // _CONNECTIONS) for _ in range(_CONNECTIONS)))


def measure_upload(proxy: Proxy, megabytes: int) -> None:
    upload(proxy, 1)
    before, cpu_s, began = proxy.mib("VmRSS"), proxy.cpu_s(), time.monotonic()
    proxy.forget()
    upload(proxy, megabytes)
    took_s, grew = time.monotonic() - began, proxy.mib("VmHWM") - before
    spent_s = proxy.cpu_s() - cpu_s
    print(
        f"{proxy.name:9} a file of {megabytes} MB: {spent_s:.2f} s of CPU, {took_s:.1f} s, "
        f"memory at most {grew:+.1f} MiB"
    )


def measure_embeddings(proxy: Proxy, title: str, model: str, texts: int, requests: int) -> None:
    asyncio.run(ask(proxy, model, texts, _CONNECTIONS * 4))
    done = requests // _CONNECTIONS * _CONNECTIONS
    least_s = float("inf")
    for _ in range(3):
        cpu_s = proxy.cpu_s()
        asyncio.run(ask(proxy, model, texts, done))
        least_s = min(least_s, proxy.cpu_s() - cpu_s)
    each_ms = max(least_s, 1 / _TICKS) / done * 1000  # the clock counts in hundredths
    print(
        f"{proxy.name:9} {title}: {each_ms:.3f} ms of CPU a request, "
        f"{1000 / each_ms:,.0f} rps a core, {texts * 1000 / each_ms:,.0f} vectors a second"
    )


def main() -> int:
    """Measure, and print a line each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--file-mb", type=int, default=500)
    parser.add_argument("--requests", type=int, default=4_000)
    parser.add_argument("--upstream", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.upstream:
        asyncio.run(serve_upstream())
        return 0
    with (
        tempfile.TemporaryDirectory() as folder,
        upstream() as port,
        polycall(Path(folder), port) as own,
        nginx(Path(folder), port) as peer,
    ):
        proxies = [own] if peer is None else [own, peer]
        for proxy in proxies:
            measure_upload(proxy, options.file_mb)
        for proxy in proxies:
            measure_embeddings(proxy, "1 text, passed", f"{proxy.prefix}m", 1, options.requests)
            many = max(options.requests // 40, _CONNECTIONS)
            measure_embeddings(proxy, "100 texts, passed", f"{proxy.prefix}m", 100, many)
        model = "google/gemini-embedding-001"
        measure_embeddings(own, "1 text, from Google", model, 1, options.requests)
    return 0


async def serve_upstream() -> None:
    """Listen on a free port, print it, and serve until the end."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    sys.exit(main())
