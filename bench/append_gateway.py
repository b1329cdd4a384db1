"""The gateway of `bench.append`, and conversations that it stores."""

from __future__ import annotations

import http.client
import json
import random
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.append_traces import HEAD, MODEL, OTHER, Trace
from polycall.ir import Usage
from polycall.sim import Call, Simulation, Turn

PROTOCOLS = {
    "openai-chat": "openai",
    "openai-responses": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
}
_KEY = "sk-client-of-bench-1"


@contextmanager
def served(sim: Simulation, folder: Path) -> Generator[tuple[str, str]]:
    """A gateway in front of the simulation; gives its address and a key."""
    config = (
        f'[providers.claude]\ndialect = "anthropic"\nbase_url = "{sim.base_url("anthropic")}"\n'
        f'api_key = "any-key"\n[models.both]\nroute = ["claude/{MODEL}", "claude/{OTHER}"]\n'
        '[server]\nattempts = 2\nlog = "error"\n'
        f'[[keys]]\nkey = "{_KEY}"\nname = "bench"\n'
    )
    path = folder / "polycall.toml"
    path.write_text(config, encoding="utf-8")
    program = Path(sys.executable).with_name("polycall")
    command = [str(program), "serve", "--config", str(path), "--port", "0"]
    # It says its address with its first line, at once.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().rsplit(":", 1)[1].strip()
        try:
            yield f"http://127.0.0.1:{port}", _KEY
        finally:
            process.terminate()


def play_stored(trace: Trace, sim: Simulation, address: str) -> list[Usage]:
    """Answers that refer to the one before them; some in the background, some compacted."""
    chance = random.Random(trace.number)
    script: list[Turn] = []
    asked: list[tuple[str, list[Any]]] = []  # how, and what is said
    said: list[Any] = [{"role": "user", "content": "go"}]
    for _ in range(chance.randrange(trace.steps // 2, trace.steps)):
        way = chance.choice(["whole", "whole", "streamed", "background", "compacted"])
        asked.append((way, said))
        if way == "compacted":
            said[:] = [{"role": "user", "content": "so far"}]
            script.append(Turn(reasoning=trace.thought(), text=trace.words()))
            said = [{"role": "user", "content": "go on"}]
            continue
        calls = [Call("add", {"a": 1, "b": 2})] if chance.random() < 0.7 else []
        text = "" if calls else trace.words()
        script.append(Turn(reasoning=trace.thought(), text=text, calls=calls))
        said = [{"role": "user", "content": "more"}]
        if calls:
            said = [{"type": "function_call_output", "output": "3"}]
    sim.script("anthropic", MODEL, script)
    usages: list[Usage] = []
    last: dict[str, Any] = {}
    for way, words in asked:
        last = _answer(address, trace.number, way, words, last)
        usage = last["usage"]
        cached: int = usage["input_tokens_details"]["cached_tokens"]
        usages.append(Usage(input_tokens=usage["input_tokens"], cached_tokens=cached))
    return usages


def _answer(
    address: str, number: int, way: str, words: list[Any], last: dict[str, Any]
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": f"claude/{MODEL}",
        "instructions": f"{HEAD}Conversation {number}.",
        "input": list(words),
        "store": True,
        "stream": way == "streamed",
        "tools": [
            {
                "type": "function",
                "name": "add",
                "parameters": {
                    "type": "object",
                    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                },
            }
        ],
    }
    calls = [item for item in last.get("output", []) if item["type"] == "function_call"]
    if last:
        body["previous_response_id"] = last["id"]
    if calls:
        results = [
            {"type": "function_call_output", "call_id": call["call_id"], "output": "3"}
            for call in calls
        ]
        others = [item for item in words if item.get("type") != "function_call_output"]
        body["input"] = [*results, *others]
    if way == "compacted":
        body["input"] = [*body["input"], {"type": "compaction_trigger"}]
    if way == "background":
        body["background"] = True
    status, data = _asked(address, "POST", "/v1/responses", body)
    if status != 200:
        raise RuntimeError(f"{way}: {status} {data[:300]!r}")
    if way == "streamed":
        lines = [line[5:] for line in data.decode().splitlines() if line.startswith("data:")]
        return json.loads(lines[-1])["response"]
    found: dict[str, Any] = json.loads(data)
    while found["status"] in ("queued", "in_progress"):
        time.sleep(0.01)
        _, data = _asked(address, "GET", f"/v1/responses/{found['id']}", None)
        found = json.loads(data)
    if found["status"] != "completed":
        raise RuntimeError(f"{way}: {found['status']} {found.get('error')}")
    return found


def _asked(address: str, method: str, path: str, body: Any) -> tuple[int, bytes]:
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port or 80, timeout=60)
    try:
        headers = {"authorization": f"Bearer {_KEY}", "content-type": "application/json"}
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
