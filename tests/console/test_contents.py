"""What was said: kept only where an owner switched it on, for whom, and for how long."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polycall.fold import unfold
from polycall.gateway.observability.contents import Cleaner, ContentTap
from polycall.gateway.store.content_operations import ContentWindow
from polycall.ir import Message, Part, PartDelta, PartEnd, Response, Text, ToolCall, Usage
from polycall.providers.dialects import DIALECTS
from polycall.sim import Simulation
from tests.console.conftest import Served, serve
from tests.gateway.harness import KEY, OTHER_KEY, Answer, Gateway, sim_config
from tests.servers import Postgres

SECRET = "s-pecial words that nobody else says"
CHAT = {"model": "up-chat/sim-1", "messages": [{"role": "user", "content": SECRET}]}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/responses": {"model": "up-responses/sim-1", "input": SECRET},
    "/v1/messages": {**CHAT, "model": "up-anthropic/sim-1", "max_tokens": 100},
    "/v1beta/models/up-gemini%2Fsim-1:generateContent": {
        "contents": [{"parts": [{"text": SECRET}]}]
    },
}
WINDOW = ContentWindow("w", "", 0.0, 1.0, "owner", 0.0)
# What no look may ever show.
CREDENTIALS = (
    "sk-provider-up-chat",
    KEY,
    "sk-ant-api03-abcdefghijklmnop",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_abcdefghijklmnopqrst123456",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "-----BEGIN EC PRIVATE KEY-----\nMIIEow\n-----END EC PRIVATE KEY-----",
)


@pytest.fixture(scope="module")
def keeping(console_sim: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway of two workers whose operator allows that content is kept."""
    more = '[server]\nworkers = 2\n[admin.content]\nrole = "operator"\nkeep_s = 600\n'
    made = serve(tmp_path_factory.mktemp("contents"), sim_config(console_sim, more))
    yield made
    assert made.gateway.stop() == 0, made.gateway.log
    assert "Traceback" not in made.gateway.log


def switch_on(served: Served, **fields: Any) -> None:
    answer = served.ask("POST", "/content", {"for_s": 60, **fields})
    assert answer.status == 200, answer.content
    time.sleep(1.2)  # the workers look twice a second


def switch_off(served: Served) -> int:
    removed = served.ask("POST", "/content/off", {"remove": True}).json()["removed"]
    time.sleep(1.2)
    return removed


def look(served: Served, answer: Answer, role: str = "operator") -> Answer:
    return served.ask(
        "GET", f"/requests/{answer.headers['polycall-request-id']}/content", None, role
    )


def looked(served: Served, answer: Answer) -> Any:
    ends_at = time.monotonic() + 5
    while (found := look(served, answer)).status != 200:
        assert time.monotonic() < ends_at, found.content
        time.sleep(0.05)
    return found.json()


def rows(served: Served) -> int:
    database = sqlite3.connect(served.gateway.folder / "polycall.db")
    try:
        return database.execute("SELECT COUNT(*) FROM contents").fetchone()[0]
    finally:
        database.close()


def test_nothing_is_kept_where_the_operator_does_not_allow_it(served: Served) -> None:
    refused = served.ask("POST", "/content", {"for_s": 60})
    assert refused.status == 400
    assert "[admin.content]" in refused.json()["error"]["message"]
    assert served.ask("GET", "/content", None, "reader").json()["configured"] is False
    answer = served.gateway.request("POST", "/v1/chat/completions", CHAT)
    assert look(served, answer).status == 404
    assert rows(served) == 0


def test_nothing_is_kept_before_it_is_switched_on_or_of_other_keys(keeping: Served) -> None:
    before = [keeping.gateway.request("POST", path, body) for path, body in BODIES.items()]
    switch_on(keeping, key="first")
    other = keeping.gateway.request("POST", "/v1/chat/completions", CHAT, key=OTHER_KEY)
    own = keeping.gateway.request("POST", "/v1/chat/completions", CHAT)
    looked(keeping, own)
    for answer in (*before, other):
        assert look(keeping, answer).status == 404
    switch_off(keeping)
    after = keeping.gateway.request("POST", "/v1/chat/completions", CHAT)
    time.sleep(0.3)
    assert look(keeping, after).status == 404
    assert look(keeping, own).status == 404
    assert rows(keeping) == 0


def test_every_protocol_is_shown_whole_and_streamed(keeping: Served) -> None:
    switch_on(keeping)
    for path, body in BODIES.items():
        for streams in (False, True):
            asked, place = body, path
            if "generateContent" in path:
                method = path.replace("generate", "streamGenerate") + "?alt=sse"
                place = method if streams else path
            else:
                asked = {**body, "stream": streams}
            # Each worker has to know of it.
            for _ in range(4):
                answer = keeping.gateway.request("POST", place, asked)
                assert answer.status == 200, answer.content
                found = looked(keeping, answer)
                assert SECRET in json.dumps(found["request"])
                words = json.dumps(found["answer"], ensure_ascii=False)
                assert '"text"' in words or '"content"' in words
                assert "event:" not in words
                assert "data:" not in words
    bad = keeping.gateway.request("POST", "/v1/chat/completions", {**CHAT, "model": "nobody/x"})
    assert "nobody" in json.dumps(looked(keeping, bad)["answer"])
    assert switch_off(keeping) > 30


def test_answers_in_the_background_and_summaries_are_shown(keeping: Served) -> None:
    """What the gateway asks on behalf of a request that has ended, or beside it."""
    switch_on(keeping)
    gateway = keeping.gateway
    said: dict[str, Any] = {"model": "up-chat/sim-1", "input": SECRET}
    job = gateway.request("POST", "/v1/responses", {**said, "background": True})
    path = f"/v1/responses/{job.json()['id']}"
    ends_at = time.monotonic() + 10
    while (state := gateway.request("GET", path).json())["status"] != "completed":
        assert state["status"] in ("queued", "in_progress"), state
        assert time.monotonic() < ends_at
        time.sleep(0.05)
    compact = gateway.request("POST", "/v1/responses/compact", said)
    turns = [{"role": "user", "content": SECRET * 100}, {"role": "user", "content": "go on"}]
    edits = [{"type": "compaction", "compact_threshold": 300}]
    short = {**said, "input": turns, "context_management": edits}
    threshold = gateway.request("POST", "/v1/responses", short)
    for answer in (job, compact, threshold):
        assert answer.status == 200, answer.content
        assert SECRET in json.dumps(looked(keeping, answer)["request"])
    switch_off(keeping)


def test_each_look_is_written_down_and_small_roles_do_not_look(keeping: Served) -> None:
    switch_on(keeping, for_s=30)
    answer = keeping.gateway.request("POST", "/v1/chat/completions", CHAT)
    looked(keeping, answer)
    name = answer.headers["polycall-request-id"]
    refused = look(keeping, answer, "reader")
    assert refused.status == 403
    assert SECRET.encode() not in refused.content
    for role in ("reader", "operator"):
        assert keeping.ask("POST", "/content", {"for_s": 5}, role).status == 403
        assert keeping.ask("POST", "/content/off", {}, role).status == 403
    acts = keeping.ask("GET", "/audit").json()["acts"][:2]
    assert [(act["action"], act["target"], act["actor"]) for act in acts] == [
        ("content.look", name, "the operator"),
        ("content.on", "all keys", "the owner"),
    ]
    for for_s in (0, -1, 3601, 1e9):
        assert keeping.ask("POST", "/content", {"for_s": for_s}).status == 400
    switch_off(keeping)


def test_credentials_are_in_no_look_and_in_no_file(keeping: Served) -> None:
    switch_on(keeping)
    said = " ".join(CREDENTIALS)
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    call = {"password": "hunter2hunter2", "query": "teapots"}
    body = {
        **CHAT,
        "tools": [tool],
        "messages": [
            {"role": "user", "content": f"{SECRET} {said}"},
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "f", "arguments": json.dumps(call)},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "client_secret: x " + said},
        ],
    }
    answer = keeping.gateway.request("POST", "/v1/chat/completions", body)
    shown = json.dumps(looked(keeping, answer), ensure_ascii=False)
    assert SECRET in shown
    assert "teapots" in shown
    for credential in (*CREDENTIALS, "hunter2hunter2"):
        assert json.dumps(credential)[1:-1] not in shown
    for path in keeping.gateway.folder.glob("polycall.db*"):
        data = path.read_bytes()
        for words in (*CREDENTIALS[2:], SECRET):
            assert words.encode() not in data, path.name
    switch_off(keeping)


@pytest.mark.slow
def test_what_was_kept_goes_on_time_and_is_bounded(console_sim: Simulation, tmp_path: Path) -> None:
    more = "[admin.content]\nkeep_s = 1\nbytes_max = 300\n"
    made = serve(tmp_path, sim_config(console_sim, more))
    try:
        switch_on(made)
        long = {**CHAT, "messages": [{"role": "user", "content": "teapot " * 200}]}
        answer = made.gateway.request("POST", "/v1/chat/completions", long)
        ends_at = time.monotonic() + 2
        while (found := look(made, answer, "owner")).status != 200:
            assert time.monotonic() < ends_at, found.content
        shown = found.json()
        assert shown["is_request_cut"] is True
        assert len(shown["request"]) <= 300
        assert look(made, answer, "operator").status == 403
        time.sleep(1.1)
        assert look(made, answer, "owner").status == 404
        ends_at = time.monotonic() + 8
        while rows(made):
            assert time.monotonic() < ends_at
            time.sleep(0.1)
    finally:
        assert made.gateway.stop() == 0, made.gateway.log


@pytest.mark.slow
def test_replicas_of_one_database_keep_and_show_for_each_other(
    console_sim: Simulation, tmp_path: Path, postgres_server: Postgres
) -> None:
    store = f'[store]\nurl = "{postgres_server.database()}"\n'
    more = f'{store}[admin.content]\nrole = "operator"\n'
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = serve(tmp_path / "one", sim_config(console_sim, more))
    other = Served(
        Gateway(tmp_path / "two", sim_config(console_sim, more)).start(), one.keys, one.command
    )
    try:
        switch_on(one)
        for asked, shown in ((one, other), (other, one)):
            answer = asked.gateway.request("POST", "/v1/chat/completions", CHAT)
            assert answer.status == 200, answer.content
            found = looked(shown, answer)
            assert SECRET in json.dumps(found["request"])
            assert found["answer"]
            # Its row is found from the other one, too, by the process that reads there.
            name = answer.headers["polycall-request-id"]
            assert shown.ask("GET", f"/requests/{name}").json()["id"] == name
        # A key that one made may be the only one whose requests are kept; the other knows it.
        assert switch_off(other) == 2
        key = one.ask("POST", "/keys", {"name": "watched"}).json()["key"]
        switch_on(one, key="watched")
        deadline = time.monotonic() + 5
        while (
            watched := other.gateway.request("POST", "/v1/chat/completions", CHAT, key=key)
        ).status != 200:
            assert time.monotonic() < deadline, watched.content
            time.sleep(0.2)
        unwatched = other.gateway.request("POST", "/v1/chat/completions", CHAT)
        assert SECRET in json.dumps(looked(one, watched)["request"])
        time.sleep(0.5)
        assert look(one, unwatched).status == 404
        looks = [
            a for a in one.ask("GET", "/audit").json()["acts"] if a["action"] == "content.look"
        ]
        assert {a["target"] for a in looks} >= {watched.headers["polycall-request-id"]}
        assert other.ask("GET", "/audit/check").json()["whole"] is True
        # Each one goes on keeping for the time that was said when the other is killed.
        one.gateway.kill()
        last = other.gateway.request("POST", "/v1/chat/completions", CHAT, key=key)
        assert SECRET in json.dumps(looked(other, last)["request"])
        assert switch_off(other) == 2
    finally:
        for served in (one, other):
            served.gateway.stop()


@pytest.mark.parametrize("name", ["openai-chat", "openai-responses", "anthropic", "gemini"])
def test_a_credential_in_pieces_of_a_stream_is_not_shown(name: Any) -> None:
    key = "sk-ant-api03-abcdefghijklmnop"
    arguments = json.dumps({"api_key": "plain words", "text": key})
    parts: list[Part] = [Text(f"it is {key}, yes"), ToolCall("c", "f", arguments)]
    message = Message("assistant", parts)
    response = Response(
        id="r", model="m", message=message, finish_reason="tool_calls", usage=Usage(1, 1)
    )
    encoder = DIALECTS[name].StreamEncoder()
    data, spoken = b"", 0
    for event in unfold(response):
        spoken = spoken or (len(data) if isinstance(event, PartEnd) else 0)
        pieces = [event]
        if isinstance(event, PartDelta):
            pieces = [PartDelta(event.index, letter, event.kind) for letter in event.text]
        data += b"".join(encoder.feed(piece) for piece in pieces)
    data += encoder.close()
    for cut in (len(data), spoken, len(data) // 2):
        tap = ContentTap(WINDOW, name, b"{}", cut)
        tap.add(data)
        shown = json.dumps(tap.content().answer)
        # What Gemini streams is cut within the credential at half: a part of it is not shown.
        is_cut = name == "gemini" and cut not in (len(data), spoken)
        assert ("it is " if is_cut else "it is [redacted]") in shown
        assert "abcdefgh" not in shown
        assert "plain words" not in shown


@pytest.mark.parametrize("key", [CREDENTIALS[2], CREDENTIALS[3], CREDENTIALS[5]])
def test_a_credential_at_the_cut_is_not_kept(key: str) -> None:
    whole = f'{{"text": "hello {key}"}}'.encode()
    delta = json.dumps({"choices": [{"index": 0, "delta": {"content": f"hello {key}"}}]})
    for cut in range(10, 10 + len(key)):
        tap = ContentTap(WINDOW, "openai-chat", whole, cut)
        tap.add(whole)
        kept = tap.content()
        assert key[:4] not in kept.request
        assert kept.answer == kept.request
        tap = ContentTap(WINDOW, "openai-chat", b"{}", cut + 40)
        for letter in f"hello {key}":
            piece = delta.replace(f"hello {key}", letter)
            tap.add(f"data: {piece}\n\n".encode())
        assert key[:4] not in json.dumps(tap.content().answer)


@pytest.mark.parametrize("name", ["openai-chat", "anthropic"])
def test_the_beginning_of_a_long_answer_is_kept(name: str) -> None:
    tap = ContentTap(WINDOW, name, b"{}", 100)
    tap.add(json.dumps({"text": "tea " * 200}).encode())
    assert '"tea tea' in tap.content().answer
    assert tap.content().is_answer_cut


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ({"Authorization": "Basic abc"}, "Authorization"),
        ({"headers": {"X-API-Key": "abc"}}, "X-API-Key"),
        ({"access_token": "abc"}, "access_token"),
        ({"clientSecret": "abc"}, "clientSecret"),
        ({"cookies": ["abc", "def"]}, "cookies"),
        ({"inner": '{"db": {"password": "abc"}}'}, "password"),
        ('refused: {"token": "abc"', "token"),
    ],
    ids=str,
)
def test_what_is_named_as_a_credential_is_none_to_see(value: Any, name: str) -> None:
    shown = json.dumps(Cleaner().clean(value))
    assert "abc" not in shown
    assert name in shown
    assert Cleaner().clean({"max_tokens": 5, "token_count": "12", "secretary": "Kim"}) == {
        "max_tokens": 5,
        "token_count": "12",
        "secretary": "Kim",
    }
