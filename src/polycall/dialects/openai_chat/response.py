"""Parses and renders whole answers.

`Response.metadata["openai-chat"]` holds what the middle language has no place for: `body`,
`choice` and `message` (the other fields of each), `choices` (all choices but the first, whole)
and `content` (the form of an empty content).  The stream decoder makes the same.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from polycall import ir
from polycall.dialects.openai_chat.calls import render_call, wire_arguments, wire_fields
from polycall.dialects.openai_chat.content import render_media
from polycall.dialects.openai_chat.errors import choice_error, stream_error
from polycall.dialects.openai_chat.messages import assistant_parts, merge_details
from polycall.dialects.openai_chat.names import NAME, REASONING_FIELDS, WORDS, own
from polycall.dialects.openai_chat.usage import parse_usage, render_usage
from polycall.ir import JSON
from polycall.translation.calls import UniqueIds
from polycall.translation.failures import short_word
from polycall.translation.growing import joined
from polycall.translation.quirks import Quirks
from polycall.translation.tool_list_cache import once
from polycall.translation.wire import Losses, response_reader, short_hash, unread

# `obfuscation` and Mistral's `p` are random padding.
TOP_FIELDS = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "obfuscation", "p", "error"}
)
CHOICE_FIELDS = frozenset({"index", "message", "delta", "finish_reason", "usage"})
MESSAGE_FIELDS = frozenset(
    {
        "role",
        "index",
        "content",
        "refusal",
        "tool_calls",
        "function_call",
        "reasoning_details",
        *REASONING_FIELDS,
    }
)

_FINISH = WORDS.finish()
_WIRE_FINISH = WORDS.ends()


def finish_reason(raw: Any, *, has_calls: bool, has_refusal: bool) -> ir.FinishReason:
    """The unified reason for a wire's word; an unknown word is not a normal end.

    OpenAI ends a refusal as it ends any answer: the refusal itself says what it is.
    """
    word = short_word(raw) if isinstance(raw, str) else ""
    reason = ir.unified_finish(_FINISH.get(word, "error"), has_calls=has_calls)
    return "refusal" if reason == "stop" and has_refusal else reason


def call_id(response_id: str, position: int, name: str) -> str:
    """An id for a call that came without one.

    In a stream it must be known before the arguments are, so they are no part of it.
    """
    return "call_" + short_hash(response_id, str(position), name)


# ---------------------------------------------------------------------------------------------
# In


def parse_response(body: JSON) -> ir.Response:
    """A whole answer.  Raises the `UpstreamError` that a body with status 200 may hold."""
    reader = response_reader
    reader.object(body, "")
    error = stream_error(body)
    if error is not None:
        raise error
    choices = reader.array(body.get("choices"), "choices")
    if not choices:
        reader.fail("choices", "an answer", [])
    response_id = scalar_text(body.get("id"))
    main = _main_choice(choices)
    used = UniqueIds()

    def make_id(wire_id: str, position: int, name: str, arguments: str) -> str:
        return used.take(wire_id or call_id(response_id, position, name))

    path = "choices[0]"
    inner = main.get("message")
    if inner is None:
        inner = main.get("delta")
    if inner is None and isinstance(main.get("text"), str):  # as of the older completions
        inner = {"content": main["text"]}
    message = reader.object(inner, f"{path}.message")
    parts = assistant_parts(message, f"{path}.message", reader, make_id, keep_empty=False)
    has_calls = any(isinstance(part, ir.ToolCall) for part in parts)
    has_refusal = any(isinstance(part, ir.Refusal) for part in parts)
    raw_finish = main.get("finish_reason")
    error = choice_error(main, raw_finish)
    if error is not None:
        raise error
    finish = finish_reason(raw_finish, has_calls=has_calls, has_refusal=has_refusal)
    notes = response_notes(
        unread(body, TOP_FIELDS),
        unread(main, CHOICE_FIELDS),
        unread(message, MESSAGE_FIELDS),
        [normal_choice(choice) for choice in choices if choice is not main],
        empty_form(message.get("content"), parts),
    )
    return ir.Response(
        id=response_id,
        model=scalar_text(body.get("model")),
        message=ir.Message("assistant", parts),
        finish_reason=finish,
        raw_finish_reason=scalar_text(raw_finish),
        usage=parse_usage(body.get("usage") or main.get("usage"), body.get("service_tier")),
        created=created_at(body.get("created")),
        metadata={NAME: notes},
    )


def _main_choice(choices: list[Any]) -> JSON:
    objects = [
        response_reader.object(choice, f"choices[{position}]")
        for position, choice in enumerate(choices)
    ]
    first = objects[0] if objects else {}
    return next((choice for choice in objects if choice.get("index", 0) == 0), first)


def normal_choice(choice: JSON) -> JSON:
    """One of the other choices, without what a stream of it would not tell."""
    message = choice.get("message")
    kept: JSON = {}
    if isinstance(message, dict):
        kept = _without_empty(message)  # pyright: ignore[reportUnknownArgumentType]
        calls = kept.get("tool_calls")
        if isinstance(calls, list):
            kept["tool_calls"] = [_without_index(call) for call in calls]  # pyright: ignore[reportUnknownVariableType]
    return {**_without_empty(choice), "index": choice.get("index", 0), "message": kept}


def _without_empty(source: JSON) -> JSON:
    return {key: value for key, value in source.items() if value not in (None, "", [])}


def _without_index(call: Any) -> Any:
    if not isinstance(call, dict):
        return call
    return {key: value for key, value in call.items() if key != "index"}  # pyright: ignore[reportUnknownVariableType]


def response_notes(
    body: JSON, choice: JSON, message: JSON, choices: list[JSON], content: str
) -> JSON:
    """The notes of an answer; what is empty is left out."""
    notes: JSON = {
        "body": body,
        "choice": choice,
        "message": {key: value for key, value in message.items() if value != []},
        "choices": choices,
        "content": content,
    }
    return {key: value for key, value in notes.items() if value}


def empty_form(content: Any, parts: list[ir.Part]) -> str:
    """The form of a content without text, where it is not the usual one.

    Usual is null alongside calls or a refusal, and an empty string where there is nothing at all.
    """
    if any(isinstance(part, ir.Text | ir.Reasoning) and _in_content(part) for part in parts):
        return ""
    form = "null" if content is None else "empty"
    has_more = any(isinstance(part, ir.ToolCall | ir.Refusal) for part in parts)
    return "" if form == ("null" if has_more else "empty") else form


def _in_content(part: ir.Text | ir.Reasoning) -> bool:
    return isinstance(part, ir.Text) or own(part.metadata).get("field") == "thinking"


def scalar_text(value: Any) -> str:
    """An id, a model name or a reason as text, whatever scalar it came as."""
    if isinstance(value, str):
        return value
    return "" if value is None or isinstance(value, dict | list) else str(value)


def created_at(value: Any) -> int:
    """Seconds since the epoch; 0 where the wire has none that can be read."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        return int(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15:
        return int(value)
    return 0


# ---------------------------------------------------------------------------------------------
# Out


def render_response(response: ir.Response, request: ir.Request | None = None) -> JSON:
    """The answer as OpenAI's clients read it.

    With `request`, a client that asked in the older spelling (`functions`) is answered in it.
    """
    notes = own(response.metadata)
    message = _render_message(response, notes, legacy=wants_legacy(request))
    choice: JSON = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": wire_finish(
            response.finish_reason,
            response.raw_finish_reason,
            is_own=NAME in response.metadata,
            legacy="function_call" in message,
            has_refusal=bool(message["refusal"]),
        ),
    }
    choice.update(notes.get("choice", {}))
    body: JSON = {
        "id": response.id or default_id(response.model, response.metadata),
        "object": "chat.completion",
        "created": response.created,
        "model": response.model,
        "choices": [choice, *map(_whole_choice, notes.get("choices", ()))],
    }
    usage = render_usage(response.usage)
    if usage is not None:
        body["usage"] = usage
    body.update(notes.get("body", {}))
    return body


def default_id(model: str, metadata: ir.Metadata) -> str:
    """An id for an answer of another dialect that came without one."""
    return "" if NAME in metadata else "chatcmpl-" + short_hash(model)


def wants_legacy(request: ir.Request | None) -> bool | None:
    """Whether the client declared its tools as `functions`; `None` where that is not known."""
    if request is None or not request.tools:
        return None
    return once(request.tools, _are_legacy)


def _are_legacy(tools: list[ir.Tool]) -> bool:
    return any(own(tool.metadata).get("legacy") for tool in tools if tool.metadata)


def wire_finish(
    reason: ir.FinishReason, raw: str, *, is_own: bool, legacy: bool, has_refusal: bool
) -> str:
    """The finish reason in a word that OpenAI's clients know."""
    if legacy and reason == "tool_calls":
        return "function_call"
    if is_own and reason == "error" and raw:
        return raw
    if reason == "refusal" and has_refusal:
        return "stop"  # as OpenAI ends a refusal; its SDK would hide the text behind a filter
    return _WIRE_FINISH[reason]


def _whole_choice(choice: JSON) -> JSON:
    message: JSON = {"role": "assistant", "content": None, "refusal": None, **choice["message"]}
    return {"logprobs": None, "finish_reason": "stop", **choice, "message": message}


def _render_message(response: ir.Response, notes: JSON, *, legacy: bool | None) -> JSON:
    message: JSON = {"role": "assistant", "content": None, "refusal": None}
    texts: list[str] = []
    calls: list[ir.ToolCall] = []
    reasoning: dict[str, list[str]] = defaultdict(list)
    refusals: list[str] = []
    details: list[Any] = []
    images: list[JSON] = []
    for part in response.message.parts:
        match part:
            case ir.Text():
                texts.append(part.text)
            case ir.ToolCall():
                calls.append(part)
            case ir.Reasoning():
                fields = own(part.metadata)
                field = reasoning_field(fields)
                if fields.get("field") or (part.text and "details" not in fields):
                    reasoning[field].append(part.text)
                for name, text in fields.get("also", {}).items():
                    reasoning[name].append(text)
                details.extend(fields.get("details", ()))
            case ir.Refusal():
                refusals.append(part.text)
            case ir.Media():
                if (image := render_image(part)) is not None:
                    images.append(image)
                else:
                    texts.append(media_note(part))
            case ir.Opaque() | ir.ToolResult():
                pass  # another vendor's server tools: Chat has no place for them
    if refusals:
        message["refusal"] = "".join(refusals)
    form = notes.get("content") or ("null" if calls or message["refusal"] else "empty")
    message["content"] = "".join(texts) if texts else None if form == "null" else ""
    message.update(joined(reasoning))
    if details:
        message["reasoning_details"] = merge_details(details)
    if images:
        message["images"] = images
    if calls:
        _set_calls(message, calls, legacy=legacy)
    message.setdefault("annotations", [])
    message.update(notes.get("message", {}))
    return message


def reasoning_field(notes: JSON) -> str:
    """The field in which a client finds reasoning: as it came, else DeepSeek's."""
    field = notes.get("field")
    return field if field in REASONING_FIELDS else REASONING_FIELDS[0]


def render_image(part: ir.Media) -> JSON | None:
    """An image that the model made, as OpenRouter writes it; `None` for other media."""
    if part.kind != "image":
        return None
    return render_media(part, Quirks(), Losses(lossy=True), "")


def media_note(part: ir.Media) -> str:
    """A note in place of a sound that a model made: Chat's clients would see nothing."""
    return part.url or f"[{part.kind} {part.media_type}]"


def is_legacy(call: ir.ToolCall, *, wanted: bool | None) -> bool:
    """Whether a call is a `function_call` for the client; as it came where nothing is known."""
    return bool(own(call.metadata).get("legacy")) if wanted is None else wanted


def _set_calls(message: JSON, calls: list[ir.ToolCall], *, legacy: bool | None) -> None:
    if len(calls) == 1 and is_legacy(calls[0], wanted=legacy):
        call = calls[0]
        message["function_call"] = {"name": call.name, "arguments": wire_arguments(call)}
        return
    message["tool_calls"] = [
        render_call(call, call.id, call.name, custom=True, fields=wire_fields(call))
        for call in calls
    ]
