"""A "compatible" server with bad habits: it takes little and answers loosely.

Refused: every field it does not know, the role `developer`, contents that are no strings in
results, `stream_options`, `strict`, forced subsets.  Answers: `arguments` as an object, `index`
and `type` left out, the id repeated in every delta, `stop` with calls, `tool_calls: []` alongside
text, usage on the last chunk of content.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from polycall._support import jsontext
from polycall.sim.chunking import encode_sse, fragments
from polycall.sim.script import Answer, Call, Failure, Prompt, Refused
from polycall.sim.shape import JSON, ShapeError, list_in, object_in, path_text, texts_in
from polycall.sim.shape_files import ShapeFile
from polycall.sim.vendors import openai_chat
from polycall.sim.vendors import openai_chat_checks as chat
from polycall.sim.vendors import openai_common as common
from polycall.sim.vendors.base import Headers, Models, Route

_BODY = ShapeFile("compatible")["request"]


class Compatible(openai_chat.OpenAIChat):
    """`/compatible/v1/chat/completions`."""

    name = "compatible"
    base_path = "/compatible/v1"
    wire = "compatible"
    owner = "compatible"
    key_help = "This server wants a key."

    def check_request(
        self, route: Route, body: Any, models: Models, headers: Headers | None = None
    ) -> Prompt:
        """Shape, model, the order of messages."""
        try:
            fields: JSON = _BODY.read(body, (), False)
        except ShapeError as error:
            place = path_text(error.path, brackets=False)
            words = {"unknown": "Extra inputs are not permitted", "missing": "Field required"}
            text = words.get(error.problem, f"Input should be {error.wanted}, got {error.got}")
            raise _refuse(f"body.{place}: {text}") from None
        model = models(fields["model"])
        tools = chat.read_tools(list_in(fields, "tools"))
        prompt = Prompt(fields["model"], chat.read_messages(fields["messages"]), tools, fields)
        chat.read_choice(fields, prompt)
        if object_in(fields, "response_format").get("type") == "json_object":
            prompt.schema = {}
        prompt.reasons = model.reasons == "always"
        prompt.tokens_max = fields.get("max_tokens")
        prompt.stop = texts_in(fields, "stop")
        prompt.stream = bool(fields.get("stream"))
        prompt.caches = False
        return prompt

    def render_body(self, prompt: Prompt, answer: Answer) -> JSON:
        """Arguments as an object, no `type`, `stop` in spite of calls."""
        turn = answer.turn
        calls: list[JSON] = []
        for index, call in enumerate(turn.calls):
            function: JSON = {"name": call.name, "arguments": _loose(call)}
            calls.append({"id": openai_chat.id_of(call, answer, index), "function": function})
        message: JSON = {
            "role": "assistant",
            "content": turn.text or turn.refusal,
            "tool_calls": calls,
        }
        if turn.reasoning is not None:
            message["reasoning"] = turn.reasoning
        reason = "length" if turn.finish_reason == "length" else "stop"
        return {
            "id": answer.nonce,
            "object": "chat.completion",
            "created": answer.created,
            "model": prompt.model,
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            "usage": _usage(answer),
        }

    def render_stream(self, prompt: Prompt, answer: Answer) -> Iterator[bytes]:
        """Every delta repeats the call's id; the last chunk of content has the usage."""
        turn = answer.turn
        deltas: list[JSON] = [{"role": "assistant", "content": ""}]
        deltas += [{"reasoning": piece} for piece in fragments(turn.reasoning or "", answer.seed)]
        text = turn.text or turn.refusal
        deltas += [{"content": piece, "tool_calls": []} for piece in fragments(text, answer.seed)]
        for index, call in enumerate(turn.calls):
            call_id = openai_chat.id_of(call, answer, index)
            for number, piece in enumerate(_pieces(call, answer.seed + index)):
                function: JSON = {"arguments": piece}
                if number == 0:
                    function["name"] = call.name
                deltas.append({"tool_calls": [{"id": call_id, "function": function}]})
        reason = "length" if turn.finish_reason == "length" else "stop"
        for number, delta in enumerate(deltas):
            last = number == len(deltas) - 1
            body: JSON = {
                "id": answer.nonce,
                "object": "chat.completion.chunk",
                "created": answer.created,
                "model": prompt.model,
                "choices": [
                    {"index": 0, "delta": delta, "finish_reason": reason if last else None}
                ],
            }
            if last:
                body["usage"] = _usage(answer)
            # No space after the colon: the standard allows it, and clients trip over it.
            yield b"data:" + jsontext.encode_bytes(body) + b"\n\n"
        yield encode_sse(b"[DONE]")

    def render_failure(self, failure: Failure) -> Refused:
        """A bare message, as such servers give."""
        kind, _, message = common.failure_words(failure)
        headers: dict[str, str] = {}
        if failure.retry_after_s is not None:
            headers["retry-after"] = f"{failure.retry_after_s:g}"
        return _refuse(message, status=failure.status, kind=kind, headers=headers)

    def invalid(self, message: str) -> Refused:
        """400."""
        return _refuse(message)

    def unknown_model(self, name: str) -> Refused:
        """404."""
        return _refuse(f"model '{name}' not found", status=404, kind="NotFoundError")

    def retired_model(self, name: str) -> Refused:
        """Refuse as for an unknown name."""
        return self.unknown_model(name)

    def answer_headers(self, nonce: str) -> dict[str, str]:
        """None."""
        return {}


def _refuse(
    message: str,
    *,
    status: int = 400,
    kind: str = "BadRequestError",
    headers: dict[str, str] | None = None,
) -> Refused:
    error: JSON = {"message": message, "type": kind, "param": None, "code": status}
    return Refused(status, {"error": error}, headers)


def _loose(call: Call) -> Any:
    try:
        return jsontext.decode(call.arguments_json)
    except ValueError:
        return call.arguments_json


def _usage(answer: Answer) -> JSON:
    tally = answer.tally
    completion = tally.text + tally.reasoning
    total = tally.prompt + completion
    return {
        "prompt_tokens": tally.prompt,
        "completion_tokens": completion,
        "total_tokens": total,
    }


def _pieces(call: Call, seed: int) -> list[str]:
    return fragments(call.arguments_json, seed) or [""]
