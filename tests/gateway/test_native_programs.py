"""A provider that runs programs itself is asked as the client asks, and answers as it answers."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from polycall.sim import Program, Simulation, Turn
from polycall.sim.script import CallTool
from tests.gateway.harness import KEY, Gateway, provider_table
from tests.gateway.program_drivers import REGIONS, Claude, Responses

CODE = "the vendor's own program"
# Client, its vendor, the path and the headers of a plain request.
CLIENTS: dict[str, tuple[Any, str, str, dict[str, str]]] = {
    "native-anthropic": (
        Claude,
        "anthropic",
        "/v1/messages",
        {"x-api-key": KEY, "anthropic-version": "2023-06-01"},
    ),
    "native-openai": (Responses, "openai", "/v1/responses", {"authorization": f"Bearer {KEY}"}),
}
DIALECTS = {"native-anthropic": "anthropic", "native-openai": "openai-responses"}


async def best(call: CallTool, show: Callable[..., None]) -> None:
    tables = {region: json.loads(await call("query_sales", region=region)) for region in REGIONS}
    sums = {region: sum(row["amount"] for row in rows) for region, rows in tables.items()}
    first = max(sums, key=lambda region: sums[region])
    show("total", sum(sums.values()), "best", first, await call("describe", region=first))


def script(sim: Simulation, upstream: str, model: str) -> None:
    program = Turn("잠시만요.", reasoning="a program is better", program=Program(CODE, best))
    sim.script(CLIENTS[upstream][1], model, [program, Turn("done")])


def config(sim: Simulation) -> str:
    tables = [
        provider_table(name, sim.base_url(CLIENTS[name][1]), dialect, "runs_programs = true")
        for name, dialect in DIALECTS.items()
    ]
    return "\n".join([*tables, "[programs]\nenabled = false", f'[[keys]]\nkey = "{KEY}"\n'])


@pytest.fixture(scope="module")
def twins() -> Iterator[tuple[Simulation, Simulation]]:
    """Two simulations that answer alike: one is asked through the gateway, one is not."""
    with Simulation(seed=5) as one, Simulation(seed=5) as other:
        yield one, other


@pytest.fixture(scope="module")
def served(
    twins: tuple[Simulation, Simulation], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("native"), config(twins[0])).start()
    yield gateway
    assert gateway.stop() == 0, gateway.log


def timeless(content: bytes) -> bytes:
    """What the clock wrote, made equal."""
    content = re.sub(rb'"(expires_at|created_at|completed_at)":("[^"]*"|\d+)', b'"at":0', content)
    return re.sub(rb'"at":0,"at":0', b'"at":0', content)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("upstream", CLIENTS)
def test_a_stock_script_passes(
    twins: tuple[Simulation, Simulation], served: Gateway, upstream: str, streamed: bool
) -> None:
    driver_of, vendor, path, headers = CLIENTS[upstream]
    model = f"stock-{vendor}-{streamed}"
    asked: list[list[bytes]] = []
    answers: list[bytes] = []
    direct = twins[1].base_url(vendor).removesuffix("/v1")
    for sim, url, prefix in ((twins[0], served.url, f"{upstream}/"), (twins[1], direct, "")):
        script(sim, upstream, model)
        with closing(driver_of(url, prefix + model, streamed=streamed)) as driver:
            assert driver.run("Which region sells best?").endswith("done")
        assert driver.rounds == [["query_sales"]] * 3 + [["describe"]]
        assert sim.remaining(vendor, model) == 0
        bodies = [each.raw for each in sim.requests if f'"{model}"'.encode() in each.raw]
        assert len(bodies) == 5
        asked.append(bodies)
        script(sim, upstream, model)
        again = bodies[0].replace(model.encode(), (prefix + model).encode(), 1)
        answers.append(timeless(post(url + path, again, headers)))
    # All that the vendor gets, what the client echoes of its answers included; and an answer.
    assert asked[0] == asked[1]
    named = f'"model":"{upstream}/{model}"'.encode()  # as it was asked for
    assert named in answers[0]
    assert answers[0].replace(named, f'"model":"{model}"'.encode()) == answers[1]


def test_the_vendors_refusals_pass_too(
    served: Gateway, twins: tuple[Simulation, Simulation]
) -> None:
    _, vendor, path, headers = CLIENTS["native-anthropic"]
    tool: dict[str, Any] = {"name": "pay", "input_schema": {"type": "object"}}
    tool["allowed_callers"] = ["code_execution_20260120"]
    body: dict[str, Any] = {
        "model": "sim-1",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "hello"}],
        "tools": [{"type": "code_execution_20260120", "name": "code_execution"}, tool],
        "container": "container_made_up",
    }
    direct = post(twins[1].base_url(vendor) + path, json.dumps(body).encode(), headers)
    passed = {**body, "model": "native-anthropic/sim-1"}
    through = post(served.url + path, json.dumps(passed).encode(), headers)
    words = "container: Container 'container_made_up' not found or expired."
    for answer in (direct, through):
        assert json.loads(answer)["error"]["type"] == "invalid_request_error"
        assert json.loads(answer)["error"]["message"] == words


def post(url: str, body: bytes, headers: dict[str, str]) -> bytes:
    """The bytes of an answer, whatever its status."""
    fields = {"content-type": "application/json", **headers}
    request = urllib.request.Request(url, body, fields)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        return error.read()
