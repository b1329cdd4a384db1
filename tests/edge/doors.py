"""The three HTTP servers as processes, and raw bytes to each."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

KEY = "sk-client-for-tests-0001"
OTHER_KEY = "sk-client-for-tests-0002"
TOOLS = "def add(a: int, b: int) -> int:\n    '''Add.'''\n    return a + b\n"


class Door(NamedTuple):
    """A server: where it listens, its process, and a POST that it answers with 200."""

    name: str
    port: int
    pid: int
    path: str
    auth: bytes
    body: bytes
    folder: Path

    @property
    def resident_mib(self) -> float:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * 4096 / 2**20

    def connect(self, timeout_s: float = 10.0) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s)

    def head(self, *lines: bytes, method: bytes = b"POST", path: str = "") -> bytes:
        """A request line and what the server asks for; without the empty line."""
        accept = b"accept: application/json, text/event-stream\r\n"
        kind = b"content-type: application/json\r\n"
        target = (path or self.path).encode()
        host = b"host: 127.0.0.1:%d\r\n" % self.port
        return b"%b %b HTTP/1.1\r\n%b%b%b%b%b" % (
            *(method, target, host, self.auth, accept, kind),
            b"".join(lines),
        )

    def exchange(self, data: bytes, *, timeout_s: float = 10.0) -> bytes:
        """All that comes back until the server hangs up, or stops for `timeout_s`."""
        received = b""
        with self.connect(timeout_s) as peer:
            with contextlib.suppress(OSError):
                peer.sendall(data)
            with contextlib.suppress(OSError):
                while piece := peer.recv(65536):
                    received += piece
        return received

    def terminate(self) -> None:
        """Have it drain and end."""
        os.kill(self.pid, signal.SIGTERM)

    def is_well(self) -> bool:
        """Whether a good request is answered, and soon."""
        lines = (b"content-length: %d\r\n" % len(self.body), b"connection: close\r\n\r\n")
        started = time.monotonic()
        received = self.exchange(self.head(*lines) + self.body)
        return statuses(received) == [200] and time.monotonic() - started < 5


def statuses(received: bytes) -> list[int]:
    """The statuses of all answers on a connection."""
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


@contextlib.contextmanager
def door(name: str, folder: Path, base_url: str = "", more: str = "") -> Iterator[Door]:
    """Start one of `serve`, `sim` and `mcp`."""
    port = _free_port()
    (folder / "sums.py").write_text(TOOLS, encoding="utf-8")
    auth = f"authorization: Bearer {KEY}\r\n".encode()
    chat = b'{"model":"%b","messages":[{"role":"user","content":"hi"}]}'
    if name == "serve":
        (folder / "polycall.toml").write_text(
            f'[providers.up]\ndialect="openai-chat"\nbase_url="{base_url}"\napi_key="sk-provider"\n'
            f"[server]\nheaders_s = 3\nbody_s = 3\n{more}\n"
            f'[[keys]]\nkey="{KEY}"\nname="alice"\n[[keys]]\nkey="{OTHER_KEY}"\nname="bob"\n',
            encoding="utf-8",
        )
        words = ["serve", "--config", str(folder / "polycall.toml"), "--port", str(port)]
        path, body = "/v1/chat/completions", chat % b"up/ok"
    elif name == "sim":
        words = ["sim", "--port", str(port)]
        path, body = "/openai/v1/chat/completions", chat % b"sim-1"
    else:
        words = ["mcp", "serve", "sums:add", "--http", "--port", str(port)]
        words += ["--key-variable", "MCP_KEY"]
        path = "/mcp"
        body = (
            b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":'
            b'"2025-06-18","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}'
        )
    process = subprocess.Popen(
        [sys.executable, "-m", "polycall", *words],
        cwd=folder,
        env={
            **{k: v for k, v in os.environ.items() if not k.endswith("_API_KEY")},
            "MCP_KEY": KEY,
            "PYTHONPATH": os.pathsep.join(
                [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port)
        yield Door(name, port, process.pid, path, auth, body, folder)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_for(port: int) -> None:
    ends_at = time.monotonic() + 30
    while time.monotonic() < ends_at:
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            connection.close()
            return
        time.sleep(0.05)
    raise AssertionError(f"nobody answers at port {port}")
