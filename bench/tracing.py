"""What spans cost an agent's run: off, made, and made and sent, in one process by turns.

The run has two steps and eight calls of a tool that does nothing, on a scripted model: thirteen
spans, and little else that takes time.  The best of nine rounds, since others use the machine too.
"""

from __future__ import annotations

import asyncio
import threading
import time
import timeit
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.sdk.trace import TracerProvider

from polycall import Agent, tool, tracing
from polycall.instrumentation import ToolCalled, watching
from polycall.ir import Request, ToolCall
from polycall.testing import Answer, FunctionModel

ROUNDS = 9
RUNS = 100  # more would fill the queue of the exporter, and what is dropped costs nothing


@tool
async def nothing() -> str:
    """Do nothing."""
    return "done"


def answer(request: Request) -> Answer:
    """Eight calls, and then an end."""
    if request.messages[-1].role == "tool":
        return "done"
    return [ToolCall(f"c{number}", "nothing") for number in range(8)]


class Sink(BaseHTTPRequestHandler):
    """A collector that keeps nothing."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def main() -> None:
    """Print the table: CPU time of the whole process, the sender's and the collector's too."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
    provider = TracerProvider()
    ways: dict[str, Callable[[], AbstractContextManager[object]]] = {
        "off": nullcontext,
        "spans made": lambda: tracing.enable(provider=provider),
        "made and sent": lambda: tracing.enable(url),
        "made and sent, with content": lambda: tracing.enable(url, content=True),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, enabled in ways.items():
            started = time.process_time()
            with enabled():
                asyncio.run(_runs())
            took[name].append((time.process_time() - started) / RUNS * 1e6)
    server.shutdown()
    server.server_close()
    off = min(took["off"])
    print(f"{'a run of two steps and eight calls':<36}{'us':>8}{'more a span, us':>18}")
    for name, each in took.items():
        best = min(each)
        print(f"{name:<36}{best:>8.0f}{(best - off) / 13:>18.1f}")
    print(f"one look where nobody watches: {_look_us():.2f} us")


async def _runs() -> None:
    agent = Agent("test/m", tools=[nothing], client=FunctionModel(answer))
    for _ in range(RUNS):
        await agent.run("go")


def _look_us() -> float:
    call = ToolCall("c", "nothing")

    def look() -> None:
        with watching(ToolCalled(call)):
            pass

    return min(timeit.repeat(look, number=100_000, repeat=5)) * 10
