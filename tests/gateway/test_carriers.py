"""Carried state: killed gateways, second replicas, strangers, forgeries, other providers."""

from __future__ import annotations

import base64
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from polycall.sim import Call, Failure, Simulation, Turn
from tests.gateway.drivers import DRIVERS, Result
from tests.gateway.harness import (
    KEY,
    OTHER_KEY,
    UPSTREAMS,
    Gateway,
    provider_table,
    sim_config,
)

_numbers = itertools.count()

TURNS = [
    Turn(reasoning="first", calls=[Call("now", {}), Call("get_weather", {"city": "서울"})]),
    Turn(reasoning="second", calls=[Call("get_weather", {"city": "도쿄"})]),
    Turn(reasoning="third", text="done"),
]
PREFIX = "cG9seWNhbGwx"
THINKERS = ["up-responses", "up-anthropic", "up-gemini", "up-deepseek"]


def model_for(sim: Simulation, upstream: str, turns: list[Turn] = TURNS) -> str:
    model = f"carried-{next(_numbers)}"
    sim.script(UPSTREAMS[upstream][0], model, turns)
    return model


CHAT_TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("get_weather", "now")
]
ANTHROPIC_TOOLS = [
    {"name": name, "input_schema": {"type": "object"}} for name in ("get_weather", "now")
]


def chat_first(gateway: Gateway, model: str) -> dict[str, Any]:
    """The body of the second step of a Chat conversation."""
    messages: list[Any] = [{"role": "user", "content": "weather?"}]
    body = {"model": model, "messages": messages, "tools": CHAT_TOOLS}
    answer = gateway.post("/v1/chat/completions", body)
    assert answer.status == 200, answer.content
    calls = answer.json()["choices"][0]["message"]["tool_calls"]
    messages.append({"role": "assistant", "content": None, "tool_calls": calls})
    messages += [{"role": "tool", "tool_call_id": call["id"], "content": "x"} for call in calls]
    return body


def anthropic_first(gateway: Gateway, model: str) -> dict[str, Any]:
    messages: list[Any] = [{"role": "user", "content": "weather?"}]
    body = {"model": model, "max_tokens": 999, "messages": messages, "tools": ANTHROPIC_TOOLS}
    answer = gateway.post("/v1/messages", body)
    assert answer.status == 200, answer.content
    content = answer.json()["content"]
    messages.append({"role": "assistant", "content": content})
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": "x"}
        for block in content
        if block["type"] == "tool_use"
    ]
    messages.append({"role": "user", "content": results})
    return body


def warnings_of(headers: dict[str, str]) -> list[dict[str, str]]:
    return json.loads(headers.get("polycall-warnings", "[]"))


def last_body(sim: Simulation) -> str:
    return json.dumps(sim.requests[-1].body, ensure_ascii=False)


def test_another_clients_key_gets_nothing(sim: Simulation, gateway: Gateway) -> None:
    model = model_for(sim, "up-gemini", [TURNS[0], Turn(text="no state")])
    body = chat_first(gateway, f"up-gemini/{model}")
    answer = gateway.request("POST", "/v1/chat/completions", body, key=OTHER_KEY)
    assert "dropped_state" in [warning["kind"] for warning in warnings_of(answer.headers)]
    assert "thoughtSignature" not in last_body(sim) or "skip_thought" in last_body(sim)


def token_in(body: dict[str, Any]) -> str:
    (thinking,) = [block for block in body["messages"][1]["content"] if block["type"] == "thinking"]
    assert thinking["signature"].startswith(PREFIX)
    return thinking["signature"]


def forged(token: str) -> dict[str, str]:
    data = bytearray(base64.b64decode(token))
    flipped = bytearray(data)
    flipped[-1] ^= 1
    other_mac = bytearray(data)
    other_mac[12] ^= 0x80
    return {
        "payload altered": base64.b64encode(flipped).decode(),
        "mac altered": base64.b64encode(other_mac).decode(),
        "cut": token[: len(token) // 2],
        "only the mark": PREFIX,
        "not base64": PREFIX + "***",
    }


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_forged_tokens_never_reach_a_provider(
    sim: Simulation, gateway: Gateway, upstream: str
) -> None:
    real = anthropic_first(gateway, f"up-responses/{model_for(sim, 'up-responses', [TURNS[0]])}")
    thinks = upstream in THINKERS
    model = model_for(sim, upstream, [Turn(text="ok", reasoning="r" if thinks else None)] * 5)
    for name, token in forged(token_in(real)).items():
        changed = json.loads(json.dumps(real))
        changed["model"] = f"{upstream}/{model}"
        # The ids are those of no kept turn, so that the token alone could restore anything.
        for block in changed["messages"][1]["content"]:
            if block["type"] == "thinking":
                block["signature"] = token
            else:
                block["id"] = "toolu_" + block["id"][-6:]
        for block in changed["messages"][2]["content"]:
            block["tool_use_id"] = "toolu_" + block["tool_use_id"][-6:]
        answer = gateway.post("/v1/messages", changed)
        assert PREFIX not in last_body(sim), name
        if answer.status == 200:
            kinds = [warning["kind"] for warning in warnings_of(answer.headers)]
            assert "dropped_state" in kinds, name


def has_token(body: dict[str, Any]) -> bool:
    return any(block["type"] == "thinking" for block in body["messages"][1]["content"])


def test_a_token_in_a_passed_through_request_is_taken_out(
    sim: Simulation, gateway: Gateway
) -> None:
    there = model_for(sim, "up-responses", [TURNS[0]])
    body = anthropic_first(gateway, f"up-responses/{there}")
    assert has_token(body)
    here = model_for(sim, "up-anthropic", [Turn(text="hello")])
    body["model"] = f"up-anthropic/{here}"
    answer = gateway.post("/v1/messages", body)
    assert answer.status == 200, answer.content
    assert PREFIX not in last_body(sim)
    assert warnings_of(answer.headers)[0] == {
        "kind": "dropped_state",
        "feature": "reasoning",
        "detail": f"state of up-responses/{there} cannot go to up-anthropic/{here}",
    }


def test_strict_refuses_what_would_lose_state(sim: Simulation, gateway: Gateway) -> None:
    there = model_for(sim, "up-gemini", [TURNS[0]])
    body = chat_first(gateway, f"up-gemini/{there}")
    here = model_for(sim, "up-anthropic", [Turn(text="hello")])
    body["model"] = f"up-anthropic/{here}"
    answer = gateway.post("/v1/chat/completions", body, **{"polycall-strict": "true"})
    assert answer.status == 400
    assert "reasoning" in answer.json()["error"]["message"]
    assert sim.remaining("anthropic", here) == 1


def test_ids_of_kept_turns_are_short_and_differ(sim: Simulation, gateway: Gateway) -> None:
    seen: set[str] = set()
    for _ in range(3):
        model = model_for(sim, "up-gemini", [TURNS[0]])
        body = chat_first(gateway, f"up-gemini/{model}")
        ids = [call["id"] for call in body["messages"][1]["tool_calls"]]
        assert all(re.fullmatch(r"call_pc[0-9a-f]{24}_\d", call_id) for call_id in ids)
        assert all(len(call_id) <= 40 for call_id in ids)
        seen.update(ids)
    assert len(seen) == 6


@pytest.mark.parametrize("mode", ["whole", "streamed"])
@pytest.mark.parametrize("client", ["anthropic", "openai-chat"])
def test_fallback_drops_what_the_other_provider_cannot_take(
    sim: Simulation, tmp_path: Path, client: str, mode: str
) -> None:
    """Two stops of one protocol: neither ever sees what the other signed."""
    first, second = f"a-{next(_numbers)}", f"b-{next(_numbers)}"
    down = Turn(error=Failure(529, "overloaded"))
    now = [Call("now", {})]
    sim.script(
        "anthropic", first, [Turn(reasoning="one", calls=now), down, Turn(reasoning="", text="end")]
    )
    sim.script("anthropic", second, [Turn(reasoning="two", calls=now)])
    config = f"""
[models.pair]
route = ["up-anthropic/{first}", "other/{second}"]
{provider_table("other", sim.base_url("anthropic"), "anthropic")}
"""
    served = Gateway(tmp_path, sim_config(sim, config)).start()
    driver = DRIVERS[client](served.url, KEY, "pair", streamed=mode == "streamed")
    step = driver.ask("what time is it?")
    step = driver.give([Result(call, "noon") for call in step.calls])
    assert sim.remaining("anthropic", second) == 0
    step = driver.give([Result(call, "noon") for call in step.calls])
    assert step.text == "end"
    driver.close()
    assert served.stop() == 0
