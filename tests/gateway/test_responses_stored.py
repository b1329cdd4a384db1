"""Answers that are kept: read again, deleted, cancelled, made in the background; conversations."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from polycall.sim import Call, Simulation, Turn
from tests.gateway.harness import KEY, OTHER_KEY, UPSTREAMS, Gateway, sim_config
from tests.servers import Postgres

TOOL: Any = {
    "type": "function",
    "name": "now",
    "strict": False,
    "parameters": {"type": "object", "properties": {}},
}
ELSEWHERE = ["up-anthropic", "up-gemini", "up-chat", "up-deepseek"]


def scripted(sim: Simulation, upstream: str, name: str, turns: list[Turn]) -> str:
    sim.script(UPSTREAMS[upstream][0], name, turns)
    return f"{upstream}/{name}"


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as made:
        yield made


def _bare(value: Any) -> Any:
    """Without what the SDK's helper for streams adds."""
    if isinstance(value, dict):
        return {
            key: _bare(each)
            for key, each in value.items()  # pyright: ignore[reportUnknownVariableType]
            if key not in ("parsed", "parsed_arguments", "output_text")
        }
    return [_bare(each) for each in value] if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType]


def paid(gateway: Gateway, model: str, expected: int) -> list[dict[str, Any]]:
    """The rows of what was asked of a model, once there are enough."""
    ends_at = time.monotonic() + 30  # rows wait in the spool while a disk is slow
    while True:
        rows = [row for row in gateway.ledger(0) if row["asked"] == model]
        if len(rows) >= expected or time.monotonic() > ends_at:
            assert len(rows) == expected, rows
            return rows
        time.sleep(0.05)


def ended(client: Any, name: str) -> Any:
    ends_at = time.monotonic() + 20
    while time.monotonic() < ends_at:
        response = client.responses.retrieve(name)
        if response.status not in ("queued", "in_progress"):
            return response
        time.sleep(0.05)
    raise AssertionError("the answer did not end")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("upstream", ELSEWHERE)
def test_an_answer_is_read_again_and_deleted(
    client: Any, sim: Simulation, upstream: str, streamed: bool
) -> None:
    turns = [Turn("let me look", calls=[Call("now", {})]), Turn("정오 🕛")]
    model = scripted(sim, upstream, f"kept-{streamed}", turns)

    def ask(**options: Any) -> Any:
        if not streamed:
            return client.responses.create(model=model, tools=[TOOL], **options)
        with client.responses.stream(model=model, tools=[TOOL], **options) as stream:
            return stream.get_final_response()

    first = ask(input="which time is it?", metadata={"a": "b"})
    assert first.store is True
    (call,) = [item for item in first.output if item.type == "function_call"]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "12:00"}
    second = ask(input=[result], previous_response_id=first.id)
    assert second.previous_response_id == first.id
    for answer in (first, second):
        again = client.responses.retrieve(answer.id)
        assert _bare(again.to_dict()) == _bare(answer.to_dict())
    listed = client.responses.input_items.list(second.id, order="asc", limit=2)
    everything = list(listed)
    kinds = [item.type for item in everything]
    assert kinds == ["message", "message", "function_call", "function_call_output"]
    newest = client.responses.input_items.list(second.id, limit=1)
    assert newest.data[0].type == "function_call_output"
    assert newest.has_more is True
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError):
        ask(input="and now?", previous_response_id=first.id)


def test_answers_are_their_keys_own(gateway: Gateway, client: Any, sim: Simulation) -> None:
    model = scripted(sim, "up-anthropic", "own", [Turn("mine"), Turn("no")])
    answer = client.responses.create(model=model, input="hi")
    unkept = client.responses.create(model=model, input="hi", store=False)
    paths = [
        ("GET", f"/v1/responses/{answer.id}", OTHER_KEY, 404),
        ("DELETE", f"/v1/responses/{answer.id}", OTHER_KEY, 404),
        ("POST", f"/v1/responses/{answer.id}/cancel", OTHER_KEY, 404),
        ("GET", f"/v1/responses/{answer.id}/input_items", OTHER_KEY, 404),
        ("GET", f"/v1/responses/{answer.id}", "sk-nobody", 401),
        ("GET", f"/v1/responses/{unkept.id}", KEY, 404),
        ("GET", "/v1/responses/resp_%00%20", KEY, 404),
        ("POST", f"/v1/responses/{answer.id}/cancel", KEY, 400),
        ("GET", f"/v1/responses/{answer.id}?stream=true", KEY, 400),
        ("PUT", f"/v1/responses/{answer.id}", KEY, 405),
        ("GET", f"/v1/responses/{answer.id}/nothing", KEY, 404),
        ("GET", f"/v1/responses/{answer.id}/input_items?limit=1000", KEY, 400),
        ("GET", f"/v1/responses/{answer.id}/input_items?after=x", KEY, 404),
        ("GET", f"/v1/responses/{answer.id}", KEY, 200),
    ]
    for method, path, key, status in paths:
        assert gateway.request(method, path, key=key).status == status, (method, path)


@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_that_passed_through_is_asked_for_at_its_provider(
    gateway: Gateway, client: Any, sim: Simulation, streamed: bool
) -> None:
    model = scripted(sim, "up-responses", f"theirs-{streamed}", [Turn("정오")] * 2)
    given: Any = {"model": model, "input": "which time?"}
    if streamed:
        with client.responses.stream(**given) as stream:
            answer: Any = stream.get_final_response()
    else:
        answer = client.responses.create(**given)
    assert client.responses.retrieve(answer.id).output_text == "정오"
    (item,) = client.responses.input_items.list(answer.id)
    assert item.type == "message"
    for path in ("", "/input_items"):
        found = gateway.request("GET", f"/v1/responses/{answer.id}{path}", key=OTHER_KEY)
        assert found.status == 404
    with pytest.raises(openai.BadRequestError, match="synchronous"):
        client.responses.cancel(answer.id)
    client.responses.delete(answer.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)
    unkept = client.responses.create(**given, store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(unkept.id)


@pytest.mark.parametrize("upstream", [*ELSEWHERE, "up-responses"])
def test_an_answer_in_the_background(
    gateway: Gateway, client: Any, sim: Simulation, upstream: str
) -> None:
    model = scripted(sim, upstream, "behind", [Turn("it is noon"), Turn("still noon")])
    begun = client.responses.create(model=model, input="which time?", background=True)
    assert begun.status in ("queued", "in_progress", "completed")
    assert begun.background is True
    done = ended(client, begun.id)
    assert (done.status, done.output_text, done.background) == ("completed", "it is noon", True)
    assert done.id == begun.id
    assert done.usage is not None
    # Its events, whole and from any of them on.
    events = list(client.responses.retrieve(begun.id, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"
    later = list(client.responses.retrieve(begun.id, stream=True, starting_after=3))
    assert later == events[4:]
    # It can be gone on with, and is paid once.
    went_on = client.responses.create(model=model, input="now?", previous_response_id=begun.id)
    assert went_on.output_text == "still noon"
    rows = paid(gateway, model, 2)
    assert [row["outcome"] for row in rows] == ["ok", "ok"]
    assert rows[0]["input_tokens"] == done.usage.input_tokens


def test_a_stream_in_the_background_goes_on_without_its_client(
    client: Any, sim: Simulation
) -> None:
    seen: list[Any] = []
    options: Any = {"model": "up-anthropic/fault-slow", "input": "go", "background": True}
    stream = client.responses.create(**options, stream=True)
    for event in stream:
        seen.append(event)
        if len(seen) == 5:
            break
    stream.close()
    name = seen[0].response.id
    done = ended(client, name)
    assert done.status == "completed"
    rest = client.responses.retrieve(name, stream=True, starting_after=seen[-1].sequence_number)
    events = [*seen, *rest]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == done.output_text


def test_an_answer_in_the_background_is_cancelled(gateway: Gateway, client: Any) -> None:
    options: Any = {"model": "up-anthropic/fault-hang", "input": "go", "background": True}
    begun = client.responses.create(**options)
    stopped = client.responses.cancel(begun.id)
    assert (stopped.status, stopped.id) == ("cancelled", begun.id)
    assert client.responses.cancel(begun.id).status == "cancelled"
    assert client.responses.retrieve(begun.id).status == "cancelled"
    last = list(client.responses.retrieve(begun.id, stream=True))[-1]
    assert last.response.status == "cancelled"  # type: ignore[union-attr]
    (row,) = paid(gateway, "up-anthropic/fault-hang", 1)
    assert row["outcome"] == "cancelled"
    client.responses.delete(begun.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(begun.id)


def test_what_fails_in_the_background_says_why(
    gateway: Gateway, client: Any, sim: Simulation
) -> None:
    for model in ("up-anthropic/fault-500", "up-anthropic/fault-error-midstream"):
        begun = client.responses.create(model=model, input="go", background=True)
        failed = ended(client, begun.id)
        assert failed.status == "failed"
        assert failed.error is not None
        assert failed.error.message
        events = list(client.responses.retrieve(begun.id, stream=True))
        assert events[0].type == "response.created"
        assert events[-1].type == "response.failed"
    model = scripted(sim, "up-anthropic", "refused", [Turn("no")])
    options: Any = {"model": model, "input": "go", "background": True, "store": False}
    with pytest.raises(openai.BadRequestError, match="store"):
        client.responses.create(**options)
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="nobody/knows", input="go", background=True)


@pytest.mark.slow
def test_a_killed_gateway_leaves_a_failed_answer_and_one_row(
    sim: Simulation, tmp_path: Path, postgres_server: Postgres
) -> None:
    """In both stores at once, since what takes time is to be sure that the process is gone."""
    begun: list[tuple[Gateway, str]] = []
    for kind, url in (("lite", "sqlite:///polycall.db"), ("post", postgres_server.database())):
        folder = tmp_path / kind
        folder.mkdir()
        config = f'[store]\nurl = "{url}"\n' + sim_config(sim)
        gateway = Gateway(folder, config).start()
        body = {"model": "up-anthropic/fault-hang-midstream", "input": "go", "background": True}
        name = gateway.post("/v1/responses", body).json()["id"]
        begun.append((gateway, f"/v1/responses/{name}"))
    time.sleep(1.0)
    for gateway, _ in begun:
        gateway.kill()
        gateway.start()
    for gateway, path in begun:
        ends_at = time.monotonic() + 40
        while (answer := gateway.request("GET", path).json())["status"] in (
            "queued",
            "in_progress",
        ):
            assert time.monotonic() < ends_at
            time.sleep(0.2)
        assert answer["status"] == "failed"
        assert "process" in answer["error"]["message"]
        streamed = gateway.request("GET", f"{path}?stream=true").content.decode()
        assert streamed.rstrip().rpartition("event: ")[2].startswith("response.failed")
        for _ in range(3):
            assert gateway.request("GET", path).json()["status"] == "failed"
    (row,) = begun[0][0].ledger(1)
    assert (row["outcome"], row["is_estimate"], row["key"]) == ("error", 1, "first")
    assert row["input_tokens"] > 0
    assert [gateway.stop() for gateway, _ in begun] == [0, 0]


def test_conversations(client: Any, gateway: Gateway, sim: Simulation) -> None:
    model = scripted(sim, "up-gemini", "talks", [Turn("hello 안녕"), Turn("twice")])
    made = client.conversations.create(
        items=[{"type": "message", "role": "user", "content": "my name is Bo"}],
        metadata={"topic": "names"},
    )
    assert made.metadata == {"topic": "names"}
    first = client.responses.create(model=model, input="greet me", conversation=made.id)
    assert first.conversation is not None
    assert first.conversation.id == made.id
    with client.responses.stream(
        model=model, input="again", conversation={"id": made.id}
    ) as stream:
        assert stream.get_final_response().output_text == "twice"
    sent = json.dumps(sim.requests[-1].body, ensure_ascii=False)
    places = [sent.index(text) for text in ("my name is Bo", "greet me", "hello 안녕", "again")]
    assert places == sorted(places)
    items = list(client.conversations.items.list(made.id, order="asc"))
    assert [item.type for item in items] == ["message"] * 5
    added = client.conversations.items.create(
        made.id, items=[{"type": "message", "role": "user", "content": "more"}]
    )
    (one,) = added.data
    assert one.id is not None
    got: Any = client.conversations.items.retrieve(one.id, conversation_id=made.id)
    assert got.content[0].text == "more"
    client.conversations.items.delete(one.id, conversation_id=made.id)
    assert client.conversations.update(made.id, metadata={"a": "b"}).metadata == {"a": "b"}
    assert client.conversations.retrieve(made.id).metadata == {"a": "b"}
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/items"), ("POST", "/items")):
        body = {"items": [{"role": "user", "content": "x"}]} if method == "POST" else None
        found = gateway.request(method, f"/v1/conversations/{made.id}{path}", body, key=OTHER_KEY)
        assert found.status == 404
    odd: list[Any] = [{"items": "x"}, {"items": [1]}, {"metadata": {"a": 1}}, [], b"{"]
    for body in odd:
        assert gateway.post("/v1/conversations", body).status == 400
    client.conversations.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(made.id)
    with pytest.raises(openai.BadRequestError, match="conversation"):
        client.responses.create(model=model, input="x", conversation=made.id)


@pytest.mark.parametrize("upstream", [*ELSEWHERE, "up-responses"])
def test_a_conversation_is_compacted_by_its_model(
    gateway: Gateway, client: Any, sim: Simulation, upstream: str
) -> None:
    turns = [Turn("SUMMARY: the file is a.txt"), Turn("it is a.txt")]
    model = scripted(sim, upstream, "short", turns)
    history: Any = [
        {"role": "user", "content": "look for the file"},
        {"type": "function_call", "call_id": "c1", "name": "now", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "a.txt"},
    ]
    compacted = client.responses.compact(model=model, input=history)
    assert [item.type for item in compacted.output] == ["message", "compaction"]
    assert compacted.usage.output_tokens > 0
    paid(gateway, model, 1)
    user: Any = {"role": "user", "content": [{"type": "input_text", "text": "look for the file"}]}
    kept: Any = [user, compacted.output[1].to_dict()]
    # Any model goes on with it.
    other = scripted(sim, "up-anthropic", "goes-on", [Turn("yes, a.txt")])
    for name, text in ((model, "it is a.txt"), (other, "yes, a.txt")):
        answer = client.responses.create(
            model=name, input=[*kept, {"role": "user", "content": "which one?"}]
        )
        assert answer.output_text == text
        sent = json.dumps(sim.requests[-1].body)
        assert "SUMMARY: the file is a.txt" in sent
        assert kept[1]["encrypted_content"] not in sent
    forged = {**kept[1], "encrypted_content": kept[1]["encrypted_content"][:-4] + "AAAA"}
    body = {"model": model, "input": [forged, {"role": "user", "content": "x"}]}
    assert gateway.post("/v1/responses", body).status == 400
    body["input"] = [kept[1], {"role": "user", "content": "x"}]
    assert gateway.request("POST", "/v1/responses", body, key=OTHER_KEY).status == 400


@pytest.mark.parametrize("streamed", [False, True])
def test_a_trigger_at_the_end_of_the_input_compacts(
    gateway: Gateway, client: Any, sim: Simulation, streamed: bool
) -> None:
    model = scripted(sim, "up-gemini", f"trigger-{streamed}", [Turn("THE GIST"), Turn("ok")])
    given: Any = [{"role": "user", "content": "long"}, {"type": "compaction_trigger"}]
    if streamed:
        with client.responses.stream(model=model, input=given) as stream:
            answer: Any = stream.get_final_response()
    else:
        answer = client.responses.create(model=model, input=given)
    (item,) = answer.output
    assert item.type == "compaction"
    paid(gateway, model, 1)
    went_on = client.responses.create(model=model, input="go", previous_response_id=answer.id)
    assert went_on.output_text == "ok"
    assert "THE GIST" in json.dumps(sim.requests[-1].body)
