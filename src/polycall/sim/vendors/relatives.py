"""Vendors and hosts that serve Chat Completions in ways of their own, by dated rules.

Their shape is OpenAI's, read with leave: fields that nobody here knows are passed over, since each
server has some of its own, and what a server refuses is a rule of its wire.  A vendor has a list of
models; a host serves any name, under the rules of the model that the name means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from msgspec.structs import replace

from polycall._support import jsontext
from polycall.sim.chunking import encode_sse, fragments
from polycall.sim.script import Answer, Prompt, Refused
from polycall.sim.shape import JSON, ShapeError, object_in, texts_in
from polycall.sim.vendors import openai_chat_checks as checks
from polycall.sim.vendors import openai_common as common
from polycall.sim.vendors.base import Headers, Models, Route
from polycall.sim.vendors.openai_chat import OpenAIChat, chunk_body, route
from polycall.sim.vendors.openai_chat_checks import CALL_ID_LENGTH_MAX, FIELDS

# What is OpenAI's bound or word, and what this simulation cannot do, is left to the rules.
_JUDGED_BY_RULES = frozenset(
    {
        *("reasoning_effort", "logprobs", "top_logprobs", "n", "stop", "temperature", "top_p"),
        *("service_tier", "max_tokens", "max_completion_tokens", "stream_options", "user"),
    }
)
_MESSAGE_FIELDS = frozenset({"role", "content", "name", "refusal", "tool_calls", "tool_call_id"})
_FUNCTION_FIELDS = ("name", "description", "parameters")


class Relative(OpenAIChat):
    """One such server.  `lists_models`: unknown names are refused; `reasoning`: where it shows."""

    def __init__(self, name: str, *, reasoning: str, lists_models: bool = False) -> None:
        self.name = name
        self.wire = name
        self.base_path = f"/{name}"
        self.lists_models = lists_models
        self._reasoning = reasoning

    def route(self, method: str, path: str, query: Mapping[str, str]) -> Route:
        """With and without the version."""
        return route(method, path.removeprefix("/v1"), {"/chat/completions"})

    def check_request(
        self, route: Route, body: Any, models: Models, headers: Headers | None = None
    ) -> Prompt:
        """The shape of what is known; the dated rules see the body as it came."""
        written = cast("JSON", body) if isinstance(body, dict) else {}
        try:
            fields = checks.read_body(_known(written))
        except ShapeError as error:
            raise common.refuse_shape(error, flat_unknown=True) from None
        model = models(fields["model"])
        prompt = checks.check_rules(fields, replace(model, is_real=True))
        prompt.reasons = model.reasons != "never" and not _is_off(written)
        if model.reasons == "asked":
            prompt.reasons = prompt.reasons and _is_asked(written)
        prompt.shows_reasoning = True
        prompt.stop = texts_in(written, "stop")
        most = written.get("max_completion_tokens") or written.get("max_tokens")
        prompt.tokens_max = most if isinstance(most, int) else None
        prompt.body = written
        checks.read_answers(written, prompt)
        return prompt

    def unknown_model(self, name: str) -> Refused:
        """404, in no vendor's own words."""
        return common.refuse(f"The model {name!r} does not exist.", status=404, code="not_found")

    def retired_model(self, name: str) -> Refused:
        """Refuse as for an unknown name."""
        return self.unknown_model(name)

    def render_body(self, prompt: Prompt, answer: Answer) -> JSON:
        """OpenAI's, with what the model thought."""
        body = super().render_body(prompt, answer)
        if answer.turn.reasoning is not None:
            body["choices"][0]["message"][self._reasoning] = answer.turn.reasoning
        return body

    def render_stream(self, prompt: Prompt, answer: Answer) -> Iterator[bytes]:
        """OpenAI's, with what the model thought after the opening."""
        chunks = super().render_stream(prompt, answer)
        yield next(chunks)
        for piece in fragments(answer.turn.reasoning or "", answer.seed):
            body = chunk_body(prompt, answer, {self._reasoning: piece}, None)
            yield encode_sse(jsontext.encode_bytes(body))
        yield from chunks


def _known(body: JSON) -> JSON:
    """The fields that OpenAI has too, in its spelling; the rest is each server's own."""
    known: JSON = {
        name: value
        for name, value in body.items()
        if name in FIELDS and name not in _JUDGED_BY_RULES and value not in (None, [], {})
    }
    if isinstance(known.get("messages"), list):
        known["messages"] = [_known_message(each) for each in cast("list[Any]", known["messages"])]
    if isinstance(known.get("tools"), list):
        tools = [_known_tool(each) for each in cast("list[Any]", known.pop("tools"))]
        known.update({"tools": kept} if (kept := [tool for tool in tools if tool]) else {})
    if "tools" not in known:
        known.pop("tool_choice", None)
        known.pop("parallel_tool_calls", None)
    if "functions" not in known:
        known.pop("function_call", None)
    if known.get("tool_choice") == "any":  # Mistral's word
        known["tool_choice"] = "required"
    wanted = object_in(known, "response_format")
    if "json_schema" in wanted:
        schema = {"name": "answer", **object_in(wanted, "json_schema"), "strict": False}
        known["response_format"] = {"type": "json_schema", "json_schema": schema}
    return known


def _known_tool(tool: Any) -> JSON | None:
    """A function, with or without its type; `None` for a tool that the server runs."""
    function = object_in(cast("JSON", tool), "function") if isinstance(tool, dict) else {}
    fields = {name: function[name] for name in _FUNCTION_FIELDS if function.get(name) is not None}
    return {"type": "function", "function": fields} if fields else None


def _known_message(message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    fields = cast("JSON", message)
    kept = {
        name: value
        for name, value in fields.items()
        if name in _MESSAGE_FIELDS and (name == "content" or value not in (None, []))
    }
    if isinstance(kept.get("content"), list):
        parts = [_known_part(each) for each in cast("list[Any]", kept["content"])]
        kept["content"] = parts or ""
    if isinstance(kept.get("tool_calls"), list):
        kept["tool_calls"] = [_known_call(each) for each in cast("list[JSON]", kept["tool_calls"])]
    if isinstance(kept.get("tool_call_id"), str):
        kept["tool_call_id"] = kept["tool_call_id"][-CALL_ID_LENGTH_MAX:]
    if kept.get("content") is None and "tool_calls" not in kept:
        kept["content"] = ""
    return kept


def _known_call(call: JSON) -> JSON:
    function = object_in(call, "function")
    named = {"name": function.get("name"), "arguments": function.get("arguments") or "{}"}
    call_id = call.get("id")
    short = call_id[-CALL_ID_LENGTH_MAX:] if isinstance(call_id, str) else call_id
    return {"id": short, "type": "function", "function": named}


def _known_part(part: Any) -> JSON:
    """A part of the content; what OpenAI has no word for (films, thinking) says nothing here."""
    fields = cast("JSON", part) if isinstance(part, dict) else {}
    kind = str(fields.get("type"))
    inner = fields.get(kind)
    if kind == "image_url" and isinstance(inner, str):  # Mistral's short form
        inner = {"url": inner}
    if kind == "image_url" and isinstance(inner, dict):
        return {"type": kind, kind: {"url": cast("JSON", inner).get("url")}}
    return {"type": "text", "text": inner if kind == "text" else ""}


def _is_off(body: JSON) -> bool:
    reasoning = object_in(body, "reasoning")
    return (
        body.get("reasoning_effort") == "none"
        or reasoning.get("effort") == "none"
        or reasoning.get("enabled") is False
        or object_in(body, "thinking").get("type") == "disabled"
        or body.get("enable_thinking") is False
    )


def _is_asked(body: JSON) -> bool:
    asked = ("reasoning_effort", "reasoning", "thinking", "enable_thinking")
    return any(body.get(name) for name in asked)


# Where each shows what a model thought.
_OWN = dict.fromkeys(("xai", "mistral", "moonshot", "zai", "minimax"), "reasoning_content")
_HOSTS = {
    "alibaba": "reasoning_content",
    "groq": "reasoning",
    "cerebras": "reasoning",
    "fireworks": "reasoning_content",
    "together": "reasoning",
    "openrouter": "reasoning",
}
RELATIVES = (*_OWN, *_HOSTS)


def relatives() -> list[Relative]:
    """All of them."""
    own = [Relative(name, reasoning=field, lists_models=True) for name, field in _OWN.items()]
    return [*own, *(Relative(name, reasoning=field) for name, field in _HOSTS.items())]
