"""The grammar of events, and folding them into a response and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall.errors import ProtocolError, TruncatedError
from polycall.fold import Folder, fold, unfold
from polycall.ir import (
    DeltaKind,
    Event,
    Media,
    Message,
    Opaque,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Refusal,
    Response,
    ResponseEnd,
    ResponseStart,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)


def test_fold_joins_deltas_and_merges_metadata() -> None:
    events: list[Event] = [
        ResponseStart("r1", "m", 5, metadata={"anthropic": {"tier": "x"}}),
        PartStart(0, Reasoning(metadata={"anthropic": {"kind": "thinking"}})),
        PartDelta(0, "hm"),
        PartDelta(0, "m"),
        PartEnd(0, {"anthropic": {"signature": "s"}}),
        PartStart(1, ToolCall("c1", "f", "")),
        PartDelta(1, '{"a"'),
        PartDelta(1, ":1}"),
        PartEnd(1),
        ResponseEnd("tool_calls", "tool_use", Usage(3, 4), {"anthropic": {"container": None}}),
    ]
    assert fold(events) == Response(
        id="r1",
        model="m",
        created=5,
        message=Message(
            "assistant",
            [
                Reasoning("hmm", {"anthropic": {"kind": "thinking", "signature": "s"}}),
                ToolCall("c1", "f", '{"a":1}'),
            ],
        ),
        finish_reason="tool_calls",
        raw_finish_reason="tool_use",
        usage=Usage(3, 4),
        metadata={"anthropic": {"tier": "x", "container": None}},
    )


START, END = ResponseStart(), ResponseEnd("stop")


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([PartStart(0, Text(""))], "PartStart 0 is not allowed before ResponseStart"),
        ([END], "ResponseEnd is not allowed before ResponseStart"),
        ([START, START], "ResponseStart is not allowed where part 0 would be next"),
        ([START, PartDelta(0, "x")], "PartDelta 0 is not allowed where part 0 would be next"),
        ([START, PartEnd(0)], "PartEnd 0 is not allowed where part 0 would be next"),
        ([START, PartStart(1, Text(""))], "PartStart 1 is not allowed where part 0 would be next"),
        (
            [START, PartStart(0, Text("")), PartStart(1, Text(""))],
            "PartStart 1 is not allowed while part 0 is open",
        ),
        (
            [START, PartStart(0, Text("")), PartStart(0, Text(""))],
            "PartStart 0 is not allowed while part 0 is open",
        ),
        (
            [START, PartStart(0, Text("")), PartDelta(1, "")],
            "PartDelta 1 is not allowed while part 0 is open",
        ),
        ([START, PartStart(0, Text("")), END], "ResponseEnd is not allowed while part 0 is open"),
        ([START, END, END], "ResponseEnd is not allowed after ResponseEnd"),
        ([START, END, PartStart(0, Text(""))], "PartStart 0 is not allowed after ResponseEnd"),
        (
            [START, PartStart(0, Opaque("gemini", "x", {})), PartDelta(0, "x"), PartEnd(0)],
            "a part of type Opaque takes no deltas",
        ),
        (
            [START, PartStart(0, Media("image", data="")), PartDelta(0, "x"), PartEnd(0)],
            "a part of type Media takes no deltas",
        ),
    ],
)
def test_the_grammar_is_checked(events: list[Event], message: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        fold(events)
    assert str(caught.value) == message


@pytest.mark.parametrize("events", [[], [START], [START, PartStart(0, Text("")), PartEnd(0)]])
def test_a_stream_that_stops_early_is_no_response(events: list[Event]) -> None:
    with pytest.raises(TruncatedError):
        fold(events)


@pytest.mark.parametrize(
    ("part", "delta", "kind"),
    [
        (Text(""), PartDelta(0, "x"), "text"),
        (Reasoning(""), PartDelta(0, "x"), "reasoning"),
        (Text(""), PartDelta(0, "x", "refusal"), "refusal"),
    ],
)
def test_a_delta_without_a_kind_has_that_of_its_part(
    part: Part, delta: PartDelta, kind: DeltaKind
) -> None:
    folder = Folder()
    for event in (START, PartStart(0, part), delta):
        folder.feed(event)
    assert folder.labelled(delta) == PartDelta(0, "x", kind)
    assert folder.labelled(START) is START


texts = st.text(max_size=20)
metadata = st.dictionaries(
    st.sampled_from(["anthropic", "gemini"]), st.dictionaries(texts, texts, max_size=2), max_size=2
)
parts: st.SearchStrategy[Part] = st.one_of(
    st.builds(Text, texts, metadata),
    st.builds(Reasoning, texts, metadata),
    st.builds(Refusal, texts, metadata),
    st.builds(ToolCall, texts, texts, texts, metadata=metadata),
    st.builds(Media, st.just("image"), data=texts, metadata=metadata),
    st.builds(Opaque, texts, texts, st.dictionaries(texts, texts, max_size=2)),
    st.builds(ToolResult, texts, st.just([]), st.booleans()),
)
responses = st.builds(
    Response,
    texts,
    texts,
    st.builds(Message, st.just("assistant"), st.lists(parts, max_size=5)),
    st.sampled_from(["stop", "tool_calls", "length", "refusal"]),
    texts,
    st.builds(Usage, st.integers(0, 9), st.integers(0, 9)),
    created=st.integers(0, 9),
    metadata=metadata,
)


@given(responses)
def test_fold_undoes_unfold(response: Response) -> None:
    assert fold(unfold(response)) == response
