"""Programs for clients of every protocol and any model: real SDKs against a real gateway.

The simulated model writes a program; the client runs the tools that it awaits; only what the
program prints reaches the model, and so the final text.
"""

from __future__ import annotations

import re
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from polycall.sim import Simulation
from tests.gateway.harness import UPSTREAMS, Gateway
from tests.gateway.program_drivers import (
    CODE,
    OUTPUT,
    Chat,
    Claude,
    Gemini,
    Responses,
    scripted,
    seen_by_model,
)

pytestmark = pytest.mark.usefixtures("runs_programs")


ROUNDS = [["query_sales"] * 3, ["describe"]]


def check(sim: Simulation, model: str, rounds: list[list[str]]) -> None:
    assert rounds == ROUNDS
    seen = seen_by_model(sim, model)
    assert OUTPUT in seen
    # Neither as text in text nor as an object: Gemini takes results as those.
    assert re.search(r"amount\W+\d", seen) is None


@pytest.mark.parametrize("mode", ["whole", "streamed"])
@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("client", [Chat, Gemini])
def test_any_client_by_header(
    sim: Simulation, gateway: Gateway, client: Any, upstream: str, mode: str
) -> None:
    model = scripted(sim, upstream)
    with closing(client(gateway.url, model, streamed=mode == "streamed")) as driver:
        assert driver.run("Which region sells best?").endswith("done")
    check(sim, model, driver.rounds)


@pytest.mark.parametrize("mode", ["whole", "streamed"])
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_as_anthropic_documents_it(
    sim: Simulation, gateway: Gateway, upstream: str, mode: str
) -> None:
    model = scripted(sim, upstream)
    with closing(Claude(gateway.url, model, streamed=mode == "streamed")) as driver:
        assert driver.run("Which region sells best?") == "done"
    check(sim, model, driver.rounds)
    first, _, last = driver.answers
    program = next(block for block in first.content if block.type == "server_tool_use")
    assert (program.name, program.input) == ("code_execution", {"code": CODE})
    ended = next(b for b in last.content if b.type == "code_execution_tool_result")
    assert ended.tool_use_id == program.id
    assert (ended.content.stdout, ended.content.stderr, ended.content.return_code) == (
        OUTPUT,
        "",
        0,
    )
    assert first.container.expires_at > datetime.now(UTC)


@pytest.mark.parametrize("mode", ["whole", "streamed"])
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_as_openai_documents_it(
    sim: Simulation, gateway: Gateway, upstream: str, mode: str
) -> None:
    model = scripted(sim, upstream)
    with closing(Responses(gateway.url, model, streamed=mode == "streamed")) as driver:
        assert driver.run("Which region sells best?").endswith("done")
    check(sim, model, driver.rounds)
    first, _, last = driver.outputs
    program = next(item for item in first if item.type == "program")
    assert program.code == CODE
    callers = [item.caller.caller_id for item in first if item.type == "function_call"]
    assert callers == [program.call_id] * 3
    ended = next(item for item in last if item.type == "program_output")
    assert (ended.call_id, ended.result, ended.status) == (program.call_id, OUTPUT, "completed")
