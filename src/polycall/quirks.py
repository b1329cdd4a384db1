"""How one provider's (or model's) use of a dialect differs from the vendor that defined it.

Data, not branches: a dialect reads these while rendering, and `providers/` fills them in.  The
defaults describe the dialect's own vendor.  Decoders need none: they take every known habit.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Quirks(Struct, frozen=True):
    """What the target of a rendering takes.  Everything here concerns requests."""

    # Request fields (as named in `ir.Request`) that the target refuses or ignores: left out,
    # with a warning.
    refused: frozenset[str] = frozenset()
    # Fields of the client's own dialect that the target does not know are left out, with a
    # warning, unless named here; `None` sends them all.
    options: frozenset[str] | None = None

    # Chat Completions and its relatives.
    developer_role: bool = True
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    stream_usage: bool = True  # `stream_options.include_usage` may be sent
    custom_tools: bool = True
    strict_tools: bool = True
    parallel_switch: bool = True  # `parallel_tool_calls` may be sent
    empty_content: Literal["null", "empty", "omit"] = "null"  # beside tool calls
    content_parts: bool = True  # user content may be an array, not only a string
    response_formats: frozenset[str] = frozenset({"json", "json_schema"})
    reasoning_control: Literal["effort", "thinking", "none"] = "effort"
    reasoning_field: str = ""  # the field in which an assistant's reasoning is sent back
    reasoning_replay: Literal["never", "with_calls", "always"] = "never"

    # All dialects.
    tool_choices: frozenset[str] = frozenset({"auto", "none", "required", "tool", "subset"})
    forced_choice_while_reasoning: bool = True
    result_media: bool = True  # images and documents inside tool results
    call_id_pattern: str = ""  # what a call id must match as a whole; "": the dialect's rule
    call_id_length: int = 0  # exact length of call ids made to fit the pattern
