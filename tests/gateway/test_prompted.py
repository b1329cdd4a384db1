"""A model that knows no tools, behind the gateway: every client calls tools with it as ever."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from polycall.sim import Simulation, Turn
from tests.gateway import program_drivers
from tests.gateway.drivers import DRIVERS, Result
from tests.gateway.harness import KEY, Gateway, provider_table
from tests.gateway.program_drivers import CODE, OUTPUT
from tests.sandbox.support import usable

VENDORS = {
    "plain-chat": ("compatible", "openai-chat"),
    "plain-responses": ("openai", "openai-responses"),
    "plain-anthropic": ("anthropic", "anthropic"),
    "plain-gemini": ("google", "gemini"),
}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "서울"}}\n</tool_call>'
BOTH = f'{CALL}\n<tool_call>{{"name": "now", "arguments": {{}}}}</tool_call>'


def config(sim: Simulation) -> str:
    tables = [
        provider_table(name, sim.base_url(vendor), dialect, 'quirks = { tools = "prompted" }')
        for name, (vendor, dialect) in VENDORS.items()
    ]
    tables.append(provider_table("mixed", sim.base_url("compatible"), "openai-chat"))
    tables.append('[providers.mixed.capabilities."toolless"]\ntools = "prompted"\n')
    return "\n".join([*tables, f'[[keys]]\nkey = "{KEY}"\n'])


@pytest.fixture(scope="module")
def served(sim: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("prompted"), config(sim)).start()
    yield gateway
    assert gateway.stop() == 0, gateway.log


def script(sim: Simulation, vendor: str, model: str, *texts: str) -> None:
    sim.script(vendor, model, [Turn(text) for text in texts], calls_tools=False)


# Every pair, and each client and each wire in both ways.
PAIRS = [
    (client, upstream, (here + there) % 2 == 0)
    for here, client in enumerate(DRIVERS)
    for there, upstream in enumerate(VENDORS)
]


@pytest.mark.parametrize(("client", "upstream", "streamed"), PAIRS)
def test_E04_every_client_with_every_wire(
    sim: Simulation, served: Gateway, client: str, upstream: str, streamed: bool
) -> None:
    model = f"toolless-{upstream}-{client}-{streamed}"
    vendor = VENDORS[upstream][0]
    script(sim, vendor, model, f"Let me look.\n{BOTH}", "서울은 7도, 12:00.")
    driver = DRIVERS[client](served.url, KEY, f"{upstream}/{model}", streamed=streamed)
    with closing(driver):
        step = driver.ask("Weather and time in Seoul?")
        assert [(call.name, call.arguments) for call in step.calls] == [
            ("get_weather", {"city": "서울"}),
            ("now", {}),
        ]
        assert step.text.strip() == "Let me look."
        weather, now = step.calls
        end = driver.give([Result(weather, "7 degrees"), Result(now, "no clock", is_error=True)])
    assert (end.text, end.calls) == ("서울은 7도, 12:00.", [])
    assert sim.remaining(vendor, model) == 0
    sent = [each for each in sim.requests if model in each.path or model in each.raw.decode()]
    assert len(sent) == 2
    assert all("tools" not in each.body for each in sent)
    seen = json.dumps(sent[1].body, ensure_ascii=False)
    assert '<tool_result name=\\"get_weather\\">\\n7 degrees' in seen
    assert '<tool_result name=\\"now\\"' in seen


def bodies(sim: Simulation, model: str) -> list[dict[str, Any]]:
    """What the model was asked; other tests ask the same simulation for other things."""
    return [each.body for each in sim.requests if (each.body or {}).get("model") == model]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("client", DRIVERS)
def test_a_call_that_cannot_be_read_is_asked_for_again(
    sim: Simulation, served: Gateway, client: str, streamed: bool
) -> None:
    model = f"sloppy-{client}-{streamed}"
    broken = '<tool_call>{"name": "get_weather", "arguments": {"town": "x"}}</tool_call>'
    script(sim, "compatible", model, f"One. {broken}", f"Two. {CALL}")
    driver = DRIVERS[client](served.url, KEY, f"plain-chat/{model}", streamed=streamed)
    with closing(driver):
        step = driver.ask("Weather in Seoul?")
    assert [(call.name, call.arguments) for call in step.calls] == [
        ("get_weather", {"city": "서울"})
    ]
    assert "tool_call" not in step.text
    asked = bodies(sim, model)
    assert len(asked) == 2
    assert asked[1]["messages"][-2] == {"role": "assistant", "content": f"One. {broken}"}
    assert "so nothing was run" in asked[1]["messages"][-1]["content"]
    assert '"city" is a required property' in asked[1]["messages"][-1]["content"]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_model_that_never_learns_is_an_error(
    sim: Simulation, served: Gateway, streamed: bool
) -> None:
    model = f"hopeless-{streamed}"
    script(sim, "compatible", model, *["<tool_call>{}</tool_call>"] * 3)
    body: dict[str, Any] = {"model": f"plain-chat/{model}", "stream": streamed}
    body["messages"] = [{"role": "user", "content": "x"}]
    tool = {"name": "now", "parameters": {"type": "object", "properties": {}}}
    body["tools"] = [{"type": "function", "function": tool}]
    answer = served.post("/v1/chat/completions", body)
    words = b"asked 3 times, the model wrote no call that can be read"
    assert words in answer.content
    assert b"[DONE]" not in answer.content
    assert answer.status == (200 if streamed else 502)


def test_one_model_of_a_provider_by_its_capabilities(sim: Simulation, served: Gateway) -> None:
    script(sim, "compatible", "toolless", CALL)
    tool = {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "get weather"}]}
    body["tools"] = [{"type": "function", "function": tool}]
    answer = served.post("/v1/chat/completions", {**body, "model": "mixed/toolless"})
    (call,) = answer.json()["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    warnings = json.loads(answer.headers["polycall-warnings"])
    assert [(each["kind"], each["feature"]) for each in warnings] == [("emulated", "tools")]
    native = served.post("/v1/chat/completions", {**body, "model": "mixed/sim-1"})
    assert native.json()["choices"][0]["message"]["tool_calls"]
    assert sim.requests[-1].body["tools"] == body["tools"]


def test_a_schema_that_is_none_is_the_clients_mistake(sim: Simulation, served: Gateway) -> None:
    before = sim.received
    tool = {"name": "now", "parameters": {"type": "objekt"}}
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}]}
    body |= {"model": "plain-chat/any", "tools": [{"type": "function", "function": tool}]}
    answer = served.post("/v1/chat/completions", body)
    assert (answer.status, sim.received) == (400, before)
    assert "the schema of 'now' is not valid" in answer.json()["error"]["message"]


@pytest.mark.parametrize("streamed", [False, True])
def test_programs_with_a_model_that_knows_no_tools(
    sim: Simulation, served: Gateway, streamed: bool
) -> None:
    """Both emulations at once: the model writes a program as text, the client runs its tools."""
    asyncio.run(usable("jail"))
    model = f"programmer-{streamed}"
    call = json.dumps({"name": "run_code", "arguments": {"code": CODE}}, ensure_ascii=False)
    wrong = '<tool_call>{"name": "run_code", "arguments": {}}</tool_call>'
    script(sim, "compatible", model, wrong, f"<tool_call>{call}</tool_call>", "done")
    with closing(program_drivers.Chat(served.url, f"plain-chat/{model}", streamed=streamed)) as run:
        assert run.run("Which region sells best?") == "done"
    assert run.rounds == [["query_sales"] * 3, ["describe"]]
    seen = bodies(sim, model)
    assert len(seen) == 3
    assert OUTPUT in seen[2]["messages"][-1]["content"]
