"""Responses: answers, streams and errors as OpenAI writes them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, cast

from polycall._support import jsontext
from polycall.sim import signing
from polycall.sim.chunking import encode_sse, fragments
from polycall.sim.programs import ProgramRunner
from polycall.sim.script import Answer, Call, Failure, Prompt, Refused, Turn
from polycall.sim.shape import JSON, ShapeError, list_in, object_in
from polycall.sim.vendors import openai_chat
from polycall.sim.vendors import openai_common as common
from polycall.sim.vendors import openai_hosted as hosted
from polycall.sim.vendors import openai_programs as programs
from polycall.sim.vendors import openai_responses_checks as checks
from polycall.sim.vendors.base import Headers, Models, Route

_STORED_MAX = 10_000


class OpenAIResponses(openai_chat.OpenAIChat):
    """`/openai/v1/responses`."""

    wire = "openai-responses"

    def __init__(self, desk: ProgramRunner | None = None) -> None:
        self._desk = desk or ProgramRunner()
        self._stored: OrderedDict[str, JSON] = OrderedDict()  # items of answers, by their ids
        # What was said up to an answer and with it, by the answer's id.
        self._conversations: OrderedDict[str, list[JSON]] = OrderedDict()
        self._answers: OrderedDict[str, JSON] = OrderedDict()
        self._inputs: OrderedDict[str, list[JSON]] = OrderedDict()

    def route(self, method: str, path: str, query: Mapping[str, str]) -> Route:
        """Responses only; `look_up` serves what is stored."""
        return openai_chat.route(method, path, {"/responses"})

    def look_up(self, method: str, path: str) -> JSON | None:
        """The stored object of a path below `/responses/`; `None` for any other path."""
        name, _, action = path.removeprefix("/responses/").partition("/")
        if not path.startswith("/responses/") or not name.startswith("resp_"):
            return None
        answer = self._answers.get(name)
        if answer is None:
            raise common.refuse(f"Response with id '{name}' not found.", status=404)
        match method, action:
            case "GET", "":
                return answer
            case "DELETE", "":
                for kept in (self._answers, self._inputs, self._conversations):
                    kept.pop(name, None)
                return {"id": name, "object": "response", "deleted": True}
            case "GET", "input_items":
                said = self._inputs[name][::-1]
                ids = [str(item.get("id")) for item in said] or [""]
                ends = {"first_id": ids[0], "last_id": ids[-1], "has_more": False}
                return {"object": "list", "data": said, **ends}
            case "POST", "cancel" if answer["background"]:
                return answer  # it has ended by then
            case "POST", "cancel":
                raise common.refuse("Cannot cancel a synchronous response.")
            case _:
                return None

    def check_request(
        self, route: Route, body: Any, models: Models, headers: Headers | None = None
    ) -> Prompt:
        """Shape, model, rules."""
        try:
            fields = checks.read_body(self._with_stored(body))
        except ShapeError as error:
            raise common.refuse_shape(error, flat_unknown=False) from None
        prompt = checks.check_rules(fields, models(fields["model"]))
        pending = prompt.programs.pending if prompt.programs is not None else ""
        if pending and not self._desk.knows(pending):
            raise common.refuse(f"Program '{pending}' not found.", param="input", status=404)
        return prompt

    def render_body(self, prompt: Prompt, answer: Answer) -> JSON:
        """A `response`."""
        self._store(prompt, answer)
        if prompt.body.get("background"):
            return _frame(prompt, answer, "queued", [])
        return _final(prompt, answer)

    def render_stream(self, prompt: Prompt, answer: Answer) -> Iterator[bytes]:
        """Numbered events from `response.created` to the terminal one."""
        self._store(prompt, answer)
        return _Stream(prompt, answer).events()

    def _store(self, prompt: Prompt, answer: Answer) -> None:
        if prompt.body.get("store") is False:
            return
        made = _items(prompt, answer)
        self._stored.update((item["id"], item) for item in made)
        said = [*_input_items(prompt.body["input"]), *made]
        name = f"resp_{answer.nonce}"
        self._conversations[name] = said
        self._answers[name] = _final(prompt, answer)
        self._inputs[name] = [
            {"id": f"msg_{answer.nonce}{place}", "type": "message", **item}
            for place, item in enumerate(_input_items(prompt.body["input"]))
        ]
        for kept in (self._stored, self._conversations, self._answers, self._inputs):
            while len(kept) > _STORED_MAX:
                kept.popitem(last=False)

    def _with_stored(self, body: Any) -> Any:
        """The body with stored items in the place of what refers to them."""
        if not isinstance(body, dict):
            return body
        fields = cast("JSON", body)
        source = fields.get("input")
        if isinstance(source, list):
            items = cast("list[Any]", source)
            fields = {**fields, "input": [self._referred(item) for item in items]}
        previous = fields.get("previous_response_id")
        if not isinstance(previous, str) or not isinstance(fields.get("input"), str | list):
            return fields
        said = self._conversations.get(previous)
        if said is None:
            if signing.takes_foreign():
                return fields
            raise common.refuse(
                f"Previous response with id '{previous}' not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        return {**fields, "input": [*said, *_input_items(fields["input"])]}

    def _referred(self, item: Any) -> Any:
        if not isinstance(item, dict) or item.get("type") != "item_reference":  # pyright: ignore[reportUnknownMemberType]
            return item  # pyright: ignore[reportUnknownVariableType]
        name: Any = item.get("id")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if signing.takes_foreign():
            return cast("JSON", item)
        if not isinstance(name, str) or name not in self._stored:
            raise common.refuse(f"Item with id '{name}' not found.", param="input", status=404)
        return self._stored[name]

    def render_count(self, prompt: Prompt, tokens: int) -> JSON:
        """The shape of `/responses/input_tokens`; `route` does not offer it."""
        return {"object": "response.input_tokens", "input_tokens": tokens}

    def render_stream_failure(self, failure: Failure) -> bytes:
        """A flat `error` event."""
        kind, code, message = common.failure_words(failure)
        event = {"type": "error", "code": code or kind, "message": message, "param": None}
        return encode_sse(jsontext.encode_bytes({**event, "sequence_number": 2}), "error")

    def unknown_model(self, name: str) -> Refused:
        """404 on Chat; here it is a 400."""
        return common.refuse(
            f"The requested model '{name}' does not exist.", param="model", code="model_not_found"
        )

    def retired_model(self, name: str) -> Refused:
        """Refuse as for an unknown name."""
        return self.unknown_model(name)


def _input_items(source: str | list[JSON]) -> list[JSON]:
    """An input as items."""
    if isinstance(source, str):
        return [{"type": "message", "role": "user", "content": source}]
    return source


def _items(prompt: Prompt, answer: Answer) -> list[JSON]:
    items: list[JSON] = []
    for ran in answer.ran:
        if ran.turn is not None:
            items += _turn_items(prompt, ran.turn, ran.nonce)
            items.append(programs.began_item(ran))
        items += programs.call_items(ran)
        if ran.outcome is not None:
            items.append(programs.ended_item(ran))
    return items if answer.is_waiting else [*items, *_turn_items(prompt, answer.turn, answer.nonce)]


def _turn_items(prompt: Prompt, turn: Turn, nonce: str) -> list[JSON]:
    items: list[JSON] = []
    if turn.reasoning is not None:
        items.append(_reasoning_item(prompt, turn.reasoning, nonce))
    if turn.search is not None:
        items.append(hosted.search_item(turn.search, nonce))
    status = "incomplete" if turn.finish_reason == "length" else "completed"
    acts = bool(turn.calls) or turn.program is not None
    if turn.text or turn.refusal or not acts:
        part: JSON = {"type": "output_text", "text": turn.text, "annotations": [], "logprobs": []}
        if turn.refusal:
            part = {"type": "refusal", "refusal": turn.refusal}
        items.append(
            {
                "type": "message",
                "id": f"msg_{nonce}",
                "role": "assistant",
                "status": status,
                "phase": "commentary" if acts else "final_answer",
                "content": [part],
            }
        )
    for index, call in enumerate(turn.calls):
        mark = f"{nonce}{index:02d}"
        scope = checks.SCOPE if turn.reasoning is not None else "openai-plain"
        call_id = call.id or f"call_{signing.mark(scope, nonce, index)}"
        items.append({**_call_item(prompt, call, call_id, mark), "status": status})
    return items


def _reasoning_item(prompt: Prompt, text: str, nonce: str) -> JSON:
    summary: list[JSON] = []
    if prompt.shows_reasoning and text:
        summary = [{"type": "summary_text", "text": text}]
    shown = "\x1e".join(part["text"] for part in summary)
    data = {"scope": checks.SCOPE, "nonce": nonce, "model": prompt.model}
    return {
        "type": "reasoning",
        "id": f"rs_{nonce}",
        "summary": summary,
        "encrypted_content": signing.issue(checks.SCOPE, data, shown),
    }


def _call_item(prompt: Prompt, call: Call, call_id: str, mark: str) -> JSON:
    fields = openai_chat.call_fields(prompt, call)
    if fields["type"] == "custom":
        head = {"type": "custom_tool_call", "id": f"ctc_{mark}", "call_id": call_id}
        return {**head, **fields["custom"]}
    head = {"type": "function_call", "id": f"fc_{mark}", "call_id": call_id}
    if call.name in prompt.namespaces:
        namespace, name = prompt.namespaces[call.name]
        return {**head, **fields["function"], "name": name, "namespace": namespace}
    if prompt.programs is not None:
        return {**head, **fields["function"], "caller": {"type": "direct"}}
    return {**head, **fields["function"]}


def _frame(prompt: Prompt, answer: Answer, status: str, output: list[JSON]) -> JSON:
    body = prompt.body
    return {
        "id": f"resp_{answer.nonce}",
        "object": "response",
        "created_at": answer.created,
        "completed_at": None,
        "status": status,
        "background": bool(body.get("background")),
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": body.get("max_tool_calls"),
        "model": prompt.model,
        "output": output,
        "parallel_tool_calls": prompt.parallel,
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None, **object_in(body, "reasoning")},
        "service_tier": "default",
        "store": body.get("store") is not False,
        "temperature": 1.0 if body.get("temperature") is None else body["temperature"],
        "text": _echo_text(object_in(body, "text")),
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": [_echo_tool(tool) for tool in list_in(body, "tools")],
        "top_logprobs": body.get("top_logprobs") or 0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "prompt_cache_key": body.get("prompt_cache_key"),
        "safety_identifier": body.get("safety_identifier"),
        "top_p": 1.0 if body.get("top_p") is None else body["top_p"],
        "truncation": body.get("truncation") or "disabled",
        "metadata": object_in(body, "metadata"),
        "user": body.get("user"),
        "usage": None,
    }


def _echo_text(text: JSON) -> JSON:
    form = text.get("format") or {"type": "text"}
    if form["type"] == "json_schema":
        form = {"description": None, "strict": False, **form}
    return {"verbosity": "medium", **text, "format": form}


def _echo_tool(tool: JSON) -> JSON:
    if tool["type"] != "function":
        return tool
    return {"parameters": None, "strict": False, **tool}


def _final(prompt: Prompt, answer: Answer) -> JSON:
    reason = answer.turn.finish_reason
    status = "incomplete" if reason in ("length", "content_filter") else "completed"
    body = _frame(prompt, answer, status, _items(prompt, answer))
    body["completed_at"] = answer.created + 1
    if reason == "length":
        body["incomplete_details"] = {"reason": "max_output_tokens"}
    elif reason == "content_filter":
        body["incomplete_details"] = {"reason": "content_filter"}
    tally = answer.tally
    output = tally.text + tally.reasoning
    body["usage"] = {
        "input_tokens": tally.prompt,
        "input_tokens_details": {
            "cached_tokens": tally.cached,
            "cache_write_tokens": tally.cache_written,
        },
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": tally.reasoning},
        "total_tokens": tally.prompt + output,
    }
    return body


class _Stream:
    """One stream; owns the sequence number."""

    def __init__(self, prompt: Prompt, answer: Answer) -> None:
        self.prompt = prompt
        self.answer = answer
        self.number = 0
        options = object_in(prompt.body, "stream_options")
        self.padded = options.get("include_obfuscation", True)

    def events(self) -> Iterator[bytes]:
        opening = _frame(self.prompt, self.answer, "in_progress", [])
        if self.prompt.body.get("background"):
            queued = {**opening, "status": "queued"}
            yield self._event("response.created", {"response": queued})
            yield self._event("response.queued", {"response": queued})
        else:
            yield self._event("response.created", {"response": opening})
        yield self._event("response.in_progress", {"response": opening})
        for index, item in enumerate(_items(self.prompt, self.answer)):
            yield from self._item(index, item)
        final = _final(self.prompt, self.answer)
        yield self._event(f"response.{final['status']}", {"response": final})

    def _event(self, kind: str, fields: JSON) -> bytes:
        event = {"type": kind, **fields, "sequence_number": self.number}
        if kind.endswith(".delta") and self.padded:
            event["obfuscation"] = "x" * (1 + self.number % 9)
        self.number += 1
        return encode_sse(jsontext.encode_bytes(event), kind)

    def _item(self, index: int, item: JSON) -> Iterator[bytes]:
        kind = item["type"]
        if kind in ("program", "program_output", "web_search_call"):  # whole, without deltas
            for stage in ("added", "done"):
                event = f"response.output_item.{stage}"
                yield self._event(event, {"output_index": index, "item": item})
            return
        started: JSON = {**item, "status": "in_progress"}
        match kind:
            case "message":
                started["content"] = []
                body = self._message(index, item)
            case "reasoning":
                # What `added` carries is not final; only `done` may be kept.
                started = {**item, "summary": [], "encrypted_content": item["id"]}
                body = self._reasoning(index, item)
            case "function_call":
                started["arguments"] = ""
                body = self._text("response.function_call_arguments", index, item, "arguments", {})
            case _:
                started["input"] = ""
                body = self._text("response.custom_tool_call_input", index, item, "input", {})
        yield self._event("response.output_item.added", {"output_index": index, "item": started})
        yield from body
        yield self._event("response.output_item.done", {"output_index": index, "item": item})

    def _text(self, event: str, index: int, item: JSON, field: str, place: JSON) -> Iterator[bytes]:
        whole: str = item[field]
        common_fields: JSON = {"item_id": item["id"], "output_index": index, **place}
        for piece in fragments(whole, self.answer.seed + index):
            yield self._event(f"{event}.delta", {**common_fields, "delta": piece})
        yield self._event(f"{event}.done", {**common_fields, field: whole})

    def _message(self, index: int, item: JSON) -> Iterator[bytes]:
        part = item["content"][0]
        field = "text" if part["type"] == "output_text" else "refusal"
        place: JSON = {"item_id": item["id"], "output_index": index, "content_index": 0}
        yield self._event("response.content_part.added", {**place, "part": {**part, field: ""}})
        event = f"response.{part['type']}"
        extra: JSON = {"content_index": 0}
        if field == "text":
            extra["logprobs"] = []
        yield from self._text(event, index, {**item, **part}, field, extra)
        yield self._event("response.content_part.done", {**place, "part": part})

    def _reasoning(self, index: int, item: JSON) -> Iterator[bytes]:
        for number, part in enumerate(item["summary"]):
            place: JSON = {
                "item_id": item["id"],
                "output_index": index,
                "summary_index": number,
            }
            empty = {**part, "text": ""}
            yield self._event("response.reasoning_summary_part.added", {**place, "part": empty})
            extra = {"summary_index": number}
            event = "response.reasoning_summary_text"
            yield from self._text(event, index, {**item, **part}, "text", extra)
            yield self._event("response.reasoning_summary_part.done", {**place, "part": part})
