"""What a caller who allows losses is sent where a model takes less: T1, C2 and M2."""

from __future__ import annotations

import pytest

from polycall.errors import UnsupportedError
from polycall.ir import Media, Message, Text
from polycall.providers.provider import Provider
from polycall.providers.quirks import NAMED_QUIRKS
from tests.profiles.asking import asked, said

PICTURE = Media("image", "image/png", data="iVBORw0KGgo=")
SOUND = Media("audio", "audio/wav", data="UklGRg==")


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("openai/gpt-5.5", SOUND),
        ("openai/o3-mini", PICTURE),
        ("deepseek/deepseek-v4-pro", PICTURE),
        ("mistral/codestral-2508", PICTURE),
        ("zai/glm-5.3", PICTURE),
    ],
)
def test_m02_a_medium_that_a_model_does_not_take_is_named_and_never_sent(
    model: str, shown: Media
) -> None:
    messages = [
        Message("user", [Text("a"), shown]),
        Message("assistant", [Text("b")]),
        Message("user", [shown, Text("c")]),
    ]
    with pytest.raises(UnsupportedError, match=shown.kind):
        asked(model, messages=messages)
    wire = asked(model, messages=messages, lossy=True)
    sent = str(wire.body)
    assert str(shown.data) not in sent
    assert sent.count("not shown to this model") == 2
    assert ("unsupported", shown.kind) in said(wire)


@pytest.mark.parametrize("first", [PICTURE, SOUND])
def test_m02_each_kind_of_medium_that_a_model_does_not_take_is_named(first: Media) -> None:
    second = SOUND if first is PICTURE else PICTURE
    together = [Message("user", [Text("a"), first, second, first])]
    apart = [Message("user", [first]), Message("assistant", [Text("b")]), Message("user", [second])]
    for messages in (together, apart):
        wire = asked("openai/o3-mini", messages=messages, lossy=True)
        named = [each.feature for each in wire.warnings if each.kind == "unsupported"]
        assert sorted(named) == ["audio", "image"]


@pytest.mark.parametrize("model", ["groq/openai/gpt-oss-120b", "vllm/zai-org/GLM-5.3"])
def test_m02_anothers_server_of_open_weights_judges_pictures_itself(model: str) -> None:
    assert str(PICTURE.data) in str(asked(model, messages=[Message("user", [PICTURE])]).body)


@pytest.mark.parametrize("model", ["anthropic/claude-sonnet-5-5", "anthropic/claude-fable-5"])
def test_m02_a_beginning_that_a_model_does_not_take_is_a_turn_to_go_on_from(model: str) -> None:
    messages = [Message("user", [Text("a")]), Message("assistant", [Text("The answer")])]
    with pytest.raises(UnsupportedError, match="prefill"):
        asked(model, messages=messages)
    wire = asked(model, messages=messages, lossy=True)
    assert [each["role"] for each in wire.body["messages"]] == ["user", "assistant", "user"]
    assert "The answer" in str(wire.body["messages"][1])
    assert ("unsupported", "prefill") in said(wire)


@pytest.mark.parametrize("count", [5, 9])
def test_t20_an_unknown_server_is_sent_as_many_stops_as_openai_takes(count: int) -> None:
    stops = [f"<{number}>" for number in range(count)]
    server = Provider(
        "mine", "openai-chat", "http://127.0.0.1:9", quirks=NAMED_QUIRKS["compatible"]
    )
    wire = asked("mine/some-model", provider=server, stop=stops)
    assert wire.body["stop"] == stops[:4]
    assert wire.stops == stops
    assert ("emulated", "stop") in said(wire)
