"""kill -9 and another replica between two turns: over WebSocket, in the background, compacted."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from polycall.sim import Simulation, Turn
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
) -> Callable[[str, int], list[tuple[str, int, int]]]:
    """The outcomes and tokens of a model's rows, once there are so many; never more."""

    def rows(model: str) -> list[tuple[str, int, int]]:
        sql = f"SELECT outcome, input_tokens, output_tokens FROM ledger WHERE asked = '{model}'"
        if store_url.startswith("sqlite"):
            with sqlite3.connect(store_url.removeprefix("sqlite:///")) as connection:
                found = connection.execute(sql).fetchall()
            connection.close()
            return found
        server: Postgres = request.getfixturevalue("postgres_server")
        lines = server.query(sql, store_url).splitlines()
        return [(a, int(b), int(c)) for a, b, c in (line.split("|") for line in lines)]

    def wait(model: str, expected: int) -> list[tuple[str, int, int]]:
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
