"""The differences of one provider's (or model's) use of a dialect from its defining vendor's.

Data, not branches: a dialect reads these while rendering, and `providers/` fills them in.  The
defaults describe the dialect's own vendor.  Decoders need none: they take every known habit.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Quirks(Struct, frozen=True, forbid_unknown_fields=True):
    """The features that the target of a rendering accepts.  Everything here concerns requests."""

    # The server's name where models of open weights are served in ways of its own.
    server: str = ""
    # Request fields (as named in `ir.Request`) that the target refuses or ignores: left out,
    # with a warning.
    refused: frozenset[str] = frozenset()
    # Fields of the client's own dialect that the target does not know are left out, with a
    # warning, unless named here; `None` sends them all.
    options: frozenset[str] | None = None

    # A server of which nothing is known: a client of its own dialect is translated too, wherever
    # a plain server may take or answer something otherwise.
    careful: bool = False

    # Chat Completions and its relatives.
    developer_role: bool = True
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    # `stream_options.include_usage`.  "asked": as a Chat client said, and always for a request
    # that comes from elsewhere; "always": in every stream, since unreported tokens cannot be
    # priced; "never": the field is refused.
    stream_usage: Literal["asked", "always", "never"] = "asked"
    custom_tools: bool = True
    strict_tools: bool = True
    legacy_functions: bool = True  # `functions`, `function_call` and the role `function`
    parallel_switch: bool = True  # `parallel_tool_calls` may be sent
    empty_content: Literal["null", "empty", "omit"] = "null"  # alongside tool calls
    content_parts: bool = True  # text may be an array of parts; else only where media need one
    media_parts: frozenset[str] = frozenset({"image_url", "input_audio", "file"})
    tool_message_media: bool = False  # media of other dialects may stand in tool messages
    user_after_tool: bool = True  # a user turn may follow tool results at once
    message_fields: frozenset[str] | None = None  # as `options`, inside messages and calls
    tool_message_name: bool = True  # `name` may stand in tool messages
    any_arguments: bool = True  # calls in a history may have arguments that are no JSON object
    top_k: bool = False
    stops_max: int = 0  # stop sequences; 0: any number
    seed_field: str = "seed"
    end_user_field: Literal["safety_identifier", "user", ""] = "safety_identifier"
    response_formats: frozenset[str] = frozenset({"json", "json_schema"})
    # "effort": `reasoning_effort`; "thinking": `thinking.type` and the effort alongside it;
    # "reasoning": one object with effort, budget and visibility; "switch": `enable_thinking`;
    # "enabled": `reasoning.enabled`, and `reasoning_effort` where the model knows efforts.
    reasoning_control: Literal["effort", "thinking", "reasoning", "switch", "enabled", "none"] = (
        "effort"
    )
    thinks_always: bool = False  # thinking that cannot be turned off
    # Models that think by themselves, and refuse to while the answer is not streamed.
    thinking_needs_stream: bool = False
    json_while_thinking: bool = True  # an answer in JSON may be asked for of a model that thinks
    efforts: frozenset[str] = frozenset(
        {"none", "minimal", "low", "medium", "high", "xhigh", "max"}
    )
    default_effort: str = ""  # where a request says none; "": unknown
    # `temperature` and `top_p` are taken only where the model does not think.
    sampling_without_thinking: bool = False
    temperature_with_top_p: bool = True  # both may be sent
    temperature_range: tuple[float, float] | None = None  # what is beyond it is a refusal
    reasoning_field: str = ""  # the field in which an assistant's reasoning is sent back
    reasoning_blank: str = ""  # what stands there where a turn has none and the target wants some
    # Clients of Chat that send standard fields back lose it, so it is kept for them.
    reasoning_carried: bool = False
    effort_beside_tools: bool = True  # an effort above none may stand alongside functions
    # Which turns it is sent back in.  "as_written": what came over Chat returns in the field in
    # which it came, and nothing else; "current_turn": only after the last user message.
    reasoning_replay: Literal["as_written", "never", "with_calls", "current_turn", "always"] = (
        "as_written"
    )

    # Gemini.
    call_ids: bool = True  # ids of calls and results may be sent
    signature_sentinel: bool = True  # unsigned calls of other models may carry the documented skip
    thinking_unit: Literal["level", "budget"] = "level"  # how an effort is said
    budget_zero: bool = True  # a budget of 0 turns thinking off
    tools_with_json: bool = True  # tools and an answer in JSON may be asked for together
    schema_spelling: Literal["json-schema", "openapi"] = "json-schema"

    # Anthropic Messages.
    # The forms of `thinking` that the model takes ("level" and "budget" are Gemini's).
    thinking_forms: frozenset[str] = frozenset(
        {"adaptive", "enabled", "disabled", "between_tools", "level", "budget"}
    )
    effort_max_when_off: str = ""  # the highest effort alongside thinking that is off; "": any
    # Thinking tokens; 0: the dialect's own bounds.
    budget_min: int = 0
    budget_max: int = 0
    # System messages after the first turn (Chat too): anywhere; not at all; or right after a user's
    # turn, as the last message or before an assistant's.
    late_system: bool | Literal["after_user"] = True
    # Thinking that comes back is refused where what stood before it has changed.
    prefix_bound: bool = False
    max_tokens_default: int = 0  # sent where the request has none; 0: the dialect's own

    # All dialects.
    service_tiers: frozenset[str] | None = None  # `None`: unknown
    # "prompted": tools are described in the prompt and calls read out of the text, for models that
    # know none; "both": sent natively, and calls that slipped into the text are read as well.
    tools: Literal["native", "prompted", "both"] = "native"
    tool_choices: frozenset[str] = frozenset({"auto", "none", "required", "tool", "subset"})
    forced_choice_while_reasoning: bool = True
    # How prompts are cached: by "itself", by "marks" on parts, by a "key" of the conversation.
    caches: frozenset[str] = frozenset()
    cache_control: bool = False  # marks are Anthropic's `cache_control`, on Chat's own parts
    result_media: bool = True  # images and documents inside tool results
    call_id_pattern: str = ""  # what a call id must match as a whole; "": the dialect's rule
    call_id_length: int = 0  # exact length of call ids made to fit the pattern

    @property
    def is_relative(self) -> bool:
        """Whether models of others are served here, in ways of the server's own."""
        return self.server not in ("", "openai")
