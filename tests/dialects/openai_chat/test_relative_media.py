"""C5: parts of media that Chat clients write, where a relative is known to take none of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from polycall.dialects import openai_chat
from polycall.errors import UnsupportedError
from polycall.exchange import prepare
from polycall.gateway.passthrough.request import QuirkMarks, read_fields
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.quirks import NAMED_QUIRKS


def file(media_type: str, data: str) -> dict[str, Any]:
    inner = {"filename": "a.b", "file_data": f"data:{media_type};base64,{data}"}
    return {"type": "file", "file": inner}


PDF = file("application/pdf", "JVBERi0xLjQK")
TEXT = file("text/plain", "aGVsbG8=")
SOUND = {"type": "input_audio", "input_audio": {"data": "UklGRiQAAABXQVZF", "format": "wav"}}


def sent(part: dict[str, Any], provider: str, model: str) -> Any:
    said = [{"role": "user", "content": [{"type": "text", "text": "see"}, part]}]
    request = openai_chat.parse_request({"model": "m", "messages": said})
    body = prepare(request, CATALOGUE[provider], model, "k", "openai-chat").wire.body
    return body["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("part", "provider", "model", "kind"),
    [
        (PDF, "deepseek", "deepseek-flash", "document"),
        (SOUND, "deepseek", "deepseek-v4-pro", "audio"),
        (PDF, "groq", "openai/gpt-oss-120b", "document"),
        (SOUND, "moonshot", "kimi-k3", "audio"),
    ],
)
def test_c5_a_part_that_a_relative_does_not_take_is_refused_by_name(
    part: dict[str, Any], provider: str, model: str, kind: str
) -> None:
    with pytest.raises(UnsupportedError, match=kind):
        sent(part, provider, model)


def test_c5_a_file_reaches_a_relative_as_it_takes_files() -> None:
    assert sent(PDF, "mistral", "mistral-large-4")[-1] == {
        "type": "document_url",
        "document_url": "data:application/pdf;base64,JVBERi0xLjQK",
        "document_name": "a.b",
    }
    assert sent(TEXT, "groq", "openai/gpt-oss-120b")[-1]["text"] == "a.b\n\nhello"
    assert sent(PDF, "openrouter", "x/y")[-1] == PDF
    assert sent(SOUND, "alibaba", "qwen3.8-max")[-1] == SOUND


@pytest.mark.parametrize(
    ("provider", "model", "field", "value"),
    [
        ("mistral", "mistral-large-4", "store", True),
        ("mistral", "magistral-small-latest", "store", False),
        ("groq", "openai/gpt-oss-20b", "logit_bias", {"50256": -1}),
    ],
)
def test_c5_a_field_that_a_relative_refuses_is_left_out(
    provider: str, model: str, field: str, value: Any
) -> None:
    said = [{"role": "user", "content": "hi"}]
    body = {"model": "m", "messages": said, field: value}
    quirks = CATALOGUE[provider].quirks_for(model)
    fields = read_fields(json.dumps(body).encode(), "openai-chat")
    assert QuirkMarks(quirks).meet(fields), "it is not passed on"
    request = openai_chat.parse_request(body)
    wire = prepare(request, CATALOGUE[provider], model, "k", "openai-chat").wire
    assert field not in wire.body
    assert [each.feature for each in wire.warnings] == [field]


@pytest.mark.parametrize("stops", [["a", "b", "c", "d", "e"], list("abcdefgh")])
def test_t19_more_stops_than_an_unnamed_server_takes_are_not_passed_on(stops: list[str]) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stop": stops}
    fields = read_fields(json.dumps(body).encode(), "openai-chat")
    assert QuirkMarks(NAMED_QUIRKS["compatible"]).meet(fields)
    plain = {key: value for key, value in body.items() if key != "stop"}
    assert not QuirkMarks(NAMED_QUIRKS["compatible"]).meet(
        read_fields(json.dumps(plain).encode(), "openai-chat")
    )
