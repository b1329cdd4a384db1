"""What a step of an agent costs beside the peers' agents, in CPU of the process that runs it.

    python -m bench.agent_loop                                  # polycall alone
    python -m bench.agent_loop --peers PYTHON --rounds 3        # beside what PYTHON can import
    python -m bench.agent_loop --tools 5 --messages 10
    python -m bench.agent_loop --at-once 1000                   # MiB that so many runs hold

A server on this machine, in a process of its own, answers each request with one call of a tool, and
after `--steps` of them with a text, in OpenAI's Chat format.  Each agent runs in a process of its
own: once to warm up, then once while its CPU is counted.  A figure is the least of the rounds, in
milliseconds a step, since other work on the machine only adds to it.  With `--at-once`, it is the
MiB that so many runs of one agent hold at most, over what the process held before.  What a peer
refuses or cannot do is said in its cell.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

AGENTS = ("polycall", "pydantic_ai", "agents", "langgraph", "smolagents")
MODEL = "gpt-5.6-sol"
_SCRIPT = Path(__file__).with_name("agent_loop_peers.py")
_CROWD = Path(__file__).with_name("agent_crowd.py")
_WORDS = 5  # that the first takes
_RESULT = re.compile(rb'"role": ?"tool"|Observation:')
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Upstream(asyncio.Protocol):
    """Reads requests of Chat Completions, and answers them by the number of results in them."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._buffer = bytearray()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            found = _LENGTH.search(self._buffer, 0, end)
            whole = end + 4 + (int(found[1]) if found else 0)
            if len(self._buffer) < whole:
                return
            body = bytes(self._buffer[end + 4 : whole])
            del self._buffer[:whole]
            self._transport.write(answer(body, self._steps))


def answer(body: bytes, steps: int) -> bytes:
    """The response to a request: a call, or the end."""
    last = body.rfind(b"the task")
    done = len(_RESULT.findall(body, last))
    call = None
    # An agent that has a tool for its end is to call it.
    is_by_tool = b'"final_answer"' in body
    if done < steps or is_by_tool:
        name, given = ("tool_0", {"a": done, "b": 1})
        if done >= steps:
            name, given = ("final_answer", {"answer": "done"})
        function = {"name": name, "arguments": json.dumps(given)}
        call = {"index": 0, "id": f"call_{done}", "type": "function", "function": function}
    message: dict[str, Any] = {"role": "assistant", "content": None if call else "done"}
    if call:
        message["tool_calls"] = [call]
    reason = "tool_calls" if call else "stop"
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    head = {"id": f"chatcmpl-{done}", "created": 1, "model": MODEL}
    if b'"stream":true' not in body.replace(b" ", b""):
        choice = {"index": 0, "message": message, "finish_reason": reason}
        shown = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
        return _response("application/json", json.dumps(shown).encode())
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": message, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]},
        {"choices": [], "usage": usage},
    ]
    events = [{**head, "object": "chat.completion.chunk", **chunk} for chunk in chunks]
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return _response("text/event-stream", ("".join(lines) + "data: [DONE]\n\n").encode())


def _response(kind: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def serve(steps: int) -> None:
    """Serve until the process is ended; the port is printed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Upstream(steps), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def upstream(steps: int) -> Generator[str]:
    """The address of a server that answers."""
    command = [sys.executable, "-m", "bench.agent_loop", "--serve", "--steps", str(steps)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        finally:
            process.terminate()


def measure(python: str, agent: str, *words: object) -> tuple[float, str]:
    """Milliseconds of CPU a step or MiB, or infinite and why there are none.

    `words` are the address, how many tools, messages before and steps there are, whether answers
    are streamed; and how many runs there are at once, where memory is measured.
    """
    done = subprocess.run(
        [python, "-P", str(_CROWD if len(words) > _WORDS else _SCRIPT), agent, *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
        env=_environment(agent),
    )
    lines = done.stdout.split()  # a peer writes there as well
    if done.returncode or not lines:
        return float("inf"), (done.stderr.strip().splitlines() or ["no output"])[-1][:60]
    return float(lines[-1]), ""


def _environment(agent: str) -> dict[str, str]:
    made = {**os.environ, "OPENAI_API_KEY": "sk-none", "OPENAI_AGENTS_DISABLE_TRACING": "1"}
    if agent != "polycall":
        made.pop("PYTHONPATH", None)  # of this interpreter
    return made


def rows(options: argparse.Namespace, url: str, say: Callable[[str], None]) -> None:
    """Measure and print row by row."""
    agents = AGENTS if options.peers else AGENTS[:1]
    say("| tools | messages before | | " + " | ".join(agents) + " |")
    say("|---|---|---|" + "---|" * len(agents))
    for tools in options.tools:
        for messages in options.messages:
            for streamed in ("plain", "streamed"):
                cells: list[str] = []
                for agent in agents:
                    python = sys.executable if agent == "polycall" else options.peers
                    best, why = float("inf"), ""
                    for _ in range(options.rounds):
                        words = [url, tools, messages, options.steps, streamed]
                        words += [options.at_once] * bool(options.at_once)
                        found, why = measure(python, agent, *words)
                        best = min(best, found)
                        if why:
                            break
                    cells.append(why or f"{best:.2f}")
                say(f"| {tools} | {messages} | {streamed} | " + " | ".join(cells) + " |")


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", metavar="PYTHON", help="an interpreter that has the peers")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--tools", type=int, nargs="+", default=[5, 50, 500])
    parser.add_argument("--messages", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--at-once", type=int, default=0, help="measure MiB of so many runs")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        asyncio.run(serve(options.steps))
        return 0
    with upstream(options.steps) as url:
        rows(options, url, lambda line: print(line, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
