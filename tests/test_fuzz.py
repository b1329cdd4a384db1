"""Broken input: whatever is wrong with it, one kind of error comes out, with the place."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from polycall._support import jsontext
from polycall.errors import MalformedRequestError, PolycallError, ProtocolError, UpstreamError
from polycall.fold import fold, unfold
from polycall.ir import (
    Media,
    Message,
    Reasoning,
    Request,
    Response,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Usage,
)
from polycall.providers.dialects import DIALECTS
from polycall.translation.wire import Dialect
from tests.support import corpus, decode

NAMES = list(DIALECTS)

REQUEST = Request(
    model="m",
    messages=[
        Message("system", [Text("s")]),
        Message("user", [Text("u"), Media("image", "image/png", data="aGk=")]),
        Message("assistant", [Text("t"), ToolCall("c1", "f", '{"a":1}')]),
        Message("tool", [ToolResult("c1", [Text("r")], name="f")]),
        Message("user", [Text("go on")]),
    ],
    tools=[Tool("f", "d", {"type": "object", "properties": {"a": {"type": "integer"}}})],
    tool_choice=ToolChoice("auto"),
    max_output_tokens=2000,
)
RESPONSE = Response(
    id="r1",
    model="m",
    created=1_790_000_000,
    message=Message("assistant", [Reasoning("hm"), Text("t"), ToolCall("c1", "f", '{"a":1}')]),
    finish_reason="tool_calls",
    usage=Usage(10, 5, 2, 0, 1),
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.sampled_from(["\ud83d", "서울 🌧️", "", "text", "function", "stop"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.text(max_size=5), st.sampled_from(["type", "text", "id", "name"])),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    found = [path]
    if isinstance(value, dict):
        for key, inner in value.items():
            found += places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += places(inner, (*path, index))
    return found


@st.composite
def broken(draw: st.DrawFn, body: dict[str, Any]) -> Any:
    """The body with up to three places replaced or removed."""
    changed: Any = copy.deepcopy(body)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(changed)))
        if not path:
            continue
        parent = changed
        for key in path[:-1]:
            parent = parent[key]
        if draw(st.booleans()):
            parent[path[-1]] = draw(values)
        else:
            del parent[path[-1]]
    return changed


def dialect_of(name: str) -> Dialect:
    return DIALECTS[name]  # pyright: ignore[reportArgumentType]


def over_the_wire(body: Any) -> Any:
    return jsontext.decode(jsontext.encode(body))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_broken_answer_is_a_protocol_error(name: str, data: st.DataObject) -> None:
    dialect = dialect_of(name)
    body = data.draw(broken(over_the_wire(dialect.render_response(RESPONSE))))
    try:
        response = dialect.parse_response(body)
    except ProtocolError as error:
        assert error.path, str(error)
    except UpstreamError:
        assert body.get("error") or body.get("type") == "error" or "status" in body
    else:
        # What can be read can be given back.
        dialect.render_response(response)
        assert fold(unfold(response)).message == response.message


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_broken_request_is_the_callers_fault(name: str, data: st.DataObject) -> None:
    dialect = dialect_of(name)
    wire = dialect.render_request(REQUEST)
    body = data.draw(broken(over_the_wire(wire.body)))
    try:
        request = dialect.parse_request(body, path=wire.path)
    except MalformedRequestError as error:
        assert error.path, str(error)
        return
    for target in DIALECTS.values():
        try:
            jsontext.encode(target.render_request(request).body)
        except PolycallError as error:
            assert str(error)


# In the place of anything: what no field is, and what a field of another kind might be.
OTHERS = (
    [],
    {},
    [[]],
    [{}],
    {"type": []},
    0,
    -1,
    2**70,
    1.5,
    math.inf,
    "x",
    "",
    "\ud83d",
    True,
    None,
)


def changed(body: dict[str, Any], seed: random.Random) -> Iterator[dict[str, Any]]:
    """The body with another value at one of its places."""
    paths = [path for path in places(body) if path]
    for path in seed.sample(paths, min(len(paths), 40)):
        other = copy.deepcopy(body)
        parent: Any = other
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = copy.deepcopy(seed.choice(OTHERS))
        yield other


def is_read(read: Callable[[], Any]) -> Any:
    """What was read; `None` where it was refused as it should be."""
    try:
        return read()
    except PolycallError as error:
        assert str(error)
        return None


@pytest.mark.parametrize("half", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_recorded_traffic_with_other_values_is_read_or_refused(name: str, half: int) -> None:
    """Bodies, answers and streams of every feature that was recorded, one place changed."""
    dialect, others = dialect_of(name), list(DIALECTS.values())
    seed = random.Random(name)
    rows = [row for row in corpus(name) if len(str(row)) < 30_000]
    for row in seed.sample(rows, min(400, len(rows)))[half::2]:
        path = row["url_path"] if name in ("gemini", "bedrock-converse") else ""
        if isinstance(row["request"], dict):
            for body in changed(row["request"], seed):
                request = is_read(partial(dialect.parse_request, body, path=path))
                if request is not None:
                    is_read(partial(seed.choice(others).render_request, request))
        if isinstance(row["response"], dict) and row["status"] == 200:
            for body in changed(row["response"], seed):
                response = is_read(partial(dialect.parse_response, body))
                if response is not None:
                    is_read(partial(seed.choice(others).render_response, response))
        lines = (row["response_sse"] or "").split("\n")
        data = [n for n, line in enumerate(lines) if line.startswith("data: {")]
        for number in seed.sample(data, min(len(data), 2)):
            for event in changed(jsontext.decode(lines[number][6:]), seed):
                told = [*lines[:number], "data: " + jsontext.encode(event), *lines[number + 1 :]]
                stream = "\n".join(told).encode("utf-8", "surrogatepass")
                events = is_read(partial(decode, dialect.StreamDecoder(), [stream]))
                if events is not None:
                    encoder = seed.choice(others).StreamEncoder()
                    for each in events:
                        encoder.feed(each)
                    encoder.close()


HELLO = [{"role": "user", "content": "hi"}]
CALLING = {
    "role": "assistant",
    "content": [{"type": "text", "text": "t"}],
    "tool_calls": [{"id": {}}],
}


@pytest.mark.parametrize(
    ("name", "fields", "path"),
    [
        ("openai-chat", {"tool_choice": {"type": []}}, "tool_choice.type"),
        ("openai-chat", {"messages": [*HELLO, CALLING]}, "messages[1].tool_calls.id"),
        ("anthropic", {"output_config": {"effort": {}}}, "output_config.effort"),
        ("anthropic", {"thinking": {"type": []}}, "thinking.type"),
        ("anthropic", {"thinking": {"type": {"type": "enabled"}}}, "thinking.type"),
        ("anthropic", {"thinking": {"type": 7}}, "thinking.type"),
    ],
)
def test_the_place_of_a_wrong_type_is_said(name: str, fields: dict[str, Any], path: str) -> None:
    body = {"model": "m", "max_tokens": 9, "messages": HELLO, **fields}
    with pytest.raises(MalformedRequestError) as caught:
        dialect_of(name).parse_request(body)
    assert caught.value.path == path


@pytest.mark.parametrize("thinking", ["on", None, 7, True, [], {}, {"type": []}, {"type": "on"}])
def test_fields_for_the_model_itself_are_the_models_to_judge(thinking: Any) -> None:
    bedrock, body = DIALECTS["bedrock-converse"], {"messages": [{"role": "user", "content": []}]}
    asked = {**body, "additionalModelRequestFields": {"thinking": thinking}}
    request = bedrock.parse_request(asked, path="/model/m/converse")
    sent = bedrock.render_request(request).body
    assert sent["additionalModelRequestFields"] == {"thinking": thinking}


def test_a_model_with_half_a_surrogate_pair_has_no_address() -> None:
    with pytest.raises(MalformedRequestError, match="half a surrogate pair") as caught:
        DIALECTS["gemini"].render_request(replace(REQUEST, model="\ud83d"))
    assert caught.value.path == "model"


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_broken_stream_event_is_a_protocol_error(name: str, data: st.DataObject) -> None:
    dialect = dialect_of(name)
    encoder = dialect.StreamEncoder()
    stream = b"".join([*(encoder.feed(event) for event in unfold(RESPONSE)), encoder.close()])
    blocks = stream.replace(b"\r\n", b"\n").split(b"\n\n")
    place = data.draw(st.integers(0, len(blocks) - 1))
    head, marker, payload = blocks[place].partition(b"data: ")
    if marker and payload.startswith(b"{"):
        changed = data.draw(broken(jsontext.decode(payload)))
        blocks[place] = head + marker + jsontext.encode_bytes(changed)
    decoder = dialect.StreamDecoder()
    decoder.feed(b"\n\n".join(blocks))
    try:
        decoder.close()
    except PolycallError as error:
        assert str(error)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=100, deadline=None)
@given(noise=st.binary(max_size=200), at=st.integers(0, 2000))
def test_noise_in_a_stream_is_a_protocol_error(name: str, noise: bytes, at: int) -> None:
    dialect = dialect_of(name)
    encoder = dialect.StreamEncoder()
    stream = b"".join([*(encoder.feed(event) for event in unfold(RESPONSE)), encoder.close()])
    decoder = dialect.StreamDecoder()
    decoder.feed(stream[:at] + noise + stream[at:])
    try:
        decoder.close()
    except PolycallError as error:
        assert str(error)


@pytest.mark.parametrize("name", NAMES)
@given(noise=st.binary(max_size=300))
def test_noise_alone_is_never_an_answer(name: str, noise: bytes) -> None:
    decoder = dialect_of(name).StreamDecoder()
    assert decoder.feed(noise) == []
    with pytest.raises(PolycallError):
        decoder.close()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=80, deadline=None)
@given(body=st.one_of(values, st.binary(max_size=80).map(repr)), status=st.integers(400, 599))
def test_any_error_body_is_typed(name: str, body: Any, status: int) -> None:
    error = dialect_of(name).parse_error(status, body)
    assert isinstance(error, UpstreamError)
    assert error.status == status
    rendered_status, rendered = dialect_of(name).render_error(error)
    assert 400 <= rendered_status < 600
    jsontext.encode(rendered)
