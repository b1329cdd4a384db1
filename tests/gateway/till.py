"""An upstream that counts what it sells: a Chat server whose answers have known, varied usage."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from decimal import Decimal
from http.server import ThreadingHTTPServer
from typing import Any, NamedTuple

from tests.origins import Handler

# Dollars for a million tokens.
INPUT_USD = Decimal(1_000)
OUTPUT_USD = Decimal(3_000)


class Sale(NamedTuple):
    """One answer, as the upstream counted it, and when."""

    input_tokens: int
    output_tokens: int
    at: float

    @property
    def cost(self) -> Decimal:
        return (self.input_tokens * INPUT_USD + self.output_tokens * OUTPUT_USD) / 1_000_000


class Till:
    """Counts an answer when it begins to send it.

    Where it is `numbered`, the input tokens are the number of the answer, so that each is known
    again.
    """

    def __init__(self, *, seed: int, numbered: bool = False) -> None:
        self.sales: list[Sale] = []
        self.delay_s = 0.0
        self.claims = 0  # output tokens that it tells instead of those it counts
        self._numbered = numbered
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        till = self

        class Counter(Handler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                till.sell(self, json.loads(self.read()))

        class Server(ThreadingHTTPServer):
            request_queue_size = 512
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a killed gateway

        self._server = Server(("127.0.0.1", 0), Counter)
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def spent(self) -> Decimal:
        return sum((sale.cost for sale in self.sales), Decimal(0))

    def sell(self, handler: Handler, body: dict[str, Any]) -> None:
        if self.delay_s:
            time.sleep(self.delay_s)
        with self._lock:
            most = body.get("max_tokens", 8)
            size = len(self.sales) + 1 if self._numbered else self._random.randint(3, 9)
            sale = Sale(size, self._random.randint(1, most), time.monotonic())
            self.sales.append(sale)
        usage = {
            "prompt_tokens": sale.input_tokens,
            "completion_tokens": self.claims or sale.output_tokens,
            "total_tokens": sale.input_tokens + sale.output_tokens,
        }
        base = {"id": "c", "created": 1, "model": "m"}
        if not body.get("stream"):
            message = {"role": "assistant", "content": "안녕"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            whole = {**base, "object": "chat.completion", "choices": [choice], "usage": usage}
            handler.answer(whole)
            return
        deltas: list[tuple[dict[str, str], str | None]] = [
            ({"role": "assistant", "content": "안녕"}, None),
            ({}, "stop"),
        ]
        chunks: list[dict[str, Any]] = [
            {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
            for delta, finish in deltas
        ]
        chunks.append({**base, "choices": [], "usage": usage})
        frames = [
            f"data: {json.dumps({**part, 'object': 'chat.completion.chunk'})}\n\n"
            for part in chunks
        ]
        stream = "".join([*frames, "data: [DONE]\n\n"]).encode()
        handler.answer(stream, kind="text/event-stream")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def open_till(seed: int, *, numbered: bool = False) -> Generator[Till]:
    till = Till(seed=seed, numbered=numbered)
    try:
        yield till
    finally:
        till.close()


def till_config(till: Till, store: str, keys: str, more: str = "") -> str:
    """A gateway in front of the till; `store` is a whole section."""
    prices = f"{{ input = {INPUT_USD}, output = {OUTPUT_USD} }}"
    return f"""
{store}
[providers.till]
dialect = "openai-chat"
base_url = "{till.base_url}"
api_key = "sk-provider-till"
[providers.till.prices]
m = {prices}
{more}
{keys}
"""
