"""The three steps (ask, call, answer) through each vendor's own SDK, plain and streamed."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from polycall.sim import Simulation
from tests.sim.conftest import WEATHER

PROMPT = "서울, 도쿄, 파리 날씨를 섭씨로 알려줘"
ARGUMENTS = [
    {"city": "서울", "unit": "celsius"},
    {"city": "도쿄", "unit": "celsius"},
    {"city": "파리", "unit": "celsius"},
]
REPORT = (
    "확인한 결과입니다.\n"
    "- get_weather(서울, celsius): 맑음 18\n"
    "- get_weather(도쿄, celsius): 맑음 18\n"
    "- get_weather(파리, celsius): 맑음 18"
)
RESULT = "맑음 18"
DESCRIPTION = "Current weather of a city"
CHAT_TOOL: Any = {
    "type": "function",
    "function": {"name": "get_weather", "description": DESCRIPTION, "parameters": WEATHER},
}


def _joined(chunks: list[Any]) -> dict[str, Any]:
    """The assistant message that the chunks of a Chat stream add up to."""
    calls: dict[int, dict[str, Any]] = {}
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    for chunk in chunks:
        for choice in chunk.choices:
            message["content"] += choice.delta.content or ""
            reasoning = getattr(choice.delta, "reasoning_content", None)
            if reasoning is not None:
                message["reasoning_content"] = message.get("reasoning_content", "") + reasoning
            for delta in choice.delta.tool_calls or []:
                if delta.id:
                    function = {"name": delta.function.name, "arguments": ""}
                    calls[delta.index] = {"id": delta.id, "type": "function", "function": function}
                calls[delta.index]["function"]["arguments"] += delta.function.arguments or ""
    if calls:
        message["tool_calls"] = list(calls.values())
    return message


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("vendor", "model"),
    [("openai", "sim-1"), ("deepseek", "sim-1"), ("deepseek", "sim-1-thinking")],
)
async def test_chat(sim: Simulation, vendor: str, model: str, stream: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": PROMPT}]
    async with openai.AsyncOpenAI(base_url=sim.base_url(vendor), api_key="k") as client:

        async def ask() -> dict[str, Any]:
            create = client.chat.completions.create
            if stream:
                events = await create(
                    model=model, messages=messages, tools=[CHAT_TOOL], stream=True
                )
                return _joined([chunk async for chunk in events])
            answer = await create(model=model, messages=messages, tools=[CHAT_TOOL])
            return answer.choices[0].message.model_dump(exclude_none=True)

        first = await ask()
        calls = first["tool_calls"]
        assert [json.loads(call["function"]["arguments"]) for call in calls] == ARGUMENTS
        messages.append(first)
        messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": RESULT} for call in calls
        ]
        assert (await ask())["content"] == REPORT


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["sim-1", "sim-1-thinking"])
async def test_responses(sim: Simulation, model: str, stream: bool) -> None:
    items: list[Any] = [{"role": "user", "content": PROMPT}]
    tool: Any = {
        "type": "function",
        "name": "get_weather",
        "description": DESCRIPTION,
        "parameters": WEATHER,
        "strict": False,
    }
    async with openai.AsyncOpenAI(base_url=sim.base_url("openai"), api_key="k") as client:

        async def ask() -> Any:
            if not stream:
                return await client.responses.create(
                    model=model, input=items, tools=[tool], store=False
                )
            async with client.responses.stream(
                model=model, input=items, tools=[tool], store=False
            ) as events:
                async for _ in events:
                    pass
                return await events.get_final_response()

        first = await ask()
        calls = [item for item in first.output if item.type == "function_call"]
        assert [json.loads(call.arguments) for call in calls] == ARGUMENTS
        kinds = [item.type for item in first.output]
        assert kinds == ["reasoning"] * (model == "sim-1-thinking") + ["function_call"] * 3
        for item in first.output:
            fields = item.model_dump(exclude_none=True, by_alias=True)
            fields.pop("parsed_arguments", None)
            items.append(fields)
        for call in calls:
            items.append(
                {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}
            )
        second = await ask()
        assert second.output_text == REPORT
        assert second.usage.total_tokens == second.usage.input_tokens + second.usage.output_tokens


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["sim-1", "sim-1-thinking"])
async def test_anthropic(sim: Simulation, model: str, stream: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": PROMPT}]
    tool: Any = {"name": "get_weather", "description": DESCRIPTION, "input_schema": WEATHER}
    async with anthropic.AsyncAnthropic(base_url=sim.base_url("anthropic"), api_key="k") as client:

        async def ask() -> Any:
            fields: Any = {
                "model": model,
                "max_tokens": 2000,
                "messages": messages,
                "tools": [tool],
            }
            if not stream:
                return await client.messages.create(**fields)
            async with client.messages.stream(**fields) as events:
                async for _ in events:
                    pass
                return await events.get_final_message()

        first = await ask()
        calls = [block for block in first.content if block.type == "tool_use"]
        assert [call.input for call in calls] == ARGUMENTS
        assert first.stop_reason == "tool_use"
        results = [
            {"type": "tool_result", "tool_use_id": call.id, "content": RESULT} for call in calls
        ]
        messages.append({"role": "assistant", "content": first.content})
        messages.append({"role": "user", "content": results})
        second = await ask()
        assert second.content[-1].text == REPORT
        assert second.stop_reason == "end_turn"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["sim-1", "sim-1-thinking"])
async def test_gemini(sim: Simulation, model: str, stream: bool) -> None:
    options = types.HttpOptions(base_url=sim.base_url("google"))
    client = genai.Client(api_key="k", http_options=options)
    declaration = types.FunctionDeclaration(
        name="get_weather", description=DESCRIPTION, parameters_json_schema=WEATHER
    )
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[declaration])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    contents: list[Any] = [types.Content(role="user", parts=[types.Part(text=PROMPT)])]
    async with client.aio as models:

        async def ask() -> list[Any]:
            fields: Any = {"model": model, "contents": contents, "config": config}
            if not stream:
                answer = await models.models.generate_content(**fields)
                return answer.candidates[0].content.parts
            parts: list[Any] = []
            async for chunk in await models.models.generate_content_stream(**fields):
                parts += chunk.candidates[0].content.parts
            return parts

        parts = await ask()
        calls = [part.function_call for part in parts if part.function_call]
        assert [call.args for call in calls] == ARGUMENTS
        signed = [part.thought_signature is not None for part in parts]
        assert signed == [model == "sim-1-thinking", False, False]
        contents.append(types.Content(role="model", parts=parts))
        results = [
            types.Part(
                function_response=types.FunctionResponse(
                    id=call.id, name=call.name, response={"output": RESULT}
                )
            )
            for call in calls
        ]
        contents.append(types.Content(role="user", parts=results))
        assert "".join(part.text or "" for part in await ask()) == REPORT
    client.close()


async def test_compatible_has_its_habits(sim: Simulation) -> None:
    async with openai.AsyncOpenAI(base_url=sim.base_url("compatible"), api_key="k") as client:
        answer = await client.chat.completions.with_raw_response.create(
            model="sim-1", messages=[{"role": "user", "content": PROMPT}], tools=[CHAT_TOOL]
        )
        choice = json.loads(answer.content)["choices"][0]
        stream = await client.chat.completions.create(
            model="sim-1",
            messages=[{"role": "user", "content": PROMPT}],
            tools=[CHAT_TOOL],
            stream=True,
        )
        deltas = [chunk.choices[0] async for chunk in stream]
    assert [call["function"]["arguments"] for call in choice["message"]["tool_calls"]] == ARGUMENTS
    assert choice["finish_reason"] == "stop"
    assert [call.keys() for call in choice["message"]["tool_calls"]] == [{"id", "function"}] * 3
    calls = [call for one in deltas for call in one.delta.tool_calls or []]
    assert {call.index for call in calls} == {None}
    assert "" not in {call.id for call in calls}
    assert len({call.id for call in calls}) == 3
    assert deltas[-1].finish_reason == "stop"
