"""Short ways to write answers and streams."""

from __future__ import annotations

import json
from typing import Any

from polycall.dialects import gemini
from polycall.fold import fold
from polycall.ir import (
    JSON,
    Event,
    Response,
)
from tests.support import decode

OWN: dict[str, JSON] = {"gemini": {}}
USAGE: JSON = {
    "promptTokenCount": 80,
    "candidatesTokenCount": 24,
    "thoughtsTokenCount": 16,
    "toolUsePromptTokenCount": 5,
    "totalTokenCount": 125,
    "cachedContentTokenCount": 64,
}


def chunk(*parts: JSON, reason: Any = None, **top: Any) -> JSON:
    candidate: JSON = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if reason is not None:
        candidate["finishReason"] = reason
    return {"candidates": [candidate], "modelVersion": "gemini-3", "responseId": "r-1", **top}


def sse(*chunks: JSON) -> bytes:
    return b"".join(b"data: " + json.dumps(item).encode() + b"\r\n\r\n" for item in chunks)


def streamed(*chunks: JSON) -> Response:
    return fold(decode(gemini.StreamDecoder(), [sse(*chunks)]))


def call_part(name: str, args: JSON | None = None, **beside: Any) -> JSON:
    wire: JSON = {"name": name} if args is None else {"name": name, "args": args}
    return {"functionCall": wire, **beside}


def encoded(events: list[Event], **options: Any) -> list[JSON]:
    encoder = gemini.StreamEncoder(**options)
    raw = b"".join(encoder.feed(event) for event in events) + encoder.close()
    frames = raw.split(b"\r\n\r\n")
    assert frames.pop() == b""
    assert all(frame.startswith(b"data: ") for frame in frames)
    return [json.loads(frame[6:]) for frame in frames]
