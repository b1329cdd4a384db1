"""The official SDKs, reading canned bytes from a real server on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import boto3
import ollama
import openai
from botocore.config import Config
from google import genai

from polycall.providers.dialects import DIALECTS
from tests.origins import Handler, serving

Calls = list[tuple[str, Any]]


@contextmanager
def canned(status: int, content_type: str, data: bytes, *, method: str = "POST") -> Iterator[str]:
    """A server that answers everything with these bytes; gives its address."""

    class Canned(Handler):
        def do(self) -> None:
            self.read()
            self.answer(data, status, content_type)

    setattr(Canned, f"do_{method}", Canned.do)
    with serving(Canned) as url:
        yield url


def read_body(dialect: str, body: dict[str, Any]) -> Calls:
    """The calls that the dialect's own SDK finds in a whole answer."""
    with canned(200, "application/json", json.dumps(body).encode()) as url:
        return _READERS[dialect](url, False)


def read_stream(dialect: str, data: bytes) -> Calls:
    """The calls that the dialect's own SDK finds in a streamed answer."""
    kind: str = DIALECTS[dialect].STREAM_TYPE  # pyright: ignore[reportArgumentType]
    with canned(200, kind, data) as url:
        return _READERS[dialect](url, True)


def bedrock_runtime(url: str, key: str, secret: str = "any", *, region: str = "eu-west-1") -> Any:
    """boto3's client, which asks once."""
    return boto3.client(
        "bedrock-runtime",
        region_name=region,
        endpoint_url=url,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}),
    )


def _openai(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)


def _read_chat(url: str, streamed: bool) -> Calls:
    with _openai(url) as client:
        messages: Any = [{"role": "user", "content": "x"}]
        if streamed:
            with client.chat.completions.stream(model="m", messages=messages) as stream:
                answer = stream.get_final_completion()
        else:
            answer = client.chat.completions.create(model="m", messages=messages)
        calls = answer.choices[0].message.tool_calls or []
        return [(c.function.name, json.loads(c.function.arguments)) for c in calls]


def _read_responses(url: str, streamed: bool) -> Calls:
    with _openai(url) as client:
        if streamed:
            with client.responses.stream(model="m", input="x") as stream:
                answer: Any = stream.get_final_response()
        else:
            answer = client.responses.create(model="m", input="x")
        return [
            (item.name, json.loads(item.arguments))
            for item in answer.output
            if item.type == "function_call"
        ]


def _read_anthropic(url: str, streamed: bool) -> Calls:
    with anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as client:
        messages: Any = [{"role": "user", "content": "x"}]
        if streamed:
            with client.messages.stream(model="m", max_tokens=9, messages=messages) as stream:
                answer = stream.get_final_message()
        else:
            answer = client.messages.create(model="m", max_tokens=9, messages=messages)
        return [(b.name, b.input) for b in answer.content if b.type == "tool_use"]


def _read_gemini(url: str, streamed: bool) -> Calls:
    client = genai.Client(api_key="k", http_options={"base_url": url})
    try:
        if streamed:
            answers = list(client.models.generate_content_stream(model="m", contents="x"))
        else:
            answers = [client.models.generate_content(model="m", contents="x")]
        return [
            (part.function_call.name, part.function_call.args)
            for answer in answers
            for candidate in answer.candidates or []
            for part in (candidate.content and candidate.content.parts) or []
            if part.function_call is not None
        ]
    finally:
        client.close()


def _read_converse(url: str, streamed: bool) -> Calls:
    client = bedrock_runtime(url, "k")
    asked: Any = {"modelId": "m", "messages": [{"role": "user", "content": [{"text": "x"}]}]}
    try:
        if not streamed:
            content = client.converse(**asked)["output"]["message"]["content"]
            uses = [block["toolUse"] for block in content if "toolUse" in block]
            return [(use["name"], use["input"]) for use in uses]
        found: list[list[str]] = []
        for event in client.converse_stream(**asked)["stream"]:
            start = event.get("contentBlockStart", {}).get("start", {})
            if "toolUse" in start:
                found.append([start["toolUse"]["name"], ""])
            delta = event.get("contentBlockDelta", {}).get("delta", {})
            if "toolUse" in delta:
                found[-1][1] += delta["toolUse"]["input"]
        return [(name, json.loads(text or "{}")) for name, text in found]
    finally:
        client.close()


def _read_interactions(url: str, streamed: bool) -> Calls:
    client = genai.Client(api_key="k", http_options={"base_url": url})
    asked: Any = {"model": "m", "input": "x"}
    try:
        if not streamed:
            steps = client.interactions.create(**asked).steps or []
            return [(s.name, s.arguments) for s in steps if s.type == "function_call"]
        found: list[list[str]] = []
        for event in client.interactions.create(**asked, stream=True):
            if event.event_type == "step.start" and event.step.type == "function_call":
                found.append([event.step.name, ""])
            if event.event_type == "step.delta" and event.delta.type == "arguments_delta":
                found[-1][1] += event.delta.arguments or ""
        return [(name, json.loads(text or "{}")) for name, text in found]
    finally:
        client.close()


def _read_ollama(url: str, streamed: bool) -> Calls:
    client = ollama.Client(host=url)
    asked: Any = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    parts = list(client.chat(**asked, stream=True)) if streamed else [client.chat(**asked)]
    client._client.close()  # pyright: ignore[reportPrivateUsage]
    calls = [call for part in parts for call in part.message.tool_calls or []]
    return [(call.function.name, dict(call.function.arguments)) for call in calls]


_READERS: dict[str, Callable[[str, bool], Calls]] = {
    "openai-chat": _read_chat,
    "openai-responses": _read_responses,
    "anthropic": _read_anthropic,
    "gemini": _read_gemini,
    "bedrock-converse": _read_converse,
    "gemini-interactions": _read_interactions,
    "ollama-chat": _read_ollama,
}
