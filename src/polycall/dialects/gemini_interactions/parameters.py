"""`generation_config` and `response_format`, wire to middle language and back."""

from __future__ import annotations

from typing import Any, cast

from polycall.dialects.gemini_interactions.names import NAME
from polycall.ir import JSON, Effort, ReasoningConfig, Request, ResponseFormat
from polycall.schema import gemini_json_schema
from polycall.translation.absent_fields import note_absent
from polycall.translation.efforts import effort_for, is_off
from polycall.translation.quirks import Quirks
from polycall.translation.wire import Losses, unread
from polycall.translation.wire import request_reader as reader

_LEVELS = ("minimal", "low", "medium", "high", "xhigh")  # google-genai 3.6
_READ = frozenset(
    {
        "max_output_tokens",
        "seed",
        "stop_sequences",
        "temperature",
        "thinking_level",
        "thinking_summaries",
        "tool_choice",
        "top_p",
    }
)


def parse_config(value: Any) -> tuple[JSON, JSON]:
    """Fields of the request, and what the configuration says besides."""
    path = "generation_config"
    config = {} if value is None else reader.object(value, path)
    fields: JSON = {
        "max_output_tokens": reader.get_int(config, "max_output_tokens", path),
        "temperature": reader.get_float(config, "temperature", path),
        "top_p": reader.get_float(config, "top_p", path),
        "seed": reader.get_int(config, "seed", path),
        "stop": [
            reader.string(each, f"{path}.stop_sequences")
            for each in reader.get_array(config, "stop_sequences", path)
        ],
        "reasoning": _parse_reasoning(config, path),
    }
    return fields, unread(config, _READ)


def _parse_reasoning(config: JSON, path: str) -> ReasoningConfig | None:
    level = reader.get_choice(config, "thinking_level", path, _LEVELS)
    summaries = reader.get_choice(config, "thinking_summaries", path, ("auto", "none"))
    if level is None and summaries is None:
        return None
    shown = None if summaries is None else summaries == "auto"
    return ReasoningConfig(cast("Effort | None", level), include_text=shown)


def parse_format(wire: JSON) -> tuple[ResponseFormat | None, JSON]:
    """The format of text; formats of other kinds stay as they are."""
    value: Any = wire.get("response_format")
    mime_type = reader.get_string(wire, "response_mime_type", "")
    kept: JSON = {"response_mime_type": mime_type} if mime_type else {}
    if value is None:
        is_json = mime_type == "application/json"
        return (ResponseFormat("json", metadata={NAME: {}}) if is_json else None), kept
    items: list[Any] = value if isinstance(value, list) else [value]  # pyright: ignore[reportUnknownVariableType]
    if len(items) != 1 or not isinstance(items[0], dict):
        return None, {**kept, "response_format": value}
    item: JSON = items[0]  # pyright: ignore[reportUnknownVariableType]
    own: JSON = {"shape": "list"} if isinstance(value, list) else {}
    if item.get("type") == "text" and item.keys() <= {"type", "mime_type", "schema"}:
        if item.get("mime_type") != "application/json":
            return None, {**kept, "response_format": value}
        schema: Any = item.get("schema")
        if schema is None:
            return ResponseFormat("json", metadata={NAME: {**own, "object": True}}), kept
        schema = reader.object(schema, "response_format.schema")
        return ResponseFormat("json_schema", schema, metadata={NAME: own}), kept
    if mime_type == "application/json" and not isinstance(value, list):
        # As it was before June: the schema itself.
        return ResponseFormat("json_schema", item, metadata={NAME: {"shape": "schema"}}), kept
    return None, {**kept, "response_format": value}


def render_config(request: Request, losses: Losses, quirks: Quirks) -> JSON:
    """`generation_config`."""
    config: JSON = {}
    for field, key in (
        ("max_output_tokens", "max_output_tokens"),
        ("temperature", "temperature"),
        ("top_p", "top_p"),
        ("seed", "seed"),
        ("stop", "stop_sequences"),
    ):
        value: Any = getattr(request, field)
        if value in (None, []):
            continue
        if field in quirks.refused:
            losses.drop(field, "the target refuses it")
        else:
            config[key] = value
    absent = ("top_k", "presence_penalty", "frequency_penalty", "logprobs", "candidates")
    note_absent(request, losses, *absent, "end_user")
    config.update(_render_reasoning(request, losses, quirks))
    return config


def _render_reasoning(request: Request, losses: Losses, quirks: Quirks) -> JSON:
    wanted = request.reasoning
    if wanted is None:
        return {}
    config: JSON = {}
    if is_off(wanted):
        config["thinking_level"] = "minimal"
        losses.adjust("reasoning", "thinking cannot be turned off: sent as level 'minimal'")
    elif (effort := effort_for(wanted, quirks.efforts & set(_LEVELS), losses)) is not None:
        config["thinking_level"] = effort
    if wanted.include_text is not None:
        config["thinking_summaries"] = "auto" if wanted.include_text else "none"
    return config


def render_format(request: Request, quirks: Quirks, losses: Losses) -> Any:
    """`response_format`; `None` where there is none to write."""
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return None
    own = wanted.metadata.get(NAME)
    if own is None and wanted.kind not in quirks.response_formats:
        losses.drop("response_format", f"the model does not take {wanted.kind!r}")
        return None
    if wanted.kind == "json" and own is not None and not own:
        return None  # `response_mime_type` says it
    if own is not None and own.get("shape") == "schema":
        return wanted.schema
    wire: JSON = {"type": "text", "mime_type": "application/json"}
    if wanted.schema is not None:
        wire["schema"] = wanted.schema if own is not None else gemini_json_schema(wanted.schema)
    return [wire] if own is not None and own.get("shape") == "list" else wire
