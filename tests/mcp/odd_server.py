"""A server by hand, with what is odd and legal, and some definitions that are not: on stdio.

With `handshake` as its first word it speaks the revision before the newest.
"""

import json
import sys
from typing import Any

IS_LEGACY = "handshake" in sys.argv[1:]
ANYTHING: dict[str, Any] = {"type": "object"}
TREE = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "next": {"$ref": "#/$defs/Tree"}},
}
TREES = {
    "type": "object",
    "properties": {"tree": {"$ref": "#/$defs/Tree"}},
    "required": ["tree"],
    "$defs": {"Tree": TREE},
}
LINK = {"type": "resource_link", "uri": "memo://a", "name": "a"}
MEMO = {"type": "resource", "resource": {"uri": "memo://b", "text": "memo"}}
BLOCKS = [
    {"type": "text", "text": "hi", "annotations": {"audience": ["user"], "priority": 0.5}},
    {"type": "image", "data": "AAAA", "mimeType": "image/png"},
    {"type": "audio", "data": "AAAA", "mimeType": "audio/wav"},
    LINK,
    MEMO,
]
ICON = {"src": "https://x.example/i.png", "mimeType": "image/png", "sizes": ["48x48"]}

TOOLS: list[Any] = [
    {"name": "t" * 128, "inputSchema": ANYTHING},
    {"name": "도구", "title": "도구 제목", "inputSchema": ANYTHING},
    {"name": "Tool", "inputSchema": ANYTHING},
    {"name": "tool", "inputSchema": ANYTHING},
    {"name": "a.b/c-d", "inputSchema": ANYTHING},
    {"name": "trees", "inputSchema": TREES, "outputSchema": TREES},
    {"name": "blocks", "inputSchema": ANYTHING, "icons": [ICON]},
    {"name": "list", "inputSchema": ANYTHING, "outputSchema": {"type": "array"}},
    {"name": "no_schema"},
    {"name": "odd_hints", "inputSchema": ANYTHING, "annotations": {"readOnlyHint": "perhaps"}},
    {"name": 7, "inputSchema": ANYTHING},
    "no tool",
]
PROMPTS: list[Any] = [{"name": "p", "arguments": [{"name": "a", "title": "A"}]}, {"name": [1]}]
MESSAGES = [{"role": "user", "content": each} for each in BLOCKS]
FILLED = {"messages": MESSAGES}
RESOURCES: list[Any] = [{"uri": "urn:x", "name": "urn"}, {"uri": 5, "name": "five"}]
TEMPLATES: list[Any] = [{"uriTemplate": "memo://{a}{?b,c}", "name": "t"}, {"name": "none"}]
CAPABILITIES: dict[str, Any] = {"tools": {}, "prompts": {}, "resources": {}}


def called(params: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(params.get("arguments"))
    match params["name"]:
        case "trees":
            data: Any = {"tree": {"x": 1, "next": {"x": 2}}}
            return {"content": [], "structuredContent": data}
        case "list":
            return {"content": [], "structuredContent": [1, None, "x"]}
        case "blocks":
            return {"content": BLOCKS, "structuredContent": {"k": [1, None, 1.5]}}
        case name:
            return {"content": [{"type": "text", "text": f"{name} {text}"}]}


def answered(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    caching = {"ttlMs": 0, "cacheScope": "private"} if not IS_LEGACY else {}
    info = {"name": "odd", "version": "1"}
    match method:
        case "initialize" if IS_LEGACY:
            version = "2025-11-25"
            return {"protocolVersion": version, "capabilities": CAPABILITIES, "serverInfo": info}
        case "server/discover" if not IS_LEGACY:
            found = {"supportedVersions": ["2026-07-28"], "capabilities": CAPABILITIES}
            return {**found, "serverInfo": info, **caching}
        case "tools/list":
            return {"tools": TOOLS, **caching}
        case "prompts/list":
            return {"prompts": PROMPTS, **caching}
        case "resources/list":
            return {"resources": RESOURCES, **caching}
        case "resources/templates/list":
            return {"resourceTemplates": TEMPLATES, **caching}
        case "tools/call":
            return called(params)
        case "prompts/get":
            return FILLED
        case _:
            return None


def serve() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        result = answered(message["method"], message.get("params") or {})
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
        if result is None:
            answer["error"] = {"code": -32601, "message": "there is no such method"}
        else:
            answer["result"] = result if IS_LEGACY else {"resultType": "complete", **result}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
