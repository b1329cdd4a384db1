"""What stands beside the conversation, for every pair: formats, reasoning, marks, media, losses.

Each row says what the target gets and which warnings the caller gets: all of them, so that a new
loss or a new silence fails here.
"""

from __future__ import annotations

from typing import Any

import pytest

from polycall.errors import UnsupportedError
from polycall.ir import JSON
from tests.pain.talks import IMAGES, PNG, SCHEMA, body, calls, results, said, tools
from tests.pain.wires import (
    ALL_CROSS,
    ANTHROPIC,
    CHAT,
    GEMINI,
    NAMES,
    RESPONSES,
    UPSTREAMS,
    accepted,
    features,
    translate,
)

STRICT: JSON = {**SCHEMA, "required": ["x"], "additionalProperties": False}


def wanted(client: str, schema: JSON) -> JSON:
    """A request for an answer by a schema."""
    match client:
        case "openai-chat":
            inner = {"name": "n", "description": "d", "schema": schema, "strict": True}
            return {"response_format": {"type": "json_schema", "json_schema": inner}}
        case "openai-responses":
            inner = {"name": "n", "description": "d", "schema": schema, "strict": True}
            return {"text": {"format": {"type": "json_schema", **inner}}}
        case "anthropic":
            return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
        case _:
            config = {"responseMimeType": "application/json", "responseJsonSchema": schema}
            return {"generationConfig": config}


@ALL_CROSS
def test_an_answer_by_a_schema(client: str, upstream: str) -> None:
    wire = translate(client, upstream, body(client, **wanted(client, STRICT)))
    prompt = accepted(upstream, wire)
    schema = {key: value for key, value in (prompt.schema or {}).items() if key != "description"}
    assert schema == STRICT
    assert wire.warnings == []
    if client in (CHAT, RESPONSES):
        assert "'d'" in str(wire.body)  # the description is not lost


@pytest.mark.parametrize("client", [CHAT, RESPONSES])
def test_a_schema_that_is_not_strict_stays_as_it_is(client: str) -> None:
    upstream = RESPONSES if client == CHAT else CHAT
    wire = translate(client, upstream, body(client, **wanted(client, SCHEMA)))
    assert accepted(upstream, wire).schema == SCHEMA
    assert features(wire) == {("adjusted", "response_format.strict")}


PLAIN_JSON: dict[str, JSON] = {
    CHAT: {"response_format": {"type": "json_object"}},
    RESPONSES: {"text": {"format": {"type": "json_object"}}},
    GEMINI: {"generationConfig": {"responseMimeType": "application/json"}},
}


@pytest.mark.parametrize("client", PLAIN_JSON)
@pytest.mark.parametrize("words", ["hi", "answer in JSON"])
def test_plain_json(client: str, words: str) -> None:
    """OpenAI refuses it where no message has the word; Anthropic knows it in words only."""
    for upstream in NAMES:
        if upstream == client:
            continue
        given = body(client, [said(client, "user", words)], **PLAIN_JSON[client])
        wire = translate(client, upstream, given)
        accepted(upstream, wire)
        needs_word = upstream in (CHAT, RESPONSES) and words == "hi"
        expected = (
            {("emulated", "response_format")} if needs_word or upstream == ANTHROPIC else set()
        )
        assert features(wire) == expected
        assert "json" in str(wire.body).lower()


THINK: list[tuple[str, JSON, dict[str, Any]]] = [
    (
        CHAT,
        {"reasoning_effort": "high"},
        {
            RESPONSES: {"effort": "high"},
            ANTHROPIC: ({"type": "adaptive"}, {"effort": "high"}),
            GEMINI: {"thinkingLevel": "HIGH"},
        },
    ),
    (
        CHAT,
        {"reasoning_effort": "none"},
        {
            RESPONSES: {"effort": "none"},
            ANTHROPIC: ({"type": "disabled"}, None),
            GEMINI: {"thinkingBudget": 0},
        },
    ),
    (
        RESPONSES,
        {"reasoning": {"effort": "low", "summary": "auto"}},
        {
            ANTHROPIC: ({"type": "adaptive", "display": "summarized"}, {"effort": "low"}),
            GEMINI: {"includeThoughts": True, "thinkingLevel": "LOW"},
        },
    ),
    (
        ANTHROPIC,
        {"thinking": {"type": "disabled"}},
        {CHAT: "none", RESPONSES: {"effort": "none"}, GEMINI: {"thinkingBudget": 0}},
    ),
    (
        ANTHROPIC,
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
        {CHAT: "high", RESPONSES: {"effort": "high"}, GEMINI: {"thinkingLevel": "HIGH"}},
    ),
    (
        GEMINI,
        {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}},
        {CHAT: "none", RESPONSES: {"effort": "none"}, ANTHROPIC: ({"type": "disabled"}, None)},
    ),
    (
        GEMINI,
        {"generationConfig": {"thinkingConfig": {"thinkingBudget": 2000}}},
        {ANTHROPIC: ({"type": "enabled", "budget_tokens": 2000}, None)},
    ),
]


def reasoning_of(upstream: str, wire: JSON) -> Any:
    """How much the target is asked to think."""
    match upstream:
        case "openai-chat":
            return wire.get("reasoning_effort")
        case "openai-responses":
            return wire.get("reasoning")
        case "anthropic":
            return (wire.get("thinking"), wire.get("output_config"))
        case _:
            return wire["generationConfig"].get("thinkingConfig")


@pytest.mark.parametrize(("client", "given", "expected"), THINK)
def test_how_much_to_think(client: str, given: JSON, expected: dict[str, Any]) -> None:
    for upstream, value in expected.items():
        wire = translate(client, upstream, body(client, **given))
        assert reasoning_of(upstream, wire.body) == value
        assert wire.warnings == []
        accepted(upstream, wire, reasons="asked")


@pytest.mark.parametrize("upstream", [CHAT, RESPONSES])
def test_a_budget_is_an_effort_and_says_so(upstream: str) -> None:
    given = {"thinking": {"type": "enabled", "budget_tokens": 2000}}
    wire = translate(ANTHROPIC, upstream, body(ANTHROPIC, **given))
    assert features(wire) == {("adjusted", "reasoning.budget_tokens")}


FIELDS: list[tuple[str, JSON, dict[str, set[tuple[str, str]]]]] = [
    (
        CHAT,
        {"stop": ["END"], "safety_identifier": "u1", "seed": 1, "presence_penalty": 0.1},
        {
            RESPONSES: {
                ("emulated", "stop"),
                ("unsupported", "seed"),
                ("unsupported", "presence_penalty"),
            },
            # The name was meant for another vendor, so only a hash of it is sent.
            ANTHROPIC: {
                ("unsupported", "seed"),
                ("unsupported", "presence_penalty"),
                ("emulated", "end_user"),
            },
            GEMINI: {("unsupported", "end_user")},
        },
    ),
    (
        ANTHROPIC,
        {"stop_sequences": ["END"], "metadata": {"user_id": "u1"}, "top_k": 5},
        {
            CHAT: {("unsupported", "top_k"), ("emulated", "end_user")},
            RESPONSES: {
                ("emulated", "stop"),
                ("unsupported", "top_k"),
                ("emulated", "end_user"),
            },
            GEMINI: {("unsupported", "end_user")},
        },
    ),
    (
        RESPONSES,
        {"safety_identifier": "u1", "truncation": "auto", "store": True},
        {
            CHAT: {("unsupported", "truncation")},
            ANTHROPIC: {("unsupported", "truncation"), ("emulated", "end_user")},
            GEMINI: {("unsupported", "truncation"), ("unsupported", "end_user")},
        },
    ),
    (
        GEMINI,
        {"generationConfig": {"stopSequences": ["END"], "topK": 5, "seed": 1}},
        {
            CHAT: {("unsupported", "top_k")},
            RESPONSES: {
                ("emulated", "stop"),
                ("unsupported", "top_k"),
                ("unsupported", "seed"),
            },
            ANTHROPIC: {("unsupported", "seed")},
        },
    ),
]


@pytest.mark.parametrize(("client", "given", "expected"), FIELDS)
def test_fields_arrive_or_are_reported(
    client: str, given: JSON, expected: dict[str, set[tuple[str, str]]]
) -> None:
    for upstream, warned in expected.items():
        wire = translate(client, upstream, body(client, **given))
        accepted(upstream, wire)
        assert features(wire) == warned
        shown = str(wire.body)
        # An emulated stop cuts the answer here: the vendor is not sent it.
        assert ("END" in shown) == ("END" in str(given) and ("emulated", "stop") not in warned)
        is_whole = upstream != GEMINI and ("emulated", "end_user") not in warned
        assert ("u1" in shown) == ("u1" in str(given) and is_whole)


MARKED: dict[str, tuple[JSON, set[str]]] = {
    CHAT: (
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "https://x.y/a.png", "detail": "low"}},
                {
                    "type": "text",
                    "text": "q",
                    "prompt_cache_breakpoint": {"mode": "explicit"},
                },
            ],
        },
        {"detail", "prompt_cache_breakpoint"},
    ),
    RESPONSES: (
        {
            "role": "user",
            "content": [
                {"type": "input_image", "image_url": "https://x.y/a.png", "detail": "high"},
                {"type": "input_text", "text": "q"},
            ],
        },
        {"detail"},
    ),
    ANTHROPIC: (
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "q", "cache_control": {"type": "ephemeral"}},
                {
                    "type": "document",
                    "source": {"type": "text", "media_type": "text/plain", "data": "words"},
                    "title": "T",
                    "context": "from the archive",
                    "citations": {"enabled": True},
                },
            ],
        },
        {"cache_control", "context", "citations"},
    ),
    GEMINI: (
        {
            "role": "user",
            "parts": [
                {"text": "q"},
                {
                    "inlineData": IMAGES[GEMINI]["inlineData"],
                    "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"},
                },
            ],
        },
        {"mediaResolution"},
    ),
}


@ALL_CROSS
def test_marks_on_parts_are_reported(client: str, upstream: str) -> None:
    turn, marks = MARKED[client]
    wire = translate(client, upstream, body(client, [turn]))
    accepted(upstream, wire)
    assert {feature for kind, feature in features(wire) if kind == "unsupported"} == marks
    if client == ANTHROPIC:
        assert "T" in str(wire.body)  # the document's title


def test_marks_on_tools_are_reported() -> None:
    (tool,) = tools(ANTHROPIC, "f")
    marked = {
        **tool,
        "cache_control": {"type": "ephemeral"},
        "eager_input_streaming": True,
        "input_examples": [{"x": "1"}],
        "defer_loading": True,
    }
    for upstream in (CHAT, RESPONSES, GEMINI):
        wire = translate(ANTHROPIC, upstream, body(ANTHROPIC, tools=[marked]))
        assert features(wire) == {
            ("unsupported", "cache_control"),
            ("unsupported", "eager_input_streaming"),
            ("unsupported", "defer_loading"),
            ("emulated", "examples"),
        }
        assert '{"x":"1"}' in accepted(upstream, wire).tools[0].description


# What would change the answer is refused, and named.
REFUSED: list[tuple[str, JSON, str]] = [
    (CHAT, {"web_search_options": {}}, "web_search_options"),
    (CHAT, {"modalities": ["text", "audio"]}, "modalities"),
    (RESPONSES, {"tools": [{"type": "web_search"}]}, ""),
    (RESPONSES, {"background": True}, "background"),
    (RESPONSES, {"input": [{"type": "item_reference", "id": "x"}]}, ""),
    (ANTHROPIC, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, ""),
    (ANTHROPIC, {"container": "c"}, "container"),
    (GEMINI, {"tools": [{"googleSearch": {}}]}, ""),
    (GEMINI, {"cachedContent": "c"}, "cachedContent"),
]


@pytest.mark.parametrize(("client", "given", "feature"), REFUSED)
def test_what_would_change_the_answer_is_refused(client: str, given: JSON, feature: str) -> None:
    for upstream in NAMES:
        if upstream == client:
            continue
        with pytest.raises(UnsupportedError) as caught:
            translate(client, upstream, {**body(client), **given})
        assert caught.value.feature == feature or not feature
        assert translate(client, upstream, {**body(client), **given}, lossy=True).warnings


@pytest.mark.parametrize("upstream", [CHAT, RESPONSES, GEMINI])
def test_what_a_user_shows_is_never_left_out_in_silence(upstream: str) -> None:
    found = {
        "type": "search_result",
        "source": "s",
        "title": "t",
        "content": [{"type": "text", "text": "abc"}],
    }
    given = body(ANTHROPIC, [{"role": "user", "content": [found, {"type": "text", "text": "q"}]}])
    assert "t\\nsource: s\\nabc" in str(translate(ANTHROPIC, upstream, given).body).replace(
        "\n", "\\n"
    )
    stored = {"type": "container_upload", "file_id": "file_1"}
    given = body(ANTHROPIC, [{"role": "user", "content": [stored, {"type": "text", "text": "q"}]}])
    with pytest.raises(UnsupportedError):
        translate(ANTHROPIC, upstream, given)


@pytest.mark.parametrize("upstream", [CHAT, RESPONSES, ANTHROPIC])
def test_images_that_a_model_made_are_shown_to_the_next(upstream: str) -> None:
    contents = [
        said(GEMINI, "user", "draw"),
        {"role": "model", "parts": [{"text": "here"}, IMAGES[GEMINI]]},
        said(GEMINI, "user", "make it blue"),
    ]
    wire = translate(GEMINI, upstream, body(GEMINI, contents))
    accepted(upstream, wire)
    assert str(wire.body).count(PNG) == 1
    assert features(wire) == {("emulated", "assistant.media")}


@pytest.mark.parametrize("upstream", [CHAT, RESPONSES, ANTHROPIC])
def test_images_made_beside_a_call_follow_its_result(upstream: str) -> None:
    (turn,) = calls(GEMINI, ("c1", "f", "1"))
    turn["parts"].insert(0, IMAGES[GEMINI])
    contents = [said(GEMINI, "user", "draw"), turn, *results(GEMINI, ("c1", "f", "one"))]
    wire = translate(GEMINI, upstream, body(GEMINI, contents))
    accepted(upstream, wire)
    assert str(wire.body).count(PNG) == 1


INSTRUCTED: dict[str, JSON] = {
    CHAT: {"model": "m", "messages": [{"role": "system", "content": "say hi"}]},
    RESPONSES: {"model": "m", "input": [], "instructions": "say hi"},
}


@pytest.mark.parametrize("client", INSTRUCTED)
def test_instructions_alone_are_a_request(client: str) -> None:
    for upstream in NAMES:
        if upstream == client:
            continue
        wire = translate(client, upstream, INSTRUCTED[client])
        accepted(upstream, wire)
        assert "say hi" in str(wire.body)


LATE: dict[str, JSON] = {
    CHAT: {"role": "developer", "content": "be brief"},
    RESPONSES: {"role": "developer", "content": "be brief"},
    ANTHROPIC: {"role": "system", "content": "be brief"},
}


@pytest.mark.parametrize("client", LATE)
@UPSTREAMS
def test_late_system_messages_stay_in_their_place(client: str, upstream: str) -> None:
    given = [said(client, "user", "a"), LATE[client], said(client, "user", "b")]
    wire = translate(client, upstream, body(client, given))
    accepted(upstream, wire)
    shown = str(wire.body)
    assert shown.index("'a'") < shown.index("be brief") < shown.index("'b'")
    assert features(wire) == ({("emulated", "system")} if upstream == GEMINI else set())


@pytest.mark.parametrize("upstream", [RESPONSES, ANTHROPIC, GEMINI])
def test_names_of_participants_are_reported(upstream: str) -> None:
    given = body(CHAT, [{"role": "user", "name": "mina", "content": "hi"}])
    assert features(translate(CHAT, upstream, given)) == {("unsupported", "messages.name")}


@pytest.mark.parametrize("upstream", [CHAT, ANTHROPIC, GEMINI])
def test_calls_of_programs_are_reported(upstream: str) -> None:
    call = {
        **calls(RESPONSES, ("c1", "f", "1"))[0],
        "caller": {"type": "program", "caller_id": "p"},
    }
    given = body(RESPONSES, [call, *results(RESPONSES, ("c1", "f", "one"))])
    assert ("unsupported", "caller") in features(translate(RESPONSES, upstream, given))
    program = {"type": "program", "call_id": "p", "code": "x"}
    with pytest.raises(UnsupportedError):
        translate(RESPONSES, upstream, body(RESPONSES, [program, *given["input"]]))


@pytest.mark.parametrize(("client", "upstream"), [(CHAT, ANTHROPIC), (CHAT, GEMINI)])
def test_a_refusal_in_the_history_is_reported_as_text(client: str, upstream: str) -> None:
    refusal = {"role": "assistant", "content": None, "refusal": "No."}
    given = body(client, [said(client, "user", "a"), refusal, said(client, "user", "b")])
    wire = translate(client, upstream, given)
    assert features(wire) == {("emulated", "refusal")}
    assert "No." in str(wire.body)
