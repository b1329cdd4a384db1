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
from polycall.sim.vendors.openai_chat_shapes import FIELDS

_PART_TYPES = frozenset({"text", "image_url", "input_audio", "file", "refusal"})
_JUDGED_BY_RULES = ("reasoning_effort", "logprobs", "top_logprobs", "n", "stop", "temperature")
_MESSAGE_FIELDS = frozenset({"role", "content", "name", "refusal", "tool_calls", "tool_call_id"})


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
        known: JSON = {name: value for name, value in written.items() if name in FIELDS}
        if isinstance(known.get("messages"), list):
            known["messages"] = [_known(each) for each in cast("list[Any]", known["messages"])]
        # What only other servers take, and what this simulation cannot do, is left to the rules.
        for name in _JUDGED_BY_RULES:
            known.pop(name, None)
        try:
            fields = checks.read_body(known)
        except ShapeError as error:
            raise common.refuse_shape(error, flat_unknown=True) from None
        model = models(fields["model"])
        if model is None:
            raise self.unknown_model(fields["model"])
        prompt = checks.check_rules(fields, replace(model, is_real=True))
        prompt.reasons = model.reasons != "never" and not _is_off(written)
        if model.reasons == "asked":
            prompt.reasons = prompt.reasons and _is_asked(written)
        prompt.shows_reasoning = True
        prompt.stop = texts_in(written, "stop")
        prompt.body = written
        return prompt

    def unknown_model(self, name: str) -> Refused:
        """404, in no vendor's own words."""
        return common.refuse(f"The model {name!r} does not exist.", status=404, code="not_found")

    def retired_model(self, name: str) -> Refused:
        """As a name that is not known."""
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


def _known(message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    fields = cast("JSON", message)
    kept = {name: value for name, value in fields.items() if name in _MESSAGE_FIELDS}
    if isinstance(kept.get("content"), list):
        kept["content"] = [_known_part(each) for each in cast("list[Any]", kept["content"])]
    return kept


def _known_part(part: Any) -> Any:
    """A part of the content; what OpenAI has no word for (films, thinking) says nothing here."""
    fields = cast("JSON", part) if isinstance(part, dict) else {}
    return fields if fields.get("type") in _PART_TYPES else {"type": "text", "text": ""}


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
