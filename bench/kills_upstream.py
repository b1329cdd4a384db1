"""The upstream of `bench.kills`: a vendor that counts what it sells, and a search engine."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

PRICES = (Decimal(1_000), Decimal(3_000))  # dollars for a million tokens
_NONCE = re.compile(r"ask-([a-z]+)-\d+")
_KIND = re.compile(r"do-([a-z]+)")
# The tool that the model calls for a kind, and its arguments.
_CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "program": ("run_code", {"code": "print('got', await lookup(n=1))"}),
    "search": ("web_search", {"query": "weather"}),
    "tool": ("stock_add", {"a": 0, "b": 0}),
}


class Sale(NamedTuple):
    """One answer, and when it was sold."""

    nonce: str
    input_tokens: int
    output_tokens: int
    at: float

    @property
    def key(self) -> str:
        return self.nonce.split("-")[1]

    @property
    def cost(self) -> Decimal:
        used = self.input_tokens * PRICES[0] + self.output_tokens * PRICES[1]
        return used / 1_000_000


class Upstream:
    """Sells an answer when it begins to send it; `close` at the end."""

    def __init__(self, seed: int) -> None:
        self.sales: list[Sale] = []
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._things = 0
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                found = {"results": [{"title": "T", "url": "https://a.example", "content": "sun"}]}
                is_search = self.path.startswith("/search")
                _send(self, found if is_search else {"id": self.path.split("/")[3], "words": "x"})

            def do_POST(self) -> None:
                data = self._body()
                if self.path == "/v1/chat/completions":
                    upstream.sell(self, json.loads(data))
                else:
                    _send(self, {"id": upstream.made(self.path), "status": "validating"})

            def _body(self) -> bytes:
                if self.headers.get("transfer-encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("content-length", 0)))
                pieces: list[bytes] = []
                while size := int(self.rfile.readline(), 16):
                    pieces.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(pieces)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        class Server(ThreadingHTTPServer):
            request_queue_size = 512
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Nothing: the gateway was killed."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def made(self, path: str) -> str:
        """The id of a new file or batch."""
        with self._lock:
            self._things += 1
            return f"{path.rpartition('/')[2]}-{self._things}"

    def sell(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        """Answer, in a stream slowly, so that kills hit every place of it."""
        text = json.dumps(body["messages"])
        found, kind = _NONCE.search(text), _KIND.search(text)
        assert found is not None
        assert kind is not None
        with self._lock:
            used = self._chance.randint(3, 9), self._chance.randint(1, body.get("max_tokens", 8))
            waits = [self._chance.uniform(0, 0.15) for _ in range(3)]
            self.sales.append(Sale(found[0], *used, time.monotonic()))
        time.sleep(waits[0])
        results = [each["content"] for each in body["messages"] if each["role"] == "tool"]
        tools = {each["function"]["name"] for each in body.get("tools", ())}
        message: dict[str, Any] = {"role": "assistant"}
        name, arguments = _CALLS.get(kind[1], ("", {}))
        if name in tools and not results:
            call = {"name": name, "arguments": json.dumps(arguments)}
            message["content"] = None
            message["tool_calls"] = [
                {"id": f"call_{found[0]}", "type": "function"} | {"function": call}
            ]
        else:
            message["content"] = f"mark-{found[1]} {found[0]} {results[-1] if results else ''}"
        usage = {"prompt_tokens": used[0], "completion_tokens": used[1], "total_tokens": sum(used)}
        finish = "tool_calls" if "tool_calls" in message else "stop"
        base = {"id": "c", "created": 1, "model": "m"}
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": finish}
            _send(
                handler, {**base, "object": "chat.completion", "choices": [choice], "usage": usage}
            )
            return
        for place, call in enumerate(message.get("tool_calls", ())):
            call["index"] = place
        choices: list[Any] = [
            [{"index": 0, "delta": message, "finish_reason": None}],
            [{"index": 0, "delta": {}, "finish_reason": finish}],
            [],
        ]
        _head(handler, "text/event-stream", None)
        for wait, each in zip(waits, choices, strict=True):
            time.sleep(wait)
            part = {**base, "object": "chat.completion.chunk", "choices": each}
            _chunk(handler, part if each else {**part, "usage": usage})
        handler.wfile.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")

    def close(self) -> None:
        """Sell nothing any more."""
        self._server.shutdown()
        self._server.server_close()


def _head(handler: BaseHTTPRequestHandler, kind: str, length: int | None) -> None:
    handler.send_response(200)
    handler.send_header("content-type", kind)
    if length is None:
        handler.send_header("transfer-encoding", "chunked")
    else:
        handler.send_header("content-length", str(length))
    handler.end_headers()


def _send(handler: BaseHTTPRequestHandler, body: Any) -> None:
    data = json.dumps(body).encode()
    _head(handler, "application/json", len(data))
    handler.wfile.write(data)


def _chunk(handler: BaseHTTPRequestHandler, body: Any) -> None:
    data = f"data: {json.dumps(body)}\n\n".encode()
    handler.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
    handler.wfile.flush()
