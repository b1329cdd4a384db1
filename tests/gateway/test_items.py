"""References to earlier answers and items: found for whoever got them, wherever they go on."""

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
    odd = [[name] for name in ("", "a\0b", "half \ud83e", "x" * 5000)]
    for key, names in ((OTHER_KEY, ids), *((KEY, names) for names in (unkept, ["msg_0"], *odd))):
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


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("upstream", ["up-anthropic", "up-gemini", "up-deepseek", "up-chat"])
def test_c12_an_answers_id_stands_for_all_that_was_said(
    gateway: Gateway, sim: Simulation, upstream: str, streamed: bool
) -> None:
    thought = None if upstream == "up-chat" else "look at the clock"
    turns = [
        Turn("let me look", calls=[Call("now", {})], reasoning=thought),
        Turn("it is noon", reasoning=thought),
        Turn("still noon", reasoning=thought),
    ]
    model = scripted(sim, upstream, f"followed-{streamed}", turns)
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as client:

        def ask(given: Any, previous: str | None) -> Any:
            options: Any = {"model": model, "input": given, "tools": [TOOL]}
            if previous:
                options["previous_response_id"] = previous
            if not streamed:
                return client.responses.create(**options)
            with client.responses.stream(**options) as stream:
                return stream.get_final_response()

        first = ask("which time is it?", None)
        (call,) = [item for item in first.output if item.type == "function_call"]
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "12:00"}
        second = ask([result], first.id)
        third = ask("and now?", second.id)
    assert (second.output_text, third.output_text) == ("it is noon", "still noon")
    sent = json.dumps(sim.requests[-1].body)
    places = [
        sent.index(text)
        for text in ("which time is it?", "let me look", "12:00", "it is noon", "and now?")
    ]
    assert places == sorted(places)
    assert sim.remaining(UPSTREAMS[upstream][0], f"followed-{streamed}") == 0


def test_c12_a_conversation_that_moves_to_openai_is_told_whole(
    gateway: Gateway, sim: Simulation
) -> None:
    first = scripted(sim, "up-anthropic", "leaving", [Turn("it is noon")])
    answer = gateway.post("/v1/responses", {"model": first, "input": "which time?"})
    model = scripted(sim, "up-responses", "arriving", [Turn("done")])
    body = {"model": model, "input": "and now?", "previous_response_id": answer.json()["id"]}
    assert gateway.post("/v1/responses", body).status == 200
    sent = sim.requests[-1].body
    assert "previous_response_id" not in sent
    assert "it is noon" in json.dumps(sent)


def test_c12_an_answer_that_is_not_known_here_is_refused_by_name(
    gateway: Gateway, sim: Simulation
) -> None:
    model = scripted(sim, "up-anthropic", "unknown", [Turn("mine"), Turn("no")])
    answer = gateway.post("/v1/responses", {"model": model, "input": "hi"})
    known = answer.json()["id"]
    odd = ("", "a\0b", "half \ud83e", "x" * 5000, "서울")
    names = ["resp_0000", known + "x", *odd]
    for key, name in ((OTHER_KEY, known), *((KEY, name) for name in names)):
        body = {"model": model, "input": "go on", "previous_response_id": name}
        refused = gateway.request("POST", "/v1/responses", body, key=key)
        assert refused.status == 400
        assert "previous_response_id" in refused.json()["error"]["message"]
    assert sim.remaining("anthropic", "unknown") == 1


def test_nothing_is_kept_where_the_operator_says_so(sim: Simulation, tmp_path: Path) -> None:
    config = "[server]\nkeep_answers = false\n" + sim_config(sim)
    gateway = Gateway(tmp_path, config).start()
    model = scripted(sim, "up-anthropic", "forgotten", [Turn("a secret plan"), Turn("no")])
    answer = gateway.post("/v1/responses", {"model": model, "input": "hi"}).json()
    body = {"model": model, "input": "go on", "previous_response_id": answer["id"]}
    assert gateway.post("/v1/responses", body).status == 400
    body = {"model": model, "input": going_on([item["id"] for item in answer["output"]])}
    assert gateway.post("/v1/responses", body).status == 400
    assert gateway.stop() == 0


@pytest.mark.parametrize("field", ["previous_response_id", "conversation"])
@pytest.mark.parametrize("upstream", ["up-anthropic", "up-gemini", "up-chat", "up-deepseek"])
def test_an_unknown_past_is_refused_where_losses_are_allowed_too(
    gateway: Gateway, sim: Simulation, upstream: str, field: str
) -> None:
    """Else the model would answer the end of a conversation alone."""
    model = scripted(sim, upstream, f"past-{field}", [Turn("mine"), Turn("no")])
    body: Any = {"model": model, "input": "hi", "store": False}
    unkept = gateway.post("/v1/responses", body).json()["id"]
    names = [unkept, "resp_0000"] if field == "previous_response_id" else ["conv_0000"]
    for name in names:
        answer = gateway.post(
            "/v1/responses",
            {"model": model, "input": "go on", field: name},
            **{"polycall-lossy": "true"},
        )
        error = answer.json()["error"]
        assert (answer.status, error["param"]) == (400, field)
        assert error["code"] == f"{field.removesuffix('_id')}_not_found"
    assert sim.remaining(UPSTREAMS[upstream][0], f"past-{field}") == 1
