"""Thinking, structured output and sampling, wire to middle language and back."""

from __future__ import annotations

from typing import Any, cast

from polycall.dialects.anthropic.names import NAME, THINKING_BUDGET_MIN
from polycall.ir import JSON, Effort, ReasoningConfig, Request, ResponseFormat
from polycall.schema import anthropic_strict
from polycall.translation.absent_fields import note_absent
from polycall.translation.efforts import (
    CLAUDE_EFFORTS,
    at_most,
    claude_budget,
    effort_for,
    fitted_effort,
    is_off,
)
from polycall.translation.format_words import JSON_ONLY, format_words
from polycall.translation.quirks import Quirks
from polycall.translation.thinking_turns import without_budget
from polycall.translation.wire import Losses, request_reader

_THINKING_TOP_P_MIN = 0.95


# ---------------------------------------------------------------------------------------------
# Wire to middle language


def parse_reasoning(body: JSON) -> ReasoningConfig | None:
    """`thinking` and `output_config.effort`; what has no field of its own is in `metadata`."""
    reader = request_reader
    effort = reader.get_object(body, "output_config", "").get("effort")
    if body.get("thinking") is None and effort is None:
        return None
    if effort is not None:
        effort = reader.string(effort, "output_config.effort")
    thinking = reader.get_object(body, "thinking", "")
    reader.get_string(thinking, "type", "thinking")
    own: JSON = {"thinking": thinking}  # empty: effort alone, and the model's own way to think
    if effort is not None and (effort not in CLAUDE_EFFORTS or thinking.get("type") == "disabled"):
        # With thinking off, effort still says how much to write; elsewhere it would turn it on.
        own["effort"] = effort
        effort = None
    budget, include_text = _thinking_fields(thinking, has_effort=effort is not None)
    return ReasoningConfig(
        effort=cast("Effort | None", effort),
        budget_tokens=budget,
        include_text=include_text,
        metadata={NAME: own},
    )


def _thinking_fields(thinking: JSON, *, has_effort: bool) -> tuple[int | None, bool | None]:
    """Budget and visibility of a `thinking` object."""
    display = thinking.get("display")
    include_text = {"summarized": True, "omitted": False}.get(str(display))
    match thinking.get("type"):
        case "enabled":
            return request_reader.get_int(thinking, "budget_tokens", "thinking"), include_text
        case "disabled":
            return 0, include_text
        case "adaptive" | "between_tools" if not has_effort:
            return -1, include_text
        case _:
            return None, include_text


def parse_format(body: JSON) -> ResponseFormat | None:
    """`output_config.format`, or the older top-level `output_format`."""
    reader = request_reader
    config = reader.get_object(body, "output_config", "")
    place = "output_config"
    value = config.get("format")
    if value is None:
        place = "output_format"
        value = body.get("output_format")
        if value is None:
            return None
    wire = reader.object(value, place)
    schema = wire.get("schema")
    if wire.get("type") != "json_schema" or not isinstance(schema, dict):
        return ResponseFormat("json", metadata={NAME: {"format": wire, "place": place}})
    own: JSON = {key: wire[key] for key in wire if key not in ("type", "schema")}
    if place != "output_config":
        own["place"] = place
    return ResponseFormat("json_schema", schema, metadata={NAME: own} if own else {})  # pyright: ignore[reportUnknownArgumentType]


# ---------------------------------------------------------------------------------------------
# Middle language to wire


def render_reasoning(
    body: JSON, request: Request, losses: Losses, quirks: Quirks, *, raise_max_tokens: bool
) -> None:
    """Write `thinking` and `output_config.effort` into the body, in the forms the model takes.

    Effort asks for adaptive thinking where the model has it, else for a budget; a budget for
    thinking with that budget, at least 1,024 and below `max_tokens`, which is raised where the
    caller did not set it, or for an effort where the model takes no budget.
    """
    config = request.reasoning
    if config is None:
        return
    forms = _forms(quirks)
    if not forms:
        if not is_off(config) or quirks.reasoning_control != "none":
            losses.drop("reasoning", "the target has no control over thinking")
        return
    own = config.metadata.get(NAME, {})
    thinking: JSON = own.get("thinking", {})
    fields = (config.budget_tokens, config.include_text)
    is_as_written = _thinking_fields(thinking, has_effort=config.effort is not None) == fields
    effort: str | None = own.get("effort") or config.effort
    if "thinking" in own and is_as_written and thinking.get("type", "adaptive") in forms:
        if thinking:
            body["thinking"] = thinking
        if quirks.budget_max:
            _fit(body, losses, quirks, raise_max_tokens=raise_max_tokens)
    elif is_off(config):
        effort = _turn_off(body, own.get("effort"), losses, forms)
    else:
        effort = _turn_on(body, config, effort, losses, quirks)
        _fit(body, losses, quirks, raise_max_tokens=raise_max_tokens)
    if effort in (None, "none") or quirks.reasoning_control == "thinking":
        return
    _write_effort(body, str(effort), losses, quirks)


def make_room_for_bare_turn(body: JSON, losses: Losses, quirks: Quirks) -> None:
    """Ask for no fixed budget of thinking where the turn that continues began without any."""
    if "thinking" in body:
        adapts = "adaptive" in _forms(quirks)
        tests = (_is_result, _is_thinking)
        wanted, messages = body["thinking"], body["messages"]
        body["thinking"] = without_budget(wanted, messages, *tests, losses, adapts=adapts)


def _is_result(block: JSON) -> bool:
    return block["type"] == "tool_result"


def _is_thinking(block: JSON) -> bool:
    return block["type"] in ("thinking", "redacted_thinking")


def _forms(quirks: Quirks) -> frozenset[str]:
    """The forms of `thinking` that may be sent."""
    if quirks.reasoning_control == "none":
        return frozenset()
    if quirks.reasoning_control == "thinking":
        return quirks.thinking_forms - {"adaptive"}
    return quirks.thinking_forms & frozenset({"adaptive", "enabled", "disabled", "between_tools"})


def _turn_off(body: JSON, effort: str | None, losses: Losses, forms: frozenset[str]) -> str | None:
    """Write the least thinking that the model can do; gives the effort to send alongside it."""
    if "disabled" in forms:
        body["thinking"] = {"type": "disabled"}
        return effort
    if "between_tools" in forms:
        body["thinking"] = {"type": "between_tools"}
        losses.adjust("reasoning", "thinking cannot be turned off: it is left between tool calls")
        return effort
    losses.adjust("reasoning", "thinking cannot be turned off: sent as effort 'low'")
    return "low"


def _turn_on(
    body: JSON, config: ReasoningConfig, effort: str | None, losses: Losses, quirks: Quirks
) -> str | None:
    """Write the wanted thinking; gives the effort to send alongside it."""
    forms = _forms(quirks)
    budget = config.budget_tokens
    if budget is None and config.effort is None and config.include_text is None:
        return effort
    display = {True: "summarized", False: "omitted", None: None}[config.include_text]
    shown: JSON = {} if display is None else {"display": display}
    has_budget = budget is not None and budget > 0
    if "adaptive" in forms and not (has_budget and "enabled" in forms):
        if has_budget and effort is None:
            effort = effort_for(config, quirks.efforts & CLAUDE_EFFORTS, losses)
        body["thinking"] = {"type": "adaptive", **shown}
        return effort
    if not has_budget:
        budget = claude_budget(config.effort, losses)
        effort = None
    body["thinking"] = {"type": "enabled", "budget_tokens": budget, **shown}
    return effort


def _fit(body: JSON, losses: Losses, quirks: Quirks, *, raise_max_tokens: bool) -> None:
    """Bring the budget into the bounds of the model and of `max_tokens`."""
    thinking: JSON = body.get("thinking", {})
    budget: Any = thinking.get("budget_tokens")
    if thinking.get("type") != "enabled" or not isinstance(budget, int):
        return
    least = quirks.budget_min or THINKING_BUDGET_MIN
    fitted = max(budget, least)
    if quirks.budget_max:
        fitted = min(fitted, quirks.budget_max)
    if fitted != budget:
        bound = "least" if fitted > budget else "most"
        losses.adjust("reasoning.budget_tokens", f"{budget} is sent as {fitted}, the {bound}")
        body["thinking"] = {**thinking, "budget_tokens": fitted}
    _fit_budget(body, losses, raise_max_tokens=raise_max_tokens)


def _write_effort(body: JSON, effort: str, losses: Losses, quirks: Quirks) -> None:
    fitted = fitted_effort(effort, quirks.efforts & CLAUDE_EFFORTS, losses)
    if fitted is None:
        losses.drop("reasoning.effort", "the model takes no effort")
        return
    if body.get("thinking", {}).get("type") in ("disabled", "between_tools"):
        fitted = at_most(fitted, quirks.effort_max_when_off, losses)
    body["output_config"] = {"effort": fitted}


def _fit_budget(body: JSON, losses: Losses, *, raise_max_tokens: bool) -> None:
    """A budget counts towards `max_tokens` and must be less."""
    budget: int = body["thinking"]["budget_tokens"]
    max_tokens: int = body["max_tokens"]
    if budget < max_tokens:
        return
    if raise_max_tokens:
        body["max_tokens"] = budget + max_tokens
    elif max_tokens > THINKING_BUDGET_MIN:
        losses.adjust("reasoning.budget_tokens", f"lowered below max_tokens {max_tokens}")
        body["thinking"] = {**body["thinking"], "budget_tokens": max_tokens - 1}
    else:
        losses.adjust("reasoning", f"off: max_tokens {max_tokens} leaves no room for thinking")
        body["thinking"] = {"type": "disabled"}


def forbids_forced_choice(body: JSON, quirks: Quirks) -> bool:
    """Whether the body's thinking and a forced tool choice exclude each other."""
    kind = body.get("thinking", {}).get("type")
    if quirks.forced_choice_while_reasoning:
        return kind == "enabled"
    return kind in ("enabled", "adaptive", "between_tools")


def render_format(body: JSON, request: Request, losses: Losses, quirks: Quirks) -> str:
    """Write `output_config.format` into the body; gives what must be said in words instead."""
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return ""
    own = wanted.metadata.get(NAME)
    if own is not None and "format" in own:
        _place(body, own["format"], own["place"])
        return ""
    schema = wanted.schema
    if wanted.kind == "json" or schema is None:
        losses.emulate("response_format", "the prompt asks the model for a JSON object")
        return JSON_ONLY
    # What came over this wire was written for it: the vendor judges it.
    is_own = own is not None or NAME in request.metadata
    if wanted.description and "description" not in schema:
        schema = {**schema, "description": wanted.description}
    adapted = schema if is_own else anthropic_strict(schema)
    if adapted is None or "json_schema" not in quirks.response_formats:
        losses.emulate("response_format", "the prompt has the schema, and nothing enforces it")
        return format_words(schema)
    if adapted != schema:
        losses.adjust("response_format", "its schema is written as the vendor takes it")
    more = {key: value for key, value in (own or {}).items() if key != "place"}
    wire: JSON = {"type": "json_schema", "schema": adapted, **more}
    _place(body, wire, (own or {}).get("place", "output_config"))
    return ""


def _place(body: JSON, wire: JSON, place: str) -> None:
    if place == "output_config":
        body["output_config"] = {**body.get("output_config", {}), "format": wire}
    else:
        body[place] = wire


def render_sampling(body: JSON, request: Request, losses: Losses, quirks: Quirks) -> None:
    """Write `temperature`, `top_p`, `top_k` into the body, and report what has no place."""
    if (request.temperature, request.top_p, request.top_k) != (None, None, None):
        _write_sampling(body, request, losses, quirks)
    absent = ("seed", "presence_penalty", "frequency_penalty", "logprobs", "candidates")
    note_absent(request, losses, *absent)


def _write_sampling(body: JSON, request: Request, losses: Losses, quirks: Quirks) -> None:
    thinks = body.get("thinking", {}).get("type") in ("enabled", "adaptive")
    values: dict[str, Any] = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
    }
    temperature = request.temperature
    if temperature is not None and temperature > 1:
        losses.adjust("temperature", f"{temperature} is sent as 1, the most")
        values["temperature"] = 1
    if thinks and NAME not in request.metadata:
        if values["temperature"] not in (None, 1):
            losses.drop("temperature", "thinking allows none but 1")
            values["temperature"] = None
        if values["top_k"] is not None:
            losses.drop("top_k", "not allowed with thinking")
            values["top_k"] = None
        if values["top_p"] is not None and values["top_p"] < _THINKING_TOP_P_MIN:
            losses.drop("top_p", f"thinking allows none below {_THINKING_TOP_P_MIN}")
            values["top_p"] = None
    is_both = values["temperature"] is not None and values["top_p"] is not None
    if is_both and not quirks.temperature_with_top_p and NAME not in request.metadata:
        losses.drop("top_p", "the model takes none next to a temperature")
        values["top_p"] = None
    for key, value in values.items():
        if value is not None:
            body[key] = value
