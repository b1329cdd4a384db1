"""C9: an answer that is passed on names the model that was asked for, whole and streamed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from polycall.gateway.passthrough.model_name import NamedStream, named_as_asked
from polycall.sim import Simulation
from tests.gateway.harness import Gateway, sim_config

CHAT = {"messages": [{"role": "user", "content": 'Say "model": "x".'}]}
# By protocol: the path, the fields beside the model, and how its answers name the model.
ASKED = {
    "up-chat": ("/v1/chat/completions", CHAT, "model"),
    "up-responses": ("/v1/responses", {"input": 'Say "model": "x".'}, "model"),
    "up-anthropic": ("/v1/messages", {**CHAT, "max_tokens": 50}, "model"),
    "up-gemini": (
        "/v1beta/models/{}:generateContent",
        {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
        "modelVersion",
    ),
}


@pytest.fixture(scope="module")
def served(sim: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    alias = '[models.fast]\nroute = ["up-chat/sim-1"]\n'
    gateway = Gateway(tmp_path_factory.mktemp("names"), sim_config(sim) + alias).start()
    yield gateway
    gateway.stop()


def names(text: str, field: str) -> set[str]:
    return set(re.findall(rf'"{field}"\s*:\s*"([^"]*)"', text.replace('\\"', "'")))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("upstream", ASKED)
def test_c9_a_passed_answer_names_the_model_that_was_asked_for(
    served: Gateway, upstream: str, *, streamed: bool
) -> None:
    path, fields, field = ASKED[upstream]
    name = f"{upstream}/sim-1"
    if "{}" in path:
        path = path.format(name)
        if streamed:
            path = path.replace(":generate", ":streamGenerate") + "?alt=sse"
    else:
        fields = {"model": name, "stream": streamed, **fields}
    answer = served.post(path, fields)
    assert answer.status == 200, answer.content.decode()
    assert names(answer.content.decode(), field) == {name}
    assert answer.headers["polycall-model"] == name


@pytest.mark.parametrize("usage", [None, {"include_usage": True}])
def test_c9_an_alias_is_named_as_it_was_asked_for(served: Gateway, usage: object) -> None:
    options = {} if usage is None else {"stream_options": usage}
    body = {"model": "fast", "stream": True, **options, **CHAT}
    answer = served.post("/v1/chat/completions", body)
    assert names(answer.content.decode(), "model") == {"fast"}
    assert answer.headers["polycall-model"] == "up-chat/sim-1"
    assert answer.content.decode().endswith("data: [DONE]\n\n")


def test_c9_what_a_text_says_of_models_stays() -> None:
    said = {"id": "c", "model": "real-1", "choices": [{"message": {"content": '"model":"real-1"'}}]}
    for text in (json.dumps(said), json.dumps(said, separators=(",", ":"))):
        named = json.loads(named_as_asked(text.encode(), b'"model"', b'"a/b"'))
        assert named == {**said, "model": "a/b"}
    assert named_as_asked(b'{"id":1}', b'"model"', b'"a"') == b'{"id":1}'


@pytest.mark.parametrize(
    "before",
    [
        {"content": [{"type": "tool_use", "input": {"model": "T4", "deep": [{"model": "x"}]}}]},
        {
            "metadata": {"model": "mine"},
            "note": 'a "model": "b" {[',
            "list": [["{", {"model": "c"}]],
        },
    ],
)
def test_c9_fields_of_that_name_in_what_the_model_wrote_stay(before: dict[str, object]) -> None:
    said = {**before, "model": "real-1", "after": {"model": "d"}}
    for text in (json.dumps(said), json.dumps(said, separators=(",", ":"))):
        named = json.loads(named_as_asked(text.encode(), b'"model"', b'"a/b"'))
        assert named == {**said, "model": "a/b"}
        frame = f"event: response.created\ndata: {json.dumps({'response': said})}\n\n".encode()
        stream = NamedStream(b'"model"', b'"a/b"')
        for frames in (frame, frame, 2 * frame):
            for shown in stream.feed(frames).strip().split(b"\n\n"):
                told = json.loads(shown.partition(b"data: ")[2])
                assert told == {"response": {**said, "model": "a/b"}}


def test_c9_what_is_called_as_the_model_is_elsewhere_stays() -> None:
    said = {"model": "real-1", "metadata": {"model": "real-1"}, "x": [{"model": "real-1"}]}
    stream = NamedStream(b'"model"', b'"a/b"')
    for number in range(3):
        frame = {"response": said} if number % 2 else {"id": number, "model": "real-1"}
        data = f"data: {json.dumps(frame, separators=(',', ':'))}\n\n"
        named = {**said, "model": "a/b"}
        expected = {"response": named} if number % 2 else {"id": number, "model": "a/b"}
        assert json.loads(stream.feed(data.encode())[6:]) == expected


def test_c9_a_stream_that_names_its_model_late_or_in_two_ways() -> None:
    first = b'data: {"model":"","choices":[]}\n\n'
    rest = b'data: {"model": "r\\"1", "x": 1}\n\n', b'data: {"model":"r\\"1"}\n\n'
    stream = NamedStream(b'"model"', b'"a"')
    assert stream.feed(first) == first
    assert [json.loads(stream.feed(each)[6:])["model"] for each in rest] == ["a", "a"]


@pytest.mark.parametrize("piece", ["x", "\\\\", '\\"', "\\u00e9", "x\\n"])
@pytest.mark.parametrize("space", ["", " ", "\n" * 100], ids=["none", "one", "many"])
def test_c9_a_name_has_a_bound_however_it_is_written(piece: str, space: str) -> None:
    """What is longer is passed on as it is, and read no further."""
    for size, is_name in ((800, True), (1_100, False), (500_000, False)):
        name = piece * (size // len(piece))
        body = f'{{"id":1,"model"{space}:{space}"{name}","x":[]}}'.encode()
        named = f'{{"id":1,"model"{space}:{space}"a","x":[]}}'.encode() if is_name else body
        assert named_as_asked(body, b'"model"', b'"a"') == named
        stream = NamedStream(b'"model"', b'"a"')
        frame, shown = (b"data: %b\n\n" % each for each in (body, named))
        assert [stream.feed(frame), stream.feed(2 * frame)] == [shown, 2 * shown]


def test_c9_the_own_name_of_a_provider_is_passed_as_it_is(sim: Simulation, tmp_path: Path) -> None:
    route = '[models."sim-1"]\nroute = ["up-chat/sim-1"]\n'
    gateway = Gateway(tmp_path, sim_config(sim) + route).start()
    answer = gateway.post("/v1/chat/completions", {"model": "sim-1", **CHAT})
    gateway.stop()
    assert answer.json()["model"] == "sim-1"
