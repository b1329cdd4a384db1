"""What the steps of a coding agent cost: CPU of the gateway for each, with the whole conversation.

    python -m bench.conversation                       # steps 300 to 340, 150 kB, 1 kB new in each
    python -m bench.conversation --bytes 450000

Each step sends all that was said before and a call and its result more.  The small request of
`bench/gateway.py` is measured in the same run.  Mock and load generator as there.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.gateway import HOME, SHARED, polycall_command, prepare_tools

PORT, UPSTREAM = 8611, 9019
KEY = "sk-client-0001"
ROUTES = {
    "passed": "up-openai/gpt-mock",
    "to Anthropic": "up-anthropic/claude-mock",
    "to Gemini": "up-gemini/gemini-mock",
}


def main() -> int:
    """Measure, and print a line for each route."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, default=150_000)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    if not (SHARED / "bench" / "bench.py").exists():
        print(f"no bench data at {SHARED}; set POLYCALL_SHARED", file=sys.stderr)
        return 2
    prepare_tools()
    text = (HOME / "cfg" / "polycall.toml").read_text().replace("9009", str(UPSTREAM))
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "polycall.toml"
        config.write_text(text)
        mock = subprocess.Popen(
            [str(HOME / "mock"), str(UPSTREAM), str(HOME / "payloads" / "mock")]
        )
        command = [polycall_command(), "serve", "--config", str(config), "--port", str(PORT)]
        quiet = subprocess.DEVNULL
        gateway = subprocess.Popen(command, stdout=quiet, stderr=quiet)
        try:
            wait_until_ready()
            measure(gateway.pid, options.bytes, options.steps)
        finally:
            for process in (gateway, mock):
                process.terminate()
                process.wait()
    return 0


def measure(pid: int, size_bytes: int, steps: int) -> None:
    """Print what a small request and a step cost on each route."""
    small = json.loads((HOME / "payloads" / "requests" / "small.json").read_text())
    connection = http.client.HTTPConnection("127.0.0.1", PORT)
    for name, model in ROUTES.items():
        bodies = [{**small, "model": model}] * (steps * 4)
        send(connection, bodies[:20])
        plain_ms = cost_ms(pid, connection, bodies)
        conversation = conversation_of(size_bytes)
        steps_asked: list[dict[str, Any]] = []
        for number in range(steps + 1):
            conversation = [*conversation, *step(100_000 + number)]
            steps_asked.append({"model": model, "messages": conversation, "tools": TOOLS})
        first_ms = cost_ms(pid, connection, steps_asked[:1])
        step_ms = cost_ms(pid, connection, steps_asked[1:])
        print(
            f"{name}: small {plain_ms:.3f} ms; {len(encoded(steps_asked[0]))} bytes: first "
            f"{first_ms:.2f} ms, a step more {step_ms:.3f} ms ({step_ms / plain_ms:.1f} times)"
        )


def cost_ms(pid: int, connection: http.client.HTTPConnection, bodies: list[Any]) -> float:
    """CPU of the gateway for one of these requests, in the median."""
    found: list[float] = []
    for body in bodies:
        before = cpu_s(pid)
        send(connection, [body])
        found.append((cpu_s(pid) - before) * 1000)
    return statistics.median(found)


def cpu_s(pid: int) -> float:
    """CPU time of all threads of a process so far."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def send(connection: http.client.HTTPConnection, bodies: list[Any]) -> None:
    """Send requests one after the other; all must go well."""
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    for body in bodies:
        connection.request("POST", "/v1/chat/completions", encoded(body), headers)
        answer = connection.getresponse()
        data = answer.read()
        assert answer.status == 200, data[:500]


def encoded(body: Any) -> bytes:
    """A body as clients send it."""
    return json.dumps(body, separators=(",", ":")).encode()


def wait_until_ready() -> None:
    """Until the gateway answers."""
    for _ in range(200):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=1)
            connection.request("GET", "/healthz")
            connection.getresponse().read()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("the gateway did not start")


def step(number: int) -> list[dict[str, Any]]:
    """A call and its result, about 1 kB."""
    arguments = json.dumps({"path": f"src/module_{number}.py", "limit": 100})
    function = {"name": f"tool_{number % len(TOOLS)}", "arguments": arguments}
    call = {"id": f"call_{number:06d}", "type": "function", "function": function}
    content = f"def function_{number}(self, value):\n    return value\n" * 14
    return [
        {"role": "assistant", "content": "Let me look at it.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": content},
    ]


def conversation_of(size_bytes: int) -> list[dict[str, Any]]:
    """A conversation of that size, without the latest step."""
    conversation: list[dict[str, Any]] = [
        {"role": "system", "content": "You are a coding agent. " * 100},
        {"role": "user", "content": "Find the fault in the tests, and mend it."},
    ]
    size, number = len(encoded(conversation)), 0
    while size < size_bytes:
        added = step(number)
        conversation += added
        size += len(encoded(added))
        number += 1
    return conversation


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": f"tool_{number}",
            "description": "Reads a file and gives its lines. " * 4,
            "parameters": {
                "type": "object",
                "properties": {"path": {"type": "string"}, "limit": {"type": "integer"}},
                "required": ["path"],
            },
        },
    }
    for number in range(15)
]


if __name__ == "__main__":
    sys.exit(main())
