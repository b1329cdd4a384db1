"""Recorded traffic of some thirty servers, held against this dialect's laws."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from polycall.dialects.openai_chat import (
    StreamDecoder,
    parse_request,
    parse_response,
    render_request,
    render_response,
)
from polycall.errors import PolycallError, ProtocolError
from polycall.fold import fold
from polycall.ir import Part, Reasoning, Request, Response, ToolCall
from tests.dialects.openai_chat.chunks import NAME
from tests.readers import arguments
from tests.support import corpus, cut, decode

# What a rendering does not keep, in requests:
#   null; `stream: false`, `logprobs: false`, `top_logprobs: 0`; empty tools, stop, tool_calls and
#   descriptions; `index` in a call; a missing `type`; arguments "" and null are `{}`; a strict
#   schema that was not strict, with a warning.
_MEANINGLESS: dict[str, tuple[Any, ...]] = {
    "stream": (False,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "stop": ([],),
    "tools": ([],),
    "tool_calls": ([],),
    "description": ("",),
}


def normal_body(value: Any, key: str = "") -> Any:
    """A request's body without what says nothing."""
    if isinstance(value, list):
        return [normal_body(item, key) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {
        name: normal_body(inner, name)
        for name, inner in value.items()
        if (inner is not None and inner not in _MEANINGLESS.get(name, ())) or name == "content"
    }
    if key == "tool_calls":
        kept.pop("index", None)
    if key in ("tools", "tool_choice") and "function" in kept:
        kept.setdefault("type", "function")
    if "arguments" in kept and "name" in kept and arguments(kept["arguments"]) == {}:
        kept["arguments"] = "{}"
    return kept


def normal_call(part: Part) -> Part:
    """A call without arguments in one spelling."""
    if isinstance(part, ToolCall) and part.arguments == {}:
        return replace(part, arguments_json="{}")
    return part


def normal_request(request: Request) -> Request:
    """A request whose calls without arguments are in one spelling."""
    messages = [
        replace(message, parts=list(map(normal_call, message.parts)))
        for message in request.messages
    ]
    return replace(request, messages=messages)


def normal_answer(response: Response) -> Response:
    """An answer without what a rendering for OpenAI's clients changes.

    The reason in OpenAI's words, `{}` for no arguments, thinking outside the content, a total.
    """
    parts = [
        replace(part, metadata={NAME: {"field": "reasoning_content"}})
        if isinstance(part, Reasoning) and part.metadata[NAME].get("field") == "thinking"
        else part
        for part in map(normal_call, response.message.parts)
    ]
    raw = response.usage.metadata.get(NAME, {})
    usage = {key: value for key, value in raw.items() if key != "total_tokens"}
    return replace(
        response,
        message=replace(response.message, parts=parts),
        raw_finish_reason="",
        usage=replace(response.usage, metadata={NAME: usage}),
    )


def test_recorded_requests_go_out_as_they_came() -> None:
    count = 0
    for record in corpus(NAME):
        body = record["request"]
        if body is None or record["status"] != 200:
            continue
        request = parse_request(body)
        wire = render_request(request)
        if wire.warnings:
            assert {warning.feature for warning in wire.warnings} <= {"parameters", "strict"}
            continue
        assert normal_body(wire.body) == normal_body(body), record["id"]
        assert normal_request(parse_request(wire.body)) == normal_request(request), record["id"]
        count += 1
    assert count > 3_000


def test_recorded_answers_survive_their_own_dialect() -> None:
    count = 0
    for record in corpus(NAME):
        body = record["response"]
        if body is None or record["status"] != 200:
            continue
        try:
            response = parse_response(body)
        except ProtocolError:
            assert "choices" not in body, record["id"]
            continue
        again = parse_response(render_response(response))
        assert normal_answer(again) == normal_answer(response), record["id"]
        count += 1
    assert count > 2_000


def test_recorded_streams_are_the_same_however_they_are_cut() -> None:
    count = 0
    for record in corpus(NAME):
        if record["response_sse"] is None or record["status"] != 200:
            continue
        data = record["response_sse"].encode("utf-8", "surrogatepass")
        try:
            events = decode(StreamDecoder(), [data])
        except PolycallError as error:
            assert '"error"' in record["response_sse"] or "data:" not in record["response_sse"]
            assert error.message
            continue
        assert decode(StreamDecoder(), cut(data, seed=count)) == events, record["id"]
        assert fold(events).message.role == "assistant"
        count += 1
    assert count > 500
