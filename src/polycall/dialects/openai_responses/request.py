"""Requests, both ways."""

from __future__ import annotations

from typing import Any

from polycall import ir
from polycall.dialects.openai_responses.conversation_order import in_order
from polycall.dialects.openai_responses.messages import ItemReader
from polycall.dialects.openai_responses.names import NAME, mark, others, own
from polycall.dialects.openai_responses.rendered_messages import MessagesRenderer
from polycall.dialects.openai_responses.tools import (
    ToolsRenderer,
    parse_tool_choice,
    parse_tools,
    tools_in_items,
)
from polycall.ir import JSON
from polycall.schema import openai_strict
from polycall.translation.conversation import known_of, like
from polycall.translation.efforts import (
    SAMPLING,
    effort_for,
    is_off,
    known_effort,
    refuses_sampling,
)
from polycall.translation.foreign_options import note_foreign_options
from polycall.translation.foreign_parts import adapt_request
from polycall.translation.format_words import JSON_ONLY
from polycall.translation.quirks import Quirks
from polycall.translation.service_tiers import openai_tier
from polycall.translation.tool_list_cache import parsed_once
from polycall.translation.wire import (
    Losses,
    WireRequest,
    end_user_of,
    request_reader,
    split_system,
    unread,
)

ENCRYPTED_CONTENT = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"

_KNOWN = frozenset(
    {
        "model",
        "input",
        "instructions",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "stream",
        "max_output_tokens",
        "temperature",
        "top_p",
        "top_logprobs",
        "reasoning",
        "text",
        "service_tier",
        "safety_identifier",
    }
)
_FORMATS = frozenset({"text", "json_object", "json_schema"})
_OUTPUT_TOKENS_MIN = 16  # "Expected a value >= 16" (reported, github.com/openai/openai-python)
_SCHEMA_FORMAT_KNOWN = ("type", "name", "schema", "description", "strict")

# ---------------------------------------------------------------------------------------------
# Reading


def parse_request(body: JSON, *, path: str = "") -> ir.Request:
    """A client's request.  `path` says nothing in this dialect."""
    reader = request_reader
    reader.object(body, "")
    options = unread(body, _KNOWN)
    messages, notes = _parse_messages(body, options)
    end_user = reader.get_string(body, "safety_identifier", "")
    if not end_user and isinstance(options.get("user"), str):
        end_user = options.pop("user")
        notes["end_user"] = "user"
    logprobs = reader.get_int(body, "top_logprobs", "")
    if logprobs is None and LOGPROBS in reader.get_array(options, "include", ""):
        logprobs = 0
        notes["logprobs"] = "include"
    return ir.Request(
        model=reader.get_string(body, "model", ""),
        messages=messages,
        tools=_parse_tools(body),
        tool_choice=parse_tool_choice(body.get("tool_choice"), "tool_choice"),
        parallel_tool_calls=reader.get_bool(body, "parallel_tool_calls", ""),
        stream=reader.get_bool(body, "stream", "") or False,
        max_output_tokens=reader.get_int(body, "max_output_tokens", ""),
        temperature=reader.get_float(body, "temperature", ""),
        top_p=reader.get_float(body, "top_p", ""),
        logprobs=logprobs,
        reasoning=_parse_reasoning(body),
        response_format=_parse_text(body, options),
        service_tier=reader.get_string(body, "service_tier", ""),
        end_user=end_user,
        provider_options={NAME: options} if options else {},
        metadata={NAME: notes},
    )


def _parse_tools(body: JSON) -> list[ir.Tool]:
    tools = parsed_once(request_reader.get_array(body, "tools", ""), NAME, parse_tools)
    given: Any = body.get("input")
    more = tools_in_items(given, tools) if isinstance(given, list) else []  # pyright: ignore[reportUnknownArgumentType]
    return [*tools, *more] if more else tools


def _parse_messages(body: JSON, options: JSON) -> tuple[list[ir.Message], JSON]:
    messages: list[ir.Message] = []
    instructions = request_reader.get_string(body, "instructions", "")
    if instructions:
        parts = [ir.Text(instructions)]
        messages.append(ir.Message("system", [*parts], metadata=mark({"slot": "instructions"})))
    elif "instructions" in body and body["instructions"] is not None:
        options["instructions"] = instructions
    given = body.get("input")
    if given is None:
        return messages, {"input": "none"}
    if isinstance(given, str):
        messages.append(ir.Message("user", [ir.Text(given)]))
        return messages, {"input": "text"}
    items = request_reader.array(given, "input")
    read = ItemReader(request_reader).messages(items, "input")
    return like([*messages, *read], read), {"input": "items"}


def _parse_reasoning(body: JSON) -> ir.ReasoningConfig | None:
    if body.get("reasoning") is None:
        return None
    given = request_reader.get_object(body, "reasoning", "")
    effort = request_reader.get_string(given, "effort", "reasoning")
    known = known_effort(effort)
    fields = {
        key: value
        for key, value in given.items()
        if value is not None and (key != "effort" or known is None)
    }
    is_shown = "summary" in fields or "generate_summary" in fields
    return ir.ReasoningConfig(
        effort=known, include_text=True if is_shown else None, metadata={NAME: fields}
    )


def _parse_text(body: JSON, options: JSON) -> ir.ResponseFormat | None:
    """The output format; the other fields of `text` become options named `text.*`."""
    text = request_reader.get_object(body, "text", "")
    for key, value in text.items():
        if key != "format" and value is not None:
            options[f"text.{key}"] = value
    given = request_reader.get_object(text, "format", "text")
    if not given:
        return None
    kind = request_reader.get_string(given, "type", "text.format")
    if kind not in _FORMATS:
        options["text.format"] = given
        return None
    if kind != "json_schema":
        fields = others(given, ("type",))
        metadata = mark({"fields": fields} if fields else {})
        return ir.ResponseFormat("text" if kind == "text" else "json", metadata=metadata)
    return ir.ResponseFormat(
        "json_schema",
        schema=request_reader.get_object(given, "schema", "text.format"),
        name=request_reader.get_string(given, "name", "text.format"),
        description=request_reader.get_string(given, "description", "text.format"),
        strict=request_reader.get_bool(given, "strict", "text.format"),
        metadata={NAME: {"fields": others(given, _SCHEMA_FORMAT_KNOWN)}},
    )


# ---------------------------------------------------------------------------------------------
# Writing


def render_request(request: ir.Request, *, quirks: Quirks | None = None) -> WireRequest:
    """The body for `POST /responses`.

    A request that was not written for this dialect is sent statelessly: nothing is stored at
    the vendor, and its reasoning comes back encrypted, so that any replica can continue it.
    """
    quirks = quirks or _VENDOR
    losses = Losses(lossy=request.lossy)
    request = adapt_request(request, NAME, losses)
    writer = ToolsRenderer(request, losses, quirks)
    body: JSON = {"model": request.model} if request.model else {}
    options = dict(request.provider_options.get(NAME, {}))
    note_foreign_options(request, NAME, losses)
    if NAME not in request.metadata:
        options.setdefault("store", False)
        include = list(options.get("include", ()))
        # A model that does not reason has none, and refuses to be asked for it.
        reasons = quirks.reasoning_control != "none"
        if reasons and ENCRYPTED_CONTENT not in include and options["store"] is False:
            options["include"] = [*include, ENCRYPTED_CONTENT]
    instructions, messages = _split_instructions(request)
    if instructions is not None:
        body["instructions"] = instructions
    history = MessagesRenderer(
        messages if NAME in request.metadata else in_order(messages, known_of(request.messages)),
        writer,
        losses,
        quirks,
        is_stored=options.get("store") is not False,
        is_native=NAME in request.metadata,
        has_past="previous_response_id" in options or "conversation" in options,
        known=known_of(request.messages),
    )
    items = history.items()
    if not items and instructions and NAME not in request.metadata:
        # Other vendors answer to instructions alone; here the input may not be empty.
        items = [{"role": "system", "content": body.pop("instructions")}]
    _render_input(body, items, own(request.metadata).get("input"))
    tools = writer.tools(writer.allowed(request.tool_choice))
    if tools:
        body["tools"] = tools
    if request.tool_choice is not None:
        choice = writer.choice(request.tool_choice)
        if not tools and NAME not in request.metadata and choice not in (None, "auto", "none"):
            losses.refuse("tool_choice", "a call is forced, but no tool is offered")
        if choice is not None and (tools or NAME in request.metadata):
            body["tool_choice"] = choice
    _render_settings(body, request, options, losses, quirks)
    _render_output(body, request, options, losses, quirks)
    if not is_json_named(request):
        losses.emulate("response_format", "the vendor wants the word JSON in the input")
        body["input"] = [*body["input"], {"role": "system", "content": JSON_ONLY}]
    _merge_options(body, options, losses, quirks)
    _apply_refusals(body, losses, quirks)
    return WireRequest(
        path="/responses",
        body=body,
        warnings=losses.warnings,
        aliases=writer.aliases,
        adapted=writer.adapted,
        stops=list(request.stop),
    )


_VENDOR = Quirks()


def _render_input(body: JSON, items: list[JSON], form: str | None) -> None:
    if form == "text" and len(items) == 1 and {*items[0]} == {"role", "content"}:
        body["input"] = items[0]["content"]
    elif items or form != "none":
        body["input"] = items


def _split_instructions(request: ir.Request) -> tuple[str | None, list[ir.Message]]:
    """The text for `instructions`, and the messages that are input items."""
    leading, rest = split_system(request.messages)
    texts: list[str] = []
    for position, message in enumerate(leading):
        is_item = "role" in own(message.metadata) or not all(
            isinstance(part, ir.Text) for part in message.parts
        )
        if is_item:
            rest = [*leading[position:], *rest]
            break
        texts.extend(part.text for part in message.parts if isinstance(part, ir.Text) and part.text)
    return "\n\n".join(texts) if texts else None, rest


def is_json_named(request: ir.Request) -> bool:
    """False where plain JSON is wanted, by a client of another dialect, and no message says so."""
    wanted = request.response_format
    if wanted is None or wanted.kind != "json" or NAME in request.metadata:
        return True
    _, messages = _split_instructions(request)  # the vendor does not look into instructions
    return any("json" in message.text.lower() for message in messages)


def _render_settings(
    body: JSON, request: ir.Request, options: JSON, losses: Losses, quirks: Quirks
) -> None:
    is_native = NAME in request.metadata
    if request.stream:
        body["stream"] = True
    if request.parallel_tool_calls is not None and (request.tools or is_native):
        body["parallel_tool_calls"] = request.parallel_tool_calls
    for field in ("max_output_tokens", "temperature", "top_p"):
        value = getattr(request, field)
        if value is not None:
            body[field] = value
    if not is_native and body.get("max_output_tokens", _OUTPUT_TOKENS_MIN) < _OUTPUT_TOKENS_MIN:
        losses.adjust("max_output_tokens", f"the vendor takes {_OUTPUT_TOKENS_MIN} or more")
        body["max_output_tokens"] = _OUTPUT_TOKENS_MIN
    if request.service_tier:
        tier = openai_tier(request.service_tier, quirks.service_tiers, losses)
        if tier:
            body["service_tier"] = tier
    if request.end_user:
        field = own(request.metadata).get("end_user", "safety_identifier")
        body[field] = end_user_of(request, "openai-", losses)
    if request.logprobs is not None:
        if request.logprobs or own(request.metadata).get("logprobs") != "include":
            body["top_logprobs"] = request.logprobs
        include: list[Any] = options.get("include", [])
        if not is_native and LOGPROBS not in include:
            options["include"] = [*include, LOGPROBS]
    if request.stop:
        losses.emulate("stop", f"{NAME} has no stop sequences: the answer is cut here")
    if request.candidates is not None and request.candidates > 1:
        losses.refuse("candidates", f"{NAME} gives one answer a request", path="candidates")
    for field in ("top_k", "seed", "presence_penalty", "frequency_penalty"):
        if getattr(request, field) is not None:
            losses.drop(field, f"{NAME} has no such field")


def _render_output(
    body: JSON, request: ir.Request, options: JSON, losses: Losses, quirks: Quirks
) -> None:
    """`reasoning` and `text`."""
    if request.reasoning is not None:
        if quirks.reasoning_control != "none":
            reasoning = _render_reasoning(request.reasoning, losses, quirks)
            if reasoning or NAME in request.reasoning.metadata:
                body["reasoning"] = reasoning
        elif not is_off(request.reasoning) or quirks.thinking_forms:
            losses.drop("reasoning", "the target's reasoning cannot be controlled")
    text: JSON = {}
    if request.response_format is not None:
        format_ = _render_format(request.response_format, losses, quirks)
        if format_ is not None:
            text["format"] = format_
    for key in [key for key in options if key.startswith("text.")]:
        text[key.removeprefix("text.")] = options.pop(key)
    if text:
        body["text"] = text


def _render_reasoning(config: ir.ReasoningConfig, losses: Losses, quirks: Quirks) -> JSON:
    fields = dict(own(config.metadata))
    effort = effort_for(config, quirks.efforts, losses)
    if effort is not None:
        fields["effort"] = effort
    if config.include_text and "summary" not in fields and "generate_summary" not in fields:
        fields["summary"] = "auto"
    return fields


def _render_format(wanted: ir.ResponseFormat, losses: Losses, quirks: Quirks) -> JSON | None:
    fields = own(wanted.metadata).get("fields", {})
    if wanted.kind == "text":
        return {"type": "text", **fields}
    if wanted.kind not in quirks.response_formats:
        losses.refuse("response_format", f"the target has no {wanted.kind!r}")
        return None
    if wanted.kind == "json":
        return {"type": "json_object", **fields}
    schema = wanted.schema or {}
    strict = wanted.strict
    if strict and NAME not in wanted.metadata and openai_strict(schema) != schema:
        # Made strict, the answer would hold nulls that the caller's schema does not allow.
        detail = "the schema is not strict as this vendor wants it: sent without strict"
        losses.adjust("response_format.strict", detail)
        strict = False
    rendered: JSON = {"type": "json_schema", "name": wanted.name or "response", "schema": schema}
    if wanted.description:
        rendered["description"] = wanted.description
    if strict is not None:
        rendered["strict"] = strict
    return {**rendered, **fields}


def _merge_options(body: JSON, options: JSON, losses: Losses, quirks: Quirks) -> None:
    for key, value in options.items():
        if quirks.options is not None and key not in quirks.options:
            losses.drop(key, "the target does not know this field")
        else:
            body.setdefault(key, value)


_WIRE_FIELDS = {
    "response_format": "text",
    "logprobs": "top_logprobs",
    "end_user": "safety_identifier",
}


def _apply_refusals(body: JSON, losses: Losses, quirks: Quirks) -> None:
    refused = set(quirks.refused)
    reasoning: JSON = body.get("reasoning") or {}
    if refuses_sampling(reasoning.get("effort"), quirks):
        refused.update(SAMPLING)
    if not quirks.parallel_switch:
        refused.add("parallel_tool_calls")
    for field in sorted(refused):
        if body.pop(_WIRE_FIELDS.get(field, field), None) is not None:
            losses.drop(field, "the target does not take this field")
