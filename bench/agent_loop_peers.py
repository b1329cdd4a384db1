"""One agent of one library, run and measured; a script, since each library has its own interpreter.

Prints the milliseconds of CPU that a step took.  `bench.agent_loop` starts it.
"""

# ruff: noqa: PLC0415 - no interpreter has all of these libraries
from __future__ import annotations

import asyncio
import inspect
import linecache
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

MODEL = "gpt-5.6-sol"
TASK = "the task"


def tool_named(name: str) -> Callable[..., Any]:
    """A function of that name, with types and a docstring as users write them."""
    namespace: dict[str, Any] = {}
    source = (
        f"def {name}(a: int, b: int, note: str = '') -> int:\n"
        '    """Add two numbers.\n\n    Args:\n        a: The first.\n        b: The second.\n'
        '        note: Anything.\n    """\n    return a + b\n'
    )
    file = f"<{name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)  # for peers
    exec(compile(source, file, "exec"), namespace)
    function = namespace[name]
    function.__module__ = __name__
    return function


def said(count: int) -> list[dict[str, str]]:
    """A conversation before, in Chat's format."""
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": f"words {n} " * 20} for n in range(count)]


def polycall(url: str, tools: list[Any], before: int, streamed: bool) -> Callable[[], Any]:
    """polycall's agent."""
    from msgspec.structs import replace

    from polycall import Agent, Client, Limits
    from polycall.providers.catalogue import CATALOGUE

    provider = replace(CATALOGUE["groq"], name="up", base_url=url)
    client = Client(providers=[provider], keys={"up": "sk-none"})
    agent = Agent(f"up/{MODEL}", client=client, tools=tools)
    history = said(before) or None

    async def run() -> str:
        options: dict[str, Any] = {"limits": Limits(steps=1000), "history": history}
        if not streamed:
            return (await agent.run(TASK, **options)).text
        async with agent.stream(TASK, **options) as stream:
            async for _ in stream:
                pass
        return stream.run.text

    return run


def pydantic_ai(url: str, tools: list[Any], before: int, streamed: bool) -> Callable[[], Any]:
    """PydanticAI's agent."""
    from pydantic_ai import Agent
    from pydantic_ai.messages import (
        ModelRequest,
        ModelResponse,
        TextPart,
        UserPromptPart,
    )
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider
    from pydantic_ai.usage import UsageLimits

    model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=url, api_key="sk-none"))
    agent = Agent(model, tools=tools)
    history: list[Any] = [
        ModelRequest(parts=[UserPromptPart(each["content"])])
        if each["role"] == "user"
        else ModelResponse(parts=[TextPart(each["content"])])
        for each in said(before)
    ]

    async def run() -> str:
        options: dict[str, Any] = {
            "message_history": history,
            "usage_limits": UsageLimits(request_limit=None),
        }
        if not streamed:
            return (await agent.run(TASK, **options)).output
        text = ""
        async with agent.run_stream_events(TASK, **options) as events:
            async for event in events:
                if type(event).__name__ == "AgentRunResultEvent":
                    text = event.result.output
        return text

    return run


def agents(url: str, tools: list[Any], before: int, streamed: bool) -> Callable[[], Any]:
    """The agent of OpenAI's Agents SDK."""
    from openai import AsyncOpenAI

    from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool

    client = AsyncOpenAI(base_url=url, api_key="sk-none")
    model = OpenAIChatCompletionsModel(MODEL, client)
    agent = Agent(name="a", model=model, tools=[function_tool(each) for each in tools])
    task: list[Any] = [*said(before), {"role": "user", "content": TASK}]

    async def run() -> str:
        if not streamed:
            return (await Runner.run(agent, task, max_turns=1000)).final_output
        result = Runner.run_streamed(agent, task, max_turns=1000)
        async for _ in result.stream_events():
            pass
        return result.final_output

    return run


def langgraph(url: str, tools: list[Any], before: int, streamed: bool) -> Callable[[], Any]:
    """LangChain's agent, which is a LangGraph."""
    from langchain.agents import create_agent
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model=MODEL, base_url=url, api_key="sk-none", use_responses_api=False)
    agent: Any = create_agent(model, tools=tools)
    task = {"messages": [*said(before), {"role": "user", "content": TASK}]}
    config = {"recursion_limit": 10_000}

    async def run() -> str:
        if not streamed:
            return (await agent.ainvoke(task, config))["messages"][-1].content
        text = ""
        async for message, _ in agent.astream(task, config, stream_mode="messages"):
            text = message.content or text
        return text

    return run


def smolagents(url: str, tools: list[Any], before: int, streamed: bool) -> Callable[[], Any]:
    """The tool-calling agent of smolagents, whose end is a tool."""
    from smolagents import OpenAIModel, ToolCallingAgent, tool
    from smolagents.monitoring import LogLevel

    model = OpenAIModel(MODEL, api_base=url, api_key="sk-none")
    agent = ToolCallingAgent(
        [tool(each) for each in tools],
        model,
        max_steps=1000,
        verbosity_level=LogLevel.OFF,
        stream_outputs=streamed,
    )
    if before:
        raise SystemExit("takes no conversation before")

    async def run() -> str:
        if not streamed:
            return str(agent.run(TASK))
        *_, last = agent.run(TASK, stream=True)
        return str(last.output)

    return run


def main() -> None:
    """Run once to warm up, then once while the CPU is counted."""
    name, url, tools, before, steps, streamed = sys.argv[1:7]
    make = globals()[name]
    functions = [tool_named(f"tool_{number}") for number in range(int(tools))]
    run: Callable[[], Awaitable[str]] = make(url, functions, int(before), streamed == "streamed")
    assert inspect.iscoroutinefunction(run)

    async def measured() -> float:
        assert await run() == "done"
        began = time.process_time()
        assert await run() == "done"
        return time.process_time() - began

    print(asyncio.run(measured()) * 1000 / (int(steps) + 1))


if __name__ == "__main__":
    main()
