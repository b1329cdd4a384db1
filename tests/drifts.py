"""Sixty drifts, fifteen of each kind, in the words of the vendors and of plain servers."""

from __future__ import annotations

from typing import Any

from polycall.ir import Message, ReasoningConfig, Request, Text, Tool
from tests.drift import Drift

CHAT, RESPONSES, CLAUDE, GEMINI = "openai-chat", "openai-responses", "anthropic", "gemini"
_UNSUPPORTED = "Unsupported parameter: '{}' is not supported with this model."
_USE = _UNSUPPORTED + " Use '{}' instead."
_UNKNOWN = "Unknown parameter: '{}'."
_EXTRA = "{}: Extra inputs are not permitted"
_FIELD = (
    "Invalid JSON payload received. Unknown name \"{}\" at 'generation_config': Cannot find field."
)
_ABOVE = (
    "Invalid '{}': decimal above maximum value. Expected a value <= {}, but got {{sent}} instead."
)
_LONG = (
    "Invalid '{}': string too long. Expected a string with maximum length {}, but got a string "
    "with length 90 instead."
)
_LE = "{}: Input should be less than or equal to {}"


def _moved(field: str, to: str) -> str:
    return (
        f"Unsupported parameter: '{field}'. In the Responses API, this parameter has moved to "
        f"'{to}'. Try again with the new parameter."
    )


RENAMED = [
    Drift("r1", CHAT, "rename", "max_completion_tokens", "max_output_tokens",
          _USE.format("max_completion_tokens", "max_output_tokens"), "max_completion_tokens"),
    Drift("r2", CHAT, "rename", "max_completion_tokens", "max_tokens",
          "Unrecognized request argument supplied: max_completion_tokens"),
    Drift("r3", CHAT, "rename", "reasoning_effort", "thinking_effort",
          _USE.format("reasoning_effort", "thinking_effort"), "reasoning_effort"),
    Drift("r4", CHAT, "rename", "safety_identifier", "end_user",
          "'safety_identifier' has been renamed to 'end_user'"),
    Drift("r5", CHAT, "rename", "seed", "random_seed",
          "unknown field `seed`, did you mean `random_seed`?"),
    Drift("r6", RESPONSES, "rename", "max_output_tokens", "max_completion_tokens",
          _USE.format("max_output_tokens", "max_completion_tokens"), "max_output_tokens"),
    Drift("r7", RESPONSES, "rename", "safety_identifier", "user",
          "Unknown parameter: 'safety_identifier'. Did you mean 'user'?", "safety_identifier"),
    Drift("r8", RESPONSES, "rename", "temperature", "text.temperature",
          _moved("temperature", "text.temperature")),
    Drift("r9", CLAUDE, "rename", "stop_sequences", "stop",
          "stop_sequences is no longer supported, use `stop` instead"),
    Drift("r10", CLAUDE, "rename", "max_tokens", "max_output_tokens",
          "`max_tokens` has been replaced by `max_output_tokens`"),
    Drift("r11", CLAUDE, "rename", "top_k", "sampling_top_k",
          "top_k: `top_k` is removed, use `sampling_top_k` instead"),
    Drift("r12", GEMINI, "rename", "generationConfig.maxOutputTokens", "maxTokens",
          "'maxOutputTokens' is not supported; use 'maxTokens'"),
    Drift("r13", GEMINI, "rename", "generationConfig.stopSequences", "stop",
          "stopSequences was renamed to stop"),
    Drift("r14", GEMINI, "rename", "generationConfig.topP", "nucleus",
          "parameter `topP` is now called `nucleus`"),
    Drift("r15", CHAT, "rename", "presence_penalty", "penalty_presence",
          "Invalid parameter: presence_penalty. Please use penalty_presence."),
]  # fmt: skip
NARROWED = [
    Drift("n1", CHAT, "most", "temperature", 1, _ABOVE.format("temperature", 1), "temperature"),
    Drift("n2", CHAT, "most", "max_completion_tokens", 300,
          "max_tokens is too large: {sent}. This model supports at most 300 completion tokens, "
          "whereas you provided {sent}.", "max_completion_tokens"),
    Drift("n3", CHAT, "length", "stop", 1,
          "Invalid 'stop': array too long. Expected an array with maximum length 1, but got an "
          "array with length 2 instead.", "stop"),
    Drift("n4", CHAT, "length", "safety_identifier", 32, _LONG.format("safety_identifier", 32),
          "safety_identifier"),
    Drift("n5", CHAT, "most", "presence_penalty", 0.25,
          "presence_penalty must be less than or equal to 0.25"),
    Drift("n6", RESPONSES, "most", "temperature", 1.0, _ABOVE.format("temperature", "1.0"),
          "temperature"),
    Drift("n7", RESPONSES, "most", "max_output_tokens", 256,
          "Invalid 'max_output_tokens': integer above maximum value. Expected a value <= 256, but "
          "got {sent} instead.", "max_output_tokens"),
    Drift("n8", RESPONSES, "length", "safety_identifier", 20,
          _LONG.format("safety_identifier", 20), "safety_identifier"),
    Drift("n9", CLAUDE, "most", "max_tokens", 128,
          "max_tokens: {sent} > 128, which is the maximum allowed number of output tokens for m"),
    Drift("n10", CLAUDE, "most", "temperature", 0.5, _LE.format("temperature", 0.5)),
    Drift("n11", CLAUDE, "length", "stop_sequences", 1,
          "stop_sequences: List should have at most 1 item after validation, not 2"),
    Drift("n12", CLAUDE, "most", "top_k", 20, "top_k: must be between 1 and 20"),
    Drift("n13", GEMINI, "most", "generationConfig.maxOutputTokens", 200,
          "Unable to submit request because it has a maxOutputTokens value of {sent} but the "
          "supported range is from 1 (inclusive) to 201 (exclusive). Update the value and try "
          "again."),
    Drift("n14", GEMINI, "most", "generationConfig.temperature", 1.0,
          "* GenerateContentRequest.generation_config.temperature: temperature must be in the "
          "range [0.0, 1.0]."),
    Drift("n15", GEMINI, "length", "generationConfig.stopSequences", 1,
          "stop_sequences may contain at most 1 sequences"),
]  # fmt: skip
RETIRED = [
    Drift("v1", CHAT, "values", "reasoning_effort", ["low", "medium"],
          "Unsupported value: 'reasoning_effort' does not support 'high' with this model. "
          "Supported values are: 'low' and 'medium'.", "reasoning_effort"),
    Drift("v2", CHAT, "gone", "temperature", None,
          "Unsupported value: 'temperature' does not support 1.5 with this model. Only the default "
          "(1) value is supported.", "temperature"),
    Drift("v3", CHAT, "gone", "seed", None, _UNSUPPORTED.format("seed"), "seed"),
    Drift("v4", CHAT, "gone", "parallel_tool_calls", None,
          _UNSUPPORTED.format("parallel_tool_calls"), "parallel_tool_calls"),
    Drift("v5", CHAT, "gone", "frequency_penalty", None,
          "Model m does not support parameter frequencyPenalty."),
    Drift("v6", RESPONSES, "values", "reasoning.effort", ["low", "max"],
          "Unsupported value: 'high' is not supported with the 'm' model. Supported values are: "
          "'low', and 'max'.", "reasoning.effort"),
    Drift("v7", RESPONSES, "gone", "top_p", None, _UNSUPPORTED.format("top_p"), "top_p"),
    Drift("v8", RESPONSES, "gone", "parallel_tool_calls", None,
          _UNKNOWN.format("parallel_tool_calls"), "parallel_tool_calls"),
    Drift("v9", RESPONSES, "gone", "tools.strict", None,
          "Unknown parameter: 'tools[0].strict'.", "tools[0].strict"),
    Drift("v10", CLAUDE, "gone", "temperature", None,
          "`temperature` is deprecated for this model."),
    Drift("v11", CLAUDE, "gone", "top_k", None, _EXTRA.format("top_k")),
    Drift("v12", CLAUDE, "gone", "tools.strict", None,
          "tools.0.custom.strict: Extra inputs are not permitted"),
    Drift("v13", GEMINI, "gone", "generationConfig.presencePenalty", None,
          "Penalty is not enabled for this model"),
    Drift("v14", GEMINI, "gone", "generationConfig.seed", None, _FIELD.format("seed")),
    Drift("v15", GEMINI, "gone", "generationConfig.topK", None, _FIELD.format("top_k")),
]  # fmt: skip
_BETA = "This feature requires the `{}` value in the `anthropic-beta` header."
WANTED = [
    Drift("h1", CHAT, "header", "openai-beta", "responses=v2",
          "Missing required header: 'OpenAI-Beta: responses=v2'"),
    Drift("h2", CHAT, "header", "openai-version", "2026-12-01",
          "The 'OpenAI-Version' header is required; use '2026-12-01'."),
    Drift("h3", CHAT, "header", "x-model-api", "v2",
          "The `x-model-api` header must be set to `v2`"),
    Drift("h4", CHAT, "header", "x-vendor-revision", "7",
          "missing required request header x-vendor-revision (expected '7')"),
    Drift("h5", RESPONSES, "header", "openai-beta", "reasoning=v3",
          "Missing required header: 'OpenAI-Beta: reasoning=v3'"),
    Drift("h6", RESPONSES, "header", "openai-version", "2026-12-01",
          "openai-version header is missing. Expected: 2026-12-01"),
    Drift("h7", CLAUDE, "header", "anthropic-beta", "tools-2026-12-01",
          _BETA.format("tools-2026-12-01")),
    Drift("h8", CLAUDE, "header", "anthropic-beta", "context-management-2026-12-01",
          _BETA.format("context-management-2026-12-01")),
    Drift("h9", CLAUDE, "header", "anthropic-version", "2026-10-21",
          "anthropic-version: \"2023-06-01\" is no longer supported, use \"2026-10-21\""),
    Drift("h10", CLAUDE, "header", "anthropic-beta", "strict-tools-2026-12-02",
          "tools.0.strict: Extra inputs are not permitted. That setting requires the "
          "`strict-tools-2026-12-02` value in the `anthropic-beta` header."),
    Drift("h11", GEMINI, "header", "x-goog-api-version", "v2",
          "The header 'x-goog-api-version' is required. Set it to 'v2'."),
    Drift("h12", GEMINI, "header", "x-goog-features", "tools-2",
          "Missing required header: x-goog-features: tools-2"),
    Drift("h13", CHAT, "header", "x-api-revision", "2026-11-30",
          "header x-api-revision is required, send 2026-11-30"),
    Drift("h14", CLAUDE, "header", "anthropic-beta", "output-2026-12-03",
          "`max_tokens` above 64 requires the `output-2026-12-03` value in the `anthropic-beta` "
          "header"),
    Drift("h15", RESPONSES, "header", "x-protocol-version", "3",
          "The 'x-protocol-version' request header is missing, use '3'"),
]  # fmt: skip
DRIFTS = [*RENAMED, *NARROWED, *RETIRED, *WANTED]

TOOL = Tool(
    "look",
    "Looks.",
    {
        "type": "object",
        "properties": {"at": {"type": "string"}},
        "required": ["at"],
        "additionalProperties": False,
    },
    strict=True,
)


def request_of(drift: Drift, model: str, *, stream: bool = False) -> Request:
    """A request that has what the drift is about."""
    thinks = "reasoning" in drift.field
    fields: dict[str, Any] = {
        "max_output_tokens": 400,
        "end_user": "a-user-of-more-than-thirty-two-letters",
    }
    if thinks:
        fields["reasoning"] = ReasoningConfig(effort="high")
    else:
        fields["tools"] = [TOOL]
        fields["temperature"] = 0.9 if drift.dialect == CLAUDE else 1.5
    if drift.dialect in (CHAT, RESPONSES, CLAUDE) and not thinks:
        fields["parallel_tool_calls"] = True
    if drift.dialect != RESPONSES and not thinks:
        fields["stop"] = ["x1", "x2"]
    if drift.dialect == CHAT and not thinks:
        fields |= {"seed": 7, "presence_penalty": 0.5, "frequency_penalty": 0.5}
    if drift.dialect in (CLAUDE, GEMINI):
        fields["top_k"] = 40
    if drift.dialect == GEMINI:
        fields |= {"top_p": 0.9, "seed": 7, "presence_penalty": 0.5}
    if drift.dialect == RESPONSES and not thinks:
        fields["top_p"] = 0.9
    return Request(model, [Message("user", [Text("hello")])], stream=stream, **fields)
