"""Hosted tools served by the gateway: MCP servers that a request names, searches of the web."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from polycall.sim import Call, Simulation, Turn
from tests import origins
from tests.gateway.harness import KEY, OTHER_KEY, UPSTREAMS, Gateway, sim_config
from tests.gateway.test_responses_stored import paid, scripted
from tests.mcp.support import STOCK, http_program, until_it_answers
from tests.origins import Handler

FOUND = {
    "results": [
        {"title": "서울 날씨", "url": "https://a.example/seoul", "content": "맑음 BODY"},
        {"title": "Spam", "url": "https://spam.example/x", "content": "buy"},
    ]
}


def cells(*upstreams: str) -> list[Any]:
    """Each upstream plain and streamed; all but a few are slow."""
    quick = {("up-gemini", True), ("up-anthropic", False), ("up-chat", True)}
    return [
        pytest.param(*cell, marks=[] if cell in quick else pytest.mark.slow)
        for cell in itertools.product(upstreams, (False, True))
    ]


class _Engine(Handler):
    queries: list[str] = []  # noqa: RUF012 - of the test's only engine

    def do_GET(self) -> None:
        self.queries.append(self.path)
        self.answer(b"<html>" if "broken" in self.path else FOUND)


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    with origins.serving(_Engine) as url:
        yield url


@pytest.fixture(scope="module")
def mood(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mood") / "mood.txt"


@pytest.fixture(scope="module")
def shop(mood: Path) -> Iterator[str]:
    """A stock MCP server."""
    import asyncio

    with http_program(str(STOCK), "http", mood=mood) as (_, url):
        asyncio.run(until_it_answers(url))
        yield url


@pytest.fixture(scope="module")
def serving(
    sim: Simulation, shop: str, engine: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    more = (
        f'[hosted_tools]\nmcp_servers = ["{shop}", "http://127.0.0.1:9/gone"]\n'
        f'web_search = "{engine}/search?q={{query}}&format=json"\n'
    )
    gateway = Gateway(tmp_path_factory.mktemp("hosted"), sim_config(sim, more)).start()
    yield gateway
    assert gateway.stop() == 0, gateway.log
    assert "Traceback" not in gateway.log, gateway.log[-3000:]


def made(client: Any) -> Any:
    """A client whose types are those of its vendor, and not of what is sent here."""
    return client


def mcp(shop: str, **more: Any) -> Any:
    fields = {"server_url": shop, "require_approval": "never", "authorization": "tok-secret"}
    return {"type": "mcp", "server_label": "shop", **fields, **more}


@pytest.mark.parametrize(("upstream", "streamed"), cells(*UPSTREAMS))
def test_responses_clients_name_mcp_servers(
    serving: Gateway, sim: Simulation, shop: str, upstream: str, streamed: bool
) -> None:
    turns = [
        Turn("let me add", calls=[Call("shop_add", {"a": 2, "b": 3})]),
        Turn("it is 5"),
        Turn("still 5"),
    ]
    model = scripted(sim, upstream, f"mcp-{streamed}", turns)
    with made(openai.OpenAI(base_url=f"{serving.url}/v1", api_key=KEY, max_retries=0)) as client:

        def ask(**options: Any) -> Any:
            if not streamed:
                return client.responses.create(model=model, tools=[mcp(shop)], **options)
            with client.responses.stream(model=model, tools=[mcp(shop)], **options) as stream:
                return stream.get_final_response()

        first = ask(input="2+3?")
        kinds = [item.type for item in first.output]
        assert kinds == ["mcp_list_tools", "message", "mcp_call", "message"]
        call = first.output[2]
        assert (call.name, call.server_label, call.output) == ("add", "shop", "5")
        assert first.output_text == "let me addit is 5"
        assert "tok-secret" not in str(first)
        second = ask(input="sure?", previous_response_id=first.id)
    assert second.output_text == "still 5"
    assert [item.type for item in second.output] == ["message"]
    sent = json.dumps(sim.requests[-1].body)
    assert "tok-secret" not in sent
    places = [sent.index(text) for text in ("2+3?", "shop_add", "it is 5", "sure?")]
    assert "5" in sent[places[1] :]
    rows = paid(serving, model, 2)
    assert {row["outcome"] for row in rows} == {"ok"}
    assert rows[0]["attempts"] == 2


@pytest.mark.parametrize(
    ("upstream", "streamed"), cells(*(name for name in UPSTREAMS if name != "up-anthropic"))
)
def test_messages_clients_name_mcp_servers(
    serving: Gateway, sim: Simulation, shop: str, upstream: str, streamed: bool
) -> None:
    turns = [
        Turn(calls=[Call("shop_greet", {"name": "Bo"}), Call("shop_fail", {})]),
        Turn("greeted"),
        Turn("yes"),
    ]
    model = scripted(sim, upstream, f"mcp-messages-{streamed}", turns)
    options: Any = {
        "model": model,
        "max_tokens": 500,
        "mcp_servers": [{"type": "url", "url": shop, "name": "shop", "authorization_token": "t"}],
        "tools": [{"type": "mcp_toolset", "mcp_server_name": "shop"}],
        "betas": ["mcp-client-2025-11-20"],
    }
    messages: list[Any] = [{"role": "user", "content": "greet Bo"}]
    with made(anthropic.Anthropic(base_url=serving.url, api_key=KEY, max_retries=0)) as client:

        def ask() -> Any:
            if not streamed:
                return client.beta.messages.create(messages=messages, **options)
            with client.beta.messages.stream(messages=messages, **options) as stream:
                return stream.get_final_message()

        first = ask()
        kinds = [block.type for block in first.content]
        assert sorted(kinds) == sorted(["mcp_tool_use", "mcp_tool_result"] * 2 + ["text"])
        assert first.stop_reason == "end_turn"
        results = [block for block in first.content if block.type == "mcp_tool_result"]
        assert {result.is_error for result in results} == {True, False}
        assert "안녕하세요, Bo" in str(results)
        messages.append(
            {"role": "assistant", "content": [each.to_dict() for each in first.content]}
        )
        messages.append({"role": "user", "content": "really?"})
        second = ask()
    assert second.content[-1].text == "yes"
    sent = json.dumps(sim.requests[-1].body, ensure_ascii=False)
    assert "안녕하세요, Bo" in sent
    paid(serving, model, 2)


@pytest.mark.parametrize(("upstream", "streamed"), cells(*UPSTREAMS))
def test_a_call_waits_for_consent(
    serving: Gateway, sim: Simulation, shop: str, upstream: str, streamed: bool
) -> None:
    turns = [
        Turn(calls=[Call("shop_add", {"a": 20, "b": 3})]),
        Turn("23"),
        Turn(calls=[Call("shop_greet", {"name": "Eve"})]),
        Turn("then not"),
    ]
    model = scripted(sim, upstream, f"consent-{streamed}", turns)
    tools: Any = [mcp(shop, require_approval={"never": {"tool_names": ["rows"]}})]
    with made(openai.OpenAI(base_url=f"{serving.url}/v1", api_key=KEY, max_retries=0)) as client:

        def ask(given: Any, previous: str | None) -> Any:
            more: Any = {"previous_response_id": previous} if previous else {}
            if not streamed:
                return client.responses.create(model=model, tools=tools, input=given, **more)
            with client.responses.stream(model=model, tools=tools, input=given, **more) as stream:
                return stream.get_final_response()

        def answer(request: Any, approve: bool) -> Any:
            return [
                {
                    "type": "mcp_approval_response",
                    "approval_request_id": request.id,
                    "approve": approve,
                }
            ]

        first = ask("20+3?", None)
        asked = first.output[-1]
        assert (asked.type, asked.name) == ("mcp_approval_request", "add")
        assert json.loads(asked.arguments) == {"a": 20, "b": 3}
        second = ask(answer(asked, True), first.id)
        assert [item.type for item in second.output] == ["mcp_call", "message"]
        assert second.output[0].output == "23"
        assert second.output[0].approval_request_id == asked.id
        third = ask("greet Eve", second.id)
        asked = third.output[-1]
        fourth = ask(answer(asked, False), third.id)
        assert [item.type for item in fourth.output] == ["message"]
        assert "did not approve" in json.dumps(sim.requests[-1].body)
        # Consent that nobody asked for, or another key's.
        stranger = {**answer(asked, True)[0], "approval_request_id": "mcpr_nothing"}
        with pytest.raises(openai.BadRequestError, match="mcpr_nothing"):
            ask([stranger], first.id)
    body = {"model": model, "tools": tools, "input": answer(asked, True)}
    assert serving.request("POST", "/v1/responses", body, key=OTHER_KEY).status == 400


def test_consent_given_twice_runs_once(
    serving: Gateway, sim: Simulation, shop: str, mood: Path
) -> None:
    turns = [Turn(calls=[Call("shop_add", {"a": 1, "b": 1})]), Turn("2"), Turn("2 again")]
    model = scripted(sim, "up-anthropic", "twice", turns)
    body: dict[str, Any] = {
        "model": model,
        "tools": [mcp(shop, require_approval="always")],
        "input": "1+1?",
    }
    first = serving.post("/v1/responses", body).json()
    name = first["output"][-1]["id"]
    body["previous_response_id"] = first["id"]
    body["input"] = [
        {"type": "mcp_approval_response", "approval_request_id": name, "approve": True}
    ]
    for _ in range(2):
        again = serving.post("/v1/responses", body).json()
        assert [item["type"] for item in again["output"]] == ["mcp_call", "message"]
        assert again["output"][0]["output"] == "2"


def test_what_is_refused(serving: Gateway, gateway: Gateway, sim: Simulation, shop: str) -> None:
    model = scripted(sim, "up-gemini", "no-mcp", [Turn("no")])

    def refused(tool: Any, served: Gateway = serving) -> tuple[int, str]:
        answer = served.post("/v1/responses", {"model": model, "input": "x", "tools": [tool]})
        return answer.status, answer.json()["error"]["message"]

    for url in (
        "https://elsewhere.example/mcp",
        shop + "/../x",
        shop.replace("127.0.0.1", "127.0.0.1:1@evil"),
        "file:///etc/passwd",
    ):
        status, words = refused(mcp(url))
        assert status == 403, words
        assert "'shop'" in words
    status, words = refused(mcp("http://127.0.0.1:9/gone"))
    assert (status, "shop" in words) == (424, True)
    status, words = refused({**mcp(shop), "connector_id": "connector_x"})
    assert (status, "connector" in words) == (400, True)
    status, words = refused(mcp(shop), gateway)  # where nothing is configured
    assert (status, "mcp" in words) == (400, True)
    assert sim.remaining("google", "no-mcp") == 1


@pytest.mark.parametrize("upstream", ["up-anthropic", "up-gemini", "up-chat"])
def test_responses_clients_search_the_web(serving: Gateway, sim: Simulation, upstream: str) -> None:
    turns = [Turn(calls=[Call("web_search", {"query": "서울 날씨"})]), Turn("sunny")]
    model = scripted(sim, upstream, "searches", turns)
    tool: Any = {"type": "web_search", "filters": {"allowed_domains": ["a.example"]}}
    with (
        openai.OpenAI(base_url=f"{serving.url}/v1", api_key=KEY, max_retries=0) as client,
        client.responses.stream(model=model, input="weather?", tools=[tool]) as stream,
    ):
        answer: Any = stream.get_final_response()
    assert [item.type for item in answer.output] == ["web_search_call", "message"]
    assert answer.output[0].action.query == "서울 날씨"
    sent = json.dumps(sim.requests[-1].body, ensure_ascii=False)
    assert "맑음 BODY" in sent
    assert "spam.example" not in sent


@pytest.mark.parametrize("streamed", [False, True])
def test_messages_clients_search_the_web(serving: Gateway, sim: Simulation, streamed: bool) -> None:
    turns = [
        Turn(calls=[Call("web_search", {"query": "one"})]),
        Turn(calls=[Call("web_search", {"query": "two"})]),
        Turn("sunny"),
    ]
    model = scripted(sim, "up-gemini", f"searches-{streamed}", turns)
    tool: Any = {"type": "web_search_20250305", "name": "web_search", "max_uses": 1}
    options: Any = {
        "model": model,
        "max_tokens": 100,
        "tools": [tool],
        "messages": [{"role": "user", "content": "weather?"}],
    }
    with made(anthropic.Anthropic(base_url=serving.url, api_key=KEY, max_retries=0)) as client:
        if streamed:
            with client.messages.stream(**options) as stream:
                answer: Any = stream.get_final_message()
        else:
            answer = client.messages.create(**options)
    kinds = [block.type for block in answer.content]
    assert kinds == ["server_tool_use", "web_search_tool_result"] * 2 + ["text"]
    assert answer.content[1].content[0].url == "https://a.example/seoul"
    assert answer.content[3].content.error_code == "unavailable"


def test_a_tool_that_changed_is_withheld(serving: Gateway, sim: Simulation, shop: str) -> None:
    """The last test, since it changes the server."""
    turns = [Turn(calls=[Call("shop_change", {"word": "rudely"})]), Turn("a"), Turn("b")]
    model = scripted(sim, "up-chat", "pinned", turns)
    body = {"model": model, "input": "x", "tools": [mcp(shop)]}
    first = serving.post("/v1/responses", body).json()
    assert "greet" in [tool["name"] for tool in first["output"][0]["tools"]]
    second = serving.post("/v1/responses", body)
    names = [tool["name"] for tool in second.json()["output"][0]["tools"]]
    assert "add" in names
    assert not {"greet", "brand_new"} & set(names)
    warnings = second.headers["polycall-warnings"]
    assert "'greet'" in warnings
    assert "withheld" in warnings
