"""kill -9 and another replica, between two turns and within one: over WebSocket, in the background,
compacted.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from polycall.sim import Prompt, Simulation, Turn
from tests.gateway.harness import OTHER_KEY, Gateway, sim_config
from tests.gateway.test_responses_socket import ask, opened, text_of
from tests.gateway.test_responses_stored import scripted
from tests.servers import Postgres

pytestmark = pytest.mark.slow  # each waits for processes to start again
Replicas = tuple[Gateway, Gateway]


@pytest.fixture
def replicas(store_url: str, sim: Simulation, tmp_path: Path) -> Iterator[Replicas]:
    """Two gateways on one store."""
    config = f'[store]\nurl = "{store_url}"\n' + sim_config(sim)
    gateways: list[Gateway] = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        gateways.append(Gateway(tmp_path / name, config).start())
    yield gateways[0], gateways[1]
    assert [gateway.stop() for gateway in gateways] == [0, 0]


@pytest.fixture
def paid(
    store_url: str, request: pytest.FixtureRequest
) -> Callable[[str, int], list[tuple[str, int | None, int | None]]]:
    """The outcomes and tokens of a model's rows, once there are so many; never more."""

    def rows(model: str) -> list[tuple[str, int | None, int | None]]:
        sql = f"SELECT outcome, input_tokens, output_tokens FROM ledger WHERE asked = '{model}'"
        if store_url.startswith("sqlite"):
            with sqlite3.connect(store_url.removeprefix("sqlite:///")) as connection:
                found = connection.execute(sql).fetchall()
            connection.close()
            return found
        server: Postgres = request.getfixturevalue("postgres_server")
        lines = server.query(sql, store_url).splitlines()
        return [
            (a, int(b) if b else None, int(c) if c else None)
            for a, b, c in (line.split("|") for line in lines)
        ]

    def wait(model: str, expected: int) -> list[tuple[str, int | None, int | None]]:
        ends_at = time.monotonic() + 15
        while len(found := rows(model)) < expected and time.monotonic() < ends_at:
            time.sleep(0.05)
        assert len(found) == expected, found
        return found

    return wait


def end(gateway: Gateway) -> None:
    gateway.kill()
    gateway.start()


def said(sim: Simulation) -> str:
    return json.dumps(sim.requests[-1].body, ensure_ascii=False)


async def test_a_conversation_over_websocket(
    replicas: Replicas, sim: Simulation, paid: Any
) -> None:
    words = ["하나", "둘", "셋", "넷"]
    model = scripted(sim, "up-gemini", "kills-socket", [Turn(word) for word in words])
    previous: Any = None
    for number, word in enumerate(words):
        gateway = replicas[number % 2]
        async with opened(gateway) as socket:
            more = {"previous_response_id": previous} if previous else {}
            events = await ask(socket, model=model, input=f"say {word}", **more)
            assert text_of(events) == word
            previous = events[-1]["response"]["id"]
            paid(model, number + 1)
            end(gateway)  # while the client is still connected
    places = [said(sim).index(f"say {word}") for word in words]
    assert places == sorted(places)
    assert said(sim).count("하나") == 2  # asked, and answered
    assert sim.remaining("google", "kills-socket") == 0
    assert {row[0] for row in paid(model, len(words))} == {"ok"}


def test_an_answer_in_the_background(replicas: Replicas, sim: Simulation, paid: Any) -> None:
    one, two = replicas
    model = scripted(sim, "up-anthropic", "kills-job", [Turn("the plan"), Turn("go on")])
    name = one.post("/v1/responses", {"model": model, "input": "plan", "background": True}).json()[
        "id"
    ]
    ends_at = time.monotonic() + 15
    while (answer := two.request("GET", f"/v1/responses/{name}").json())["status"] != "completed":
        assert time.monotonic() < ends_at, answer
        time.sleep(0.05)
    paid(model, 1)
    end(one)
    assert one.request("GET", f"/v1/responses/{name}").json() == answer
    assert one.request("GET", f"/v1/responses/{name}", key=OTHER_KEY).status == 404
    assert one.request("POST", f"/v1/responses/{name}/cancel", {}, key=OTHER_KEY).status == 404
    events = one.request("GET", f"/v1/responses/{name}?stream=true").content.decode()
    assert events.count("event: response.completed") == 1
    # To cancel what has ended changes nothing, and costs nothing.
    cancelled = two.request("POST", f"/v1/responses/{name}/cancel", {})
    assert cancelled.json()["status"] == "completed"
    body = {"model": model, "input": "and then?", "previous_response_id": name}
    end(two)
    assert "go on" in two.post("/v1/responses", body).content.decode()
    assert said(sim).index("plan") < said(sim).index("the plan") < said(sim).index("and then?")
    assert {row[0] for row in paid(model, 2)} == {"ok"}


def test_a_compaction_and_one_of_it(replicas: Replicas, sim: Simulation, paid: Any) -> None:
    """What was compacted is compacted again elsewhere: nothing of it is lost or told twice."""
    one, two = replicas
    turns = [Turn("GIST-1"), Turn("GIST-2, after GIST-1"), Turn("done")]
    model = scripted(sim, "up-deepseek", "kills-short", turns)
    history: list[Any] = [
        {"role": "user", "content": "the first wish"},
        {"role": "assistant", "content": "THE-LONG-ANSWER"},
    ]
    first = one.post("/v1/responses/compact", {"model": model, "input": history}).json()
    paid(model, 1)
    end(one)
    given = [*first["output"], {"role": "user", "content": "the second wish"}]
    second = two.post("/v1/responses/compact", {"model": model, "input": given}).json()
    assert [item["type"] for item in second["output"]].count("compaction") == 1
    assert "GIST-1" in said(sim)
    assert "THE-LONG-ANSWER" not in said(sim)
    paid(model, 2)
    end(two)
    given = [*second["output"], {"role": "user", "content": "the third"}]
    assert one.post("/v1/responses", {"model": model, "input": given}).status == 200
    text = said(sim)
    for wish in ("the first wish", "the second wish", "the third"):
        assert text.count(wish) == 1, text
    assert "GIST-2" in text
    assert sim.remaining("deepseek", "kills-short") == 0
    assert len(paid(model, 3)) == 3


# ---------------------------------------------------------------------------------------------
# Within an answer


class Held:
    """A model that holds one of its turns back until the process that asked for it is gone."""

    def __init__(self, turns: list[Turn], *, held: int) -> None:
        self.asked = threading.Event()
        self.is_gone = threading.Event()
        self.prompts: list[Prompt] = []
        self._turns = turns
        self._held = held

    def __call__(self, prompt: Prompt) -> Turn:
        self.prompts.append(prompt)
        if len(self.prompts) == self._held + 1:
            self.asked.set()
            self.is_gone.wait(20)
            return Turn("nobody reads this")
        return self._turns.pop(0)


def held(sim: Simulation, name: str, turns: list[Turn], number: int) -> tuple[str, Held]:
    model = Held(turns, held=number)
    sim.script("google", name, model)
    return f"up-gemini/{name}", model


def killed_while(gateway: Gateway, model: Held, path: str, body: Any) -> None:
    """Ask, and kill the gateway while its provider answers."""

    def ask() -> None:
        # The connection breaks: that is what a client sees of a kill.
        with contextlib.suppress(OSError, http.client.HTTPException):
            gateway.post(path, body)

    asking = threading.Thread(target=ask)
    asking.start()
    assert model.asked.wait(20)
    gateway.kill()
    model.is_gone.set()
    asking.join(20)
    assert not asking.is_alive()


LONG: list[Any] = [
    {"role": "user", "content": "the first wish " + "of many words " * 200},
    {"role": "assistant", "content": "THE-LONG-ANSWER"},
    {"role": "user", "content": "the second wish"},
]
EDIT: Any = {"type": "compact_20260112", "trigger": {"type": "input_tokens", "value": 300}}
SHORT_BEFORE: Any = [{"type": "compaction", "compact_threshold": 300}]
# The path, what is asked, how many requests to the model it costs, and which of them is held.
COMPACTIONS: dict[str, tuple[str, Any, int, int]] = {
    "compact": ("/v1/responses/compact", {"input": LONG}, 1, 0),
    "trigger": ("/v1/responses", {"input": [*LONG, {"type": "compaction_trigger"}]}, 1, 0),
    "threshold, in its summary": (
        "/v1/responses",
        {"input": LONG, "context_management": SHORT_BEFORE},
        2,
        0,
    ),
    "threshold, in its answer": (
        "/v1/responses",
        {"input": LONG, "context_management": SHORT_BEFORE},
        2,
        1,
    ),
    "Messages, in its summary": (
        "/v1/messages",
        {"messages": LONG, "max_tokens": 500, "context_management": {"edits": [EDIT]}},
        2,
        0,
    ),
}


@pytest.mark.parametrize("name", COMPACTIONS)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_kill_within_a_compaction(
    *, replicas: Replicas, sim: Simulation, paid: Any, name: str, streamed: bool
) -> None:
    """The client asks again elsewhere: the same is asked of the model, and it pays once."""
    one, two = replicas
    path, body, requests, which = COMPACTIONS[name]
    before = [Turn("GIST-1")] if which else []
    turns = [*before, Turn("GIST-1"), *([Turn("done")] if requests == 2 else []), Turn("on")]
    place = [*COMPACTIONS].index(name)
    model, script = held(sim, f"killed-short-{place}-{streamed}", turns, which)
    asked = {"model": model, **body}
    if streamed and path != "/v1/responses/compact":
        asked["stream"] = True
    killed_while(one, script, path, asked)
    paid(model, 0)
    again = two.post(path, asked)
    assert again.status == 200, again.content
    assert [prompt.entries for prompt in script.prompts[: which + 1]] == [
        prompt.entries for prompt in script.prompts[which + 1 : 2 * (which + 1)]
    ]
    paid(model, 1)
    one.start()
    if path == "/v1/messages" or asked.get("stream"):
        return
    given = [*again.json()["output"], {"role": "user", "content": "the third"}]
    assert one.post("/v1/responses", {"model": model, "input": given}).status == 200
    text = said(sim)
    assert text.count("GIST-1") == 1
    assert "THE-LONG-ANSWER" not in text
    assert [row[0] for row in paid(model, 2)] == ["ok", "ok"]


def test_a_kill_within_an_answer_in_the_background(
    replicas: Replicas, sim: Simulation, paid: Any
) -> None:
    """Another process says that it failed, once, and the conversation goes on without it."""
    one, two = replicas
    model, script = held(sim, "killed-job", [Turn("first"), Turn("third")], 1)
    first = one.post("/v1/responses", {"model": model, "input": "plan"}).json()["id"]
    paid(model, 1)
    body = {"model": model, "input": "and?", "previous_response_id": first, "background": True}
    name = one.post("/v1/responses", body).json()["id"]
    assert script.asked.wait(20)
    one.kill()
    script.is_gone.set()
    ends_at = time.monotonic() + 60
    while (answer := two.request("GET", f"/v1/responses/{name}").json())["status"] != "failed":
        assert answer["status"] in ("queued", "in_progress"), answer
        assert time.monotonic() < ends_at, answer
        time.sleep(0.2)
    one.start()
    for gateway in (one, two, one):
        assert gateway.request("GET", f"/v1/responses/{name}").json()["status"] == "failed"
        events = gateway.request("GET", f"/v1/responses/{name}?stream=true").content.decode()
        assert events.count("event: response.failed") == 1
    assert sorted(row[0] for row in paid(model, 2)) == ["error", "ok"]
    del body["background"]
    assert "third" in one.post("/v1/responses", body).content.decode()
    assert said(sim).count("and?") == 1
    assert sorted(row[0] for row in paid(model, 3)) == ["error", "ok", "ok"]


@pytest.mark.parametrize("stored", [True, False])
async def test_a_kill_within_a_turn_over_websocket(
    *, replicas: Replicas, sim: Simulation, paid: Any, stored: bool
) -> None:
    one, two = replicas
    turns = [Turn("하나"), Turn("둘")]
    model, script = held(sim, f"killed-socket-{stored}", turns, 1)
    asked: Any = {"model": model, "store": stored}
    async with opened(one) as socket:
        first = await ask(socket, **asked, input="say 하나")
        await asyncio.to_thread(paid, model, 1)
        previous = first[-1]["response"]["id"]
        event = {"type": "response.create", **asked, "input": "say 둘"}
        await socket.send(json.dumps({**event, "previous_response_id": previous}))
        assert await asyncio.to_thread(script.asked.wait, 20)
        await asyncio.to_thread(one.kill)
        script.is_gone.set()
        with pytest.raises(ConnectionClosed):
            while True:
                await asyncio.wait_for(socket.recv(), 20)
    async with opened(two) as socket:
        again = await ask(socket, **asked, input="say 둘", previous_response_id=previous)
        if not stored:  # what is kept on one connection alone is gone with it, and that is said
            assert again[-1]["error"]["code"] == "previous_response_not_found"
            given = [{"role": "user", "content": "say 하나"}, *first[-1]["response"]["output"]]
            given.append({"role": "user", "content": "say 둘"})
            again = await ask(socket, **asked, input=given)
        assert text_of(again) == "둘"
    await asyncio.to_thread(one.start)
    assert said(sim).count("say 둘") == 1
    assert said(sim).count("하나") == 2
    rows = await asyncio.to_thread(paid, model, 2 if stored else 3)
    assert [row[0] for row in rows].count("ok") == 2
