"""Scripts of users of programmatic calling, with the official SDKs, and what their model does."""

from __future__ import annotations

import itertools
import json
from typing import Any

import anthropic
import openai
from google import genai
from google.genai import types

from polycall.sim import Call, Simulation, Turn
from tests.gateway.harness import KEY, UPSTREAMS

REGIONS = ("북부", "south", "west")
CODE = """
import asyncio
regions = ["북부", "south", "west"]
tables = await asyncio.gather(*(query_sales(region=region) for region in regions))
sums = {region: sum(row["amount"] for row in rows) for region, rows in zip(regions, tables)}
best = max(sums, key=lambda region: sums[region])
detail = await describe(region=best)
print("total", sum(sums.values()), "best", best, detail)
"""
OUTPUT = "total 45000 best west 서쪽"
ROWS = {name: [{"amount": 10 * (n + 1)} for _ in range(750)] for n, name in enumerate(REGIONS)}
DESCRIPTIONS = {"북부": "북쪽", "south": "남쪽", "west": "서쪽"}
TOOLS: list[dict[str, Any]] = [
    {
        "name": "query_sales",
        "description": "All sales of a region",
        "parameters": {
            "type": "object",
            "properties": {"region": {"type": "string"}},
            "required": ["region"],
        },
    },
    {
        "name": "describe",
        "description": "A region in words",
        "parameters": {
            "type": "object",
            "properties": {"region": {"type": "string"}},
            "required": ["region"],
        },
    },
]
_numbers = itertools.count()


def answer(name: str, arguments: dict[str, Any]) -> str:
    region = arguments["region"]
    return json.dumps(ROWS[region]) if name == "query_sales" else DESCRIPTIONS[region]


def scripted(sim: Simulation, upstream: str, *turns: Turn) -> str:
    """A model that writes a program and then says what it printed."""
    model = f"programmer-{next(_numbers)}"
    # OpenAI's Chat has no reasoning beside tools.
    reasoning = None if upstream == "up-chat" else "a program is better"
    program = Turn(reasoning=reasoning, text="잠시만요.", calls=[Call("run_code", {"code": CODE})])
    given = turns or (program, Turn(text="done"))
    sim.script(UPSTREAMS[upstream][0], model, list(given))
    return f"{upstream}/{model}"


def seen_by_model(sim: Simulation, name: str) -> str:
    """Everything that was sent to the model, as one text."""
    upstream, _, model = name.partition("/")
    vendor = UPSTREAMS[upstream][0]
    asked = [each for each in sim.requests if each.vendor == vendor]
    bodies = [each.body for each in asked if f"{model}:" in each.path or model in each.raw.decode()]
    assert bodies
    return json.dumps(bodies, ensure_ascii=False)


class Script:
    """A user's script; `close` ends its connections."""

    client: Any

    def close(self) -> None:
        self.client.close()


class Chat(Script):
    """A stock OpenAI Chat script with the header."""

    def __init__(self, url: str, model: str, *, streamed: bool, key: str = KEY) -> None:
        self.client = openai.OpenAI(
            base_url=f"{url}/v1",
            api_key=key,
            max_retries=0,
            default_headers={"polycall-calling": "code"},
        )
        self.model = model
        self.streamed = streamed
        self.messages: list[Any] = []
        self.rounds: list[list[str]] = []

    def run(self, prompt: str, *, once: bool = False) -> str:
        self.messages.append({"role": "user", "content": prompt})
        return self.go_on(once=once)

    def go_on(self, *, once: bool = False) -> str:
        while True:
            options: Any = {"model": self.model, "messages": self.messages}
            options["tools"] = [{"type": "function", "function": tool} for tool in TOOLS]
            if self.streamed:
                with self.client.chat.completions.stream(**options) as stream:
                    message = stream.get_final_completion().choices[0].message
            else:
                message = self.client.chat.completions.create(**options).choices[0].message
            self.messages.append(message.model_dump(exclude_none=True))
            calls = message.tool_calls or []
            if not calls:
                return message.content or ""
            self.rounds.append([call.function.name for call in calls])
            for call in calls:
                text = answer(call.function.name, json.loads(call.function.arguments))
                self.messages.append({"role": "tool", "tool_call_id": call.id, "content": text})
            if once:
                return ""


class Gemini(Script):
    """A stock google-genai script with the header."""

    def __init__(self, url: str, model: str, *, streamed: bool) -> None:
        options = types.HttpOptions(base_url=url, headers={"polycall-calling": "code"})
        self.client = genai.Client(api_key=KEY, http_options=options)
        self.model = model
        self.streamed = streamed
        self.contents: list[Any] = []
        self.rounds: list[list[str]] = []

    def run(self, prompt: str) -> str:
        self.contents.append(types.Content(role="user", parts=[types.Part(text=prompt)]))
        declarations: Any = [
            {
                "name": t["name"],
                "description": t["description"],
                "parameters_json_schema": t["parameters"],
            }
            for t in TOOLS
        ]
        config = types.GenerateContentConfig(
            tools=[types.Tool(function_declarations=declarations)],
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        )
        while True:
            options: Any = {"model": self.model, "contents": self.contents, "config": config}
            parts: list[types.Part] = []
            if self.streamed:
                for chunk in self.client.models.generate_content_stream(**options):
                    parts += (chunk.candidates or [])[0].content.parts or []  # type: ignore[union-attr]
            else:
                response = self.client.models.generate_content(**options)
                parts = response.candidates[0].content.parts or []  # type: ignore[index,union-attr]
            self.contents.append(types.Content(role="model", parts=parts))
            calls = [part.function_call for part in parts if part.function_call]
            if not calls:
                return "".join(part.text or "" for part in parts if not part.thought)
            self.rounds.append([str(call.name) for call in calls])
            results = [
                types.Part.from_function_response(
                    name=str(call.name),
                    response={"output": answer(str(call.name), dict(call.args or {}))},
                )
                for call in calls
            ]
            self.contents.append(types.Content(role="user", parts=results))


class Claude(Script):
    """A script as Anthropic's documentation of programmatic calling writes it."""

    KIND = "code_execution_20260120"
    CALLER = KIND

    def __init__(self, url: str, model: str, *, streamed: bool, key: str = KEY) -> None:
        self.client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0)
        self.model = model
        self.streamed = streamed
        self.messages: list[Any] = []
        self.container: str | None = None
        self.rounds: list[list[str]] = []
        self.answers: list[Any] = []

    def run(self, prompt: str, *, once: bool = False) -> str:
        self.messages.append({"role": "user", "content": prompt})
        return self.go_on(once=once)

    def ask(self) -> Any:
        tools: list[Any] = [{"type": self.KIND, "name": "code_execution"}]
        tools += [
            {
                "name": tool["name"],
                "description": tool["description"],
                "input_schema": tool["parameters"],
                "allowed_callers": [self.KIND],
            }
            for tool in TOOLS
        ]
        options: Any = {"model": self.model, "max_tokens": 2000, "tools": tools}
        options["messages"] = self.messages
        if self.container:
            options["container"] = self.container
        if self.streamed:
            with self.client.messages.stream(**options) as stream:
                return stream.get_final_message()
        return self.client.messages.create(**options)

    def go_on(self, *, once: bool = False) -> str:
        while True:
            message = self.ask()
            self.answers.append(message)
            self.messages.append({"role": "assistant", "content": message.content})
            self.container = message.container.id
            calls = [block for block in message.content if block.type == "tool_use"]
            if message.stop_reason != "tool_use":
                return "".join(block.text for block in message.content if block.type == "text")
            self.rounds.append([call.name for call in calls])
            programs = [b.id for b in message.content if b.type == "server_tool_use"]
            # One that began in an earlier answer is not shown again.
            programs = programs or [calls[0].caller.tool_id]
            assert [(c.caller.type, c.caller.tool_id) for c in calls] == [
                (self.CALLER, programs[-1])
            ] * len(calls)
            results = [
                {
                    "type": "tool_result",
                    "tool_use_id": call.id,
                    "content": answer(call.name, call.input),
                }
                for call in calls
            ]
            self.messages.append({"role": "user", "content": results})
            if once:
                return ""


class Responses(Script):
    """A script as OpenAI's documentation of programmatic calling writes it."""

    def __init__(self, url: str, model: str, *, streamed: bool, key: str = KEY) -> None:
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
        self.model = model
        self.streamed = streamed
        self.input: list[Any] = []
        self.rounds: list[list[str]] = []
        self.outputs: list[Any] = []

    def run(self, prompt: str, *, once: bool = False) -> str:
        self.input.append({"role": "user", "content": prompt})
        return self.go_on(once=once)

    def ask(self) -> Any:
        tools: list[Any] = [{"type": "programmatic_tool_calling"}]
        tools += [
            {"type": "function", "strict": False, "allowed_callers": ["programmatic"], **tool}
            for tool in TOOLS
        ]
        options: Any = {"model": self.model, "input": self.input, "tools": tools, "store": False}
        if self.streamed:
            with self.client.responses.stream(**options) as stream:
                return stream.get_final_response()
        return self.client.responses.create(**options)

    def go_on(self, *, once: bool = False) -> str:
        while True:
            response = self.ask()
            self.outputs.append(response.output)
            self.input += [item.model_dump(exclude_none=True) for item in response.output]
            calls = [item for item in response.output if item.type == "function_call"]
            if not calls:
                return response.output_text
            self.rounds.append([call.name for call in calls])
            for call in calls:
                assert call.caller.type == "program"
                text = answer(call.name, json.loads(call.arguments))
                result = {"type": "function_call_output", "call_id": call.call_id, "output": text}
                self.input.append(result)
            if once:
                return ""
