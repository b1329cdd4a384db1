"""The cache gives an answer again to the same client for the same request, and for no other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polycall.sim import Simulation
from polycall.sim.script import Turn
from tests.gateway.harness import KEY, OTHER_KEY, Answer, Gateway, sim_config
from tests.gateway.test_reload import reload

CHAT = "/v1/chat/completions"
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
ASK: dict[str, Any] = {
    "model": "up-chat/sim-1",
    "messages": [{"role": "user", "content": "Say hello to Seoul."}],
}


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory, sim: Simulation) -> Iterator[Gateway]:
    config = sim_config(sim, '[cache]\nttl_s = 60\nfile = "answers.db"\n')
    gateway = Gateway(tmp_path_factory.mktemp("cache"), config).start()
    yield gateway
    assert gateway.stop() == 0


def ask(gateway: Gateway, body: Any, *, key: str = KEY, path: str = CHAT, **more: str) -> Answer:
    headers = {"polycall-cache": "on", **more}
    return gateway.request("POST", path, body, key=key, headers=headers)


def is_hit(answer: Answer) -> bool:
    assert answer.status == 200, answer
    return answer.headers.get("polycall-cache") == "hit"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("upstream", ["up-chat", "up-anthropic", "up-gemini"])
def test_the_same_bytes_again(
    cached: Gateway, sim: Simulation, stream: bool, upstream: str
) -> None:
    body = {**ASK, "model": f"{upstream}/sim-1", "stream": stream, "user": "the same"}
    first = ask(cached, body)
    before = sim.received
    again = ask(cached, body)
    assert (is_hit(first), is_hit(again)) == (False, True)
    assert again.content == first.content
    assert sim.received == before
    kept = ("content-type", "polycall-model")
    assert [again.headers[name] for name in kept] == [first.headers[name] for name in kept]
    assert again.headers["polycall-cost-usd"] == "0"
    assert again.headers["polycall-request-id"] != first.headers["polycall-request-id"]
    rows = {row["id"]: row for row in cached.ledger(1)}
    deadline = time.monotonic() + 3
    while again.headers["polycall-request-id"] not in rows and time.monotonic() < deadline:
        time.sleep(0.1)
        rows = {row["id"]: row for row in cached.ledger(1)}
    row = rows[again.headers["polycall-request-id"]]
    assert (row["outcome"], row["cost_usd"], row["input_tokens"]) == ("cached", "0", None)
    assert f"{row['provider']}/{row['model']}" == first.headers["polycall-model"]


OTHERS: dict[str, dict[str, Any]] = {
    "messages": {"messages": [{"role": "user", "content": "Say hello to Busan."}]},
    "system": {"messages": [{"role": "system", "content": "Be kind."}, *ASK["messages"]]},
    "model": {"model": "up-chat/sim-1-mini"},
    "tools": {"tools": [TOOL]},
    "tool_choice": {"tools": [TOOL], "tool_choice": "none"},
    "response_format": {"response_format": {"type": "json_object"}},
    "max_tokens": {"max_tokens": 50},
    "seed": {"seed": 7},
    "stop": {"stop": ["x"]},
    "temperature": {"temperature": 0.5},
    "stream": {"stream": True},
    "number": {"top_p": 1.0},
    "same number": {"top_p": 1},
}


def test_i01_the_key_holds_all_that_matters(cached: Gateway, sim: Simulation) -> None:
    base = {**ASK, "user": "i01"}
    assert not is_hit(ask(cached, base))
    assert is_hit(ask(cached, base))
    for name, changes in OTHERS.items():
        answer = ask(cached, {**base, **changes})
        assert (name, answer.headers.get("polycall-cache")) == (name, None)
    # The tenant, the protocol and what headers change.
    assert not is_hit(ask(cached, base, key=OTHER_KEY))
    assert is_hit(ask(cached, base, key=OTHER_KEY))
    assert not is_hit(ask(cached, base, **{"polycall-strict": "true"}))
    messages = {**ASK, "max_tokens": 50}
    assert not is_hit(ask(cached, messages, path="/v1/messages"))
    assert is_hit(ask(cached, messages, path="/v1/messages"))
    assert not is_hit(ask(cached, messages, path="/v1/messages", **{"anthropic-beta": "x-1"}))
    # What is the same in another order is the same.
    assert is_hit(ask(cached, dict(reversed(base.items()))))


def test_i02_calls_of_tools_are_not_given_again_by_default(cached: Gateway) -> None:
    body = {**ASK, "tools": [TOOL], "user": "i02"}
    body["messages"] = [{"role": "user", "content": "What is the weather in Seoul?"}]
    for _ in range(2):
        answer = ask(cached, body)
        assert answer.json()["choices"][0]["finish_reason"] == "tool_calls"
        assert not is_hit(answer)
    # With another policy on tools it is another request in any case.
    forbids = ask(cached, {**body, "tool_choice": "none"})
    assert not is_hit(forbids)
    assert "tool_calls" not in forbids.json()["choices"][0]["message"]


def test_i02_calls_of_tools_are_given_again_where_configured(folder: Path, sim: Simulation) -> None:
    config = sim_config(sim, "[cache]\ntool_calls = true\nall = true\n")
    gateway = Gateway(folder, config).start()
    body = {**ASK, "tools": [TOOL], "model": "up-gemini/sim-1-thinking"}
    body["messages"] = [{"role": "user", "content": "What is the weather in Seoul?"}]
    first, again = gateway.post(CHAT, body), gateway.post(CHAT, body)
    assert (is_hit(first), is_hit(again)) == (False, True)
    # The state behind the ids is there for both: the vendor takes the next step.
    message = again.json()["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "sunny"}
    for tail in (first.json()["choices"][0]["message"], message):
        body["messages"] = [body["messages"][0], tail, result]
        assert gateway.post(CHAT, body).status == 200
    # `all` is for requests that do not say.
    body["messages"] = ASK["messages"]
    found = [gateway.post(CHAT, body, **{"polycall-cache": "off"}) for _ in range(2)]
    assert not any(map(is_hit, found))
    assert gateway.stop() == 0


def test_errors_and_cut_streams_are_not_kept(cached: Gateway, sim: Simulation) -> None:
    for model, streams in (("fault-500", False), ("fault-cut", True), ("nobody", False)):
        body = {**ASK, "model": f"up-chat/{model}", "stream": streams, "user": "errors"}
        for _ in range(2):
            assert ask(cached, body).headers.get("polycall-cache") is None
    sim.script("openai", "cut-by-filter", [Turn(text="a", finish="content_filter")] * 2)
    for _ in range(2):
        body = {**ASK, "model": "up-chat/cut-by-filter"}
        assert not is_hit(ask(cached, body))


def test_programs_are_not_kept(cached: Gateway, sim: Simulation) -> None:
    sim.script("openai", "may-program", [Turn(text="one"), Turn(text="two")])
    body = {**ASK, "model": "up-chat/may-program", "tools": [TOOL]}
    answers = [ask(cached, body, **{"polycall-calling": "code"}) for _ in range(2)]
    assert [is_hit(answer) for answer in answers] == [False, False]
    assert b"two" in answers[1].content


def test_refresh_asks_again_and_keeps(cached: Gateway, sim: Simulation) -> None:
    sim.script("openai", "two-words", [Turn(text="one"), Turn(text="two")])
    body = {**ASK, "model": "up-chat/two-words"}

    def text(wish: str) -> str:
        answer = ask(cached, body, **{"polycall-cache": wish})
        return answer.json()["choices"][0]["message"]["content"]

    assert [text(wish) for wish in ("on", "on", "refresh", "on")] == ["one", "one", "two", "two"]
    assert ask(cached, body, **{"polycall-cache": "maybe"}).status == 400


def test_without_asking_nothing_is_kept(cached: Gateway) -> None:
    body = {**ASK, "user": "silent"}
    assert not is_hit(cached.post(CHAT, body))
    assert not is_hit(ask(cached, body))


def test_answers_get_old_and_lie_encrypted(folder: Path, sim: Simulation) -> None:
    config = sim_config(sim, '[cache]\nttl_s = 1\nfile = "answers.db"\n')
    gateway = Gateway(folder, config).start()
    body = {**ASK, "messages": [{"role": "user", "content": "Say hippopotamus."}]}
    assert not is_hit(ask(gateway, body))
    assert is_hit(ask(gateway, body))
    time.sleep(1.1)
    assert not is_hit(ask(gateway, body))
    assert gateway.stop() == 0
    data = b"".join(path.read_bytes() for path in folder.glob("answers.db*"))
    assert len(data) > 4096
    assert b"hippopotamus" not in data


def test_another_route_is_another_answer(folder: Path, sim: Simulation) -> None:
    more = '[cache]\n[models.fast]\nroute = ["up-chat/{}"]\n'
    gateway = Gateway(folder, sim_config(sim, more.format("sim-1"))).start()
    body = {**ASK, "model": "fast"}
    assert not is_hit(ask(gateway, body))
    assert is_hit(ask(gateway, body))
    reload(gateway, sim_config(sim, more.format("sim-1-mini")))
    assert not is_hit(ask(gateway, body))
    assert gateway.stop() == 0


def test_a_cache_that_is_none_costs_no_request(folder: Path, sim: Simulation) -> None:
    config = sim_config(sim, '[cache]\nttl_s = 60\nfile = "answers.db"\n')
    gateway = Gateway(folder, config).start()
    ask(gateway, ASK)
    assert is_hit(ask(gateway, ASK))  # so it has been written
    garbage = b"no database" * 1000
    (folder / "answers.db").write_bytes(garbage)
    assert [is_hit(ask(gateway, ASK)) for _ in range(2)] == [False, False]
    assert gateway.stop() == 0
    (folder / "answers.db").write_bytes(garbage)
    with pytest.raises(AssertionError, match="answers.db' cannot be opened: file is not"):
        gateway.start()
    gateway.stop()
