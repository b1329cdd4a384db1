"""An upstream that answers what a test wrote for a model, in order; it keeps what it was sent."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.origins import Handler, serving

JSON = dict[str, Any]


def sse(*frames: Any, events: bool = False) -> bytes:
    """A stream of these frames; with `events`, each named by its type."""
    pieces: list[str] = []
    for frame in frames:
        name = f"event: {frame['type']}\n" if events else ""
        data = frame if isinstance(frame, str) else json.dumps(frame)
        pieces.append(f"{name}data: {data}\n\n")
    return "".join(pieces).encode()


class Scripted:
    """`answers[model]` are given one after the other, the last one again and again."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, Any]]] = defaultdict(list)
        self.bodies: list[JSON] = []
        self.heads: list[dict[str, str]] = []
        self.base_url = ""

    def say(self, model: str, *answers: Any) -> None:
        """What is answered: a body or a stream's bytes, or a pair of a status and a body."""
        self.answers[model] = [each if isinstance(each, tuple) else (200, each) for each in answers]
        self.bodies.clear()
        self.heads.clear()

    def take(self, path: str, body: JSON, headers: dict[str, str]) -> tuple[int, Any]:
        model = body.get("model") or path.rpartition("/models/")[2].partition(":")[0]
        self.bodies.append(body)
        self.heads.append(headers)
        queue = self.answers[model]
        return queue.pop(0) if len(queue) > 1 else queue[0]

    def asked(self) -> list[str]:
        """The models that were asked, in order."""
        return [body.get("model", "") for body in self.bodies]


@contextmanager
def scripted() -> Iterator[Scripted]:
    """A server on loopback, ended at the end."""
    script = Scripted()

    class Upstream(Handler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            status, answer = script.take(self.path, json.loads(self.read()), self.head())
            is_stream = isinstance(answer, bytes)
            self.answer(answer, status, "text/event-stream" if is_stream else "application/json")

    with serving(Upstream) as script.base_url:
        yield script


def chat_body(message: JSON, finish: str | None = "stop", **more: Any) -> JSON:
    """A whole Chat answer."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    head = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "usage": usage}
    return {**head, "choices": [{**choice, **more}]}


def chat_chunk(delta: JSON, finish: str | None = None, **more: Any) -> JSON:
    """One chunk of a Chat stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish, **more}
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**head, "choices": [choice]}


def chat_stream(*chunks: JSON) -> bytes:
    """A whole Chat stream, beginning as most servers do."""
    return sse(chat_chunk({"role": "assistant", "content": ""}), *chunks, "[DONE]")


def call(name: str = "f", arguments: str = "{}", call_id: str = "call_1") -> JSON:
    """One entry of `tool_calls`."""
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def function(name: str = "f") -> JSON:
    """A tool of Chat."""
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
