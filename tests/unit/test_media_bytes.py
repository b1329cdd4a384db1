"""What tools gave is looked at before it is sent: a broken file would be refused for good."""

from __future__ import annotations

import base64
import json

import pytest

from polycall.ir import Media, Message, Request, Text, ToolCall, ToolResult
from polycall.providers.dialects import DIALECTS
from polycall.translation.media_bytes import format_of, mended
from tests.support import PIXEL

RAW = base64.b64decode(PIXEL)
GIF = (  # one pixel, with colours, an extension, and the trailer's byte among its data
    b"GIF89a\1\0\1\0\x80\0\0" + b"\0\0\0\xff;\xff" + b"!\xf9\4\0\0\0\0\0"
    b",\0\0\0\0\1\0\1\0\0" + b"\2\2D\1\0;"
)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


BROKEN = {
    "no base64": (Media("image", "image/png", "<html>"), "is not base64"),
    "half of it": (Media("image", "image/png", PIXEL[:40]), "cut short"),
    "other bytes": (Media("image", "image/png", encoded(b"404 not found")), "not image/png"),
    "another kind": (Media("image", "image/jpg", encoded(b"%PDF-1.7 %%EOF")), "not image/jpg"),
    "no pdf": (Media("document", "application/pdf", PIXEL), "not application/pdf"),
    "cut pdf": (Media("document", "application/pdf", encoded(b"%PDF-1.7 1 0 obj")), "cut short"),
    "cut jpeg": (Media("image", "image/jpeg", encoded(b"\xff\xd8\xff\xe0JFIF")), "cut short"),
    "cut gif": (Media("image", "image/gif", encoded(b"GIF89a\1\0\1\0")), "cut short"),
    "gif cut in its pixels": (Media("image", "image/gif", encoded(GIF[:-3])), "cut short"),
    "cut webp": (Media("image", "image/webp", encoded(b"RIFF\xff\0\0\0WEBPVP8 ")), "cut short"),
    "padding alone": (Media("image", "image/png", "===="), "is empty"),
}
SOUND = {
    "as it is": Media("image", "image/png", PIXEL),
    "with parameters": Media("image", "IMAGE/PNG; q=1", PIXEL),
    "of a type that is not known": Media("file", "application/zip", encoded(b"PK")),
    "sound": Media("audio", "audio/mpeg", encoded(b"\xff\xf3\x40")),
    "an address": Media("image", url="https://e.org/a.png"),
    "text": Media("document", "text/plain", text="hi"),
    "a gif with bytes after its end": Media("image", "image/gif", encoded(GIF + b"\r\n; made")),
    "a gif with more than is known": Media("image", "image/gif", encoded(GIF[:-1] + b"\1;")),
    "a late mark": Media("document", "application/pdf", encoded(b"\n\n%PDF-1.4 %%EOF\n")),
}
MENDED = {
    "another picture": Media("image", "image/jpeg", PIXEL),
    "an address of data": Media("image", data=f"data:image/png;base64,{PIXEL}"),
    "no type": Media("image", "", PIXEL),
    "a type that says nothing": Media("image", "application/octet-stream", PIXEL),
    "lines": Media("image", "image/png", "\n".join([PIXEL[:30], PIXEL[30:]])),
    "other spaces": Media(
        "image", "image/png", f"{PIXEL[:9]}\x85{PIXEL[9:20]}\u2028{PIXEL[20:]}\xa0"
    ),
    "no padding": Media("image", "image/png", PIXEL.rstrip("=")),
    "for addresses": Media("image", "image/png", PIXEL.replace("+", "-").replace("/", "_")),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_known_and_why(name: str) -> None:
    media, reason = BROKEN[name]
    assert reason in mended(media)[1]


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_file_stays_itself(name: str) -> None:
    assert mended(SOUND[name]) == (SOUND[name], "")
    assert mended(SOUND[name])[0] is SOUND[name]


@pytest.mark.parametrize("name", MENDED)
def test_what_can_be_mended_is(name: str) -> None:
    media, reason = mended(MENDED[name])
    assert (media.media_type, media.data, reason) == ("image/png", PIXEL, "")


def test_formats_are_told_by_their_first_bytes() -> None:
    assert format_of(RAW) == ("image", "image/png")
    assert format_of(b"RIFF\0\0\0\0WAVE") == ("audio", "audio/wav")
    assert format_of(b"\0\0\0\x18ftypmp42") == ("video", "video/mp4")
    assert format_of(b"") == ("file", "")


def conversation(media: Media) -> list[Message]:
    return [
        Message("user", [Text("go")]),
        Message("assistant", [ToolCall("c1", "shot", "{}")]),
        Message("tool", [ToolResult("c1", [Text("here"), media])]),
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", BROKEN)
def test_a_tools_broken_file_is_said_in_words_on_every_wire(dialect: str, name: str) -> None:
    media, _ = BROKEN[name]
    wire = DIALECTS[dialect].render_request(Request("m", conversation(media)))
    assert "not shown, since" in json.dumps(wire.body)
    assert media.data not in json.dumps(wire.body)
    assert "tool_result.media" in {warning.feature for warning in wire.warnings}


def test_what_a_person_attached_is_the_vendors_to_judge() -> None:
    broken = BROKEN["other bytes"][0]
    request = Request("m", [Message("user", [Text("look"), broken])])
    assert broken.data in json.dumps(DIALECTS["openai-responses"].render_request(request).body)


def test_a_clients_result_for_its_own_vendor_stays_as_it_wrote_it() -> None:
    data = BROKEN["other bytes"][0].data
    source = {"type": "base64", "media_type": "image/png", "data": data}
    used = {"type": "tool_use", "id": "t1", "name": "shot", "input": {}}
    image = {"type": "image", "source": source}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [image]}
    body = {
        "model": "m",
        "max_tokens": 9,
        "messages": [
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": [used]},
            {"role": "user", "content": [result]},
        ],
    }
    request = DIALECTS["anthropic"].parse_request(body)
    assert data in json.dumps(DIALECTS["anthropic"].render_request(request).body)
    assert data not in json.dumps(DIALECTS["gemini"].render_request(request).body)
