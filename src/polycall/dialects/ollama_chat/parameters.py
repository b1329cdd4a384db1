"""`options`, `think` and `format`, wire to middle language and back."""

from __future__ import annotations

from typing import Any, cast

from polycall.dialects.ollama_chat.names import NAME
from polycall.ir import JSON, Effort, ReasoningConfig, Request, ResponseFormat
from polycall.translation.absent_fields import note_absent
from polycall.translation.efforts import effort_for, is_off
from polycall.translation.quirks import Quirks
from polycall.translation.wire import Losses, unread
from polycall.translation.wire import request_reader as reader

_FLOATS = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_INTEGERS = {"num_predict": "max_output_tokens", "top_k": "top_k", "seed": "seed"}
_THINK = ("low", "medium", "high", "max")


def parse_options(value: Any) -> tuple[JSON, JSON]:
    """Fields of the request, and what `options` says besides."""
    options = {} if value is None else reader.object(value, "options")
    fields: JSON = {name: reader.get_float(options, name, "options") for name in _FLOATS}
    for name, field in _INTEGERS.items():
        fields[field] = reader.get_int(options, name, "options")
    if (most := fields["max_output_tokens"]) is not None and most < 1:
        fields["max_output_tokens"] = None  # -1 and -2: without a bound
    stop: Any = options.get("stop")
    texts: list[Any] = [stop] if isinstance(stop, str) else stop or []
    fields["stop"] = [reader.string(text, "options.stop") for text in texts]
    known = {*_FLOATS, *_INTEGERS, "stop"}
    rest = unread(options, known)
    if fields["max_output_tokens"] is None and options.get("num_predict") is not None:
        rest["num_predict"] = options["num_predict"]
    return fields, rest


def parse_think(value: Any) -> ReasoningConfig | None:
    """`think`: on or off, or how much."""
    if value is None:
        return None
    own = {NAME: {"think": value}}
    if isinstance(value, bool):
        return ReasoningConfig(budget_tokens=-1 if value else 0, metadata=own)
    word = reader.string(value, "think")
    if word not in _THINK:
        reader.fail("think", "true, false or one of " + ", ".join(_THINK), value)
    return ReasoningConfig(cast("Effort", word), metadata=own)


def parse_format(value: Any) -> ResponseFormat | None:
    """`format`: `json`, or a schema."""
    if value in (None, ""):
        return None
    if value == "json":
        return ResponseFormat("json", metadata={NAME: {}})
    return ResponseFormat("json_schema", reader.object(value, "format"), metadata={NAME: {}})


def render_options(request: Request, losses: Losses, quirks: Quirks) -> JSON:
    """`options`."""
    options: JSON = {}
    for name in _FLOATS:
        if (value := getattr(request, name)) is not None:
            options[name] = value
    for name, field in _INTEGERS.items():
        if (number := getattr(request, field)) is not None:
            options[name] = number
    if request.stop:
        options["stop"] = request.stop
    for field in sorted(quirks.refused & {*_FLOATS, "top_k", "seed", "stop"}):
        if field in options:
            losses.drop(field, "the target refuses it")
            del options[field]
    note_absent(request, losses, "logprobs", "candidates", "end_user")
    if request.service_tier not in ("", "auto"):
        losses.drop("service_tier", "this wire has no field for it")
    return options


def render_think(request: Request, losses: Losses, quirks: Quirks) -> Any:
    """`think`; `None` where the request does not say."""
    wanted = request.reasoning
    if wanted is None:
        return None
    own = wanted.metadata.get(NAME, {})
    if "think" in own:
        return own["think"]
    if quirks.reasoning_control == "none":
        losses.drop("reasoning", "the target has no control over thinking")
        return None
    if is_off(wanted):
        return False
    effort = effort_for(wanted, quirks.efforts & set(_THINK), losses)
    return True if effort is None else effort


def render_format(request: Request, losses: Losses) -> Any:
    """`format`; `None` for plain text."""
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return None
    if wanted.kind == "json" or wanted.schema is None:
        return "json"
    if wanted.description:
        losses.drop("response_format.description", "this wire takes the schema alone")
    return wanted.schema
