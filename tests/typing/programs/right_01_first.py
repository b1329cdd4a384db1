from typing import Any, Literal

from polycall import Agent, tool


@tool
def get_weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> dict[str, Any]:
    """The weather in a city."""
    return {"city": city, "unit": unit}


agent = Agent("anthropic/claude-sonnet-4-6", tools=[get_weather])
run = agent.run_sync("How is the weather?")
text: str = run.output
value: dict[str, Any] = get_weather("Seoul", unit="celsius")
calls = [call.name for step in run.steps for call in step.response.tool_calls]
names: list[str] = calls
