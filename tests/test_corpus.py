"""Thousands of recorded answers and requests of real providers, held against the laws."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from polycall._support import jsontext
from polycall.errors import PolycallError, UpstreamError
from polycall.fold import fold
from polycall.ir import Metadata, Part, Reasoning, Request, Response, ToolCall, ToolResult
from polycall.providers.dialects import DIALECTS
from polycall.translation.wire import Dialect, WireRequest
from tests import readers
from tests.support import corpus, cut, decode

NAMES = list(DIALECTS)

BODY_READERS: dict[str, Callable[[dict[str, Any]], readers.Found]] = {
    "openai-chat": readers.chat_body,
    "openai-responses": readers.responses_body,
    "anthropic": readers.anthropic_body,
    "gemini": readers.gemini_body,
    "bedrock-converse": readers.converse_body,
    "gemini-interactions": readers.interactions_body,
    "ollama-chat": readers.ollama_body,
}
STREAM_READERS: dict[str, Callable[[str], readers.Found]] = {
    "openai-chat": readers.chat_stream,
    "openai-responses": readers.responses_stream,
    "anthropic": readers.anthropic_stream,
    "gemini": readers.gemini_stream,
    "bedrock-converse": readers.converse_stream,
    "gemini-interactions": readers.interactions_stream,
    "ollama-chat": readers.ollama_stream,
}
# The least of bodies, streams and requests that the recordings of a dialect hold.
LEAST: dict[str, tuple[int, int, int]] = {
    "bedrock-converse": (160, 4, 160),
    "gemini-interactions": (14, 11, 16),
    "ollama-chat": (15, 20, 35),
}
_LEAST = (500, 100, 500)
# Their paths hold the model.
IN_PATH = ("gemini", "bedrock-converse")


# Recordings that do not parse, each with the reason.
EXCEPTIONS: dict[str, str] = {
    "or-56202b9ffed1": "a Chat Completions body under the name of Responses",
    "or-ae29eca65e14": "a Chat Completions stream under the name of Responses",
    "or-9aad13fbd192": "hand-made: an event that is not JSON",
    "am-93d98b73da58": "a text completion of Claude 2, not Messages",
    "am-e3b45aa51c81": "two streams in one file",
    "am-566bea865ad5": "the recorder changed a call's id and not its result's",
    "am-bb1ca52be19e": "the recorder changed a call's id and not its result's",
    "oc-d79ad31a2faa": "an echo server's description of the request",
    "oc-43eb817fb91d": "an echo server's description of the request",
    "ge-5b98749e8eff": "an answer of countTokens",
    "ge-26f1ac689602": "hand-made: not an answer at all",
    "ge-064f059e6ad6": "hand-made: a stream cut off before its finishReason",
    "ge-a3bf16393b2f": "hand-made: a stream cut off before its finishReason",
    "ge-cd4435775be3": "hand-made: a stream cut off before its finishReason",
}


# Recordings whose recorder rewrote the whole arguments and not their fragments.
REWRITTEN = {
    "or-99b533baec03",
    "or-00552033ad52",
    "or-b97b3f5c1e71",
    "or-cfc3c0b11001",
    "or-4c88435b8e29",
    "or-ad93e61a4063",
    "or-9dad825d50f9",
    "or-fe6119d684b6",
    "or-cfa52fba38b2",
    "or-fa08ce52eefd",
}


def dialect_of(name: str) -> Dialect:
    return DIALECTS[name]  # pyright: ignore[reportArgumentType]


def answers(name: str, *, streamed: bool) -> list[dict[str, Any]]:
    """The recorded answers with status 200 that the providers meant as such."""
    field = "response_sse" if streamed else "response"
    return [
        record
        for record in corpus(name)
        if record[field] is not None
        and record["status"] == 200
        and record["id"] not in EXCEPTIONS
        and not _is_error(record[field])
    ]


def _is_error(answer: Any) -> bool:
    """Whether the provider itself says that this is an error, behind a status of 200."""
    if isinstance(answer, str):
        return any(
            payload.get("error")
            or payload.get("type") in ("error", "response.failed")
            or (payload.get("response") or {}).get("status") == "failed"
            for payload in _lenient_payloads(answer)
        )
    if isinstance(answer, list):
        return any(_is_error(element) for element in answer)
    return bool(answer.get("error")) or answer.get("status") == "failed"


def _lenient_payloads(text: str) -> list[dict[str, Any]]:
    try:
        return readers.payloads(text)
    except ValueError:
        return []


def seen(response: Response) -> list[tuple[str, str, Any]]:
    """The calls of a response, as the independent readers tell them."""
    return [
        (call.id, call.name, call.arguments) for call in response.tool_calls if not _custom(call)
    ]


def _custom(call: Any) -> bool:
    return call.kind == "custom"


def assert_same_calls(response: Response, expected: readers.Found, record: str) -> None:
    """Names, arguments and order are equal; ids too, where the wire has them."""
    found = seen(response)
    assert [(name, value) for _, name, value in found] == [
        (name, value) for _, name, value in expected
    ], record
    for (own, _, _), (wire, _, _) in zip(found, expected, strict=True):
        assert own == wire or not wire, record
    assert len({own for own, _, _ in found}) == len(found) or len(
        {wire for wire, _, _ in expected}
    ) < len(expected), record


def as_stream(name: str, record: dict[str, Any]) -> bytes:
    return record["response_sse"].encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_body_parses_with_its_calls(
    name: str, corpus_table: Callable[[str, Counter[str]], None]
) -> None:
    counts: Counter[str] = Counter()
    for record in answers(name, streamed=False):
        body = record["response"]
        if isinstance(body, list):
            continue  # a stream without server-sent events; see below
        response = dialect_of(name).parse_response(body)
        assert_same_calls(response, BODY_READERS[name](body), record["id"])
        counts["bodies"] += 1
        counts["calls"] += len(response.tool_calls)
    assert counts["bodies"] >= LEAST.get(name, _LEAST)[0]
    corpus_table(name, counts)


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_stream_parses_with_its_calls_however_it_is_cut(
    name: str, corpus_table: Callable[[str, Counter[str]], None]
) -> None:
    counts: Counter[str] = Counter()
    for record in answers(name, streamed=True):
        data = as_stream(name, record)
        dialect = dialect_of(name)
        events = decode(dialect.StreamDecoder(), [data])
        response = fold(events)
        if "partial_args_stream" not in record["features"]:
            expected = STREAM_READERS[name](record["response_sse"])
            assert_same_calls(response, expected, record["id"])
        for seed in (1, 2):
            assert decode(dialect.StreamDecoder(), cut(data, seed=seed)) == events, record["id"]
        counts["streams"] += 1
        counts["events"] += len(events)
        counts["calls"] += len(response.tool_calls)
    assert counts["streams"] >= LEAST.get(name, _LEAST)[1]
    corpus_table(name, counts)


def test_gemini_streams_without_server_sent_events() -> None:
    count = 0
    for record in answers("gemini", streamed=False):
        body = record["response"]
        if isinstance(body, list):
            data = json.dumps(body, ensure_ascii=False).encode()
            events = decode(dialect_of("gemini").StreamDecoder(), [data])
            assert fold(events).message.parts or fold(events).raw_finish_reason
            assert decode(dialect_of("gemini").StreamDecoder(), cut(data, seed=3)) == events
            count += 1
    assert count > 5


def test_a_stream_folds_to_the_body_it_ends_with() -> None:
    """Responses repeats the whole answer in its last event: both ways give one response."""
    dialect, count = dialect_of("openai-responses"), 0
    for record in answers("openai-responses", streamed=True):
        last = readers.payloads(record["response_sse"])[-1]
        if last.get("type") not in ("response.completed", "response.incomplete"):
            continue
        items = [
            payload["item"]
            for payload in readers.payloads(record["response_sse"])
            if payload.get("type") == "response.output_item.done"
        ]
        if last["response"].get("output") != items or record["id"] in REWRITTEN:
            continue  # the recorder or the server changed one of the two
        streamed = fold(decode(dialect.StreamDecoder(), [as_stream("openai-responses", record)]))
        assert streamed == dialect.parse_response(last["response"]), record["id"]
        count += 1
    assert count > 150


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_body_survives_its_own_dialect(name: str) -> None:
    """Rendered whole and as a stream, and read again, the answer is the same."""
    dialect = dialect_of(name)
    for record in answers(name, streamed=False):
        if isinstance(record["response"], list):
            continue
        response = dialect.parse_response(record["response"])
        again = dialect.parse_response(_over_the_wire(dialect.render_response(response)))
        assert _plain_answer(again) == _plain_answer(response), record["id"]


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_request_survives_its_own_dialect(
    name: str, corpus_table: Callable[[str, Counter[str]], None]
) -> None:
    dialect, counts = dialect_of(name), Counter[str]()
    for record in corpus(name):
        body = record["request"]
        if body is None or record["status"] != 200 or record["id"] in EXCEPTIONS:
            continue
        path = record["url_path"] if name in IN_PATH else ""
        request = dialect.parse_request(body, path=path)
        wire = dialect.render_request(request)
        again = dialect.parse_request(_over_the_wire(wire.body), path=wire.path)
        assert _plain_request(again, wire) == _plain_request(request, wire), record["id"]
        counts["requests"] += 1
    assert counts["requests"] >= LEAST.get(name, _LEAST)[2]
    corpus_table(name, counts)


def _plain_answer(response: Response) -> Response:
    """The answer without what a rendering may normalise.

    Words for the finish that are not the dialect's own become its nearest; an id that the wire
    left out is made; arguments without content are `{}`; DeepSeek's and others' spelling of the
    reasoning field becomes the common one; a legacy function call becomes a tool call.
    """
    return replace(
        response,
        id="",
        raw_finish_reason="",
        created=0,
        metadata=_plain_metadata(response.metadata),
        usage=replace(response.usage, metadata={}),
        message=replace(
            response.message, parts=[_plain_part(part) for part in response.message.parts]
        ),
    )


def _plain_metadata(metadata: Metadata) -> Metadata:
    """Without a latency that another vendor's answer lacks, and Bedrock's clients demand."""
    own = dict(metadata.get("bedrock-converse", {}))
    if own.get("metrics") == {"latencyMs": 0}:
        del own["metrics"]
    rest = {name: each for name, each in metadata.items() if name != "bedrock-converse"}
    return {**rest, "bedrock-converse": own} if own else rest


def _plain_part(part: Part) -> Part:
    if isinstance(part, ToolCall):
        known = {k: v for k, v in part.metadata.items() if v != {"legacy": True}}
        made = part.id.startswith("call_") and len(part.id) == 17
        return replace(
            part,
            id="" if made else part.id,
            arguments_json=part.arguments_json if part.arguments else "{}",
            metadata=known,
        )
    if isinstance(part, Reasoning) and "field" in part.metadata.get("openai-chat", {}):
        return replace(part, metadata={})
    return part


def _plain_request(request: Request, wire: WireRequest) -> Request:
    """The request without what a rendering may normalise.

    Schemas that a strict mode would refuse are completed (and say so); a call id that occurs
    twice is numbered, in the call and its result alike; arguments without content are `{}`.
    """
    strict = any(w.kind == "adjusted" and "strict" in w.detail for w in wire.warnings)
    return replace(
        request,
        tools=[
            replace(tool, parameters=None, strict=None) if strict else tool
            for tool in request.tools
        ],
        messages=[
            replace(message, parts=[_unnumbered(_plain_part(part)) for part in message.parts])
            for message in request.messages
        ],
    )


def _unnumbered(part: Part) -> Part:
    if isinstance(part, ToolCall):
        return replace(part, id=re.sub(r"_\d$", "", part.id))
    if isinstance(part, ToolResult):
        return replace(part, call_id=re.sub(r"_\d$", "", part.call_id))
    return part


def _over_the_wire(body: dict[str, Any]) -> dict[str, Any]:
    return jsontext.decode(jsontext.encode(body))


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_error_is_typed(
    name: str, corpus_table: Callable[[str, Counter[str]], None]
) -> None:
    counts: Counter[str] = Counter()
    for record in corpus(name):
        if record["status"] is None or record["status"] < 400:
            continue
        error = dialect_of(name).parse_error(record["status"], record["response"])
        assert isinstance(error, UpstreamError), record["id"]
        assert error.status == record["status"]
        assert error.message, record["id"]
        counts["errors"] += 1
    corpus_table(name, counts)


@pytest.mark.parametrize("name", NAMES)
def test_an_error_behind_a_status_of_200_is_an_error(name: str) -> None:
    dialect = dialect_of(name)
    for record in corpus(name):
        if record["status"] != 200 or record["id"] in EXCEPTIONS:
            continue
        if isinstance(record["response"], dict) and _is_error(record["response"]):
            with pytest.raises(PolycallError):
                dialect.parse_response(record["response"])
        elif record["response_sse"] is not None and _is_error(record["response_sse"]):
            with pytest.raises(PolycallError):
                decode(dialect.StreamDecoder(), [as_stream(name, record)])


@pytest.mark.parametrize("name", NAMES)
def test_every_request_reaches_every_other_dialect(name: str) -> None:
    """With losses allowed, rendering refuses only what the target cannot be asked at all."""
    for other, target in DIALECTS.items():
        for record in corpus(name)[::7]:
            if record["request"] is None or record["status"] != 200 or record["id"] in EXCEPTIONS:
                continue
            path = record["url_path"] if name in IN_PATH else ""
            request = dialect_of(name).parse_request({**record["request"]}, path=path)
            wire = target.render_request(replace(request, lossy=True))
            assert wire.body, (record["id"], other)
            jsontext.encode(wire.body)


def test_no_more_than_twenty_exceptions() -> None:
    assert len(EXCEPTIONS) <= 20
    assert all(EXCEPTIONS.values())
