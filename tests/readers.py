"""Ten-line readers of tool calls, one a wire format, that share no code with polycall.

Each gives `(id or None, name, arguments)` for the first candidate, in order, from a whole body or
from the JSON payloads of a stream.  `None` stands for arguments that are not a JSON object.
"""

from __future__ import annotations

import json
import re
from typing import Any

Found = list[tuple[str | None, str, Any]]


def payloads(text: str) -> list[dict[str, Any]]:
    """The JSON objects of a stream of server-sent events whose data lines are an event each."""
    found: list[dict[str, Any]] = []
    for line in re.split(r"\r\n|\n|\r", text):
        data = line[5:].strip() if line[:5] == "data:" else ""
        if data not in ("", "[DONE]"):
            found.append(json.loads(data))
    return found


def arguments(value: Any) -> Any:
    """A call's arguments, whatever the spelling."""
    if isinstance(value, str):
        if value.strip() in ("", "null", '""'):
            return {}
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return {} if value is None else value if isinstance(value, dict) else None


def chat_body(body: dict[str, Any]) -> Found:
    """Chat Completions, whole."""
    message = body["choices"][0].get("message") or {} if body.get("choices") else {}
    functions = [(c.get("id"), c.get("function")) for c in message.get("tool_calls") or []]
    if not functions and message.get("function_call"):
        functions = [(None, message["function_call"])]
    return [
        (i or None, f["name"], arguments(f.get("arguments")))
        for i, f in functions
        if f and f["name"]
    ]


def chat_stream(text: str) -> Found:
    """Chat Completions, streamed: fragments belong together by index, else by id."""
    calls: dict[Any, list[Any]] = {}
    last: Any = None
    for payload in payloads(text):
        for choice in payload.get("choices") or []:
            if choice.get("index") or not isinstance(choice.get("delta"), dict):
                continue
            pieces = choice["delta"].get("tool_calls") or []
            legacy = choice["delta"].get("function_call")
            for piece in [*pieces, *([{"index": 0, "function": legacy}] if legacy else [])]:
                key, function = piece.get("index"), piece.get("function") or {}
                if key is None or (
                    piece.get("id") and calls.get(key, [None])[0] not in (None, piece["id"])
                ):
                    key = piece.get("id") or last
                last = key
                call = calls.setdefault(key, [None, "", ""])
                call[0] = call[0] or piece.get("id") or None
                call[1] = call[1] or function.get("name") or ""
                more = function.get("arguments") or ""
                call[2] += more if isinstance(more, str) else json.dumps(more)
    return [(i, name, arguments(text)) for i, name, text in calls.values()]


def responses_body(body: dict[str, Any]) -> Found:
    """Responses, whole."""
    return [
        (item.get("call_id"), item["name"], arguments(item.get("arguments")))
        for item in body.get("output") or []
        if item.get("type") == "function_call"
    ]


def responses_stream(text: str) -> Found:
    """Responses, streamed: the items as they were done, or as the last event lists them."""
    items: dict[int, dict[str, Any]] = {}
    deltas: dict[int, str] = {}
    for payload in payloads(text):
        place = payload.get("output_index", -1)
        if payload.get("type") == "response.function_call_arguments.delta":
            deltas[place] = deltas.get(place, "") + payload["delta"]
        elif payload.get("type") == "response.output_item.done":
            items[place] = {**payload["item"]}
            if deltas.get(place):
                items[place]["arguments"] = deltas[place]
        elif payload.get("type") in ("response.completed", "response.incomplete"):
            for place, item in enumerate(payload["response"].get("output") or []):
                items.setdefault(place, item)
    return responses_body({"output": [items[place] for place in sorted(items)]})


def anthropic_body(body: dict[str, Any]) -> Found:
    """Messages, whole."""
    return [
        (block["id"], block["name"], arguments(block.get("input")))
        for block in body.get("content") or []
        if block.get("type") == "tool_use"
    ]


def anthropic_stream(text: str) -> Found:
    """Messages, streamed."""
    blocks: dict[int, dict[str, Any]] = {}
    for payload in payloads(text):
        if payload.get("type") == "content_block_start":
            blocks[payload["index"]] = {**payload["content_block"], "_json": ""}
        elif payload.get("type") == "content_block_delta":
            blocks[payload["index"]]["_json"] += payload["delta"].get("partial_json") or ""
    for block in blocks.values():
        block["input"] = block["_json"] or block.get("input")
    return anthropic_body({"content": [blocks[place] for place in sorted(blocks)]})


def gemini_body(body: dict[str, Any]) -> Found:
    """generateContent, whole."""
    found: Found = []
    for candidate in (body.get("candidates") or [])[:1]:
        for part in (candidate.get("content") or {}).get("parts") or []:
            call = part.get("functionCall") or part.get("function_call")
            if call and call.get("name"):
                found.append((call.get("id"), call["name"], arguments(call.get("args"))))
    return found


def gemini_stream(text: str) -> Found:
    """generateContent, streamed: calls come whole (argument streaming is tested elsewhere)."""
    return [call for payload in payloads(text) for call in gemini_body(payload)]


def converse_body(body: dict[str, Any]) -> Found:
    """Bedrock's Converse, whole."""
    uses = [b["toolUse"] for b in body["output"]["message"]["content"] if "toolUse" in b]
    return [(u["toolUseId"], u["name"], arguments(u["input"])) for u in uses]


def converse_stream(text: str) -> Found:
    """Converse, its events as one key each."""
    calls: dict[int, list[Any]] = {}
    for event in payloads(text):
        start = event.get("contentBlockStart", {})
        if "toolUse" in start.get("start", {}):
            use = start["start"]["toolUse"]
            calls[start["contentBlockIndex"]] = [use["toolUseId"], use["name"], ""]
        delta = event.get("contentBlockDelta", {})
        if "toolUse" in delta.get("delta", {}):
            calls[delta["contentBlockIndex"]][2] += delta["delta"]["toolUse"]["input"]
    return [(i, name, arguments(said)) for i, name, said in calls.values()]


def interactions_body(body: dict[str, Any]) -> Found:
    """Google's Interactions, whole."""
    steps = [step for step in body.get("steps", []) if step["type"] == "function_call"]
    return [(s["id"], s["name"], arguments(s["arguments"])) for s in steps]


def interactions_stream(text: str) -> Found:
    """Interactions, streamed."""
    calls: dict[int, list[Any]] = {}
    for event in payloads(text):
        if event.get("event_type") == "step.start" and event["step"]["type"] == "function_call":
            calls[event["index"]] = [event["step"]["id"], event["step"]["name"], ""]
        delta = event.get("delta", {})
        if delta.get("type") == "arguments_delta":
            calls[event["index"]][2] += delta["arguments"]
    return [(i, name, arguments(said)) for i, name, said in calls.values()]


def ollama_body(body: dict[str, Any]) -> Found:
    """Ollama's chat, whole."""
    functions = [(c.get("id"), c["function"]) for c in body["message"].get("tool_calls", [])]
    return [(i, f["name"], arguments(f["arguments"])) for i, f in functions]


def ollama_stream(text: str) -> Found:
    """Ollama's chat, an object a line."""
    return [call for line in text.splitlines() if line for call in ollama_body(json.loads(line))]
