"""DeepSeek: Chat Completions with rules of its own.

Unknown top-level fields are ignored, as the vendor's deserialiser does; what is known is strict,
and wrong shapes are 422.  Reasoning comes back as `reasoning_content`, unchanged, on every
assistant turn with calls since the user's last words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from polycall._support import jsontext
from polycall.sim import signing
from polycall.sim.chunking import encode_sse, fragments
from polycall.sim.script import Answer, Call, ModelSpec, Prompt, Refused
from polycall.sim.shape import JSON, ShapeError, list_in, object_in, path_text, texts_in
from polycall.sim.shape_files import ShapeFile
from polycall.sim.vendors import openai_chat
from polycall.sim.vendors import openai_chat_checks as chat
from polycall.sim.vendors import openai_common as common
from polycall.sim.vendors.base import Headers, Models, Route

SCOPE = "deepseek"
_SHAPES = ShapeFile("deepseek")
_BODY = _SHAPES["request"]
_KNOWN = _SHAPES.names("request")


class DeepSeek(openai_chat.OpenAIChat):
    """`/deepseek/chat/completions`, also below `/v1`."""

    name = "deepseek"
    base_path = "/deepseek"
    wire = "deepseek"
    owner = "deepseek"

    def route(self, method: str, path: str, query: Mapping[str, str]) -> Route:
        """With and without the version."""
        return openai_chat.route(method, path.removeprefix("/v1"), {"/chat/completions"})

    def check_key(self, headers: Headers, query: Mapping[str, str]) -> None:
        """Bearer; the vendor's words for a key it does not know."""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip() or "invalid" in key.lower():
            raise common.refuse(
                "Authentication Fails, Your api key is invalid",
                status=401,
                kind="authentication_error",
                code="invalid_request_error",
            )

    def check_request(
        self, route: Route, body: Any, models: Models, headers: Headers | None = None
    ) -> Prompt:
        """Shape, model, rules."""
        try:
            if isinstance(body, dict):
                body = {name: item for name, item in body.items() if name in _KNOWN}  # pyright: ignore[reportUnknownVariableType]
            fields: JSON = _BODY.read(body, (), False)
        except ShapeError as error:
            raise _refuse_shape(error) from None
        return _check_rules(fields, models(fields["model"]))

    def render_body(self, prompt: Prompt, answer: Answer) -> JSON:
        """A `chat.completion` with `reasoning_content`."""
        turn = answer.turn
        message: JSON = {"role": "assistant", "content": turn.text or turn.refusal}
        if turn.reasoning is not None:
            message["reasoning_content"] = turn.reasoning
        if turn.calls:
            message["tool_calls"] = [
                {"index": index, "id": _id_of(call, answer, index), **_call_fields(call)}
                for index, call in enumerate(turn.calls)
            ]
        reason = openai_chat.finish_reason(answer)
        return {
            "id": answer.nonce,
            "object": "chat.completion",
            "created": answer.created,
            "model": prompt.model,
            "choices": [
                {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
            ],
            "usage": _usage(answer),
            "system_fingerprint": "fp_simulation",
        }

    def render_stream(self, prompt: Prompt, answer: Answer) -> Iterator[bytes]:
        """Reasoning, text, calls; usage on the chunk that finishes."""
        turn = answer.turn

        def chunk(delta: JSON, reason: str | None = None) -> bytes:
            body = openai_chat.chunk_body(prompt, answer, delta, reason)
            body.update(id=answer.nonce, system_fingerprint="fp_simulation")
            del body["service_tier"]
            if reason is not None:
                body["usage"] = _usage(answer)
            return encode_sse(jsontext.encode_bytes(body))

        yield b": keep-alive\n\n"
        thinks = turn.reasoning is not None
        opening: JSON = {"role": "assistant", "content": None if thinks else ""}
        yield chunk({**opening, "reasoning_content": ""} if thinks else opening)
        for piece in fragments(turn.reasoning or "", answer.seed):
            yield chunk({"content": None, "reasoning_content": piece})
        for piece in fragments(turn.text or turn.refusal, answer.seed):
            yield chunk(
                {"content": piece, "reasoning_content": None} if thinks else {"content": piece}
            )
        for index, call in enumerate(turn.calls):
            fields = _call_fields(call)
            fields["function"]["arguments"] = ""
            head = {"index": index, "id": _id_of(call, answer, index), **fields}
            yield chunk({"tool_calls": [head]})
            for piece in fragments(call.arguments_json, answer.seed + index):
                yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        yield chunk({"content": ""}, openai_chat.finish_reason(answer))
        yield openai_chat.DONE

    def invalid(self, message: str) -> Refused:
        """422."""
        words = f"Failed to parse the request body as JSON: {message}"
        return common.refuse(words, status=422, code="invalid_request_error")

    def unknown_model(self, name: str) -> Refused:
        """400 in this vendor's words, and not a 404 of OpenAI's."""
        return common.refuse(
            "The supported API model names are deepseek-v4-pro or deepseek-v4-flash, but you "
            f"passed {name}.",
            code="invalid_request_error",
        )

    def retired_model(self, name: str) -> Refused:
        """Refuse as for an unknown name."""
        return self.unknown_model(name)

    def answer_headers(self, nonce: str) -> dict[str, str]:
        """A trace id."""
        return {"x-ds-trace-id": nonce}


def _refuse_shape(error: ShapeError) -> Refused:
    place = path_text(error.path, brackets=True)
    match error.problem:
        case "missing":
            words = f"missing field `{error.field}`"
        case "enum":
            words = f"{place}: unknown variant `{error.got}`, expected one of {error.wanted}"
        case "unknown":
            words = f"{place}: unknown field `{error.field}`"
        case "range" | "length":
            words = f"Invalid {place} value, the valid range is {error.wanted}"
            return common.refuse(words, code="invalid_request_error")
        case _:
            words = f"{place}: invalid type: {error.got}, expected {error.wanted}"
    text = f"Failed to deserialize the JSON body into the target type: {words}"
    return common.refuse(text, status=422, code="invalid_request_error")


def _check_rules(body: JSON, model: ModelSpec) -> Prompt:
    kind = object_in(body, "thinking").get("type")
    reasons = model.reasons == "always" and kind != "disabled"
    reasons = reasons or (model.reasons == "asked" and kind in ("enabled", "adaptive"))
    if reasons:
        _check_reasoning(body["messages"])
    plain = [
        {name: item for name, item in one.items() if item is not None} for one in body["messages"]
    ]
    tools = chat.read_tools(_without_nulls(list_in(body, "tools")))
    choice = {"tool_choice": body["tool_choice"]} if body.get("tool_choice") else {}
    prompt = Prompt(body["model"], chat.read_messages(plain), tools, body)
    chat.read_choice(choice, prompt)
    if reasons and prompt.choice == "required":
        raise common.refuse(
            "Thinking mode does not support this tool_choice", code="invalid_request_error"
        )
    prompt.reasons = reasons
    if object_in(body, "response_format").get("type") == "json_object":
        if "json" not in jsontext.encode(body["messages"]).lower():
            raise common.refuse(
                "Prompt must contain the word 'json' in some form to use 'response_format' of "
                "type 'json_object'.",
                code="invalid_request_error",
            )
        prompt.schema = {}
    prompt.tokens_max = body.get("max_tokens")
    prompt.stop = texts_in(body, "stop")
    prompt.stream = bool(body.get("stream"))
    return prompt


def _without_nulls(tools: list[JSON]) -> list[JSON]:
    result: list[JSON] = []
    for tool in tools:
        function = {name: item for name, item in tool["function"].items() if item is not None}
        result.append({**tool, "function": function})
    return result


def _check_reasoning(messages: list[JSON]) -> None:
    start = max((at for at, one in enumerate(messages) if one["role"] == "user"), default=0)
    for index, message in enumerate(messages):
        calls = message.get("tool_calls")
        if message["role"] != "assistant" or not calls or index < start:
            continue
        text = message.get("reasoning_content")
        if text is None:
            raise common.refuse(
                "Missing `reasoning_content` field in the assistant message at message index "
                f"{index}.",
                code="invalid_request_error",
            )
        for call in calls:
            # Stricter than the vendor, which cannot tell: the text must be the one it gave.
            if call["id"].startswith("call_") and not _is_whole(call["id"], text):
                raise common.refuse(
                    f"The `reasoning_content` at message index {index} is not the one that was "
                    "returned with its tool calls.",
                    code="invalid_request_error",
                )


def _is_whole(call_id: str, text: str) -> bool:
    body = call_id.rpartition("_")[2]
    issued = signing.marked_nonce(SCOPE, call_id[:-6]) if len(body) == 30 else ""
    return not issued or signing.digest("text", issued, text).hex()[:6] == call_id[-6:]


def _id_of(call: Call, answer: Answer, index: int) -> str:
    if call.id:
        return call.id
    if answer.turn.reasoning is None:
        return f"call_{signing.mark('deepseek-plain', answer.nonce, index)}"
    text = signing.digest("text", answer.nonce, answer.turn.reasoning).hex()[:6]
    return f"call_{signing.mark(SCOPE, answer.nonce, index)}{text}"


def _call_fields(call: Call) -> JSON:
    function = {"name": call.name, "arguments": call.arguments_json}
    return {"type": "function", "function": function}


def _usage(answer: Answer) -> JSON:
    tally = answer.tally
    completion = tally.text + tally.reasoning
    usage: JSON = {
        "prompt_tokens": tally.prompt,
        "completion_tokens": completion,
        "total_tokens": tally.prompt + completion,
        "prompt_cache_hit_tokens": tally.cached,
        "prompt_cache_miss_tokens": tally.prompt - tally.cached,
    }
    if tally.reasoning:
        usage["completion_tokens_details"] = {"reasoning_tokens": tally.reasoning}
    return usage
