"""`stay_silent`: a tool by which a voice decides to say nothing yet."""

from __future__ import annotations

from typing import Any

from polycall.errors import ToolDefinitionError
from polycall.ir import JSON
from polycall.tools import FunctionTool, tool_from_schema

_ABOUT = (
    "Say nothing for now: the caller is thinking, is not done, or speaks to somebody else. "
    "What the caller says next belongs to the same turn."
)
NUDGE = (
    "The caller has said nothing more. Say something short that helps the caller to continue, or "
    "answer what was said so far."
)


class StaySilent:
    """What a voice is allowed in silence: so many times in a row, and so long."""

    def __init__(self, wait_s: float, silences_max: int) -> None:
        self.wait_s = wait_s
        self.silences_max = silences_max

    def __call__(self, arguments: JSON) -> str:
        return ""


def stay_silent(*, wait_s: float = 6.0, silences_max: int = 3) -> FunctionTool[..., Any]:
    """A tool by which the voice stays silent until the caller continues, or `wait_s` are over.

    Then the voice speaks, once.  After `silences_max` silences in a row the tool tells the model
    to answer.  Outside of a talk it does nothing.
    """
    if not 0 < wait_s <= 600:
        raise ToolDefinitionError(f"wait_s is from 0 to 600 seconds, got {wait_s!r}")
    if silences_max < 1:
        raise ToolDefinitionError(f"silences_max is 1 or more, got {silences_max!r}")
    return tool_from_schema("stay_silent", _ABOUT, None, StaySilent(wait_s, silences_max))
