"""curl as a client: a Chat conversation by hand, a process for each request."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.gateway.drivers import PIXEL, TOOLS, Call, Result, Step


class Curl:
    """What the router's manual does at the command line, whole and streamed."""

    def __init__(self, url: str, key: str, model: str, *, streamed: bool) -> None:
        self._command = [
            *("curl", "--silent", "--show-error", "--fail-with-body", "--no-buffer"),
            *("--max-time", "30", "--header", f"Authorization: Bearer {key}"),
            *("--json", "@-", f"{url}/v1/chat/completions"),
        ]
        self._body: dict[str, Any] = {
            "model": model,
            "messages": [],
            "tools": [{"type": "function", "function": tool} for tool in TOOLS],
            "stream": streamed,
        }

    def ask(self, prompt: str, *, image: bool = False) -> Step:
        content: Any = prompt
        if image:
            url = {"url": f"data:image/png;base64,{PIXEL}"}
            content = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": url}]
        self._body["messages"].append({"role": "user", "content": content})
        return self._send()

    def give(self, results: list[Result]) -> Step:
        for result in results:
            content = f"error: {result.content}" if result.is_error else result.content
            message = {"role": "tool", "tool_call_id": result.call.id, "content": content}
            self._body["messages"].append(message)
        return self._send()

    def _send(self) -> Step:
        done = subprocess.run(
            self._command, input=json.dumps(self._body).encode(), capture_output=True, check=False
        )
        assert done.returncode == 0, (done.stdout, done.stderr)
        message = _streamed(done.stdout) if self._body["stream"] else _whole(done.stdout)
        self._body["messages"].append({"role": "assistant", **message})
        calls = [
            Call(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in message.get("tool_calls", ())
        ]
        return Step(message["content"] or "", calls)

    def close(self) -> None:
        """Nothing stays open between two requests."""


def _whole(data: bytes) -> dict[str, Any]:
    message = json.loads(data)["choices"][0]["message"]
    return {key: message[key] for key in ("content", "tool_calls") if key in message}


def _streamed(data: bytes) -> dict[str, Any]:
    lines = [line for line in data.decode().split("\n") if line.startswith("data: ")]
    assert lines.pop() == "data: [DONE]"
    text = ""
    calls: dict[int, dict[str, Any]] = {}
    for line in lines:
        for choice in json.loads(line.removeprefix("data: "))["choices"]:
            delta = choice["delta"]
            text += delta.get("content") or ""
            for piece in delta.get("tool_calls") or ():
                call = calls.setdefault(piece["index"], {"type": "function", "function": {}})
                call["id"] = call.get("id") or piece.get("id")
                for field, value in piece.get("function", {}).items():
                    called = call["function"]
                    called[field] = called.get(field, "") + (value or "")
    found = {"tool_calls": list(calls.values())} if calls else {}
    return {"content": text or None, **found}
