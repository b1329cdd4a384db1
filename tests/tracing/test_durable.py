"""A durable run whose process is killed: one trace with who asked, a link, nothing twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider

from polycall import tracing
from polycall.durable import Durable, Runs
from polycall.testing import ScriptedModel

from ..collector import Collector
from .dying import shop
from .support import call, names, one, trees

ROOT = Path(__file__).parents[2]


async def asked_for(database: str) -> str:
    """Begin the run as a web server might; gives the trace that it was asked for in."""
    async with Durable(database, agents=[]):
        pass  # makes the database
    provider = TracerProvider()
    with tracing.enable(provider=provider):
        with provider.get_tracer("web").start_as_current_span("POST /orders") as span:
            async with Runs(database) as runs:
                await runs.start("shop", "send the teapot", run_id="order-7")
        return f"{span.get_span_context().trace_id:032x}"


@pytest.mark.slow
async def test_killed_in_the_middle_of_a_program(tmp_path: Path, collector: Collector) -> None:
    database = f"sqlite:///{tmp_path / 'runs.db'}"
    trace = await asked_for(database)
    died = subprocess.run(
        [sys.executable, "-m", "tests.tracing.dying", database, collector.url],
        env={**os.environ, "OTEL_BSP_SCHEDULE_DELAY": "50"},
        cwd=ROOT,
        check=False,
        timeout=60,
    )
    assert died.returncode == -signal.SIGKILL
    # What was under way is not there: a span is exported when it has ended.
    before = trees(collector)
    assert sorted(str(names(tree)) for tree in before) == sorted(
        str(each)
        for each in [
            ("step", ["chat m", "execute_tool look"]),
            "chat m",
            ("execute_tool draw", ["background_task draw"]),
            "execute_tool price",
        ]
    )
    (first,) = {span.parent for span in collector.spans() if span.name == "step"}
    assert {span.trace for span in collector.spans()} == {trace}
    assert {span.attributes["polycall.run.id"] for span in collector.spans()} == {"order-7"}
    collector.bodies.clear()
    # What the process that goes on was doing when it started has nothing to do with it.
    starting = TracerProvider().get_tracer("second").start_as_current_span("start")
    with (
        ScriptedModel([call("c4", "clerk", task="x"), "it is gone", "done"]) as model,
        tracing.enable(collector.url, service="second"),
        starting,
    ):
        agent = shop(model, dies=False)
        async with Durable(database, agents=[agent], poll_s=0.02, lease_s=1.0) as durable:
            assert (await durable.handle("order-7").result()).text == "done"
    (after,) = trees(collector)
    # The look, the price and both answers are known, and have no second span.
    clerk = ("execute_tool clerk", [("invoke_agent clerk", [("step", ["chat clerk"])])])
    program = ("execute_tool run_code", [("sandbox run", ["execute_tool ship"])])
    assert names(after) == (
        "invoke_agent shop",
        [("step", [program]), ("step", ["chat m", clerk]), ("step", ["chat m"])],
    )
    assert [each.attributes["polycall.step.number"] for each in after.below] == [2, 3, 4]
    run = one(collector, "invoke_agent shop")
    assert (run.trace, run.links) == (trace, [(trace, first)])
    assert {span.attributes["polycall.run.id"] for span in collector.spans()} == {"order-7"}
    assert {span.service for span in collector.spans()} == {"second"}
