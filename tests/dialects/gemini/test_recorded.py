"""Laws over recorded traffic, with readers of the wire that share nothing with the dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from polycall.dialects import gemini
from polycall.dialects.gemini.key_case import camel_key
from polycall.errors import ProtocolError, TruncatedError, UpstreamError
from polycall.fold import fold
from tests.support import corpus, cut, decode

_FREE = {
    "args",
    "labels",
    "parameters",
    "parametersJsonSchema",
    "response",
    "responseJsonSchema",
    "responseSchema",
}


def whole_bodies() -> list[dict[str, Any]]:
    return [
        record
        for record in corpus("gemini")
        if record["status"] == 200
        and isinstance(record["response"], dict)
        and {"candidates", "promptFeedback", "usageMetadata"} & record["response"].keys()
    ]


def streams() -> list[tuple[str, bytes]]:
    return [
        (record["id"], (record["response_sse"] or json.dumps(record["response"])).encode())
        for record in corpus("gemini")
        if record["status"] == 200
        and (record["response_sse"] or isinstance(record["response"], list))
    ]


def requests() -> list[dict[str, Any]]:
    return [
        record
        for record in corpus("gemini")
        if isinstance(record["request"], dict) and "enerateContent" in record["url_path"]
    ]


def chunks_of(raw: bytes) -> list[dict[str, Any]]:
    """The payloads of a stream, read line by line as Google's SDK does."""
    text = raw.decode()
    if text.lstrip().startswith("["):
        return json.loads(text)
    lines = text.replace("\r\n", "\n").split("\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


def calls_of(chunks: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    """Names and arguments of whole calls."""
    return [
        (part["functionCall"]["name"], part["functionCall"].get("args") or {})
        for chunk in chunks
        for candidate in (chunk.get("candidates") or [])[:1]
        for part in (candidate.get("content") or {}).get("parts") or []
        if "functionCall" in part
    ]


def test_every_body_parses_and_has_the_calls_an_independent_reader_sees() -> None:
    for record in whole_bodies():
        response = gemini.parse_response(record["response"])
        found = [(call.name, call.arguments) for call in response.tool_calls]
        assert found == calls_of([record["response"]]), record["id"]
        usage = record["response"].get("usageMetadata") or {}
        prompt = (usage.get("promptTokenCount") or 0) + (usage.get("toolUsePromptTokenCount") or 0)
        assert response.usage.input_tokens == prompt, record["id"]


def test_a_rendered_response_parses_to_the_same() -> None:
    for record in whole_bodies():
        response = gemini.parse_response(record["response"])
        if not response.raw_finish_reason:
            continue  # a body that does not say why it stopped gets STOP
        assert gemini.parse_response(gemini.render_response(response)) == response, record["id"]


def test_a_body_streamed_in_one_chunk_is_the_same_answer() -> None:
    for record in whole_bodies():
        frame = b"data: " + json.dumps(record["response"]).encode() + b"\r\n\r\n"
        decoder = gemini.StreamDecoder()
        events = decoder.feed(frame)
        try:
            events += decoder.close()
        except TruncatedError:
            assert "finishReason" not in json.dumps(record["response"]), record["id"]
            continue
        assert fold(events) == gemini.parse_response(record["response"]), record["id"]


def test_streams_decode_alike_however_they_are_cut() -> None:
    for name, raw in streams():
        try:
            events = decode(gemini.StreamDecoder(), [raw])
        except TruncatedError:
            assert b"finishReason" not in raw, name
            continue
        response = fold(events)
        chunks = chunks_of(raw)
        if "partialArgs" not in raw.decode() and "willContinue" not in raw.decode():
            found = [(call.name, call.arguments) for call in response.tool_calls]
            assert found == calls_of(chunks), name
        for seed in range(3):
            assert decode(gemini.StreamDecoder(), cut(raw, seed=seed)) == events, (name, seed)


def test_a_stream_says_the_same_as_its_chunks_put_together() -> None:
    for name, raw in streams():
        chunks = chunks_of(raw)
        if "partialArgs" in raw.decode() or b"finishReason" not in raw:
            continue
        parts = [
            part
            for chunk in chunks
            for candidate in chunk.get("candidates") or []
            for part in (candidate.get("content") or {}).get("parts") or []
        ]
        first = {key: value for key, value in chunks[0].items() if key != "usageMetadata"}
        body = {**first, "candidates": [{"content": {"parts": parts}}]}
        whole = gemini.parse_response(body).message
        assert fold(decode(gemini.StreamDecoder(), [raw])).message == whole, name


def test_every_encoded_stream_decodes_to_the_same_message() -> None:
    for name, raw in streams():
        try:
            events = decode(gemini.StreamDecoder(), [raw])
        except TruncatedError:
            continue
        for framing in ("sse", "json-array"):
            encoder = gemini.StreamEncoder(framing=framing)
            wire = b"".join(encoder.feed(event) for event in events) + encoder.close()
            again = fold(decode(gemini.StreamDecoder(), [wire]))
            told, retold = fold(events), again
            broken = any(call.arguments is None for call in told.tool_calls)
            if not broken:
                assert retold.message == told.message, name
                assert retold.finish_reason == told.finish_reason, name


def test_errors_are_of_a_kind() -> None:
    for record in corpus("gemini"):
        if record["status"] != 200 and record["response"]:
            error = gemini.parse_error(record["status"], record["response"])
            assert isinstance(error, UpstreamError)
            assert error.status == record["status"]
            assert gemini.render_error(error) == (record["status"], record["response"])


def test_requests_parse_to_the_same_after_rendering() -> None:
    for record in requests():
        request = gemini.parse_request(record["request"], path=record["url_path"])
        wire = gemini.render_request(request)
        assert gemini.parse_request(wire.body, path=wire.path) == request, record["id"]
        assert wire.warnings == [], record["id"]
        assert wire.aliases == {}, record["id"]


def normal(value: Any, key: str = "") -> Any:
    """What proto-JSON reads alike: casing, null, false thoughts, empty objects, lone elements."""
    if isinstance(value, list):
        return [normal(item, key) for item in value]
    if not isinstance(value, dict):
        if key in ("mode", "thinkingLevel"):
            return str(value).upper()
        if key == "data":
            return value.replace("-", "+").replace("_", "/").rstrip("=")
        return value
    copy: dict[str, Any] = {}
    for name, item in value.items():
        camel = camel_key(name)
        if item is None or (camel == "thought" and item is False):
            continue
        new = item if camel in _FREE else normal(item, camel)
        if camel in ("parts", "contents", "tools", "functionDeclarations"):
            new = [new] if isinstance(new, dict) else new
        copy[camel] = new
    if "name" in copy and copy.get("description") == "":
        del copy["description"]
    if key == "functionCall":
        copy.setdefault("args", {})
    if copy.keys() <= {"thoughtSignature", "thought"} and "thoughtSignature" in copy:
        copy["text"] = ""
    return copy


def normal_request(body: dict[str, Any]) -> dict[str, Any]:
    """A request with its turns joined, and without what says nothing."""
    body = normal(body)
    body.pop("model", None)
    calling = body.get("toolConfig", {}).get("functionCallingConfig", {})
    config = body.get("generationConfig", {})
    for place, key in ((calling, "allowedFunctionNames"), (config, "stopSequences")):
        if place.get(key) == []:
            del place[key]
    contents: list[dict[str, Any]] = []
    for content in body.get("contents", []):
        results = [part for part in content["parts"] if "functionResponse" in part]
        last = contents[-1] if contents else {"parts": []}
        was_result = any("functionResponse" in part for part in last["parts"])
        is_same = last.get("role") == content.get("role")
        if is_same and (content.get("role") == "model" or (results and was_result)):
            last["parts"] = last["parts"] + content["parts"]
        else:
            contents.append({**content})
    for content in contents:
        content["parts"].sort(key=lambda part: "functionResponse" not in part)
    body["contents"] = contents
    return {key: value for key, value in body.items() if value not in ({}, [])}


def test_requests_come_back_as_they_were_written() -> None:
    for record in requests():
        request = gemini.parse_request(record["request"], path=record["url_path"])
        body = gemini.render_request(request).body
        assert normal_request(body) == normal_request(record["request"]), record["id"]


@pytest.mark.parametrize("body", [{}, {"totalTokens": 3}, {"candidates": 3}, {"candidates": [3]}])
def test_garbage_is_a_protocol_error_with_a_path(body: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as caught:
        gemini.parse_response(body)
    assert caught.value.path.startswith("candidates")
