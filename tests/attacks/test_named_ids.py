"""What a provider keeps for one key is named by no other, whatever it is and however it came."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from polycall.gateway.passthrough.made_resources import MadeResources
from polycall.gateway.store import open_store
from polycall.gateway.store.operations import purge_states
from polycall.gateway.store.owned import OwnedResources
from polycall.providers.dialects import DIALECTS
from tests.gateway.harness import KEY, OTHER_KEY, Gateway, provider_table
from tests.origins import Handler

ELSEWHERE = "cntr_made_elsewhere_by_the_operator"


class Vendor(Handler):
    """Keeps what it answers, in every protocol, and gives it ids that nobody can guess."""

    asked: ClassVar[list[Any]] = []
    number: ClassVar[int] = 0

    def new_id(self, head: str) -> str:
        Vendor.number += 1
        return f"{head}_{Vendor.number:032x}"

    def do_POST(self) -> None:
        body = json.loads(self.read())
        self.asked.append(body)
        if self.path.endswith(("count_tokens", "input_tokens")):
            self.answer({"object": "response.input_tokens", "input_tokens": 7})
            return
        whole = {
            "/v1/responses": self.response,
            "/v1/messages": self.message,
            "/v1/chat/completions": self.completion,
        }[self.path](body)
        if not body.get("stream"):
            self.answer(whole)
            return
        data = "".join(
            f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
            if "type" in event
            else f"data: {json.dumps(event)}\n\n"
            for event in self.events(whole)
        )
        self.answer(data.encode(), kind="text/event-stream")

    def response(self, body: Any) -> Any:
        given = body.get("tools", [{}])[0].get("container")
        container = given if isinstance(given, str) else self.new_id("cntr")
        text: Any = {"type": "output_text", "text": "ok", "annotations": []}
        said: Any = {
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [text],
        }
        output: list[Any] = [
            {"id": self.new_id("rs"), "type": "reasoning", "summary": []},
            {
                "id": self.new_id("ci"),
                "type": "code_interpreter_call",
                "status": "completed",
                "code": "1",
                "outputs": None,
                "container_id": container,
            },
            {"id": self.new_id("msg"), **said},
        ]
        return {
            "id": self.new_id("resp"),
            "object": "response",
            "created_at": 1,
            "status": "completed",
            "model": "m",
            "metadata": body.get("metadata", {}),
            "output": output,
            "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
        }

    def message(self, body: Any) -> Any:
        file = {"type": "bash_code_execution_output", "file_id": self.new_id("file")}
        ran = {"type": "bash_code_execution_result", "content": [file], "stdout": ""}
        result = {"type": "bash_code_execution_tool_result", "tool_use_id": "t", "content": ran}
        return {
            "id": self.new_id("msg"),
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [result, {"type": "text", "text": "ok"}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "container": {"id": self.new_id("container"), "expires_at": "2030-01-01T00:00:00Z"},
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }

    def completion(self, body: Any) -> Any:
        audio = {"id": self.new_id("audio"), "data": "", "transcript": "ok", "expires_at": 1}
        message = {"role": "assistant", "content": None, "audio": audio}
        return {
            "id": self.new_id("chatcmpl"),
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }

    def events(self, whole: Any) -> list[Any]:
        if "output" in whole:
            begun: Any = {**whole, "status": "in_progress", "output": [], "usage": None}
            items: list[Any] = [
                {"type": f"response.output_item.{when}", "output_index": place, "item": item}
                for place, item in enumerate(whole["output"])
                for when in ("added", "done")
            ]
            events: list[Any] = [
                {"type": "response.created", "response": begun},
                *items,
                {"type": "response.completed", "response": whole},
            ]
            return [{**each, "sequence_number": n} for n, each in enumerate(events)]
        if "choices" in whole:
            (choice,) = whole["choices"]
            head: Any = {**whole, "object": "chat.completion.chunk", "usage": None}
            chunks: list[Any] = [({"delta": choice["message"]}, None), ({"delta": {}}, "stop")]
            return [
                {**head, "choices": [{"index": 0, **part, "finish_reason": end}]}
                for part, end in chunks
            ]
        begun: Any = {**whole, "content": [], "stop_reason": None, "container": None}
        blocks: list[Any] = []
        for index, block in enumerate(whole["content"]):
            blocks += [
                {"type": "content_block_start", "index": index, "content_block": block},
                {"type": "content_block_stop", "index": index},
            ]
        delta = {"stop_reason": "end_turn", "container": whole["container"]}
        return [
            {"type": "message_start", "message": begun},
            *blocks,
            {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 1}},
            {"type": "message_stop"},
        ]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Vendor)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    tables = [
        provider_table("r", f"{url}/v1", "openai-responses"),
        provider_table("a", url, "anthropic"),
        provider_table("c", f"{url}/v1", "openai-chat", 'quirks = "openai"'),
    ]
    keys = f'[[keys]]\nkey = "{KEY}"\nname = "first"\n[[keys]]\nkey = "{OTHER_KEY}"\n'
    served = Gateway(Path(tmp_path_factory.mktemp("named")), "\n".join([*tables, keys])).start()
    yield served
    served.stop()
    server.shutdown()
    thread.join()
    server.server_close()


ASKS: dict[str, tuple[str, Any]] = {
    "responses": ("/v1/responses", {"model": "r/m", "input": "my secret"}),
    "messages": (
        "/v1/messages",
        {
            "model": "a/m",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "my secret"}],
            "thread": {"type": "create"},
        },
    ),
    "chat": (
        "/v1/chat/completions",
        {
            "model": "c/m",
            "messages": [{"role": "user", "content": "my secret"}],
            "modalities": ["text", "audio"],
            "audio": {"voice": "ash", "format": "wav"},
        },
    ),
}


def _input(*items: Any) -> Any:
    return {"input": [*items, {"role": "user", "content": "what was it?"}]}


def _said(content: Any) -> Any:
    return {"thread": None, "messages": [{"role": "user", "content": content}]}


_RUN = {"type": "code_interpreter_call", "code": "1", "id": "ci_1", "container_id": "<cntr>"}
NAMING: dict[str, tuple[str, Any]] = {
    "an item": ("responses", _input({"type": "item_reference", "id": "<rs>"})),
    "a message": ("responses", _input({"type": "item_reference", "id": "<msg>"})),
    "an item without a type": ("responses", _input({"id": "<msg>"})),
    "its thoughts": ("responses", _input({"type": "reasoning", "id": "<rs>", "summary": []})),
    "a picture": ("responses", _input({"type": "image_generation_call", "id": "<ci>"})),
    "in another case": ("responses", _input({"type": "item_reference", "ID": "<rs>"})),
    "its program": ("responses", _input({**_RUN, "id": "<ci>"})),
    "where it ran": ("responses", _input(_RUN)),
    "a container": ("responses", {"tools": [{"type": "code_interpreter", "container": "<cntr>"}]}),
    "a container of a shell": (
        "responses",
        {
            "tools": [
                {
                    "type": "shell",
                    "environment": {"type": "container_reference", "container_id": "<cntr>"},
                }
            ]
        },
    ),
    "an answer": ("responses", {"previous_response_id": "<resp>"}),
    "an answer to compare": (
        "responses",
        {"prompt_cache_options": {"comparison_response_id": "<resp>"}},
    ),
    "a thread": (
        "messages",
        {"thread": {"type": "continue", "previous_message_id": "<msg>"}},
    ),
    "an answer to diagnose": (
        "messages",
        {"thread": None, "diagnostics": {"previous_message_id": "<msg>"}},
    ),
    "Anthropic's container": ("messages", {"thread": None, "container": "<container>"}),
    "Anthropic's container with skills": (
        "messages",
        {"thread": None, "container": {"id": "<container>", "skills": []}},
    ),
    "a file for code": ("messages", _said([{"type": "container_upload", "file_id": "<file>"}])),
    "a file to read": (
        "messages",
        _said([{"type": "document", "source": {"type": "file", "file_id": "<file>"}}]),
    ),
    "a spoken answer": (
        "chat",
        {
            "messages": [
                {"role": "assistant", "audio": {"id": "<audio>"}},
                {"role": "user", "content": "what was it?"},
            ]
        },
    ),
}


def ids_in(answer: bytes) -> dict[str, str]:
    """The first id of each kind that an answer, whole or streamed, tells of."""
    found: dict[str, str] = {}
    for piece in answer.decode().split('"'):
        head, _, rest = piece.rpartition("_")
        if len(rest) == 32 and head:
            found.setdefault(head, piece)
    return found


def named(body: Any, ids: dict[str, str]) -> Any:
    text = json.dumps(body)
    for head, name in ids.items():
        text = text.replace(f"<{head}>", name)
    return json.loads(text)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("case", NAMING)
def test_what_one_key_was_answered_is_named_by_no_other(
    gateway: Gateway, case: str, *, streamed: bool
) -> None:
    protocol, more = NAMING[case]
    path, body = ASKS[protocol]
    first = gateway.post(path, {**body, "stream": streamed})
    assert first.status == 200, first.content
    asked = named({**body, **more}, ids_in(first.content))
    assert asked != {**body, **more}
    Vendor.asked.clear()
    refused = gateway.request("POST", path, asked, key=OTHER_KEY)
    assert (refused.status, Vendor.asked) == (404, []), refused.content
    assert b"this key has made nothing that is called" in refused.content
    assert gateway.post(path, asked).status == 200
    assert len(Vendor.asked) == 1


@pytest.mark.parametrize(
    ("protocol", "path", "more"),
    [
        ("responses", "/v1/responses/input_tokens", {"previous_response_id": "<resp>"}),
        (
            "responses",
            "/v1/responses/input_tokens",
            _input({"type": "item_reference", "id": "<rs>"}),
        ),
        ("messages", "/v1/messages/count_tokens", NAMING["a file to read"][1]),
    ],
)
def test_nothing_of_another_key_is_counted(
    gateway: Gateway, protocol: str, path: str, more: Any
) -> None:
    place, body = ASKS[protocol]
    first = gateway.post(place, body)
    ids = ids_in(first.content)
    asked = named({**body, **more}, ids)
    Vendor.asked.clear()
    gateway.request("POST", path, asked, key=OTHER_KEY)
    sent = json.dumps(Vendor.asked)
    assert [name for name in ids.values() if name in sent] == []


def test_what_was_made_elsewhere_stays_everybodys(gateway: Gateway) -> None:
    tools = [{"type": "code_interpreter", "container": ELSEWHERE}]
    for key in (KEY, OTHER_KEY, KEY):
        body = {"model": "r/m", "input": "x", "tools": tools}
        assert gateway.request("POST", "/v1/responses", body, key=key).status == 200


def test_nobody_takes_over_what_an_answer_repeats(gateway: Gateway) -> None:
    """A request's own words come back in its answer, and make nothing the key's."""
    name = "rs_of_the_operator_0123456789abcdef"
    body = {"model": "r/m", "input": "x", "metadata": {"id": name, "item": name}}
    assert gateway.post("/v1/responses", body).status == 200
    asked = {"model": "r/m", **_input({"type": "item_reference", "id": name})}
    assert gateway.request("POST", "/v1/responses", asked, key=OTHER_KEY).status == 200


def test_what_is_not_stored_is_not_noted(gateway: Gateway) -> None:
    body = {"model": "r/m", "input": "x", "store": False}
    ids = ids_in(gateway.post("/v1/responses", body).content)
    asked = {"model": "r/m", **_input({"type": "reasoning", "id": ids["rs"], "summary": []})}
    assert gateway.request("POST", "/v1/responses", asked, key=OTHER_KEY).status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_container_lives_on_whether_or_not_its_answer_is_stored(
    gateway: Gateway, *, stream: bool
) -> None:
    tools = [{"type": "code_interpreter", "container": {"type": "auto"}}]
    body = {"model": "r/m", "input": "x", "store": False, "stream": stream, "tools": tools}
    ids = ids_in(gateway.post("/v1/responses", body).content)
    tools = [{"type": "code_interpreter", "container": ids["cntr"]}]
    asked = {"model": "r/m", "input": "x", "tools": tools}
    for key, status in ((OTHER_KEY, 404), (KEY, 200)):
        assert gateway.request("POST", "/v1/responses", asked, key=key).status == status


async def test_what_has_a_maker_keeps_it(tmp_path: Path) -> None:
    """Whoever is answered with the same id later, and whatever age it has."""
    store = open_store("sqlite:///s.db", tmp_path)
    owned = OwnedResources(store)
    await owned.note_makers("alice", "p", ["resp_1", "rs_1"])
    await owned.keep("alice", "p", "file-1")
    names = ["resp_1", "rs_1", "file-1"]
    for _ in range(2):  # from the database, and from what is remembered
        await owned.note_makers("bob", "p", names)
        await owned.keep("bob", "p", "file-1")
        assert await owned.of("bob", "p", names) == set()
        assert await owned.of("alice", "p", names) == set(names)
        assert await owned.first_of_others("bob", "p", ["x", "rs_1"]) == "rs_1"
        assert await owned.first_of_others("alice", "p", names) is None
        assert await owned.first_of_others("bob", "another provider", names) is None
    await store._purge(purge_states, time.time() + 60)
    await store.close()
    store = open_store("sqlite:///s.db", tmp_path)
    owned = OwnedResources(store)
    assert await owned.of("alice", "p", names) == {"file-1"}
    await owned.forget("p", "file-1")
    assert await owned.of("alice", "p", names) == set()
    await store.close()


BODIES: dict[str, tuple[str, bytes, list[str]]] = {
    "a tool's own object": (
        "anthropic",
        b'{"container":null,"content":[{"type":"tool_use","input":{"type":"code_execution_output",'
        b'"file_id":"file_0123456789abcdef"}}]}',
        [],
    ),
    "what a server lists": (
        "openai-responses",
        b'{"output":[{"type":"mcp_list_tools","id":"mcpl_0123456789abcdef","tools":'
        b'[{"input_schema":{"properties":{"id":"vs_0123456789abcdef"}}}]}]}',
        ["mcpl_0123456789abcdef"],
    ),
    "a mere number": ("openai-responses", b'{"output":[{"id":"msg_1"}]}', []),
    "no text": ("openai-responses", b'{"output":[{"id":["rs_0123456789abcdef"]}]}', []),
    "no list": ("openai-responses", b'{"output":{"id":"rs_0123456789abcdef"}}', []),
    "no JSON": ("openai-responses", b'{"output":[', []),
    "a word of another alphabet": (
        "openai-responses",
        '{"output":[{"id":"rs_말말말말말말말말말말말말말말"}]}'.encode(),
        [],
    ),
    "a protocol that keeps nothing": ("gemini", b'{"output":[{"id":"rs_0123456789abcdef"}]}', []),
    "a bare text for content": (
        "anthropic",
        b'{"container":{"id":"container_0123456789"},"content":[{"type":'
        b'"code_execution_tool_result","content":"x"}]}',
        ["container_0123456789"],
    ),
    **{
        f"a file after {words.decode()}": (
            "anthropic",
            b'{"container":%b,"content":[%b,{"type":"bash_code_execution_tool_result","content":'
            b'{"content":[null,{"file_id":"file_0123456789abcdef"}]}}]}'
            % (b"null" if b"text_editor" in words else b'"another form"', words),
            ["file_0123456789abcdef"],
        )
        for words in (
            b'{"type":"text_editor_code_execution_tool_result","content":{"content":"a text"}}',
            b'{"type":"text_editor_code_execution_tool_result","content":{"content":null}}',
            b'{"type":"code_execution_tool_result","content":{"content":["a text"]}}',
            b'{"type":"code_execution_tool_result","content":{"content":7}}',
            b'{"type":null}',
            b"null",
        )
    },
    **{
        f"an item after {words.decode()}": (
            "openai-responses",
            b'{"output":[%b,{"id":"ci_0123456789abcdef","container_id":"cntr_0123456789abcdef"}]}'
            % words,
            ["ci_0123456789abcdef", "cntr_0123456789abcdef"],
        )
        for words in (b"null", b'"a text"', b"[]")
    },
}


@pytest.mark.parametrize("case", BODIES)
def test_only_what_the_provider_made_is_noted(case: str) -> None:
    dialect, body, ids = BODIES[case]
    made = MadeResources(DIALECTS[dialect])
    made.in_body(body)
    made.in_frame(b"event: x\ndata: " + body)
    assert list(made.taken()) == ids
    assert made.taken() == {}
