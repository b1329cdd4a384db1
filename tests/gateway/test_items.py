"""References to items of earlier answers: found for whoever got them, wherever they go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest

from polycall.sim import Call, Simulation, Turn
from tests.gateway.harness import KEY, OTHER_KEY, UPSTREAMS, Gateway, sim_config

ASKED = {"role": "user", "content": "which city?"}
NEXT = {"role": "user", "content": "and the next one?"}
TOOL: Any = {
    "type": "function",
    "name": "now",
    "strict": False,
    "parameters": {"type": "object", "properties": {}},
}


def scripted(sim: Simulation, upstream: str, name: str, turns: list[Turn]) -> str:
    sim.script(UPSTREAMS[upstream][0], name, turns)
    return f"{upstream}/{name}"


def first_answer(gateway: Gateway, model: str, *, streamed: bool, **more: Any) -> list[str]:
    """The ids of the items of an answer."""
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as client:
        options: Any = {"model": model, "input": [ASKED], **more}
        if streamed:
            with client.responses.stream(**options) as stream:
                answer: Any = stream.get_final_response()
        else:
            answer = client.responses.create(**options)
    return [item.id for item in answer.output]


def going_on(ids: list[str]) -> list[dict[str, Any]]:
    return [ASKED, *({"type": "item_reference", "id": name} for name in ids), NEXT]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("upstream", ["up-anthropic", "up-gemini", "up-deepseek", "up-responses"])
def test_a_reference_is_the_item(
    gateway: Gateway, sim: Simulation, upstream: str, streamed: bool
) -> None:
    turns = [Turn("서울 it is"), Turn("도쿄")]
    model = scripted(sim, upstream, f"referred-{streamed}", turns)
    ids = first_answer(gateway, model, streamed=streamed)
    body = {"model": model, "input": going_on(ids)}
    answer = gateway.post("/v1/responses", body)
    assert answer.status == 200, answer.content
    if upstream != "up-responses":  # which keeps its items itself
        assert "서울 it is" in json.dumps(sim.requests[-1].body, ensure_ascii=False)
        counted = gateway.post("/v1/responses/input_tokens", body)
        assert counted.status == 200, counted.content


def test_an_answer_of_another_provider_is_no_reference_to_openai(
    gateway: Gateway, sim: Simulation
) -> None:
    turn = Turn("it is noon", calls=[Call("now", {})], reasoning="look at the clock")
    ids = first_answer(
        gateway,
        scripted(sim, "up-anthropic", "moved", [turn]),
        streamed=False,
        tools=[TOOL],
    )
    assert [name.partition("_")[0] for name in ids] == ["rs", "msg", "fc"]
    model = scripted(sim, "up-responses", "moved", [Turn("done")])
    answer = gateway.post(
        "/v1/responses", {"model": model, "input": going_on(ids), "tools": [TOOL]}
    )
    assert answer.status == 200, answer.content
    sent = json.dumps(sim.requests[-1].body)
    assert "it is noon" in sent
    assert "item_reference" not in sent


def test_references_of_strangers_and_to_nothing_are_refused(
    gateway: Gateway, sim: Simulation
) -> None:
    model = scripted(sim, "up-anthropic", "scoped", [Turn("mine"), Turn("yours"), Turn("no")])
    ids = first_answer(gateway, model, streamed=False)
    unkept = first_answer(gateway, model, streamed=False, store=False)
    for key, names in ((OTHER_KEY, ids), (KEY, unkept), (KEY, ["msg_0000"])):
        body = {"model": model, "input": going_on(names)}
        answer = gateway.request("POST", "/v1/responses", body, key=key)
        assert answer.status == 400
        assert "item_reference" in answer.json()["error"]["message"]
    assert sim.remaining("anthropic", "scoped") == 1


def test_references_survive_a_killed_gateway(sim: Simulation, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, sim_config(sim)).start()
    model = scripted(sim, "up-gemini", "killed", [Turn("it is here"), Turn("still")])
    ids = first_answer(gateway, model, streamed=True)
    gateway.kill()
    gateway.start()
    answer = gateway.post("/v1/responses", {"model": model, "input": going_on(ids)})
    assert answer.status == 200, answer.content
    assert "it is here" in json.dumps(sim.requests[-1].body)
    assert gateway.stop() == 0
