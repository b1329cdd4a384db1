"""What one request, answer or value may have others hold in memory, and for how long."""

from __future__ import annotations

import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from polycall._support import jsontext
from polycall._support.vault import Vault
from polycall.dialects.openai_responses.response import REPEATED_BYTES_MAX
from polycall.dialects.openai_responses.stream_encoder import StreamEncoder
from polycall.errors import MalformedRequestError, ProtocolError, RequestTooLargeError
from polycall.fold import unfold
from polycall.gateway.generation.attempt import Attempt
from polycall.gateway.passthrough.request import SETTING_BYTES_MAX, read_fields
from polycall.gateway.routing.router import Target
from polycall.gateway.state import conversations
from polycall.gateway.state.known_conversations import OWNER_BYTES_MAX, KnownConversations
from polycall.gateway.store import open_store
from polycall.ir import Message, Request, Response, Text, Tool
from polycall.providers.dialects import DIALECTS
from polycall.providers.provider import Provider
from polycall.translation.wire import Reader
from polycall.transport.base import HTTPRequest
from tests.edge.test_doors import MODELS, UP, ask, serving

LONG = "긴 x" * 300_000


@pytest.mark.parametrize("name", ["metadata", "text", "a name that nobody knows"])
def test_a20_a_setting_is_not_as_long_as_what_is_said(name: str) -> None:
    fields = read_fields(jsontext.encode_bytes({"input": LONG, name: {"a": LONG}}), "openai-chat")
    with pytest.raises(RequestTooLargeError, match=str(SETTING_BYTES_MAX)) as raised:
        fields.check_settings()
    assert raised.value.param == name


def test_what_a_model_reads_may_be_long() -> None:
    said: dict[str, Any] = {"messages": LONG, "tools": [LONG], "system": LONG, "metadata": {"a": 1}}
    read_fields(jsontext.encode_bytes(said), "anthropic").check_settings()


async def test_a20_a_long_setting_is_refused_by_its_name(tmp_path: Path) -> None:
    async with serving(tmp_path, UP + MODELS) as served:
        body = {"model": "up/m", "input": "x", "metadata": {"a": LONG}}
        status, said = await ask(served, "POST", "/v1/responses", body)
        assert (status, said["error"]["param"]) == (413, "metadata")


@pytest.mark.parametrize(
    "request_",
    [
        Request(model="m", messages=[Message("system", [Text(LONG)])]),
        Request(model="m", messages=[], tools=[Tool("f", LONG, {"type": "object"})]),
        Request(model="m", messages=[], tools=[Tool(f"f{n}", "", {}) for n in range(9000)]),
    ],
)
def test_a20_a_stream_does_not_repeat_a_long_request(request_: Request) -> None:
    encoder = StreamEncoder(request_)
    answer = Response(
        id="r", model="m", message=Message("assistant", [Text("hi")]), finish_reason="stop"
    )
    data = b"".join(encoder.feed(event) for event in unfold(answer)) + encoder.close()
    assert len(data) < REPEATED_BYTES_MAX
    events = [json.loads(each) for each in re.findall(rb"^data: (\{.*)$", data, re.MULTILINE)]
    assert [each["sequence_number"] for each in events] == list(range(len(events)))
    first, last = events[0]["response"], events[-1]["response"]
    assert (first["instructions"], first["tools"]) == (None, [])
    assert last["output"][0]["content"][0]["text"] == "hi"


def test_a20_a_stream_encodes_no_long_text_that_it_leaves_out() -> None:
    encoder = StreamEncoder(Request(model="m", messages=[Message("system", [Text(9 * LONG)])]))
    answer = Response(
        id="r", model="m", message=Message("assistant", [Text("hi")]), finish_reason="stop"
    )
    events = list(unfold(answer))
    tracemalloc.start()
    try:
        data = b"".join(encoder.feed(event) for event in events)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(data) < REPEATED_BYTES_MAX
    assert peak < 1_000_000


@pytest.mark.parametrize(
    "value", ["긴" * 9_000_000, ["x" * 9_000_000] * 3, {"a": {"b": "y" * 9_000_000}}, [0] * 999_999]
)
def test_a20_an_error_shows_the_beginning_of_what_is_wrong(value: Any) -> None:
    with pytest.raises(ProtocolError) as raised:
        Reader(MalformedRequestError).fail("messages[0]", "a number", value)
    assert len(str(raised.value)) < 120


def test_a20_a_long_body_is_not_held_while_its_answer_comes() -> None:
    target = Target(Provider("p", "openai-chat", base_url="http://x"), "m", "k")
    http = HTTPRequest("http://x", {"a": "b"}, b"x" * 100_000)
    begun = Attempt(target, DIALECTS["openai-chat"], http).begun()
    assert (begun.http.body, begun.http.headers) == (b"", {"a": "b"})
    short = Attempt(target, DIALECTS["openai-chat"], HTTPRequest("http://x", {}, b"x"))
    assert short.begun() is short


@pytest.mark.parametrize("kind", ["a long text", "white space"])
async def test_a20_what_a_protocol_library_reads_is_shorter(tmp_path: Path, kind: str) -> None:
    away = '[mcp.away]\nurl = "http://127.0.0.1:9/mcp"\n'
    async with serving(tmp_path, UP + MODELS + away) as served:
        body = b'"%b"' if kind == "a long text" else b"%b1"
        headers = [(b"content-type", b"application/json")]
        data = body % (b" " * 4 * 1024 * 1024)
        status, said = await ask(served, "POST", "/mcp", data=data, headers=headers)
        assert (status, "larger than 4194304 bytes" in str(said)) == (413, True)


@pytest.fixture
def little_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("state.conversations", "generation.earlier_answers", "responses.routes"):
        monkeypatch.setattr(f"polycall.gateway.{place}.KEPT_BYTES_MAX", 4000)


@pytest.mark.usefixtures("little_is_kept")
@pytest.mark.parametrize(
    ("more", "param"), [({"background": True}, "background"), ({"conversation": "c"}, None)]
)
async def test_a16_what_asks_to_be_kept_and_is_too_long_is_refused(
    tmp_path: Path, more: dict[str, Any], param: str | None
) -> None:
    async with serving(tmp_path, UP + MODELS) as served:
        if param is None:
            _, made = await ask(served, "POST", "/v1/conversations", {"items": []})
            more = {"conversation": made["id"]}
        body = {"model": "up/m", "input": "긴" * 4000, **more}
        status, said = await ask(served, "POST", "/v1/responses", body)
        assert (status, said["error"]["param"]) == (413, param or "conversation")


@pytest.mark.usefixtures("little_is_kept")
async def test_a16_a_long_answer_that_is_not_kept_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path, "[server]\nattempts = 1\n" + UP + MODELS) as served:
        body = {"model": "up/m", "input": "긴" * 4000}
        strict = [(b"polycall-strict", b"true")]
        status, said = await ask(served, "POST", "/v1/responses", body, headers=strict)
        assert status == 400
        assert "store" in said["error"]["message"]
        status, _ = await ask(served, "POST", "/v1/responses", {**body, "store": False})
        assert status == 502  # there is nobody: it was sent


async def test_a_large_value_leaves_others_their_place_in_the_cache(tmp_path: Path) -> None:
    store = open_store("sqlite:///s.db", tmp_path)
    await store.save_state("a", "small", b"1")
    await store.save_state("b", "large", b"x" * 3_000_000)
    assert ("a", "small") in store._cache._values
    assert ("b", "large") not in store._cache._values
    assert (await store.load_states("b", ["large"]))["large"] == b"x" * 3_000_000
    await store.close()


@pytest.mark.parametrize("size", [0, 1_048_576, 1_048_577, 8_000_000])
def test_a_value_is_copied_once_to_lock_it_and_once_to_unlock_it(size: int) -> None:
    vault, value = Vault(b"secret"), b"x" * size
    tracemalloc.start()
    try:
        locked = vault.lock("a", "n", value)
        opened = vault.unlock("a", "n", locked)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert opened == value
    assert vault.unlock("b", "n", locked) is None
    assert peak < 2 * size + 3_000_000


def test_a_kept_request_has_a_bound() -> None:
    conversations.check_kept(conversations.KEPT_BYTES_MAX, "background")
    with pytest.raises(RequestTooLargeError, match="'background'"):
        conversations.check_kept(conversations.KEPT_BYTES_MAX + 1, "background")


def _conversation(part: str, size: int) -> bytes:
    turn = '{"role":"user","content":"%s"},' % ("말 " * 50)
    return f"[{turn}{(part + ',') * (size // len(part))}{turn}{turn[:-1]}]".encode()


@pytest.mark.parametrize("part", ["{}", "[]", '{"a":1}', "0.1", '"ab"', '[{"a":[]}]'])
def test_a20_a_conversation_of_small_values_is_not_remembered(part: str) -> None:
    known = KnownConversations(bytes_min=100)
    raw = _conversation(part, 30_000)
    assert known.read("a", "openai-chat", raw) == json.loads(raw)
    assert known.size_bytes == 0


@pytest.mark.parametrize(
    "part",
    [
        '{"role":"user","content":[{"type":"text","text":"if (a[0]) { f(a, b); }"}]}',
        '{"role":"tool","tool_call_id":"c","content":"{\\"a\\":[{},{},1,2,{\\"b\\":{}}]}"}',
        '{"role":"assistant","content":"네, 그렇습니다 😀"}',
    ],
)
def test_an_ordinary_conversation_is_remembered(part: str) -> None:
    known = KnownConversations(bytes_min=100)
    raw = _conversation(part, 30_000)
    assert known.read("a", "openai-chat", raw) == json.loads(raw)
    assert known.size_bytes > 20_000


def test_a_key_has_its_share_in_all_dialects_together() -> None:
    known = KnownConversations(bytes_min=100)
    part = '{"role":"assistant","content":"%s"}' % ("x" * 100_000)
    other = _conversation(part, 200_000)
    known.read("other", "openai-chat", other)
    before = known.size_bytes
    for number in range(60):
        for dialect in ("openai-chat", "anthropic", "openai-responses"):
            known.read("a", dialect, _conversation(part.replace("x", "y", number + 1), 200_000))
    assert known.size_bytes - before <= OWNER_BYTES_MAX
    same = known.read("other", "openai-chat", other)
    assert known.size_bytes - before <= OWNER_BYTES_MAX
    assert same == json.loads(other)
