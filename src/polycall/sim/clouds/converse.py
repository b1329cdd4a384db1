"""Bedrock's Converse, as a vendor of the simulation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from polycall._support import jsontext
from polycall.sim.chunking import fragments
from polycall.sim.clouds import frames
from polycall.sim.clouds.aws import refuse
from polycall.sim.clouds.shapes import problem
from polycall.sim.dated import Refusal
from polycall.sim.script import (
    Answer,
    Called,
    Entry,
    Failure,
    ModelSpec,
    Prompt,
    Refused,
    Returned,
    Said,
    ToolSpec,
)
from polycall.sim.shape import JSON, parse_object
from polycall.sim.vendors.base import Headers, Models, Route, Vendor

_PATH = re.compile(r"/model/(.+)/(converse|converse-stream|count-tokens)")
_INVALID = "ValidationException"
_STOP = {
    "stop": "end_turn",
    "tool_calls": "tool_use",
    "length": "max_tokens",
    "content_filter": "content_filtered",
    "refusal": "content_filtered",
    "pause": "end_turn",
}
_FAILURES = {
    429: ("ThrottlingException", "Too many requests, please wait before trying again."),
    503: ("ServiceUnavailableException", "Bedrock is unable to process your request."),
    400: (_INVALID, "Malformed input request, please reformat your input and try again."),
}


class Converse(Vendor):
    """`/bedrock/model/...`."""

    name = "bedrock"
    base_path = "/bedrock"
    wire = "bedrock-converse"
    stream_type = "application/vnd.amazon.eventstream"

    def route(self, method: str, path: str, query: Mapping[str, str]) -> Route:
        """The model and the operation are in the path."""
        del query
        match = _PATH.fullmatch(path)
        if match is None or method != "POST":
            raise refuse("UnknownOperationException", "unknown operation", 404)
        if match[2] == "count-tokens":
            return Route("count", match[1])
        return Route("generate", match[1], stream=match[2] == "converse-stream")

    def check_request(
        self, route: Route, body: Any, models: Models, headers: Headers | None = None
    ) -> Prompt:
        """Shape, turns, tools."""
        model = models(route.model)
        if route.operation == "count":
            if said := problem(body, "Count"):
                raise _invalid(said)
            body = body["input"]["converse"]
        elif said := problem(body):
            raise _invalid(said)
        fields: JSON = body
        config: JSON = fields.get("toolConfig", {})
        tools = [_tool(each["toolSpec"]) for each in config.get("tools", []) if "toolSpec" in each]
        prompt = Prompt(
            model=model.name,
            entries=_entries(fields, has_config="toolConfig" in fields),
            tools=tools,
            body=fields,
            stream=route.stream,
        )
        _choose(prompt, config.get("toolChoice", {}))
        inference: JSON = fields.get("inferenceConfig", {})
        prompt.tokens_max = inference.get("maxTokens")
        prompt.stop = inference.get("stopSequences", [])
        output: JSON = fields.get("outputConfig", {})
        if "textFormat" in output:
            text = output["textFormat"]["structure"]["jsonSchema"]["schema"]
            prompt.schema = parse_object(text)
            if prompt.schema is None:
                raise _invalid("outputConfig.textFormat: schema is not valid JSON")
        thinking: Any = fields.get("additionalModelRequestFields", {}).get("thinking", {})
        is_on = thinking.get("type") in ("enabled", "adaptive") or "effort" in output
        prompt.reasons = model.reasons == "always" or (is_on and model.reasons != "never")
        return prompt

    def render_body(self, prompt: Prompt, answer: Answer) -> JSON:
        """A whole answer."""
        return {
            "metrics": {"latencyMs": 12},
            "output": {"message": {"role": "assistant", "content": _blocks(answer)}},
            "stopReason": _reason(answer),
            "usage": _usage(answer),
        }

    def render_stream(self, prompt: Prompt, answer: Answer) -> Iterator[bytes]:
        """Events in AWS's frames, padded as AWS pads them."""
        yield _event("messageStart", {"role": "assistant"})
        for index, block in enumerate(_blocks(answer)):
            yield from _block_events(index, block, answer)
        yield _event("messageStop", {"stopReason": _reason(answer)})
        yield _event("metadata", {"usage": _usage(answer), "metrics": {"latencyMs": 12}})

    def render_count(self, prompt: Prompt, tokens: int) -> JSON:
        """`count-tokens`."""
        return {"inputTokens": tokens}

    def render_models(self, models: list[ModelSpec], *, one: bool) -> JSON:
        """The runtime lists none."""
        raise refuse("UnknownOperationException", "unknown operation", 404)

    def render_failure(self, failure: Failure) -> Refused:
        """An exception."""
        fallback = ("InternalServerException", "The system encountered an unexpected error.")
        kind, words = _FAILURES.get(failure.status, fallback)
        return refuse(kind, failure.message or words, failure.status)

    def render_stream_failure(self, failure: Failure) -> bytes:
        """An exception inside of a stream."""
        said = jsontext.encode_bytes(self.render_failure(failure).body)
        kind = "throttlingException" if failure.status == 429 else "internalServerException"
        return frames.exception(kind, said)

    def invalid(self, message: str) -> Refused:
        """400."""
        return _invalid(message)

    def unknown_model(self, name: str) -> Refused:
        """400: the name is not a model's."""
        del name
        return _invalid("The provided model identifier is invalid.")

    def retired_model(self, name: str) -> Refused:
        """404."""
        words = "This model version has reached the end of its life."
        return refuse("ResourceNotFoundException", words, 404)

    def refuse_by(self, refusal: Refusal) -> Refused:
        """400, by the rule's words."""
        return _invalid(refusal.message)

    def answer_headers(self, nonce: str) -> dict[str, str]:
        """`x-amzn-requestid`."""
        return {"x-amzn-requestid": f"{nonce}-simulated"}


def _invalid(message: str) -> Refused:
    return refuse(_INVALID, message, 400)


def _tool(spec: JSON) -> ToolSpec:
    schema = spec["inputSchema"]["json"]
    if not isinstance(schema, dict) or schema.get("type") != "object":  # pyright: ignore[reportUnknownMemberType]
        name = spec["name"]
        raise _invalid(f"The json schema definition of tool {name} must have type 'object'.")
    return ToolSpec(spec["name"], spec.get("description", ""), schema)  # pyright: ignore[reportUnknownArgumentType]


def _choose(prompt: Prompt, choice: JSON) -> None:
    if "any" in choice:
        prompt.choice = "required"
    if "tool" in choice:
        name = choice["tool"]["name"]
        if name not in {tool.name for tool in prompt.tools}:
            raise _invalid(f"toolChoice names {name}, which is not among the tools")
        prompt.choice, prompt.allowed = "required", frozenset({name})


def _entries(body: JSON, *, has_config: bool) -> list[Entry]:
    entries: list[Entry] = [
        Said("system", block["text"]) for block in body.get("system", []) if "text" in block
    ]
    history = _History(entries)
    messages: list[JSON] = body.get("messages", [])
    if not messages:
        raise _invalid("A conversation must have at least one message.")
    for index, message in enumerate(messages):
        history.take(message, index)
    if history.open:
        raise _invalid("Expected toolResult blocks for: " + ", ".join(history.open))
    if history.has_tools and not has_config:
        raise _invalid(
            "The toolConfig field must be defined when using toolUse and toolResult content blocks."
        )
    return entries


class _History:
    """Checks the turns: who speaks, and that each call has its result in the next message."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        self.open: dict[str, str] = {}
        self.has_tools = False
        self._role = "assistant"
        self._names: set[str] = set()

    def take(self, message: JSON, index: int) -> None:
        role, content = message["role"], message["content"]
        if role == "system":
            return
        if index == 0 and role != "user":
            raise _invalid("A conversation must start with a user message.")
        if role == self._role:
            raise _invalid("A conversation must alternate between user and assistant roles.")
        self._role = role
        if not content:
            raise _invalid(f"The content field in the Message object at messages.{index} is empty.")
        waiting, self.open = self.open, {}
        for place, block in enumerate(content):
            self._block(role, block, f"messages.{index}.content.{place}", waiting)
        if waiting:
            ids = ", ".join(waiting)
            raise _invalid(f"Expected toolResult blocks at messages.{index}.content for: {ids}")

    def _block(self, role: str, block: JSON, path: str, waiting: dict[str, str]) -> None:
        kind, value = next(iter(block.items()))
        match kind:
            case "text":
                if not value.strip():
                    raise _invalid(f"The text field in the ContentBlock object at {path} is blank.")
                self.entries.append(Said("user" if role == "user" else "assistant", value))
            case "toolUse":
                self._called(role, value, path)
            case "toolResult":
                self.has_tools = True
                name = waiting.pop(value["toolUseId"], None)
                if name is None or role != "user":
                    raise _invalid(f"The toolResult at {path} answers no toolUse block before it.")
                text = "\n".join(map(_shown, value["content"]))
                is_error = value.get("status") == "error"
                self.entries.append(Returned(value["toolUseId"], name, text, is_error=is_error))
            case "document":
                if value["name"] in self._names:
                    raise _invalid("Duplicate document names are not allowed.")
                self._names.add(value["name"])
            case "reasoningContent" if role != "assistant":
                raise _invalid(f"reasoningContent at {path} is the assistant's")
            case _:
                pass

    def _called(self, role: str, value: JSON, path: str) -> None:
        if role != "assistant" or not isinstance(value["input"], dict):
            raise _invalid(f"The toolUse block at {path} is not valid.")
        self.has_tools = True
        self.open[value["toolUseId"]] = value["name"]
        arguments: JSON = value["input"]  # pyright: ignore[reportUnknownVariableType]
        self.entries.append(Called(value["toolUseId"], value["name"], arguments))


def _shown(block: JSON) -> str:
    kind, value = next(iter(block.items()))
    if kind == "text":
        return str(value)
    return jsontext.encode(value) if kind == "json" else f"({kind})"


def _reason(answer: Answer) -> str:
    if answer.stop_sequence:
        return "stop_sequence"
    return _STOP[answer.turn.finish_reason or "stop"]


def _blocks(answer: Answer) -> list[JSON]:
    turn = answer.turn
    blocks: list[JSON] = []
    if turn.reasoning is not None:
        thought = {"text": turn.reasoning, "signature": f"sig-{answer.nonce}"}
        blocks.append({"reasoningContent": {"reasoningText": thought}})
    if turn.text or turn.refusal or not turn.calls:
        blocks.append({"text": turn.text or turn.refusal})
    for index, call in enumerate(turn.calls):
        call_id = call.id or f"tooluse_{answer.nonce}{index:02d}"
        arguments = parse_object(call.arguments_json) or {}
        blocks.append({"toolUse": {"toolUseId": call_id, "name": call.name, "input": arguments}})
    return blocks


def _usage(answer: Answer) -> JSON:
    tally = answer.tally
    output = tally.text + tally.reasoning
    return {
        "inputTokens": tally.prompt - tally.cached - tally.cache_written,
        "outputTokens": output,
        "totalTokens": tally.prompt + output,
        "cacheReadInputTokens": tally.cached,
        "cacheWriteInputTokens": tally.cache_written,
    }


def _event(kind: str, fields: JSON) -> bytes:
    return frames.event(kind, jsontext.encode_bytes({**fields, "p": "abcdefghijk"}))


def _block_events(index: int, block: JSON, answer: Answer) -> Iterator[bytes]:
    def delta(fields: JSON) -> bytes:
        return _event("contentBlockDelta", {"delta": fields, "contentBlockIndex": index})

    kind, value = next(iter(block.items()))
    if kind == "text":
        for piece in fragments(value, answer.seed) or [""]:
            yield delta({"text": piece})
    elif kind == "reasoningContent":
        inner = value["reasoningText"]
        for piece in fragments(inner["text"], answer.seed):
            yield delta({"reasoningContent": {"text": piece}})
        yield delta({"reasoningContent": {"signature": inner["signature"]}})
    else:
        start = {"toolUse": {"toolUseId": value["toolUseId"], "name": value["name"]}}
        yield _event("contentBlockStart", {"start": start, "contentBlockIndex": index})
        call = next(c for c in answer.turn.calls if c.name == value["name"])
        text = call.arguments_json if call.arguments or call.raw_arguments is not None else ""
        text = jsontext.encode(value["input"]) if value["input"] else text
        for piece in fragments(text, answer.seed + index) or [""]:
            yield delta({"toolUse": {"input": piece}})
    yield _event("contentBlockStop", {"contentBlockIndex": index})
