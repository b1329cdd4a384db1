"""A coding agent's session of 300 steps: what a step costs at 1, 20, 150 and 300.

    python -m bench.agent_session                          # CPU, of all clients and vendors
    python -m bench.agent_session --instructions           # and under callgrind, which takes long
    python -m bench.agent_session --pairs chat:up-gemini

Each step sends all that was said so far, as agents do: sixty tools, and 150 kB of history in the
end, to a simulated vendor other than the client's own.  A row says what a step costs the gateway,
and which share of the input was read from the vendor's cache in the first and in the last twenty
steps, by the simulation's count.  A short session before it has all code loaded.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.gateway.harness import UPSTREAMS, Gateway, sim_config

from bench.conversation import cpu_s
from polycall.sim import Call, Prompt, Simulation, Turn

POINTS = (1, 20, 150, 300)
_AROUND = 5  # steps whose median a figure is, but for the first
_WARM, _WINDOW = 3, 20
_TOOLS = 60
MODELS = {
    "up-anthropic": "claude-opus-5-5",
    "up-responses": "gpt-5.6-sol",
    "up-gemini": "gemini-3.8-flash",
    "up-deepseek": "deepseek-v4-flash",
}
OWN = {"messages": "up-anthropic", "responses": "up-responses", "gemini": "up-gemini"}
JSON = dict[str, Any]


class Cost(NamedTuple):
    """What one session came to, at each of the points."""

    cpu_ms: list[float]
    instructions: list[int]  # millions; empty where they were not counted
    sizes: list[int]
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

    path: str  # with the model where it names one
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


def _gemini_begin(_: str) -> JSON:
    declared = [{"name": n, "description": d, "parameters": s} for n, d, s in _tools()]
    return {
        "systemInstruction": {"parts": [{"text": "You are a coding agent. " * 200}]},
        "tools": [{"functionDeclarations": declared}],
        "contents": [{"role": "user", "parts": [{"text": "read all parts"}]}],
    }


def _gemini_grow(body: JSON, answer: JSON, number: int) -> None:
    said = answer["candidates"][0]["content"]
    body["contents"].append(said)
    for part in said["parts"]:
        if call := part.get("functionCall"):
            result = {"name": call["name"], "response": {"output": _result(number)}}
            result |= {"id": call["id"]} if "id" in call else {}
            body["contents"].append({"role": "user", "parts": [{"functionResponse": result}]})


WIRES = {
    "gemini": Wire("/v1beta/models/{model}:generateContent", _gemini_begin, _gemini_grow),
    "messages": Wire("/v1/messages", _messages_begin, _messages_grow),
    "responses": Wire("/v1/responses", _responses_begin, _responses_grow),
    "chat": Wire("/v1/chat/completions", _chat_begin, _chat_grow),
}


class _Counted(Gateway):
    """A gateway under callgrind."""

    def command(self, port: int) -> list[str]:
        """The server, with its instructions counted when asked."""
        out = f"--callgrind-out-file={self.folder / 'callgrind'}"
        valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "-q", out]
        return [*valgrind, sys.executable, *super().command(port)]

    def control(self, *options: str) -> None:
        """Tell callgrind."""
        command = ["callgrind_control", *options, str(self.pid)]
        subprocess.run(command, check=True, capture_output=True)

    def counted(self) -> int:
        """Instructions since the count began, which ends."""
        self.control("--dump=step")
        self.control("-i", "off")
        dumps = sorted(self.folder.glob("callgrind.*"), key=lambda each: int(each.suffix[1:]))
        total = re.search(r"^(?:summary|totals): (\d+)", dumps[-1].read_text(), re.MULTILINE)
        assert total is not None, dumps
        return int(total[1])


class _Session:
    """One conversation of a client with one gateway."""

    def __init__(self, gateway: Gateway, client: str, model: str) -> None:
        self._gateway = gateway
        self._wire = WIRES[client]
        self._path = self._wire.path.format(model=model)
        self._body = self._wire.begin(model)
        self._number = 0
        self.size_bytes = 0

    def step(self) -> float:
        """One step; gives the gateway's CPU in seconds."""
        before = cpu_s(self._gateway.pid)
        data = json.dumps(self._body).encode()
        self.size_bytes = len(data)
        answer = self._gateway.request("POST", self._path, data)
        if answer.status != 200:
            raise RuntimeError(f"step {self._number}: {answer.status} {answer.content[:500]!r}")
        spent = cpu_s(self._gateway.pid) - before
        self._wire.grow(self._body, answer.json(), self._number)
        self._number += 1
        return spent


def measure(client: str, upstream: str, *, counts: bool = False) -> Cost:
    """One session; with `counts` under callgrind."""
    points = {point: range(max(point - _AROUND + 1, 1), point + 1) for point in POINTS}
    points[1] = range(1, 2)
    spent: list[float] = []
    sizes: list[int] = []
    found: dict[int, list[int]] = {point: [] for point in POINTS}
    with Simulation(seed=1) as sim, tempfile.TemporaryDirectory() as folder:
        gateway = (_Counted if counts else Gateway)(Path(folder), sim_config(sim)).start()
        sim.script(UPSTREAMS[upstream][0], MODELS[upstream], _turn)
        model = f"{upstream}/{MODELS[upstream]}"
        warming = _Session(gateway, client, model)
        for _ in range(_WARM):
            warming.step()
        session = _Session(gateway, client, model)
        for number in range(1, POINTS[-1] + 1):
            inside = [point for point in POINTS if number in points[point]]
            if inside and isinstance(gateway, _Counted):
                gateway.control("-i", "on")
                gateway.control("-z")
            spent.append(session.step())
            sizes.append(session.size_bytes)
            if inside and isinstance(gateway, _Counted):
                found[inside[0]].append(gateway.counted())
        rows = gateway.ledger(_WARM + len(spent))[_WARM:]
        gateway.stop()

    def share(part: list[JSON]) -> float:
        return sum(r["cached_tokens"] or 0 for r in part) / sum(r["input_tokens"] for r in part)

    return Cost(
        [1000 * statistics.median(spent[at - 1] for at in points[point]) for point in POINTS],
        [round(statistics.median(each) / 1e6) for each in found.values() if each],
        [sizes[point - 1] for point in POINTS],
        share(rows[1 : _WINDOW + 1]),
        share(rows[-_WINDOW:]),
    )


def main() -> int:
    """Run all, and print the table."""
    pairs = [f"{client}:{name}" for client in WIRES for name in MODELS if OWN.get(client) != name]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pairs", default=",".join(pairs))
    parser.add_argument("--instructions", action="store_true", help="count them, too")
    options = parser.parse_args()
    at = " / ".join(map(str, POINTS))
    print(f"| client, upstream | last body | ms CPU at {at} | millions of instructions | cached |")
    print("|---|---|---|---|---|")
    for pair in options.pairs.split(","):
        client, upstream = pair.split(":")
        cost = measure(client, upstream)
        counted = measure(client, upstream, counts=True) if options.instructions else cost
        print(
            f"| {client}, {upstream} | {cost.sizes[-1]:,} | "
            f"{' / '.join(f'{each:.1f}' for each in cost.cpu_ms)} | "
            f"{' / '.join(map(str, counted.instructions))} | "
            f"{cost.first_cached:.1%}, {cost.last_cached:.1%} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
