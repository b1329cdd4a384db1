"""Request bodies, both ways.

A request that came over this dialect goes back as it was written where the target takes it; what
the target is known to take otherwise is in its `Quirks`.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec.structs import replace

from polycall.dialects.openai_chat.messages import parse_messages
from polycall.dialects.openai_chat.names import NAME, own
from polycall.dialects.openai_chat.parameters import (
    HANDLED_FIELDS,
    OWN_TOP_FIELDS,
    STANDARD_OPTIONS,
    parse_reasoning_config,
    parse_response_format,
    write_reasoning,
)
from polycall.dialects.openai_chat.rendered_messages import MessagesRenderer, is_thinking_off
from polycall.dialects.openai_chat.system import with_one_system
from polycall.dialects.openai_chat.tools import (
    ChoiceRenderer,
    ToolsRenderer,
    parse_choice,
    parse_tools,
)
from polycall.ir import JSON, Request, ResponseFormat
from polycall.schema import openai_strict
from polycall.translation.efforts import SAMPLING, refuses_sampling
from polycall.translation.foreign_options import note_foreign_options
from polycall.translation.foreign_parts import adapt_request
from polycall.translation.format_words import format_words
from polycall.translation.quirks import Quirks
from polycall.translation.service_tiers import openai_tier
from polycall.translation.wire import (
    Losses,
    WireRequest,
    end_user_of,
    request_reader,
)

_DEFAULT_QUIRKS = Quirks()
# A body that has no others needs no look at the rest.
_USUAL_FIELDS = frozenset(
    {
        *("model", "messages", "tools", "tool_choice", "parallel_tool_calls", "stream"),
        *("max_tokens", "max_completion_tokens", "temperature", "top_p"),
    }
)
_REFUSED_OPTIONS = frozenset({"audio", "modalities", "web_search_options"})


def parse_request(body: JSON, *, path: str = "") -> Request:
    """The request that a client sent.  `path` is not needed: everything is in the body."""
    reader = request_reader
    reader.object(body, path)
    if body.get("messages") is None:
        reader.fail("messages", "an array of messages", body.get("messages"))
    notes: JSON = {}
    options: JSON = {}
    more = {} if body.keys() <= _USUAL_FIELDS else _parse_more(body, notes, options)
    tools = parse_tools(body)
    choice = parse_choice(body)
    if not tools and choice is not None and choice.mode in ("auto", "none") and not choice.names:
        choice = None  # says nothing without tools, and is a 400 at OpenAI
    request = Request(
        model=reader.get_string(body, "model", ""),
        messages=parse_messages(reader.get_array(body, "messages", "")),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=reader.get_bool(body, "parallel_tool_calls", "") if tools else None,
        stream=bool(reader.get_bool(body, "stream", "")),
        max_output_tokens=_parse_max_tokens(body, notes, options),
        temperature=reader.get_float(body, "temperature", ""),
        top_p=reader.get_float(body, "top_p", ""),
        provider_options={NAME: options} if options else {},
        metadata={NAME: notes},
    )
    return replace(request, **more) if more else request


def _parse_more(body: JSON, notes: JSON, options: JSON) -> dict[str, Any]:
    """The fields of a request that most clients leave out; adds to `options` what others are."""
    reader = request_reader
    for key, value in body.items():
        if key not in HANDLED_FIELDS and value is not None:
            options[key] = value
    reader.get_object(body, "stream_options", "")
    return {
        "top_k": reader.get_int(body, "top_k", ""),
        "stop": _parse_stop(body, notes),
        "seed": _parse_seed(body, notes),
        "presence_penalty": reader.get_float(body, "presence_penalty", ""),
        "frequency_penalty": reader.get_float(body, "frequency_penalty", ""),
        "candidates": reader.get_int(body, "n", ""),
        "logprobs": _parse_logprobs(body, options),
        "reasoning": parse_reasoning_config(body),
        "response_format": parse_response_format(body),
        "service_tier": reader.get_string(body, "service_tier", ""),
        "end_user": _parse_end_user(body, notes, options),
    }


def _parse_max_tokens(body: JSON, notes: JSON, options: JSON) -> int | None:
    new = request_reader.get_int(body, "max_completion_tokens", "")
    old = request_reader.get_int(body, "max_tokens", "")
    if new is None and old is not None:
        notes["max_tokens_field"] = "max_tokens"
        return old
    if old is not None:
        options["max_tokens"] = old
    return new


def _parse_stop(body: JSON, notes: JSON) -> list[str]:
    stop = body.get("stop")
    if stop is None:
        return []
    if isinstance(stop, str):
        notes["stop"] = "string"
        return [stop]
    items = request_reader.array(stop, "stop")
    return [request_reader.string(item, f"stop[{i}]") for i, item in enumerate(items)]


def _parse_seed(body: JSON, notes: JSON) -> int | None:
    seed = request_reader.get_int(body, "seed", "")
    if seed is None and (seed := request_reader.get_int(body, "random_seed", "")) is not None:
        notes["seed_field"] = "random_seed"
    return seed


def _parse_logprobs(body: JSON, options: JSON) -> int | None:
    top = request_reader.get_int(body, "top_logprobs", "")
    if request_reader.get_bool(body, "logprobs", ""):
        return top or 0
    if top is not None:
        options["top_logprobs"] = top
    return None


def _parse_end_user(body: JSON, notes: JSON, options: JSON) -> str:
    identifier = request_reader.get_string(body, "safety_identifier", "")
    user = request_reader.get_string(body, "user", "")
    if not identifier:
        if user:
            notes["end_user_field"] = "user"
        return user
    if user:
        options["user"] = user
    return identifier


# ---------------------------------------------------------------------------------------------
# Out


def render_request(request: Request, *, quirks: Quirks = _DEFAULT_QUIRKS) -> WireRequest:
    """The request as the target takes it.

    Raises `UnsupportedError` where leaving something out would change the answer.
    """
    losses = Losses(lossy=request.lossy)
    request = adapt_request(request, NAME, losses)
    body: JSON = {"model": request.model} if request.model else {}
    writer = ToolsRenderer(quirks, losses)
    messages = MessagesRenderer(request, quirks, writer, losses).write()
    body["messages"] = messages
    is_own = NAME in request.metadata
    _write_tools(request, body, writer, quirks, losses)
    fields = _Fields(request, body, quirks, losses)
    fields.write()
    if request.response_format is not None:
        _write_format(request.response_format, body, quirks, losses, is_own=is_own)
    if not quirks.late_system:
        body["messages"] = with_one_system(messages, losses)
    _write_options(request, body, quirks, losses)
    _write_stream(request, body, quirks, is_own=is_own)
    note_foreign_options(request, NAME, losses)
    return WireRequest(
        path="/chat/completions",
        body=body,
        warnings=losses.warnings,
        aliases=writer.aliases,
        adapted=writer.adapted,
        stops=fields.stops,
    )


def _write_tools(
    request: Request, body: JSON, writer: ToolsRenderer, quirks: Quirks, losses: Losses
) -> None:
    choice = ChoiceRenderer(request.tools, writer, quirks, losses)
    is_forced = False
    if request.tools or request.tool_choice is not None:
        is_forced = choice.write(request.tool_choice, body)
        writer.write(choice.tools, body)
    if is_forced and not request.tools and NAME not in request.metadata:
        losses.refuse("tool_choice", "a call is forced, but no tool is offered", path="tool_choice")
        body.pop("tool_choice", None)
    turned_off = is_forced and _make_room_for_choice(request, body, quirks, losses)
    write_reasoning(request, body, quirks, losses, turned_off=turned_off)
    if request.parallel_tool_calls is None or "tools" not in body:
        return
    if quirks.parallel_switch and "parallel_tool_calls" not in quirks.refused:
        body["parallel_tool_calls"] = request.parallel_tool_calls
    elif not request.parallel_tool_calls:
        losses.drop("parallel_tool_calls", "the target has no such switch")


def _make_room_for_choice(request: Request, body: JSON, quirks: Quirks, losses: Losses) -> bool:
    """Whether thinking must be turned off for a forced choice to be accepted."""
    if quirks.forced_choice_while_reasoning or is_thinking_off(request, quirks):
        return False
    config = request.reasoning
    is_asked = config is not None and (
        config.effort is not None or config.budget_tokens is not None
    )
    if is_asked or quirks.thinks_always or quirks.reasoning_control not in ("thinking", "switch"):
        losses.refuse(
            "tool_choice", "the target takes no forced choice while it reasons", path="tool_choice"
        )
        body.pop("tool_choice", None)
        return False
    losses.adjust("reasoning", "turned off, since the tool choice is forced")
    return True


class _Fields:
    """Writes the fields that are one value each."""

    def __init__(self, request: Request, body: JSON, quirks: Quirks, losses: Losses) -> None:
        self._request = request
        self._body = body
        self._quirks = quirks
        self._losses = losses
        self._notes = own(request.metadata)
        self.stops: list[str] = []
        self._refused = quirks.refused
        if refuses_sampling(body.get("reasoning_effort"), quirks):
            self._refused |= frozenset(SAMPLING)

    def write(self) -> None:
        """All of them."""
        request, quirks, notes = self._request, self._quirks, self._notes
        as_written = quirks.max_tokens_field == "max_completion_tokens"
        field = notes.get("max_tokens_field", "") if as_written else ""
        if request.max_output_tokens is not None:
            name = field or quirks.max_tokens_field
            self._put(name, "max_output_tokens", request.max_output_tokens)
        if request.temperature is not None:
            temperature = self._fitted_temperature(request.temperature)
            self._put("temperature", "temperature", temperature)
        if request.top_p is not None:
            self._put("top_p", "top_p", request.top_p)
        if request.top_k is not None:
            # A client that wrote it here knows its server.
            if quirks.top_k or (quirks.options is None and NAME in request.metadata):
                self._put("top_k", "top_k", request.top_k)
            else:
                self._losses.drop("top_k", "Chat Completions has none")
        if request.stop:
            self._write_stop(request.stop, as_string=notes.get("stop") == "string")
        if request.seed is not None:
            field = notes.get("seed_field", "") if quirks.seed_field == "seed" else ""
            self._put(field or quirks.seed_field, "seed", request.seed)
        if request.presence_penalty is not None:
            self._put("presence_penalty", "presence_penalty", request.presence_penalty)
        if request.frequency_penalty is not None:
            self._put("frequency_penalty", "frequency_penalty", request.frequency_penalty)
        if request.candidates is not None:
            self._write_candidates(request.candidates)
        if request.logprobs is not None:
            self._write_logprobs(request.logprobs)
        if request.service_tier:
            none: frozenset[str] = frozenset()
            taken = none if "service_tier" in self._refused else quirks.service_tiers
            if tier := openai_tier(request.service_tier, taken, self._losses):
                self._body["service_tier"] = tier
        if request.end_user:
            self._write_end_user()

    def _write_stop(self, wanted: list[str], *, as_string: bool) -> None:
        most = 0 if "stop" in self._quirks.refused else self._quirks.stops_max or len(wanted)
        if len(wanted) > most:
            self._losses.emulate("stop", "the answer is cut here, not by the target")
            self.stops = list(wanted)
        if most:
            is_one = as_string and len(wanted) == 1
            self._body["stop"] = wanted[0] if is_one else wanted[:most]

    def _fitted_temperature(self, wanted: float) -> float:
        """The temperature, within what the target takes."""
        bounds = self._quirks.temperature_range
        if bounds is None or bounds[0] <= wanted <= bounds[1]:
            return wanted
        nearest = min(max(wanted, bounds[0]), bounds[1])
        self._losses.adjust("temperature", f"{wanted} is sent as {nearest}")
        return nearest

    def _put(self, name: str, field: str, value: Any, *, matters: bool = False) -> None:
        if field not in self._refused:
            self._body[name] = value
        elif matters:
            self._losses.refuse(name, "the target does not take it", path=name)
        else:
            self._losses.drop(name, "the target does not take it")

    def _write_candidates(self, count: int) -> None:
        is_own = NAME in self._request.metadata
        if count == 1 and (not is_own or "candidates" in self._quirks.refused):
            return  # the default, which some servers refuse all the same
        if count > 1 and not is_own:
            detail = "only a client of Chat can be shown several answers"
            self._losses.refuse("candidates", detail, path="candidates")
            return
        self._put("n", "candidates", count, matters=count > 1)

    def _write_logprobs(self, count: int) -> None:
        self._put("logprobs", "logprobs", True, matters=True)
        if count and "logprobs" in self._body:
            self._body["top_logprobs"] = count

    def _write_end_user(self) -> None:
        default = self._quirks.end_user_field
        if not default:
            self._losses.drop("end_user", "the target has no field for it")
            return
        written = self._notes.get("end_user_field", "") if default != "user" else ""
        if "end_user" in self._quirks.refused:
            self._losses.drop("end_user", "the target does not take it")
            return
        self._body[written or default] = end_user_of(self._request, "openai-", self._losses)


def _write_format(
    form: ResponseFormat, body: JSON, quirks: Quirks, losses: Losses, *, is_own: bool
) -> None:
    notes = own(form.metadata)
    takes_none = ("tools" in body and not quirks.tools_with_json) or (
        not quirks.json_while_thinking and _thinks(body, quirks)
    )
    if form.kind == "text" or (form.kind in quirks.response_formats and not takes_none):
        if form.strict and not is_own and openai_strict(form.schema or {}) != form.schema:
            # Made strict, the answer would hold nulls that the caller's schema does not allow.
            detail = "the schema is not strict as OpenAI wants it: sent without strict"
            losses.adjust("response_format.strict", detail)
            form = replace(form, strict=False)
        body["response_format"] = _format_value(form, notes)
        if form.kind != "json" or is_own or _says_json(body["messages"]):
            return
    losses.emulate("response_format", f"{form.kind} is asked for in words")
    if "json" in quirks.response_formats and not takes_none:
        body["response_format"] = {"type": "json_object"}
    messages = body["messages"]
    place = 0
    while place < len(messages) and messages[place]["role"] in ("system", "developer"):
        place += 1
    messages.insert(place, {"role": "system", "content": format_words(form.schema)})


def _thinks(body: JSON, quirks: Quirks) -> bool:
    """Whether a model with a switch will think: as the body says, or else by itself."""
    switched = body.get("enable_thinking")
    return quirks.thinks_always or switched or (switched is None and quirks.thinking_needs_stream)


def _says_json(messages: list[JSON]) -> bool:
    """Whether a message has the word without which OpenAI refuses plain JSON."""
    return any("json" in text.lower() for message in messages for text in _texts(message))


def _texts(message: JSON) -> list[str]:
    content = message.get("content") or ""
    return [content] if isinstance(content, str) else [part.get("text", "") for part in content]


def _format_value(form: ResponseFormat, notes: JSON) -> JSON:
    if form.kind != "json_schema":
        kind = "json_object" if form.kind == "json" else "text"
        return {"type": kind, **notes.get("fields", {})}
    # OpenAI demands a name, of the characters that a tool's may have.
    inner: JSON = {"name": re.sub(r"[^A-Za-z0-9_-]", "_", form.name)[:64] or "response"}
    if notes.get("nameless"):
        inner = {}
    if form.description:
        inner["description"] = form.description
    if form.schema is not None:
        inner["schema"] = form.schema
    if form.strict is not None:
        inner["strict"] = form.strict
    inner.update(notes.get("inner", {}))
    return {"type": "json_schema", "json_schema": inner, **notes.get("fields", {})}


def _write_options(request: Request, body: JSON, quirks: Quirks, losses: Losses) -> None:
    for name, value in request.provider_options.get(NAME, {}).items():
        if name in ("stream_options", "max_tokens"):
            continue
        # A client of an unknown server may know fields of that server; OpenAI's are judged here.
        is_servers = quirks.careful and name not in STANDARD_OPTIONS
        known = quirks.options is None or name in quirks.options or is_servers
        if known and name not in quirks.refused:
            body.setdefault(name, value)
        elif name in _REFUSED_OPTIONS:
            losses.refuse(name, "the target does not take it", path=name)
        elif name not in OWN_TOP_FIELDS:
            losses.drop(name, "the target does not know this field")


def _write_stream(request: Request, body: JSON, quirks: Quirks, *, is_own: bool) -> None:
    if not request.stream:
        return
    body["stream"] = True
    asked: JSON = request.provider_options.get(NAME, {}).get("stream_options") or {}
    if quirks.stream_usage == "never":
        return
    if quirks.stream_usage == "always" or not is_own:
        body["stream_options"] = {**asked, "include_usage": True}
    elif asked:
        body["stream_options"] = asked
