"""Conversations whose beginning is remembered cost only what is new, and are read no otherwise.

The law: whatever clients send, step by step, cut back or changed, a request is parsed and rendered
for each target as by a process that has never seen it; what was made for earlier ones stays.
"""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polycall.dialects.anthropic.beginnings import Beginning
from polycall.errors import PolycallError
from polycall.exchange import prepare
from polycall.gateway.processes.heavy_work import check_items
from polycall.gateway.state import known_conversations
from polycall.gateway.state.known_conversations import KnownConversations
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.dialects import DIALECTS
from polycall.translation.conversation import Conversation

IDS = st.sampled_from(["a", "b", "c", "d e", "call_0123456789" * 5])
NAMES = st.sampled_from(["read", "write", "a.name with spaces"])
TEXTS = st.sampled_from(["hi", "", "물 🎉 \\ud83d", 'say "tool_calls"', " end "])


def _call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


ARGUMENTS = st.sampled_from(['{"a": 1}', "{}", "", "not json"])
CHAT = st.one_of(
    st.builds(lambda text: {"role": "user", "content": text}, TEXTS),
    st.builds(lambda text: {"role": "assistant", "content": text}, TEXTS),
    st.builds(
        lambda text, calls: {"role": "assistant", "content": text, "tool_calls": calls},
        st.one_of(st.none(), TEXTS),
        st.lists(st.builds(_call, IDS, NAMES, ARGUMENTS), min_size=1, max_size=3),
    ),
    st.builds(
        lambda call_id, text: {"role": "tool", "tool_call_id": call_id, "content": text}, IDS, TEXTS
    ),
    st.builds(
        lambda text: {"role": "tool", "content": [{"type": "text", "text": text}], "name": "x"},
        TEXTS,
    ),
    st.builds(
        lambda role: {"role": role, "content": "late"}, st.sampled_from(["system", "developer"])
    ),
    st.just(
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    ),
    st.just({"role": "function", "name": "f", "content": "old"}),
    st.just({"role": "user", "content": "n", "name": "bob"}),
    st.just({"role": "user", "content": "n", "odd": 12345678901234567890123}),
)
MARK = {"cache_control": {"type": "ephemeral"}}
BLOCKS = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, st.sampled_from(["hi", "x"])),
    st.builds(lambda text: {"type": "text", "text": text, **MARK}, st.sampled_from(["hi", "x"])),
    st.builds(lambda i, n: {"type": "tool_use", "id": i, "name": n, "input": {"p": 1}}, IDS, NAMES),
    st.builds(lambda i, t: {"type": "tool_result", "tool_use_id": i, "content": t}, IDS, TEXTS),
    st.just({"type": "thinking", "thinking": "hm", "signature": "sig"}),
)
MESSAGES = st.builds(
    lambda role, blocks: {"role": role, "content": blocks},
    st.sampled_from(["user", "assistant"]),
    st.one_of(st.sampled_from(["hi", "more"]), st.lists(BLOCKS, min_size=1, max_size=3)),
)
TARGETS = {
    "openai-chat": [
        ("anthropic", "claude-sonnet-4-5"),
        ("google", "gemini-2.5-flash"),
        ("groq", "m"),
    ],
    "anthropic": [("openai", "gpt-5.2"), ("anthropic", "claude-sonnet-4-5"), ("groq", "m")],
}


def made(dialect: str, body: dict[str, Any]) -> list[Any]:
    """What a request becomes: parsed, and rendered for each target; or the error in its place."""
    try:
        check_items(body)
        request = DIALECTS[dialect].parse_request(body, path="")
    except PolycallError as error:
        return [repr(error)]
    found: list[Any] = [request]
    for name, model in TARGETS[dialect]:
        try:
            exchange = prepare(request, CATALOGUE[name], model, "sk-x")
        except PolycallError as error:
            found.append(repr(error))
        else:
            found.append((exchange.http.body, exchange.http.headers, exchange.wire.warnings))
    return found


def asked(dialect: str, messages: Any) -> dict[str, Any]:
    return {"model": "m", "messages": messages, "max_tokens": 100}


STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=2, max_size=6
)  # messages that are taken back, and that are added


@pytest.mark.parametrize(("dialect", "kinds"), [("openai-chat", CHAT), ("anthropic", MESSAGES)])
@settings(max_examples=25)
@given(data=st.data())
def test_a_remembered_conversation_is_read_as_a_new_one(
    dialect: str, kinds: st.SearchStrategy[dict[str, Any]], data: st.DataObject
) -> None:
    known = KnownConversations(bytes_min=2)
    messages: list[dict[str, Any]] = [{"role": "user", "content": "begin"}]
    earlier: list[tuple[list[Any], list[Any]]] = []
    for taken, added in data.draw(STEPS):
        messages = messages[: max(1, len(messages) - taken)]
        messages = [*messages, *data.draw(st.lists(kinds, min_size=added, max_size=added))]
        raw = json.dumps(messages, indent=data.draw(st.sampled_from([None, 1]))).encode()
        read = known.read("owner", dialect, raw)
        assert isinstance(read, Conversation)
        assert read == messages
        found = made(dialect, asked(dialect, read))
        assert found == made(dialect, asked(dialect, deepcopy(messages)))
        earlier.append((found, deepcopy(found)))
    for found, copied in earlier:
        assert found == copied


def _step(number: int) -> list[dict[str, Any]]:
    return [
        {"role": "assistant", "content": None, "tool_calls": [_call(f"c{number}", "read", "{}")]},
        {"role": "tool", "tool_call_id": f"c{number}", "content": "line\n" * 20},
    ]


def test_a_step_reads_and_renders_only_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    known = KnownConversations()
    messages: list[dict[str, Any]] = [{"role": "user", "content": "x" * 10_000}]
    for number in range(100):
        messages += _step(number)
    made("openai-chat", asked("openai-chat", known.read("o", "openai-chat", _raw(messages))))
    messages += _step(100)
    decoded: list[int] = []
    plain = known_conversations.jsontext.decode
    monkeypatch.setattr(
        known_conversations.jsontext,
        "decode",
        lambda raw: (decoded.append(len(raw)), plain(raw))[1],
    )
    read = known.read("o", "openai-chat", _raw(messages))
    assert len(decoded) == 1
    assert decoded[0] <= len(_raw(_step(100))) + 1
    rendered = [each for each in read.known.values() if isinstance(each, Beginning)]
    assert [len(each.messages) for each in rendered] == [199]  # all but the last turn
    assert (
        made("openai-chat", asked("openai-chat", read))[1:]
        == made("openai-chat", asked("openai-chat", deepcopy(messages)))[1:]
    )


def _raw(messages: list[dict[str, Any]]) -> bytes:
    return json.dumps(messages).encode()


def test_what_is_remembered_is_bounded_and_each_keys_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_conversations, "KEPT_BYTES_MAX", 100_000)
    monkeypatch.setattr(known_conversations, "OWNER_BYTES_MAX", 40_000)
    known = KnownConversations()
    for number in range(60):
        owner = f"owner{number % 5}"
        messages = [{"role": "user", "content": str(number) + "x" * (9_000 + number)}]
        known.read(owner, "openai-chat", _raw(messages))
        kept = [(group, text) for group, text in known._kept]
        assert known.size_bytes == sum(len(text) for _, text in kept) <= 100_000
        assert sum(len(text) for group, text in kept if group.startswith(owner)) <= 40_000
    assert len(known) > 5
    known.read("owner1", "openai-chat", _raw([{"role": "user", "content": "x" * 50_000}]))
    assert all(len(text) < 50_000 for _, text in known._kept)  # larger than a key may have


def test_the_next_step_takes_the_place_of_the_one_before() -> None:
    known = KnownConversations()
    messages: list[dict[str, Any]] = [{"role": "user", "content": "x" * 10_000}]
    for number in range(50):
        messages += _step(number)
        known.read("o", "openai-chat", _raw(messages))
    assert len(known) == 1
    assert known.read("another", "openai-chat", _raw(messages)).known == {}
    assert known.read("o", "anthropic", _raw(messages)).known == {}


@pytest.mark.parametrize("tail", [b"", b" ", b"\n"])
def test_a_beginning_ends_where_a_message_ends(tail: bytes) -> None:
    known = KnownConversations(bytes_min=2)
    known.read("o", "openai-chat", b"[1, 12" + tail + b"]")
    assert known.read("o", "openai-chat", b"[1, 123]") == [1, 123]
    assert known.read("o", "openai-chat", b"[1, 12" + tail + b" , 3]") == [1, 12, 3]
    assert known.read("o", "openai-chat", b"[]") == []
    assert known.read("o", "openai-chat", b"[7]") == [7]
