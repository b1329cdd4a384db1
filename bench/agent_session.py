"""A coding agent's session of 300 steps: `python -m bench.agent_session [STEPS]`.

Each step sends all that was said so far, as agents do: sixty tools, and 150 kB of history in the
end, to a simulated vendor other than the client's own.  A row says what a step costs the gateway in
CPU in the first and in the last twenty steps, and which share of the input was read from the
vendor's cache, by the simulation's count.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct
from tests.gateway.harness import UPSTREAMS, Gateway, sim_config

from bench.conversation import cpu_s
from polycall.sim import Call, Prompt, Simulation, Turn

STEPS = 300
_WINDOW = 20
_TOOLS = 60
MODELS = {
    "up-anthropic": "claude-opus-5-5",
    "up-responses": "gpt-5.6-sol",
    "up-gemini": "gemini-3.8-flash",
    "up-deepseek": "deepseek-v4-flash",
}
OWN = {"messages": "up-anthropic", "responses": "up-responses", "chat": "up-responses"}
JSON = dict[str, Any]


class Cost(Struct, frozen=True):
    """What one session came to."""

    client: str
    upstream: str
    first_ms: float
    last_ms: float
    last_bytes: int
    first_cached: float
    last_cached: float


def _schema() -> JSON:
    text = {"type": "string", "description": "An absolute path below the folder of the work. " * 2}
    return {"type": "object", "properties": {"path": text, "note": text}, "required": ["path"]}


def _tools() -> list[tuple[str, str, JSON]]:
    words = "Reads a part of a file and says what stands there, with the numbers of its lines. " * 2
    return [(f"read_{number}", words, _schema()) for number in range(_TOOLS)]


def _turn(prompt: Prompt) -> Turn:
    number = len(prompt.entries)
    arguments = {"path": f"/repo/src/part_{number}.py", "note": "the next one"}
    return Turn("I read the next part.", calls=[Call(f"read_{number % _TOOLS}", arguments)])


def _result(number: int) -> str:
    return f"{number}: def part_{number}(): return {number}\n" * 4


class Wire(NamedTuple):
    """How a client of one protocol asks, and goes on."""

    path: str
    begin: Callable[[str], JSON]
    grow: Callable[[JSON, JSON, int], None]


def _messages_begin(model: str) -> JSON:
    tools = [{"name": n, "description": d, "input_schema": s} for n, d, s in _tools()]
    tools[-1]["cache_control"] = {"type": "ephemeral"}
    text = {"type": "text", "text": "You are a coding agent. " * 200}
    system = [{**text, "cache_control": {"type": "ephemeral"}}]
    messages = [{"role": "user", "content": "read all parts"}]
    return {
        "model": model, "max_tokens": 500, "system": system, "tools": tools, "messages": messages
    }  # fmt: skip


def _messages_grow(body: JSON, answer: JSON, number: int) -> None:
    calls = [block for block in answer["content"] if block["type"] == "tool_use"]
    results = [
        {"type": "tool_result", "tool_use_id": call["id"], "content": _result(number)}
        for call in calls
    ]
    body["messages"].append({"role": "assistant", "content": answer["content"]})
    body["messages"].append({"role": "user", "content": results})


def _responses_begin(model: str) -> JSON:
    tools = [
        {"type": "function", "name": n, "description": d, "parameters": s, "strict": False}
        for n, d, s in _tools()
    ]
    given = [{"role": "user", "content": "read all parts"}]
    instructions = "You are a coding agent. " * 200
    return {
        "model": model, "instructions": instructions, "tools": tools, "input": given,
        "store": False, "prompt_cache_key": "session-1",
    }  # fmt: skip


def _responses_grow(body: JSON, answer: JSON, number: int) -> None:
    body["input"] += answer["output"]
    for item in answer["output"]:
        if item["type"] == "function_call":
            output = {"type": "function_call_output", "call_id": item["call_id"]}
            body["input"].append({**output, "output": _result(number)})


def _chat_begin(model: str) -> JSON:
    tools = [
        {"type": "function", "function": {"name": n, "description": d, "parameters": s}}
        for n, d, s in _tools()
    ]
    system = {"role": "system", "content": "You are a coding agent. " * 200}
    return {
        "model": model, "tools": tools,
        "messages": [system, {"role": "user", "content": "read all parts"}],
    }  # fmt: skip


def _chat_grow(body: JSON, answer: JSON, number: int) -> None:
    message = answer["choices"][0]["message"]
    body["messages"].append(message)
    for call in message["tool_calls"]:
        result = {"role": "tool", "tool_call_id": call["id"], "content": _result(number)}
        body["messages"].append(result)


WIRES = {
    "messages": Wire("/v1/messages", _messages_begin, _messages_grow),
    "responses": Wire("/v1/responses", _responses_begin, _responses_grow),
    "chat": Wire("/v1/chat/completions", _chat_begin, _chat_grow),
}


def measure(client: str, upstream: str, steps: int = STEPS) -> Cost:
    """One session."""
    wire = WIRES[client]
    with Simulation(seed=1) as sim, tempfile.TemporaryDirectory() as folder:
        gateway = Gateway(Path(folder), sim_config(sim)).start()
        sim.script(UPSTREAMS[upstream][0], MODELS[upstream], _turn)
        body = wire.begin(f"{upstream}/{MODELS[upstream]}")
        spent: list[float] = []
        size = 0
        for number in range(steps):
            before = cpu_s(gateway.pid)
            data = json.dumps(body).encode()
            size = len(data)
            answer = gateway.request("POST", wire.path, data)
            if answer.status != 200:
                raise RuntimeError(f"step {number}: {answer.status} {answer.content[:500]!r}")
            spent.append(cpu_s(gateway.pid) - before)
            wire.grow(body, answer.json(), number)
        rows = gateway.ledger(steps)
        gateway.stop()

    def share(part: list[JSON]) -> float:
        return sum(r["cached_tokens"] or 0 for r in part) / sum(r["input_tokens"] for r in part)

    half = min(_WINDOW, steps // 2)
    return Cost(
        client,
        upstream,
        1000 * statistics.median(spent[1 : half + 1]),
        1000 * statistics.median(spent[-half:]),
        size,
        share(rows[1 : half + 1]),
        share(rows[-half:]),
    )


def main() -> int:
    """Run all, and print the table."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else STEPS
    print("| client | upstream | ms CPU, first | last | last body | cached, first | last |")
    print("|---|---|---|---|---|---|---|")
    for client in WIRES:
        for upstream in MODELS:
            if OWN[client] == upstream:
                continue
            cost = measure(client, upstream, steps)
            print(
                f"| {client} | {upstream} | {cost.first_ms:.1f} | {cost.last_ms:.1f} | "
                f"{cost.last_bytes:,} | {cost.first_cached:.1%} | {cost.last_cached:.1%} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
