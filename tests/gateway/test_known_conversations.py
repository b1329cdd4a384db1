"""Conversations whose beginning is remembered cost only what is new, and are read no otherwise.

The law: whatever clients send, step by step, cut back or changed, a request is parsed and rendered
for each target as by a process that has never seen it; what was made for earlier ones stays.
"""

# pyright: basic, reportPrivateUsage=false

from __future__ import annotations

import gc
import json
import tracemalloc
from collections import Counter
from copy import deepcopy
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polycall.errors import PolycallError
from polycall.exchange import prepare
from polycall.gateway.processes.heavy_work import check_items
from polycall.gateway.state import known_conversations
from polycall.gateway.state.known_conversations import KnownConversations
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.dialects import DIALECTS
from polycall.translation import conversation
from polycall.translation.conversation import TAIL, VIEWS_MAX, Beginning, Conversation
from polycall.translation.conversation_text import encoded_body

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
SYSTEM = st.builds(lambda text: {"role": "system", "content": text}, st.sampled_from(["S", "s"]))
PICTURE = {"type": "input_image", "image_url": "https://e.org/a.png"}
OUTPUTS = st.one_of(TEXTS, st.just([{"type": "input_text", "text": "o"}]), st.just([PICTURE]))
ITEMS = st.one_of(
    st.builds(
        lambda role, text: {"role": role, "content": text},
        st.sampled_from(["user", "assistant", "developer"]),
        TEXTS,
    ),
    st.builds(
        lambda text, more: {
            "type": "message", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": []}], **more,
        },
        TEXTS,
        st.sampled_from([{}, {"id": "msg_1"}, {"phase": "commentary"}]),
    ),
    st.builds(
        lambda i, n, a, more: {
            "type": "function_call", "call_id": i, "name": n, "arguments": a, **more
        },
        IDS,
        NAMES,
        ARGUMENTS,
        st.sampled_from([{}, {"id": "fc_1"}, {"namespace": "space"}]),
    ),
    st.builds(
        lambda i, o: {"type": "function_call_output", "call_id": i, "output": o}, IDS, OUTPUTS
    ),
    st.builds(lambda i: {"type": "custom_tool_call", "call_id": i, "name": "c", "input": "x"}, IDS),
    st.builds(
        lambda i: {"type": "custom_tool_call_output", "call_id": i, "output": "y"}, IDS
    ),
    st.just({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "e"}),
    st.just({"type": "shell_call", "call_id": "s", "action": {"commands": ["ls"]}}),
    st.just({"type": "shell_call_output", "call_id": "s", "output": []}),
)  # fmt: skip
ALL = [
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-opus-5-5"),
    ("google", "gemini-2.5-flash"),
    ("google", "gemini-3.8-flash"),
    ("openai", "gpt-5.2"),
    ("deepseek", "deepseek-v4-flash"),
    ("mistral", "mistral-large-latest"),
    ("groq", "m"),
]
FIELDS = {"openai-chat": "messages", "anthropic": "messages", "openai-responses": "input"}
# What may be another from one request to the next.
WISHES: dict[str, list[dict[str, Any]]] = {
    "openai-chat": [{}, {"reasoning_effort": "none"}, {"reasoning_effort": "high"}],
    "anthropic": [{}, {"system": "be brief"}, {"thinking": {"type": "disabled"}}],
    "openai-responses": [{}, {"instructions": "be brief"}, {"reasoning": {"effort": "none"}}],
}


def made(dialect: str, body: dict[str, Any]) -> list[Any]:
    """What a request becomes: parsed, and rendered for each target; or the error in its place."""
    try:
        check_items(body)
        request = DIALECTS[dialect].parse_request(body, path="")
    except PolycallError as error:
        return [repr(error)]
    found: list[Any] = [request]
    for name, model in ALL:
        try:
            exchange = prepare(request, CATALOGUE[name], model, "sk-x")
        except PolycallError as error:
            found.append(repr(error))
        else:
            found.append((exchange.http.body, exchange.http.headers, exchange.wire.warnings))
    return found


def asked(dialect: str, messages: Any, **wishes: Any) -> dict[str, Any]:
    if dialect != "openai-responses":
        wishes["max_tokens"] = 100
    return {"model": "m", FIELDS[dialect]: messages, **wishes}


def _pair(dialect: str, name: str, text: str, number: int) -> list[dict[str, Any]]:
    """A call and its result, as most of a conversation is."""
    call_id = f"p{number}"
    if dialect == "openai-chat":
        call = {"role": "assistant", "content": None, "tool_calls": [_call(call_id, name, "{}")]}
        return [call, {"role": "tool", "tool_call_id": call_id, "content": text}]
    if dialect == "anthropic":
        block = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
        result = {"type": "tool_result", "tool_use_id": call_id, "content": text}
        user = {"role": "user", "content": [result]}
        return [{"role": "assistant", "content": [block]}, user]
    call = {"type": "function_call", "call_id": call_id, "name": name, "arguments": "{}"}
    return [call, {"type": "function_call_output", "call_id": call_id, "output": text}]


def _one(message: dict[str, Any]) -> list[dict[str, Any]]:
    return [message]


def _marked(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with a mark on the last of them, which moves on with each step."""
    last = messages[-1]
    blocks = last["content"]
    if isinstance(blocks, str):
        blocks = [{"type": "text", "text": blocks or "."}]
    return [*messages[:-1], {**last, "content": [*blocks[:-1], {**blocks[-1], **MARK}]}]


STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=2, max_size=6
)  # messages that are taken back, and that are added


@pytest.mark.parametrize(
    ("dialect", "kinds"),
    [
        ("openai-chat", CHAT),
        ("anthropic", st.one_of(MESSAGES, MESSAGES, SYSTEM)),
        ("openai-responses", ITEMS),
    ],
)
@settings(max_examples=25)
@given(data=st.data())
def test_a_remembered_conversation_is_read_as_a_new_one(
    dialect: str, kinds: st.SearchStrategy[dict[str, Any]], data: st.DataObject
) -> None:
    known = KnownConversations(bytes_min=2)
    tail, steady = data.draw(st.sampled_from([(1, 1), (2, 1), (4, 1), (4, 2), (8, 2)]))
    with (
        mock.patch.object(conversation, "TAIL", tail),
        mock.patch.object(conversation, "STEADY_TAIL", steady),
        mock.patch.object(known_conversations, "STEADY_STEPS", data.draw(st.integers(0, 2))),
        mock.patch.object(known_conversations, "_UNSTEADY_STEPS", data.draw(st.integers(0, 2))),
    ):
        _walk(known, dialect, kinds, data)


def _walk(
    known: KnownConversations,
    dialect: str,
    kinds: st.SearchStrategy[dict[str, Any]],
    data: st.DataObject,
) -> None:
    is_calm = data.draw(st.booleans())  # as agents are, who only add
    marks = dialect == "anthropic" and data.draw(st.booleans())
    messages: list[dict[str, Any]] = [{"role": "user", "content": "begin"}]
    earlier: list[tuple[list[Any], list[Any]]] = []
    for taken, added in data.draw(STEPS):
        messages = messages[: max(1, len(messages) - (0 if is_calm else taken))]
        pairs = st.builds(_pair, st.just(dialect), NAMES, TEXTS, st.integers(0, 9 + 90 * is_calm))
        odd = st.sampled_from([[{"role": "user", "content": "hi"}]]) if is_calm else kinds.map(_one)
        turns = st.one_of(pairs, odd)
        for turn in data.draw(st.lists(turns, min_size=added, max_size=added)):
            messages = [*messages, *turn]
        said = _marked(messages) if marks else messages
        raw = json.dumps(said, indent=data.draw(st.sampled_from([None, 1]))).encode()
        read = known.read("owner", dialect, raw)
        assert isinstance(read, Conversation)
        assert read == said
        wishes = data.draw(st.sampled_from(WISHES[dialect]))
        found = made(dialect, asked(dialect, read, **wishes))
        assert found == made(dialect, asked(dialect, deepcopy(said), **wishes))
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
    assert decoded[0] <= len(_raw([each for n in range(5) for each in _step(100 + n)]))
    made_of = [each for each in read.known.items() if isinstance(each[1], Beginning)]
    assert len(made_of) == len(ALL)
    assert all(180 < len(each.messages) < 200 for _, each in made_of)  # all but the last turns
    assert (
        made("openai-chat", asked("openai-chat", read))[1:]
        == made("openai-chat", asked("openai-chat", deepcopy(messages)))[1:]
    )


@pytest.mark.parametrize("dialect", FIELDS)
def test_of_a_client_that_only_adds_less_is_read_anew(dialect: str) -> None:
    """Until it says its last messages otherwise: then as much as of others, for some time."""
    known = KnownConversations()
    messages: list[dict[str, Any]] = [{"role": "user", "content": "x" * 10_000}]
    messages += [each for n in range(20) for each in _pair(dialect, "read", "t", n)]

    def left() -> int:
        """How many messages the next request does not find known."""
        read = known.read("o", dialect, _raw(messages))
        assert read == messages
        (beginning,) = known._kept.values()
        return len(messages) - len(beginning.items)

    def add() -> None:
        messages.extend(_pair(dialect, "read", "t", len(messages)))

    counts: list[int] = []
    for _ in range(known_conversations.STEADY_STEPS + 3):
        add()
        counts.append(left())
    assert counts == [TAIL] * (known_conversations.STEADY_STEPS) + [conversation.STEADY_TAIL] * 3
    messages[-3:] = [{"role": "user", "content": "otherwise"}]
    add()
    assert known.read("o", dialect, _raw(messages)) == messages
    counts = []
    for _ in range(20):
        add()
        read = known.read("o", dialect, _raw(messages))
        newest = list(known._kept.values())[-1]
        counts.append(len(read) - len(newest.items))
    assert counts == [TAIL] * 20


def test_of_a_client_that_says_its_last_message_otherwise_each_time_little_is_kept() -> None:
    """As coding agents do whose mark for the cache, or reminder, moves on with each step."""
    known = KnownConversations()
    messages: list[dict[str, Any]] = [{"role": "user", "content": "x" * 10_000}]
    for number in range(20):
        messages += _step(number)
        said = [*messages, {"role": "user", "content": "remember"}]
        known.read("o", "openai-chat", _raw(said))
        if number >= 4:
            (beginning,) = known._kept.values()
            assert len(said) - len(beginning.items) == TAIL


def _raw(messages: list[dict[str, Any]]) -> bytes:
    return json.dumps(messages).encode()


def _long(head: str, size: int) -> list[dict[str, Any]]:
    """A conversation that begins with a long message, and has enough after it."""
    later: list[dict[str, Any]] = [{"role": "user", "content": "y"}] * TAIL
    return [{"role": "user", "content": head + "x" * size}, *later]


def test_what_is_remembered_is_bounded_and_each_keys_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_conversations, "KEPT_BYTES_MAX", 200_000)
    monkeypatch.setattr(known_conversations, "OWNER_BYTES_MAX", 80_000)
    known = KnownConversations()
    for number in range(60):
        owner = f"owner{number % 5}"
        known.read(owner, "openai-chat", _raw(_long(str(number), 9_000 + number)))
        kept = [(group, each.held_bytes()) for (group, _), each in known._kept.items()]
        assert known.size_bytes == sum(held for _, held in kept) <= 200_000
        assert sum(held for group, held in kept if group[0] == owner) <= 80_000
    assert len(known) > 5
    known.read("owner1", "openai-chat", _raw(_long("", 50_000)))
    assert all(len(each.text) < 50_000 for each in known._kept.values())  # a key may have less


@pytest.mark.parametrize("text", ["words ", "line\n" * 20, "물 🎉" * 9, "a long result " * 300])
@pytest.mark.parametrize("dialect", FIELDS)
def test_what_is_held_is_about_what_is_counted(dialect: str, text: str) -> None:
    """With what was made for few targets, and for many, and of a conversation that grew."""
    messages = [{"role": "user", "content": "x" * 10_000}]
    messages += [each for n in range(30) for each in _pair(dialect, "read", text, n)]
    made(dialect, asked(dialect, deepcopy(messages)))  # what a process has once
    for targets in (ALL[:1], ALL):
        known = KnownConversations()
        gc.collect()
        tracemalloc.start()
        for size in (41, 51, 61):
            body = asked(dialect, known.read("o", dialect, _raw(messages[:size])))
            request = DIALECTS[dialect].parse_request(body, path="")
            for name, model in targets:
                prepare(request, CATALOGUE[name], model, "sk-x")
            del body, request
        gc.collect()
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        (beginning,) = known._kept.values()
        assert 0.5 * beginning.held_bytes() < held < 1.3 * beginning.held_bytes()


def test_what_requests_add_to_a_conversation_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until there is no room for all: the oldest goes, whatever was made of the latest."""
    monkeypatch.setattr(known_conversations, "OWNER_BYTES_MAX", 400_000)
    known = KnownConversations()
    messages = [{"role": "user", "content": "x" * 10_000}]
    messages += [each for n in range(30) for each in _pair("openai-chat", "read", "t", n)]
    for owner in "ab":  # each has a share of its own
        sizes: list[int] = []
        for number in range(8):
            said = [{"role": "user", "content": f"{number}"}, *messages]
            read = known.read(owner, "openai-chat", _raw(said))
            made("openai-chat", asked("openai-chat", read))
            sizes.append(known._sizes[owner])
        assert max(sizes) <= 400_000
        assert sum(key[0][0] == owner for key in known._kept) < 4


def test_what_is_found_out_for_another_target_is_known_the_next_time() -> None:
    """Where the same conversation comes again, or a shorter one, and its beginning stays."""
    known = KnownConversations()
    messages: list[dict[str, Any]] = [{"role": "user", "content": "x" * 10_000}]
    for number in range(20):
        messages += _step(number)
    known.read("o", "openai-chat", _raw(messages)).known["first"] = 1
    known.read("o", "openai-chat", _raw(messages)).known["second"] = 2
    assert known.read("o", "openai-chat", _raw(messages)).known == {"first": 1, "second": 2}
    assert len(known) == 1
    assert known.size_bytes == sum(each.held_bytes() for each in known._kept.values())


@pytest.mark.parametrize("dialect", FIELDS)
def test_of_models_that_a_client_makes_up_few_are_remembered(dialect: str) -> None:
    """What is made for one target is as long as the text: it is bounded over all kinds."""
    known = KnownConversations()
    messages: list[dict[str, Any]] = [{"role": "user", "content": "x" * 10_000}]
    messages += [each for number in range(20) for each in _pair(dialect, "read", "t", number)]
    read = Conversation[Any]([], {})
    kinds: list[set[Any]] = []
    counts: Counter[Any] = Counter()
    for number in range(2 * VIEWS_MAX):
        read = known.read("o", dialect, _raw(messages))
        request = DIALECTS[dialect].parse_request(asked(dialect, read), path="")
        provider = ALL[number % len(ALL)][0] if number < VIEWS_MAX else "anthropic"
        prepare(request, CATALOGUE[provider], f"made-up-{number}", "sk-x")
        counts = Counter(key[0] if isinstance(key, tuple) else key for key in read.known)
        kinds.append(set(counts))
    assert max(counts.values()) == VIEWS_MAX  # as many as there is room for
    assert kinds[-1] == kinds[VIEWS_MAX]
    models = [key[2] for key in read.known if isinstance(key, tuple) and key[0] is encoded_body]
    assert models == [f"made-up-{VIEWS_MAX + number}" for number in range(VIEWS_MAX)]


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
def test_a_beginning_ends_where_a_message_ends(
    tail: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "TAIL", 0)
    known = KnownConversations(bytes_min=2)
    known.read("o", "openai-chat", b"[1, 12" + tail + b"]")
    assert known.read("o", "openai-chat", b"[1, 123]") == [1, 123]
    assert known.read("o", "openai-chat", b"[1, 12" + tail + b" , 3]") == [1, 12, 3]
    assert known.read("o", "openai-chat", b"[]") == []
    assert known.read("o", "openai-chat", b"[7]") == [7]
