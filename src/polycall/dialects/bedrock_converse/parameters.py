"""Inference, reasoning and format, wire to middle language and back.

Converse has fields of its own for the first and the last; how much to think is `outputConfig`'s
effort, and Claude's own `thinking` among the fields for the model.
"""

from __future__ import annotations

from typing import Any, cast

from polycall._support import jsontext
from polycall.dialects.bedrock_converse.names import NAME
from polycall.ir import JSON, ReasoningConfig, Request, ResponseFormat
from polycall.schema.walk import as_object
from polycall.translation.absent_fields import note_absent
from polycall.translation.efforts import (
    CLAUDE_EFFORTS,
    claude_budget,
    effort_for,
    fitted_effort,
    is_off,
    known_effort,
)
from polycall.translation.format_words import JSON_ONLY, format_words
from polycall.translation.quirks import Quirks
from polycall.translation.service_tiers import mapped_tier
from polycall.translation.thinking_turns import without_budget
from polycall.translation.wire import Losses, unread
from polycall.translation.wire import request_reader as reader

_INFERENCE = {"maxTokens", "temperature", "topP", "stopSequences"}
# Fields for the model that say how to think; the rest is for the model alone.
_REASONING = ("thinking", "output_config", "reasoning_config", "reasoning_effort")
_TIERS = {"default": "default", "standard": "default", "flex": "flex", "priority": "priority"}
_BUDGET_MIN = 1024


# ---------------------------------------------------------------------------------------------
# Wire to middle language


def parse_inference(value: Any) -> tuple[JSON, JSON]:
    """Fields of the request, and what `inferenceConfig` says besides."""
    path = "inferenceConfig"
    config = {} if value is None else reader.object(value, path)
    stop = [
        reader.string(each, f"{path}.stopSequences[{index}]")
        for index, each in enumerate(reader.get_array(config, "stopSequences", path))
    ]
    fields: JSON = {
        "max_output_tokens": reader.get_int(config, "maxTokens", path),
        "temperature": reader.get_float(config, "temperature", path),
        "top_p": reader.get_float(config, "topP", path),
        "stop": stop,
    }
    rest = unread(config, _INFERENCE)
    return fields, rest


def parse_reasoning(output: JSON, model_fields: JSON) -> ReasoningConfig | None:
    """The amount of reasoning; the fields that gave it are kept as they came."""
    own = {key: model_fields[key] for key in _REASONING if key in model_fields}
    effort: Any = output.get("effort")
    inner: Any = own.get("output_config")
    if effort is None and isinstance(inner, dict):
        effort = cast("JSON", inner).get("effort")
    effort = effort if effort is not None else own.get("reasoning_effort")
    thinking: Any = own.get("thinking", own.get("reasoning_config"))
    budget: int | None = None
    if isinstance(thinking, dict):
        kind, number = thinking.get("type"), thinking.get("budget_tokens")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if kind == "disabled":
            budget = 0
        elif isinstance(number, int):
            budget = number
        elif kind in ("adaptive", "enabled") and effort is None:
            budget = -1
    if effort is None and budget is None and not own:
        return None
    kept: JSON = {"fields": own} if own else {}
    if output.get("effort") is not None:
        kept["effort"] = output["effort"]
    return ReasoningConfig(known_effort(effort), budget, metadata={NAME: kept})


def parse_format(output: JSON) -> ResponseFormat | None:
    """`outputConfig.textFormat`."""
    path = "outputConfig.textFormat"
    wire = reader.get_object(output, "textFormat", "outputConfig")
    if not wire:
        return None
    structure = reader.get_object(wire, "structure", path)
    inner = reader.get_object(structure, "jsonSchema", f"{path}.structure")
    text = reader.get_string(inner, "schema", f"{path}.structure.jsonSchema")
    try:
        schema: Any = jsontext.decode(text)
    except ValueError:
        schema = None
    if not isinstance(schema, dict):
        reader.fail(f"{path}.structure.jsonSchema.schema", "a JSON Schema as text", text)
    return ResponseFormat(
        "json_schema",
        schema,  # pyright: ignore[reportUnknownArgumentType]
        name=reader.get_string(inner, "name", path),
        description=reader.get_string(inner, "description", path),
        metadata={NAME: {}},
    )


# ---------------------------------------------------------------------------------------------
# Middle language to wire


def render_inference(request: Request, losses: Losses, quirks: Quirks) -> tuple[JSON, JSON]:
    """`inferenceConfig`, and the fields for the model that stand elsewhere."""
    config: JSON = {}
    model_fields: JSON = {}
    most = request.max_output_tokens or quirks.max_tokens_default or None
    refused = quirks.refused
    for field, key, value in (
        ("max_output_tokens", "maxTokens", most),
        ("temperature", "temperature", _unit(request.temperature, losses)),
        ("top_p", "topP", request.top_p),
        ("stop", "stopSequences", [text for text in request.stop if text.strip()]),
    ):
        if value in (None, []):
            continue
        if field in refused:
            losses.drop(field, "the target refuses it")
        else:
            config[key] = value
    if request.top_k is not None:
        if quirks.top_k and "top_k" not in refused:
            model_fields["top_k"] = request.top_k
        else:
            losses.drop("top_k", "no counterpart on this wire")
    absent = ("seed", "presence_penalty", "frequency_penalty", "logprobs", "candidates")
    note_absent(request, losses, *absent, "end_user")
    return config, model_fields


def _unit(temperature: float | None, losses: Losses) -> float | None:
    if temperature is None or temperature <= 1:
        return temperature
    losses.adjust("temperature", f"{temperature} is sent as 1, the most")
    return 1


def render_reasoning(
    request: Request, config: JSON, losses: Losses, quirks: Quirks
) -> tuple[str, JSON]:
    """The effort, and the fields for the model; a budget is kept below `maxTokens`."""
    wanted = request.reasoning
    if wanted is None:
        return "", {}
    own = wanted.metadata.get(NAME)
    if own is not None:
        return str(own.get("effort") or ""), dict(own.get("fields", {}))
    forms = quirks.thinking_forms
    if not forms:
        if is_off(wanted):
            return "", {}
        effort = effort_for(wanted, quirks.efforts & CLAUDE_EFFORTS, losses)
        if effort is None or quirks.reasoning_control == "none":
            losses.drop("reasoning", "the target has no control over thinking")
            return "", {}
        return effort, {}
    if is_off(wanted):
        if "disabled" in forms:
            return "", {"thinking": {"type": "disabled"}}
        losses.adjust("reasoning", "thinking cannot be turned off: sent as effort 'low'")
        return "low", {}
    return _claude(wanted, config, losses, quirks)


def with_room_for_bare_turn(
    fields: JSON, messages: list[JSON], losses: Losses, quirks: Quirks
) -> JSON:
    """No fixed budget of thinking where the turn that continues began without any."""
    thinking = as_object(fields.get("thinking"))  # the model's own field, and its to judge
    if thinking is None:
        return fields
    adapts = "adaptive" in quirks.thinking_forms
    made = without_budget(thinking, messages, _is_result, _is_thinking, losses, adapts=adapts)
    return {**fields, "thinking": made}


def _is_result(block: JSON) -> bool:
    return "toolResult" in block


def _is_thinking(block: JSON) -> bool:
    return "reasoningContent" in block


def _claude(
    wanted: ReasoningConfig, config: JSON, losses: Losses, quirks: Quirks
) -> tuple[str, JSON]:
    """Effort and `thinking`, in the forms that the model takes."""
    forms, budget = quirks.thinking_forms, wanted.budget_tokens or -1
    taken = quirks.efforts & CLAUDE_EFFORTS
    if "adaptive" in forms and not (budget > 0 and "enabled" in forms):
        effort = effort_for(wanted, taken, losses) if budget > 0 else wanted.effort
        said = fitted_effort(effort, taken, losses) if effort else None
        return str(said or ""), {"thinking": {"type": "adaptive"}}
    if budget <= 0:
        budget = claude_budget(wanted.effort, losses)
    budget = max(budget, _BUDGET_MIN)
    most = config.get("maxTokens")
    if not isinstance(most, int):
        config["maxTokens"] = budget + 4096
    elif budget >= most:
        if most <= _BUDGET_MIN:
            losses.adjust("reasoning", f"off: maxTokens {most} leaves no room for thinking")
            return "", {"thinking": {"type": "disabled"}}
        losses.adjust("reasoning.budget_tokens", f"lowered below maxTokens {most}")
        budget = most - 1
    return "", {"thinking": {"type": "enabled", "budget_tokens": budget}}


def render_format(request: Request, losses: Losses, quirks: Quirks) -> tuple[JSON | None, str]:
    """`textFormat`, and what the prompt must say instead."""
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return None, ""
    schema = wanted.schema
    if wanted.kind == "json" or schema is None:
        losses.emulate("response_format", "the prompt asks the model for a JSON object")
        return None, JSON_ONLY
    if NAME not in wanted.metadata and "json_schema" not in quirks.response_formats:
        losses.emulate("response_format", "the prompt has the schema, and nothing enforces it")
        return None, format_words(schema)
    inner: JSON = {"schema": jsontext.encode(schema)}
    if wanted.name:
        inner["name"] = wanted.name
    if wanted.description:
        inner["description"] = wanted.description
    return {"type": "json_schema", "structure": {"jsonSchema": inner}}, ""


def render_tier(tier: str, losses: Losses, *, is_own: bool) -> JSON | None:
    """`serviceTier`."""
    if tier in ("", "auto"):
        return None
    known = mapped_tier(tier, _TIERS, losses, is_own=is_own)
    return None if known is None else {"type": known}
