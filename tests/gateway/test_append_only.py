"""M1, T5, T21: conversations as vendors' prefix checks and caches want them, for every client."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polycall.sim import Call, Simulation, Turn
from tests.gateway.drivers import DRIVERS, Result
from tests.gateway.harness import KEY, OTHER_KEY, Gateway, sim_config
from tests.servers import Postgres
from tests.sim.conftest import request

BOUND = ["claude-fable-5-2", "claude-opus-5-5", "claude-mythos-5-2"]
TURNS = [
    Turn(reasoning="first", text="hello"),
    Turn(reasoning="second", calls=[Call("now", {})]),
    Turn(reasoning="third", text="noon"),
    Turn(reasoning="fourth", text="noon"),
    Turn(reasoning="fifth", text="bye"),
]


@pytest.fixture(scope="module")
def own_sim() -> Iterator[Simulation]:
    with Simulation(seed=5) as simulation:
        yield simulation


@pytest.fixture(scope="module")
def one(own_sim: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = served(own_sim, tmp_path_factory.mktemp("append"))
    yield gateway
    assert gateway.stop() == 0, gateway.log


def served(sim: Simulation, folder: Path, more: str = "") -> Gateway:
    return Gateway(folder, sim_config(sim, more)).start()


def thinking_of(body: Any) -> list[str]:
    return [
        block["thinking"]
        for message in body["messages"]
        if isinstance(message["content"], list)
        for block in message["content"]
        if block["type"] == "thinking"
    ]


def refused_strictly(sim: Simulation, body: dict[str, Any]) -> str:
    """What the vendor says to this body where nothing may be dropped; empty where it takes it."""
    thinking = {key: v for key, v in body.get("thinking", {}).items() if key != "block_binding"}
    strict = {**body, "thinking": thinking or {"type": "adaptive"}, "stream": False}
    sim.script("anthropic", body["model"], [Turn(text="x")])
    answer = request(
        "POST",
        sim.base_url("anthropic") + "/v1/messages",
        json.dumps(strict).encode(),
        {"x-api-key": "k", "anthropic-version": "2023-06-01"},
    )
    return "" if answer.status == 200 else answer.json()["error"]["message"]


def talk(driver: Any) -> list[str]:
    """Five answers: texts alone, a call between them, and the same words twice."""
    said = [driver.ask("hi").text]
    step = driver.ask("what time is it?")
    said.append(driver.give([Result(call, "12:00") for call in step.calls]).text)
    said += [driver.ask("what time is it?").text, driver.ask("and again?").text]
    return said


@pytest.mark.parametrize("mode", ["whole", "streamed"])
@pytest.mark.parametrize("client", DRIVERS)
@pytest.mark.parametrize("model", BOUND)
def test_t21_thinking_of_plain_text_turns_comes_back_for_every_client(
    own_sim: Simulation, one: Gateway, model: str, client: str, mode: str
) -> None:
    own_sim.script("anthropic", model, TURNS)
    driver = DRIVERS[client](one.url, KEY, f"up-anthropic/{model}", streamed=mode == "streamed")
    try:
        assert talk(driver) == ["hello", "noon", "noon", "bye"]
        body = own_sim.requests[-1].body
        assert thinking_of(body) == ["first", "second", "third", "fourth"]
        assert refused_strictly(own_sim, body) == ""
    finally:
        driver.close()


def chat(gateway: Gateway, messages: list[Any], key: str = KEY, **more: Any) -> Any:
    body = {"model": f"up-anthropic/{BOUND[0]}", "messages": messages, **more}
    answer = gateway.request("POST", "/v1/chat/completions", body, key=key)
    assert answer.status == 200, answer.content
    return answer


def said(answer: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": answer.json()["choices"][0]["message"]["content"]}


def test_t21_kept_thinking_outlives_the_process_and_belongs_to_its_key_and_model(
    own_sim: Simulation, tmp_path: Path
) -> None:
    own_sim.script("anthropic", BOUND[0], [Turn(reasoning="a", text="one")] * 6)
    own_sim.script("anthropic", "claude-opus-5-5", [Turn(reasoning="b", text="two")] * 3)
    gateway = served(own_sim, tmp_path)
    history: list[Any] = [{"role": "user", "content": "hi"}]
    history += [said(chat(gateway, history)), {"role": "user", "content": "more"}]
    gateway.kill()
    gateway = served(own_sim, tmp_path)
    chat(gateway, history)
    assert thinking_of(own_sim.requests[-1].body) == ["a"]
    chat(gateway, history, key=OTHER_KEY)
    assert thinking_of(own_sim.requests[-1].body) == []
    chat(gateway, history, model="up-anthropic/claude-opus-5-5")
    assert thinking_of(own_sim.requests[-1].body) == []
    gateway.stop()


def test_t21_another_replica_knows_the_thinking(
    own_sim: Simulation, postgres_server: Postgres, tmp_path: Path
) -> None:
    own_sim.script("anthropic", BOUND[0], [Turn(reasoning="a", text="one")] * 3)
    store = f'[store]\nurl = "{postgres_server.database()}"\n'
    history: list[Any] = [{"role": "user", "content": "hi"}]
    gateways = []
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        gateways.append(served(own_sim, tmp_path / name, store))
    for gateway in gateways:
        history += [said(chat(gateway, history)), {"role": "user", "content": "more"}]
    assert thinking_of(own_sim.requests[-1].body) == ["a", "a"]
    assert refused_strictly(own_sim, own_sim.requests[-1].body) == ""
    for gateway in gateways:
        gateway.stop()


CHANGES: dict[str, Any] = {
    "another system text": lambda h: [{"role": "system", "content": "new"}, *h],
    "an edited message": lambda h: [{"role": "user", "content": "hello?"}, *h[1:]],
    "a message more in front": lambda h: [{"role": "user", "content": "0"}, *h],
}


@pytest.mark.parametrize("case", CHANGES)
def test_m1_a_changed_beginning_is_a_warning_and_never_a_400(
    own_sim: Simulation, one: Gateway, case: str
) -> None:
    tools = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}]
    turns = [Turn(reasoning="a", calls=[Call("now", {})]), Turn(reasoning="b", text="x")]
    own_sim.script("anthropic", BOUND[0], turns)
    history: list[Any] = [{"role": "user", "content": "hi"}]
    message = chat(one, history, tools=tools).json()["choices"][0]["message"]
    calls = message["tool_calls"]
    history += [
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": calls[0]["id"], "content": "noon"},
    ]
    answer = chat(one, CHANGES[case](history), tools=tools)
    warnings = json.loads(answer.headers["polycall-warnings"])
    assert [w["kind"] for w in warnings if w["feature"] == "reasoning"] == ["dropped_state"]


LONG = "Answer in the tone of the house. " * 400


@pytest.mark.parametrize("client", DRIVERS)
def test_t5_claude_reads_long_prompts_from_its_cache_for_every_client(
    own_sim: Simulation, one: Gateway, client: str
) -> None:
    own_sim.script("anthropic", "claude-sonnet-5-5", [Turn(text="a"), Turn(text="b")])
    driver = DRIVERS[client](one.url, KEY, "up-anthropic/claude-sonnet-5-5", streamed=False)
    driver.ask(LONG)
    driver.ask("more")
    marked = json.dumps(own_sim.requests[-1].body).count('"cache_control"')
    # Clients of Anthropic's own wire say themselves what they want.
    assert marked == (0 if client == "anthropic" else 1)
    driver.close()


@pytest.mark.parametrize(
    ("more", "text", "marks"),
    [("", LONG, 2), ("", "short", 0), ("[server]\ncache = false\n", LONG, 0)],
)
def test_t5_marks_are_for_long_prompts_and_can_be_switched_off(
    own_sim: Simulation, tmp_path: Path, more: str, text: str, marks: int
) -> None:
    own_sim.script("anthropic", BOUND[0], [Turn(text="a")])
    gateway = served(own_sim, tmp_path, more)
    chat(gateway, [{"role": "system", "content": text}, {"role": "user", "content": "hi"}])
    assert json.dumps(own_sim.requests[-1].body).count('"cache_control"') == marks
    gateway.stop()


def test_t21_random_conversations_of_a_chat_client_never_break_the_prefix(
    own_sim: Simulation, one: Gateway
) -> None:
    tools = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}]
    for seed in range(40):
        chance = random.Random(seed)
        turns = [
            Turn(
                reasoning=f"thought {number}" if chance.random() < 0.8 else None,
                text=chance.choice(["ok", "well", "서울"]),
                calls=[Call("now", {})] * chance.choice([0, 0, 1, 2]),
            )
            for number in range(8)
        ]
        own_sim.script("anthropic", BOUND[0], turns)
        history: list[Any] = [{"role": "user", "content": f"hi {seed}"}]
        for turn in turns:
            message = chat(one, history, tools=tools).json()["choices"][0]["message"]
            calls = message.get("tool_calls") or []
            own = {"role": "assistant", "content": message["content"]}
            history.append({**own, "tool_calls": calls} if calls else own)
            history += [{"role": "tool", "tool_call_id": c["id"], "content": "1"} for c in calls]
            assert len(calls) == len(turn.calls)
            if not calls:
                history.append({"role": "user", "content": chance.choice(["go on", "and?"])})
        body = own_sim.requests[-1].body
        assert refused_strictly(own_sim, body) == "", seed
        thought = [turn.reasoning for turn in turns[:-1] if turn.reasoning]
        assert thinking_of(body) == thought, seed


def offered(*names: str) -> list[Any]:
    return [
        {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
        for name in names
    ]


def test_m1_tools_that_come_with_a_users_words_or_are_forbidden_keep_all_thinking(
    own_sim: Simulation, one: Gateway
) -> None:
    turns = [Turn(reasoning=f"r{number}", text=f"t{number}") for number in range(4)]
    own_sim.script("anthropic", BOUND[0], turns)
    some = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [
        {"type": "function", "function": {"name": "later"}}]}}  # fmt: skip
    history: list[Any] = [{"role": "user", "content": "hi"}]
    more: list[dict[str, Any]] = [
        {"tools": offered("now")},
        {"tools": offered("now", "later")},
        {"tools": offered("now", "later"), "tool_choice": some},
        {"tools": offered("now", "later")},
    ]
    for fields in more:
        history += [said(chat(one, history, **fields)), {"role": "user", "content": "more"}]
    body = own_sim.requests[-1].body
    assert thinking_of(body) == ["r0", "r1", "r2"]
    assert [tool["name"] for tool in body["tools"]] == ["now", "later"]
    changes = [
        (block["type"], block["tool"]["name"])
        for message in body["messages"]
        if message["role"] == "system"
        for block in message["content"]
    ]
    assert changes == [
        ("tool_addition", "later"),
        ("tool_removal", "now"),
        ("tool_addition", "now"),
    ]
