"""The request fields that have several spellings: reasoning and the response format."""

from __future__ import annotations

from typing import Any

from polycall.dialects.openai_chat.names import mark, own
from polycall.ir import JSON, Effort, ReasoningConfig, Request, ResponseFormat
from polycall.translation.efforts import effort_for, is_off, known_effort
from polycall.translation.quirks import Quirks
from polycall.translation.wire import Losses, request_reader, unread

# What `parse_request` reads into fields of its own; all else goes to `provider_options`.
HANDLED_FIELDS = frozenset(
    {
        "model",
        "messages",
        "tools",
        "functions",
        "tool_choice",
        "function_call",
        "parallel_tool_calls",
        "stream",
        "max_completion_tokens",
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "seed",
        "random_seed",
        "presence_penalty",
        "frequency_penalty",
        "n",
        "logprobs",
        "top_logprobs",
        "reasoning_effort",
        "thinking",
        "reasoning",
        "response_format",
        "service_tier",
        "user",
        "safety_identifier",
    }
)
# OpenAI's own fields among the others.
STANDARD_OPTIONS = frozenset(
    {
        "audio",
        "logit_bias",
        "metadata",
        "modalities",
        "moderation",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "store",
        "stream_options",
        "top_logprobs",
        "user",
        "verbosity",
        "web_search_options",
    }
)
# Extra fields that only say again what another field says.
OWN_TOP_FIELDS = frozenset({"max_tokens", "user"})


def parse_reasoning_config(body: JSON) -> ReasoningConfig | None:
    """The amount of reasoning, from OpenAI's, DeepSeek's or OpenRouter's field; all are kept."""
    written: JSON = {}
    effort: Any = None
    budget: int | None = None
    include_text: bool | None = None
    thinking = body.get("thinking")
    if isinstance(thinking, dict):
        written["thinking"] = thinking
        budget = request_reader.get_int(thinking, "budget_tokens", "thinking")  # pyright: ignore[reportUnknownArgumentType]
        kind: Any = thinking.get("type")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if kind == "disabled":
            budget = 0
        elif kind in ("enabled", "adaptive") and budget is None:
            budget = -1
    elif thinking is not None:
        written["thinking"] = thinking
    reasoning = body.get("reasoning")
    if reasoning is not None:
        fields = request_reader.object(reasoning, "reasoning")
        written["reasoning"] = reasoning
        effort = fields.get("effort")
        budget = request_reader.get_int(fields, "max_tokens", "reasoning")
        exclude = request_reader.get_bool(fields, "exclude", "reasoning")
        include_text = None if exclude is None else not exclude
        if effort is None and budget is None and "enabled" in fields:
            budget = -1 if fields["enabled"] else 0
    if body.get("reasoning_effort") is not None:
        effort = request_reader.get_string(body, "reasoning_effort", "")
        written["reasoning_effort"] = effort
    if not written:
        return None
    known = known_effort(effort)
    return ReasoningConfig(known, budget, include_text, mark(written))


def write_reasoning(
    request: Request, body: JSON, quirks: Quirks, losses: Losses, *, turned_off: bool
) -> None:
    """Put the request to think, or not to, into the body as the target spells it."""
    if turned_off:
        if quirks.reasoning_control == "switch":
            body["enable_thinking"] = False
        else:
            body["thinking"] = {"type": "disabled"}
        return
    config = request.reasoning
    if quirks.thinking_needs_stream and not request.stream:
        if config is None or not is_off(config):
            losses.adjust("reasoning", "off: the model thinks in streamed answers alone")
        body["enable_thinking"] = False
        return
    if "tools" in body and not quirks.effort_beside_tools:
        is_asked = config is not None and config.effort != "none" and config.budget_tokens != 0
        if quirks.efforts and "none" not in quirks.efforts:
            detail = "the model takes no functions over Chat, where it always thinks"
            losses.refuse("tools", f"{detail}; use the dialect 'openai-responses'", path="tools")
            del body["tools"]
            return
        if is_asked:
            losses.adjust(
                "reasoning", "off: the model takes no effort alongside functions over Chat"
            )
        body["reasoning_effort"] = "none"
        return
    if config is None:
        return
    written = own(config.metadata)
    if (
        written
        and quirks.options is None
        and quirks.reasoning_control == "effort"
        and (config.effort is None or config.effort in quirks.efforts)
    ):
        body.update(written)
        return
    if "reasoning" in quirks.refused or quirks.reasoning_control == "none":
        # A model that never thinks obeys.
        if not is_off(config) or quirks.thinking_forms or quirks.thinks_always:
            losses.drop("reasoning", "the target has no switch for it")
        return
    if config.include_text and quirks.reasoning_control != "reasoning":
        losses.drop("reasoning.include_text", "Chat has no switch for it")
    match quirks.reasoning_control:
        case "effort":
            _write_effort(config, body, quirks, losses)
        case "thinking":
            _write_thinking(config, written, body, quirks, losses)
        case "enabled":
            _write_enabled(config, body, quirks, losses)
        case "switch":
            _write_switch(config, body, quirks, losses)
        case "reasoning":
            is_refused = quirks.thinks_always and is_off(config)
            said = None if is_refused else written.get("reasoning")
            body["reasoning"] = said or _reasoning_object(config, quirks, losses)


def _effort(config: ReasoningConfig, quirks: Quirks, losses: Losses) -> Effort | None:
    """The effort in the target's words: the nearest one it knows."""
    return effort_for(config, quirks.efforts, losses)


def _write_effort(config: ReasoningConfig, body: JSON, quirks: Quirks, losses: Losses) -> None:
    effort = _effort(config, quirks, losses)
    if effort is not None:
        body["reasoning_effort"] = effort
    elif config.effort is not None:
        losses.drop("reasoning.effort", f"the target knows no effort like {config.effort!r}")


def _write_thinking(
    config: ReasoningConfig,
    written: JSON,
    body: JSON,
    quirks: Quirks,
    losses: Losses,
) -> None:
    is_refused = is_off(config) and quirks.thinks_always
    if is_off(config) and not is_refused:
        body["thinking"] = {"type": "disabled"}
        return
    forms = quirks.thinking_forms
    if forms & {"toggle", "enabled"}:
        body["thinking"] = (not is_refused and written.get("thinking")) or {"type": "enabled"}
    elif "adaptive" in forms:
        body["thinking"] = {"type": "adaptive"}
    if is_refused and not quirks.efforts:
        losses.drop("reasoning.effort", "the model thinks always")
        return
    if config.effort is not None or is_refused or "thinking" not in written:
        effort = _effort(config, quirks, losses)
        if effort is not None:
            body["reasoning_effort"] = effort
        elif config.effort is not None:
            losses.drop("reasoning.effort", "the target thinks or does not, and knows no effort")


def _write_switch(config: ReasoningConfig, body: JSON, quirks: Quirks, losses: Losses) -> None:
    if is_off(config):
        if quirks.thinks_always:
            losses.drop("reasoning.effort", "the model thinks always")
        else:
            body["enable_thinking"] = False
        return
    if not quirks.thinks_always:
        body["enable_thinking"] = True
    if config.budget_tokens is not None and config.budget_tokens > 0:
        body["thinking_budget"] = config.budget_tokens  # which no effort may stand alongside
        if config.effort is not None and quirks.efforts:
            losses.drop("reasoning.effort", "the target takes it or a budget, not both")
            return
    if config.effort is None:
        return
    if not quirks.efforts:
        losses.drop("reasoning.effort", "the target thinks or does not, and knows no effort")
    elif config.budget_tokens is None or config.budget_tokens < 0:
        _write_effort(config, body, quirks, losses)


def _write_enabled(config: ReasoningConfig, body: JSON, quirks: Quirks, losses: Losses) -> None:
    """A hybrid model thinks or does not; others know efforts."""
    is_hybrid = not quirks.thinks_always
    if is_hybrid and is_off(config):
        body["reasoning"] = {"enabled": False}
    elif not is_hybrid or quirks.efforts:
        _write_effort(config, body, quirks, losses)
    else:
        body["reasoning"] = {"enabled": True}
        if config.effort is not None:
            losses.drop("reasoning.effort", "the target thinks or does not, and knows no effort")


def _reasoning_object(config: ReasoningConfig, quirks: Quirks, losses: Losses) -> JSON:
    fields: JSON = {}
    budget = config.budget_tokens
    if is_off(config) and quirks.thinks_always:
        # Reported: "Reasoning is mandatory for this endpoint and cannot be disabled", a 400.
        effort = effort_for(config, quirks.efforts - {"none", "minimal"}, losses)
        if effort is not None:
            fields["effort"] = effort
    elif config.effort is not None:
        fields["effort"] = config.effort
    elif budget is not None and budget > 0:
        fields["max_tokens"] = budget
    elif budget is not None:
        fields["enabled"] = budget != 0
    if config.include_text is not None:
        fields["exclude"] = not config.include_text
    return fields


def parse_response_format(body: JSON) -> ResponseFormat | None:
    """The format that the answer must have."""
    value = body.get("response_format")
    if value is None:
        return None
    path = "response_format"
    raw = request_reader.object(value, path)
    kind = request_reader.get_string(raw, "type", path)
    if kind == "json_schema":
        inner = request_reader.get_object(raw, "json_schema", path)
        schema = inner.get("schema")
        notes: JSON = {}
        if extra := unread(inner, ("name", "schema", "strict", "description")):
            notes["inner"] = extra
        if fields := unread(raw, ("type", "json_schema")):
            notes["fields"] = fields
        name = request_reader.get_string(inner, "name", f"{path}.json_schema")
        if not name:
            notes["nameless"] = True
        return ResponseFormat(
            "json_schema",
            schema=None
            if schema is None
            else request_reader.object(schema, f"{path}.json_schema.schema"),
            name=name,
            description=request_reader.get_string(inner, "description", f"{path}.json_schema"),
            strict=request_reader.get_bool(inner, "strict", f"{path}.json_schema"),
            metadata=mark(notes),
        )
    fields = unread(raw, ("type",))
    notes = {"fields": fields} if fields else {}
    if kind == "text":
        return ResponseFormat("text", metadata=mark(notes))
    schema = raw.get("schema")
    if kind != "json_object":
        kinds = "'text', 'json_object' or 'json_schema'"
        request_reader.fail(f"{path}.type", kinds, raw.get("type"))
    return ResponseFormat("json", metadata=mark(notes))
