"""The official Python SDKs as clients of the gateway, behind one small face.

A driver holds one conversation as its users would: it appends what the SDK gave back and sends
it again.  `standard=True` drops what is not in OpenAI's own Chat protocol, as many clients do.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple, Protocol

import anthropic
import openai
from google import genai
from google.genai import types

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Call(NamedTuple):
    id: str
    name: str
    arguments: Any


class Step(NamedTuple):
    text: str
    calls: list[Call]


class Result(NamedTuple):
    call: Call
    content: str
    is_error: bool = False


class Driver(Protocol):
    def ask(self, prompt: str, *, image: bool = False) -> Step: ...
    def give(self, results: list[Result]) -> Step: ...


TOOLS: list[dict[str, Any]] = [
    {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
    {
        "name": "now",
        "description": "The time now",
        "parameters": {"type": "object", "properties": {}},
    },
]


class Chat:
    def __init__(
        self, url: str, key: str, model: str, *, streamed: bool, standard: bool = True
    ) -> None:
        self._client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
        self._model = model
        self._streamed = streamed
        self._standard = standard
        self._messages: list[Any] = []
        self._tools: Any = [{"type": "function", "function": tool} for tool in TOOLS]

    def ask(self, prompt: str, *, image: bool = False) -> Step:
        content: Any = prompt
        if image:
            url = {"url": f"data:image/png;base64,{PIXEL}"}
            content = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": url}]
        self._messages.append({"role": "user", "content": content})
        return self._send()

    def give(self, results: list[Result]) -> Step:
        for result in results:
            content = f"error: {result.content}" if result.is_error else result.content
            message = {"role": "tool", "tool_call_id": result.call.id, "content": content}
            self._messages.append(message)
        return self._send()

    def _send(self) -> Step:
        options: Any = {"model": self._model, "messages": self._messages, "tools": self._tools}
        if self._streamed:
            with self._client.chat.completions.stream(**options) as stream:
                message = stream.get_final_completion().choices[0].message
        else:
            message = self._client.chat.completions.create(**options).choices[0].message
        fields = message.model_dump(exclude_none=True)
        if self._standard:
            known = ("role", "content", "tool_calls")
            fields = {key: value for key, value in fields.items() if key in known}
            fields["tool_calls"] = [
                {
                    "id": call["id"],
                    "type": "function",
                    "function": {
                        "name": call["function"]["name"],
                        "arguments": call["function"]["arguments"],
                    },
                }
                for call in fields.get("tool_calls") or []
            ]
            if not fields["tool_calls"]:
                del fields["tool_calls"]
            fields.setdefault("content", None)
        self._messages.append(fields)
        calls = [
            Call(call.id, call.function.name, json.loads(call.function.arguments))
            for call in message.tool_calls or []
        ]
        return Step(message.content or "", calls)

    def close(self) -> None:
        self._client.close()


class Responses:
    def __init__(self, url: str, key: str, model: str, *, streamed: bool) -> None:
        self._client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
        self._model = model
        self._streamed = streamed
        self._input: list[Any] = []
        self._tools: Any = [{"type": "function", "strict": False, **tool} for tool in TOOLS]

    def ask(self, prompt: str, *, image: bool = False) -> Step:
        content: Any = prompt
        if image:
            url = f"data:image/png;base64,{PIXEL}"
            content = [
                {"type": "input_text", "text": prompt},
                {"type": "input_image", "image_url": url, "detail": "auto"},
            ]
        self._input.append({"role": "user", "content": content})
        return self._send()

    def give(self, results: list[Result]) -> Step:
        for result in results:
            output = f"error: {result.content}" if result.is_error else result.content
            item = {"type": "function_call_output", "call_id": result.call.id, "output": output}
            self._input.append(item)
        return self._send()

    def _send(self) -> Step:
        options: Any = {
            "model": self._model,
            "input": self._input,
            "tools": self._tools,
            "store": False,
            "include": ["reasoning.encrypted_content"],
        }
        if self._streamed:
            with self._client.responses.stream(**options) as stream:
                answer: Any = stream.get_final_response()
        else:
            answer = self._client.responses.create(**options)
        items = [item.model_dump(exclude_none=True) for item in answer.output]
        for item in items:
            item.pop("parsed_arguments", None)
            for part in item.get("content") or []:
                part.pop("parsed", None)
        self._input.extend(items)
        calls = [
            Call(item.call_id, item.name, json.loads(item.arguments))
            for item in answer.output
            if item.type == "function_call"
        ]
        return Step(answer.output_text, calls)

    def close(self) -> None:
        self._client.close()


class Anthropic:
    def __init__(self, url: str, key: str, model: str, *, streamed: bool) -> None:
        self._client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0)
        self._model = model
        self._streamed = streamed
        self._messages: list[Any] = []
        self._tools: Any = [
            {
                "name": tool["name"],
                "description": tool["description"],
                "input_schema": tool["parameters"],
            }
            for tool in TOOLS
        ]

    def ask(self, prompt: str, *, image: bool = False) -> Step:
        content: Any = prompt
        if image:
            source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
            content = [{"type": "text", "text": prompt}, {"type": "image", "source": source}]
        self._messages.append({"role": "user", "content": content})
        return self._send()

    def give(self, results: list[Result]) -> Step:
        blocks = [
            {
                "type": "tool_result",
                "tool_use_id": result.call.id,
                "content": result.content,
                **({"is_error": True} if result.is_error else {}),
            }
            for result in results
        ]
        self._messages.append({"role": "user", "content": blocks})
        return self._send()

    def _send(self) -> Step:
        options: Any = {
            "model": self._model,
            "messages": self._messages,
            "tools": self._tools,
            "max_tokens": 2000,
        }
        if self._streamed:
            with self._client.messages.stream(**options) as stream:
                message: Any = stream.get_final_message()
        else:
            message = self._client.messages.create(**options)
        content = [block.model_dump(exclude_none=True) for block in message.content]
        for block in content:
            block.pop("parsed_output", None)
        self._messages.append({"role": "assistant", "content": content})
        calls = [
            Call(block.id, block.name, block.input)
            for block in message.content
            if block.type == "tool_use"
        ]
        texts = [block.text for block in message.content if block.type == "text"]
        return Step("".join(texts), calls)

    def close(self) -> None:
        self._client.close()


class Gemini:
    def __init__(self, url: str, key: str, model: str, *, streamed: bool) -> None:
        self._client = genai.Client(api_key=key, http_options={"base_url": url})
        self._model = model
        self._streamed = streamed
        self._contents: list[Any] = []
        declarations: Any = [
            {
                "name": tool["name"],
                "description": tool["description"],
                "parameters_json_schema": tool["parameters"],
            }
            for tool in TOOLS
        ]
        off = types.AutomaticFunctionCallingConfig(disable=True)
        self._config = types.GenerateContentConfig(
            tools=[types.Tool(function_declarations=declarations)],
            automatic_function_calling=off,
        )

    def ask(self, prompt: str, *, image: bool = False) -> Step:
        import base64

        parts = [types.Part(text=prompt)]
        if image:
            data = base64.b64decode(PIXEL)
            parts.append(types.Part.from_bytes(data=data, mime_type="image/png"))
        self._contents.append(types.Content(role="user", parts=parts))
        return self._send()

    def give(self, results: list[Result]) -> Step:
        parts = [
            types.Part(
                function_response=types.FunctionResponse(
                    id=result.call.id or None,
                    name=result.call.name,
                    response={"error" if result.is_error else "output": result.content},
                )
            )
            for result in results
        ]
        self._contents.append(types.Content(role="user", parts=parts))
        return self._send()

    def _send(self) -> Step:
        options: Any = {
            "model": self._model,
            "contents": self._contents,
            "config": self._config,
        }
        if self._streamed:
            answers = list(self._client.models.generate_content_stream(**options))
        else:
            answers = [self._client.models.generate_content(**options)]
        parts = [
            part
            for answer in answers
            for candidate in answer.candidates or []
            for part in (candidate.content and candidate.content.parts) or []
        ]
        self._contents.append(types.Content(role="model", parts=parts))
        calls = [
            Call(
                part.function_call.id or "",
                part.function_call.name or "",
                part.function_call.args or {},  # absent where there are none
            )
            for part in parts
            if part.function_call is not None
        ]
        texts = [part.text for part in parts if part.text and not part.thought]
        return Step("".join(texts), calls)

    def close(self) -> None:
        self._client.close()


DRIVERS: dict[str, Any] = {
    "openai-chat": Chat,
    "openai-responses": Responses,
    "anthropic": Anthropic,
    "gemini": Gemini,
}
