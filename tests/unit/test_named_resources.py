"""What a request names at a provider is found however it is written, and whose it is, noted."""

# pyright: basic, reportPrivateUsage=false

from __future__ import annotations

import asyncio
import json
import random
from types import SimpleNamespace
from typing import Any

import pytest

from polycall.errors import MalformedRequestError, TruncatedError
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.forwarding import service
from polycall.gateway.generation import answer, named_resources
from polycall.gateway.generation.earlier_answers import EarlierAnswers
from polycall.gateway.passthrough.request import read_fields
from polycall.gateway.responses.background import BackgroundResponses
from polycall.gateway.responses.records import JobRecord
from polycall.ir import ResponseStart
from polycall.providers.dialects import DIALECTS

RESPONSES = "openai-responses"
TWICE = {
    "twice": b'{"input":[{"file_id":"theirs","file_id":"mine"}]}',
    "in two cases": b'{"input":[{"FILE_ID":"theirs","file_id":"mine"}]}',
    "lists": b'{"tools":[{"c":{"file_ids":["theirs"],"file_ids":["mine"]}}]}',
    "the outer twice": b'{"a":{"b":{"fileId":"theirs"},"b":{"fileId":"mine"}}}',
    "conversation": b'{"conversation":{"id":"theirs","id":"mine"}}',
    "container": b'{"tools":[{"container":"theirs"}],"previous_response_id":"mine"}',
    "stores": b'{"tools":[{"vector_store_ids":["theirs", "mine"]}]}',
}


NAMING = [name for name in DIALECTS if named_resources._NAMES[name] is not None]


def names_of(dialect: str) -> Any:
    return named_resources._NAMES[dialect]


def named_in(body: bytes, dialect: str) -> list[str]:
    return named_resources.named_in(body, names_of(dialect))


@pytest.mark.parametrize("case", TWICE)
def test_a_name_that_is_said_twice_names_both(case: str) -> None:
    body = TWICE[case]
    assert {"mine", "theirs"} == set(named_in(body, RESPONSES))
    assert names_of(RESPONSES).may_stand_in(body)


SPELLINGS = (
    "file_id",
    "FileIDs",
    "fi_le_id",
    "file\u017fids",
    "file_id\u017f",
    "fileId",
    "profile",
)
ALL = (
    *SPELLINGS,
    "previous_response_id",
    "previou\u017fResponseId",
    "conver\u017fation",
    "container",
)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dialect", NAMING)
def test_the_quick_look_finds_no_less_than_there_is(name: str, dialect: str) -> None:
    names = names_of(dialect)
    for is_ascii in (True, False):
        for before in (0, named_resources._PIECE_BYTES - random.Random(name).randrange(20)):
            said = {"x": "y" * before, name: "theirs"}
            body = json.dumps(said, ensure_ascii=is_ascii).encode()
            if named_in(body, dialect):
                assert names.may_stand_in(body)
    escaped = "".join(f"\\u{ord(char):04x}" for char in name)
    if named_in(f'{{"{escaped}":"theirs"}}'.encode(), dialect):
        assert names.may_stand_in(f'{{"{escaped}":"theirs"}}'.encode())


IDS = {
    "plain": b'{"input":[{"id":"rs_0123456789abcdef"}]}',
    "spaced": b'{"input":[{"id" \n: \t"rs_0123456789abcdef"}]}',
    "far apart": b'{"input":[{"id"%b:"rs_0123456789abcdef"}]}' % (b" " * 300_000),
    "in another case": b'{"input":[{"ID":"rs_0123456789abcdef"}]}',
    "an escaped name": b'{"input":[{"\\u0069d":"rs_0123456789abcdef"}]}',
    "an escaped letter": b'{"input":[{"id":"\\u0072s_0123456789abcdef"}]}',
    "an escaped digit": b'{"input":[{"id":"rs_\\u00301234567\\u0038\\u0039abcdef"}]}',
    "an escaped sign": b'{"input":[{"id":"rs\\u005f0123456789abcdef"}]}',
    "the second of two": b'{"input":[{"id":"x","id":"rs_0123456789abcdef"}]}',
    "the first of two": b'{"input":[{"id":"rs_0123456789abcdef","id":"x"}]}',
    "deep": b'{"a":' * 90 + b'{"id":"rs_0123456789abcdef"}' + b"}" * 90,
    "at a piece's end": b'{"x":"%b","id":"rs_0123456789abcdef"}'
    % (b"y" * (named_resources._PIECE_BYTES - 12)),
    "besides a name": b'{"conversation":"c","input":[{"id":"rs_0123456789abcdef"}]}',
}


@pytest.mark.parametrize("case", IDS)
def test_what_has_an_id_names_it_however_it_is_written(case: str) -> None:
    found = names_of(RESPONSES).found_in(IDS[case])
    assert "rs_0123456789abcdef" in found
    assert names_of("openai-chat").found_in(IDS[case]) in ((), ("c",))


@pytest.mark.parametrize(
    "body",
    [
        b'{"tools":[{"properties":{"id":{"type":"string"}}}]}',
        b'{"input":"\\"id\\":\\"rs_0123456789abcdef\\""}',
        b'{"input":[{"id":"msg_1"}]}',
        b'{"input":[{"call_id":"rs_0123456789abcdef"}]}',
        b'{"input":[{"id":["rs_0123456789abcdef"]}]}',
    ],
)
def test_what_is_no_id_names_nothing(body: bytes) -> None:
    assert names_of(RESPONSES).found_in(body) == ()


def test_words_and_texts_name_nothing() -> None:
    said = {"input": 'the previous "file_id" in a container', "profile": {"identity": "x"}}
    names = names_of(RESPONSES)
    assert not names.may_stand_in(json.dumps(said).encode())
    assert not names.may_stand_in(json.dumps({"input": "\u001b[0m <b>"}).encode())


def test_deep_or_broken_json_is_refused_by_name() -> None:
    deep = b'{"file_id":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    for body in (deep, b'{"file_id":'):
        with pytest.raises(MalformedRequestError):
            named_in(body, RESPONSES)


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": f"look_up_{number}",
            "description": "It looks something up.",
            "parameters": {"type": "object", "properties": {"what": {"type": "string"}}},
        },
    }
    for number in range(8)
]
SAID: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "user", "content": 'what is in "file_id": "theirs"?'},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "look_up_1", "arguments": "{}"},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": '{"fileId":"theirs"}'},
    ],
    "tools": TOOLS,
    "tool_choice": "auto",
}
ODD = (
    b'"file_id":"theirs"',
    b'"FILE_ID": "theirs"',
    b'"fileIds" : ["x", "theirs"]',
    rb'"\u0066ile_id":"theirs"',
    rb'"file_\u0049d":"theirs"',
    rb'"file_id\u017f":"theirs"',
    '"file_idſ":["theirs"]'.encode(),
    b'"file_ids":[{"id":"theirs"}]',
    b'"a":[[{"b":{"File_Id":"theirs"}}]]',
    b'"file_id":"theirs","file_id":"mine"',
)
# Where an object of a body may have one field more, by what stands before it.
PLACES = {
    "top": b'{"model":"m"',
    "message": b'{"role":"user"',
    "call": b'"id":"call_1"',
    "called": b'"name":"look_up_1","arguments":"{}"',
    "tool": b'{"type":"function"',
    "schema": b'{"type":"object"',
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("number", range(len(ODD)))
@pytest.mark.parametrize("dialect", ["openai-chat", RESPONSES])
def test_a_name_is_found_wherever_it_stands_in_a_passed_body(
    place: str, number: int, dialect: str
) -> None:
    """Plain messages are left out and lists of tools remembered; nothing of that hides a name."""
    body = json.dumps(SAID, separators=(",", ":")).encode()
    mark = PLACES[place]
    assert mark in body
    body = body.replace(mark, mark + b"," + ODD[number], 1)
    find = names_of(dialect).found_in
    for _ in range(2):
        for is_careful in (True, False):
            fields = read_fields(body, dialect)
            if is_careful:
                fields.plain_messages()
            found = fields.found_by(find)
            # Of a field of the top level that is there twice, the last one is passed on.
            is_gone = place == "top" and ODD[number].endswith(b'"mine"')
            assert ("theirs" in found) is not is_gone


@pytest.mark.parametrize("number", range(len(ODD)))
def test_a_name_is_found_in_each_field_of_the_top_level(number: int) -> None:
    for name in ("metadata", "prediction", "tool_choice", "input", "messages", "x"):
        said = b'{"model":"m","%b":{"y":{%b}}}' % (name.encode(), ODD[number])
        fields = read_fields(said, RESPONSES)
        fields.plain_messages()
        assert "theirs" in fields.found_by(names_of(RESPONSES).found_in)


def test_a_conversation_that_is_named_at_the_top_is_found() -> None:
    for said in (b'"theirs"', b'{"id":"theirs"}', b'{"ID":"theirs","id":"mine"}'):
        fields = read_fields(b'{"model":"m","tools":[],"conversation":%b}' % said, RESPONSES)
        assert "theirs" in fields.found_by(names_of(RESPONSES).found_in)


def test_a_plain_body_is_searched_for_names_only_where_it_is_new() -> None:
    searched: list[bytes] = []

    def find(text: bytes) -> tuple[str, ...]:
        searched.append(text)
        return ()

    tools = json.dumps(TOOLS).encode()
    more = {"audio": {"id": "theirs"}}
    for content, added in (("one", {}), ("two", {}), ("three", more), ("four", more)):
        said = {**SAID, "messages": [{"role": "user", "content": content}], **added}
        fields = read_fields(json.dumps(said).encode(), "openai-chat")
        assert fields.plain_messages() is not None
        fields.found_by(find)
        assert searched.count(tools) == 1
    assert len(searched) == 3  # what a field of its own names is looked for each time
    assert all(b"theirs" in text for text in searched if text != tools)
    assert not any(b"content" in text for text in searched)


def test_texts_and_arguments_of_a_passed_body_name_nothing() -> None:
    said = json.dumps(SAID).replace('"{}"', json.dumps('{"file_id":"theirs"}')).encode()
    fields = read_fields(said, "openai-chat")
    find = names_of("openai-chat").found_in
    assert fields.found_by(find) == ()
    assert fields.plain_messages() is not None
    assert fields.found_by(find) == ()


@pytest.mark.parametrize(
    "name", ["training_file", "INPUT_FILE_ID", "inputFileIds", "file", "pro_file"]
)
def test_a_jobs_field_is_a_file_in_any_spelling(name: str) -> None:
    assert service._names_file(name.casefold())


@pytest.mark.parametrize("name", ["profile", "userProfile", "profile_id", "file_format", "filed"])
def test_a_jobs_field_is_no_file_for_its_letters(name: str) -> None:
    assert not service._names_file(name.casefold())


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("dialect", [RESPONSES, "gemini-interactions"])
async def test_an_answer_that_its_provider_stores_has_a_maker(*, keeps: bool, dialect: str) -> None:
    """Whether or not the gateway keeps answers of its own."""
    noted: list[tuple[Any, ...]] = []

    async def note(*given: Any) -> None:
        noted.append(given)

    services: Any = SimpleNamespace(
        server=SimpleNamespace(keep_answers=keeps),
        items=SimpleNamespace(note_place=note),
        owned=SimpleNamespace(note_makers=note),
    )
    attempt: Any = SimpleNamespace(
        named=frozenset(),
        dialect=DIALECTS[dialect],
        target=SimpleNamespace(provider=SimpleNamespace(name="p"), model="m"),
    )
    for store, number in ((b"", 1), (b',"store":true', 1), (b',"store":false', 0)):
        noted.clear()
        fields = read_fields(b'{"model":"m","input":"x"' + store + b"}", dialect)
        earlier = EarlierAnswers(fields, dialect, "mine")
        await earlier.note_made(attempt, services, b'{"id":"resp_1"}')
        assert noted.count(("mine", "p", ["resp_1"])) == number
        assert len(noted) == number * (1 + keeps)


async def test_a_translated_answer_that_breaks_off_has_a_maker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its client has read the id by then, and the provider may have stored it."""
    noted: list[Any] = []

    async def note_made(attempt: Any, services: Any, name: str, made: Any) -> None:
        noted.append((attempt, name, made))

    earlier = SimpleNamespace(note_made=note_made)
    dialect = DIALECTS["gemini-interactions"]
    asked: Any = SimpleNamespace(earlier=earlier, dialect=dialect, model="m")
    request: Any = SimpleNamespace(id="req_1", started=False)
    account: Any = SimpleNamespace(attempt="here", steps=0, calls=0)
    stream = answer._Stream(asked, request, SimpleNamespace(), account)  # pyright: ignore[reportArgumentType]
    stream._is_theirs = True
    stream._encoder = SimpleNamespace(feed=lambda event: b"")  # pyright: ignore[reportAttributeAccessIssue]

    async def broken(runner: Any) -> None:
        stream._encode([ResponseStart("v1_theirs", "m")])
        raise TruncatedError("it broke off")

    monkeypatch.setattr(stream, "_run", broken)
    with pytest.raises(TruncatedError):
        await stream.run(SimpleNamespace())  # pyright: ignore[reportArgumentType]
    assert noted == [("here", "v1_theirs", {})]


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_lost_answer_is_written_down_by_the_one_that_ended_it(
    *, is_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ask at once: the row names the worker that counted the money."""
    written: list[Any] = []
    record = JobRecord(beat=0.0, worker="dead", key="k", key_id="k", model="m")

    async def load_states(*given: Any, **more: Any) -> dict[str, bytes]:
        return {given[1][0]: record.written()}

    async def change_state(_: str, __: str, change: Any) -> bytes:
        there = b'{"status":"in_progress"}' if is_first else b'{"status":"failed"}'
        return change(there) or there

    async def save_states(*given: Any) -> None: ...

    store: Any = SimpleNamespace(
        load_states=load_states,
        change_state=change_state,
        save_states=save_states,
        add_row=written.append,
    )
    row = SimpleNamespace(cost_usd="1")
    monkeypatch.setattr("polycall.gateway.responses.background.lost_row", lambda *given: row)
    limits: Any = SimpleNamespace(worker="w", charge=lambda *given: written.append(given))
    responses = BackgroundResponses(store, SimpleNamespace(), limits)  # pyright: ignore[reportArgumentType]
    responses._services = SimpleNamespace()  # pyright: ignore[reportAttributeAccessIssue]
    owner = Owner("k", "k")

    async def stood_still(look: Any) -> Any:
        return await look()

    monkeypatch.setattr("polycall.gateway.responses.background.stood_still", stood_still)
    await responses.record(owner, "resp_1")
    await asyncio.gather(*responses._watched.values())
    assert len(written) == 2 * is_first
