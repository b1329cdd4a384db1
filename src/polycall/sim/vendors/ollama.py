"""Ollama's own chat: `/ollama/api/chat`, a line of JSON for each piece.

From Ollama's OpenAPI document and pages (docs.ollama.com/api/chat, thinking, structured outputs,
read 2026-11-29) and the types of its SDK (ollama 0.6.3).  The server is written in Go: it passes
over fields that it does not know, and refuses values of another type.
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Iterator, Mapping
from typing import Any

from polycall._support import jsontext
from polycall.sim.chunking import fragments
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
from polycall.sim.shape import (
    JSON,
    ShapeError,
    list_in,
    object_in,
    parse_object,
    path_text,
    texts_in,
)
from polycall.sim.shape_files import ShapeFile
from polycall.sim.vendors.base import Headers, Models, Route, Vendor

_BODY = ShapeFile("ollama_chat")["request"]
_LEVELS = ("low", "medium", "high", "max")
_CREATED = "2026-01-01T00:00:00Z"


def refuse(message: str, status: int = 400) -> Refused:
    """An error as Ollama writes it: its words alone."""
    return Refused(status, {"error": message})


class Ollama(Vendor):
    """`/ollama/api/...`."""

    name = "ollama-native"
    base_path = "/ollama"
    wire = "ollama-chat"
    stream_type = "application/x-ndjson"

    def route(self, method: str, path: str, query: Mapping[str, str]) -> Route:
        """Chat, and the models that lie here."""
        del query
        if (method, path) == ("POST", "/api/chat"):
            return Route("generate")
        if (method, path) == ("GET", "/api/tags"):
            return Route("models")
        raise refuse("404 page not found", 404)

    def check_request(
        self, route: Route, body: Any, models: Models, headers: Headers | None = None
    ) -> Prompt:
        """Types, model, images, thinking, format."""
        try:
            fields: JSON = _BODY.read(body, (), False)
        except ShapeError as error:
            place = path_text(error.path, brackets=False)
            raise refuse(
                f"json: cannot unmarshal {error.got} into Go struct field ChatRequest.{place} of "
                f"type {error.wanted}"
            ) from None
        name = fields.get("model") or ""
        if not name:
            raise refuse("model is required")
        model = models(name)
        tools = [
            ToolSpec(each["name"], each.get("description", ""), each.get("parameters") or {})
            for wire in list_in(fields, "tools")
            if (each := object_in(wire, "function"))
        ]
        prompt = Prompt(name, _entries(list_in(fields, "messages")), tools, fields)
        prompt.stream = fields.get("stream") is not False
        prompt.caches = False
        options = object_in(fields, "options")
        limit = options.get("num_predict", -1)
        prompt.tokens_max = limit if limit > 0 else None
        prompt.stop = texts_in(options, "stop")
        _think(fields, model, prompt)
        _format(fields, prompt)
        return prompt

    def render_body(self, prompt: Prompt, answer: Answer) -> JSON:
        """One object."""
        message: JSON = {"role": "assistant", "content": answer.turn.text or answer.turn.refusal}
        if answer.turn.reasoning:
            message["thinking"] = answer.turn.reasoning
        if answer.turn.calls:
            message["tool_calls"] = _calls(answer)
        return {**_frame(prompt, answer), "message": message, **_end(answer)}

    def render_stream(self, prompt: Prompt, answer: Answer) -> Iterator[bytes]:
        """Pieces of thinking and text, each call whole, and a last line with the counts."""

        def line(message: JSON, more: JSON) -> bytes:
            whole = {"role": "assistant", "content": "", **message}
            return (
                jsontext.encode_bytes({**_frame(prompt, answer), "message": whole, **more}) + b"\n"
            )

        for piece in fragments(answer.turn.reasoning or "", answer.seed):
            yield line({"thinking": piece}, {"done": False})
        for piece in fragments(answer.turn.text or answer.turn.refusal, answer.seed):
            yield line({"content": piece}, {"done": False})
        for call in _calls(answer):
            yield line({"tool_calls": [call]}, {"done": False})
        yield line({}, _end(answer))

    def render_models(self, models: list[ModelSpec], *, one: bool) -> JSON:
        """`/api/tags`."""
        del one
        details = {"format": "gguf", "family": "simulated", "parameter_size": "1B"}
        return {
            "models": [
                {
                    "name": model.name,
                    "model": model.name,
                    "modified_at": _CREATED,
                    "size": 1,
                    "digest": "0" * 64,
                    "details": {**details, "quantization_level": "Q4_0"},
                }
                for model in models
            ]
        }

    def render_failure(self, failure: Failure) -> Refused:
        """An error."""
        words = {429: "too many requests", 503: "server busy, please try again.  maximum pending"}
        usual = words.get(failure.status, "llama runner process has terminated: exit status 2")
        return refuse(failure.message or usual, failure.status)

    def render_stream_failure(self, failure: Failure) -> bytes:
        """A line with an error."""
        return jsontext.encode_bytes(self.render_failure(failure).body) + b"\n"

    def invalid(self, message: str) -> Refused:
        """400."""
        return refuse(message)

    def unknown_model(self, name: str) -> Refused:
        """404."""
        return refuse(f"model '{name}' not found", 404)

    def refuse_by(self, refusal: Refusal) -> Refused:
        """400, by the rule's words."""
        return refuse(refusal.message)


def _entries(messages: list[JSON]) -> list[Entry]:
    entries: list[Entry] = []
    waiting: list[tuple[str, str]] = []  # calls without a result: id and name
    for message in messages:
        text = message.get("content") or ""
        for image in list_in(message, "images"):
            _check_image(image)
        if message["role"] == "tool":
            call_id, name = _answered(message, waiting)
            entries.append(Returned(call_id, name, text))
            continue
        if text:
            entries.append(Said(message["role"], text))
        calls: list[JSON] = message.get("tool_calls") or []
        for call in calls:
            function: JSON = call["function"]
            call_id = call.get("id") or f"call_{len(entries)}"
            waiting.append((call_id, function["name"]))
            entries.append(Called(call_id, function["name"], function.get("arguments") or {}))
    return entries


def _answered(message: JSON, waiting: list[tuple[str, str]]) -> tuple[str, str]:
    """The call that a result is for: by id, by name, else the first."""
    for field, place in (("tool_call_id", 0), ("tool_name", 1)):
        given = message.get(field)
        for number, call in enumerate(waiting):
            if given and call[place] == given:
                return waiting.pop(number)
    if message.get("tool_call_id") or message.get("tool_name") or not waiting:
        return message.get("tool_call_id") or "", message.get("tool_name") or ""
    return waiting.pop(0)


def _check_image(data: str) -> None:
    """Go reads a list of bytes: base64, and no address."""
    try:
        base64.b64decode(data, validate=True)
    except ValueError:
        raise refuse("illegal base64 data at input byte 0") from None


def _think(fields: JSON, model: ModelSpec, prompt: Prompt) -> None:
    think = fields.get("think")
    if isinstance(think, str) and think not in _LEVELS:
        words = 'must be "high", "medium", "low", "max", true, or false'
        raise refuse(f'invalid think value: "{think}" ({words})')
    if think and model.reasons == "never":
        raise refuse(f'"{model.name}" does not support thinking')
    is_on = think if think is not None else model.reasons == "always"
    prompt.reasons = bool(is_on) and model.reasons != "never"


def _format(fields: JSON, prompt: Prompt) -> None:
    wanted = fields.get("format")
    if isinstance(wanted, dict):
        prompt.schema = wanted
    elif wanted == "json":
        prompt.schema = {}
    elif wanted:
        raise refuse(f'invalid format: "{wanted}"; expected "json" or a valid JSON Schema object')


def _frame(prompt: Prompt, answer: Answer) -> JSON:
    made = datetime.datetime.fromtimestamp(answer.created, datetime.UTC)
    return {"model": prompt.model, "created_at": made.isoformat().replace("+00:00", "Z")}


def _calls(answer: Answer) -> list[JSON]:
    calls: list[JSON] = []
    for index, call in enumerate(answer.turn.calls):
        arguments = parse_object(call.arguments_json) or {}
        function = {"index": index, "name": call.name, "arguments": arguments}
        call_id = call.id or f"call_{answer.nonce[:6]}{index:02d}"
        calls.append({"id": call_id, "function": function})
    return calls


def _end(answer: Answer) -> JSON:
    reason = "length" if answer.turn.finish_reason == "length" else "stop"
    return {
        "done": True,
        "done_reason": reason,
        "total_duration": 2_000_000,
        "load_duration": 1_000_000,
        "prompt_eval_count": answer.tally.prompt,
        "prompt_eval_duration": 400_000,
        "eval_count": answer.tally.text + answer.tally.reasoning,
        "eval_duration": 600_000,
    }
