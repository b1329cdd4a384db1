"""Streams out: what the official SDK makes of them, and the order it insists on."""

from __future__ import annotations

import itertools
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from polycall._support import jsontext
from polycall.dialects.openai_responses import (
    StreamDecoder,
    StreamEncoder,
    parse_response,
    render_response,
)
from polycall.dialects.openai_responses.freeform import FreeformText
from polycall.errors import OverloadedError, ProtocolError, RateLimitError, UnsupportedError
from polycall.fold import fold, unfold
from polycall.ir import (
    Media,
    Message,
    Opaque,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Refusal,
    Request,
    Response,
    ResponseEnd,
    ResponseStart,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
)
from tests.support import decode

from .test_decoder import FULL
from .test_responses import ASKED, FOREIGN
from .wire import body, encoded, message, payloads, sdk, sse, written

NAME = "openai-responses"


def answer(*parts: Any, reason: Any = "stop", raw: str = "") -> Response:
    return Response("r1", "m", Message("assistant", [*parts]), reason, raw, Usage(1, 2))


def test_the_stream_helper_of_the_sdk_accepts_a_foreign_answer() -> None:
    seen: list[str] = []
    with (
        sdk(written(FOREIGN, ASKED)) as client,
        client.responses.stream(model="m", input="x") as stream,
    ):
        seen.extend(each.type for each in stream)
        final = stream.get_final_response()
    plain = render_response(FOREIGN, ASKED)
    assert [item.id for item in final.output] == [item["id"] for item in plain["output"]]
    assert final.output_text == "ab[audio audio/wav]"
    calls = [item for item in final.output if item.type == "function_call"]
    assert [(item.call_id, item.name, item.arguments) for item in calls] == [
        ("toolu_1", "get_weather", "{}")
    ]
    assert seen[:2] == ["response.created", "response.in_progress"]
    assert seen[-1] == "response.completed"


def test_the_plain_stream_of_the_sdk_accepts_a_foreign_answer() -> None:
    with sdk(written(FOREIGN, ASKED)) as client:
        events = list(client.responses.create(model="m", input="x", stream=True))
    assert [each.sequence_number for each in events] == list(range(len(events)))
    deltas = [each.delta for each in events if each.type == "response.output_text.delta"]
    assert deltas == ["a", "b"]


def test_the_sdk_accepts_a_whole_foreign_answer() -> None:
    data = jsontext.encode_bytes(render_response(FOREIGN, ASKED))
    with sdk(data, is_stream=False) as client:
        response = client.responses.create(model="m", input="x")
    assert [type(item).__name__ for item in response.output] == [
        "ResponseReasoningItem",
        "ResponseOutputMessage",
        "ResponseFunctionToolCall",
        "ResponseCustomToolCall",
        "ImageGenerationCall",
        "ResponseOutputMessage",
        "ResponseOutputMessage",
    ]


def test_the_order_of_events() -> None:
    told = payloads(written(answer(Reasoning("hm"), Text("a"), ToolCall("c", "f", "{}"))))
    assert [each["type"].removeprefix("response.") for each in told] == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert [each["sequence_number"] for each in told] == list(range(len(told)))
    places = [each["output_index"] for each in told if "output_index" in each]
    assert places == sorted(places)
    items = [each["item"] for each in told if each["type"].endswith("item.done")]
    assert told[-1]["response"]["output"] == items


def test_a_stream_and_a_body_end_alike() -> None:
    last = payloads(written(FOREIGN, ASKED))[-1]
    assert last["response"] == render_response(FOREIGN, ASKED)


def test_own_events_come_back_as_they_were() -> None:
    events = decode(StreamDecoder(), [sse(FULL)])
    again = decode(StreamDecoder(), [encoded(events)])
    assert fold(again) == fold(events)
    last = payloads(encoded(events))[-1]
    assert last["response"] == FULL[-1]["response"]


parts = st.one_of(
    st.text(max_size=6).map(Text),
    st.text(max_size=6).map(Refusal),
    st.text(max_size=6).map(Reasoning),
    st.builds(
        ToolCall,
        id=st.uuids().map(str),
        name=st.sampled_from(["f", "g"]),
        arguments_json=st.sampled_from(["{}", "", '{"a":1}', '{"a": "he']),
    ),
    st.builds(
        ToolCall,
        id=st.uuids().map(str),
        name=st.just("calc"),
        kind=st.just("custom"),
        arguments_json=st.text(max_size=9).map(lambda text: jsontext.encode({"input": text})),
    ),
    st.just(Opaque(NAME, "web_search_call", {"type": "web_search_call", "id": "ws_1"})),
)


@given(st.lists(parts, max_size=6))
def test_any_foreign_answer_reads_as_its_body(given_parts: list[Any]) -> None:
    response = answer(*given_parts, reason="stop")
    whole = render_response(response)
    assert payloads(written(response))[-1]["response"] == whole
    assert fold(decode(StreamDecoder(), [written(response)])) == parse_response(whole)


@given(st.text(max_size=30), st.data())
def test_b23_freeform_input_grows_while_it_is_written(text: str, data: st.DataObject) -> None:
    arguments_json = jsontext.encode({"input": text})
    cuts = sorted(data.draw(st.lists(st.integers(0, len(arguments_json)), max_size=6)))
    edges = [0, *cuts, len(arguments_json)]
    pieces = [arguments_json[a:b] for a, b in itertools.pairwise(edges)]
    events = [
        ResponseStart(),
        PartStart(0, ToolCall("c", "calc", "", kind="custom")),
        *(PartDelta(0, piece) for piece in pieces if piece),
        PartEnd(0),
        ResponseEnd("tool_calls"),
    ]
    told = payloads(encoded(events))
    deltas = [each["delta"] for each in told if each["type"].endswith("input.delta")]
    assert "".join(deltas) == text
    assert told[-1]["response"]["output"][0]["input"] == text


def test_b23_freeform_text_comes_at_once_and_whole_characters_only() -> None:
    text = FreeformText()
    pieces = ['{ "inp', 'ut" : "a', "b\\", "n\\u00", "e9\\ud83c", "\\udf27", 'c"', "}"]
    assert [text.feed(piece) for piece in pieces] == ["", "a", "b", "\n", "é", "🌧", "c", ""]
    assert FreeformText().feed('{"other": "x"}') == ""
    assert FreeformText().feed('{"input": "a\x00b"}') == ""


def test_arguments_are_told_as_they_come() -> None:
    encoder = StreamEncoder()
    encoder.feed(ResponseStart("r", "m"))
    encoder.feed(PartStart(0, ToolCall("c", "f", "")))
    for piece in ('{"a"', ":1}"):
        assert payloads(encoder.feed(PartDelta(0, piece)))[0]["delta"] == piece


def test_a_freeform_tool_that_was_emulated_is_freeform_again() -> None:
    asked = Request("m", [], tools=[Tool("calc", kind="custom")])
    told = payloads(written(answer(ToolCall("c", "calc", '{"input":"2+2"}')), asked))
    assert told[-1]["response"]["output"][0]["type"] == "custom_tool_call"
    assert [each["delta"] for each in told if each["type"].endswith("input.delta")] == ["2+2"]


def test_texts_of_one_message_and_of_two() -> None:
    mark = {NAME: {"message": {"id": "msg_own", "phase": "commentary"}}}
    told = payloads(written(answer(Text("a"), Text("b"), Text("c", metadata=mark), Text(""))))
    output = told[-1]["response"]["output"]
    assert [[part["text"] for part in item["content"]] for item in output] == [["a", "b"], ["c"]]
    assert (output[1]["id"], output[1]["phase"]) == ("msg_own", "commentary")


@pytest.mark.parametrize(
    ("reason", "kind", "status"),
    [
        ("stop", "completed", "completed"),
        ("tool_calls", "completed", "completed"),
        ("length", "incomplete", "incomplete"),
        ("content_filter", "incomplete", "incomplete"),
        ("refusal", "incomplete", "incomplete"),
        ("pause", "incomplete", "incomplete"),
        ("error", "failed", "failed"),
    ],
)
def test_terminal_events(reason: Any, kind: str, status: str) -> None:
    last = payloads(written(answer(Text("x"), reason=reason)))[-1]
    assert (last["type"], last["response"]["status"]) == (f"response.{kind}", status)
    refused = payloads(written(answer(Refusal("no"), reason="refusal")))[-1]
    assert refused["type"] == "response.completed"


def test_a_stream_does_not_end_as_waiting() -> None:
    last = payloads(written(answer(reason="pause", raw="queued")))[-1]
    assert last["response"]["incomplete_details"] == {"reason": "pause"}


def test_b29_a_failure_ends_the_stream_as_failed() -> None:
    encoder = StreamEncoder()
    for event in list(unfold(answer(ToolCall("c", "f", "{}"), Text("so far"))))[:5]:
        encoder.feed(event)
    last = payloads(encoder.fail(OverloadedError("no room")))[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["status"] == "failed"
    assert last["response"]["error"] == {"code": "overloaded", "message": "no room"}
    assert [item["type"] for item in last["response"]["output"]] == ["function_call"]
    assert (encoder.fail(OverloadedError("again")), encoder.close()) == (b"", b"")


def test_b29_the_sdk_sees_the_failure() -> None:
    encoder = StreamEncoder()
    data = encoder.feed(ResponseStart("r", "m")) + encoder.fail(RateLimitError("slow"))
    with sdk(data) as client, client.responses.stream(model="m", input="x") as stream:
        types = [each.type for each in stream]
        with pytest.raises(RuntimeError, match=r"response\.completed"):
            stream.get_final_response()
    assert types == ["response.created", "response.in_progress", "response.failed"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RateLimitError("slow"), {"code": "rate_limit_exceeded", "message": "slow"}),
        (
            RateLimitError("x", body={"error": {"message": "own", "code": "own_code"}}),
            {"message": "own", "code": "own_code"},
        ),
        (UnsupportedError("no", feature="n"), {"code": "invalid_prompt", "message": "no"}),
        (ProtocolError("odd", path="a"), {"code": "server_error", "message": "a: odd"}),
    ],
)
def test_failures_by_their_kind(error: Any, told: dict[str, str]) -> None:
    data = StreamEncoder().fail(error)
    assert [each["type"] for each in payloads(data)] == [
        "response.created",
        "response.in_progress",
        "response.failed",
    ]
    assert payloads(data)[-1]["response"]["error"] == told


def test_nothing_comes_after_the_end() -> None:
    encoder = StreamEncoder()
    for event in unfold(answer(Text("x"))):
        encoder.feed(event)
    assert encoder.fail(OverloadedError("late")) == b""


def test_citations_are_told() -> None:
    cited = message("x")
    cited["content"][0]["annotations"] = [{"type": "url_citation", "url": "https://x"}]
    response = parse_response(body(cited))
    told = payloads(written(response))
    notes = [each for each in told if each["type"].endswith("annotation.added")]
    assert [(each["annotation"]["url"], each["annotation_index"]) for each in notes] == [
        ("https://x", 0)
    ]
    assert told[-1]["response"]["output"] == [cited]


def test_the_answer_keeps_a_foreign_or_missing_id_out() -> None:
    first = payloads(StreamEncoder().feed(ResponseStart("", "m")))[0]["response"]
    assert first["id"].startswith("resp_")
    kept = payloads(StreamEncoder().feed(ResponseStart("resp_9", "m")))[0]["response"]
    assert kept["id"] == "resp_9"
    own = ResponseStart("gen-1", "m", metadata={NAME: {}})
    assert payloads(StreamEncoder().feed(own))[0]["response"]["id"] == "gen-1"
    assert render_response(replace(answer(), id="chatcmpl-1"))["id"].startswith("resp_")


def test_an_upstream_error_reaches_the_sdk_as_its_status() -> None:
    data = b'{"error":{"message":"slow","type":"requests","code":"rate_limit_exceeded"}}'
    with (
        sdk(data, status=429, is_stream=False) as client,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        client.responses.create(model="m", input="x")
    assert caught.value.code == "rate_limit_exceeded"


def test_empty_texts_of_this_dialect_are_kept() -> None:
    for item in (message("", content=[]), message("")):
        response = parse_response(body(item))
        assert payloads(written(response))[-1]["response"]["output"] == [item]


def test_media_that_streams() -> None:
    told = payloads(written(answer(Media("image", "image/png", "aGk="))))
    item = told[-1]["response"]["output"][0]
    assert (item["type"], item["result"]) == ("image_generation_call", "aGk=")
    assert payloads(written(answer(ToolResult("c"))))[-1]["response"]["output"] == []


def test_freeform_text_that_is_not_in_its_object() -> None:
    odd = ToolCall("c", "calc", '{"input":"a","more":1}', kind="custom")
    told = payloads(written(answer(odd)))
    assert told[-1]["response"]["output"][0]["input"] == "a"
    bare = payloads(written(answer(replace(odd, arguments_json="2+2"))))
    assert [each["delta"] for each in bare if each["type"].endswith("input.delta")] == ["2+2"]
