"""Arguments in pieces: whatever the order of a document, the text is the document."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall._support import jsontext
from polycall.dialects import gemini
from polycall.dialects.gemini.partial_arguments import PartialArguments
from polycall.errors import ProtocolError, TruncatedError
from polycall.fold import fold
from polycall.ir import JSON, PartDelta, Response, Text, ToolCall
from tests.support import decode

KEYS = st.text(min_size=1, max_size=4)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=4)


def step(key: str | int) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    if key.isidentifier():
        return f".{key}"
    return "['" + key.replace("\\", "\\\\").replace("'", "\\'") + "']"


def pieces_of(value: Any, path: str = "$") -> list[JSON]:
    """A document as a server streams it: depth first, strings in two halves."""
    if isinstance(value, dict):
        inner = [piece for key in value for piece in pieces_of(value[key], path + step(key))]
        return inner if inner or path == "$" else [{"jsonPath": path}]
    if isinstance(value, list):
        inner = [
            piece
            for index, item in enumerate(value)
            for piece in pieces_of(item, path + step(index))
        ]
        return inner or [{"jsonPath": path + "[]"}]
    if isinstance(value, str):
        middle = len(value) // 2
        return [
            {"jsonPath": path, "stringValue": value[:middle], "willContinue": True},
            {"jsonPath": path, "stringValue": value[middle:]},
        ]
    if value is None:
        return [{"jsonPath": path, "nullValue": "NULL_VALUE"}]
    return [{"jsonPath": path, "boolValue" if isinstance(value, bool) else "numberValue": value}]


def written(pieces: list[JSON]) -> str:
    arguments = PartialArguments()
    return "".join(map(arguments.add, pieces)) + arguments.close()


def stream(*parts: JSON, end: str = "STOP") -> bytes:
    chunks: list[JSON] = [{"candidates": [{"content": {"parts": [part]}}]} for part in parts]
    chunks.append({"candidates": [{"finishReason": end}]})
    return b"".join(b"data: " + json.dumps(item).encode() + b"\n\n" for item in chunks)


def opened(name: str = "f", **beside: Any) -> JSON:
    return {"functionCall": {"name": name, "willContinue": True}, **beside}


def more(*pieces: JSON) -> JSON:
    return {"functionCall": {"partialArgs": list(pieces), "willContinue": True}}


def decoded(raw: bytes) -> Response:
    return fold(decode(gemini.StreamDecoder(), [raw]))


OVER: JSON = {"functionCall": {}}


@given(DOCUMENTS)
def test_the_text_is_the_document(document: JSON) -> None:
    text = written(pieces_of(document))
    assert text == jsontext.encode(document)


@given(DOCUMENTS, st.integers(0, 3))
def test_a_streamed_call_is_the_whole_call(document: JSON, seed: int) -> None:
    parts = [opened(thoughtSignature="c2ln"), *map(more, pieces_of(document)), OVER]
    raw = stream(*parts)
    whole = {"functionCall": {"name": "f", "args": document}, "thoughtSignature": "c2ln"}
    body = {
        "responseId": "r",
        "candidates": [{"content": {"parts": [whole]}, "finishReason": "STOP"}],
    }
    named = b'data: {"responseId":"r"}\n\n' + raw
    assert decoded(named) == gemini.parse_response(body)
    places = [len(raw) * (seed + number) // 7 for number in range(3)]
    cuts = [raw[: places[0]], raw[places[0] : places[1]], raw[places[1] :]]
    assert decode(gemini.StreamDecoder(), cuts) == decode(gemini.StreamDecoder(), [raw])


def test_text_grows_as_pieces_come() -> None:
    arguments = PartialArguments()
    grown = [
        arguments.add({"jsonPath": "$.a.b[0]", "stringValue": 'x"', "willContinue": True}),
        arguments.add({"jsonPath": "$.a.b[0]", "stringValue": "\ny"}),
        arguments.add({"jsonPath": "$.a.b[1]", "numberValue": 2}),
        arguments.add({"jsonPath": "$.a.c", "boolValue": True}),
        arguments.add({"jsonPath": "$['d.e']", "nullValue": None}),
        arguments.close(),
    ]
    assert grown == [
        '{"a":{"b":["x\\"',
        '\\ny"',
        ",2",
        '],"c":true',
        '},"d.e":null',
        "}",
    ]


def test_calls_in_pieces_follow_each_other() -> None:
    text = {"jsonPath": "$.city", "stringValue": "Bos", "willContinue": True}
    end = {"jsonPath": "$.city", "stringValue": "ton"}
    response = decoded(
        stream(
            opened(thoughtSignature="c2ln"),
            more(text),
            more(end),
            OVER,
            {"functionCall": {"name": "whole", "args": {"a": 1}}},
            opened("g"),
            OVER,
        )
    )
    assert [(made.name, made.arguments_json) for made in response.tool_calls] == [
        ("f", '{"city":"Boston"}'),
        ("whole", '{"a":1}'),
        ("g", "{}"),
    ]
    assert response.tool_calls[0].metadata["gemini"]["thoughtSignature"] == "c2ln"
    assert len({made.id for made in response.tool_calls}) == 3


def test_a_call_may_end_with_its_last_piece() -> None:
    last = {"functionCall": {"partialArgs": [{"jsonPath": "$.a", "numberValue": 1}]}}
    (made,) = decoded(stream(opened(), last, OVER)).tool_calls
    assert made.arguments == {"a": 1}
    (made,) = decoded(stream({"functionCall": {**last["functionCall"], "name": "f"}})).tool_calls
    assert made.arguments == {"a": 1}


def test_a_repeated_name_is_the_same_call() -> None:
    again = more({"jsonPath": "$.a", "numberValue": 1})
    again["functionCall"]["name"] = "f"
    (made,) = decoded(stream(opened(), again, OVER)).tool_calls
    assert made.arguments == {"a": 1}


def test_a_new_call_ends_the_one_before() -> None:
    first, second = decoded(stream(opened("f"), opened("g"), OVER)).tool_calls
    assert (first.name, first.arguments, second.name) == ("f", {}, "g")


def test_a_signature_on_a_later_piece_is_kept() -> None:
    late = {**more({"jsonPath": "$.a", "numberValue": 1}), "thoughtSignature": "c2ln"}
    (made,) = decoded(stream(opened(), late, OVER)).tool_calls
    assert made.metadata == {"gemini": {"no_id": True, "thoughtSignature": "c2ln"}}


def test_what_comes_while_a_call_is_open_waits_for_its_end() -> None:
    response = decoded(stream(opened(), {"text": "wait"}, {"text": ""}, OVER))
    assert [type(part) for part in response.message.parts] == [ToolCall, Text]
    pieces = [more({"jsonPath": f"$.{name}", "numberValue": 1}) for name in "ab"]
    response = decoded(stream(opened(), pieces[0], {"text": "wait"}, pieces[1], OVER))
    (made,) = response.tool_calls
    assert (made.arguments, response.text) == ({"a": 1, "b": 1}, "wait")


def test_a_call_that_was_cut_never_runs() -> None:
    piece = {"jsonPath": "$.a", "stringValue": "x", "willContinue": True}
    response = decoded(stream(opened(), more(piece), end="MAX_TOKENS"))
    (made,) = response.tool_calls
    assert (made.arguments_json, made.arguments) == ('{"a":"x', None)
    assert response.finish_reason == "length"
    decoder = gemini.StreamDecoder()
    cut = stream(opened(), more(piece)).rpartition(b"data:")[0]
    assert decoder.feed(cut)[-1] == PartDelta(0, '{"a":"x')
    with pytest.raises(TruncatedError):
        decoder.close()


@pytest.mark.parametrize(
    "pieces",
    [
        [{"jsonPath": "$.a", "numberValue": 1}, {"jsonPath": "$.a", "numberValue": 2}],
        [
            {"jsonPath": "$.a.b", "numberValue": 1},
            {"jsonPath": "$.c", "numberValue": 1},
            {"jsonPath": "$.a.d", "numberValue": 1},
        ],
        [{"jsonPath": "$.a[0]", "numberValue": 1}, {"jsonPath": "$.a[0]", "numberValue": 1}],
        [{"jsonPath": "$.a.b", "numberValue": 1}, {"jsonPath": "$.a", "numberValue": 1}],
        [{"jsonPath": "$.a.b", "numberValue": 1}, {"jsonPath": "$.a[0]", "numberValue": 1}],
        [{"jsonPath": "$[0]", "numberValue": 1}],
        [{"jsonPath": "$", "numberValue": 1}],
        [{"jsonPath": "a", "numberValue": 1}],
        [{"jsonPath": "$.a[x]", "numberValue": 1}],
        [{"jsonPath": "$.a[].b", "numberValue": 1}],
        [{"jsonPath": "$" + ".a" * 300, "numberValue": 1}],
        [{"numberValue": 1}],
    ],
)
def test_what_cannot_be_written_is_a_protocol_error(pieces: list[JSON]) -> None:
    with pytest.raises(ProtocolError):
        written(pieces)


def test_habits_that_say_nothing_new() -> None:
    pieces: list[JSON] = [
        {"jsonPath": "$.a", "stringValue": "x"},
        {"jsonPath": "$.a", "stringValue": ""},
        {"jsonPath": "$.b"},
        {"jsonPath": "$.b"},
        {"jsonPath": "$.b.c", "numberValue": 1},
        {"jsonPath": "$.d[0]", "numberValue": 1},
        {"jsonPath": "$.d[]"},
        {"jsonPath": "$"},
    ]
    assert written(pieces) == '{"a":"x","b":{"c":1},"d":[1]}'
