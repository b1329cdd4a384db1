"""Chat Completions: answers, streams and errors as OpenAI writes them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from polycall._support import jsontext
from polycall.sim import signing
from polycall.sim.chunking import encode_sse, fragments
from polycall.sim.dated import Refusal
from polycall.sim.script import Answer, Call, Failure, ModelSpec, Prompt, Refused
from polycall.sim.shape import JSON, ShapeError, object_in
from polycall.sim.vendors import openai_chat_checks as checks
from polycall.sim.vendors import openai_common as common
from polycall.sim.vendors.base import Headers, Models, Route, Vendor
from polycall.sim.vendors.openai_logprobs import logprobs

DONE = encode_sse(b"[DONE]")
_FINISH = {"refusal": "stop"}
FINGERPRINT = "fp_simulation"


class OpenAIChat(Vendor):
    """`/openai/v1/chat/completions`."""

    name = "openai"
    base_path = "/openai/v1"
    wire = "openai-chat"
    owner = "simulation"  # of its models
    key_help = "You can obtain an API key from https://platform.openai.com."

    def route(self, method: str, path: str, query: Mapping[str, str]) -> Route:
        """Chat completions and models."""
        return route(method, path, {"/chat/completions"})

    def check_key(self, headers: Headers, query: Mapping[str, str]) -> None:
        """Bearer."""
        common.check_bearer(headers, help_text=self.key_help)

    def check_request(
        self, route: Route, body: Any, models: Models, headers: Headers | None = None
    ) -> Prompt:
        """Shape, model, rules."""
        try:
            fields = checks.read_body(body)
        except ShapeError as error:
            raise common.refuse_shape(error, flat_unknown=True) from None
        return checks.check_rules(fields, models(fields["model"]))

    def render_body(self, prompt: Prompt, answer: Answer) -> JSON:
        """A `chat.completion`."""
        choices: list[JSON] = [
            {
                "index": index,
                "message": _message(prompt, answer, index),
                "logprobs": logprobs(prompt.logprobs, answer.turn.text),
                "finish_reason": _finish_reason(prompt, answer),
            }
            for index in range(prompt.choices)
        ]
        return {
            "id": f"chatcmpl-{answer.nonce}",
            "object": "chat.completion",
            "created": answer.created,
            "model": prompt.model,
            "choices": choices,
            "usage": usage(answer, prompt.choices),
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        }

    def render_stream(self, prompt: Prompt, answer: Answer) -> Iterator[bytes]:
        """Chunks of all choices by turns, usage where asked for, `[DONE]`."""
        options = object_in(prompt.body, "stream_options")
        with_usage = bool(options.get("include_usage"))
        padded = options.get("include_obfuscation", True)
        choices = [_steps(prompt, answer, index) for index in range(prompt.choices)]
        for row in itertools.zip_longest(*choices):
            for index, step in enumerate(row):
                if step is None:
                    continue
                delta, reason = step
                body = chunk_body(prompt, answer, delta, reason, index)
                if padded:
                    body["obfuscation"] = "x" * (7 - len(jsontext.encode(delta)) % 7)
                if with_usage:
                    body["usage"] = None
                yield encode_sse(jsontext.encode_bytes(body))
        if with_usage:
            body = chunk_body(prompt, answer, {}, None)
            body["choices"] = []
            body["usage"] = usage(answer, prompt.choices)
            yield encode_sse(jsontext.encode_bytes(body))
        yield DONE

    def render_models(self, models: list[ModelSpec], *, one: bool) -> JSON:
        """`GET /models`."""
        return common.models_body(models, owner=self.owner, one=one)

    def render_failure(self, failure: Failure) -> Refused:
        """OpenAI's error object."""
        return common.refuse_failure(failure)

    def render_stream_failure(self, failure: Failure) -> bytes:
        """An error object in place of a chunk."""
        return encode_sse(jsontext.encode_bytes(self.render_failure(failure).body))

    def invalid(self, message: str) -> Refused:
        """400."""
        return common.refuse(message)

    def unknown_model(self, name: str) -> Refused:
        """404."""
        return common.refuse_unknown_model(name)

    def retired_model(self, name: str) -> Refused:
        """404, which says so."""
        return common.refuse(
            f"The model `{name}` has been deprecated, learn more here: "
            "https://platform.openai.com/docs/deprecations",
            status=404,
            code="model_not_found",
        )

    def refuse_by(self, refusal: Refusal) -> Refused:
        """Refuse with the rule's words."""
        return common.refuse_by(refusal)

    def answer_headers(self, nonce: str) -> dict[str, str]:
        """`x-request-id` and its company."""
        return {
            "x-request-id": f"req_{nonce}",
            "openai-version": "2020-10-01",
            "openai-processing-ms": "1",
        }


class Relatives(OpenAIChat):
    """`/relatives/v1/chat/completions`: others that serve Chat as OpenAI does, with any model."""

    name = "relatives"
    base_path = "/relatives/v1"
    wire = "relatives"


def route(method: str, path: str, generate: set[str]) -> Route:
    """A path below the base: generation, or the models."""
    if path in generate:
        if method != "POST":
            raise common.refuse(
                f"Not allowed to {method} on {path}.", status=405, code="method_not_supported"
            )
        return Route("generate")
    if path == "/models" and method == "GET":
        return Route("models")
    if path.startswith("/models/") and method == "GET":
        return Route("model", path.removeprefix("/models/"))
    raise common.refuse(f"Invalid URL ({method} {path})", status=404)


def _message(prompt: Prompt, answer: Answer, choice: int) -> JSON:
    turn = answer.turn
    message: JSON = {
        "role": "assistant",
        "content": turn.text or None,
        "refusal": turn.refusal or None,
        "annotations": [],
    }
    if turn.calls and prompt.calls_functions:
        message["function_call"] = call_fields(prompt, turn.calls[0])["function"]
    elif turn.calls:
        message["tool_calls"] = [
            {"id": id_of(call, answer, _place(index, choice)), **call_fields(prompt, call)}
            for index, call in enumerate(turn.calls)
        ]
    elif not turn.refusal:
        message["content"] = turn.text
    return message


def _steps(prompt: Prompt, answer: Answer, choice: int) -> Iterator[tuple[JSON, str | None]]:
    """The deltas of one choice, and the reason with the last."""
    turn = answer.turn
    opening: JSON = {"role": "assistant", "content": None if turn.calls else ""}
    yield {**opening, "refusal": None}, None
    for piece in fragments(turn.text, answer.seed):
        yield {"content": piece}, None
    for piece in fragments(turn.refusal, answer.seed):
        yield {"refusal": piece}, None
    if turn.calls and prompt.calls_functions:
        function = call_fields(prompt, turn.calls[0])["function"]
        yield {"function_call": {"name": function["name"], "arguments": ""}}, None
        for piece in fragments(function["arguments"], answer.seed):
            yield {"function_call": {"arguments": piece}}, None
    for index, call in enumerate([] if prompt.calls_functions else turn.calls):
        fields = call_fields(prompt, call)
        kind = fields["type"]
        slot = "arguments" if kind == "function" else "input"
        text = fields[kind][slot]
        start = {**fields, kind: {**fields[kind], slot: ""}}
        yield (
            {
                "tool_calls": [
                    {"index": index, "id": id_of(call, answer, _place(index, choice)), **start}
                ]
            },
            None,
        )
        for piece in fragments(text, answer.seed + index):
            yield {"tool_calls": [{"index": index, kind: {slot: piece}}]}, None
    yield {}, _finish_reason(prompt, answer)


def _place(index: int, choice: int) -> int:
    """A call's number among those of all choices."""
    return index + 1000 * choice


def _finish_reason(prompt: Prompt, answer: Answer) -> str:
    reason = finish_reason(answer)
    return "function_call" if prompt.calls_functions and reason == "tool_calls" else reason


def chunk_body(
    prompt: Prompt, answer: Answer, delta: JSON, reason: str | None, choice: int = 0
) -> JSON:
    """One `chat.completion.chunk`."""
    text: str = delta.get("content") or ""
    shown = logprobs(prompt.logprobs, text) if text else None
    return {
        "id": f"chatcmpl-{answer.nonce}",
        "object": "chat.completion.chunk",
        "created": answer.created,
        "model": prompt.model,
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
        "choices": [{"index": choice, "delta": delta, "logprobs": shown, "finish_reason": reason}],
    }


def id_of(call: Call, answer: Answer, index: int) -> str:
    """A call's id: the script's, or one that is unique here."""
    return call.id or f"call_{signing.mark('openai-plain', answer.nonce, index)}"


def call_fields(prompt: Prompt, call: Call) -> JSON:
    """A call without its id; freeform where its tool is."""
    if any(tool.freeform and tool.name == call.name for tool in prompt.tools):
        text = call.raw_arguments if call.raw_arguments is not None else ""
        text = text or str(call.arguments.get("input", ""))
        return {"type": "custom", "custom": {"name": call.name, "input": text}}
    function = {"name": call.name, "arguments": call.arguments_json}
    return {"type": "function", "function": function}


def finish_reason(answer: Answer) -> str:
    """The reason in Chat's words."""
    reason = answer.turn.finish_reason
    return _FINISH.get(reason, reason)


def usage(answer: Answer, choices: int = 1) -> JSON:
    """Cached tokens within the prompt, reasoning within the completion; of all choices."""
    tally = answer.tally
    completion = (tally.text + tally.reasoning) * choices
    return {
        "prompt_tokens": tally.prompt,
        "completion_tokens": completion,
        "total_tokens": tally.prompt + completion,
        "prompt_tokens_details": {
            "cached_tokens": tally.cached,
            "cache_write_tokens": tally.cache_written,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": tally.reasoning * choices,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
