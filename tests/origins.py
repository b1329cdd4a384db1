"""Small servers on loopback: a test writes the handler of its requests, and no more."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """Reads and answers whole bodies, and prints nothing."""

    def read(self) -> bytes:
        """The body that was sent."""
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def head(self) -> dict[str, str]:
        """The headers that were sent, by their names in lower case."""
        return {name.lower(): value for name, value in self.headers.items()}

    def answer(
        self, body: Any = b"", status: int = 200, kind: str = "application/json", **headers: str
    ) -> None:
        """Bytes are sent as they are, and all else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": kind, **headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def started(handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """A server that its maker has to shut down and close."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server, while it runs."""
    server = started(handler)
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
