"""Small pieces of the wire, and a client of it: the official SDK over loopback."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import openai

from polycall._support import jsontext
from polycall.dialects.openai_responses import StreamDecoder, StreamEncoder
from polycall.fold import fold, unfold
from polycall.ir import Event, Request, Response
from tests.sdk import canned
from tests.support import decode

USAGE = {
    "input_tokens": 80,
    "input_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 8},
    "output_tokens": 40,
    "output_tokens_details": {"reasoning_tokens": 16},
    "total_tokens": 120,
}


def body(*output: Any, status: str = "completed", **fields: Any) -> dict[str, Any]:
    """A small whole response."""
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1790000000,
        "model": "m",
        "status": status,
        "output": list(output),
        "usage": USAGE,
        **fields,
    }


def message(text: str, *, item_id: str = "msg_1", **fields: Any) -> dict[str, Any]:
    """A message item of the model."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "id": item_id,
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
        **fields,
    }


def call(arguments: str, *, call_id: str = "call_1", name: str = "f", **fields: Any) -> Any:
    """A function call item."""
    return {
        "type": "function_call",
        "id": "fc_" + call_id,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": "completed",
        **fields,
    }


def event(kind: str, **fields: Any) -> dict[str, Any]:
    """One event of a stream, `response.` in front."""
    return {"type": f"response.{kind}", **fields}


def added(item: Any, index: int = 0) -> dict[str, Any]:
    return event("output_item.added", output_index=index, item=item)


def done(item: Any, index: int = 0) -> dict[str, Any]:
    return event("output_item.done", output_index=index, item=item)


def created() -> dict[str, Any]:
    return event("created", response={**body(status="in_progress"), "usage": None})


def completed(*output: Any, **fields: Any) -> dict[str, Any]:
    return event("completed", response=body(*output, **fields))


def sse(events: Iterable[dict[str, Any]], *, named: bool = True) -> bytes:
    """The events as bytes, with or without `event:` lines."""
    blocks: list[bytes] = []
    for each in events:
        head = f"event: {each['type']}\n".encode() if named and "type" in each else b""
        blocks.append(head + b"data: " + jsontext.encode_bytes(each) + b"\n\n")
    return b"".join(blocks)


def read(*events: dict[str, Any]) -> Response:
    """What a stream of these events tells."""
    return fold(decode(StreamDecoder(), [sse(events)]))


def written(response: Response, request: Request | None = None) -> bytes:
    """The response as a stream."""
    return encoded(unfold(response), request)


def encoded(events: Iterable[Event], request: Request | None = None) -> bytes:
    encoder = StreamEncoder(request)
    return b"".join([*(encoder.feed(each) for each in events), encoder.close()])


def payloads(data: bytes) -> list[dict[str, Any]]:
    """The JSON of every event, whose name must be its type."""
    found: list[dict[str, Any]] = []
    for block in data.decode().split("\n\n")[:-1]:
        head, _, text = block.partition("\n")
        payload = jsontext.decode(text.removeprefix("data: "))
        assert head == f"event: {payload['type']}"
        found.append(payload)
    return found


@contextmanager
def sdk(data: bytes, *, status: int = 200, is_stream: bool = True) -> Iterator[openai.OpenAI]:
    """The official SDK in front of a server that answers with these bytes."""
    content_type = "text/event-stream" if is_stream else "application/json"
    with (
        canned(status, content_type, data) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client,
    ):
        yield client
