"""Answers and streams of `/v1/responses`, read by the types of the Open Responses specification.

Run by `python -m bench.fidelity` with an interpreter that has `openresponses-types`, whose classes
are generated from the specification's OpenAPI document: `URL MODEL KEY [HEADER ...]`, headers as
`name:value`.  Prints one JSON object: what was checked, and what failed with its reason.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from typing import Any

import openresponses_types as spec  # type: ignore[import]

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
    "awAAAABJRU5ErkJggg=="
)
TOOL = {
    "type": "function",
    "name": "look",
    "description": "Looks at a place.",
    "parameters": {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]},
}
ANSWER = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


def said(*turns: tuple[str, str]) -> list[Any]:
    return [{"type": "message", "role": role, "content": text} for role, text in turns]


CALL = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"at": "x"}'}
DONE = {"type": "function_call_output", "call_id": "c1", "output": "seen"}
SEEN = [{"type": "input_text", "text": "What is it?"}, {"type": "input_image", "image_url": PIXEL}]
CASES: dict[str, dict[str, Any]] = {
    "text": {"input": "Say hello."},
    "instructions": {"input": "Say hello.", "instructions": "Be brief."},
    "turns": {"input": said(("user", "a"), ("assistant", "b"), ("user", "c"))},
    "developer": {"input": said(("developer", "Be brief."), ("user", "Say hello."))},
    "call": {"input": "Look at x.", "tools": [TOOL], "tool_choice": "required"},
    "named call": {
        "input": "x",
        "tools": [TOOL],
        "tool_choice": {"type": "function", "name": "look"},
    },
    "result": {"input": [*said(("user", "Look.")), CALL, DONE], "tools": [TOOL]},
    "picture": {"input": [{"type": "message", "role": "user", "content": SEEN}]},
    "effort": {"input": "Think.", "reasoning": {"effort": "low", "summary": "auto"}},
    "schema": {
        "input": "Answer.",
        "text": {"format": {"type": "json_schema", "name": "answer", "schema": ANSWER}},
    },
    "bounded": {"input": "Say much.", "max_output_tokens": 16},
    "marked": {"input": "Say hello.", "metadata": {"a": "b"}, "safety_identifier": "u1"},
}
# The class of each event, by its type.
EVENTS: dict[str, Any] = {}
for _name in dir(spec):
    if _name.endswith("StreamingEvent"):
        _class = getattr(spec, _name)
        EVENTS[next(iter(_class.model_fields["type"].annotation)).value] = _class
ENDS = {"response.completed", "response.incomplete", "response.failed"}


def whole(data: bytes) -> None:
    check(json.loads(data))


def check(response: Any) -> None:
    form = (response.get("text") or {}).get("format") or {}
    if "schema" in form:
        form["schema"] = None  # what was generated for it takes nothing else
    spec.ResponseResource.model_validate(response)


def streamed(data: bytes) -> None:
    """Each event by its own class, numbered in order, and a whole answer in the last."""
    numbers: list[int] = []
    last = ""
    for frame in data.decode("utf-8").split("\n\n"):
        text = "".join(line[5:] for line in frame.splitlines() if line.startswith("data:")).strip()
        if not text or text == "[DONE]":
            continue
        event = json.loads(text)
        last = event["type"]
        numbers.append(event["sequence_number"])
        if "response" in event:
            check(event["response"])
        EVENTS[last].model_validate(event)
    if last not in ENDS:
        raise ValueError(f"the last event is {last!r}")
    if numbers != sorted(set(numbers)):
        raise ValueError("the events are not numbered in order")


def main(url: str, model: str, key: str, *headers: str) -> int:
    failed: dict[str, str] = {}
    more = dict(header.split(":", 1) for header in headers)
    for name, fields in CASES.items():
        for stream in (False, True):
            body = json.dumps({"model": model, "stream": stream, **fields}).encode()
            sent = {"content-type": "application/json", "authorization": f"Bearer {key}", **more}
            request = urllib.request.Request(f"{url}/responses", body, sent)
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    (streamed if stream else whole)(answer.read())
            except urllib.error.HTTPError as error:
                failed[f"{name}, streamed" if stream else name] = f"{error.code} {error.read()!r}"
            except Exception as error:  # noqa: BLE001 - what a peer answers fails its case
                failed[f"{name}, streamed" if stream else name] = f"{type(error).__name__}: {error}"
    print(json.dumps({"checked": 2 * len(CASES), "failed": failed}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
