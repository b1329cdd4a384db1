"""Recorded traffic and hand-made wire examples, read outside of the tree."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace

from polycall import errors
from polycall.dialects import anthropic
from polycall.dialects.anthropic import StreamDecoder, StreamEncoder
from polycall.fold import fold
from polycall.ir import JSON, Message, Response, ToolCall
from tests.support import corpus, cut, decode, wire_examples

# Values that say no more than their absence.
EMPTY: dict[str, list[Any]] = {
    "stream": [False],
    "tools": [[]],
    "system": [[], ""],
    "stop_sequences": [[]],
}
OWN_BLOCKS = {
    "text",
    "image",
    "document",
    "thinking",
    "redacted_thinking",
    "tool_use",
    "tool_result",
}
REPAIRS = {"orphan_tool_call", "orphan_tool_result", "tool_call.id", "input_schema"}


def _is_messages(body: Any) -> bool:
    # The same collection holds a few texts of the older completion protocol.
    return isinstance(body, dict) and body.get("type") == "message"


def _requests() -> list[tuple[str, JSON]]:
    return [
        (record["id"], record["request"])
        for record in corpus("anthropic")
        if record["status"] == 200
        and isinstance(record.get("request"), dict)
        and isinstance(record["request"].get("messages"), list)
    ]


def _without_nulls(value: JSON) -> JSON:
    return {key: item for key, item in value.items() if item is not None}


def _block(block: JSON) -> JSON:
    if block["type"] not in OWN_BLOCKS:
        return block
    kept = {key: item for key, item in _without_nulls(block).items() if item != []}
    if block["type"] == "tool_result" and isinstance(kept.get("content"), list):
        kept["content"] = [_block(inner) for inner in kept["content"]]
    if block["type"] == "tool_use":
        kept["input"] = block["input"]
    return kept


def _content(content: Any) -> Any:
    return [_block(block) for block in content] if isinstance(content, list) else content


def normal(body: JSON) -> JSON:
    """What a request means, without the spellings that rendering does not keep."""
    kept = {
        key: value
        for key, value in _without_nulls(body).items()
        if not (key in EMPTY and value in EMPTY[key])
    }
    kept["messages"] = [
        {**message, "content": _content(message["content"])} for message in body["messages"]
    ]
    if "system" in kept:
        kept["system"] = _content(kept["system"])
    if "tools" in kept:
        kept["tools"] = [_tool(tool) for tool in kept["tools"]]
    return kept


def _tool(tool: JSON) -> JSON:
    if tool.get("type", "custom") != "custom":
        return tool
    kept = _without_nulls(tool)
    if kept.get("description") == "":
        del kept["description"]
    return kept


def test_every_request_comes_back() -> None:
    compared = 0
    for name, body in _requests():
        before = json.dumps(body)
        request = anthropic.parse_request(body)
        wire = anthropic.render_request(request)
        assert json.dumps(body) == before, name
        features = {warning.feature for warning in wire.warnings}
        assert features <= REPAIRS, name
        if not features:
            assert wire.body == normal(body), name
            assert anthropic.parse_request(wire.body) == request, name
            compared += 1
    assert compared > 1000


def _calls(content: list[JSON]) -> list[tuple[str, str, Any]]:
    return [(b["id"], b["name"], b["input"]) for b in content if b["type"] == "tool_use"]


def test_every_answer_parses_and_comes_back() -> None:
    seen = 0
    for record in corpus("anthropic"):
        body = record.get("response")
        if record["status"] != 200 or not _is_messages(body):
            continue
        response = anthropic.parse_response(body)
        found = [(c.id, c.name, c.arguments) for c in response.tool_calls]
        assert found == _calls(body["content"]), record["id"]
        rendered = anthropic.render_response(response)
        assert rendered["content"] == _content(body["content"]), record["id"]
        assert anthropic.parse_response(rendered) == replace(
            response, raw_finish_reason=rendered["stop_reason"]
        )
        seen += 1
    assert seen > 500


def _read_stream(text: str) -> list[tuple[str, str, Any]]:
    """An independent reader of the calls of a stream; some records hold several in a row."""
    blocks: dict[int, tuple[JSON, list[str]]] = {}
    for line in text.split("\n"):
        if not line.startswith("data:"):
            continue
        event = json.loads(line[5:])
        if event["type"] == "message_stop":
            break
        if event["type"] == "content_block_start":
            blocks[event["index"]] = (event["content_block"], [])
        elif event["type"] == "content_block_delta" and "partial_json" in event["delta"]:
            blocks[event["index"]][1].append(event["delta"]["partial_json"])
    return [
        (block["id"], block["name"], json.loads("".join(texts) or json.dumps(block["input"])))
        for _, (block, texts) in sorted(blocks.items())
        if block["type"] == "tool_use"
    ]


def _compact(response: Response) -> Response:
    """With arguments as an object's compact JSON, as a body gives them."""
    parts = [
        replace(
            part,
            arguments_json=json.dumps(part.arguments, separators=(",", ":"), ensure_ascii=False),
        )
        if isinstance(part, ToolCall)
        else part
        for part in response.message.parts
    ]
    return replace(response, message=Message("assistant", parts))


def test_every_stream_parses_however_it_is_cut() -> None:
    seen = 0
    for number, record in enumerate(corpus("anthropic")):
        text = record.get("response_sse")
        if record["status"] != 200 or not text:
            continue
        data = text.encode()
        events = decode(StreamDecoder(), [data])
        assert decode(StreamDecoder(), cut(data, seed=number)) == events, record["id"]
        response = fold(events)
        found = [(c.id, c.name, c.arguments) for c in response.tool_calls]
        if response.finish_reason != "length":
            assert found == _read_stream(text), record["id"]
        encoder = StreamEncoder()
        encoded = b"".join(map(encoder.feed, events)) + encoder.close()
        assert fold(decode(StreamDecoder(), [encoded])) == response, record["id"]
        if all(call.arguments is not None for call in response.tool_calls):
            body = anthropic.render_response(response)
            assert anthropic.parse_response(body) == _compact(response), record["id"]
        seen += 1
    assert seen > 300


def test_every_error_has_its_class() -> None:
    classes = Counter(
        (record["status"], type(anthropic.parse_error(record["status"], record["response"])))
        for record in corpus("anthropic")
        if record["status"] >= 400
    )
    expected = {
        401: {errors.AuthenticationError},
        404: {errors.NotFoundError},
        429: {errors.RateLimitError},
        400: {errors.InvalidRequestError, errors.BillingError},
    }
    assert {status for status, _ in classes} <= set(expected)
    for status, kind in classes:
        assert kind in expected[status]


def _answer(body: JSON) -> JSON:
    usage = _without_nulls(body["usage"])
    return {**_without_nulls(body), "content": _content(body["content"]), "usage": usage}


def test_wire_examples() -> None:
    for name, folder in wire_examples("anthropic"):
        request = json.loads((folder / "request.json").read_text())
        wire = anthropic.render_request(anthropic.parse_request(request))
        assert (wire.body, wire.warnings) == (normal(request), []), name
        status = json.loads((folder / "meta.json").read_text())["status"]
        if (folder / "stream.sse").exists():
            decoder = StreamDecoder()
            events = decoder.feed((folder / "stream.sse").read_bytes())
            if name == "e3_stream_error":
                with pytest.raises(errors.OverloadedError):
                    decoder.close()
            else:
                assert fold([*events, *decoder.close()]).tool_calls, name
            continue
        body = json.loads((folder / "response.json").read_text())
        if status >= 400:
            error = anthropic.parse_error(status, body)
            assert anthropic.render_error(error) == (status, body), name
        else:
            rendered = anthropic.render_response(anthropic.parse_response(body))
            assert _answer(rendered) == _answer(body), name
