"""A body whose texts were known before is read no otherwise than one that nobody has seen.

The law: whatever a key's clients send, step by step, cut back or changed, with fields in any order
and form, and with what is wrong in it, all that is asked of a body has the answer of a fresh look.
"""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import json
import tracemalloc
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polycall._support.json_weight import LONG_BYTES
from polycall.errors import MalformedRequestError
from polycall.gateway.accounts.keys import ANYBODY
from polycall.gateway.generation import named_resources
from polycall.gateway.generation.client_request import ClientRequest
from polycall.gateway.generation.endpoints import endpoint_for
from polycall.gateway.passthrough import known_texts, plain_messages, request
from polycall.gateway.passthrough.known_texts import KnownTexts
from polycall.gateway.passthrough.request import Fields, read_fields
from polycall.providers.dialects import DIALECTS

MARKS = (b'"aa"', b'"tools"', b'"file_id"', b'"image_url"', b"_pgm_", b"aa", b"known", b"0")
NAMES = {
    name: names.found_in for name in DIALECTS if (names := named_resources._NAMES[name]) is not None
}


def _call(arguments: str) -> dict[str, Any]:
    function = {"name": "f", "arguments": arguments}
    return {"id": "c", "type": "function", "function": function}


MESSAGES: st.SearchStrategy[Any] = st.sampled_from(
    [
        {"role": "user", "content": "hi"},
        {"role": "user", "content": '물 "aa" \\ud83d @polycall-known-0'},
        {"role": "user", "content": '["@polycall-known-0"'},
        {"role": "assistant", "content": "sure _pgm_1"},
        {"role": "assistant", "content": None, "tool_calls": [_call("{}")]},
        {"role": "assistant", "content": None, "tool_calls": [_call("[1]")]},
        {"role": "tool", "tool_call_id": "c", "content": '{"file_id": "x"}'},
        {"role": "user", "content": [{"type": "text", "text": "aa"}]},
        {"role": "user", "content": [{"type": "file", "file": {"file_id": "mine"}}]},
        {"role": "user", "messages": [{"role": "user", "content": "hi"}], "tools": [1]},
        1,
        12,
        "aa",
        [],
    ]
)
TOOLS: st.SearchStrategy[Any] = st.sampled_from(
    [
        [{"type": "function", "function": {"name": "f", "parameters": {"aa": 1}}}],
        [{"type": "function", "function": {"name": "f", "strict": True}}],
        [{"type": "custom", "custom": {"name": "x"}}],
        {"messages": [{"role": "user", "content": "hi"}]},
        [],
    ]
)
# What is done to a body's text: most of it is not taken then, or not read in the quick way.
CHANGES: st.SearchStrategy[tuple[bytes, bytes]] = st.sampled_from(
    [
        *[(b"", b"")] * 6,
        (b'"role"', b'"r\\u006fle"'),
        (b'"hi"', b'"\xff"'),
        (b'"model"', b'"messages":[1],"model"'),
        (b'"model"', b'"tools":[1],"model"'),
        (b"}", b',"messages":[2]}'),
        (b"]", b"]]"),
        (b"]", b",]"),
        (b"[", b"[ \n"),
        (b'"m"', b'"m","@polycall-known-0":1'),
        (b'"m"', b'"m","user":"@polycall-known-1"'),
        (b'"m"', b'"m","MODEL":"n"'),
    ]
)
BODIES = st.tuples(
    st.integers(0, 3),  # messages that are taken back
    st.lists(MESSAGES, max_size=4),
    TOOLS,
    st.sampled_from([("messages", "tools"), ("tools", "messages"), ("messages",)]),
    st.sampled_from(["messages", "input", "contents", "system"]),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,", ":\n")]),
    CHANGES,
    st.booleans(),  # the last place is changed, else the first
)


def _bodies(steps: list[Any]) -> list[bytes]:
    bodies: list[bytes] = []
    messages: list[Any] = [{"role": "user", "content": "begin"}]
    for taken, added, tools, order, name, separators, (old, new), is_last in steps:
        messages = [*messages[: max(0, len(messages) - taken)], *added]
        values = {"messages": messages, "tools": tools}
        said = {"model": "m", **{name if key == "messages" else key: values[key] for key in order}}
        body = json.dumps(said, separators=separators, ensure_ascii=False).encode()
        place = body.rfind(old) if is_last else body.find(old)
        bodies.append(body if place < 0 else body[:place] + new + body[place + len(old) :])
    return bodies


def _asked(body: bytes, dialect: str, texts: KnownTexts | None) -> Any:
    """All that is asked of a body, or what is said of one that is not taken."""
    try:
        fields = read_fields(body, dialect, texts, "owner")
    except MalformedRequestError as error:
        return str(error)
    names = {name: bytes(fields.raw(name) or b"") for name in fields.names}
    found = {name: fields.found_by(find) for name, find in NAMES.items()}
    marks = {mark: (fields.mentions(mark), fields.hold_any([mark])) for mark in MARKS}
    plain = fields.plain_messages()
    passed = _tried(lambda: fields.with_values({"model": "other"}))
    after = {name: set(fields.found_by(find)) for name, find in NAMES.items()}
    sets = {name: set(each) for name, each in found.items()}
    said = _tried(fields.decoded)
    text = None if plain is None else bytes(plain)
    return [fields.body, fields.size, names, sets, marks, text, passed, after, said]


def _tried(ask: Any) -> Any:
    try:
        return ask()
    except (MalformedRequestError, ValueError) as error:
        return str(error)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(BODIES, min_size=2, max_size=6),
    st.sampled_from(["openai-chat", "openai-responses", "anthropic", "gemini"]),
)
def test_a_body_with_known_texts_is_read_as_a_new_one(steps: list[Any], dialect: str) -> None:
    texts = KnownTexts(bytes_min=2)
    for body in _bodies(steps):
        for _ in range(2):
            assert _asked(body, dialect, texts) == _asked(body, dialect, None)
    kept = [text for own in texts._owners.values() for text in own.texts]
    assert texts.size_bytes == sum(text.held_bytes for text in kept)


KNOWN: list[Any] = [{"role": "user", "content": "begin"}, {"role": "assistant", "content": "aa"}]
# What a body that begins as a known one may have behind that.
ODD = [
    b'{"model":"m","messages":%b,{"role":"user","content":"\xff"}],"tools":%b}',
    b'{"model":"m","messages":%b,{"role":"user","content":"\\ud83d"}],"tools":%b}',
    b'{"model":"m","messages":%b,{"role":"us\\u0065r","content":"x"}],"tools":%b}',
    b'{"model":"m","messages":%b,{"role":"user","content":"x",}],"tools":%b}',
    b'{"model":"m","messages":%b}],"tools":%b}',
    b'{"model":"m","messages":%b,],"tools":%b}',
    b'{"model":"m","messages":%b 1],"tools":%b}',
    b'{"model":"m","messages":%b],"tools":%b,"tools":"@polycall-known-1"}',
    b'{"model":"m","messages":%b],"tools":%b,"messages":["@polycall-known-0"]}',
    b'{"model":"m","messages":%b],"tools":%b,"messages":[]}',
    b'{"model":"m","messages":%b],"tools":%b,"TOOLS":[]}',
    b'{"model":"m","messages":%b],"tools":%b,"t\\u006fols":[]}',
    b'{"model":"m","messages":%b],"tools":%b}}',
    b'{"model":"m","messages":%b],"tools":%b1}',
    b'{"model":"m","messages":%b],"x":{"tools":%b}}',
    b'{"model":"m","x":{"messages":%b]},"tools":%b}',
    b'{"x":{"messages":%b],"tools":%b},"messages":[1],"tools":[2],"model":"m"}',
    b'{"model":"m","messages":%b],"x":"\\"tools\\":%b"}',
    b'["messages",%b],"tools",%b]',
    b'{"model":"m" ,"messages" : %b\n], "tools" :%b , "n": 1}',
]


@pytest.mark.parametrize("text", ODD)
def test_what_is_odd_beside_known_texts_is_seen(text: bytes) -> None:
    texts = KnownTexts(bytes_min=2)
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"b": 1}}}]
    said = (_text(KNOWN)[:-1], _text(tools))
    _asked(b'{"model":"m","messages":%b],"tools":%b}' % said, "openai-chat", texts)
    body = text % said
    assert _asked(body, "openai-chat", texts) == _asked(body, "openai-chat", None)


PLAIN: st.SearchStrategy[Any] = st.sampled_from(
    [
        *[{"role": "user", "content": "hi"}] * 2,
        *[{"role": "assistant", "content": None, "tool_calls": [_call("{}")]}] * 3,
        {"role": "tool", "tool_call_id": "c", "content": "ok"},
    ]
)
RARE: st.SearchStrategy[Any] = st.sampled_from(
    [
        {"role": "user", "content": "aa"},
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
        {"role": "user", "content": [{"type": "file", "file": {"file_id": "mine"}}]},
    ]
)
TURNS = st.one_of(PLAIN, PLAIN, PLAIN, RARE)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.lists(TURNS, max_size=4)), min_size=3, max_size=8),
    st.booleans(),
)
def test_a_conversation_that_grows_and_is_cut_back_is_read_as_a_new_one(
    steps: list[tuple[int, list[Any]]], spaced: bool
) -> None:
    texts = KnownTexts(bytes_min=2)
    messages: list[Any] = [{"role": "user", "content": "begin"}]
    for taken, added in steps:
        messages = [*messages[: max(1, len(messages) - taken)], *added]
        said = {"model": "m", "messages": messages}
        body = json.dumps(said, separators=None if spaced else (",", ":")).encode()
        assert _asked(body, "openai-chat", texts) == _asked(body, "openai-chat", None)
        for name, find in NAMES.items():
            assert set(texts.found_in(name, body, find)) == set(find(body))


@pytest.mark.parametrize("said", ["\ud83d", "x"])
@pytest.mark.parametrize("name", ["file_id", "\ud83d"])
def test_what_a_written_body_names_is_found_whatever_is_in_it(said: str, name: str) -> None:
    texts = KnownTexts(bytes_min=2)
    find = NAMES["anthropic"]
    for number in range(3):
        messages = [{"role": "user", "content": said}] * (2 + number)
        body = json.dumps({"messages": messages, "x": {name: "mine", "file_id": "a"}}).encode()
        assert set(texts.found_in("o", body, find)) == set(find(body)) >= {"a"}


def _agent(steps: int) -> dict[str, Any]:
    messages: list[Any] = [{"role": "user", "content": "x" * 10_000}]
    for number in range(steps):
        messages.append({"role": "assistant", "content": None, "tool_calls": [_call("{}")]})
        messages.append({"role": "tool", "tool_call_id": "c", "content": f"line {number}\n" * 20})
    tool = {"type": "function", "function": {"name": "f", "description": "y" * 5_000}}
    return {"model": "m", "messages": messages, "tools": [tool]}


def _text(said: Any) -> bytes:
    return json.dumps(said, separators=(",", ":")).encode()


@pytest.mark.parametrize("order", [("messages", "tools"), ("tools", "messages")])
def test_of_a_step_only_what_is_new_is_read_and_searched(
    order: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = KnownTexts()
    read: list[int] = []

    def count(module: Any, name: str) -> None:
        plain = getattr(module, name)

        def counted(text: bytes) -> Any:
            read.append(len(text))
            return plain(text)

        monkeypatch.setattr(module, name, counted)

    def look(steps: int) -> Fields:
        said = _agent(steps)
        body = _text({"model": "m", **{name: said[name] for name in order}})
        fields = read_fields(body, "openai-chat", texts, "o")
        assert not fields.hold_any([b'"image_url"'])
        assert fields.plain_messages() is not None
        return fields

    look(30)
    count(request, "read_top_level")
    count(known_texts, "decode_fields")
    count(known_texts, "has_needless_escape")
    count(plain_messages, "_each_of")
    new = len(_text(_agent(31)["messages"])) - len(_text(_agent(30)["messages"]))
    fields = look(31)
    assert len(read) == 3
    assert max(read) < new + 200
    assert fields.raw("messages") == msgspec.Raw(_text(_agent(31)["messages"]))
    read.clear()
    look(31)
    assert len(read) == 2
    assert max(read) < 200
    assert len(texts._owners["o"].texts) == 2  # the next step takes the place of the one before


def test_texts_are_bounded_and_each_keys_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_texts, "KEPT_BYTES_MAX", 100_000)
    monkeypatch.setattr(known_texts, "OWNER_BYTES_MAX", 40_000)
    texts = KnownTexts()
    for number in range(60):
        owner = f"owner{number % 5}"
        said = {"messages": [{"role": "user", "content": f"{number}" + "x" * 9_000}]}
        read_fields(_text(said), "openai-chat", texts, owner)
        owned = {name: own.texts for name, own in texts._owners.items()}
        sizes = {name: sum(each.held_bytes for each in own) for name, own in owned.items()}
        assert texts.size_bytes == sum(sizes.values()) <= 100_000
        assert 9_000 < sizes[owner] <= 40_000
    body = _text({"messages": [{"role": "user", "content": f"{59}" + "x" * 9_000}]})
    assert texts.read("owner4", body) is not None
    assert texts.read("owner3", body) is None
    assert texts.read("stranger", body) is None


@pytest.mark.parametrize(
    "item", ["1", "null", '"ab"', '{"role":"assistant","content":null,"tool_calls":null}']
)
def test_lists_of_short_items_are_counted_as_what_they_hold(item: str) -> None:
    """A number for each item may take more than the text itself."""
    texts = KnownTexts()
    items = ",".join([item] * 4_000)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(40):
            read_fields(b'{"messages":[%d,%b]}' % (number, items.encode()), "openai-chat", texts)
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held < texts.size_bytes + 100_000


@pytest.mark.parametrize("path", ["/openai/deployments/x/chat/completions", "/v1/chat/completions"])
def test_a_body_that_is_read_in_a_thread_touches_no_known_texts(path: str) -> None:
    """Even where what is left of it, once it is unwrapped, is short."""
    texts = KnownTexts(bytes_min=2)
    endpoint = endpoint_for(path)
    assert endpoint is not None
    body = _text({"model": "m", "messages": [{"role": "user", "content": "x" * 5_000}]})
    for said in (body[:-1] + b" " * LONG_BYTES + b"}", body):
        before = texts.size_bytes
        asked: Any = SimpleNamespace(headers={}, path=path, query=b"")
        ClientRequest(endpoint, asked, said, ANYBODY, texts)
        assert (texts.size_bytes > before) == (said is body)


def test_of_conversations_with_one_beginning_the_longest_is_found() -> None:
    texts = KnownTexts(bytes_min=2)
    head: list[Any] = [{"role": "system", "content": "be"}]
    turns = [head + [{"role": "user", "content": f"{n} {k}"} for k in range(20)] for n in range(4)]
    for messages in turns:
        read_fields(_text({"messages": messages}), "openai-chat", texts, "o")
    for messages in turns:
        read = texts.read("o", _text({"messages": [*messages, 1]}))
        assert read is not None
        part = read.parts["messages"]
        assert (part.count, part.text.text) == (21, _text(messages))
    read = texts.read("o", _text({"messages": [*turns[1][:7], 1]}))
    assert read is not None
    assert read.parts["messages"].count == 7
