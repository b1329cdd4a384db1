"""Content parts in every spelling, and what becomes of those of other dialects."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from polycall.dialects.openai_chat import parse_request, render_request, render_response
from polycall.errors import UnsupportedError
from polycall.ir import (
    Media,
    Message,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Request,
    Response,
    Text,
    ToolCall,
    ToolResult,
)
from polycall.translation.quirks import Quirks
from tests.dialects.openai_chat.chunks import NAME, function, request


def parsed(part: Any) -> Part:
    """What one content part of a user becomes."""
    (found,) = parse_request(request({"role": "user", "content": [part]})).messages[0].parts
    return found


def rendered(part: Part, quirks: Quirks | None = None) -> Any:
    """What one part of a user becomes, beside a text."""
    given = Request("m", [Message("user", [Text("x"), part])])
    wire = render_request(given, quirks=quirks or Quirks())
    return wire.body["messages"][0]["content"][1]


CASES: list[tuple[Any, Part]] = [
    ("x", Text("x")),
    ({"text": "x"}, Text("x")),
    ({"type": "input_text", "text": "x"}, Text("x")),
    (
        {"type": "input_image", "image_url": "https://x/y", "detail": "low"},
        Media(
            "image",
            url="https://x/y",
            metadata={NAME: {"type": "image_url", "inner": {"detail": "low"}}},
        ),
    ),
    (
        {"type": "image_url", "image_url": "data:image/png;base64,_-8"},
        Media(
            "image",
            "image/png",
            data="/+8=",
            metadata={NAME: {"type": "image_url", "form": "string"}},
        ),
    ),
    (
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA%3D%3D"}},
        Media("image", "image/png", data="AA==", metadata={NAME: {"type": "image_url"}}),
    ),
    (
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA\n=="}},
        Media("image", "image/png", data="AA==", metadata={NAME: {"type": "image_url"}}),
    ),
    (
        {"type": "document_url", "document_url": "data:,hi%20there"},
        Media(
            "document",
            "text/plain",
            data="aGkgdGhlcmU=",
            metadata={NAME: {"type": "document_url", "form": "string"}},
        ),
    ),
    (
        {"type": "input_audio", "input_audio": "https://x/a.mp3"},
        Media(
            "audio",
            url="https://x/a.mp3",
            metadata={NAME: {"type": "input_audio", "form": "string"}},
        ),
    ),
    (
        {
            "type": "input_audio",
            "input_audio": {"data": "data:audio/wav;base64,AAAA", "x": 1},
            "y": 2,
        },
        Media(
            "audio",
            "audio/wav",
            data="AAAA",
            metadata={
                NAME: {
                    "type": "input_audio",
                    "fields": {"y": 2},
                    "format": "",
                    "inner": {"x": 1},
                    "head": "data:audio/wav;base64",
                }
            },
        ),
    ),
    (
        {"type": "file", "file": {"file_data": "https://x/a.pdf", "x": 1}, "y": 2},
        Media(
            "document",
            url="https://x/a.pdf",
            metadata={NAME: {"type": "file", "inner": {"x": 1}, "fields": {"y": 2}}},
        ),
    ),
    (
        {"type": "file", "file": {"file_data": "AAAA", "filename": "a.PDF"}},
        Media(
            "document",
            "application/pdf",
            data="AAAA",
            filename="a.PDF",
            metadata={NAME: {"type": "file", "bare": True}},
        ),
    ),
    (
        {"type": "file", "file": {"file_data": "data:application/zip;a=b;base64,AAAA"}},
        Media(
            "file",
            "application/zip",
            data="AAAA",
            metadata={NAME: {"type": "file", "head": "data:application/zip;a=b;base64"}},
        ),
    ),
    (
        {"type": "thinking", "thinking": "hm"},
        Reasoning(
            "hm", {NAME: {"field": "thinking", "part": {"type": "thinking", "thinking": "hm"}}}
        ),
    ),
    ({"type": "new", "x": 1}, Opaque(NAME, "new", {"type": "new", "x": 1})),
]


@pytest.mark.parametrize(("part", "expected"), CASES)
def test_a_part_in_every_spelling(part: Any, expected: Part) -> None:
    assert parsed(part) == expected


@pytest.mark.parametrize("part", [case[0] for case in CASES[3:4] + CASES[8:13]])
def test_what_came_over_chat_is_given_back(part: Any) -> None:
    found = parsed(part)
    assert parsed(rendered(found)) == found


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            Media("image", "image/png", data="AAAA"),
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        ),
        (
            Media("audio", "audio/x-wav", data="AAAA"),
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        ),
        (
            Media("audio", "audio/flac", data="AAAA"),
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "flac"}},
        ),
        (
            Media("document", "application/pdf", data="AAAA"),
            {
                "type": "file",
                "file": {
                    "file_data": "data:application/pdf;base64,AAAA",
                    "filename": "document.pdf",
                },
            },
        ),
        (
            Media("file", "application/zip", data="AAAA"),
            {
                "type": "file",
                "file": {"file_data": "data:application/zip;base64,AAAA", "filename": "file"},
            },
        ),
        (Media("document", text="plain"), {"type": "text", "text": "plain"}),
        (Refusal("no"), {"type": "refusal", "refusal": "no"}),
    ],
)
def test_a_part_of_another_dialect(part: Part, expected: Any) -> None:
    assert rendered(part) == expected


def test_documents_by_address_where_the_target_takes_them() -> None:
    quirks = Quirks(media_parts=frozenset({"document_url", "video_url"}))
    assert rendered(Media("document", url="https://x", filename="d"), quirks) == {
        "type": "document_url",
        "document_url": "https://x",
        "document_name": "d",
    }
    assert rendered(Media("video", url="https://x"), quirks) == {
        "type": "video_url",
        "video_url": {"url": "https://x"},
    }


def test_parts_in_the_wrong_place_are_left_out_with_a_warning() -> None:
    given = Request(
        "m",
        [
            Message("user", [Opaque("gemini", "executableCode", {})]),
            Message("user", [Text("x"), ToolCall("a", "f"), Reasoning("hm")]),
            Message(
                "assistant",
                [
                    Media("image", "image/png", data="AAAA"),
                    ToolCall("a", "f", caller="program_1"),
                ],
            ),
            Message(
                "tool",
                [
                    ToolResult(
                        "a",
                        [
                            Text("1"),
                            Opaque("anthropic", "search_result", {}),
                            Media("document", text="2"),
                        ],
                    ),
                    Text("and"),
                ],
            ),
        ],
    )
    with pytest.raises(UnsupportedError, match="executableCode: a part that only gemini has"):
        render_request(given)
    wire = render_request(replace(given, lossy=True))
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert wire.body["messages"] == [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [function("f")]},
        {"role": "tool", "tool_call_id": "a", "content": "1\n[search_result]\n2"},
        {"role": "user", "content": [image]},
        {"role": "user", "content": "and"},
    ]
    assert {(warning.kind, warning.feature) for warning in wire.warnings} == {
        ("unsupported", "executableCode"),
        ("unsupported", "messages.content"),
        ("dropped_state", "reasoning"),
        ("emulated", "assistant.media"),
        ("unsupported", "caller"),
        ("emulated", "search_result"),
        ("emulated", "document"),
    }


def test_an_id_pattern_without_room_for_a_prefix() -> None:
    quirks = Quirks(call_id_pattern=r"[A-Za-z0-9]+")
    given = Request("m", [Message("assistant", [ToolCall("call-1", "f")])])
    call = render_request(given, quirks=quirks).body["messages"][0]["tool_calls"][0]
    assert call["id"].isalnum()
    assert len(call["id"]) == 24


def test_media_in_an_answer() -> None:
    parts: list[Part] = [Media("audio", "audio/wav", data="AAAA"), Text("x")]
    message = render_response(Response("i", "m", Message("assistant", parts), "stop"))["choices"][0]
    assert message["message"] == {
        "role": "assistant",
        "content": "[audio audio/wav]x",
        "refusal": None,
        "annotations": [],
    }
