"""`generationConfig`, both ways.  Fields without a slot stay in `provider_options["gemini"]`."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from polycall.dialects.gemini.content import NAME
from polycall.dialects.gemini.tools import read_schema, render_schema
from polycall.ir import JSON, Effort, ReasoningConfig, Request, ResponseFormat
from polycall.translation.efforts import effort_for, is_off
from polycall.translation.format_words import format_words
from polycall.translation.quirks import Quirks
from polycall.translation.wire import Losses, unread
from polycall.translation.wire import request_reader as reader

_PATH = "generationConfig"
_READ = (
    "temperature",
    "topP",
    "topK",
    "candidateCount",
    "maxOutputTokens",
    "stopSequences",
    "seed",
    "presencePenalty",
    "frequencyPenalty",
)
_EFFORT_BY_LEVEL: dict[str, Effort] = {
    "MINIMAL": "minimal",
    "LOW": "low",
    "MEDIUM": "medium",
    "HIGH": "high",
    "XHIGH": "xhigh",
}
_BUDGET_BY_EFFORT: dict[Effort, int] = {
    "none": 0,
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
    "xhigh": 24576,
    "max": 24576,
}


def parse_config(value: Any) -> tuple[JSON, JSON]:
    """The request's fields by their names in the middle language, and what is left."""
    config = {} if value is None else reader.object(value, _PATH)
    if not config:
        return {}, {}
    stop = [
        reader.string(text, f"{_PATH}.stopSequences[{position}]")
        for position, text in enumerate(reader.get_array(config, "stopSequences", _PATH))
    ]
    fields: JSON = {
        "temperature": reader.get_float(config, "temperature", _PATH),
        "top_p": reader.get_float(config, "topP", _PATH),
        "top_k": reader.get_int(config, "topK", _PATH),
        "candidates": reader.get_int(config, "candidateCount", _PATH),
        "max_output_tokens": reader.get_int(config, "maxOutputTokens", _PATH),
        "stop": stop,
        "seed": reader.get_int(config, "seed", _PATH),
        "presence_penalty": reader.get_float(config, "presencePenalty", _PATH),
        "frequency_penalty": reader.get_float(config, "frequencyPenalty", _PATH),
        "reasoning": _parse_thinking(config),
    }
    rest = unread(config, {*_READ, "thinkingConfig"})
    if config.get("responseLogprobs") is True:
        fields["logprobs"] = reader.get_int(config, "logprobs", _PATH) or 0
        rest = unread(rest, ("responseLogprobs", "logprobs"))
    fields["response_format"] = _parse_format(rest)
    return fields, rest


def _parse_thinking(config: JSON) -> ReasoningConfig | None:
    thinking = reader.get_object(config, "thinkingConfig", _PATH)
    if not thinking:
        return None
    path = f"{_PATH}.thinkingConfig"
    level = reader.get_string(thinking, "thinkingLevel", path)
    effort = _EFFORT_BY_LEVEL.get(level.upper())
    own = unread(thinking, ("includeThoughts", "thinkingBudget", "thinkingLevel"))
    if level and effort is None:
        own["thinkingLevel"] = level
    return ReasoningConfig(
        effort=effort,
        budget_tokens=reader.get_int(thinking, "thinkingBudget", path),
        include_text=reader.get_bool(thinking, "includeThoughts", path),
        metadata={NAME: own},
    )


def _parse_format(rest: JSON) -> ResponseFormat | None:
    """The format of the answer, taken out of `rest`; one only Gemini knows stays there."""
    mime = reader.get_string(rest, "responseMimeType", _PATH)
    schema = rest.get("responseJsonSchema")
    own: JSON = {}
    if schema is not None:
        schema = reader.object(schema, f"{_PATH}.responseJsonSchema")
        field = "responseJsonSchema"
    elif rest.get("responseSchema") is not None:
        field = "responseSchema"
        own["schema"] = reader.object(rest[field], f"{_PATH}.{field}")
        schema = read_schema(own["schema"], f"{_PATH}.{field}")
    else:
        field = ""
    if mime == "text/plain" and not field:
        del rest["responseMimeType"]
        return ResponseFormat("text", metadata={NAME: own})
    if mime != "application/json" and not (field and not mime):
        return None
    rest.pop("responseMimeType", None)
    rest.pop(field, None)
    if not mime:
        own["no_mime_type"] = True
    kind = "json_schema" if field else "json"
    return ResponseFormat(kind, schema=schema, metadata={NAME: own})


# ---------------------------------------------------------------------------------------------
# Request to wire


_SINGLE_FIELDS = (
    ("temperature", "temperature"),
    ("top_p", "topP"),
    ("top_k", "topK"),
    ("candidates", "candidateCount"),
    ("max_output_tokens", "maxOutputTokens"),
    ("stop", "stopSequences"),
    ("seed", "seed"),
    ("presence_penalty", "presencePenalty"),
    ("frequency_penalty", "frequencyPenalty"),
)


def render_config(request: Request, rest: JSON, losses: Losses, quirks: Quirks) -> JSON:
    """The value of `generationConfig`; `rest` is what only a Gemini client can say."""
    config: JSON = {}
    given = (
        request.temperature,
        request.top_p,
        request.top_k,
        None if request.candidates is None else _candidates(request, losses),
        request.max_output_tokens,
        [*request.stop] or None,
        request.seed,
        request.presence_penalty,
        request.frequency_penalty,
    )
    for (field, key), value in zip(_SINGLE_FIELDS, given, strict=True):
        if value is not None and _is_taken(field, losses, quirks):
            config[key] = value
    if request.logprobs is not None and _is_taken("logprobs", losses, quirks):
        config["responseLogprobs"] = True
        if request.logprobs:
            config["logprobs"] = request.logprobs
    if request.reasoning is not None and _is_taken("reasoning", losses, quirks):
        thinking = _render_thinking(request.reasoning, losses, quirks)
        if thinking:
            config["thinkingConfig"] = thinking
    is_told = needs_words(request, quirks)
    if (
        request.response_format is not None
        and not is_told
        and _is_taken("response_format", losses, quirks)
    ):
        config.update(_render_format(request.response_format, losses, quirks))
    return {**config, **rest}


def needs_words(request: Request, quirks: Quirks) -> bool:
    """Whether the answer's format must be described, since the model takes none alongside tools."""
    wanted = request.response_format
    if wanted is None or wanted.kind == "text" or quirks.tools_with_json:
        return False
    return bool(request.tools)


def said_format(wanted: ResponseFormat, losses: Losses) -> str:
    """The answer's format in words, for the system instruction."""
    losses.emulate(
        "response_format",
        "described in the prompt: the model accepts no format together with tools",
    )
    return format_words(wanted.schema)


def _is_taken(field: str, losses: Losses, quirks: Quirks) -> bool:
    if field not in quirks.refused:
        return True
    losses.drop(field, "the model does not take it")
    return False


def _render_thinking(reasoning: ReasoningConfig, losses: Losses, quirks: Quirks) -> JSON:
    own = reasoning.metadata.get(NAME)
    if quirks.reasoning_control == "none":
        if not is_off(reasoning):
            losses.drop("reasoning", "the model does not think")
        return {}
    thinking: JSON = {}
    if reasoning.include_text is not None:
        thinking["includeThoughts"] = reasoning.include_text
    has_budget = reasoning.budget_tokens is not None
    takes_level = quirks.thinking_unit == "level"
    if is_off(reasoning) and not quirks.budget_zero and takes_level:
        _write_level(thinking, reasoning, losses, quirks)
    elif is_off(reasoning) or (
        has_budget and (own is not None or reasoning.effort is None or not takes_level)
    ):
        if "budget" in quirks.thinking_forms:
            budget = _fitted_budget(reasoning.budget_tokens or 0, losses, quirks)
            thinking["thinkingBudget"] = budget
        else:
            _write_level(thinking, replace(reasoning, effort=None), losses, quirks)
    elif reasoning.effort is not None and takes_level:
        _write_level(thinking, reasoning, losses, quirks)
    elif reasoning.effort is not None:
        budget = _fitted_budget(_BUDGET_BY_EFFORT[reasoning.effort], losses, quirks)
        losses.adjust("reasoning.effort", f"sent as a budget of {budget} tokens")
        thinking["thinkingBudget"] = budget
    return {**thinking, **(own or {})}


def _write_level(
    thinking: JSON, reasoning: ReasoningConfig, losses: Losses, quirks: Quirks
) -> None:
    level = effort_for(reasoning, quirks.efforts - {"none", "max"}, losses)
    if level is not None:
        thinking["thinkingLevel"] = level.upper()


def _fitted_budget(budget: int, losses: Losses, quirks: Quirks) -> int:
    """The budget within the model's bounds; -1, its own choice, is within them."""
    if budget < 0 or (budget == 0 and quirks.budget_zero):
        return budget
    fitted = max(budget, quirks.budget_min)
    if quirks.budget_max:
        fitted = min(fitted, quirks.budget_max)
    if fitted != budget:
        detail = f"{budget} is sent as {fitted}, the {'least' if fitted > budget else 'most'}"
        losses.adjust("reasoning.budget_tokens", detail)
    return fitted


def _render_format(answer: ResponseFormat, losses: Losses, quirks: Quirks) -> JSON:
    own = answer.metadata.get(NAME)
    if answer.kind == "text":
        return {} if own is None else {"responseMimeType": "text/plain"}
    kind = answer.kind
    if own is None and kind not in quirks.response_formats:
        if kind == "json" or "json" not in quirks.response_formats:
            losses.drop("response_format", f"the model does not take {kind!r}")
            return {}
        losses.adjust("response_format", "any JSON, since the model takes no schema")
        kind = "json"
    config: JSON = {"responseMimeType": "application/json"}
    if own and own.get("no_mime_type"):
        config = {}
    if kind == "json" or answer.schema is None:
        return config
    if own is not None and "schema" in own:
        return {**config, "responseSchema": own["schema"]}
    schema = answer.schema
    if answer.description and "description" not in schema:
        schema = {**schema, "description": answer.description}
    suffix, rendered = render_schema(schema, quirks, is_own=own is not None)
    key = "responseJsonSchema" if suffix else "responseSchema"
    return {**config, key: rendered}


def _candidates(request: Request, losses: Losses) -> int | None:
    """The number of answers: a client of another wire can be shown one."""
    count = request.candidates
    if count is None or not request.metadata or NAME in request.metadata:
        return count
    if count > 1:
        losses.refuse("candidates", "a client of another wire can be shown one", path="candidates")
    return None
