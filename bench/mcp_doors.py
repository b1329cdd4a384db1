"""MCP servers for `bench.side_doors` whose answers come to their end, and are large."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

ROUNDS = 3  # a list is read once: each round has a server of its own
JSON = dict[str, Any]
Answer = bytes | Callable[[bytes], bytes]
_SIZES = {"usual": 3_900_000, "long": 7_900_000}
_JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_EVENT = _JSON.replace(b"application/json", b"text/event-stream")
_TAKEN = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"
_NO_STREAM = b"HTTP/1.1 405 No\r\ncontent-length: 0\r\n\r\n"
_TOOL: dict[str, Any] = {"name": "t", "inputSchema": {"type": "object"}}
_KNOWN: dict[str, Any] = {
    "initialize": {
        "protocolVersion": "2025-06-18",
        "capabilities": {"tools": {}, "resources": {}, "prompts": {}},
        "serverInfo": {"name": "x", "version": "1"},
    },
    "tools/list": {"tools": [_TOOL]},
    "resources/list": {"resources": []},
    "resources/templates/list": {"resourceTemplates": []},
    "prompts/list": {"prompts": []},
    "ping": {},
}


def _server(method: str, make: Callable[[], bytes], frame: bytes = _JSON) -> Answer:
    """One that answers this method so, and others as a small server does."""
    made = make()

    def answer(data: bytes) -> bytes:
        if not data:
            return _NO_STREAM
        body = json.loads(data)
        if "id" not in body:
            return _TAKEN
        head = b'{"jsonrpc":"2.0","id":%b,' % json.dumps(body["id"]).encode()
        known = _KNOWN.get(body["method"])
        result = made if body["method"] == method else json.dumps(known).encode()
        said = b'"result":' + result if known or body["method"] == method else _UNKNOWN
        whole = b"".join((head, said, b"}"))
        if frame is not _JSON:
            whole = b"data: %b\n\n" % whole
        return frame % (len(whole), whole)

    return answer


_UNKNOWN = b'"error":{"code":-32601,"message":"no such method"}'


def usual() -> Answer:
    """One that answers well."""
    return _server("tools/call", lambda: b'{"content":[{"type":"text","text":"x"}]}')


def _text(size: int) -> bytes:
    return b'{"content":[{"type":"text","text":"%b"}]}' % (b"x" * size)


def _many(part: bytes, size: int) -> bytes:
    return (part * (size // len(part))).rstrip(b",")


def _results(size: int) -> dict[str, Callable[[], bytes]]:
    inside = b'{"content":[],"structuredContent":{"a":%b}}'
    return {
        "a text": lambda: _text(size),
        "a picture": lambda: (
            b'{"content":[{"type":"image","mimeType":"image/png","data":"%b"}]}' % (b"A" * size)
        ),
        "many texts": lambda: (
            b'{"content":[%b]}' % _many(b'{"type":"text","text":"x"},', size // 5)
        ),
        "a structured text": lambda: inside % b'"%b"' % (b"x" * size),
        "a text of small values beside data": lambda: (
            b'{"content":[{"type":"text","text":"[%b1]"}],"structuredContent":{"a":1}}'
            % (b"[]," * (size // 3))
        ),
        "structured numbers": lambda: inside % b"[%b]" % _many(b"100001,", size // 5),
        "structured objects": lambda: inside % b"[%b]" % _many(b'{"a":1},', size // 20),
    }


CALL: tuple[str, JSON] = ("tools/call", {"name": "far_t", "arguments": {}})


def _calls() -> dict[str, Callable[[], Answer]]:
    """What servers answer to a call."""
    return {
        f"a {length} answer{way}: {kind}": partial(_server, "tools/call", make, frame)
        for length, size in _SIZES.items()
        for way, frame in (("", _JSON), (" in an event", _EVENT))
        for kind, make in _results(size).items()
    }


def asked() -> dict[str, tuple[str, JSON, Callable[[], Answer]]]:
    """What they answer to requests: the method, what is asked for, and the server."""
    words, part = b"word " * 780_000, b'{"uri":"a:1","text":"x"},'
    message = b'{"role":"user","content":{"type":"text","text":"%b"}}'
    read, fill = ("resources/read", {"uri": "a:1"}), ("prompts/get", {"name": "p"})
    made: dict[str, tuple[tuple[str, JSON], Callable[[], bytes]]] = {
        "many prompts": (
            ("prompts/list", {}),
            lambda: b'{"prompts":[%b]}' % b",".join(b'{"name":"p%d"}' % n for n in range(2_000)),
        ),
        "many resources": (
            ("resources/list", {}),
            lambda: (
                b'{"resources":[%b]}'
                % b",".join(b'{"name":"r","uri":"a:%d"}' % n for n in range(9_000))
            ),
        ),
        "many templates": (
            ("resources/templates/list", {}),
            lambda: (
                b'{"resourceTemplates":[%b]}'
                % b",".join(b'{"name":"r%d","uriTemplate":"a:%d"}' % (n, n) for n in range(2_000))
            ),
        ),
        "a resource of many parts": (
            read,
            lambda: b'{"contents":[%b]}' % _many(part, 2_000 * len(part)),
        ),
        "a resource of too many parts": (
            read,
            lambda: b'{"contents":[%b]}' % _many(part, 39_000 * len(part)),
        ),
        "a long resource": (
            read,
            lambda: b'{"contents":[{"uri":"a:1","text":"%b"}]}' % words,
        ),
        "a long prompt": (fill, lambda: b'{"messages":[%b]}' % (message % words)),
        "a prompt of many messages": (
            fill,
            lambda: b'{"messages":[%b]}' % b",".join([message % b"x"] * 2_000),
        ),
    }
    others = {
        kind: (*asked, partial(_server, asked[0], make)) for kind, (asked, make) in made.items()
    }
    return {**{kind: (*CALL, server) for kind, server in _calls().items()}, **others}


def lists() -> dict[str, Callable[[], Answer]]:
    """What they list."""
    tool = b'{"name":"t%x","description":"d","inputSchema":{"type":"object"}}'
    long = b'{"name":"t","description":"%b","inputSchema":{"type":"object"}}'
    made: dict[str, Callable[[], bytes]] = {
        "many tools": lambda: b",".join(tool % n for n in range(2_000)),
        "tools of usual size": lambda: b",".join(_usual(n) for n in range(1_000)),
        "too many tools": lambda: b",".join(tool % n for n in range(9_000)),
        "far too many tools": lambda: b",".join(tool % n for n in range(90_000)),
        "tools of many values": lambda: b",".join(
            long.replace(b'"t"', b'"t%d"' % n).replace(b'"object"', b'"object","enum":[%b]')
            % (b"", _many(b"[],", 30_000))
            for n in range(3)
        ),
        "a long description": lambda: long % (b"x" * 7_900_000),
        "long descriptions": lambda: b",".join(
            long.replace(b'"t"', b'"t%d"' % n) % (b"x" * 60_000) for n in range(200)
        ),
    }
    return {
        kind: partial(_server, "tools/list", lambda make=make: b'{"tools":[%b]}' % make())
        for kind, make in made.items()
    }


def _usual(number: int) -> bytes:
    about = {"type": "string", "description": "what is wanted of it " * 4}
    schema = {"type": "object", "properties": {f"p{n}": about for n in range(8)}}
    return json.dumps({**_TOOL, "name": f"t{number}", "inputSchema": schema}).encode()


def names() -> list[list[str]]:
    """Servers, one for each round, of each list."""
    return [[f"far{place}-{number}" for number in range(ROUNDS)] for place in range(len(lists()))]


def config(root: str) -> str:
    """The servers: one for calls, and those of lists."""
    made = ["far", *(name for each in names() for name in each)]
    return "".join(
        f'[mcp.{name}]\nurl = "{root}/{name.partition("-")[0]}"\nhandshake = true\n'
        'ask_for = "nothing"\n'
        for name in made
    )
