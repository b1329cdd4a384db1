"""What tracing costs those who do not want it, and whose names it uses."""

from __future__ import annotations

import subprocess
import sys
import timeit

import pytest

from polycall.instrumentation import ToolCalled, carried, watching
from polycall.ir import ToolCall
from polycall.tracing import conventions

RUN = """
import asyncio, sys
from polycall import Agent, Client, tool, tracing
from polycall.ir import ToolCall
from polycall.testing import ScriptedModel

@tool(allowed_callers=["direct", "code"])
async def look() -> str:
    "Look."
    return "seen"

async def main():
    with ScriptedModel([ToolCall("c", "look"), "done"]) as model:
        await Agent("test/m", tools=[look], client=model).run("hello")

asyncio.run(main())
print(sorted(name for name in sys.modules if name.startswith("opentelemetry")))
"""
MISSING = """
import sys
sys.modules["opentelemetry"] = None
from polycall import tracing
tracing.enable()
"""


OWN = """
import asyncio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from polycall import Agent, tracing
from polycall.testing import ScriptedModel

on = tracing.enable()
seen = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(seen))
trace.set_tracer_provider(provider)  # later than `enable`, as it may be
for _ in range(2):
    with ScriptedModel(["done"]) as model:
        asyncio.run(Agent("test/m", client=model).run("hello"))
    on.close()
print([span.name for span in seen.get_finished_spans()])
"""


def test_a_run_loads_nothing_of_opentelemetry() -> None:
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_where_it_is_not_installed_that_is_said() -> None:
    command = [sys.executable, "-c", MISSING]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "RequestError: tracing needs OpenTelemetry" in done.stderr
    assert "install 'polycall[opentelemetry]'" in done.stderr


def test_it_costs_next_to_nothing_where_nobody_watches() -> None:
    call = ToolCall("c", "look")

    def point() -> None:
        with watching(ToolCalled(call)) as watched:
            watched.end()
        carried()

    number = 20_000
    best_s = min(timeit.repeat(point, number=number, repeat=5)) / number
    # A microsecond here, and a call of a tool takes thirty of them.
    assert best_s < 10e-6


def test_the_names_are_those_of_the_installed_package() -> None:
    attributes = pytest.importorskip(
        "opentelemetry.semconv._incubating.attributes.gen_ai_attributes"
    )
    error = pytest.importorskip("opentelemetry.semconv.attributes.error_attributes")
    known = {value for name, value in vars(attributes).items() if name.startswith("GEN_AI_")}
    known |= {error.ERROR_TYPE}
    ours = {name: value for name, value in vars(conventions).items() if name.isupper()}
    foreign = {
        name: value
        for name, value in ours.items()
        if isinstance(value, str) and value.startswith(("gen_ai.", "error."))
    }
    assert {value for value in foreign.values() if value not in known} == set()
    assert len(foreign) == 34
    operations = {each.value for each in attributes.GenAiOperationNameValues}
    assert {conventions.CHAT, conventions.INVOKE_AGENT, conventions.EXECUTE_TOOL} <= operations
    providers = {each.value for each in attributes.GenAiProviderNameValues}
    for name in ("openai", "anthropic", "google", "deepseek", "xai", "mistral", "groq"):
        assert conventions.provider_name(name) in providers


def test_the_applications_own_provider_is_taken() -> None:
    done = subprocess.run([sys.executable, "-c", OWN], capture_output=True, text=True, check=True)
    assert done.stdout == "['chat m', 'step', 'invoke_agent agent']\n"
