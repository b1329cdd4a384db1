"""Model lists, token counts, health, metrics, the document; draining."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from google import genai

from polycall.sim import Call, Simulation, Turn
from tests.gateway.harness import KEY, UPSTREAMS, Gateway, provider_table
from tests.gateway.test_carriers import CHAT_TOOLS
from tests.gateway.upstream import bad_upstream


def test_the_official_sdks_list_models(gateway: Gateway) -> None:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY) as chat:
        ids = [model.id for model in chat.models.list()]
        assert chat.models.retrieve("up-anthropic/sim-1").id == "up-anthropic/sim-1"
    assert {f"{name}/sim-1" for name in UPSTREAMS} <= set(ids)
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEY) as claude:
        assert [model.id for model in claude.models.list()] == ids
        assert claude.models.retrieve("up-gemini/sim-1").id == "up-gemini/sim-1"
    google = genai.Client(api_key=KEY, http_options={"base_url": gateway.url})
    try:
        assert [model.name for model in google.models.list()] == [f"models/{i}" for i in ids]
    finally:
        google.close()


def test_capabilities_filter(gateway: Gateway) -> None:
    def names(query: str) -> set[str]:
        listed = gateway.request("GET", f"/v1/models{query}").json()["data"]
        return {model["id"] for model in listed}

    everything = names("")
    assert names("?supports=tools") == everything
    strict = names("?supports=tools,strict_tools")
    assert "up-compatible/sim-1" in everything - strict
    assert "up-anthropic/sim-1" in strict
    assert names("?supports=telepathy") == set()
    assert gateway.request("GET", "/v1/models", key=None).status == 401


MESSAGES = [{"role": "user", "content": "How is the weather in 서울 today? " * 40}]
TOOLS = [tool["function"] for tool in CHAT_TOOLS]


def count(gateway: Gateway, client: str, model: str, *, tools: bool) -> tuple[int, str]:
    body: Any
    match client:
        case "anthropic":
            path, field = "/v1/messages/count_tokens", "input_tokens"
            body = {"model": model, "messages": MESSAGES}
            if tools:
                body["tools"] = [
                    {"name": tool["name"], "input_schema": tool["parameters"]} for tool in TOOLS
                ]
        case "gemini":
            path, field = f"/v1beta/models/{model}:countTokens", "totalTokens"
            body = {"contents": [{"role": "user", "parts": [{"text": MESSAGES[0]["content"]}]}]}
            if tools:
                body = {
                    "generateContentRequest": {
                        **body,
                        "tools": [{"functionDeclarations": [{"name": t["name"]} for t in TOOLS]}],
                    }
                }
        case _:
            path, field = "/v1/responses/input_tokens", "input_tokens"
            body = {"model": model, "input": MESSAGES[0]["content"]}
            if tools:
                body["tools"] = [{"type": "function", "strict": False, **tool} for tool in TOOLS]
    answer = gateway.post(path, body)
    assert answer.status == 200, answer.content
    return answer.json()[field], answer.headers["polycall-token-count"]


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("client", ["anthropic", "gemini", "openai-responses"])
def test_h15_h16_counts_include_tools_say_what_they_are_and_generate_nothing(
    sim: Simulation, gateway: Gateway, client: str, upstream: str
) -> None:
    before = sim.received
    plain, source = count(gateway, client, f"{upstream}/sim-1", tools=False)
    with_tools, _ = count(gateway, client, f"{upstream}/sim-1", tools=True)
    assert with_tools > plain > 100
    # The simulated OpenAI has no route that counts.
    counts_itself = UPSTREAMS[upstream][0] in ("anthropic", "google")
    assert source == ("provider" if counts_itself else "estimate")
    sent = [r.path for r in sim.since(before)]
    assert all("count" in path.lower() or "input_tokens" in path for path in sent)


def test_health_metrics_and_the_document(sim: Simulation, gateway: Gateway) -> None:
    assert gateway.request("GET", "/healthz", key=None).json() == {"status": "ok"}
    assert gateway.request("GET", "/readyz", key=None).json() == {"status": "ok"}
    assert gateway.request("GET", "/metrics", key=None).status == 401
    sim.script("anthropic", "counted", [Turn(calls=[Call("now", {})])])
    body = {"model": "up-anthropic/counted", "messages": MESSAGES, "tools": CHAT_TOOLS}
    gateway.post("/v1/chat/completions", body)
    text = gateway.request("GET", "/metrics").content.decode()
    series = (
        'polycall_requests_total{client="openai-chat",provider="up-anthropic",model="counted",'
        'status="200",outcome="ok"} 1'
    )
    assert series in text.splitlines()
    assert 'polycall_tokens_total{provider="up-anthropic",model="counted",kind="input"}' in text
    assert 'polycall_unpriced_total{provider="up-anthropic",model="counted"} 1' in text
    assert "polycall_in_flight 0" in text
    document = gateway.request("GET", "/openapi.json", key=None).json()
    assert document["openapi"].startswith("3.1")
    assert {"/v1/messages", "/v1/responses", "/healthz"} <= document["paths"].keys()


def test_own_prices_are_told(sim: Simulation, tmp_path: Path) -> None:
    prices = "[providers.up.prices]\npriced = { input = 1, output = 1000000 }\n"
    table = provider_table("up", sim.base_url("anthropic"), "anthropic")
    served = Gateway(tmp_path, table + prices).start()
    sim.script("anthropic", "priced", [Turn(text="hello there")])
    body = {"model": "up/priced", "messages": MESSAGES, "max_tokens": 99}
    answer = served.request("POST", "/v1/messages", body, key=None)
    usage = answer.json()["usage"]
    expected = usage["output_tokens"] + usage["input_tokens"] / 1_000_000
    assert float(answer.headers["polycall-cost-usd"]) == pytest.approx(expected)
    (row,) = served.ledger(1)
    assert float(row["cost_usd"]) == pytest.approx(expected)
    served.stop()


def test_a_signal_lets_what_is_in_flight_finish(tmp_path: Path) -> None:
    with bad_upstream() as upstream:
        served = Gateway(tmp_path, provider_table("up", upstream.base_url, "openai-chat")).start()
        answers: list[Any] = []

        def ask() -> None:
            body = {"model": "up/late-1.5", "messages": MESSAGES, "stream": True}
            answers.append(served.request("POST", "/v1/chat/completions", body, key=None))

        threads = [threading.Thread(target=ask) for _ in range(5)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        port = served.port
        assert served.stop() == 0
        for thread in threads:
            thread.join()
        assert [answer.status for answer in answers] == [200] * 5
        assert all(b"[DONE]" in answer.content for answer in answers)
        assert len(served.ledger(5)) == 5
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port), timeout=1)


def test_no_row_is_lost_on_a_clean_stop(tmp_path: Path) -> None:
    with bad_upstream() as upstream:
        served = Gateway(tmp_path, provider_table("up", upstream.base_url, "openai-chat")).start()
        body = json.dumps({"model": "up/ok", "messages": MESSAGES}).encode()
        for _ in range(40):
            assert served.request("POST", "/v1/chat/completions", body, key=None).status == 200
        assert served.stop() == 0
        rows = served.ledger(40)
    assert len(rows) == 40
    assert {row["outcome"] for row in rows} == {"ok"}
    assert {(row["input_tokens"], row["output_tokens"]) for row in rows} == {(7, 3)}
