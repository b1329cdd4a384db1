"""Doors of the gateway that are bodies of a client's, on each wire, and its bytes before that.

A body is passed to a provider of the same wire, or translated.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from bench.door_upstream import BOMB, chunk

CHAT, ANTHROPIC = "/v1/chat/completions", "/v1/messages"
BODY_BYTES = 15_000_000
Tools = list[tuple[str, dict[str, Any]]]  # names and schemas
Sent = tuple[bytes, bytes]  # once, and then without end, where that is not empty


class _Client(NamedTuple):
    """How a wire says things; `path` has `{}` where the model's name is due."""

    path: str
    said: str  # the field of the conversation
    turn: Callable[[str, str], dict[str, Any]]  # what somebody says
    call: Callable[[int], list[dict[str, Any]]]  # a call, and its result
    tools: Callable[[Tools], dict[str, Any]]


def _chat_call(number: int) -> list[dict[str, Any]]:
    name = f"c{number}"
    call = {"id": name, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": name, "content": "r" * 300},
    ]


def _anthropic_call(number: int) -> list[dict[str, Any]]:
    name = f"c{number}"
    return [
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": name, "name": "f", "input": {}}],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": name, "content": "r" * 300}],
        },
    ]


def _responses_call(number: int) -> list[dict[str, Any]]:
    name = f"c{number}"
    return [
        {"type": "function_call", "call_id": name, "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": name, "output": "r" * 300},
    ]


def _gemini_call(number: int) -> list[dict[str, Any]]:
    call = {"id": f"c{number}", "name": "f"}
    result = {**call, "response": {"output": "r" * 300}}
    return [
        {"role": "model", "parts": [{"functionCall": {**call, "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": result}]},
    ]


def _ollama_call(number: int) -> list[dict[str, Any]]:
    call: dict[str, Any] = {"id": f"c{number}", "function": {"name": "f", "arguments": {}}}
    return [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_name": "f", "tool_call_id": f"c{number}", "content": "r" * 300},
    ]


def _converse_call(number: int) -> list[dict[str, Any]]:
    name = f"c{number}"
    result = {"toolUseId": name, "content": [{"text": "r" * 300}]}
    return [
        {
            "role": "assistant",
            "content": [{"toolUse": {"toolUseId": name, "name": "f", "input": {}}}],
        },
        {"role": "user", "content": [{"toolResult": result}]},
    ]


def _interactions_call(number: int) -> list[dict[str, Any]]:
    name = f"c{number}"
    return [
        {"type": "function_call", "id": name, "name": "f", "arguments": {}},
        {"type": "function_result", "call_id": name, "name": "f", "result": "r" * 300},
    ]


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


def _gemini_turn(role: str, text: str) -> dict[str, Any]:
    return {"role": "model" if role == "assistant" else role, "parts": [{"text": text}]}


def _converse_turn(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"text": text}]}


def _step(role: str, text: str) -> dict[str, Any]:
    kind = "model_output" if role == "assistant" else "user_input"
    return {"type": kind, "content": [{"type": "text", "text": text}]}


def _functions(tools: Tools) -> dict[str, Any]:
    wire = [{"name": name, "parameters": schema} for name, schema in tools]
    return {"tools": [{"type": "function", "function": each} for each in wire]}


def _flat_functions(tools: Tools) -> dict[str, Any]:
    return {"tools": [{"type": "function", "name": n, "parameters": each} for n, each in tools]}


def _anthropic_tools(tools: Tools) -> dict[str, Any]:
    return {"tools": [{"name": name, "input_schema": schema} for name, schema in tools]}


def _declarations(tools: Tools) -> dict[str, Any]:
    wire = [{"name": name, "parameters": schema} for name, schema in tools]
    return {"tools": [{"functionDeclarations": wire}]}


def _specifications(tools: Tools) -> dict[str, Any]:
    wire = [{"name": name, "inputSchema": {"json": schema}} for name, schema in tools]
    return {"toolConfig": {"tools": [{"toolSpec": each} for each in wire]}}


_GEMINI, _CONVERSE = "/v1beta/models/{}:generateContent", "/model/{}/converse"
_CLIENTS = {
    "chat": _Client(CHAT, "messages", _message, _chat_call, _functions),
    "anthropic": _Client(ANTHROPIC, "messages", _message, _anthropic_call, _anthropic_tools),
    "responses": _Client("/v1/responses", "input", _message, _responses_call, _flat_functions),
    "gemini": _Client(_GEMINI, "contents", _gemini_turn, _gemini_call, _declarations),
    "ollama": _Client("/api/chat", "messages", _message, _ollama_call, _functions),
    "converse": _Client(_CONVERSE, "messages", _converse_turn, _converse_call, _specifications),
    "interactions": _Client(
        "/v1beta/interactions", "input", _step, _interactions_call, _flat_functions
    ),
}


def post(path: str, body: bytes) -> bytes:
    """A request whose connection ends with its answer."""
    kinds = "accept: application/json, text/event-stream\r\ncontent-type: application/json"
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{kinds}"
    return f"{head}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def asking(path: str, body: dict[str, Any], model: str = "up/good") -> bytes:
    """The same for a generation."""
    if "{}" not in path:
        body = {"model": model, "max_tokens": 9, **body}
    return post(path.format(model), json.dumps(body).encode())


def messages(count: int, size: int) -> list[dict[str, Any]]:
    """A conversation in which each turn is one text."""
    return [_message("assistant" if n % 2 else "user", f"{n} " + "x" * size) for n in range(count)]


def _tools(count: int) -> Tools:
    schema: dict[str, Any] = {"type": "object", "properties": {}, "description": "d" * 60}
    return [(f"f{n}", schema) for n in range(count)]


def _bodies(client: _Client) -> dict[str, Callable[[], dict[str, Any]]]:
    """What a client may say, by what is odd in it."""

    def said(count: int, size: int) -> dict[str, Any]:
        turns = messages(count, size)
        return {client.said: [client.turn(each["role"], each["content"]) for each in turns]}

    def called(count: int, *, results: bool = True) -> dict[str, Any]:
        turns = [client.turn("user", "x")]
        for number in range(count):
            turns += client.call(number)[: 2 if results else 1]
        return {client.said: turns}

    return {
        "one long text": lambda: said(1, BODY_BYTES),
        "many messages": lambda: said(9_900, 1_400),
        "too many messages": lambda: said(120_000, 90),
        "many tools": lambda: {**said(1, 9), **client.tools(_tools(15_000))},
        "too many tools": lambda: {**said(1, 9), **client.tools(_tools(40_000))},
        "many calls": lambda: called(4_900),
        "calls without results": lambda: called(6_600, results=False),
    }


# How 15 MB of JSON end that are none.
_BROKEN = {
    "JSON that breaks off": b"",
    "JSON with more behind it": b'"}]}]',
    "JSON that is not UTF-8": b'\xff"}]}',
}


def _texts(client: _Client) -> dict[str, Callable[[], bytes]]:
    """Bodies of which a text is odd."""
    text = "here"
    made = {client.said: [client.turn("user", text)]}
    if "{}" not in client.path:
        made = {"model": "MODEL", "max_tokens": 9, **made}
    start, _, end = (each.encode() for each in json.dumps(made).partition(text))
    long = b"x" * BODY_BYTES
    wide = b"x" * (BODY_BYTES // 4) + b"\xf0\x9f\x98\x80"
    return {
        "a wide text": lambda: start + wide + end,
        "half surrogates": lambda: start + b"\\ud83d" * (BODY_BYTES // 6) + end,
        "a half surrogate": lambda: start + long + b"\\ud83d" + end,
        "deep nesting": lambda: (
            start + b'","a":' + b"[" * 100_000 + b"]" * 100_000 + b',"b":"' + end
        ),
        **{name: lambda how=how: start + long + how for name, how in _BROKEN.items()},
    }


def _wire_doors() -> Iterator[tuple[str, Callable[[], Sent]]]:
    """What clients of each wire say, passed and translated."""
    for name, client in _CLIENTS.items():
        other = "anthropic" if name == "chat" else "chat"
        for kind, provider in (("passed", name), ("translated", other)):
            model = f"{provider}/{provider}"
            for what, make in _bodies(client).items():
                yield (
                    f"{name}, {what}, {kind}",
                    lambda make=make, client=client, model=model: (
                        asking(client.path, make(), model),
                        b"",
                    ),
                )
            for what, made in _texts(client).items():
                yield (
                    f"{name}, {what}, {kind}",
                    lambda made=made, client=client, model=model: (
                        post(
                            client.path.format(model), made().replace(b"MODEL", model.encode(), 1)
                        ),
                        b"",
                    ),
                )


def _byte_doors() -> Iterator[tuple[str, Callable[[], Sent]]]:
    """What is no body of a wire."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
    yield "endless headers", lambda: (head, b"x: y\r\n" * 9999)
    yield "one endless header", lambda: (head + b"x: ", b"a" * 65536)
    chunked = head + b"transfer-encoding: chunked\r\n\r\n"
    yield "endless trailers", lambda: (chunked + b"0\r\n", b"x: y\r\n" * 9999)
    yield "an endless body in chunks", lambda: (chunked, chunk(b"a" * 65536))
    yield "chunks of one byte", lambda: (chunked, b"1\r\na\r\n" * 9999)
    bomb = head + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(BOMB)
    yield "a compressed bomb", lambda: (bomb + BOMB, b"")
    many = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    yield "requests sent ahead", lambda: (many, many * 999)
    text = b'{"model":"up/good","messages":[{"role":"user","content":"%b'
    for path in ("/v1/embeddings", "/v1/messages/count_tokens"):
        for name, end in _BROKEN.items():
            body = text % (b"x" * BODY_BYTES) + end
            yield f"{name} at {path}", lambda path=path, body=body: (post(path, body), b"")


# Bodies of 15 MB whose values take many times their room once they are read.
SMALL_VALUES = {
    "lists": b"[],",
    "objects": b"{},",
    "spaced objects": b'{ "a":1},',
    "numbers": b"100001,",
    "texts": b'"ab",',
}


def _value_doors() -> Iterator[tuple[str, Callable[[], Sent]]]:
    """Fields full of small values, at each door that reads JSON."""
    said = b'{"model":"up/good","messages":[%b]}'
    places = {
        "passed": (CHAT, said),
        "translated": (ANTHROPIC, b'{"model":"up/good","max_tokens":9,"messages":[%b]}'),
        "counted": ("/v1/messages/count_tokens", said),
        "responses": ("/v1/responses", b'{"model":"up/good","input":[%b]}'),
        "in metadata": ("/v1/responses", b'{"model":"up/good","input":"x","metadata":[%b]}'),
        "kept": ("/v1/responses", b'{"model":"up/good","input":[{"role":"user","content":%b}]}'),
        "instructions": ("/v1/responses", b'{"model":"up/good","input":"x","instructions":%b}'),
        "compacting": (
            "/v1/responses/compact",
            b'{"model":"up/good","input":[{"role":"user","content":%b}]}',
        ),
        "said in a conversation": (
            "/v1/conversations",
            b'{"items":[{"type":"message","role":"user","content":%b}]}',
        ),
        "compacted": ("/v1/responses/compact", b'{"model":"up/good","input":[%b]}'),
        "a conversation": ("/v1/conversations", b'{"items":[%b]}'),
        "embedded": ("/v1/embeddings", b'{"model":"up/good","input":[%b]}'),
        "ranked": ("/v1/rerank", b'{"model":"up/good","query":"x","documents":[%b]}'),
        "MCP": ("/mcp", b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"a":[%b]}}'),
        "Gemini's": ("/v1beta/models/up/good:generateContent", b'{"contents":[%b]}'),
        "Ollama's": ("/api/chat", said),
        "prompted": ("/api/generate", b'{"model":"up/good","prompt":%b}'),
        "Converse": ("/model/up/good/converse", b'{"messages":[%b]}'),
        "Converse's system": (
            "/model/up/good/converse",
            b'{"messages":[{"role":"user","content":[{"text":"x"}]}],"system":[{"text":%b}]}',
        ),
        "invoked": (
            "/model/up/good/invoke",
            b'{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,'
            b'"messages":[{"role":"user","content":%b}]}',
        ),
        "deployed": (
            "/openai/deployments/up/good/chat/completions",
            b'{"messages":[{"role":"user","content":%b}]}',
        ),
        "interactions": ("/v1beta/interactions", b'{"model":"up/good","input":[%b]}'),
        "an interaction": ("/v1beta/interactions", b'{"model":"up/good","input":%b}'),
    }
    for place, (path, body) in places.items():
        text = b'"%b"' % (b"x" * BODY_BYTES)
        yield (
            f"one long text, {place}",
            lambda path=path, data=body % text: (post(path, data), b""),
        )
        if b"[%b]" not in body:
            continue
        for name, value in SMALL_VALUES.items():
            inner = (value * (BODY_BYTES // len(value))).rstrip(b",")
            yield f"{name}, {place}", lambda path=path, data=body % inner: (post(path, data), b"")


def client_doors() -> Iterator[tuple[str, Callable[[], Sent]]]:
    """All of them, by their names."""
    yield from _wire_doors()
    yield from _byte_doors()
    yield from _value_doors()
