"""What each feature of a profile means, and what is done where a model does not take it.

`instead` says what happens to a request: `adjust` (another value is sent), `emulate` (it is done
in another way), `drop` (left out, with a warning), `refuse` (an error before anything is sent) or
`tell` (nothing is changed; the profile says it).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

Instead: TypeAlias = Literal["adjust", "emulate", "drop", "refuse", "tell"]


class Feature(Struct, frozen=True):
    """One line of a profile.  `title` is short, for tables."""

    title: str
    meaning: str
    instead: Instead


FEATURES: dict[str, Feature] = {
    "thinking": Feature("thinking", "how thinking is asked for", "adjust"),
    "efforts": Feature("efforts", "the efforts that are taken", "adjust"),
    "default_effort": Feature("default effort", "the effort where none is sent", "tell"),
    "budget": Feature("budget", "least and most thinking tokens; 0 and 0: none", "adjust"),
    "thinking_off": Feature("off", "how thinking is turned off; 'no' where it cannot be", "adjust"),
    "thinking_needs_stream": Feature(
        "thinks in streams", "the model thinks in streamed answers alone", "adjust"
    ),
    "effort_max_when_off": Feature(
        "effort if off", "the highest effort alongside thinking that is off", "adjust"
    ),
    "sampling": Feature("sampling", "of temperature, top_p and top_k, those taken", "drop"),
    "sampling_without_thinking": Feature(
        "sampling if off", "sampling is taken while the model does not think only", "drop"
    ),
    "temperature_range": Feature("temperature", "the least and the most temperature", "adjust"),
    "temperature_with_top_p": Feature("both", "temperature and top_p in one request", "drop"),
    "penalties": Feature("penalties", "the penalties that are taken", "drop"),
    "stop_max": Feature("stop", "how many stop sequences; 0: none", "drop"),
    "candidates_max": Feature("answers", "how many answers a request may ask for", "refuse"),
    "logprobs": Feature("logprobs", "probabilities of tokens", "refuse"),
    "seed": Feature("seed", "a seed", "drop"),
    "tools": Feature("tools", "calls tools", "refuse"),
    "parallel_calls": Feature("parallel", "several calls in one answer", "tell"),
    "tool_choice": Feature("tool choice", "the choices that are taken", "refuse"),
    "tool_choice_thinking": Feature(
        "choice thinking", "the choices that are taken while the model thinks", "adjust"
    ),
    "tools_with_json": Feature("tools + JSON", "tools alongside an answer in JSON", "emulate"),
    "json_while_thinking": Feature(
        "JSON thinking", "an answer in JSON while the model thinks", "emulate"
    ),
    "chat_tools_while_thinking": Feature(
        "Chat tools", "functions alongside thinking on Chat Completions", "emulate"
    ),
    "structured_output": Feature("schema", "answers by a JSON Schema", "emulate"),
    "schema_root": Feature("schema root", "what the root of a tool's schema must be", "adjust"),
    "strict_tools_max": Feature("strict tools", "how many tools may be strict", "adjust"),
    "strict_optional_max": Feature(
        "strict optional", "how many optional properties strict tools may have", "adjust"
    ),
    "tools_max": Feature("tools, most", "how many tools a request may offer; 0: unknown", "refuse"),
    "tool_name_length": Feature("name length", "the longest name of a tool", "adjust"),
    "call_id_length": Feature("id length", "the longest id of a call; 0: unknown", "adjust"),
    "result_media": Feature("media in results", "media inside tool results", "emulate"),
    "signature_sentinel": Feature(
        "unsigned calls", "calls of other models may carry the vendor's sentinel", "adjust"
    ),
    "reasoning_replay": Feature("reasoning back", "which turns want their reasoning back", "drop"),
    "late_system": Feature(
        "late system", "where system messages may stand after the start", "emulate"
    ),
    "prefill": Feature("prefill", "a last turn of the assistant is continued", "refuse"),
    "prefix_bound": Feature(
        "prefix bound", "reasoning is refused where what stood before it has changed", "tell"
    ),
    "reasoning_readers": Feature("readers", "the models that read its reasoning", "tell"),
    "media": Feature("media", "what may be shown alongside text", "refuse"),
    "output_tokens": Feature("output", "the most tokens of one answer", "adjust"),
    "context_tokens": Feature("context", "the most tokens of a conversation", "tell"),
    "cache": Feature("cache", "how a prompt is cached", "tell"),
    "end_user_length": Feature("user length", "the longest id of a user; 0: unknown", "tell"),
    "metadata_max": Feature("metadata", "how many entries of metadata", "tell"),
    "service_tiers": Feature("tiers", "the service tiers that are taken", "drop"),
}
